"""Rows (w, n) of numbers, one window of one channel each: cut, ranked and compared within a row, never across rows."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from drivers.types import FloatArray

Mask: TypeAlias = NDArray[np.bool_]
Number = TypeVar("Number", np.float64, np.bool_)


def stretches(values: NDArray[Number], step: int) -> NDArray[Number]:
    """(..., n) cut into stretches of ``step`` from the end backwards, (..., k, step); all in one if there are fewer."""
    count = values.shape[-1]
    if count < step:
        return values[..., None, :]
    return values[..., count % step :].reshape(*values.shape[:-1], -1, step)


def means(values: FloatArray, rate_hz: float, step_s: float) -> tuple[FloatArray, float]:
    """Means of (w, n) over ``step_s``, but at least a sample, from the end backwards: (w, k) and their rate in Hz."""
    blocks = stretches(values, max(1, round(rate_hz * step_s)))
    return blocks.mean(axis=-1), rate_hz / blocks.shape[-1]


def middle(values: FloatArray) -> FloatArray:
    """Upper median of each row of (w, k), (w,)."""
    return np.asarray(np.sort(values, axis=-1)[:, values.shape[-1] // 2])


def unchanged(values: FloatArray, within: float = 0.0) -> Mask:
    """Which of (..., n) differ by no more than ``within`` from the one before; the first of a row never does."""
    same = np.zeros(values.shape, dtype=bool)
    after, before, found = values[..., 1:], values[..., :-1], same[..., 1:]
    if within > 0:
        np.less_equal(np.abs(after - before), within, out=found)
    else:
        np.equal(after, before, out=found)
    return same


def extremes(values: FloatArray, reach: int) -> tuple[Mask, Mask]:
    """Which of (w, n) are the highest and which the lowest within ``reach`` samples, (w, n) each; none at rest."""
    highest = ndimage.maximum_filter1d(values, 2 * reach + 1, axis=-1, mode="nearest")
    lowest = ndimage.minimum_filter1d(values, 2 * reach + 1, axis=-1, mode="nearest")
    moves = highest > lowest
    return (values == highest) & moves, (values == lowest) & moves


def white_noise(values: FloatArray) -> FloatArray:
    """Standard deviation of white noise in (w, k), (w,), from the second difference: free of level and slope.

    Its median is 0.6745 * sqrt(6) = 1.652 of them, whatever a few steep changes add. 0 of fewer than four values.
    """
    if values.shape[1] < 4:
        return np.zeros(len(values))
    return middle(np.abs(np.diff(values, n=2, axis=1))) / 1.652
