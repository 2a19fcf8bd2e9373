"""What every alignment of contents says, and how a location and a drift come out of single differences."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from drivers.types import FloatArray

CLEAR = 1.2
"""Peak to side lobe from which an alignment is taken as the only one."""
_BEND = 2.0
"""Differences further off than so many standard deviations count as if they were just so far off."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the record that lags otherwise than the rest."""

    start_s: float
    stop_s: float
    lag_ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True, slots=True)
class Alignment:
    """How much later the same content stands in b than in a, by their time stamps. Intervals hold with 95 %.

    The interval is about chance only. What a method cannot know, such as how long a pulse travels, is the reader's.
    """

    lag_ms: float
    """NaN if refused."""
    low_ms: float
    high_ms: float
    n: int
    """Events matched; for a whole waveform the independent stretches that the interval rests on."""
    ratio: float
    """The best alignment against the next best one a beat, breath or tap away: peak to side lobe."""
    drift_ppm: float = math.nan
    """How fast the lag grows, microseconds per second; b's clock is slow where it is positive."""
    drift_low_ppm: float = -math.inf
    drift_high_ppm: float = math.inf
    refused: str | None = None
    """Why no lag is stated, and what to do; None if one is."""
    still: bool = False
    """Refused because the content moves too little."""
    parts: tuple[Part, ...] = ()
    """Where the lag is surely another than the one that is stated."""

    @property
    def half_ms(self) -> float:
        """Half the width of the lag's interval."""
        return (self.high_ms - self.low_ms) / 2


def refuse(reason: str, n: int = 0, ratio: float = math.nan, still: bool = False) -> Alignment:
    """No lag, and why."""
    return Alignment(math.nan, -math.inf, math.inf, n, ratio, refused=reason, still=still)


def settle(at_s: FloatArray, lag_s: FloatArray, ratio: float) -> Alignment:
    """From single differences (n,) at times (n,), stray ones among them, to a lag at their middle and a drift."""
    lag, half = location(lag_s)
    slope, slope_half = line(at_s - at_s.mean(), lag_s)
    return Alignment(
        1e3 * lag, 1e3 * (lag - half), 1e3 * (lag + half), len(lag_s), ratio,
        1e6 * slope, 1e6 * (slope - slope_half), 1e6 * (slope + slope_half),
    )  # fmt: skip


def location(values: FloatArray) -> tuple[float, float]:
    """Huber's location of (n,) and half of its 95 % interval; infinite for fewer than three."""
    n = len(values)
    if n < 3:
        return (float(np.median(values)) if n else math.nan), math.inf
    centre, bend = float(np.median(values)), _BEND * _scale(values)
    for _ in range(4):
        centre += float(np.clip(values - centre, -bend, bend).mean())
    off = np.clip(values - centre, -bend, bend)
    inside = max(int((np.abs(values - centre) <= bend).sum()), 1)
    error = math.sqrt(float(off @ off) * n / (n - 1)) / inside
    return centre, float(stats.t.ppf(0.975, n - 1)) * error


def line(away: FloatArray, values: FloatArray) -> tuple[float, float]:
    """Slope of a robust line through values (n,) at ``away`` (n,), and half of its 95 % interval."""
    n = len(values)
    power = float(away @ away)
    if n < 4 or power <= 0:
        return math.nan, math.inf
    order, half = np.argsort(away, kind="stable"), n // 2
    first, last = order[:half], order[n - half :]
    gaps = away[last] - away[first]
    slope = float(np.median((values[last] - values[first])[gaps > 0] / gaps[gaps > 0]))
    rest = values - slope * away
    rest = rest - np.median(rest)
    for _ in range(6):
        bend = _BEND * _scale(rest)
        weight = bend / np.maximum(np.abs(rest), bend)
        total = weight.sum()
        x = away - float(weight @ away) / total
        level = float(weight @ values) / total
        slope = float((weight * x) @ (values - level)) / max(float((weight * x) @ x), 1e-30)
        rest = values - level - slope * x
    bend = _BEND * _scale(rest)
    off = np.clip(rest, -bend, bend)
    inside = max(float((np.abs(rest) <= bend).mean()), 0.1)
    error = math.sqrt(float(off @ off) / (n - 2) / power) / inside
    return slope, float(stats.t.ppf(0.975, n - 2)) * error


def _scale(values: FloatArray) -> float:
    """Robust standard deviation of (n,), never nothing."""
    off = np.abs(values - np.median(values))
    return max(1.4826 * float(np.median(off)), 1e-9)
