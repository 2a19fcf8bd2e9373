"""Clock drift: the device's crystal runs too fast or too slow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from simulators.device_clock import DeviceClock, Drift
from simulators.faults import DeviceFault, Truth, Where, key


@dataclass(frozen=True, kw_only=True)
class FAULT(DeviceFault):
    """The crystal runs off by some ppm while the fault lasts: samples are taken too fast, and the time gained stays."""

    NAME: ClassVar[str] = "clock_drift"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"sync"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"rate"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("ppm", (10, 50, 150, 200, 500, 2000, 20000))

    ppm: float = key(500.0, "too fast by this much; negative: too slow", "ppm", low=-50000, high=50000)

    def warp(self, clock: DeviceClock) -> DeviceClock:
        """The clock with the drift in it."""
        return replace(clock, drifts=(*clock.drifts, Drift(self.ppm, self.start_s, self.stop_s)))

    def truths(self, where: Where) -> list[Truth]:
        """One spell."""
        return [self.did(where, where.host_ns(self.start_s), where.host_ns(self.stop_s), ppm=self.ppm)]
