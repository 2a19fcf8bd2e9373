"""The floor of a stream's delays, second by second, and how far chunks of a steady time base stray from it.

A link only ever delays, so the earliest arrivals of each second (its low) show the device's clock, and ten of them
make the floor on which a chunk can arrive at best.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from drivers.types import FloatArray, IntArray

SECOND_NS = 1_000_000_000
SETTLE_NS = 2 * SECOND_NS
"""A floor that rests on less may be a stall's."""
SETTLED = 8
"""The same of fewer chunks."""
SLACK = 300e-6
"""A crystal may move so much through a silence or before its rate is known,"""
_STEADY = 50e-6
"""and so much against a rate that is."""
FLOOR_BLOCKS = 10
_LAG_BLOCKS = 3
"""The rate rests on ten lows before these, which a step in progress may have moved; the floor leaves out the last."""
PAST_BLOCKS = FLOOR_BLOCKS + _LAG_BLOCKS
_NOISE_BLOCKS = 30
_REMEMBERED = 3600
_SURE = 8
"""So many lows tell how noisy a link is; before, the chunks' mean delay does."""
_SLOW, _FAST, _LARGEST, _MEAN, _FEW = 2.5, 8.0, 3.2, 4.0, 4.0
"""Margins: of the lows' errors' 80 % quantile for 3 s and 0.8 s of lateness, of the largest, of the mean delay; and
by how many errors' worth the quantile is distrusted."""
_SILENCE_NS = 3 * SECOND_NS
_FOUND, _STRAYS, _LASTS = 0.55, 2.6, 3.3
"""A step is found if the margin is so much of it and if it is so many times the largest error of a low; half of it is
never taken for it if it is so many times the lateness that lasts for half a second."""


@dataclass(frozen=True, slots=True, eq=False)
class Chunks:
    """Chunks in order of arrival, (g,) each."""

    at: IntArray
    delay: FloatArray
    """Smallest (arrival - device) of the samples, about the stream's first."""
    first: IntArray
    """Number of the first sample."""

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, part: slice) -> Chunks:
        return Chunks(self.at[part], self.delay[part], self.first[part])

    def since(self, at_ns: float) -> int:
        """Number of the first chunk that arrived at or after ``at_ns``."""
        return int(np.searchsorted(self.at, at_ns))

    def low(self) -> float:
        """Second smallest delay where there are four: a single wrong stamp is no floor."""
        return float(np.partition(self.delay, 1)[1] if len(self) >= 4 else self.delay.min())


NO_CHUNKS = Chunks(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))


def joined(parts: list[Chunks]) -> Chunks:
    """One after the other."""
    return Chunks(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Chunks)))


@dataclass(frozen=True, slots=True, eq=False)
class Seconds:
    """Seconds with chunks of one time base, (b,) each."""

    starts: IntArray
    """Number of the first chunk."""
    at: FloatArray
    """Its arrival."""
    low: FloatArray
    mean: FloatArray
    """Mean delay over the smallest."""
    known: IntArray
    """Lows up to the second before it on which the floor rests, ten at most."""
    floor: FloatArray
    """At its beginning; infinite without lows before it."""
    slope: FloatArray
    """Of the floor, ns per ns."""
    unsure: FloatArray
    """The slope may be off by so much."""
    oldest: FloatArray
    """Arrival of the first low before it that counts."""
    error: FloatArray
    """How far its low lies off the floor; NaN where that rests on little."""
    late: FloatArray
    """The same of the later of its halves: lateness of half a second shows in it."""

    @property
    def slack(self) -> FloatArray:
        """What the clock's rate may have moved since the lows before it."""
        return self.unsure * (self.at - self.oldest)


class Noise:
    """How far the seconds of a link stray from their floors; an hour of it at most."""

    def __init__(self) -> None:
        self._errors = self._means = self._lates = self._needs = np.empty(0)

    def keep(self, seconds: Seconds, before: int) -> None:
        """Keep what is known of the seconds that ended before a chunk."""
        ended = int(np.searchsorted(seconds.starts, before, side="right")) - 1
        needs = self._slow(seconds)[0] + seconds.slack
        self._errors = np.concatenate([self._errors, seconds.error[:ended]])[-_REMEMBERED:]
        self._lates = np.concatenate([self._lates, seconds.late[:ended]])[-_REMEMBERED:]
        self._needs = np.concatenate([self._needs, np.maximum(needs, 1.6 * seconds.slack)[:ended]])[-_REMEMBERED:]
        self._means = np.concatenate([self._means, seconds.mean[:ended]])[-FLOOR_BLOCKS - 1 :]

    def margins(self, seconds: Seconds, first_mean: float, least: float) -> tuple[FloatArray, FloatArray]:
        """Of each second, for lateness of 3 s (and earliness) and of 0.8 s. From what ended a second before it, so
        that a step does not widen its own margin."""
        slow, spread, largest, sure = self._slow(seconds)
        means = _sorted_before(self._means, seconds.mean, FLOOR_BLOCKS)
        some = np.isfinite(means).sum(axis=1)
        upper = means[np.arange(len(some)), np.maximum(3 * some // 4 - (some > 2), 0)]
        mean = np.maximum(np.where(some > 0, upper, 0.0), first_mean)
        slow = np.maximum(slow, least)
        fast = np.maximum(np.minimum(_FAST * spread, largest), slow)
        broad = np.where((sure < _SURE) | (seconds.known < 4), _MEAN * mean, 0.0)
        return np.maximum(slow, broad), np.maximum(fast, broad)

    def _slow(self, seconds: Seconds) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
        """Margin for 3 s of lateness, scale of the errors, the margin by the largest, and the number of errors."""
        errors = _sorted_before(np.abs(self._errors), np.abs(seconds.error), _NOISE_BLOCKS)
        sure = np.isfinite(errors).sum(axis=1)
        rows = np.arange(len(sure))
        spread = np.where(sure > 0, errors[rows, np.maximum((sure - 1) * 4 // 5, 0)], 0.0)
        spread *= 1 + _FEW / np.maximum(sure, 1)
        largest = np.where(sure >= 20, _LARGEST * errors[rows, sure - 1], np.inf)
        return _SLOW * spread, spread, largest, sure

    def size_error(self) -> float:
        """95 % bound for the difference of two floors; infinite where nothing is known."""
        errors = np.abs(self._errors[-_NOISE_BLOCKS:])
        errors = errors[np.isfinite(errors)]
        if len(errors) >= _SURE:
            return 2.0 * float(np.quantile(errors, 0.95))
        return float(self._means.max()) if len(self._means) else float("inf")

    def visible(self) -> float:
        """Smallest step that is found with 95 % power; infinite where too little is known."""
        known = np.isfinite(self._errors)
        if np.count_nonzero(known) < 3:
            return float("inf")
        errors, late, needs = np.abs(self._errors[known]), self._lates[known], self._needs[known]
        most = max(_STRAYS * np.quantile(errors, 0.985, method="higher"), _LASTS * np.quantile(late, 0.97))
        return float(max(np.quantile(needs, 0.9) / _FOUND, most))


def seconds_of(chunks: Chunks, start_ns: int, past_at: FloatArray, past_low: FloatArray) -> Seconds:
    """The seconds of a time base that began at ``start_ns``; ``past_`` (13 at most,): arrival and low of the seconds
    before these chunks."""
    halves = (chunks.at - start_ns) // (SECOND_NS // 2)
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(halves)) + 1])
    owner = np.diff(halves[cuts] // 2, prepend=-1) > 0
    starts = cuts[owner]
    low, mean = lowest_of(chunks.delay, starts)
    top = np.maximum.reduceat(np.minimum.reduceat(chunks.delay, cuts), np.flatnonzero(owner))
    at = chunks.at[starts].astype(np.float64)
    pad = PAST_BLOCKS - len(past_low)
    lows = _windows(np.concatenate([np.full(pad, np.inf), past_low, low]), len(low))
    times = _windows(np.concatenate([np.full(pad, float(start_ns)), past_at, at]), len(low))
    slope, unsure = _slopes(lows[:, :FLOOR_BLOCKS], times[:, :FLOOR_BLOCKS], at)
    silence = at - times[:, -1]
    lows, times = lows[:, _LAG_BLOCKS - 1 : -1], times[:, _LAG_BLOCKS - 1 : -1]
    known = np.isfinite(lows).sum(axis=1)
    floor = (lows + slope[:, None] * (at[:, None] - times)).min(axis=1)
    oldest = times[np.arange(len(low)), np.minimum(FLOOR_BLOCKS - known, FLOOR_BLOCKS - 1)]
    based = np.where((known >= 3) & (silence <= _SILENCE_NS), floor, np.nan)
    return Seconds(starts, at, low, mean, known, floor, slope, unsure, oldest, low - based, top - based)


def lowest_of(delay: FloatArray, starts: IntArray) -> tuple[FloatArray, FloatArray]:
    """Of each run of delays (n,) that begins at ``starts`` (b,): the second smallest where it has four (a single wrong
    stamp is no floor), else the smallest; and the mean over the smallest."""
    sizes = np.diff(starts, append=len(delay))
    least = np.minimum.reduceat(delay, starts)
    mean = np.add.reduceat(delay, starts) / sizes
    where = np.flatnonzero(delay == np.repeat(least, sizes))
    firsts = where[np.searchsorted(where, starts)]
    rest = delay.copy()
    rest[firsts] = np.inf
    second = np.minimum.reduceat(rest, starts)
    low = np.where(sizes >= 4, second, least)
    return low, mean - least


def _windows(values: FloatArray, count: int) -> FloatArray:
    """(count, 13) the values before each of the last ``count``."""
    return np.lib.stride_tricks.sliding_window_view(values, PAST_BLOCKS)[:count]


def _sorted_before(past: FloatArray, now: FloatArray, length: int) -> FloatArray:
    """(b, length) for each of ``now`` (b,) the values up to the second before it, ascending, NaN at the end."""
    past = past[-length - 1 :]
    values = np.concatenate([np.full(length + 1 - len(past), np.nan), past, now])
    return np.sort(np.lib.stride_tricks.sliding_window_view(values, length)[: len(now)], axis=1)


def _slopes(lows: FloatArray, times: FloatArray, at: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slope of each floor where its lows agree on one, and how far it may be off."""
    slope, unsure = np.zeros(len(at)), np.full(len(at), SLACK)
    near = at - times[:, 0] <= PAST_BLOCKS * SECOND_NS + _SILENCE_NS
    rows = np.flatnonzero(np.isfinite(lows[:, 0]) & near)
    if len(rows):
        half = FLOOR_BLOCKS // 2
        first, second = np.r_[0:half, 0, half], np.r_[half : 2 * half, half - 1, 2 * half - 1]
        rise, after = lows[rows][:, second] - lows[rows][:, first], times[rows][:, second] - times[rows][:, first]
        each = np.sort(rise / after, axis=1)
        agree = (each[:, 0] > 0) | (each[:, -1] < 0)
        slope[rows] = np.where(agree, each[:, 3], 0.0)
        tight = np.abs(each[:, 3]) > 4 * (each[:, -1] - each[:, 0])
        slope[rows] = np.where(tight, slope[rows], np.clip(slope[rows], -SLACK, SLACK))
        off = np.where(agree, each[:, -1] - each[:, 0], np.maximum(each[:, -1], -each[:, 0]))
        unsure[rows] = np.clip(off, _STEADY, SLACK)
    return slope, unsure


def second_lowest(delay: FloatArray) -> FloatArray:
    """Second smallest of the values before each, infinite for the first two. (n,)"""
    second = np.minimum.accumulate(np.maximum(delay[1:], np.minimum.accumulate(delay)[:-1]))
    return np.concatenate([[np.inf, np.inf], second])[: len(delay)]
