"""Acceleration of a worn sensor: gravity, breathing, small motion and, on request, steps, in g."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec
from simulators.draws import Draws
from simulators.rendering import Sampled, probe_times, spread, white
from simulators.subject import Subject
from simulators.units import scaling
from simulators.waveforms import SlowNoise, cosine

_GRAVITY = (0.10, 0.25, 0.96)
_BREATH = (0.002, 0.006, 0.010)
_SIDES = (0.3, 0.4, 1.0)
"""x, y, z: share of each axis in gravity (g), in a resting breath (g) and in a step."""


@dataclass(frozen=True)
class OPTIONS:
    """Keys of the acceleration signal."""

    noise_g: float = field(default=0.003, metadata={"help": "standard deviation of white noise, g"})
    motion_g: float = field(default=0.01, metadata={"help": "standard deviation of slow movement, g"})
    steps_per_min: float = field(default=0.0, metadata={"help": "walking cadence; 0 is sitting"})
    step_g: float = field(default=0.25, metadata={"help": "height of a step, g"})

    def __post_init__(self) -> None:
        if min(self.noise_g, self.motion_g, self.step_g) < 0 or not 0 <= self.steps_per_min <= 300:
            raise SettingError("acceleration: noise_g, motion_g, step_g must not be negative, steps_per_min 0..300")


def signal(subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> Acceleration:
    """The signal of one stream."""
    return Acceleration(subject, spec, draws, options)


class Acceleration(Sampled):
    """One column per axis, in the order x, y, z."""

    def __init__(self, subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> None:
        self._subject, self._draws, self._options = subject, draws, options
        axes = np.arange(len(spec.channels)) % 3
        self._gravity, self._breath, self._sides = (np.array(v)[axes] for v in (_GRAVITY, _BREATH, _SIDES))
        self._motion = [SlowNoise(draws.child("motion", n), 1.0) for n in range(len(axes))]
        self._scale = scaling(spec, "g", -2.0, 2.0)
        self.span = spread(self._scale(self._clean(probe_times(spec, 20.0))), 0.05 * abs(self._scale.gain))

    def _clean(self, times_s: FloatArray) -> FloatArray:
        """g (n, axes) without noise."""
        values = self._gravity + (self._subject.breathing(times_s) - 0.5)[:, None] * self._breath
        for axis, motion in enumerate(self._motion):
            values[:, axis] += self._options.motion_g * motion.at(times_s)
        if self._options.steps_per_min:
            turns = times_s * (self._options.steps_per_min / 60)
            step = self._options.step_g * (cosine(turns) + 0.4 * cosine(2 * turns + 0.2))
            values += step[:, None] * self._sides
        return np.asarray(values)

    def render(self, first: int, times_s: FloatArray) -> FloatArray:
        """Values (n, axes) in the stream's unit."""
        noise = white(self._draws, first, len(times_s), len(self._motion))
        return self._scale(self._clean(times_s) + self._options.noise_g * noise)
