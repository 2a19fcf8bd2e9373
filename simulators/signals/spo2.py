"""Oxygen saturation as a pulse oximeter reports it: the mean of the last seconds, in percent."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec
from simulators.draws import Draws
from simulators.rendering import Sampled, spread
from simulators.subject import Subject

_POINTS = 8
_SPAN_S = 120.0
"""Saturation moves within minutes."""


@dataclass(frozen=True)
class OPTIONS:
    """Keys of the spo2 signal."""

    average_s: float = field(default=8.0, metadata={"help": "seconds in the mean, 0..60"})

    def __post_init__(self) -> None:
        if not 0 <= self.average_s <= 60:
            raise SettingError(f"spo2: average_s is {self.average_s}; it may be 0..60")


def signal(subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> Saturation:
    """The signal of one stream; SettingError unless it is in percent."""
    if spec.unit != "%":
        raise SettingError(f"stream {spec.name!r}: oxygen saturation is in '%', found {spec.unit!r}")
    return Saturation(subject, spec, options)


class Saturation(Sampled):
    """Every channel sees the same blood."""

    def __init__(self, subject: Subject, spec: StreamSpec, options: OPTIONS) -> None:
        self._subject, self._channels = subject, len(spec.channels)
        self._ago_s = options.average_s * np.arange(_POINTS) / _POINTS
        self.span = spread(self.render(0, np.arange(_SPAN_S)), 0.01)

    def render(self, first: int, times_s: FloatArray) -> FloatArray:
        """Percent (n, channels)."""
        percent = self._subject.spo2(times_s[:, None] - self._ago_s).mean(axis=1)
        return np.repeat(percent[:, None], self._channels, axis=1)
