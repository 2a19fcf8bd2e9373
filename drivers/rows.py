"""Rows of float64 as bytes: the wire of sensors that have none because a library reads them.

A frame is four fixed bytes, the row's columns as little-endian float64, and the CRC-32 (IEEE 802.3, as zlib's)
of all that. A link puts the library's rows in, a simulated device its own, and one Host decodes both, so such a
sensor goes through the same recordings, faults and tests as one with a wire.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from drivers.codec import Block, Expect, Reply, SerialDevice, Steps
from drivers.counted import FrameNumbers
from drivers.counter import spans, steps_from
from drivers.framing import Bytes, GivenUp, StampedBuffer
from drivers.types import Batch, CounterReset, Event, FloatArray, IntArray, Malformed, Notice, Samples, StreamSpec

MAGIC = b"\xf6ROW"
_HEAD, _TAIL = len(MAGIC), 4
_LATEST_S = 9e9
"""Unix time fits for the next 200 years."""
_BACK_NS = 50_000_000
"""A clock that goes back further than this was set; less is jitter of host stamps."""


def frame_size(columns: int) -> int:
    """Bytes of a row of so many columns."""
    return _HEAD + 8 * columns + _TAIL


def write_rows(rows: FloatArray) -> bytes:
    """Rows (n, columns) as n frames, one behind the other."""
    grid = np.empty((len(rows), frame_size(rows.shape[1])), dtype=np.uint8)
    grid[:, :_HEAD] = np.frombuffer(MAGIC, dtype=np.uint8)
    grid[:, _HEAD:-_TAIL] = np.ascontiguousarray(rows, dtype="<f8").view(np.uint8).reshape(len(rows), -1)
    grid[:, -_TAIL:] = _checksums(grid).astype("<u4").view(np.uint8).reshape(-1, _TAIL)
    return grid.tobytes()


def read_rows(frames: Bytes) -> FloatArray:
    """Rows (n, columns) of frames (n, size), which are taken to be good."""
    return np.ascontiguousarray(frames[:, _HEAD:-_TAIL]).view("<f8").astype(np.float64)


def _checksums(grid: Bytes) -> IntArray:
    """(n,) CRC-32 of each frame (n, size) without its last four bytes."""
    size = grid.shape[1]
    text = grid.tobytes()
    return np.array([zlib.crc32(text[k : k + size - _TAIL]) for k in range(0, len(text), size)], dtype=np.int64)


class RowFrames:
    """Cuts a byte stream into rows; every frame proves itself, so one that is damaged costs no other."""

    def __init__(self, columns: int) -> None:
        self._size = frame_size(columns)
        self._buffer = StampedBuffer()
        self._given_up = GivenUp(f"no row of {columns} numbers with its checksum")

    def restart(self) -> None:
        """Forget all."""
        self._buffer.clear()
        self._given_up.clear()

    def feed(self, batch: Batch) -> tuple[Bytes, IntArray, list[Malformed]]:
        """Frames (n, size), the arrival of each one's last byte (n,), and what was given up."""
        joined = self._buffer.join(batch)
        data = np.frombuffer(joined.data, dtype=np.uint8)
        whole = np.arange(len(data) // self._size, dtype=np.int64) * self._size
        used, events = len(whole) * self._size, list[Malformed]()
        if not self._good(data[:used].reshape(-1, self._size)).all():
            whole, used, events = self._search(joined)
        elif len(whole):
            events = self._given_up.tell()
        self._buffer.keep(joined, used)
        return data[whole[:, None] + np.arange(self._size)], joined.time_of(whole + (self._size - 1)), events

    def _good(self, grid: Bytes) -> np.typing.NDArray[np.bool_]:
        """(n,) whether each of (n, size) is a frame."""
        good = (grid[:, :_HEAD] == np.frombuffer(MAGIC, dtype=np.uint8)).all(axis=1)
        if good.all():
            told = np.ascontiguousarray(grid[:, -_TAIL:]).view("<u4")[:, 0]
            good = _checksums(grid) == told
        return np.asarray(good)

    def _search(self, joined: Batch) -> tuple[IntArray, int, list[Malformed]]:
        """Offsets of the frames, how many bytes are done with, and what was given up."""
        text, size = joined.data, self._size
        found: list[int] = []
        events: list[Malformed] = []
        done = at = 0
        while True:
            at = text.find(MAGIC, at)
            if at < 0 or at + size > len(text):
                break
            frame = memoryview(text)[at : at + size]
            if zlib.crc32(frame[:-_TAIL]) != int.from_bytes(frame[-_TAIL:], "little"):
                at += 1
                continue
            events += self._give_up(joined, done, at) + self._given_up.tell()
            found.append(at)
            done = at = at + size
        rest = at if at >= 0 else self._begun(text, done)
        events += self._give_up(joined, done, rest)
        return np.array(found, dtype=np.int64), rest, events

    @staticmethod
    def _begun(text: bytes, done: int) -> int:
        """Where the fixed bytes may have begun at the end of the text."""
        for count in range(min(_HEAD - 1, len(text) - done), 0, -1):
            if text.endswith(MAGIC[:count]):
                return len(text) - count
        return len(text)

    def _give_up(self, joined: Batch, start: int, stop: int) -> list[Malformed]:
        if stop <= start:
            return []
        at_ns = int(joined.time_of(np.array([stop - 1]))[0])
        return self._given_up.add(joined.data[start:stop], at_ns)


@dataclass(frozen=True)
class RowLayout:
    """What the columns of a row mean. All streams have one rate: each row carries a sample of each."""

    streams: tuple[StreamSpec, ...]
    columns: Mapping[str, tuple[int, ...]]
    """Stream -> its channels' columns."""
    width: int
    time: int
    """Column of the device's clock, in seconds."""
    counter: int | None = None
    modulus: int = 0
    """The counter goes from this less one to 0."""
    notices: Mapping[str, int] = field(default_factory=dict)
    """Notice -> column; told when the number changes, NaN being none."""


class RowHost:
    """The computer's end; ``what`` is who sends the rows, for errors."""

    def __init__(self, layout: RowLayout, what: str) -> None:
        self.streams = layout.streams
        self._layout, self._what = layout, what
        self._rate_hz = layout.streams[0].rate_hz
        self._frames = RowFrames(layout.width)
        each = [(stream.name, 1) for stream in self.streams]
        self._numbers = FrameNumbers(max(layout.modulus, 1), 1e9 / (self._rate_hz or 1.0), each)
        self._taken, self._starts, self._jumps = 0, -1, 0
        self._last: tuple[int, int, int] | None = None  # device ns, index and segment of the last row
        self._noticed: dict[str, float] = {}

    def start(self) -> Steps:
        """Wait until rows come; one that comes at no fixed rate may take any time, and is not waited for."""
        if self._rate_hz:
            patience_s = 5.0 + 3 / self._rate_hz
            yield Expect(b"(?=" + re.escape(MAGIC) + b")", f"rows of {self._what}", timeout_s=patience_s)
        self._frames.restart()
        self._numbers.restart()
        self._last = None
        self._starts += 1

    def stop(self) -> Steps:
        """Nothing: closing the link stops the library."""
        yield from ()

    def feed(self, batch: Batch) -> list[Event]:
        """Decode rows; see drivers.codec.Host."""
        frames, arrival_ns, malformed = self._frames.feed(batch)
        events: list[Event] = list(malformed)
        if not len(frames):
            return events
        rows = read_rows(frames)
        wrong = self._wrong(rows)
        if wrong.any():
            events += [_malformed(frames[k], int(arrival_ns[k])) for k in np.flatnonzero(wrong).tolist()]
            frames, rows, arrival_ns = frames[~wrong], rows[~wrong], arrival_ns[~wrong]
        if self._layout.counter is None:
            index = self._taken + np.arange(len(rows), dtype=np.int64)
            self._taken += len(rows)
            return events + self._samples(rows, arrival_ns, index, np.full(len(rows), max(self._starts, 0)))
        counters = rows[:, self._layout.counter].astype(np.int64)
        numbered = self._numbers.update(frames, counters, arrival_ns)
        rows, events = read_rows(numbered.frames), events + numbered.events
        return events + self._samples(rows, numbered.arrival_ns, numbered.index, numbered.segment)

    def _wrong(self, rows: FloatArray) -> np.typing.NDArray[np.bool_]:
        wrong = ~(np.abs(rows[:, self._layout.time]) < _LATEST_S)
        if self._layout.counter is not None:
            counter = rows[:, self._layout.counter]
            wrong |= ~((counter >= 0) & (counter < self._layout.modulus) & (counter == np.floor(counter)))
        return np.asarray(wrong)

    def _samples(self, rows: FloatArray, arrival_ns: IntArray, index: IntArray, segment: IntArray) -> list[Event]:
        if not len(rows):
            return []
        device_ns = _nanoseconds(rows[:, self._layout.time])
        segment, events = self._clock_steps(device_ns, index, segment, arrival_ns)
        events += self._notices(rows, arrival_ns)
        for a, b in spans(segment):
            for name, columns in self._layout.columns.items():
                values = rows[a:b][:, columns]
                part = int(segment[a])
                events.append(Samples(name, values, index[a:b], arrival_ns[a:b], device_ns[a:b], part))
        return events

    def _clock_steps(
        self, device_ns: IntArray, index: IntArray, segment: IntArray, arrival_ns: IntArray
    ) -> tuple[IntArray, list[Event]]:
        """Segments (n,), with a new one where the clock was set back although the rows went on."""
        time, number, part = self._last or (int(device_ns[0]), int(index[0]), int(segment[0]))
        moved = steps_from(time, device_ns)
        on = (steps_from(number, index) > 0) & (steps_from(part, segment) == 0)
        back = on & (moved < -_BACK_NS)
        self._last = int(device_ns[-1]), int(index[-1]), int(segment[-1])
        segment = segment + self._jumps + np.cumsum(back)
        self._jumps += int(np.count_nonzero(back))
        events: list[Event] = []
        for k in np.flatnonzero(back).tolist():
            detail = f"the clock of {self._what} went back by {-moved[k] / 1e6:.0f} ms"
            events += [CounterReset(s.name, int(arrival_ns[k]), detail, clock=True) for s in self.streams]
        return segment, events

    def _notices(self, rows: FloatArray, arrival_ns: IntArray) -> list[Event]:
        events: list[Event] = []
        for name, column in self._layout.notices.items():
            known = np.flatnonzero(np.isfinite(rows[:, column]))
            values = rows[known, column]
            changed = np.flatnonzero(np.diff(values, prepend=self._noticed.get(name, np.nan)) != 0)
            events += [Notice(name, float(values[k]), int(arrival_ns[known[k]])) for k in changed.tolist()]
            if len(values):
                self._noticed[name] = float(values[-1])
        return events


def _malformed(frame: Bytes, at_ns: int) -> Malformed:
    return Malformed("a row without a time or counter", len(frame), frame.tobytes()[:64], at_ns)


def _nanoseconds(seconds: FloatArray) -> IntArray:
    """Seconds (n,) as int64 ns; Unix time in ns is beyond what a float holds exactly."""
    whole = np.floor(seconds)
    return whole.astype(np.int64) * 1_000_000_000 + np.rint((seconds - whole) * 1e9).astype(np.int64)


class RowDevice(SerialDevice):
    """What hands the rows over: they come from the moment it has power."""

    def __init__(self, layout: RowLayout) -> None:
        self.streams = layout.streams
        self._layout = layout
        self.reset()

    def reset(self) -> None:
        """Power cycle."""
        self.streaming = True
        self._next = self._zero = 0

    def reset_counter(self) -> None:
        """The next row has counter 0."""
        self._zero = self._next

    def receive(self, data: bytes, channel: str = "") -> list[Reply]:
        """There is nothing to say to it."""
        return []

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        """One chunk per row; see drivers.codec.Device."""
        first, layout = blocks[self.streams[0].name], self._layout
        count = len(first.index)
        if not count:
            return []
        rows = np.zeros((count, layout.width))
        for name, columns in layout.columns.items():
            rows[:, columns] = blocks[name].values
        rows[:, layout.time] = first.device_ns / 1e9
        if layout.counter is not None:
            rows[:, layout.counter] = (first.index - self._zero) % layout.modulus
        self._next = int(first.index[-1]) + 1
        ends = np.arange(1, count + 1, dtype=np.int64) * frame_size(layout.width)
        return [Batch(write_rows(rows), ends, first.due_ns)]
