"""Skin temperature: slow, and lower for a minute or so after arousal, in degrees Celsius."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec
from simulators.draws import Draws
from simulators.rendering import Sampled, white
from simulators.subject import Subject
from simulators.units import scaling
from simulators.waveforms import SlowNoise

_LAGS_S = (10.0, 25.0, 45.0)
"""Vessels narrow within seconds, but the skin takes a minute to cool."""
_DROP_C = 0.6


@dataclass(frozen=True)
class OPTIONS:
    """Keys of the temperature signal."""

    noise_c: float = field(default=0.01, metadata={"help": "standard deviation of white noise, degrees Celsius"})
    drift_c: float = field(default=0.1, metadata={"help": "standard deviation of slow changes, degrees Celsius"})

    def __post_init__(self) -> None:
        if self.noise_c < 0 or self.drift_c < 0:
            raise SettingError("temperature: noise_c and drift_c must not be negative")


def signal(subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> Temperature:
    """The signal of one stream."""
    return Temperature(subject, spec, draws, options)


class Temperature(Sampled):
    """Every channel sees the same skin."""

    def __init__(self, subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> None:
        self._subject, self._draws, self._options = subject, draws, options
        self._channels = len(spec.channels)
        self._drift = SlowNoise(draws.child("drift"), 60.0)
        self._scale = scaling(spec, "C", 20.0, 45.0)
        self.span = 0.5 * abs(self._scale.gain)  # what a minute of arousal changes, for nothing moves in ten seconds

    def render(self, first: int, times_s: FloatArray) -> FloatArray:
        """Values (n, channels) in the stream's unit."""
        cold = np.zeros(len(times_s))
        for lag_s in _LAGS_S:
            cold += np.maximum(self._subject.arousal(times_s - lag_s), 0.0)
        skin = self._subject.profile.skin_temperature_c - _DROP_C / len(_LAGS_S) * cold
        skin += self._options.drift_c * self._drift.at(times_s)
        noise = self._options.noise_c * white(self._draws, first, len(times_s), self._channels)
        return self._scale(skin[:, None] + noise)
