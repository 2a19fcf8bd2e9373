"""A board's clock as it stands in its records: unwrapped, and held against the counter where there is one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivers.counter import EARLY_NS, steps_from
from drivers.types import IntArray

NUMBERS = 1 << 40
"""Modulus of record numbers that come from a clock."""
_RATE_ERROR = 0.02
"""A board's own idea of its rate may be so far off before its clock is said to have jumped."""


class TickClock:
    """Ticks of ``unit_ns`` in ``bits`` bits, one for each record of a board that sends ``record_hz`` of them."""

    def __init__(self, bits: int, unit_ns: int, record_hz: float) -> None:
        self._turn = (1 << bits) if bits < 64 else None
        self._unit_ns, self._record_hz = unit_ns, record_hz
        self.restart()

    def restart(self) -> None:
        """The board was started anew."""
        self._ticks: int | None = None
        self._number = self._unwrapped = 0
        self._before: tuple[int, int, int] | None = None  # device ns, record number and segment of the last record

    def unwrap(self, ticks: IntArray) -> tuple[IntArray, IntArray]:
        """Of ticks (n,) in the order of arrival: device time in ns, and record numbers modulo NUMBERS, (n,) each."""
        if self._ticks is None:
            self._ticks = self._unwrapped = int(ticks[0])
            self._number = round(self._unwrapped * self._unit_ns * 1e-9 * self._record_hz)
        moved = steps_from(self._ticks, ticks)
        if self._turn:
            moved = (moved + self._turn // 2) % self._turn - self._turn // 2
        unwrapped = self._unwrapped + np.cumsum(moved)
        steps = moved * (self._unit_ns * 1e-9 * self._record_hz)
        numbers = self._number + np.cumsum(np.copysign(np.floor(np.abs(steps) + 0.5), steps).astype(np.int64))
        self._ticks, self._unwrapped, self._number = int(ticks[-1]), int(unwrapped[-1]), int(numbers[-1])
        return unwrapped * self._unit_ns, numbers % NUMBERS

    def jumps(self, device_ns: IntArray, index: IntArray, segment: IntArray) -> list[tuple[int, str]]:
        """Records (n,) before which the clock moved by another time than their numbers, and what to say about it."""
        if not len(index):
            return []
        last = self._before or (int(device_ns[0]), int(index[0]), int(segment[0]))
        moved = steps_from(last[0], device_ns)
        excess_ns = moved - steps_from(last[1], index) * (1e9 / self._record_hz)
        same: NDArray[np.bool_] = steps_from(last[2], segment) == 0
        wrong = same & (np.abs(excess_ns) > EARLY_NS + _RATE_ERROR * np.abs(moved))
        self._before = int(device_ns[-1]), int(index[-1]), int(segment[-1])
        places = np.flatnonzero(wrong).tolist()
        return [(k, f"the board's clock jumped by {excess_ns[k] / 1e6:.0f} ms") for k in places]
