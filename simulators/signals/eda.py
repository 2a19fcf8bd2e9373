"""Electrodermal activity: a slow skin conductance level and a Bateman curve for every response, in microsiemens."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec
from simulators.draws import Draws
from simulators.rendering import Sampled, probe_times, spread, white
from simulators.subject import Subject
from simulators.units import scaling
from simulators.waveforms import DECAY_REACH, SlowNoise, add_events, decay

_LONGEST_S = 4.0 * DECAY_REACH


@dataclass(frozen=True)
class OPTIONS:
    """Keys of the eda signal."""

    noise_us: float = field(default=0.002, metadata={"help": "standard deviation of white noise, microsiemens"})
    drift_us: float = field(default=0.05, metadata={"help": "standard deviation of the level's drift over a minute"})

    def __post_init__(self) -> None:
        if self.noise_us < 0 or self.drift_us < 0:
            raise SettingError("eda: noise_us and drift_us must not be negative")


def signal(subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> Eda:
    """The signal of one stream."""
    return Eda(subject, spec, draws, options)


class Eda(Sampled):
    """Every channel sees the same skin."""

    def __init__(self, subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> None:
        self._subject, self._draws, self._options = subject, draws, options
        self._channels = len(spec.channels)
        self._drift = SlowNoise(draws.child("drift"), 30.0)
        self._scale = scaling(spec, "uS", 0.0, 20.0)
        self.span = spread(self._scale(self._clean(probe_times(spec, 60.0))[:, None]), 0.3 * self._scale.gain)

    def _clean(self, times_s: FloatArray) -> FloatArray:
        """Microsiemens (n,) without noise."""
        arousal = np.maximum(self._subject.arousal(times_s), 0.0)
        level = self._subject.profile.skin_conductance_us * (1 + 0.25 * arousal)
        level += self._options.drift_us * self._drift.at(times_s)
        if len(times_s):
            self._add_responses(level, times_s)
        return np.maximum(level, 0.01)

    def _add_responses(self, level: FloatArray, times_s: FloatArray) -> None:
        scr = self._subject.scrs(times_s[0] - _LONGEST_S, times_s[-1] + 1e-6)
        rise, fall = scr.tau_rise_s, scr.tau_decay_s
        # One by one: a vector power need not give the same bits in every company.
        shapes = zip(scr.amplitude_us.tolist(), rise.tolist(), fall.tolist(), strict=True)
        height = [amplitude / bateman_peak(r, f) for amplitude, r, f in shapes]
        add_events(
            level, times_s, scr.onset_s, scr.onset_s + DECAY_REACH * fall,
            lambda k, t: height[k] * (decay((t - scr.onset_s[k]) / fall[k]) - decay((t - scr.onset_s[k]) / rise[k])),
        )  # fmt: skip

    def render(self, first: int, times_s: FloatArray) -> FloatArray:
        """Values (n, channels) in the stream's unit."""
        noise = self._options.noise_us * white(self._draws, first, len(times_s), self._channels)
        return self._scale(self._clean(times_s)[:, None] + noise)


def bateman_peak(rise_s: float, fall_s: float) -> float:
    """Largest value of exp(-t / fall) - exp(-t / rise), for rise < fall."""
    ratio = rise_s / fall_s
    return float(ratio ** (ratio / (1 - ratio)) - ratio ** (1 / (1 - ratio)))
