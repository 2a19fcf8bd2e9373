"""What a row's counter cell and time cell say about its place in the stream."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.counter import EARLY_NS, Unwrapped, steps_from
from drivers.types import FloatArray, IntArray

NO_WRAP = 1 << 40
"""Modulus for row numbers that come from a clock."""
_LONGEST_S = 9e9
"""Unix time fits too, as Teleplot prints it."""
_RATE_ERROR = 0.02
"""A board's own idea of its rate may be so far off before its clock is said to have jumped."""


class RowClock:
    """Turns time cells into device time and counters; with both cells there, each is held against the other."""

    def __init__(
        self, time_cell: int | None, counter_cell: int | None, rate_hz: float, unit_ns: int, wraps: bool, modulus: int
    ) -> None:
        self._time_cell, self._counter_cell = time_cell, counter_cell
        self._rate_hz, self._unit_ns = rate_hz, unit_ns
        self._wrap_ns = 2**32 * unit_ns if wraps else None
        self._modulus = modulus
        self._last: tuple[int, int, int] | None = None  # raw and unwrapped device ns, and row number
        self._previous: tuple[int, int, int] | None = None
        """The same before the last row."""
        self._moved: IntArray = np.empty(0, dtype=np.int64)
        self._before: tuple[int, int] | None = None  # index and segment of the last row
        self._good: FloatArray | None = None
        """The last row whose time and counter go together with those before it."""
        self._jumps = 0
        self._strayed = 0
        """Sum of the moves that were too long for one's direction to be sure, ns: within half a wrap either way."""

    @property
    def counts(self) -> bool:
        """A loss can be seen."""
        return self._time_cell is not None or self._counter_cell is not None

    def wrong(self, rows: FloatArray) -> NDArray[np.bool_]:
        """(n,) rows whose counter or time is missing or out of range."""
        wrong = np.zeros(len(rows), dtype=bool)
        if self._counter_cell is not None:
            counter = rows[:, self._counter_cell]
            wrong |= ~((counter >= 0) & (counter < self._modulus) & (counter == np.floor(counter)))
        if self._time_cell is not None:
            ticks = rows[:, self._time_cell]
            wrong |= ~((ticks >= 0) & (ticks < _LONGEST_S * 1e9 / self._unit_ns))
        return wrong

    def odd(self, rows: FloatArray) -> tuple[NDArray[np.bool_], bool]:
        """(n,) rows whose time and counter do not go together, while the next row's do with those of the row before.

        True: the last row is out of step and the next decides whether the clock jumped: hand it in again with that.
        """
        odd = np.zeros(len(rows), dtype=bool)
        if self._time_cell is None or self._counter_cell is None or not len(rows):
            return odd, False
        before = rows[:1] if self._good is None else self._good
        every = np.concatenate([before, rows])
        for k in np.flatnonzero(self._out_of_step(every[:-1], every[1:])).tolist():
            if k and odd[k - 1]:
                continue  # in step again
            last = every[k : k + 1]
            if k + 1 == len(rows):
                self._good = last
                return odd, True
            odd[k] = not self._out_of_step(last, rows[k + 1 : k + 2])[0]
        self._good = rows[~odd][-1:]
        return odd, False

    def _out_of_step(self, rows: FloatArray, later: FloatArray) -> NDArray[np.bool_]:
        """(n,) the time from one row to the other is not what the counter says."""
        moved = (later[:, self._time_cell] - rows[:, self._time_cell]) * self._unit_ns
        if self._wrap_ns:
            moved = (moved + self._wrap_ns / 2) % self._wrap_ns - self._wrap_ns / 2
        turn_ns = self._modulus * 1e9 / self._rate_hz
        excess = moved - (later[:, self._counter_cell] - rows[:, self._counter_cell]) * (1e9 / self._rate_hz)
        excess -= np.rint(excess / turn_ns) * turn_ns
        return np.asarray(np.abs(excess) > EARLY_NS + _RATE_ERROR * np.abs(moved))

    def read(self, rows: FloatArray) -> tuple[IntArray | None, IntArray]:
        """Unwrapped device time (n,) or None, and counters (n,) for a CounterUnwrapper."""
        device_ns = numbers = None
        if self._time_cell is not None:
            ticks = rows[:, self._time_cell]
            whole = np.floor(ticks)  # Unix time in ns is beyond what a float holds exactly
            raw = whole.astype(np.int64) * self._unit_ns + np.rint((ticks - whole) * self._unit_ns).astype(np.int64)
            first = int(raw[0])
            was, unwrapped, number = self._last or (first, first, round(first * 1e-9 * self._rate_hz))
            moved = steps_from(was, raw)
            if self._wrap_ns:
                moved = self._unwrapped(moved, self._wrap_ns)
            device_ns = unwrapped + np.cumsum(moved)
            numbers = number + np.cumsum(_rounded(moved * (1e-9 * self._rate_hz)))
            self._previous = self._last
            if len(raw) > 1:
                self._previous = int(raw[-2]), int(device_ns[-2]), int(numbers[-2])
            self._last = int(raw[-1]), int(device_ns[-1]), int(numbers[-1])
            self._moved = moved
        if self._counter_cell is not None:
            return device_ns, rows[:, self._counter_cell].astype(np.int64)
        assert numbers is not None
        return device_ns, numbers % NO_WRAP

    def _unwrapped(self, moved: IntArray, wrap_ns: int) -> IntArray:
        """Moves (n,) the short way round. Damaged times make long ones; ways there and back add up to no turn."""
        moved = (moved + wrap_ns // 2) % wrap_ns - wrap_ns // 2
        for k in np.flatnonzero(np.abs(moved) > wrap_ns // 4).tolist():
            strayed = (self._strayed + int(moved[k]) + wrap_ns // 2) % wrap_ns - wrap_ns // 2
            moved[k], self._strayed = strayed - self._strayed, strayed
        return moved

    def unread(self) -> None:
        """The last row of the last read() will be handed in again."""
        if self._wrap_ns and len(self._moved) and abs(int(self._moved[-1])) > self._wrap_ns // 4:
            self._strayed -= int(self._moved[-1])
        self._last, self._moved = self._previous, self._moved[:-1]

    def segments(self, unwrapped: Unwrapped) -> tuple[IntArray, list[tuple[int, str]]]:
        """Segment of every row, (n,), and where the clock jumped although the counter went on."""
        segment = unwrapped.segment + self._jumps
        if self._time_cell is None or self._counter_cell is None or not len(segment):
            return segment, []
        index, part = self._before or (int(unwrapped.index[0]), int(unwrapped.segment[0]))
        excess_ns = self._moved - steps_from(index, unwrapped.index) * (1e9 / self._rate_hz)
        same = steps_from(part, unwrapped.segment) == 0
        jumped = np.flatnonzero(same & (np.abs(excess_ns) > EARLY_NS + _RATE_ERROR * np.abs(self._moved)))
        for position in jumped.tolist():
            segment[position:] += 1
        self._jumps += len(jumped)
        self._before = int(unwrapped.index[-1]), int(unwrapped.segment[-1])
        return segment, [(k, f"the board's clock jumped by {excess_ns[k] / 1e6:.0f} ms") for k in jumped.tolist()]


def _rounded(steps: NDArray[np.floating[Any]]) -> IntArray:
    """To whole numbers, halves away from zero: so a time that was wrong once takes back what it added."""
    return np.asarray(np.copysign(np.floor(np.abs(steps) + 0.5), steps), dtype=np.int64)
