"""Electroencephalogram: 1/f background, alpha rhythm that arousal suppresses, and eye blinks, in microvolt."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.signal import lfilter

from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec
from simulators.draws import Draws
from simulators.rendering import Sampled, white
from simulators.subject import Subject
from simulators.units import scaling
from simulators.waveforms import SlowNoise, add_events, cosine

_LOWEST_HZ = 0.5
"""The background is flat below and falls with 1/f in power above."""
_LONGEST_BLINK_S = 0.4
_FRONTAL = ("fp", "af", "f")
_POSTERIOR = ("o", "po", "p", "tp")


@dataclass(frozen=True)
class OPTIONS:
    """Keys of the eeg signal."""

    background_uv: float = field(default=12.0, metadata={"help": "standard deviation of the 1/f background, microvolt"})
    noise_uv: float = field(default=0.5, metadata={"help": "standard deviation of white noise, microvolt"})
    alpha_hz: float = field(default=10.0, metadata={"help": "mean frequency of the alpha rhythm, 8..13"})
    blinks: bool = field(default=True, metadata={"help": "eye blinks on frontal channels"})

    def __post_init__(self) -> None:
        if self.background_uv < 0 or self.noise_uv < 0 or not 6 <= self.alpha_hz <= 14:
            raise SettingError("eeg: background_uv and noise_uv must not be negative and alpha_hz must be 6..14")


def signal(subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> Eeg:
    """The signal of one stream."""
    return Eeg(subject, spec, draws, options)


class Eeg(Sampled):
    """One column per electrode; 10-20 names decide where blinks and alpha are strong."""

    def __init__(self, subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> None:
        if spec.rate_hz is None:
            raise SettingError(f"stream {spec.name!r}: an EEG needs a rate")
        self._subject, self._options = subject, options
        self._background, self._sensor = draws.child("background"), draws.child("sensor")
        self._channels = len(spec.channels)
        self._alpha_gain, self._blink_gain = _placement(spec.channels)
        self._b, self._a = pink_filter(spec.rate_hz)
        self._state = np.zeros((len(self._a) - 1, self._channels))
        self._swell = SlowNoise(draws.child("alpha envelope"), 0.7)
        self._wobble = SlowNoise(draws.child("alpha phase"), 0.5)
        self._scale = scaling(spec, "uV", -200.0, 200.0)
        # 1..99 % of a Gaussian and of the rhythm on it.
        rms = np.hypot(options.background_uv, subject.profile.alpha_uv * float(self._alpha_gain.max()) / np.sqrt(2))
        self.span = float(max(4.65 * rms, 1.0) * abs(self._scale.gain))

    def _alpha(self, times_s: FloatArray) -> FloatArray:
        """Microvolt (n,) where it is strongest: waxing, waning, and away under arousal."""
        arousal = self._subject.arousal(times_s)
        height = self._subject.profile.alpha_uv * (1 - 0.75 * np.maximum(arousal, 0.0))
        envelope = np.maximum(1 + 0.35 * self._swell.at(times_s), 0.1)
        return height * envelope * cosine(self._options.alpha_hz * times_s + 0.15 * self._wobble.at(times_s))

    def _blinks(self, times_s: FloatArray) -> FloatArray:
        wave = np.zeros(len(times_s))
        if self._options.blinks and len(times_s):
            blinks = self._subject.blinks(times_s[0] - _LONGEST_BLINK_S, times_s[-1] + 1e-6)
            onset, length, height = blinks.onset_s, blinks.duration_s, blinks.amplitude_uv
            add_events(
                wave, times_s, onset, onset + length,
                lambda k, t: height[k] * (0.5 - 0.5 * cosine((t - onset[k]) / length[k])),
            )  # fmt: skip
        return wave

    def render(self, first: int, times_s: FloatArray) -> FloatArray:
        """Values (n, electrodes) in the stream's unit."""
        if not len(times_s):
            return np.empty((0, self._channels))
        flat = white(self._background, first, len(times_s), self._channels)
        pink, self._state = lfilter(self._b, self._a, flat, axis=0, zi=self._state)
        values = self._options.background_uv * pink
        values += self._alpha(times_s)[:, None] * self._alpha_gain
        values += self._blinks(times_s)[:, None] * self._blink_gain
        values += self._options.noise_uv * white(self._sensor, first, len(times_s), self._channels)
        return self._scale(values)


def pink_filter(rate_hz: float) -> tuple[FloatArray, FloatArray]:
    """(b, a) that turns N(0, 1) into noise of variance 1 whose power falls with 1/f from 0.5 Hz on.

    A pole and, an octave above it, a zero, every two octaves: 10 dB a decade within 1 dB.
    """
    corners = _LOWEST_HZ * 4.0 ** np.arange(np.ceil(np.log(rate_hz / 4 / _LOWEST_HZ) / np.log(4)))
    if not len(corners):
        return np.ones(1), np.ones(1)
    a = np.poly(np.exp(-2 * np.pi * corners / rate_hz))
    b = np.poly(np.exp(-2 * np.pi * 2 * corners / rate_hz))
    impulse = np.zeros(round(10 * rate_hz))
    impulse[0] = 1.0
    gain = 1 / np.sqrt(np.sum(lfilter(b, a, impulse) ** 2))
    return np.asarray(gain * b, dtype=np.float64), np.asarray(a, dtype=np.float64)


def _placement(names: tuple[str, ...]) -> tuple[FloatArray, FloatArray]:
    """(alpha gain, blink gain) of each electrode; unnamed ones go from front to back."""
    alpha, blink = [], []
    for number, name in enumerate(names):
        site = name.lower().strip("0123456789z ")
        depth = number / max(len(names) - 1, 1)
        if site in _FRONTAL:
            depth = 0.0
        elif site in _POSTERIOR:
            depth = 1.0
        alpha.append(0.3 + 0.7 * depth)
        blink.append(1 - 0.95 * depth)
    return np.array(alpha), np.array(blink)
