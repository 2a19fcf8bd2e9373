"""Pulses within windows (w, n), for scores: each window is searched for itself, from its first sample on.

Whole recordings are for ``drivers.quality.beats``, which remembers what came before.
"""

from __future__ import annotations

import numpy as np
from scipy import signal

from drivers.quality.marks import Marks
from drivers.quality.rows import middle
from drivers.types import FloatArray

_STRETCH_S = 1.5
"""Holds at least one beat down to 40 beats a minute."""


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
