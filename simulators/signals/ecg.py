"""Electrocardiogram: P, Q, R, S and T waves around every beat, in millivolt or microvolt.

Five Gaussians per beat as in McSharry et al. 2003 (IEEE TBME 50:289), placed in time and not in
phase: P to S keep their distance to the R peak and T follows the root of the RR interval.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec
from simulators.draws import Draws
from simulators.rendering import Sampled, probe_times, spread, white
from simulators.subject import Subject
from simulators.units import scaling
from simulators.waveforms import BELL_REACH, add_events, bell

_WAVES = ((0.12, -0.165, 0.024), (-0.12, -0.032, 0.010), (1.0, 0.0, 0.0105), (-0.22, 0.033, 0.011))
"""P, Q, R, S: height (R is 1), time from the R peak in s, standard deviation in s."""
_T_HEIGHT, _T_AT_S, _T_WIDTH_S = 0.28, 0.27, 0.050
"""T at an RR interval of 1 s."""
_BEFORE_S, _AFTER_S = 0.30, 0.09
_TABLE_S = np.linspace(-_BEFORE_S, _AFTER_S, 7801)
_TABLE = sum((h * bell((_TABLE_S - at) / width) for h, at, width in _WAVES), np.zeros_like(_TABLE_S))
_LONGEST_T_S = 1.6 * (_T_AT_S + BELL_REACH * _T_WIDTH_S)
_LEADS = {
    "i": 0.7, "ii": 1.0, "iii": 0.4, "avr": -0.8, "avl": 0.2, "avf": 0.7,
    "v1": -0.5, "v2": 0.6, "v3": 0.9, "v4": 1.2, "v5": 1.1, "v6": 0.8,
}  # fmt: skip
_UNNAMED = (1.0, 0.7, -0.8, 0.5)
"""Gain of channels that bear no lead's name, in turn."""


@dataclass(frozen=True)
class OPTIONS:
    """Keys of the ecg signal."""

    r_mv: float = field(default=1.0, metadata={"help": "height of the R peak in lead II, millivolt"})
    noise_uv: float = field(default=4.0, metadata={"help": "standard deviation of white noise, microvolt"})
    wander_uv: float = field(default=20.0, metadata={"help": "baseline swing with breathing, microvolt"})

    def __post_init__(self) -> None:
        if self.r_mv == 0 or self.noise_uv < 0:
            raise SettingError(f"ecg: r_mv {self.r_mv} must not be 0 and noise_uv {self.noise_uv} not negative")


def signal(subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> Ecg:
    """The signal of one stream."""
    return Ecg(subject, spec, draws, options)


class Ecg(Sampled):
    """One column per lead."""

    def __init__(self, subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> None:
        self._subject, self._draws, self._options = subject, draws, options
        self._scale = scaling(spec, "mV", -2.0 * abs(options.r_mv), 2.0 * abs(options.r_mv))
        self._gains = np.array([_lead_gain(name, n) for n, name in enumerate(spec.channels)])
        self.span = spread(self._scale(self._clean(probe_times(spec, 10.0))), 0.0)

    def _clean(self, times_s: FloatArray) -> FloatArray:
        """Millivolt (n, channels) without noise."""
        wave = np.zeros(len(times_s))
        if len(times_s):
            self._add_beats(wave, times_s)
        wander = self._options.wander_uv / 1000 * (self._subject.breathing(times_s) - 0.5)
        return np.asarray((self._options.r_mv * wave)[:, None] * self._gains + wander[:, None])

    def _add_beats(self, wave: FloatArray, times_s: FloatArray) -> None:
        beats = self._subject.beat_events(times_s[0] - _LONGEST_T_S, times_s[-1] + _BEFORE_S + 1e-6)
        r_s = beats.r_s
        swell = 1 + 0.06 * (beats.breath - 0.5)  # the heart's axis turns with the lungs
        add_events(
            wave, times_s, r_s - _BEFORE_S, r_s + _AFTER_S,
            lambda k, t: swell[k] * np.interp(t - r_s[k], _TABLE_S, _TABLE, left=0.0, right=0.0),
        )  # fmt: skip
        stretch = np.minimum(np.sqrt(beats.rr_s), 1.6)
        centre, width = r_s + stretch * _T_AT_S, stretch * _T_WIDTH_S
        add_events(
            wave, times_s, centre - BELL_REACH * width, centre + BELL_REACH * width,
            lambda k, t: _T_HEIGHT * swell[k] * bell((t - centre[k]) / width[k]),
        )  # fmt: skip

    def render(self, first: int, times_s: FloatArray) -> FloatArray:
        """Values (n, leads) in the stream's unit."""
        noise = white(self._draws, first, len(times_s), len(self._gains))
        return self._scale(self._clean(times_s) + self._options.noise_uv / 1000 * noise)


def _lead_gain(name: str, number: int) -> float:
    short = name.lower().removeprefix("ecg").removeprefix("lead").strip(" _-")
    return _LEADS.get(short, _UNNAMED[number % len(_UNNAMED)])
