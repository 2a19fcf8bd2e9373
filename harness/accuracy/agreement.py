"""Figures of agreement, each with its interval: mean error, limits of agreement, MAPE, MAE, Arms, shares.

Limits of agreement: Bland and Altman 1999, Stat Methods Med Res 8:135, with their standard error. Intervals of means
are Student's, on the effective number of differences; those of shares Clopper and Pearson's, likewise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from drivers.types import FloatArray
from harness.accuracy.blocks import effective, mean_half, share_interval

Z95 = 1.959964
"""Standard deviations within which 95 % of a normal distribution lie."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure of agreement and what is known of it."""

    value: float
    """NaN where there is nothing to tell it from."""
    low: float
    high: float
    """95 % interval."""
    n: int
    many: float
    """Effective sample size."""

    @property
    def design_effect(self) -> float:
        """n over the effective sample size."""
        return self.n / self.many if self.many else math.nan


def mean_error(errors: FloatArray, most: float = math.inf) -> Figure:
    """Bias: mean of errors (n,). ``most``: no more of them can be independent."""
    n, many = len(errors), effective(errors, most)
    if n < 2:
        return Figure(float(errors.mean()) if n else math.nan, -math.inf, math.inf, n, many)
    value, half = float(errors.mean()), mean_half(float(errors.std(ddof=1)), many)
    return Figure(value, value - half, value + half, n, many)


def mean_size(errors: FloatArray, most: float = math.inf) -> Figure:
    """Mean absolute error: MAE, or MAPE of relative errors; of errors (n,)."""
    sizes = mean_error(np.abs(errors), most)
    return _of_errors(sizes, np.abs(errors), errors, most)


def rms_error(errors: FloatArray, most: float = math.inf) -> Figure:
    """Root mean square error: Arms where it is of oxygen saturation. The interval is that of the mean square."""
    squares = errors * errors
    square = _of_errors(mean_error(squares, most), squares, errors, most)
    low, high = math.sqrt(max(square.low, 0.0)), math.sqrt(square.high)
    return Figure(math.sqrt(square.value), low, high, square.n, square.many)


def _of_errors(found: Figure, sizes: FloatArray, errors: FloatArray, most: float) -> Figure:
    """A mean of sizes (n,), as sure as the errors (n,) allow: their sizes may look more independent than they are."""
    if found.n < 2:
        return Figure(found.value, 0.0, math.inf, found.n, found.many)
    many = min(found.many, effective(errors, most))
    half = mean_half(float(sizes.std(ddof=1)), many)
    return Figure(found.value, max(found.value - half, 0.0), found.value + half, found.n, many)


def limits_of_agreement(errors: FloatArray, most: float = math.inf) -> Figure:
    """How far the further one of the two 95 % limits of agreement, bias -+ 1.96 s, lies from 0; of errors (n,)."""
    n, many = len(errors), effective(errors, most)
    if n < 3 or many < 2:
        return Figure(math.nan, 0.0, math.inf, n, many)
    bias, spread = float(errors.mean()), float(errors.std(ddof=1))
    value = abs(bias) + Z95 * spread
    half = mean_half(spread * math.sqrt(1 + Z95**2 * many / (2 * (many - 1))), many)
    return Figure(value, max(value - half, 0.0), value + half, n, many)


def share(good: np.typing.NDArray[np.bool_], most: float = math.inf) -> Figure:
    """Percent of (n,) that are True."""
    n = len(good)
    if not n:
        return Figure(math.nan, 0.0, 100.0, 0, 0.0)
    many = effective(good.astype(np.float64), most)
    part = float(good.mean())
    low, high = share_interval(part * many, many)
    return Figure(100 * part, 100 * low, 100 * high, n, many)
