"""Photoplethysmogram: red and infrared pulses whose ratio of ratios gives the oxygen saturation.

Two Gaussians per pulse (the "excellent" template of Tang et al. 2020, Sci Rep 10:14125) with the
systolic rise fixed in seconds, since a pulse scaled with the heart period would move its foot by
10 to 15 ms. Pulses point upwards. SpO2 = 110 - 25 R, R = (AC/DC of red) / (AC/DC of infrared).
A channel called "pleth" is what an oximeter shows instead of light: the pulse alone, scaled to its rails.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec
from simulators.draws import Draws
from simulators.rendering import Sampled, probe_times, white
from simulators.subject import Subject
from simulators.waveforms import BELL_REACH, add_events, bell

_SYSTOLIC = (1.0, 0.207, 0.080)
_DIASTOLIC = (0.20, 0.504, 0.130)
"""Height, time from the foot in s, standard deviation in s: the template at an RR interval of 0.8 s."""
_PEAK = 1.0085
"""Height of the sum of both."""
_EARLIEST_S = _SYSTOLIC[1] - BELL_REACH * _SYSTOLIC[2]
_LATEST_S = 1.75 * (_DIASTOLIC[1] + BELL_REACH * _DIASTOLIC[2])
_LONGEST_PAT_S = 1.0
_PLETH_FLOOR, _PLETH_PULSE = 0.12, 0.6
"""Of the rails: where a pleth rests between beats, and its pulse at rest, which may be a third larger."""


@dataclass(frozen=True)
class OPTIONS:
    """Keys of the ppg signal."""

    dc: float | None = field(
        default=None, metadata={"help": "level without pulse, in the stream's unit; half of the upper rail if absent"}
    )
    delay_ms: float = field(default=0.0, metadata={"help": "later than at the finger; ear -71, toe 116"})
    noise_percent: float = field(default=0.5, metadata={"help": "white noise, standard deviation, of the pulse height"})
    upright: bool = field(default=True, metadata={"help": "false: more blood is a smaller value, as light is"})

    def __post_init__(self) -> None:
        if self.dc is not None and self.dc <= 0:
            raise SettingError(f"ppg: dc is {self.dc}; a level above 0 is wanted")
        if self.noise_percent < 0 or not -300 <= self.delay_ms <= 1000:
            raise SettingError("ppg: noise_percent must not be negative and delay_ms must be -300..1000")


def signal(subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> Ppg:
    """The signal of one stream."""
    return Ppg(subject, spec, draws, options)


class Ppg(Sampled):
    """One column per wavelength; a channel with "red" in its name is red, every other one is infrared."""

    def __init__(self, subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> None:
        self._subject, self._draws = subject, draws
        self._delay_s = options.delay_ms / 1000
        self._dc = options.dc or (0.5 * spec.high if spec.high is not None and spec.high > 0 else 50_000.0)
        self._depth = subject.profile.ppg_perfusion_percent / 100 * (1 if options.upright else -1)
        self._noise = options.noise_percent / 100 * self._dc * abs(self._depth)
        self._red = np.array(["red" in name.lower() and "infra" not in name.lower() for name in spec.channels])
        self._is_pleth = all(name.lower() == "pleth" for name in spec.channels)
        pulse = self._pulse(probe_times(spec, 10.0))
        low, high = np.percentile(pulse, (1, 99))
        if self._is_pleth:
            if spec.low is None or spec.high is None:
                raise SettingError(f"stream {spec.name!r}: a pleth is scaled to its rails, so it needs low and high")
            height = _PLETH_PULSE * (spec.high - spec.low)
            self._rest = spec.low + _PLETH_FLOOR * (spec.high - spec.low)
            self._height = height if options.upright else -height
            self._rest = self._rest if options.upright else spec.high + spec.low - self._rest
            self._noise = options.noise_percent / 100 * height
            self.span = float(high - low) * height
            return
        self.span = float(high - low) * self._dc * abs(self._depth)

    def _pulse(self, times_s: FloatArray) -> FloatArray:
        """Blood volume pulse (n,), 1 high at rest."""
        wave = np.zeros(len(times_s))
        if not len(times_s):
            return wave
        since, until = times_s[0] - _LATEST_S, times_s[-1] - _EARLIEST_S
        beats = self._subject.beat_events(since - self._delay_s - _LONGEST_PAT_S, until - self._delay_s + 1e-6)
        height = beats.perfusion / _PEAK
        foot = beats.foot_s + self._delay_s
        centre, width = foot + _SYSTOLIC[1], _SYSTOLIC[2]
        add_events(
            wave, times_s, centre - BELL_REACH * width, centre + BELL_REACH * width,
            lambda k, t: height[k] * bell((t - centre[k]) / width),
        )  # fmt: skip
        stretch = np.minimum(np.sqrt(beats.rr_s / 0.8), 1.75)
        late, broad = foot + stretch * _DIASTOLIC[1], stretch * _DIASTOLIC[2]
        add_events(
            wave, times_s, late - BELL_REACH * broad, late + BELL_REACH * broad,
            lambda k, t: _DIASTOLIC[0] * height[k] * bell((t - late[k]) / broad[k]),
        )  # fmt: skip
        return wave

    def render(self, first: int, times_s: FloatArray) -> FloatArray:
        """Values (n, wavelengths) in the stream's unit."""
        if self._is_pleth:
            noise = white(self._draws, first, len(times_s), len(self._red))
            return np.asarray(self._rest + self._height * self._pulse(times_s)[:, None] + self._noise * noise)
        ratio = (110 - self._subject.spo2(times_s)) / 25
        infrared = self._depth * self._pulse(times_s)
        alternating = np.where(self._red, (ratio * infrared)[:, None], infrared[:, None])
        noise = white(self._draws, first, len(times_s), len(self._red))
        return np.asarray(self._dc * (1 + alternating) + self._noise * noise)
