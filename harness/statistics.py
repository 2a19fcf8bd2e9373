"""The statistics of judgement, on scipy's distributions: bounds that hold, and how much data they need."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from drivers.types import FloatArray


@dataclass(frozen=True, slots=True)
class QuantileBounds:
    """A quantile of a sample with a distribution-free interval by order statistics.

    ``low`` and ``high`` are each one-sided bounds at ``confidence``; None where n is too small for one.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    confidence: float


def quantile_bounds(values: FloatArray, quantile: float, confidence: float = 0.95) -> QuantileBounds:
    """Bounds of a quantile from values (n,), which may hold inf for events that never ended.

    Order statistics: at most k values lie above the quantile with the probability that a binomial gives
    (Hahn and Meeker, Statistical Intervals, section 5.2).
    """
    n = len(values)
    if n == 0:
        return QuantileBounds(math.nan, None, None, 0, confidence)
    ordered = np.sort(values)
    value = float(ordered[min(n - 1, max(0, math.ceil(quantile * n) - 1))])
    upper = int(stats.binom.ppf(confidence, n, quantile))  # rank upper+1 covers, if there is one
    lower = int(stats.binom.ppf(1 - confidence, n, quantile))
    return QuantileBounds(
        value,
        float(ordered[lower - 1]) if lower >= 1 else None,
        float(ordered[upper]) if upper < n else None,
        n,
        confidence,
    )


def needed_for_quantile(quantile: float, confidence: float = 0.95) -> int:
    """The smallest n for which the largest of n values bounds the quantile from above: 299 for p99 at 95 %."""
    return math.ceil(math.log(1 - confidence) / math.log(quantile))


def share_interval(events: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a proportion (two-sided), for independent trials."""
    if n == 0:
        return 0.0, 1.0
    found = stats.binomtest(events, n).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)


def rate_upper_bound(events: int, hours: float, confidence: float = 0.95) -> float:
    """Upper bound of a Poisson rate, per hour, after ``events`` in ``hours``."""
    if hours <= 0:
        return math.inf
    return float(stats.chi2.ppf(confidence, 2 * events + 2) / 2 / hours)


def judge_share(misses: int, n: int, allowed: float, confidence: float = 0.95) -> bool | None:
    """Is the true share of misses at most ``allowed``? True or False when shown, None when not yet."""
    if n == 0:
        return None
    if stats.binom.cdf(misses, n, allowed) < 1 - confidence:
        return True
    if misses and stats.binom.sf(misses - 1, n, allowed) < 1 - confidence:
        return False
    return None
