"""Finds frames in a byte stream by a rule, keeps what is incomplete and tells what was no frame.

A rule is asked with all bytes that are not done with and says where frames are; the rules of several wire formats
are here. Each decides on a frame as soon as its last byte has come, by that frame's bytes and what came before
them, so that the cut of the bytes into reads changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from drivers.framing import Bytes, GivenUp, StampedBuffer
from drivers.types import Batch, IntArray, Malformed

Rule: TypeAlias = Callable[[Bytes], tuple[IntArray, IntArray, int]]
"""From bytes to the first byte of every frame (n,), each one's length (n,), and how many bytes are done with."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Frames in the order in which they came."""

    data: Bytes
    starts: IntArray
    """(n,) first byte of each in ``data``."""
    sizes: IntArray
    """(n,)"""
    arrival_ns: IntArray
    """(n,) arrival of each one's last byte."""
    malformed: list[Malformed]

    def table(self, size: int) -> Bytes:
        """Frames that all have ``size`` bytes as (n, size)."""
        count = len(self.starts)
        if count and self.starts[-1] - self.starts[0] == (count - 1) * size:
            first = int(self.starts[0])
            return self.data[first : first + count * size].reshape(count, size)
        return np.asarray(self.data[self.starts[:, None] + np.arange(size)])


class FrameFinder:
    """Applies a rule to the bytes that come."""

    def __init__(self, rule: Rule, reason: str) -> None:
        self._rule = rule
        self._buffer = StampedBuffer()
        self._given_up = GivenUp(reason)

    def restart(self) -> None:
        """Forget all."""
        self._buffer.clear()
        self._given_up.clear()

    def feed(self, batch: Batch) -> Found:
        """The frames that a batch completes, and what it shows to be none."""
        joined = self._buffer.join(batch)
        data = np.frombuffer(joined.data, dtype=np.uint8)
        starts, sizes, used = self._rule(data)
        self._buffer.keep(joined, used)
        stops = starts + sizes
        begins = np.concatenate([[0], stops])
        gaps = np.concatenate([starts, [used]]) - begins
        events: list[Malformed] = []
        if gaps.any() or len(starts):
            events = self._tell(joined, begins, gaps)
        return Found(data, starts, sizes, joined.time_of(stops - 1), events)

    def _tell(self, joined: Batch, begins: IntArray, gaps: IntArray) -> list[Malformed]:
        """Give up the bytes between frames; a frame behind them ends the account."""
        frames = len(gaps) - 1
        events = self._given_up.tell() if frames and not gaps[0] else []
        for k in np.flatnonzero(gaps).tolist():
            first, last = int(begins[k]), int(begins[k] + gaps[k])
            at_ns = int(joined.at_ns[np.searchsorted(joined.ends, last - 1, side="right")])
            events += self._given_up.add(joined.data[first:last], at_ns)
            if k < frames:
                events += self._given_up.tell()
        return events


def marked(lengths: Mapping[int, int], *, bit7: bool) -> Rule:
    """Frames whose first byte alone has bit 7 set (``bit7``), or alone lacks it; first byte -> length of the frame.

    A frame that another interrupts is none, and neither are bytes without such a first one.
    """
    wanted_by = np.zeros(256, dtype=np.int64)
    wanted_by[list(lengths)] = list(lengths.values())

    def rule(data: Bytes) -> tuple[IntArray, IntArray, int]:
        heads = np.flatnonzero((data >= 0x80) == bit7)
        wanted = wanted_by[data[heads]]
        room = np.diff(heads, append=len(data))
        good = (wanted > 0) & (room >= wanted)
        waits = bool(len(heads)) and 0 < room[-1] < wanted[-1]
        return heads[good], wanted[good], int(heads[-1]) if waits else len(data)

    return rule


def delimited(prefix: bytes, length: int, suffix: bytes, counter_at: int | None = None) -> Rule:
    """Frames of one length between a prefix and a suffix.

    A prefix inside a frame means that the frame was cut short, unless the frames have a counter (one byte, at
    ``counter_at``) and the one there does not follow.
    """
    tail = length - len(suffix)

    def rule(data: Bytes) -> tuple[IntArray, IntArray, int]:
        heads = _places(data, prefix)
        whole = heads[heads + length <= len(data)]
        good = np.ones(len(whole), dtype=bool)
        for k, value in enumerate(suffix):
            good &= data[whole + (tail + k)] == value
        if len(heads) > 1:
            inside = np.diff(heads)[: len(whole)] <= length - len(prefix)
            if counter_at is not None and inside.any():
                own = data[whole[: len(inside)] + counter_at] + np.uint8(1)
                theirs = np.minimum(heads[1 : len(inside) + 1] + counter_at, len(data) - 1)
                inside &= data[theirs] == own
            good[: len(inside)] &= ~inside
        starts = apart(whole[good], length)
        used = int(starts[-1]) + length if len(starts) else 0
        waiting = heads[(heads >= used) & (heads + length > len(data))]
        kept = int(waiting[0]) if len(waiting) else len(data) - _begun(data[used:], prefix)
        return starts, np.full(len(starts), length, dtype=np.int64), kept

    return rule


def _places(data: Bytes, pattern: bytes) -> IntArray:
    """Where a pattern of bytes occurs, (n,)."""
    count = len(data) - len(pattern) + 1
    if count <= 0:
        return np.empty(0, dtype=np.int64)
    places = np.flatnonzero(data[:count] == pattern[0])
    for k, value in enumerate(pattern[1:], 1):
        places = places[data[places + k] == value]
    return places


def _begun(data: Bytes, pattern: bytes) -> int:
    """How many of the last bytes may be the beginning of a pattern."""
    tail = data[-len(pattern) + 1 :].tobytes() if len(pattern) > 1 else b""
    return next((k for k in range(len(tail), 0, -1) if pattern.startswith(tail[-k:])), 0)


def apart(starts: IntArray, length: int) -> IntArray:
    """Those of sorted ``starts`` (n,) that do not lie inside the frame before."""
    if not (np.diff(starts) < length).any():
        return starts
    kept: list[int] = []
    for start in starts.tolist():
        if not kept or start >= kept[-1] + length:
            kept.append(start)
    return np.array(kept, dtype=np.int64)


class Checked:
    """Rule for frames of one length that are known by a check of all their bytes alone.

    Behind a frame, and in the beginning, one good frame is believed. After bytes that were none, two good frames in
    a row are wanted, since a short checksum is right by chance now and then.
    """

    def __init__(self, length: int, check: Callable[[Bytes], NDArray[np.bool_]]) -> None:
        self._length, self._check = length, check
        self.restart()

    def restart(self) -> None:
        """A frame begins with the next byte."""
        self._hunting = False

    def __call__(self, data: Bytes) -> tuple[IntArray, IntArray, int]:
        """See Rule."""
        length = self._length
        rows = len(data) // length
        if not self._hunting and self._check(data[: rows * length].reshape(rows, length)).all():
            starts = np.arange(rows, dtype=np.int64) * length
            return starts, np.full(rows, length, dtype=np.int64), rows * length
        windows = np.lib.stride_tricks.sliding_window_view(data, length) if rows else np.empty((0, length), np.uint8)
        good = self._check(windows)
        pairs = np.flatnonzero(good[:-length] & good[length:])
        starts, position = self._walk(good, pairs)
        if self._hunting:
            alone = np.flatnonzero(good[max(len(data) - 2 * length + 1, position) :])
            tail = max(len(data) - length + 1, position)
            position = min(tail, int(alone[0]) + max(len(data) - 2 * length + 1, position)) if len(alone) else tail
        return starts, np.full(len(starts), length, dtype=np.int64), min(position, len(data))

    def _walk(self, good: NDArray[np.bool_], pairs: IntArray) -> tuple[IntArray, int]:
        """Starts of frames, and the first byte behind those that are decided."""
        found: list[IntArray] = []
        position = 0
        while position < len(good):
            if self._hunting:
                first = int(np.searchsorted(pairs, position))
                if first == len(pairs):
                    break
                position, self._hunting = int(pairs[first]), False
            run = good[position :: self._length]
            count = len(run) if run.all() else int(run.argmin())
            found.append(position + np.arange(count, dtype=np.int64) * self._length)
            position += count * self._length
            self._hunting = count < len(run)
        return (np.concatenate(found) if found else np.empty(0, dtype=np.int64)), position
