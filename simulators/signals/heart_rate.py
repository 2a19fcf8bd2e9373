"""Heart rate as a strap reports it: the mean of the last beats, per minute."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec
from simulators.draws import Draws
from simulators.rendering import Sampled
from simulators.subject import Subject
from simulators.units import scaling


@dataclass(frozen=True)
class OPTIONS:
    """Keys of the heart_rate signal."""

    beats: int = field(default=5, metadata={"help": "intervals in the mean, 1..60"})

    def __post_init__(self) -> None:
        if not 1 <= self.beats <= 60:
            raise SettingError(f"heart_rate: beats is {self.beats}; it may be 1..60")


def signal(subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> HeartRate:
    """The signal of one stream."""
    return HeartRate(subject, spec, options)


class HeartRate(Sampled):
    """Every channel is the same heart."""

    def __init__(self, subject: Subject, spec: StreamSpec, options: OPTIONS) -> None:
        self._subject, self._beats, self._channels = subject, options.beats, len(spec.channels)
        self._scale = scaling(spec, "bpm", 30.0, 220.0)
        self.span = 10.0 * abs(self._scale.gain)  # what breathing and arousal move it by

    def render(self, first: int, times_s: FloatArray) -> FloatArray:
        """Values (n, channels) in the stream's unit."""
        last, earlier = self._subject.recent_beats(times_s, self._beats)
        rate = 60.0 * self._beats / (last - earlier)
        return np.repeat(self._scale(rate)[:, None], self._channels, axis=1)
