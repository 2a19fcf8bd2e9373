"""Counter reset: the device's frame counter falls back to its start, as after a brown-out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from drivers.errors import SettingError
from drivers.types import StreamSpec
from simulators.faults import DeviceFault, Truth, Where, key

HORIZON_S = 86400.0
"""With every_s and no stop_s, resets are planned for a day."""


@dataclass(frozen=True, kw_only=True)
class FAULT(DeviceFault):
    """The frame counter falls back to its start while samples go on. Only for sensors that count."""

    NAME: ClassVar[str] = "counter_reset"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"delivery"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("every_s", (45, 20, 10, 4))

    at_s: tuple[float, ...] = key((10.0,), "seconds into the run", "s", low=0)
    every_s: float | None = key(None, "instead: again and again at this distance, from start_s on", "s", low=1)

    def check_keys(self) -> None:
        """Resets must lie in the time of the fault."""
        for at_s in self.counter_resets_s()[:1] if self.every_s else self.at_s:
            self.must_happen("at_s", at_s)
        if not self.counter_resets_s():
            raise SettingError("counter_reset: no reset would happen; expected at_s, or an every_s before stop_s")

    def check_fits(self, sensor: str, streams: Sequence[StreamSpec]) -> None:
        """SettingError unless the wire carries a counter."""
        if not any(stream.numbered for stream in streams):
            names = ", ".join(stream.name for stream in streams)
            raise SettingError(
                f"counter_reset needs a sensor that numbers its frames; {sensor} ({names}) does not, so that "
                "nothing would change."
            )

    def counter_resets_s(self) -> tuple[float, ...]:
        """World seconds at which the counter falls back."""
        if self.every_s is None:
            return tuple(sorted(set(self.at_s)))
        last_s = min(self.stop_s, self.start_s + HORIZON_S)
        count = int((last_s - self.start_s) / self.every_s)
        moments = (self.start_s + number * self.every_s for number in range(1, count + 1))
        return tuple(moment for moment in moments if moment < self.stop_s)

    def truths(self, where: Where) -> list[Truth]:
        """One moment per reset."""
        moments = [where.host_ns(at_s) for at_s in self.counter_resets_s()]
        return [self.did(where, at_ns, at_ns) for at_ns in moments]
