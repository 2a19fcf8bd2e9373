"""Beats and pulses within windows (w, n), for scores: each window is searched for itself, from its first sample on.

Whole recordings are for ``drivers.quality.beats``, which remembers what came before.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, signal

from drivers.quality.marks import Marks, by_row
from drivers.quality.windows import Windows, middle, ramp
from drivers.types import FloatArray

_REFRACTORY_S = 0.26
_STRETCH_S = 1.5
"""Holds at least one beat down to 40 beats a minute."""
_MATCH_S = 0.15


def energy_beats(banded: FloatArray, rate_hz: float) -> Marks:
    """R peaks from the 8..20 Hz band (w, n): peaks of its energy over 0.1 s."""
    width = max(1, round(0.1 * rate_hz))
    level = np.sqrt(np.maximum(ndimage.uniform_filter1d(banded * banded, width, axis=-1, mode="nearest"), 0))
    return strongest(np.abs(banded), peaks(level, rate_hz, _REFRACTORY_S, 0.38), round(0.08 * rate_hz))


def amplitude_beats(clean: FloatArray, rate_hz: float) -> Marks:
    """A second opinion of another kind: peaks of the baseline-free lead (w, n) itself, whatever their frequency."""
    centred = np.abs(clean - np.median(clean, axis=-1, keepdims=True))
    return peaks(centred, rate_hz, 0.3, 0.5)


def pulses(rise: FloatArray, rate_hz: float) -> Marks:
    """Steepest rises of a PPG channel, from the slope (w, n) of its 0.5..4 Hz band."""
    return peaks(np.maximum(rise, 0), rate_hz, 0.33, 0.4)


def peaks(level: FloatArray, rate_hz: float, apart_s: float, threshold: float) -> Marks:
    """Local maxima of ``level`` (w, n) that reach ``threshold`` of the median of the maxima of its stretches."""
    rows, count = level.shape
    step, apart = max(1, round(_STRETCH_S * rate_hz)), max(1, round(apart_s * rate_hz))
    stretches = level[:, count % step :].reshape(rows, -1, step) if count >= step else level[:, None, :]
    floor = threshold * middle(stretches.max(axis=-1))
    # Rows lie end to end with silence between them; of equally high peaks the earlier one wins, wherever its row lies.
    padded = np.zeros((rows, count + apart + 1))
    padded[:, 1 : count + 1] = level * (1 - 1e-9 * np.arange(count) / count)
    places = signal.find_peaks(padded.ravel(), distance=apart)[0]
    row, place = np.divmod(places, count + apart + 1)
    place -= 1
    inside = (place > 0) & (place < count - 1)
    row, place = row[inside], place[inside]
    high = level[row, place]
    kept = (high >= floor[row]) & (high > 0)
    return Marks(row[kept], place[kept], rows)


def strongest(level: FloatArray, marks: Marks, reach: int) -> Marks:
    """The largest ``level`` (w, n) within ``reach`` samples of each mark."""
    if not len(marks):
        return marks
    around = np.clip(marks.place[:, None] + np.arange(-reach, reach + 1), 0, level.shape[1] - 1)
    best = np.argmax(level[marks.row[:, None], around], axis=1)
    return Marks(marks.row, around[np.arange(len(marks)), best], marks.rows)


def likeness(clean: FloatArray, marks: Marks, before: int, after: int) -> FloatArray:
    """Mean correlation of each window's beats with their mean, (w,); 0 where fewer than three lie whole in it."""
    marks = marks.where((marks.place >= before) & (marks.place + after < clean.shape[1]))
    if not len(marks):
        return np.zeros(marks.rows)
    shapes = clean[marks.row[:, None], marks.place[:, None] + np.arange(-before, after + 1)]
    shapes = shapes - shapes.mean(axis=1, keepdims=True)
    shapes /= np.maximum(np.sqrt((shapes * shapes).sum(axis=1, keepdims=True)), 1e-12)
    total, count = marks.sums(shapes), marks.counts()
    # unit shapes: the sum of their correlations with the mean is |sum|^2 / |sum|
    length = np.sqrt((total * total).sum(axis=1))
    return np.where(count >= 3, length / np.maximum(count, 1), 0.0)


def agreement(first: Marks, second: Marks, rate_hz: float) -> FloatArray:
    """Beats that both detectors found within 150 ms, of all that either found, (w,)."""
    if not len(first) or not len(second):
        return np.zeros(first.rows)
    apart = int(max(first.place.max(), second.place.max()) + rate_hz)  # rows lie so far apart that none meets another
    here, there = first.row * apart + first.place, second.row * apart + second.place
    near = np.searchsorted(there, here)
    distance = np.minimum(
        np.abs(there[np.minimum(near, len(there) - 1)] - here), np.abs(there[np.maximum(near - 1, 0)] - here)
    )
    both = np.bincount(first.row, weights=distance <= _MATCH_S * rate_hz, minlength=first.rows)
    return np.asarray(both / np.maximum(first.counts() + second.counts() - both, 1))


def rhythm(windows: Windows, marks: Marks, slowest: float = 24.0, fastest: float = 230.0) -> FloatArray:
    """1 where the rate is one that a heart can have and the longest interval is no multiple of the usual, (w,)."""
    rate = marks.counts() / (windows.length_s / 60)
    return ramp(interval_ratio(marks), 5.0, 2.5) * ((rate >= slowest) & (rate <= fastest))


def interval_ratio(marks: Marks) -> FloatArray:
    """Longest interval over the usual one, (w,); infinite where there are fewer than two."""
    row, length = marks.intervals()
    table = np.sort(by_row(row, length.astype(np.float64), marks.rows), axis=1)  # NaN sorts last
    count = np.isfinite(table).sum(axis=1)
    lines = np.arange(marks.rows)
    usual, longest = table[lines, count // 2 % table.shape[1]], table[lines, np.maximum(count - 1, 0)]
    ratio = np.full(marks.rows, np.inf)
    return np.asarray(np.divide(longest, usual, out=ratio, where=count >= 2))
