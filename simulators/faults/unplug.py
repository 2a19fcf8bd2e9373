"""Unplug: the cable comes out, or the device leaves radio range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from simulators.faults import LinkFault, Truth, Where, key


@dataclass(frozen=True, kw_only=True)
class FAULT(LinkFault):
    """The link goes away, and comes back after for_s with a device that has just been switched on."""

    NAME: ClassVar[str] = "unplug"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"delivery"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("for_s", (0.05, 0.5, 2, 6))

    at_s: float = key(10.0, "seconds into the run", "s", low=0)
    for_s: float = key(math.inf, "how long it stays away; inf: for good", "s", above=0, high=math.inf)

    def check_keys(self) -> None:
        """The plug must come out in the time of the fault."""
        self.must_happen("at_s", self.at_s)

    def outages_s(self) -> tuple[tuple[float, float], ...]:
        """One; it ends at stop_s at the latest."""
        return ((self.at_s, min(self.at_s + self.for_s, self.stop_s)),)

    def truths(self, where: Where) -> list[Truth]:
        """One spell."""
        ((down_s, up_s),) = self.outages_s()
        return [self.did(where, where.host_ns(down_s), where.host_ns(up_s), back=math.isfinite(up_s))]
