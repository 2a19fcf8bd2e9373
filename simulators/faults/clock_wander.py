"""Clock wander: the device's crystal changes its rate, as it does when it warms up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from drivers.errors import SettingError
from simulators.device_clock import DeviceClock, Wander
from simulators.faults import DeviceFault, Truth, Where, key


@dataclass(frozen=True, kw_only=True)
class FAULT(DeviceFault):
    """The crystal's rate grows all the time, or swings to and fro, while the fault lasts; the time gained stays."""

    NAME: ClassVar[str] = "clock_wander"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"sync"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("ppm_per_min", (5, 20, 60, 100, 200, 400, 1000))

    ppm_per_min: float = key(400.0, "growth of the drift; negative: it falls", "ppm/min", low=-50000, high=50000)
    swing_ppm: float = key(0.0, "amplitude of a swing of the drift", "ppm", low=0, high=50000)
    period_s: float = key(60.0, "length of one swing", "s", low=1, high=86400)

    def check_keys(self) -> None:
        """Something must wander."""
        if not (self.ppm_per_min or self.swing_ppm):
            raise SettingError("clock_wander: nothing would change; expected a ppm_per_min or a swing_ppm other than 0")

    def warp(self, clock: DeviceClock) -> DeviceClock:
        """The clock with the wander in it."""
        wander = Wander(self.ppm_per_min, self.swing_ppm, self.period_s, self.start_s, self.stop_s)
        return replace(clock, drifts=(*clock.drifts, wander))

    def truths(self, where: Where) -> list[Truth]:
        """One spell."""
        detail = {"ppm_per_min": self.ppm_per_min, "swing_ppm": self.swing_ppm, "period_s": self.period_s}
        return [self.did(where, where.host_ns(self.start_s), where.host_ns(self.stop_s), **detail)]
