"""The clock of a stream as its chunks come: bounded memory, and the same answer however the data are cut.

Chunks (runs of samples with one arrival) wait until what follows shows whether the clock stepped; then they are put
into blocks of about a second (drivers.clock_blocks), whose neighbours merge when there are too many. fits() treats
what still waits as if the stream had ended, on a copy.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from drivers.clock_blocks import Blocks, arrival_groups, huber_line
from drivers.clock_fit import ClockFit
from drivers.clock_judge import Evidence, judge
from drivers.clock_poll import find_poll, lattice_cell
from drivers.clock_steps import find_steps
from drivers.types import FloatArray, IntArray

_SECOND_NS = 1_000_000_000
_BLOCK_CHUNKS = 4
"""A block holds about so many chunks at least."""
_OPENING = 12_288
"""First samples of a segment, in which a link's poll shows."""
_WINDOW_BLOCKS = 16
_BEFORE_NS, _AFTER_NS = 12 * _SECOND_NS, 4 * _SECOND_NS
"""What find_steps() is shown around a window: the floor that it compares with, and what tells a step from a stall."""
_QUIET_NS = 12e6
"""Floors of seconds that differ by less from one to the next hide no step."""
_MOST_BLOCKS = 512
_REST_NS, _REST_POLLED_NS, _GROWTH = 10 * _SECOND_NS, 20 * _SECOND_NS, 5
"""latest() rests for so long, or for a fifth of what it spoke of."""
_MOST_CHUNKS, _BURST = 16_384, 128
"""Chunks kept as they are for a link that polls; then every other burst of them goes."""


@dataclass(frozen=True, slots=True)
class _Link:
    """What the caller knows of the link, see fit_clock()."""

    cell_ns: float
    play_ns: float
    radio: bool


@dataclass(slots=True)
class _Part:
    """What is kept between two steps of the clock."""

    start: int
    low_ns: int
    """Device time of the first sample, and of the last, from the segment's first."""
    high_ns: int = 0
    arrivals: int = 0
    blocks: Blocks | None = None
    merged: int = 0
    """So many times blocks have been merged in pairs."""
    at_s: list[FloatArray] = field(default_factory=list)
    """Chunks as they are: device time of the last sample, and delay."""
    delay_ns: list[FloatArray] = field(default_factory=list)
    thinned: int = 0

    def add(self, blocks: Blocks, tilt: float) -> None:
        for _ in range(min(self.merged, 4)):
            blocks = blocks.halved(tilt)
        self.blocks = blocks if self.blocks is None else self.blocks.joined(blocks)
        while len(self.blocks) > _MOST_BLOCKS:
            self.blocks, self.merged = self.blocks.halved(tilt), self.merged + 1

    def keep(self, at_s: FloatArray, delay_ns: FloatArray) -> None:
        """Chunks for the lattice: of each 2**thinned bursts the first."""
        number = self.arrivals + np.arange(len(at_s))
        here = (number // _BURST) % (1 << self.thinned) == 0
        self.at_s.append(at_s[here])
        self.delay_ns.append(delay_ns[here])
        self.arrivals += len(at_s)
        if sum(map(len, self.at_s)) > _MOST_CHUNKS:
            at, delay = np.concatenate(self.at_s), np.concatenate(self.delay_ns)
            here = (np.arange(len(at)) // _BURST) % 2 == 0
            self.at_s, self.delay_ns, self.thinned = [at[here]], [delay[here]], self.thinned + 1

    def copied(self) -> _Part:
        return replace(self, at_s=list(self.at_s), delay_ns=list(self.delay_ns))


_COLUMNS = 5
_FIRST, _LOW, _LAST, _ARRIVAL, _DELAY = range(_COLUMNS)
"""A chunk waiting: number of its first sample, least and greatest device time, arrival, least (arrival - device); times
and delays count from the segment's first sample."""


class _Segment:
    def __init__(self, number: int, start: int, device_ns: int, arrival_ns: int) -> None:
        self.number, self.start = number, start
        self.device0, self.arrival0 = device_ns, arrival_ns
        self.n = 0
        self._waiting = np.empty((_COLUMNS, 0), dtype=np.int64)
        self._pieces: list[IntArray] = []
        self._open: IntArray | None = None
        self._done = 0
        """Chunks of ``_waiting`` that are in blocks already."""
        self._windows = 0
        self._block_ns, self._tilt = 0, 0.0
        """Length of a block in arrivals (0: not yet known), and about what drift adds to the delay, ns/s."""
        self.parts: list[_Part] = []
        self._opening: list[tuple[IntArray, IntArray]] = []
        self._opened = 0
        self._polls: dict[int, tuple[float, float, float]] = {}
        """What the latest look at the opening found, by how many samples it looked at."""

    def add(self, device_ns: IntArray, arrival_ns: IntArray) -> None:
        """The next samples, (n,) with n >= 1."""
        if self._opened < _OPENING:
            part = slice(0, _OPENING - self._opened)
            self._opening.append((device_ns[part].copy(), arrival_ns[part].copy()))
            self._opened += len(device_ns[part])
        chunks = self._chunks(device_ns - self.device0, arrival_ns - self.arrival0)
        self.n += len(device_ns)
        if len(chunks[0]) > 1:
            self._pieces.append(chunks[:, :-1])
        self._open = chunks[:, -1]
        if self._open[_ARRIVAL] >= self._due_ns():
            self._gather()
            self._advance(ended=False)

    def _chunks(self, device: IntArray, arrival: IntArray) -> IntArray:
        """(5, g) the open chunk goes on with the first samples if they arrived with it."""
        starts, last, delay = arrival_groups(arrival, device)
        low = np.minimum.reduceat(device, starts)
        chunks = np.stack([starts + self.n, low, last, arrival[starts], delay])
        before = self._open
        if before is None:
            return chunks
        if before[_ARRIVAL] != chunks[_ARRIVAL, 0]:
            return np.concatenate([before[:, None], chunks], axis=1)
        first = chunks[:, 0]
        first[_FIRST] = before[_FIRST]
        first[_LOW], first[_DELAY] = min(before[_LOW], first[_LOW]), min(before[_DELAY], first[_DELAY])
        first[_LAST] = max(before[_LAST], first[_LAST])
        return chunks

    def _gather(self) -> None:
        if self._pieces:
            self._waiting = np.concatenate([self._waiting, *self._pieces], axis=1)
            self._pieces = []

    def _due_ns(self) -> int:
        """Arrival from which on the next window can be judged."""
        block_ns = self._block_ns or _SECOND_NS
        return (self._windows + 1) * _WINDOW_BLOCKS * block_ns + _AFTER_NS

    def _advance(self, ended: bool) -> None:
        """Put every window that can be judged into blocks."""
        if not self._block_ns:
            self._block_ns = self._block_length()
        while True:
            waiting, end = self._waiting[_ARRIVAL], self._due_ns()
            told = self._open is not None and self._open[_ARRIVAL] >= end
            if not told and not (ended and self._done < len(waiting)):
                return
            boundary = end - _AFTER_NS
            before = int(np.searchsorted(waiting, boundary - _WINDOW_BLOCKS * self._block_ns - _BEFORE_NS))
            stop, after = (int(v) for v in np.searchsorted(waiting, [boundary, end]))
            self._judge_window(before, self._done, stop, after)
            keep = int(np.searchsorted(waiting, boundary - _BEFORE_NS))
            self._waiting, self._done = self._waiting[:, keep:], stop - keep
            self._windows += 1

    def _block_length(self) -> int:
        """Nanoseconds of arrivals to a block, by how fast the first chunks come."""
        first = self._waiting[_ARRIVAL, :33]
        first = first[first < self._due_ns()]
        gap = int(first[-1] - first[0]) // max(len(first) - 1, 1) if len(first) else 0
        return max(_SECOND_NS, -(-_BLOCK_CHUNKS * gap // _SECOND_NS) * _SECOND_NS)

    def _judge_window(self, before: int, start: int, stop: int, after: int) -> None:
        """Blocks of the chunks start..stop, given those around them."""
        if stop <= start:
            return
        steps = [place for place in self._steps(before, after) if start <= place < stop]
        edges = [start, *steps, stop]
        for begin, end in pairwise(edges):
            if end > begin:
                self._block(self._waiting[:, begin:end], fresh=begin in steps or not self.parts)

    def _steps(self, before: int, after: int) -> list[int]:
        """Numbers of waiting chunks that are the first after a step."""
        near = self._waiting[:, before:after]
        second = np.flatnonzero(np.diff(near[_ARRIVAL] // _SECOND_NS, prepend=-1))
        floors = np.minimum.reduceat(near[_DELAY], second)
        if len(floors) < 2 or np.abs(np.diff(floors)).max() < _QUIET_NS:
            return []
        # a rate that is a per cent off would look like a step every few seconds
        gains = np.diff(floors) / np.maximum(np.diff(near[_ARRIVAL, second]), 1)
        device = near[_ARRIVAL] - (near[_DELAY] - np.rint(float(np.median(gains)) * near[_ARRIVAL]).astype(np.int64))
        return [before + step.index for step in find_steps(device, near[_ARRIVAL])]

    def _block(self, chunks: IntArray, fresh: bool) -> None:
        at_s, delay = chunks[_LAST] / _SECOND_NS, chunks[_DELAY].astype(np.float64)
        block = chunks[_ARRIVAL] // self._block_ns
        if not self.parts:
            self._tilt = _first_tilt(Blocks.of(at_s, delay, block))
        if fresh:
            self.parts.append(_Part(int(chunks[_FIRST, 0]), int(chunks[_LOW].min()), int(chunks[_LAST].max())))
        part = self.parts[-1]
        part.low_ns = min(part.low_ns, int(chunks[_LOW].min()))
        part.high_ns = max(part.high_ns, int(chunks[_LAST].max()))
        part.add(Blocks.of(at_s, delay, block, self._tilt), self._tilt)
        part.keep(at_s, delay)

    def ended(self) -> _Segment:
        """A copy in which all that came is in blocks."""
        other = copy.copy(self)
        other.parts = [part.copied() for part in self.parts]
        other._pieces = [*self._pieces, *([] if self._open is None else [self._open[:, None]])]
        other._gather()
        other._advance(ended=True)
        return other

    def _polled(self, count: int, radio: bool) -> tuple[float, float, float]:
        """Poll, lattice cell and sample period by the first ``count`` samples: looked for anew only when a long opening
        has grown by a quarter, so that asking every second costs little."""
        looked = count
        if count > _OPENING // 3:
            looked = _OPENING // 3
            while looked * 5 // 4 <= count:
                looked = looked * 5 // 4
        if looked not in self._polls:
            device, arrival = (np.concatenate(column) for column in zip(*self._opening, strict=True))
            self._opening = [(device, arrival)]
            device, arrival = device[:looked], arrival[:looked]
            poll = find_poll(arrival, device, radio)
            cell = lattice_cell(arrival, device, poll) if poll else 0.0
            spacing = float(np.median(np.diff(device))) if looked > 1 else 0.0
            self._polls = {looked: (poll, cell, spacing)}
        return self._polls[looked]

    @property
    def lasts_ns(self) -> int:
        """From the first arrival to the last."""
        return 0 if self._open is None else int(self._open[_ARRIVAL])

    def fits(self, link: _Link) -> list[ClockFit]:
        """Of all parts so far, those of what still waits included."""
        ended = self.ended()
        first_stop = ended.parts[1].start if len(ended.parts) > 1 else self.n
        poll, cell, spacing = self._polled(max(min(self._opened, first_stop), 1), link.radio)
        stops = [*(part.start for part in ended.parts[1:]), self.n]
        fits: list[ClockFit] = []
        for part, stop in zip(ended.parts, stops, strict=True):
            assert part.blocks is not None
            evidence = Evidence(
                part.blocks, np.concatenate(part.at_s), np.concatenate(part.delay_ns), part.low_ns, part.high_ns,
                part.arrivals, stop - part.start, poll, cell or link.cell_ns, link.cell_ns, spacing, link.play_ns,
                fits[-1] if fits else None,
            )  # fmt: skip
            base = self.arrival0 - self.device0
            fits.append(judge(evidence, self.number, self.start + part.start, self.device0, base))
        return fits


def _first_tilt(blocks: Blocks) -> float:
    """About what drift adds to the delay, ns/s."""
    return huber_line(blocks.low_at_s[:, 0], blocks.lowest())[0] if len(blocks) > 2 else 0.0


class ClockEstimator:
    """Offset, drift and jitter of one stream's clock, at any time while it runs.

    Memory is bounded for each stretch without a step. An update costs about what looking at the data costs; fits()
    some ms, so ask once a second. The same samples give the same fits, bit for bit, however they are cut into pieces.
    """

    def __init__(self, cell_ns: float = 0.0, play_ns: float = 0.0, radio: bool = True) -> None:
        """Arguments as for fit_clock()."""
        self._link = _Link(cell_ns, play_ns, radio)
        self._n = 0
        self._segment: _Segment | None = None
        self._earlier: list[ClockFit] = []
        self._said: list[ClockFit] = []
        self._said_of = (-1, 0)
        """Segments and parts when latest() last worked its answer out,"""
        self._due_ns = 0
        """and how long the segment must have lasted before it does so again."""

    def update(self, device_ns: IntArray, arrival_ns: IntArray, segment: IntArray) -> None:
        """The next samples, (n,) each, in order of arrival; arguments as for fit_clock()."""
        edges = [0, *(np.flatnonzero(np.diff(segment)) + 1).tolist(), len(segment)]
        for start, stop in pairwise(edges):
            if stop == start:
                continue
            number = int(segment[start])
            if self._segment is None or number != self._segment.number:
                if self._segment is not None:
                    self._earlier += self._segment.fits(self._link)
                self._segment = _Segment(number, self._n + start, int(device_ns[start]), int(arrival_ns[start]))
            self._segment.add(device_ns[start:stop], arrival_ns[start:stop])
        self._n += len(segment)

    def fits(self) -> list[ClockFit]:
        """A fit for each stretch so far, in order."""
        return [*self._earlier, *(self._segment.fits(self._link) if self._segment else [])]

    def latest(self) -> list[ClockFit]:
        """fits() of not long ago, for a live view that asks each second: worked out anew when a step shows, and
        otherwise as the data have grown by enough to tell more. start + n of the last one is the number of samples
        that it speaks of."""
        if self._segment is None:
            return []
        now, lasts_ns = (self._segment.start, max(len(self._segment.parts), 1)), self._segment.lasts_ns
        if now != self._said_of or lasts_ns >= self._due_ns:
            self._said, self._said_of = self.fits(), now
            rest_ns = _REST_POLLED_NS if self._said[-1].kind == "lattice" else _REST_NS
            self._due_ns = lasts_ns + max(rest_ns, lasts_ns // _GROWTH)
        return self._said
