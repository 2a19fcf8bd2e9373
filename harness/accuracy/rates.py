"""Rates over time: beats, breaths or a value as a course that can be averaged over any span, and when two agree best.

A sensor that says a heart rate says a mean over its last beats or seconds, some time after them. What it is compared
with is averaged over as long and taken as long before: both are tried, within limits, and the pair is taken at which
the differences scatter least. Their mean does not enter, so that a rate that is wrong stays wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.types import FloatArray

Mask = np.typing.NDArray[np.bool_]
STEP_S = 0.25
"""Lags that are tried lie so far apart."""
_AVERAGES_S = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0)
_WILD = 15.0
"""Differences further off than this count as if they were just so far off."""
_NONE_S = 1e-9
_FIT_MOST = 240
"""More values tell no better which lag is right."""
_SAME = 1.02
"""A smaller scatter by no more than this is no reason for a lag further from 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Doubt:
    """Time that nothing may be based on: low quality, holes, silence. Spans in ascending order that do not touch."""

    starts_s: FloatArray
    stops_s: FloatArray

    @classmethod
    def of(cls, *spans: tuple[FloatArray, FloatArray]) -> Doubt:
        """The union of lists of spans, (starts, stops) each."""
        starts, stops = (np.concatenate([span[k] for span in spans]) for k in (0, 1))
        wide = stops > starts
        order = np.argsort(starts[wide], kind="stable")
        starts, stops = starts[wide][order], np.maximum.accumulate(stops[wide][order])
        if not len(starts):
            return cls(starts, stops)
        first = np.concatenate([[True], starts[1:] > stops[:-1]])
        return cls(starts[first], stops[np.append(first[1:], True)])

    def until(self, times_s: FloatArray) -> FloatArray:
        """Seconds of doubt up to each moment, same shape."""
        if not len(self.starts_s):
            return np.zeros(np.shape(times_s))
        knots = np.stack([self.starts_s, self.stops_s], axis=1).ravel()
        lasted = np.cumsum(self.stops_s - self.starts_s)
        total = np.stack([lasted - (self.stops_s - self.starts_s), lasted], axis=1).ravel()
        return np.asarray(np.interp(times_s, knots, total))

    def free(self, start_s: FloatArray, stop_s: FloatArray) -> Mask:
        """Which spans [start, stop), (n,), have nothing of it."""
        return np.asarray(self.until(stop_s) - self.until(start_s) < _NONE_S)


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """Where a course stands at some moments, any shape."""

    total: FloatArray
    """NaN outside of the course."""
    doubt_s: FloatArray

    def mean_since(self, earlier: Mark, length_s: FloatArray | float) -> FloatArray:
        """Mean since an earlier mark of the same shape, ``length_s`` before; NaN where there was doubt."""
        mean = (self.total - earlier.total) / length_s
        return np.where(self.doubt_s - earlier.doubt_s < _NONE_S, mean, np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """Something that has a mean over any span: the running integral at ascending moments, straight between them."""

    times_s: FloatArray
    total: FloatArray
    """(n,) integral of the value since the first moment, value times s."""
    doubt: Doubt

    @classmethod
    def of_events(cls, times_s: FloatArray, longest_s: float, doubt: Doubt) -> Course:
        """Rate per minute of events (n,); where none comes for ``longest_s``, nothing is known."""
        gaps = np.diff(times_s) > longest_s
        unsure = Doubt.of((doubt.starts_s, doubt.stops_s), (times_s[:-1][gaps], times_s[1:][gaps]))
        return cls(times_s, np.arange(len(times_s), dtype=np.float64) * 60.0, unsure)

    @classmethod
    def of_values(cls, times_s: FloatArray, values: FloatArray, longest_s: float, doubt: Doubt) -> Course:
        """A value (n,) that is told at ascending moments; where none is told for ``longest_s``, nothing is known."""
        steps = np.diff(times_s)
        gaps = steps > longest_s
        unsure = Doubt.of((doubt.starts_s, doubt.stops_s), (times_s[:-1][gaps], times_s[1:][gaps]))
        total = np.concatenate([[0.0], np.cumsum(steps * (values[1:] + values[:-1]) / 2)])
        return cls(times_s, total[: len(times_s)], unsure)

    def at(self, times_s: FloatArray) -> Mark:
        """What has come together up to each moment, any shape."""
        if len(self.times_s) < 2:
            return Mark(np.zeros(np.shape(times_s)), np.full(np.shape(times_s), np.nan))
        inside = (times_s >= self.times_s[0]) & (times_s <= self.times_s[-1])
        total = np.interp(times_s, self.times_s, self.total)
        return Mark(np.where(inside, total, np.nan), self.doubt.until(times_s))

    def mean(self, start_s: FloatArray, stop_s: FloatArray) -> FloatArray:
        """Mean over each span [start, stop), (n,); NaN where a part of it is unknown or in doubt."""
        return self.at(stop_s).mean_since(self.at(start_s), stop_s - start_s)


@dataclass(frozen=True, slots=True, eq=False)
class Pairing:
    """Values and what they should have been, at equal moments."""

    value: FloatArray
    reference: FloatArray
    """(n,) NaN where it is not known."""
    lag_s: float
    average_s: float

    @property
    def errors(self) -> FloatArray:
        """Value minus reference, where both are known."""
        return (self.value - self.reference)[self._both]

    @property
    def known_reference(self) -> FloatArray:
        """What each of those should have been."""
        return self.reference[self._both]

    @property
    def words(self) -> str:
        """How the two were brought together."""
        return f"; taken {self.lag_s:g} s earlier, over {self.average_s:g} s"

    @property
    def _both(self) -> Mask:
        return np.isfinite(self.value) & np.isfinite(self.reference)


def pair(
    times_s: FloatArray, value: FloatArray, course: Course, lags_s: tuple[float, float],
    average_s: float | None = None,
) -> Pairing:  # fmt: skip
    """Values (n,) with what the course was over ``average_s`` (None: found), some lag between ``lags_s`` before."""
    averages_s = np.array(_AVERAGES_S if average_s is None else (average_s,))
    known = np.flatnonzero(np.isfinite(value))
    some = known[:: max(1, -(-len(known) // _FIT_MOST))]
    lags = _lags(lags_s)
    scatter = _scatter(value[some], _means(times_s[some], course, lags, averages_s))
    least = np.minimum(scatter.min(), 1e12)
    row, column = np.argwhere(scatter <= _SAME * least)[0] if len(scatter) and least < 1e12 else (0, 0)
    lag_s, length_s = float(lags[row]), float(averages_s[column])
    return Pairing(value, course.mean(times_s - lag_s - length_s, times_s - lag_s), lag_s, length_s)


def _lags(limits_s: tuple[float, float]) -> FloatArray:
    """From 0 outwards, so that of equals the smallest is taken."""
    low, high = (round(limit / STEP_S) for limit in limits_s)
    if low >= high:
        return np.array(limits_s[:1])
    lags = np.arange(low, high + 1) * STEP_S
    return np.asarray(lags[np.argsort(np.abs(lags), kind="stable")], dtype=np.float64)


def _means(times_s: FloatArray, course: Course, lags_s: FloatArray, averages_s: FloatArray) -> FloatArray:
    """(lags, averages, n) means over ``averages_s`` that end ``lags_s`` before each moment."""
    if not len(times_s):
        return np.empty((len(lags_s), len(averages_s), 0))
    stop_s = times_s - lags_s[:, None]
    ends = course.at(stop_s)
    found = [ends.mean_since(course.at(stop_s - length_s), length_s) for length_s in averages_s.tolist()]
    return np.stack(found, axis=1)


def _scatter(value: FloatArray, means: FloatArray) -> FloatArray:
    """Mean size of what is left of the differences without their mean, (lags, averages); infinite where few are."""
    difference = value - means
    known = np.isfinite(difference)
    count = known.sum(axis=-1)
    clean = np.where(known, difference, 0.0)
    centre = clean.sum(axis=-1) / np.maximum(count, 1)
    size = np.where(known, np.minimum(np.abs(clean - centre[..., None]), _WILD), 0.0).sum(axis=-1)
    enough = (count >= 3) & (count >= 0.5 * means.shape[-1])
    return np.where(enough, size / np.maximum(count, 1) + 1e-3, np.inf)


def latest(times_s: FloatArray, values: FloatArray, at_s: FloatArray, stale_s: float) -> tuple[FloatArray, FloatArray]:
    """(own time, value) of the newest value (n,) at each of at_s (w,); NaN where it is older than stale_s."""
    if not len(times_s):
        return np.asarray(at_s, dtype=np.float64), np.full(len(at_s), np.nan)
    place = np.searchsorted(times_s, at_s, side="right") - 1
    own_s = times_s[np.maximum(place, 0)]
    fresh = (place >= 0) & (at_s - own_s <= stale_s)
    return np.where(fresh, own_s, at_s), np.where(fresh, values[np.maximum(place, 0)], np.nan)
