"""Two lists of moments that are the same events, each with strays and misses: the lag at which they fall together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from drivers.types import FloatArray
from harness.content.alignment import CLEAR, Alignment, refuse, settle

_STEP_S = 0.002
_MARGIN = 0.15
"""So much more of the events must agree at the best lag than at the next best: a ratio of few votes says little."""
_NEAREST_LOBE = 0.5
"""A side lobe is at least so much of the usual interval away from the peak."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """What is matched, and how it is called where an alignment is refused."""

    name: str
    """Plural: ``beats``."""
    blur_s: float = 0.010
    """Standard deviation with which the same event is expected to differ, b against a."""
    fewest: int = 6
    """Events that must match."""
    share: float = 0.5
    """Of the events that could match, so many must."""
    cure: str = "take a longer stretch, or one in which the rhythm changes"


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """Which moments are the same event."""

    at_s: FloatArray
    """(n,) by a's stamps."""
    lag_s: FloatArray
    """(n,) how much later b has them."""
    ratio: float
    refused: Alignment | None = None

    def alignment(self) -> Alignment:
        """Lag and drift, or why there are none."""
        return self.refused or settle(self.at_s, self.lag_s, self.ratio)


def _refuse(reason: str, n: int, ratio: float = float("nan")) -> Match:
    return Match(np.empty(0), np.empty(0), ratio, refuse(reason, n, ratio))


def match_events(a_s: FloatArray, b_s: FloatArray, rhythm: Rhythm, reach_s: float = 3.0) -> Match:
    """The lag of the moments b_s (m,) against a_s (n,), both ascending, in s, looked for within +-reach_s.

    Every difference b - a is a vote. Votes for the right lag agree to within the blur; votes for an event too early
    or too late are spread by however much the rhythm varies, which is what tells the two apart.
    """
    few = min(len(a_s), len(b_s))
    if few < rhythm.fewest:
        return _refuse(f"only {few} {rhythm.name} were found, {rhythm.fewest} are needed: {rhythm.cure}", few)
    lags_s, score, possible = _votes(a_s, b_s, rhythm, reach_s)
    score = np.where(possible >= rhythm.fewest, score, 0.0)
    top = int(np.argmax(score))
    lag_ms = 1e3 * lags_s[top]
    apart_s = max(_NEAREST_LOBE * float(np.median(np.diff(a_s))), 3 * rhythm.blur_s)
    lobes = np.where(np.abs(lags_s - lags_s[top]) >= apart_s, score, 0.0)
    lobe = int(np.argmax(lobes))
    ratio = float(score[top]) / max(float(lobes[lobe]), 1e-3)
    at_s, lag_s = _pairs(a_s, b_s, lags_s[top], 4 * rhythm.blur_s)
    n = len(lag_s)
    if n < rhythm.fewest or n < rhythm.share * possible[top]:
        many = f"at best {n} of {possible[top]:.0f} match"
        return _refuse(f"no lag within {reach_s:g} s brings the {rhythm.name} together: {many}", n, ratio)
    if ratio < CLEAR or score[top] - lobes[lobe] < _MARGIN:
        return _refuse(
            f"ambiguous by whole {rhythm.name}: {lag_ms:.0f} ms fits, and {1e3 * lags_s[lobe]:.0f} ms fits nearly as "
            f"well (peak to side lobe {ratio:.2f}, {CLEAR:g} needed); {rhythm.cure}", n, ratio,
        )  # fmt: skip
    hole = _unmatched(a_s, b_s, at_s, lags_s[top], rhythm)
    if hole is not None:
        return _refuse(
            f"from {hole[0]:.0f} s to {hole[1]:.0f} s none of the {rhythm.name} match at the lag of the others, "
            f"{lag_ms:.0f} ms: does the lag change?", n, ratio,
        )  # fmt: skip
    return Match(at_s, lag_s, ratio)


def _unmatched(
    a_s: FloatArray, b_s: FloatArray, at_s: FloatArray, lag_s: float, rhythm: Rhythm
) -> tuple[float, float] | None:
    """The longest silence between matched events at_s in which both lists have ``fewest`` events; None if none has."""
    bounds_s = np.concatenate([[max(a_s[0], b_s[0] - lag_s)], at_s, [min(a_s[-1], b_s[-1] - lag_s)]])
    low_s, high_s = bounds_s[:-1], bounds_s[1:]
    slack_s = rhythm.blur_s
    count = np.minimum(
        _inside(a_s, low_s + slack_s, high_s - slack_s), _inside(b_s, low_s + lag_s + slack_s, high_s + lag_s - slack_s)
    )
    longest = int(np.argmax(count))
    return (float(low_s[longest]), float(high_s[longest])) if count[longest] >= rhythm.fewest else None


def _votes(
    a_s: FloatArray, b_s: FloatArray, rhythm: Rhythm, reach_s: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(lags, share of the events that could match and do, how many could), (k,) each."""
    margin_s = 5 * rhythm.blur_s
    width = round((reach_s + margin_s) / _STEP_S)
    difference = _differences(a_s, b_s, width * _STEP_S)
    place = np.rint(difference / _STEP_S).astype(np.int64) + width
    votes = np.bincount(place, minlength=2 * width + 1).astype(np.float64)[: 2 * width + 1]
    sigma = rhythm.blur_s / _STEP_S
    height = ndimage.gaussian_filter1d(votes, sigma, mode="constant") * sigma * np.sqrt(2 * np.pi)
    lags_s = (np.arange(2 * width + 1) - width) * _STEP_S
    slack_s = 0.25 * float(np.median(np.diff(a_s)))
    of_a = _inside(a_s, b_s[0] - lags_s - slack_s, b_s[-1] - lags_s + slack_s)
    of_b = _inside(b_s, a_s[0] + lags_s - slack_s, a_s[-1] + lags_s + slack_s)
    possible = np.minimum(of_a, of_b).astype(np.float64)
    wanted = np.abs(lags_s) <= reach_s
    return lags_s[wanted], (height / np.maximum(possible, 1.0))[wanted], possible[wanted]


def _inside(times_s: FloatArray, low_s: FloatArray, high_s: FloatArray) -> np.typing.NDArray[np.int64]:
    return np.asarray(np.searchsorted(times_s, high_s) - np.searchsorted(times_s, low_s))


def _differences(a_s: FloatArray, b_s: FloatArray, reach_s: float) -> FloatArray:
    """Every b - a within +-reach_s."""
    first, last = np.searchsorted(b_s, a_s - reach_s), np.searchsorted(b_s, a_s + reach_s)
    count = last - first
    owner = np.repeat(np.arange(len(a_s)), count)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    return np.asarray(b_s[first[owner] + within] - a_s[owner])


def _pairs(a_s: FloatArray, b_s: FloatArray, lag_s: float, near_s: float) -> tuple[FloatArray, FloatArray]:
    """Times and differences of the events that are each other's nearest once shifted, and within near_s."""
    if not len(a_s) or not len(b_s):
        return np.empty(0), np.empty(0)
    mate, back = _nearest(b_s, a_s + lag_s), _nearest(a_s, b_s - lag_s)
    difference = b_s[mate] - a_s
    fits = (back[mate] == np.arange(len(a_s))) & (np.abs(difference - lag_s) <= near_s)
    return a_s[fits], difference[fits]


def _nearest(among_s: FloatArray, times_s: FloatArray) -> np.typing.NDArray[np.int64]:
    """Number of the nearest of ``among_s`` to each time."""
    after = np.clip(np.searchsorted(among_s, times_s), 1, max(len(among_s) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(among_s) - 1)
    return np.where(times_s - among_s[before] <= among_s[after] - times_s, before, after)
