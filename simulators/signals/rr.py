"""RR intervals: at every beat the time since the one before, in milliseconds; a stream without a rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec
from simulators.draws import Draws
from simulators.subject import Subject
from simulators.units import scaling


@dataclass(frozen=True)
class OPTIONS:
    """The rr signal has no options."""


def signal(subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> RrIntervals:
    """The signal of one stream."""
    return RrIntervals(subject, spec)


class RrIntervals:
    """One event per beat."""

    def __init__(self, subject: Subject, spec: StreamSpec) -> None:
        if spec.rate_hz is not None:
            raise SettingError(f"stream {spec.name!r}: RR intervals come with the beats, not at {spec.rate_hz:g} Hz")
        self._subject, self._channels = subject, len(spec.channels)
        self._scale = scaling(spec, "ms", 300.0, 2000.0)
        self.span = 100.0 * abs(self._scale.gain)  # what breathing and arousal move it by

    def render(self, first: int, times_s: FloatArray) -> FloatArray:
        """Asked of streams with a rate only."""
        raise TypeError("RR intervals have no samples: ask for events()")

    def events(self, start_s: float, stop_s: float) -> tuple[FloatArray, FloatArray]:
        """R peaks in [start_s, stop_s) (n,), and the interval before each (n, channels)."""
        beats = self._subject.beat_events(start_s, stop_s)
        return beats.r_s, np.repeat(self._scale(1000 * beats.rr_s)[:, None], self._channels, axis=1)
