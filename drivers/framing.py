"""Cuts a byte stream into frames: keeps what is incomplete, gives up what is no frame, stamps the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from drivers.types import Batch, IntArray, Malformed

Bytes: TypeAlias = NDArray[np.uint8]

_EXCERPT = 64
_REPORT_AT = 1024
"""A longer run of garbage is told in pieces of about this many bytes."""
_PLAUSIBLE_LOSS = 8
"""After garbage, a frame whose counter is at most so far ahead is believed at once."""


def int24_be(columns: Bytes) -> NDArray[np.int32]:
    """(n, 3 c) bytes as (n, c) signed big-endian 24-bit numbers."""
    wide = np.zeros((len(columns), columns.shape[1] // 3, 4), dtype=np.uint8)
    wide[:, :, :3] = columns.reshape(len(columns), -1, 3)
    return (wide.view(">i4")[:, :, 0] >> 8).astype(np.int32)


def to_int24_be(counts: NDArray[np.int32]) -> Bytes:
    """(n, c) numbers as (n, 3 c) bytes, the inverse of int24_be."""
    wide = counts.astype(">i4").view(np.uint8).reshape(len(counts), -1, 4)
    return np.ascontiguousarray(wide[:, :, 1:]).reshape(len(counts), -1)


class StampedBuffer:
    """Bytes that are not decoded yet, each with the time of the chunk that it came in."""

    def __init__(self) -> None:
        self._rest: Batch | None = None

    def join(self, batch: Batch) -> Batch:
        """What was kept with ``batch`` behind it; nothing is kept any more."""
        rest, self._rest = self._rest, None
        if rest is None:
            return batch
        ends = np.concatenate([rest.ends, batch.ends + len(rest.data)])
        return Batch(rest.data + batch.data, ends, np.concatenate([rest.at_ns, batch.at_ns]), batch.channel)

    def keep(self, batch: Batch, offset: int) -> None:
        """Keep a joined batch's bytes from ``offset`` on."""
        if offset >= len(batch.data):
            return
        first = int(np.searchsorted(batch.ends, offset, side="right"))
        self._rest = Batch(batch.data[offset:], batch.ends[first:] - offset, batch.at_ns[first:], batch.channel)

    def clear(self) -> None:
        """Forget what was kept."""
        self._rest = None


class GivenUp:
    """Adds up bytes that were no frame, until a frame follows or they are worth telling."""

    def __init__(self, reason: str) -> None:
        self._reason = reason
        self.clear()

    def clear(self) -> None:
        """Forget them."""
        self._size, self._excerpt, self._at_ns = 0, b"", 0

    def add(self, data: bytes, arrival_ns: int) -> list[Malformed]:
        """More of them, the last of which arrived at ``arrival_ns``."""
        if data:
            self._size += len(data)
            self._excerpt += data[: _EXCERPT - len(self._excerpt)]
            self._at_ns = arrival_ns
        return self.tell() if self._size >= _REPORT_AT else []

    def tell(self) -> list[Malformed]:
        """The event for them, if there are any."""
        if not self._size:
            return []
        event = Malformed(self._reason, self._size, self._excerpt, self._at_ns)
        self.clear()
        return [event]


class SyncedFrames:
    """Frames of one length between a start byte and a stop byte, with a one-byte counter and no checksum.

    Start and stop bytes also occur in payloads, so what counts is what follows on. Behind a whole
    frame, a frame is believed as soon as it is complete, unless the header of the next one (start
    byte, counter + 1) shows up inside it: then it may have been cut short, and the byte behind it
    must be a start byte. After garbage, a frame is believed if its counter is a little ahead of the
    last and no other such header is inside, or else if a start byte follows it. So a frame cut short costs one frame.
    """

    def __init__(self, start: int, length: int, stops: Iterable[int], counter_at: int) -> None:
        self.start, self.length, self.counter_at = start, length, counter_at
        self._is_stop = np.zeros(256, dtype=bool)
        self._is_stop[list(stops)] = True
        self._buffer = StampedBuffer()
        self._given_up = GivenUp(f"no {length}-byte frame between 0x{start:02X} and its stop byte")
        self.restart()

    def restart(self) -> None:
        """Forget all: a frame begins with the next byte."""
        self._buffer.clear()
        self._given_up.clear()
        self._hunting = False
        self._last: int | None = None

    def feed(self, batch: Batch) -> tuple[Bytes, IntArray, list[Malformed]]:
        """Frames (n, length), the arrival of each one's last byte (n,), and what was given up."""
        joined = self._buffer.join(batch)
        data = np.frombuffer(joined.data, dtype=np.uint8)
        rows = len(data) // self.length
        if not self._hunting and self._is_clean(data, rows):
            offsets = np.arange(rows, dtype=np.int64) * self.length
            events: list[Malformed] = []
            used = rows * self.length
        else:
            offsets, used, events = self._search(joined, data)
        self._buffer.keep(joined, used)
        if not len(offsets):
            return np.empty((0, self.length), np.uint8), offsets, events
        clean = not events and len(offsets) == rows and used == rows * self.length
        frames = data[:used].reshape(rows, self.length) if clean else data[offsets[:, None] + np.arange(self.length)]
        self._last = int(frames[-1, self.counter_at])
        return frames, joined.time_of(offsets + (self.length - 1)), events

    def _is_clean(self, data: Bytes, rows: int) -> bool:
        """Nothing but whole frames, none of which may be two."""
        grid = data[: rows * self.length].reshape(rows, self.length)
        if not ((grid[:, 0] == self.start).all() and self._is_stop[grid[:, -1]].all()):
            return False
        return not self._cut_short(grid).any()

    def _cut_short(self, grid: Bytes) -> NDArray[np.bool_]:
        """(n,) whether each frame holds what could be the header of the next."""
        headers = grid[:, 1 : self.length - self.counter_at] == self.start
        counters = grid[:, 1 + self.counter_at :] == (grid[:, self.counter_at] + np.uint8(1))[:, None]
        return np.asarray((headers & counters).any(axis=1))

    # --- when something is wrong --------------------------------------------------------------

    def _search(self, joined: Batch, data: Bytes) -> tuple[IntArray, int, list[Malformed]]:
        """Offsets of the frames, how many bytes are done with, and what was given up."""
        starts = data[: max(len(data) - self.length + 1, 0)] == self.start
        whole = starts & self._is_stop[data[self.length - 1 :]]
        candidates = np.flatnonzero(whole)
        found: list[IntArray] = []
        events: list[Malformed] = []
        position = look_from = 0
        while True:
            if self._hunting:
                found_at, believed = self._hunt(data, candidates, look_from)
                events += self._give_up(joined, position, found_at)
                position = found_at
                if not believed:
                    break
                self._hunting = False
                events += self._given_up.tell()
            offsets, done = self._walk(data, whole, position)
            found.append(offsets)
            position += len(offsets) * self.length
            if len(offsets):
                self._last = int(data[position - self.length + self.counter_at])
            if done:
                break
            self._hunting, look_from = True, position + 1
        return (np.concatenate(found) if found else np.empty(0, np.int64)), position, events

    def _walk(self, data: Bytes, whole: NDArray[np.bool_], position: int) -> tuple[IntArray, bool]:
        """Frames on the grid from ``position``, and whether to wait there for more bytes."""
        rows, size = 0, 16
        while True:
            good = whole[position + rows * self.length :: self.length][:size]
            count = len(good) if good.all() else int(good.argmin())
            offsets = position + (rows + np.arange(count, dtype=np.int64)) * self.length
            grid = data[offsets[:, None] + np.arange(self.length)]
            for row in np.flatnonzero(self._cut_short(grid)).tolist():
                behind = int(offsets[row]) + self.length
                if behind >= len(data) or data[behind] != self.start:
                    return self._rows(position, rows + row), behind >= len(data)
            rows += count
            if count < size:
                end = position + rows * self.length
                return self._rows(position, rows), end + self.length > len(data)
            size *= 4

    def _rows(self, position: int, count: int) -> IntArray:
        return position + np.arange(count, dtype=np.int64) * self.length

    def _hunt(self, data: Bytes, candidates: IntArray, position: int) -> tuple[int, bool]:
        """Where the next frame begins and True, or where to go on looking once there are more bytes and False."""
        first = int(np.searchsorted(candidates, position))
        while first < len(candidates):
            near = candidates[first : first + 256]
            behind = near + self.length
            last = behind >= len(data)
            believed = ~last & (data[np.minimum(behind, len(data) - 1)] == self.start)
            if self._last is not None:
                believed |= self._follows_alone(data[near[:, None] + np.arange(self.length)], np.uint8(self._last))
            stop = np.flatnonzero(believed | last)
            if len(stop):
                return int(near[stop[0]]), bool(believed[stop[0]])
            first += len(near)
        tail = max(position, len(data) - self.length + 1)
        begun = np.flatnonzero(data[tail:] == self.start)
        return (tail + int(begun[0]) if len(begun) else len(data)), False

    def _follows_alone(self, grid: Bytes, last: np.uint8) -> NDArray[np.bool_]:
        """(n,) whether each frame's counter is a little ahead, and no header with such a counter is inside."""
        ahead = grid - last - np.uint8(1) < _PLAUSIBLE_LOSS
        headers = grid[:, 1 : self.length - self.counter_at] == self.start
        inside = (headers & ahead[:, 1 + self.counter_at :]).any(axis=1)
        return np.asarray(ahead[:, self.counter_at] & ~inside)

    def _give_up(self, joined: Batch, start: int, stop: int) -> list[Malformed]:
        if stop <= start:
            return []
        at_ns = int(joined.at_ns[np.searchsorted(joined.ends, stop - 1, side="right")])
        return self._given_up.add(joined.data[start:stop], at_ns)
