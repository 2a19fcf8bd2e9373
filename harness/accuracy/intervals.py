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
_CHANGE, _EXPECTED = 1.2, 0.3
"""So many intervals must fit better for a beat to be skipped or taken twice; and where the stamps say that one is
missing. Between two reports that did not come all intervals would otherwise be taken for their neighbours."""
_RUN = 3
"""So many intervals in a row are found again; fewer may lie elsewhere."""
_SPARE = 0.9
"""Reports that lie further apart than they account for, by this much of an interval, may have one missing between."""
_SURE = 0.8
"""So many fit as they are: they are not all too long or too short."""
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
    timed: bool = True
    """The stamps are the beats themselves, so that no interval is longer or shorter than the time between two."""


def ends_of(found: Intervals) -> FloatArray:
    """Moments (n,) that intervals ended at, about: those that are reported together ended one after the other."""
    if found.timed or not len(found.length_s):
        return found.stamp_s
    total_s = np.cumsum(found.length_s)
    last = np.searchsorted(found.stamp_s, found.stamp_s, side="right") - 1
    return np.asarray(found.stamp_s - (total_s[last] - total_s))


def between_beats(beats_s: FloatArray) -> Intervals:
    """Of beats (n + 1,) in time order."""
    length_s = np.diff(beats_s)
    return Intervals(length_s, beats_s[1:], np.arange(len(length_s)) > 0)


def reported(length_s: FloatArray, stamp_s: FloatArray) -> Intervals:
    """Of a sensor that reports intervals (n,), some at a time."""
    return Intervals(length_s, stamp_s, ~_cut(length_s, stamp_s), timed=False)


def beats_of(length_s: FloatArray, stamp_s: FloatArray) -> tuple[FloatArray, Mask]:
    """Beats (n,) that reported intervals (n,) end at, about in time, and which of these reach the beat before."""
    cut = _cut(length_s, stamp_s)
    silent_s = np.where(cut, np.diff(stamp_s, prepend=stamp_s[:1]) - length_s, 0.0)
    beats_s = (stamp_s[0] if len(stamp_s) else 0.0) + np.cumsum(length_s + silent_s) - length_s[:1].sum()
    return beats_s, ~cut


def _lacks(found: Intervals) -> Mask:
    """(n,) intervals before which one may not have come, by the stamps."""
    if found.timed or not len(found.length_s):
        return np.zeros(len(found.length_s), dtype=bool)
    gap_s = np.diff(found.stamp_s, prepend=found.stamp_s[:1])
    first = np.flatnonzero((gap_s > 0) | (np.arange(len(gap_s)) == 0))
    told_s = np.zeros(len(gap_s))
    told_s[first] = np.add.reduceat(found.length_s, first)
    return np.asarray(gap_s > told_s + _SPARE * found.length_s)


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
    missed: IntArray
    """Reference beats that it reaches across."""
    extra: IntArray
    """1 where it ends at no beat of its own, and more where it goes back."""


def match(found: Intervals, beats_s: FloatArray, known: Mask, max_lag_s: float) -> Matched | None:
    """Intervals (n,) against reference beats (m,); None where there are too few of either.

    ``known`` (m,): the time since the beat before is an interval of the heart. Stamps are up to max_lag_s late.
    """
    own_s = np.diff(beats_s, prepend=np.nan)
    usual_s = own_s[known & np.isfinite(own_s)]
    if len(found.length_s) < 2 or len(usual_s) < 2:
        return None
    usual = float(np.median(usual_s))
    nominal = np.searchsorted(beats_s, found.stamp_s)
    late, change = int(np.ceil(max_lag_s / usual)) + 2, np.where(_lacks(found), _EXPECTED, _CHANGE)
    near = _Near.of(found.length_s, nominal, np.where(known, own_s, np.nan), late, change)
    best = near.path(1.0)
    if found.timed or best.fit >= _SURE:
        return _told(found, own_s, best)
    around_s = np.median(np.where(np.isfinite(near.own_s), near.own_s, usual), axis=1)
    rough = near.path(float(np.median(around_s / np.maximum(found.length_s, 1e-3))))
    paths = [best, rough]
    for path in (best, rough):
        if path.known.any():
            ratio = own_s[path.beat[path.known]] / np.maximum(found.length_s[path.known], 1e-3)
            paths.append(near.path(float(np.median(ratio))))
    return _told(found, own_s, max(paths, key=lambda path: path.fit))


def _told(found: Intervals, own_s: FloatArray, path: _Path) -> Matched:
    chosen, usable = path.beat, path.known
    close = usable & (np.abs(path.scale * found.length_s - own_s[chosen]) <= GROSS_S)
    steps = np.diff(chosen, prepend=chosen[0] - 1)
    inner = found.follows & usable
    before = np.concatenate([[True, True], close])
    across = ~close | ~before[1:-1] | ~before[:-2]  # where all fit, those between did not come
    missed = np.where(inner & across, np.maximum(steps - 1, 0), 0)
    extra = np.where(inner, np.maximum(1 - steps, 0), 0)
    sound = close & (extra == 0) & ((steps == 1) | ~inner | ~across)
    broken = np.concatenate([[False], ~sound & usable, [False]])
    alike = sound & ~broken[:-2] & ~broken[2:] & _among(found, steps)
    return Matched(chosen, np.where(usable, found.length_s - own_s[chosen], np.nan), alike, missed, extra)


def _among(found: Intervals, steps: IntArray) -> Mask:
    """(n,) reported intervals with enough others beside them, none missing between, that it is sure which they are.

    One between two that did not come fits a beat nearby nearly as well as its own. A wave's beats have their times.
    """
    if found.timed or not len(steps):
        return np.ones(len(steps), dtype=bool)
    parted = (steps != 1) | ~found.follows | _lacks(found)
    run = np.cumsum(parted) - parted[0]
    return np.asarray(np.bincount(run)[run] >= _RUN)


@dataclass(frozen=True, slots=True, eq=False)
class _Path:
    """Which beat each interval ends at, were all of them ``scale`` times as long."""

    scale: float
    beat: IntArray
    """(n,)"""
    known: Mask
    """(n,) it ends at one whose interval is known."""
    fit: float
    """Share of them that fit, 0..1."""


@dataclass(frozen=True, slots=True, eq=False)
class _Near:
    """The reference's beats near to each interval's stamp."""

    length_s: FloatArray
    """(n,)"""
    beat: IntArray
    """(n, columns) their numbers."""
    own_s: FloatArray
    """(n, columns) the reference's intervals; NaN where it does not know one."""
    there: Mask
    moved: IntArray
    """(n,) how many beats further on the columns are than in the row before."""
    change: FloatArray
    """(n,) what it costs not to go from the beat before to the next."""

    @classmethod
    def of(cls, length_s: FloatArray, nominal: IntArray, own_s: FloatArray, late: int, change: FloatArray) -> _Near:
        """``nominal`` (n,): the first beat behind each stamp. From ``late`` beats before it on, beats are tried."""
        beat = nominal[:, None] + np.arange(-late, _EARLY + 1)
        there = (beat >= 1) & (beat < len(own_s))
        inside = np.clip(beat, 1, len(own_s) - 1)
        return cls(length_s, inside, own_s[inside], there, np.diff(nominal, prepend=nominal[0]), change)

    def path(self, scale: float) -> _Path:
        """The path on which most intervals fit, were they ``scale`` times as long."""
        off = (self.own_s - scale * self.length_s[:, None]) / _BLUR_S
        alike = np.where(self.there & np.isfinite(off), np.exp(-0.5 * np.nan_to_num(off) ** 2), 0.0)
        column = _steady_path(alike - np.where(self.there, 0.0, 1.0), self.moved, self.change)
        at = np.arange(len(self.beat)), column
        known = self.there[at] & np.isfinite(self.own_s[at])
        return _Path(scale, self.beat[at], known, float(alike[at].mean()))


def _steady_path(likeness: FloatArray, moved: IntArray, cost: FloatArray) -> IntArray:
    """(n,) column of each row on the path with the largest sum, where a path that does not go from beat to beat pays.

    ``likeness`` (n, columns), ``cost`` (n,) what it pays, ``moved`` (n,). One beat before column c of a row is column
    c + moved - 1 of the row before.
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
        change = total[leader] - cost[row]
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
