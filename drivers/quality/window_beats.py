"""Beats and pulses within windows (w, n), for scores: each window is searched for itself, from its first sample on.

What is found, and how alike, how even and how agreed upon it is, for many windows as for one. Arrays are small where
one window is scored alone, so that what costs is the number of calls: these functions make few. Whole recordings are
for ``drivers.quality.beats``, which remembers what came before.
"""

from __future__ import annotations

import numpy as np

from drivers.quality.marks import Marks, by_row
from drivers.quality.rows import middle, stretches
from drivers.types import FloatArray, IntArray

STRETCH_S = 1.5
"""Holds at least one beat down to 40 beats a minute."""
_MATCH_S = 0.15
"""Two detectors mean the same beat so near to each other."""
_RANK = 0.75
"""Of a beat's correlations with the others: the share that lies below the one that is taken."""
_LEFT_OUT = 1 / 3
_MOST_RATIO = 6.0


def peaks(level: FloatArray, rate_hz: float, apart_s: float, threshold: float, ends: bool = False) -> Marks:
    """Local maxima of ``level`` (w, n) that reach ``threshold`` of the median of the maxima of its stretches.

    Of two nearer than ``apart_s`` the higher stays, the highest first; of equals the earlier. The first and the last
    sample are no peaks; with ``ends`` they displace what is near them all the same, as the flanks of pulses outside.
    """
    count = level.shape[1]
    tops = stretches(level, max(1, round(STRETCH_S * rate_hz))).max(axis=-1)
    found = level >= np.maximum(threshold * middle(tops), 1e-300)[:, None]
    found[:, 1:] &= level[:, 1:] > level[:, :-1]
    found[:, :-1] &= level[:, :-1] >= level[:, 1:]
    if not ends:
        found[:, 0] = found[:, -1] = False
    row, place = np.divmod(np.flatnonzero(found), count)
    marks = _apart(Marks(row, place, len(level)), level[row, place], max(1, round(apart_s * rate_hz)))
    return marks.where((marks.place > 0) & (marks.place < count - 1)) if ends else marks


def _apart(marks: Marks, height: FloatArray, apart: int) -> Marks:
    """Those (k,) of the given ``height`` (k,) that no higher one within ``apart`` samples displaces."""
    near = (marks.place[1:] - marks.place[:-1] < apart) & (marks.row[1:] == marks.row[:-1])
    if not near.any():
        return marks
    kept = np.ones(len(marks), dtype=bool)
    linked, places = [False, *near.tolist(), False], marks.place.tolist()
    for best in np.argsort(-height, kind="stable").tolist():
        if kept[best]:
            other = best
            while linked[other] and places[best] - places[other - 1] < apart:
                other -= 1
                kept[other] = False
            other = best + 1
            while linked[other] and places[other] - places[best] < apart:
                kept[other] = False
                other += 1
    return marks.where(kept)


def strongest(level: FloatArray, marks: Marks, reach: int) -> Marks:
    """The largest ``level`` (w, n) within ``reach`` samples of each mark."""
    around = marks.place[:, None] + np.arange(-reach, reach + 1)
    np.minimum(np.maximum(around, 0, out=around), level.shape[1] - 1, out=around)
    best = level[marks.row[:, None], around].argmax(axis=1)
    return Marks(marks.row, around[np.arange(len(best)), best], marks.rows)


def agreement(first: Marks, second: Marks, rate_hz: float, count: int) -> FloatArray:
    """Beats that both detectors found within 150 ms, of all that either found, (w,); rows have ``count`` samples."""
    if not len(first.place) or not len(second.place):
        return np.zeros(first.rows)
    apart = count + round(rate_hz)  # rows lie so far apart that none meets another
    here, there = first.row * apart + first.place, second.row * apart + second.place
    there = np.concatenate([[-apart], there, [there[-1] + apart * first.rows]])
    after = np.searchsorted(there, here)
    near = np.minimum(there[after] - here, here - there[after - 1]) <= _MATCH_S * rate_hz
    both = np.bincount(first.row, weights=near, minlength=first.rows)
    return np.asarray(both / np.maximum(first.counts() + second.counts() - both, 1))


def unevenness(marks: Marks) -> FloatArray:
    """Longest interval between beats over the shortest, (w,), at most 6; 6 where there are fewer than two.

    For the ECG, where one beat that is missed or seen twice tells of noise. Pulses are judged by the intervals' spread
    instead (``drivers.quality.ppg``): their steepest rise trembles, and the longest and the shortest say mostly that.
    """
    result = np.full(marks.rows, _MOST_RATIO)
    row, length = marks.intervals()
    if len(row):
        first = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]]))
        longest, shortest = np.maximum.reduceat(length, first), np.minimum.reduceat(length, first)
        several = np.bincount(row, minlength=marks.rows)[row[first]] >= 2
        result[row[first]] = np.where(several, np.minimum(longest / shortest, _MOST_RATIO), _MOST_RATIO)
    return result


def template_likeness(clean: FloatArray, marks: Marks, before: int, after: int) -> FloatArray:
    """Mean correlation of each window's beats with their mean shape, (w,); 0 where fewer than three lie whole in it."""
    marks, shapes = _shapes(clean, marks, before, after)
    total, count = marks.sums(shapes), marks.counts()
    # unit shapes: the sum of their correlations with the mean is |sum|^2 / |sum|
    length = np.sqrt((total * total).sum(axis=1))
    return np.where(count >= 3, length / np.maximum(count, 1), 0.0)


def mutual_likeness(clean: FloatArray, marks: Marks, before: int, after: int) -> FloatArray:
    """How alike the beats look, (w,): each one's correlation with those it resembles, without the oddest third.

    Of its correlations with the others the one is taken that three quarters stay below: beats of two shapes, as
    with premature ventricular ones, are no fault of the signal. Pulses come in one shape, for which the mean is
    template enough. 0 where fewer than two lie whole in the window.
    """
    marks, shapes = _shapes(clean, marks, before, after)
    count = marks.counts()
    if count.max(initial=0) < 2:
        return np.zeros(marks.rows)
    return _mutual(by_row(marks.row, shapes, marks.rows, 0.0), count)


def _shapes(clean: FloatArray, marks: Marks, before: int, after: int) -> tuple[Marks, FloatArray]:
    """The marks (k,) that lie whole in their windows (w, n), and the shapes around them, (k, m): mean 0, length 1."""
    marks = marks.where((marks.place >= before) & (marks.place + after < clean.shape[1]))
    shapes = clean[marks.row[:, None], marks.place[:, None] + np.arange(-before, after + 1)]
    shapes -= shapes.sum(axis=1, keepdims=True) / shapes.shape[1]
    shapes /= np.maximum(np.sqrt((shapes * shapes).sum(axis=1, keepdims=True)), 1e-12)
    return marks, shapes


def _mutual(shapes: FloatArray, count: IntArray) -> FloatArray:
    """The same of shapes (w, most, m), of which ``count`` (w,) are there."""
    rows, most = shapes.shape[:2]
    each = np.einsum("wkm,wlm->wkl", shapes, shapes)
    number = np.arange(most)
    there = number < count[:, None]
    each[~(there[:, :, None] & there[:, None, :])] = np.inf
    each[:, number, number] = np.inf  # a beat always resembles itself
    each.sort(axis=2)
    rank = np.maximum(_RANK * (count - 2) + 0.5, 0).astype(np.int64)
    upper = each[np.arange(rows)[:, None], number, rank[:, None]]
    upper[~there] = np.inf
    upper.sort(axis=1)
    least = (_LEFT_OUT * count).astype(np.int64)
    kept = there & (number >= least[:, None]) & (count[:, None] >= 2)
    # one after the other, whatever else is in the table: a sum's last bit depends on its order
    total = np.where(kept, upper, 0.0).cumsum(axis=1)[:, -1]
    return np.asarray(total / np.maximum(count - least, 1))
