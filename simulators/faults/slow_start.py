"""Slow start: the device lets the host wait for its first sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simulators.faults import DeviceFault, Truth, Where, key


@dataclass(frozen=True, kw_only=True)
class FAULT(DeviceFault):
    """The device begins to sample only seconds after it was asked to, or switched on; commands it answers at once.

    A rig connects before its second 0, so with start_s 0 the first start is slow too, with a later one only the
    restarts from then on. A sensor that streams unasked is silent so long after it is switched on: where that is
    longer than its exchange waits for it, connecting fails.
    """

    NAME: ClassVar[str] = "slow_start"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"age"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"connect", "delivery", "latency", "quality"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("seconds", (0.5, 1, 2, 4, 6, 8))

    seconds: float = key(8.0, "how much later the first sample is taken", "s", above=0, high=86400)

    def start_delay_s(self, asked_s: float) -> float:
        """The same for every start within the fault's time."""
        begun = not self.start_s or asked_s >= self.start_s
        return self.seconds if begun and asked_s < self.stop_s else 0.0

    def truths(self, where: Where) -> list[Truth]:
        """When the device will be asked is not known beforehand: each start is told as it happens."""
        return []
