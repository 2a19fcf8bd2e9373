"""Beat-to-beat intervals against reference beats: which interval is which, how far off it is, what is missed or extra.

Stamps only say roughly which beat an interval ends at: a strap reports it up to seconds later, and a clock may have
jumped. The intervals' own sequence says it exactly, if the heart varies; if it does not, it does not matter. So the
assignment is the path through the beats near each stamp on which most intervals are alike, where every beat that is
skipped or taken twice must pay for itself. A sensor whose intervals are all too long by some share finds its beats
too, since for this the intervals are scaled to the reference's median.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.types import FloatArray, IntArray

Mask = np.typing.NDArray[np.bool_]
GROSS_S = 0.150
"""An interval further off is another one: the match window of EC57's beat-by-beat comparison."""
LONGEST_S = 2.4
"""No heart of 25 beats a minute or more has a longer one: between such beats some were not seen."""
_BLUR_S = 0.020
"""Standard deviation with which an interval is expected to differ, by rounding, sampling and the pulse's way."""
_CHANGE = 2.0
"""So many intervals must fit better for a beat to be skipped or taken twice."""
_EARLY = 4
"""Beats after the stamp that are tried too: clocks are not equal to the second."""
_REPORT_S = 1.6
"""Reports that lie further apart than their intervals last, and this, have some missing between them."""


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """Intervals in order, arrays (n,)."""

    length_s: FloatArray
    stamp_s: FloatArray
    """When each ended, or was reported; ascending."""
    follows: Mask
    """It begins at the beat that the one before ends at: nothing was left out between them."""

    def take(self, kept: Mask) -> Intervals:
        """Some of them; what follows on one that is left out follows on nothing."""
        before = np.concatenate([[False], kept[:-1]])
        return Intervals(self.length_s[kept], self.stamp_s[kept], (self.follows & before)[kept])


def between_beats(beats_s: FloatArray) -> Intervals:
    """Of beats (n + 1,) in time order."""
    length_s = np.diff(beats_s)
    return Intervals(length_s, beats_s[1:], np.arange(len(length_s)) > 0)


def reported(length_s: FloatArray, stamp_s: FloatArray) -> Intervals:
    """Of a sensor that reports intervals (n,), some at a time."""
    return Intervals(length_s, stamp_s, ~_cut(length_s, stamp_s))


def beats_of(length_s: FloatArray, stamp_s: FloatArray) -> tuple[FloatArray, Mask]:
    """Beats (n,) that reported intervals (n,) end at, about in time, and which of these reach the beat before."""
    cut = _cut(length_s, stamp_s)
    silent_s = np.where(cut, np.diff(stamp_s, prepend=stamp_s[:1]) - length_s, 0.0)
    beats_s = (stamp_s[0] if len(stamp_s) else 0.0) + np.cumsum(length_s + silent_s) - length_s[:1].sum()
    return beats_s, ~cut


def _cut(length_s: FloatArray, stamp_s: FloatArray) -> Mask:
    """(n,) intervals before which some did not come."""
    gap_s = np.diff(stamp_s, prepend=stamp_s[:1])
    return np.asarray((gap_s > length_s + _REPORT_S) | (np.arange(len(length_s)) == 0))


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """What became of each interval, arrays (n,)."""

    beat: IntArray
    """Number of the reference beat that it ends at."""
    error_s: FloatArray
    """Interval minus the reference's; NaN where the reference does not know it."""
    alike: Mask
    """It is that interval indeed, if perhaps an inexact one, and so are its neighbours: both ends are beats."""
    missed: int
    """Reference beats that intervals reach across."""
    extra: int
    """Intervals that end at no reference beat."""


def match(found: Intervals, beats_s: FloatArray, known: Mask, max_lag_s: float) -> Matched | None:
    """Intervals (n,) against reference beats (m,); None where there are too few of either.

    ``known`` (m,): the time since the beat before is an interval of the heart. Stamps are up to max_lag_s late.
    """
    own_s = np.diff(beats_s, prepend=np.nan)
    usual = own_s[known & np.isfinite(own_s)]
    if len(found.length_s) < 2 or len(usual) < 2:
        return None
    late = int(np.ceil(max_lag_s / float(np.median(usual)))) + 2
    nominal = np.searchsorted(beats_s, found.stamp_s)
    beat = nominal[:, None] + np.arange(-late, _EARLY + 1)
    there = (beat >= 1) & (beat < len(beats_s))
    inside = np.clip(beat, 1, len(beats_s) - 1)
    around_s = np.median(np.where(known, own_s, np.median(usual))[inside], axis=1)
    scale = float(np.median(around_s / np.maximum(found.length_s, 1e-3)))
    off = (own_s[inside] - scale * found.length_s[:, None]) / _BLUR_S
    likeness = np.where(there & known[inside], np.exp(-0.5 * off**2), 0.0) - np.where(there, 0.0, 1.0)
    column = _steady_path(likeness, np.diff(nominal, prepend=nominal[0]))
    numbers = np.arange(len(beat))
    chosen = inside[numbers, column]
    usable = there[numbers, column] & known[chosen]
    error_s = np.where(usable, found.length_s - own_s[chosen], np.nan)
    close = np.abs(scale * found.length_s - own_s[chosen]) <= GROSS_S
    steps = np.diff(chosen, prepend=chosen[0] - 1)
    inner = found.follows & usable
    across = ~close | ~np.append(True, close[:-1])  # where both fit, those between did not come
    missed = np.where(inner & across, np.maximum(steps - 1, 0), 0)
    extra = np.where(inner, np.maximum(1 - steps, 0), 0)
    sound = close & (extra == 0) & ((steps == 1) | ~found.follows)
    broken = np.concatenate([[False], ~sound & usable, [False]])
    alike = sound & usable & ~broken[:-2] & ~broken[2:]
    return Matched(chosen, error_s, alike, int(missed.sum()), int(extra.sum()))


def _steady_path(likeness: FloatArray, moved: IntArray) -> IntArray:
    """(n,) column of each row on the path with the largest sum, where a path that does not go from beat to beat pays.

    ``likeness`` (n, columns). One beat before column c of a row is column c + moved - 1 of the row before; moved (n,).
    """
    rows, columns = likeness.shape
    here = np.arange(columns)
    origin = here[None, :] + (moved[:, None] - 1)
    outside = (origin < 0) | (origin >= columns)
    origin = np.clip(origin, 0, columns - 1)
    came = np.zeros((rows, columns), dtype=np.int64)
    total = likeness[0].copy()
    for row in range(1, rows):
        leader = int(total.argmax())
        change = total[leader] - _CHANGE
        stay = total[origin[row]]
        stay[outside[row]] = -np.inf
        keep = stay >= change
        came[row] = np.where(keep, origin[row], leader)
        total = np.where(keep, stay, change) + likeness[row]
    path = np.empty(rows, dtype=np.int64)
    path[-1] = int(total.argmax())
    for row in range(rows - 1, 0, -1):
        path[row - 1] = came[row, path[row]]
    return path
