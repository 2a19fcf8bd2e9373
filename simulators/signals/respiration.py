"""Respiration belt: chest expansion, one breath after the other, in arbitrary units of a resting breath."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec
from simulators.draws import Draws
from simulators.rendering import Sampled, probe_times, spread, white
from simulators.subject import Subject
from simulators.units import scaling


@dataclass(frozen=True)
class OPTIONS:
    """Keys of the respiration signal."""

    noise: float = field(default=0.005, metadata={"help": "standard deviation of white noise, in resting breaths"})

    def __post_init__(self) -> None:
        if self.noise < 0:
            raise SettingError(f"respiration: noise is {self.noise}; it must not be negative")


def signal(subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> Respiration:
    """The signal of one stream."""
    return Respiration(subject, spec, draws, options)


class Respiration(Sampled):
    """Every channel sees the same chest; 0 is half full."""

    def __init__(self, subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> None:
        self._subject, self._draws, self._noise = subject, draws, options.noise
        self._channels = len(spec.channels)
        self._scale = scaling(spec, "a.u.", -1.0, 1.0)
        self.span = spread(self._scale(self._clean(probe_times(spec, 20.0))), 0.0)

    def _clean(self, times_s: FloatArray) -> FloatArray:
        return np.asarray((self._subject.breathing(times_s) - 0.5)[:, None])

    def render(self, first: int, times_s: FloatArray) -> FloatArray:
        """Values (n, channels) in the stream's unit."""
        return self._scale(self._clean(times_s) + self._noise * white(self._draws, first, len(times_s), self._channels))
