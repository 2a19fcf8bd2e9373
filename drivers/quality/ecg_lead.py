"""One ECG lead, thinned out to the rate that beats need: its beats, their shapes, baseline, noise and hum.

All filters are short weighted means, applied forwards and backwards at once; rows (w, n) are windows and never mix.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy import ndimage

from drivers.quality.mains import tone_rms
from drivers.quality.marks import Marks
from drivers.quality.rows import middle, stretches
from drivers.quality.window_beats import agreement, mutual_likeness, peaks, strongest, unevenness
from drivers.quality.windows import LINE_HZ
from drivers.types import FloatArray

_WORK_HZ = 125.0
_FINE_S, _NARROW_S, _WIDE_S = 0.006, 0.010, 0.024
"""Standard deviations of bells. Above the first is noise; the difference of the others passes the QRS complexes' 6 to
18 Hz."""
_LEVEL_S, _BASE_S = 0.08, 0.6
_APART_S, _THRESHOLD = 0.26, 0.43
_PLAIN_APART_S, _PLAIN_THRESHOLD = 0.3, 0.5
_BEFORE_S, _AFTER_S = 0.2, 0.3
_NOISE_S = 0.2


@dataclass(frozen=True)
class Lead:
    """One lead (w, n) at 125 to 250 Hz (less where the stream has less)."""

    values: FloatArray
    rate_hz: float
    thinned: int
    """Samples of the stream that each of these is the mean of."""

    @classmethod
    def of(cls, raw: FloatArray, rate_hz: float) -> Lead:
        """Of samples (w, n): means of as many as leave at least 125 Hz, counted from the window's end."""
        every = max(1, int(rate_hz // _WORK_HZ))
        if every == 1 or raw.shape[1] < 4 * every:
            return cls(raw, rate_hz, 1)
        cut = raw[:, raw.shape[1] % every :]
        total = cut[:, 0::every] + cut[:, 1::every]
        for number in range(2, every):
            total += cut[:, number::every]
        total /= every
        return cls(total, rate_hz / every, every)

    def samples(self, length_s: float) -> int:
        """At least one."""
        return max(1, round(length_s * self.rate_hz))

    @cached_property
    def smooth(self) -> FloatArray:
        """(w, n) below about 20 Hz."""
        return _weighted(self.values, _bell(_NARROW_S * self.rate_hz))

    @cached_property
    def baseline(self) -> FloatArray:
        """(w, n) what is below about 0.7 Hz."""
        first = self._slow(self.values)
        return first + self._slow(self.values - first)

    def _slow(self, values: FloatArray) -> FloatArray:
        size = min(self.samples(_BASE_S), values.shape[1])
        return _mean_of(_mean_of(values, size), size)

    @cached_property
    def clean(self) -> FloatArray:
        """(w, n) from about 0.7 to 20 Hz."""
        return self.smooth - self.baseline

    @cached_property
    def swing(self) -> FloatArray:
        """Usual peak-to-peak of a second, (w,)."""
        parts = stretches(self.clean, max(2, self.samples(1.0)))
        return middle(parts.max(axis=-1) - parts.min(axis=-1))

    @cached_property
    def beats(self) -> Marks:
        """R peaks, by the energy around 6 to 18 Hz."""
        banded = self.smooth - _weighted(self.values, _bell(_WIDE_S * self.rate_hz))
        power = _mean_of(banded * banded, self.samples(_LEVEL_S))
        level = np.sqrt(np.maximum(power, 0.0, out=power), out=power)
        found = peaks(level, self.rate_hz, _APART_S, _THRESHOLD)
        return strongest(np.abs(banded, out=banded), found, self.samples(0.08))

    def agreement(self) -> FloatArray:
        """How far a second detector, of plain height, finds the same beats, (w,)."""
        height = np.abs(self.clean)
        second = peaks(height, self.rate_hz, _PLAIN_APART_S, _PLAIN_THRESHOLD)
        return agreement(self.beats, second, self.rate_hz, height.shape[1])

    def likeness(self) -> FloatArray:
        """How alike the beats look, (w,), see there."""
        return mutual_likeness(self.clean, self.beats, self.samples(_BEFORE_S), self.samples(_AFTER_S))

    def unevenness(self) -> FloatArray:
        """Longest interval between beats over the shortest, (w,), see there."""
        return unevenness(self.beats)

    def wander(self) -> FloatArray:
        """Standard deviation of the baseline, (w,)."""
        count = self.baseline.shape[1]
        centred = self.baseline - self.baseline.sum(axis=-1, keepdims=True) / count
        centred *= centred
        return np.asarray(np.sqrt(centred.sum(axis=-1) / count))

    def line(self, mains_hz: float | None) -> tuple[FloatArray, FloatArray]:
        """Rms of the mains, (w,), and what of it is left in ``noise``; 50 or 60 Hz, the stronger, where not stated."""
        best, left = np.zeros(len(self.values)), np.zeros(len(self.values))
        parts = stretches(self.values, max(2, self.samples(1.0)))
        for hz in (mains_hz,) if mains_hz else LINE_HZ:
            if hz < 0.485 * self.rate_hz:
                found = tone_rms(parts, hz / self.rate_hz)
                rest = found * (1 - float(np.exp(-2 * (np.pi * _FINE_S * hz) ** 2)))
                raised = found / _kept(hz / (self.rate_hz * self.thinned), self.thinned)
                left = np.where(raised > best, rest, left)
                best = np.maximum(raised, best)
        return best, left

    def noise(self, line: FloatArray) -> FloatArray:
        """Rms of what is above about 30 Hz between the beats, (w,), without the mains' part of it."""
        rest = self.values - _weighted(self.values, _bell(_FINE_S * self.rate_hz))
        parts = stretches(rest, max(2, self.samples(_NOISE_S)))
        usual = middle((parts * parts).sum(axis=-1)) / parts.shape[-1]
        return np.asarray(np.sqrt(np.maximum(usual - line * line, 0.0)))


def _kept(cycles: float, every: int) -> float:
    """What a mean of ``every`` samples leaves of a tone of so many cycles a sample."""
    return 1.0 if every == 1 else float(np.sin(np.pi * cycles * every) / (every * np.sin(np.pi * cycles)))


@lru_cache(maxsize=64)
def _bell(deviation: float) -> FloatArray:
    """A Gaussian (2 k + 1,) of that standard deviation in samples; its sum is 1."""
    reach = int(np.ceil(3.2 * deviation))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    return np.asarray(weights / weights.sum())


def _weighted(values: FloatArray, weights: FloatArray) -> FloatArray:
    """(w, n) of (w, n): each sample's surroundings, mirrored at the ends, by weights (2 k + 1,)."""
    found = np.empty_like(values)  # scipy takes a third of the filter's time to make one
    ndimage.correlate1d(values, weights, axis=-1, output=found, mode="reflect")
    return found


def _mean_of(values: FloatArray, size: int) -> FloatArray:
    """(w, n) of (w, n): means over ``size`` samples around each."""
    found = np.empty_like(values)
    ndimage.uniform_filter1d(values, size, axis=-1, output=found, mode="reflect")
    return found
