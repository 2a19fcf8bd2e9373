"""Time-base discontinuities in pairs of device time and arrival: clock steps that no loss explains.

A link only ever delays, so the earliest arrivals of each second (its low) show the device's clock, and ten of them
make the floor on which a chunk can arrive at best. Two chunks in a row below the floor: the clock jumped ahead. Every
chunk late for longer than a link may stand still, and not catching up: it jumped back. What is "below" and "late" is
measured by how far the lows of the last half minute lay off the floors before them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from drivers.clock_floor import (
    NO_CHUNKS,
    PAST_BLOCKS,
    SECOND_NS,
    SETTLE_NS,
    SETTLED,
    SLACK,
    Chunks,
    Noise,
    Seconds,
    joined,
    second_lowest,
    seconds_of,
)
from drivers.clock_step import Step, lasting
from drivers.types import FloatArray, IntArray

__all__ = ["Step", "StepFinder", "find_steps", "lasting", "smallest_visible_ms"]

_LATE_NS = 800_000_000
"""Longer than the longest stall that is no fault (0.5 s)."""
_NOISY_NS = 3_000_000_000
"""A step that is small beside the noise must show for so long."""
_GIVEN_UP_NS = 10_000_000_000
"""Lateness that has not settled by then is none of a step; the floor has come up to it."""
_PAIR_NS = 500_000_000
_MOMENTS_NS = 300_000_000
"""A step happens within moments: a clock that runs at another rate moves as far in seconds."""
_TRIGGER, _NEARLY = 0.6, 0.8
"""Shares of the smallest step: what is looked at, and what is reported as its size is known to a batch only."""
_UNEVEN = 0.05
"""Share of a step by which the floor behind it may still move."""
_AMID = 4
"""A chunk on time with so many late ones on both sides is a single wrong stamp."""
_MOST_STEPS = 100
_KEPT_BLOCKS = 14
_LOOK_NS = SECOND_NS // 2
_PIECE = 16384


def find_steps(
    device_ns: IntArray, arrival_ns: IntArray, segment: IntArray | None = None, smallest_ms: float = 50.0
) -> list[Step]:
    """Time-base discontinuities of at least ``smallest_ms``, in order; arguments (n,), in order of arrival.

    Stalls up to 0.5 s, outages, queues that drain, drift and jitter are none, nor is what a few samples further is
    undone. Stops after 100. What
    smallest_visible_ms() gives is the least that can be found.
    """
    return _searched(device_ns, arrival_ns, segment, smallest_ms)[0]


def smallest_visible_ms(device_ns: IntArray, arrival_ns: IntArray, segment: IntArray) -> float:
    """A step of this size, if it is looked for (``smallest_ms``), is found with 95 % power; smaller ones may hide in
    the delays of the link. Arguments (n,) as for find_steps()."""
    return _searched(device_ns, arrival_ns, segment, 50.0)[1].visible_ms


def _searched(
    device_ns: IntArray, arrival_ns: IntArray, segment: IntArray | None, smallest_ms: float
) -> tuple[list[Step], StepFinder]:
    finder, steps = StepFinder(smallest_ms), []
    given = np.zeros(len(device_ns), dtype=np.int64) if segment is None else segment
    for start in range(0, len(device_ns), _PIECE):
        part = slice(start, start + _PIECE)
        steps += finder.update(device_ns[part], arrival_ns[part], given[part])
        if len(steps) >= _MOST_STEPS:
            break
    return lasting(steps + finder.close(), smallest_ms)[:_MOST_STEPS], finder


@dataclass(frozen=True, slots=True)
class _Found:
    place: int
    """Number of the first chunk after the step."""
    at: int
    """Number of the chunk that made it certain."""
    settled: int
    """Number of the first chunk from which the new level is taken."""
    floor: float
    margin: float
    slack: float


class StepFinder:
    """find_steps() for a stream that comes in pieces, in bounded memory: how it is cut changes no answer. What it tells
    is certain at once, and may still be undone by the next samples: lasting() takes that out. On links with two
    arrivals a second, a step too small to be seen with certainty may be found by one cut and not by another.

    ``smallest_ms``: smallest step looked for.
    """

    def __init__(self, smallest_ms: float = 50.0) -> None:
        self._smallest = smallest_ms * 1e6
        self._samples = self._segment = self._base_ns = 0
        self._open: tuple[int, int, int] | None = None
        """Arrival, smallest delay and first sample of the chunk of which more may come."""
        self._waiting: list[Chunks] = []
        self._pieces: list[tuple[IntArray, IntArray, IntArray]] = []
        self._looked_ns = -_LOOK_NS
        self._edge: tuple[float, int] | None = None
        """Lowest delay of the last second before a new segment, and its last arrival."""
        self._noise = Noise()
        """Of seconds that are no longer kept, of former time bases too."""
        self._begin(NO_CHUNKS)

    def update(self, device_ns: IntArray, arrival_ns: IntArray, segment: IntArray) -> list[Step]:
        """Steps that are certain and sized now, in order; arguments (n,): the next piece of find_steps()' arrays.

        An index counts from the first sample ever given.
        """
        if not len(device_ns):
            return []
        self._pieces.append((device_ns, arrival_ns, segment))
        return self._sorted() if int(arrival_ns[-1]) - self._looked_ns >= _LOOK_NS else []

    def close(self) -> list[Step]:
        """Nothing more comes: steps whose size was still being measured."""
        steps = self._sorted()
        self._shut()
        steps += self._look(closing=True)
        if len(self._chunks):
            self._noise.keep(self._seconds(), len(self._chunks))
            self._begin(NO_CHUNKS)
        return steps

    @property
    def visible_ms(self) -> float:
        """Smallest step that is found with 95 % power, by the delays of an hour at most; of a stream that goes on,
        those of the last seconds left out."""
        return self._noise.visible() / 1e6

    # --- chunks -----------------------------------------------------------------------------------

    def _sorted(self) -> list[Step]:
        """Take in all pieces that wait."""
        if not self._pieces:
            return []
        device_ns, arrival_ns, segment = (np.concatenate(each) for each in zip(*self._pieces, strict=True))
        self._pieces = []
        steps: list[Step] = []
        cuts = (np.flatnonzero(np.diff(segment)) + 1).tolist()
        for start, stop in pairwise([0, *cuts, len(device_ns)]):
            delay = arrival_ns[start:stop] - device_ns[start:stop]
            if not self._samples:
                self._base_ns = int(delay[0])
            elif int(segment[start]) != self._segment:
                steps += self._segment_ends()
            self._segment = int(segment[start])
            self._take(arrival_ns[start:stop], delay)
        steps += self._look(closing=False)
        self._looked_ns = int(arrival_ns[-1])
        return steps

    def _take(self, arrival: IntArray, delay: IntArray) -> None:
        """Sort samples into chunks: runs of equal arrivals."""
        number = self._samples
        self._samples += len(arrival)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(arrival)) + 1])
        at, low, first = arrival[starts], np.minimum.reduceat(delay, starts), starts + number
        if self._open is not None and self._open[0] == int(at[0]):
            low[0], first[0] = min(self._open[1], int(low[0])), self._open[2]
        else:
            self._shut()
        self._open = int(at[-1]), int(low[-1]), int(first[-1])
        if len(at) > 1:
            self._waiting.append(Chunks(at[:-1], (low[:-1] - self._base_ns).astype(np.float64), first[:-1]))

    def _shut(self) -> None:
        if self._open is not None:
            at, low, first = self._open
            self._waiting.append(Chunks(np.array([at]), np.array([float(low - self._base_ns)]), np.array([first])))
            self._open = None

    def _begin(self, chunks: Chunks) -> None:
        """A new time base begins with these chunks."""
        self._chunks = chunks
        self._mean_ns = 0.0
        self._gone = 0
        """Chunks of it that are no longer kept."""
        self._past_at = self._past_low = np.empty(0)
        """The last seconds that are no longer kept."""
        self._start_ns = int(chunks.at[0]) if len(chunks) else 0

    def _segment_ends(self) -> list[Step]:
        self._shut()
        steps = self._look(closing=True)
        last = int(self._chunks.at[-1])
        self._edge = float(self._chunks[self._chunks.since(last - SECOND_NS) :].delay.min()), last
        self._noise.keep(self._seconds(), len(self._chunks))
        self._begin(NO_CHUNKS)
        return steps

    # --- looking ----------------------------------------------------------------------------------

    def _look(self, closing: bool) -> list[Step]:
        steps: list[Step] = []
        if self._waiting:
            if not len(self._chunks):
                self._begin(self._waiting[0])
            every = [self._chunks, *self._waiting[self._chunks is self._waiting[0] :]]
            self._chunks = every[0] if len(every) == 1 else joined(every)
            self._waiting = []
        if not len(self._chunks):
            return steps
        if self._edge is not None:
            if not closing and self._chunks.at[-1] <= self._chunks.at[0] + SECOND_NS:
                return steps
            steps += self._between(*self._edge)
            self._edge = None
        while True:
            seconds = self._seconds()
            found, open_from = self._first_step(seconds)
            if found is None:
                self._forget(seconds, open_from)
                return steps
            end_ns = int(self._chunks.at[found.settled]) + SECOND_NS
            if not closing and self._chunks.at[-1] <= end_ns:
                return steps
            steps += self._told(found, seconds, end_ns)

    def _between(self, low: float, last_ns: int) -> list[Step]:
        """Where a new segment starts: compare the floors of a second on both sides."""
        chunks = self._chunks
        now = int(chunks.at[0])
        size = low - float(chunks[: chunks.since(now + SECOND_NS)].delay.min())
        slack = SLACK * (now - last_ns)
        if abs(size) < self._smallest + slack:
            return []
        return [Step(int(chunks.first[0]), now, size, True, now, slack + self._noise.size_error())]

    def _told(self, found: _Found, seconds: Seconds, end_ns: int) -> list[Step]:
        """The step, if it is large enough, and a new time base from there."""
        chunks = self._chunks
        after = chunks[found.settled : max(chunks.since(end_ns), found.settled + 1)].low()
        size = found.floor - after
        place = found.place
        if size < 0:  # what a stall delivers late with the first chunks after the step was sent before it
            sooner = np.flatnonzero(chunks.delay[place : found.at] < after - found.margin / 4)
            place += int(sooner[-1]) + 1 if len(sooner) else 0
        self._noise.keep(seconds, found.place)
        step = Step(
            int(chunks.first[place]), int(chunks.at[place]), size, False, int(chunks.at[found.at]),
            found.slack + self._noise.size_error(),
        )  # fmt: skip
        self._begin(chunks[max(place, found.settled) :])
        return [step] if abs(size) >= _NEARLY * self._smallest else []

    def _forget(self, seconds: Seconds, open_from: int) -> None:
        """Keep the chunks of the last two seconds, and of those before lateness that may still prove to be a step."""
        last = len(seconds.starts) - 1
        run = int(np.searchsorted(seconds.starts, open_from, side="right")) - 1
        keep = max(min(last, run) - 2, last - _KEPT_BLOCKS, 0)
        if not keep:
            return
        first = int(seconds.starts[keep])
        self._noise.keep(seconds, first)
        self._past_at = np.concatenate([self._past_at, seconds.at[:keep]])[-PAST_BLOCKS:]
        self._past_low = np.concatenate([self._past_low, seconds.low[:keep]])[-PAST_BLOCKS:]
        self._gone += first
        self._chunks = self._chunks[first:]

    # --- floors and margins -----------------------------------------------------------------------

    def _seconds(self) -> Seconds:
        return seconds_of(self._chunks, self._start_ns, self._past_at, self._past_low)

    def _first_mean(self) -> float:
        """Mean delay over the smallest while the first floor settles."""
        if not self._gone:
            part = self._chunks[: max(self._chunks.since(self._start_ns + SETTLE_NS), SETTLED)]
            self._mean_ns = float(part.delay.mean() - part.delay.min())
        return self._mean_ns

    def _first_step(self, seconds: Seconds) -> tuple[_Found | None, int]:
        """The step that is certain first, and since which chunk there is lateness at the end of the data."""
        chunks = self._chunks
        count = len(chunks)
        sizes = np.diff(seconds.starts, append=count)
        away = chunks.at - np.repeat(seconds.at, sizes)
        floor = np.repeat(seconds.floor, sizes) + np.repeat(seconds.slope, sizes) * away
        slack = np.repeat(seconds.unsure, sizes) * (chunks.at - np.repeat(seconds.oldest, sizes))
        if not self._gone:
            floor[: sizes[0]] = second_lowest(chunks.delay[: sizes[0]])
        known = (np.arange(count) + self._gone >= SETTLED) & (chunks.at - self._start_ns >= SETTLE_NS)
        known[: sizes[0]] &= not self._gone  # judged before; kept for what comes after
        margins = self._noise.margins(seconds, self._first_mean(), _TRIGGER * self._smallest)
        slow, fast = (np.repeat(margin, sizes) for margin in margins)
        over = np.where(known, chunks.delay - np.where(known, floor, 0.0), 0.0)
        found: list[_Found] = []
        if (jump := _jump(chunks, np.where(known, floor - slow - slack, -np.inf), slow)) is not None:
            place, at = jump
            found.append(_Found(place, at, place, float(floor[place]), float(slow[place]), float(slack[place])))
        open_from = count
        for margin, patience_ns in ((fast, _LATE_NS), (slow, _NOISY_NS)):
            run, begin = _lateness(chunks, over > margin + slack, margin, patience_ns)
            open_from = min(open_from, begin)
            if run is not None:
                place, at, settled = run
                found.append(_Found(place, at, settled, float(floor[place]), float(margin[place]), float(slack[place])))
        return min(found, key=lambda f: (f.at, f.place), default=None), open_from


def _jump(chunks: Chunks, earliest: FloatArray, margin: FloatArray) -> tuple[int, int] | None:
    """The first of two chunks, soon after another, that come sooner than is possible; and the other."""
    early = np.flatnonzero(chunks.delay[:-1] < earliest[:-1])
    # both against the first one's floor: the second's may have taken the first in already
    later = np.append(early[1:], len(chunks))[: len(early)]
    second = np.where(chunks.delay[early + 1] < earliest[early], early + 1, np.minimum(later, len(chunks) - 1))
    pair = (second == early + 1) | (chunks.at[second] - chunks.at[early] <= _PAIR_NS)
    pair &= chunks.delay[second] < earliest[early]
    for place, other in zip(early[pair].tolist(), second[pair].tolist(), strict=True):
        before = float(np.median(chunks.delay[_moments(chunks, place, SECOND_NS)]))
        least = float(margin[place]) / 2
        sudden = before - float(min(chunks.delay[place], chunks.delay[other])) >= least
        if sudden and _goes_on(chunks, place, 1.5 * least, float(earliest[place]) + least):
            return place, other
    return None


def _lateness(
    chunks: Chunks, late: NDArray[np.bool_], margin: FloatArray, patience_ns: int
) -> tuple[tuple[int, int, int] | None, int]:
    """First chunk, the chunk that made it certain and the first settled one of lateness that stays; and the first
    chunk of lateness at the end of the data."""
    counts = np.concatenate([[0], np.cumsum(late)])
    around = counts[2 * _AMID + 1 :] - counts[: -2 * _AMID - 1]
    late[_AMID:-_AMID] |= around == 2 * _AMID  # a single wrong stamp is not the end of it
    edges = np.diff(late.astype(np.int8), prepend=0, append=0)
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    open_from = int(starts[-1]) if len(stops) and stops[-1] >= len(late) - 1 - _AMID else len(late)
    long = (stops - starts >= 3) & (chunks.at[stops - 1] - chunks.at[np.minimum(starts, len(late) - 1)] >= patience_ns)
    for start, stop in zip(starts[long].tolist(), stops[long].tolist(), strict=True):
        found = _stays(chunks, start, stop, float(margin[start]), patience_ns) if start else None
        if found is not None:
            return found, open_from
    return None, open_from


def _stays(chunks: Chunks, start: int, stop: int, margin: float, patience_ns: int) -> tuple[int, int, int] | None:
    """Where lateness has lasted and neither grows nor shrinks any more: a queue that drains is no step, nor is a clock
    at another rate."""
    at, begin_ns = chunks.at, int(chunks.at[start])
    for wait_ns in range(patience_ns, _GIVEN_UP_NS, patience_ns // 16):
        last = max(chunks.since(begin_ns + wait_ns), start + 2)
        if last >= stop:
            return None
        first = max(min(chunks.since(begin_ns + wait_ns - patience_ns), last - 2), start)
        half = min(max(chunks.since((int(at[first]) + int(at[last])) // 2), first + 1), last)
        sooner, later = chunks[first:half].low(), chunks[half : last + 1].low()
        before = float(chunks.delay[_moments(chunks, first, _MOMENTS_NS)].min())
        rise = min(sooner, later) - before
        if rise >= _TRIGGER * margin and abs(later - sooner) <= max(margin / 2, _UNEVEN * rise):
            return first, last, first
    return None


def _moments(chunks: Chunks, place: int, length_ns: int) -> slice:
    """The chunks of the moments before a chunk."""
    return slice(max(min(chunks.since(int(chunks.at[place]) - length_ns), place - 3), 0), place)


def _goes_on(chunks: Chunks, place: int, fall: float, high: float) -> bool:
    """In the second from a chunk on, the floor neither falls on, as that of a clock at another rate does, nor comes
    back; or that second is not over yet."""
    half, end = (chunks.since(int(chunks.at[place]) + length_ns) for length_ns in (SECOND_NS // 2, SECOND_NS))
    if end == len(chunks) or end - half < 3:
        return True
    return float(chunks.delay[place:half].min()) - fall <= float(chunks.delay[half:end].min()) <= high
