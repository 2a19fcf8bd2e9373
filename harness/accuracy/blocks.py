"""How much independent evidence a series of differences holds, and intervals of means that allow for it.

Differences of neighbouring windows, values or intervals depend on each other, so that n of them say less than n
would. The design effect is how much less: the effective sample size is n over it (Geyer 1992, Stat Sci 7:473, for the
estimate from the autocorrelation: pairs of neighbouring lags are summed as long as their sum is positive).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from drivers.types import FloatArray

_LONGEST = 64
"""Lags that are looked at."""


def design_effect(series: FloatArray) -> float:
    """Variance of the mean of a series (n,) over that of as many independent values; 1 where it does not vary.

    Never less than 1: intervals do make up for each other's errors, but how well is known from few of them only.
    """
    n = len(series)
    if n < 4:
        return 1.0
    centred = series - series.mean()
    power = float(centred @ centred)
    if power <= 1e-20 * max(float(series @ series), 1e-300):
        return 1.0
    lags = min(_LONGEST, n // 2)
    correlation = np.array([float(centred[: n - lag] @ centred[lag:]) for lag in range(lags)]) / power
    pairs = correlation[: lags // 2 * 2].reshape(-1, 2).sum(axis=1)
    ended = np.flatnonzero(pairs <= 0)
    kept = pairs[: ended[0]] if len(ended) else pairs
    effect = 2 * float(kept.sum()) - 1 if len(kept) else 1 + 2 * float(correlation[1])
    return max(effect, 1.0)


def effective(series: FloatArray, most: float = math.inf) -> float:
    """Effective sample size of a series (n,): n over its design effect, no more than ``most``, and 1 at least."""
    n = len(series)
    return float(max(min(n / design_effect(series), most), 1.0)) if n else 0.0


def mean_half(deviation: float, many: float, confidence: float = 0.95) -> float:
    """Half of the interval of a mean by Student's t: from the values' standard deviation and their effective number."""
    if many < 1.5:
        return math.inf
    return float(special.stdtrit(many - 1, 0.5 + confidence / 2)) * deviation / math.sqrt(many)


def share_interval(events: float, many: float, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a share, two-sided, for counts that need not be whole, such as effective ones."""
    if many <= 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    rest = max(many - events, 0.0)
    low = float(special.betaincinv(events, rest + 1, tail)) if events > 0 else 0.0
    high = float(special.betaincinv(events + 1, rest, 1 - tail)) if rest > 0 else 1.0
    return low, high
