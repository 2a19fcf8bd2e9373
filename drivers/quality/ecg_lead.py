"""One ECG lead, thinned out to the rate that beats need: its beats, their shapes, baseline, noise and hum.

All filters are short weighted means, applied forwards and backwards at once; rows (w, n) are windows and never mix.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy import ndimage

from drivers.quality.ecg_runs import seconds
from drivers.quality.marks import Marks, by_row
from drivers.quality.window_beats import agreement, peaks, strongest
from drivers.quality.windows import LINE_HZ, middle
from drivers.types import FloatArray

_WORK_HZ = 125.0
_FINE_S, _NARROW_S, _WIDE_S = 0.006, 0.010, 0.024
"""Standard deviations of bells. Above the first is noise; the difference of the others passes the QRS complexes' 6 to
18 Hz."""
_LEVEL_S, _BASE_S = 0.08, 0.6
_APART_S, _THRESHOLD = 0.26, 0.43
_BEFORE_S, _AFTER_S = 0.2, 0.3
_RANK = 0.75
_LEFT_OUT = 1 / 3
_NOISE_S, _NOISE_RANK = 0.2, 0.5
_MOST_RATIO = 6.0


@dataclass(frozen=True)
class Lead:
    """One lead (w, n) at 125 to 250 Hz (less where the stream has less)."""

    values: FloatArray
    rate_hz: float
    thinned: int
    """Samples of the stream that each of these is the mean of."""

    @classmethod
    def of(cls, raw: FloatArray, rate_hz: float) -> Lead:
        """Means of as many samples as leave at least 125 Hz, counted from the window's end."""
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
        once = ndimage.uniform_filter1d(values, size, axis=-1, mode="reflect")
        return np.asarray(ndimage.uniform_filter1d(once, size, axis=-1, mode="reflect"))

    @cached_property
    def clean(self) -> FloatArray:
        """(w, n) from about 0.7 to 20 Hz."""
        return np.asarray(self.smooth - self.baseline)

    @cached_property
    def swing(self) -> FloatArray:
        """Usual peak-to-peak of a second, (w,)."""
        return middle(np.ptp(seconds(self.clean, self.rate_hz), axis=-1))

    @cached_property
    def beats(self) -> Marks:
        """R peaks, by the energy around 6 to 18 Hz."""
        banded = self.smooth - _weighted(self.values, _bell(_WIDE_S * self.rate_hz))
        power = ndimage.uniform_filter1d(banded * banded, self.samples(_LEVEL_S), axis=-1, mode="reflect")
        level = np.sqrt(np.maximum(power, 0.0))
        return strongest(np.abs(banded), peaks(level, self.rate_hz, _APART_S, _THRESHOLD), self.samples(0.08))

    def agreement(self) -> FloatArray:
        """How far a second detector, of plain height, finds the same beats, (w,)."""
        centred = np.abs(self.clean - np.median(self.clean, axis=-1, keepdims=True))
        return agreement(self.beats, peaks(centred, self.rate_hz, 0.3, 0.5), self.rate_hz)

    def likeness(self) -> FloatArray:
        """How alike the beats look, (w,): each one's correlation with those it resembles, without the oddest third.

        Of its correlations with the others the one is taken that three quarters stay below: beats of two shapes, as
        with premature ventricular ones, are no fault of the signal. 0 where fewer than two lie whole in the window.
        """
        before, after = self.samples(_BEFORE_S), self.samples(_AFTER_S)
        tops = strongest(np.abs(self.clean), self.beats, self.samples(0.04))
        tops = tops.where((tops.place >= before) & (tops.place + after < self.clean.shape[1]))
        count = tops.counts()
        if count.max(initial=0) < 2:
            return np.zeros(tops.rows)
        shapes = self.clean[tops.row[:, None], tops.place[:, None] + np.arange(-before, after + 1)]
        shapes = shapes - shapes.mean(axis=1, keepdims=True)
        shapes /= np.maximum(np.sqrt((shapes * shapes).sum(axis=1, keepdims=True)), 1e-12)
        return _alike(tops, shapes, count)

    def unevenness(self) -> FloatArray:
        """Longest interval between beats over the shortest, (w,), at most 6; 6 where there are fewer than two."""
        row, length = self.beats.intervals()
        table = by_row(row, length.astype(np.float64), self.beats.rows)
        count = np.isfinite(table).sum(axis=1)
        longest = np.where(np.isfinite(table), table, 0.0).max(axis=1)
        shortest = np.where(np.isfinite(table), table, np.inf).min(axis=1)
        return np.where(count >= 2, np.minimum(longest / shortest, _MOST_RATIO), _MOST_RATIO)

    def wander(self) -> FloatArray:
        """Standard deviation of the baseline, (w,)."""
        centred = self.baseline - self.baseline.mean(axis=-1, keepdims=True)
        return np.asarray(np.sqrt((centred * centred).mean(axis=-1)))

    def line(self, mains_hz: float | None) -> tuple[FloatArray, FloatArray]:
        """Rms of the mains, (w,), and what of it is left in ``noise``; 50 or 60 Hz, the stronger, where not stated."""
        best, left = np.zeros(len(self.values)), np.zeros(len(self.values))
        for hz in (mains_hz,) if mains_hz else LINE_HZ:
            if hz < 0.485 * self.rate_hz:
                found = _tone(seconds(self.values, self.rate_hz), hz / self.rate_hz)
                rest = found * (1 - float(np.exp(-2 * (np.pi * _FINE_S * hz) ** 2)))
                stronger = found > best
                raised = found / _kept(hz / (self.rate_hz * self.thinned), self.thinned)
                best, left = np.where(stronger, raised, best), np.where(stronger, rest, left)
        return best, left

    def noise(self, line: FloatArray) -> FloatArray:
        """Rms of what is above about 30 Hz between the beats, (w,), without the mains' part of it."""
        rest = self.values - _weighted(self.values, _bell(_FINE_S * self.rate_hz))
        step = min(max(2, self.samples(_NOISE_S)), rest.shape[1])
        parts = rest[:, rest.shape[1] % step :].reshape(len(rest), -1, step)
        power = np.sort((parts * parts).mean(axis=-1), axis=1)
        usual = power[:, int(_NOISE_RANK * (power.shape[1] - 1) + 0.5)]
        return np.sqrt(np.maximum(usual - line * line, 0.0))


def _alike(marks: Marks, shapes: FloatArray, count: np.typing.NDArray[np.int64]) -> FloatArray:
    """Mean over each window's unit shapes (k, m) of their upper correlations with its others, (w,)."""
    rows, most = marks.rows, int(count.max())
    table = np.zeros((rows, most, shapes.shape[1]))
    number = np.arange(len(marks)) - marks.firsts()[marks.row]
    table[marks.row, number] = shapes
    each = np.einsum("wkm,wlm->wkl", table, table)
    there = np.arange(most) < count[:, None]
    each = np.where(there[:, :, None] & there[:, None, :], each, np.inf)
    each[:, np.arange(most), np.arange(most)] = np.inf  # a beat always resembles itself
    rank = np.maximum(_RANK * (count - 2) + 0.5, 0).astype(np.int64)
    upper = np.take_along_axis(np.sort(each, axis=2), rank[:, None, None], axis=2)[:, :, 0]
    upper = np.sort(np.where(there, upper, np.inf), axis=1)
    least = (_LEFT_OUT * count).astype(np.int64)
    kept = there & (np.arange(most) >= least[:, None]) & (count[:, None] >= 2)
    # one after the other, whatever else is in the table: a sum's last bit depends on its order
    total = np.cumsum(np.where(kept, upper, 0.0), axis=1)[:, -1]
    return np.asarray(total / np.maximum(count - least, 1))


def _tone(parts: FloatArray, cycles: float) -> FloatArray:
    """Rms of a tone of so many cycles a sample, the median over the parts (w, k, step), (w,)."""
    cosine, sine = _waves(parts.shape[-1], cycles)
    a, b = np.einsum("wkm,m->wk", parts, cosine), np.einsum("wkm,m->wk", parts, sine)
    return middle(np.sqrt(a * a + b * b))


@lru_cache(maxsize=64)
def _waves(count: int, cycles: float) -> tuple[FloatArray, FloatArray]:
    """A tapered cosine and sine; the taper keeps what is 2 Hz away out, and no constant comes through."""
    taper = np.hanning(count + 2)[1:-1]
    taper *= np.sqrt(2) / taper.sum()
    turn = 2 * np.pi * cycles * np.arange(count)
    cosine, sine = taper * np.cos(turn), taper * np.sin(turn)
    return cosine - taper * cosine.sum() / taper.sum(), sine - taper * sine.sum() / taper.sum()


def _kept(cycles: float, every: int) -> float:
    """What a mean of ``every`` samples leaves of a tone of so many cycles a sample."""
    return 1.0 if every == 1 else float(np.sin(np.pi * cycles * every) / (every * np.sin(np.pi * cycles)))


@lru_cache(maxsize=64)
def _bell(deviation: float) -> FloatArray:
    reach = int(np.ceil(3.2 * deviation))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    return np.asarray(weights / weights.sum())


def _weighted(values: FloatArray, weights: FloatArray) -> FloatArray:
    return np.asarray(ndimage.correlate1d(values, weights, axis=-1, mode="reflect"))
