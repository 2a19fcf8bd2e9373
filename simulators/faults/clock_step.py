"""Clock step: the device's clock is set while it streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from drivers.errors import SettingError
from drivers.types import StreamSpec
from simulators.device_clock import DeviceClock, Step
from simulators.faults import DeviceFault, Truth, Where, key


@dataclass(frozen=True, kw_only=True)
class FAULT(DeviceFault):
    """The device's clock jumps; its samples go on undisturbed. Only for sensors that send their time."""

    NAME: ClassVar[str] = "clock_step"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"sync"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("seconds", (0.005, 0.02, 0.07, 0.1, 0.2, 0.5, 2))

    seconds: float = key(0.5, "size of the jump; negative: back", "s", low=-1e6, high=1e6)
    at_s: float = key(10.0, "seconds into the run", "s", low=0)

    def check_keys(self) -> None:
        """The step must lie in the time of the fault."""
        self.must_happen("at_s", self.at_s)

    def check_fits(self, sensor: str, streams: Sequence[StreamSpec]) -> None:
        """SettingError unless the wire carries device time."""
        if not any(stream.timed for stream in streams):
            names = ", ".join(stream.name for stream in streams)
            raise SettingError(
                f"clock_step needs a sensor that sends its own time; {sensor} ({names}) does not, so that "
                "nothing would change. Try clock_drift or counter_reset."
            )

    def warp(self, clock: DeviceClock) -> DeviceClock:
        """The clock with the step in it."""
        return replace(clock, steps=(*clock.steps, Step(self.seconds, self.at_s)))

    def truths(self, where: Where) -> list[Truth]:
        """One moment."""
        at_ns = where.host_ns(self.at_s)
        return [self.did(where, at_ns, at_ns, seconds=self.seconds)]
