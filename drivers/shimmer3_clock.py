"""What a Shimmer3's 24-bit time stamps say: device time without a seam, and which sample each one is."""

from __future__ import annotations

import numpy as np

from drivers.counter import steps_from
from drivers.shimmer3_packet import STAMP_MODULUS, TICKS_PER_S
from drivers.types import IntArray

_NS_PER_TICK = 1e9 / TICKS_PER_S
_LONG_NS = 128 * 10**9
"""A quarter of a turn: behind a longer silence the arrival says how many turns there were."""


class StampClock:
    """Unwraps time stamps, which turn every 512 s, and numbers the samples by the grid of the sampling period."""

    def __init__(self, period_ticks: int) -> None:
        self._period = period_ticks
        self._last: tuple[int, int, int] | None = None  # unwrapped ticks, sample number, arrival
        self._previous: tuple[int, int, int] | None = None
        """The same before the last stamp."""

    def read(self, stamps: IntArray, arrival_ns: IntArray) -> tuple[IntArray, IntArray]:
        """Of stamps (n,), n > 0: unwrapped ticks, and sample numbers, (n,) each. The first may be any time."""
        first = int(stamps[0])
        was, number, came_ns = self._last or (first, round(first / self._period), int(arrival_ns[0]))
        half = STAMP_MODULUS // 2
        moved = (steps_from(was % STAMP_MODULUS, stamps) + half) % STAMP_MODULUS - half
        silence_ns = steps_from(came_ns, arrival_ns)
        if (long := silence_ns > _LONG_NS).any():
            turns = np.rint((silence_ns[long] / _NS_PER_TICK - moved[long]) / STAMP_MODULUS)
            moved[long] += np.maximum(turns, 0).astype(np.int64) * STAMP_MODULUS
        ticks = was + np.cumsum(moved)
        numbers = number + np.cumsum(np.floor_divide(2 * moved + self._period, 2 * self._period))
        self._previous = self._last
        if len(stamps) > 1:
            self._previous = int(ticks[-2]), int(numbers[-2]), int(arrival_ns[-2])
        self._last = int(ticks[-1]), int(numbers[-1]), int(arrival_ns[-1])
        return ticks, numbers

    def unread(self) -> None:
        """The last stamp of the last read() will be handed in again."""
        self._last = self._previous


def to_ns(ticks: IntArray) -> IntArray:
    """Nanoseconds of ticks, to the nearest, same shape."""
    return np.asarray((ticks * 1_953_125 + 32) // 64)


def to_ticks(device_ns: IntArray) -> IntArray:
    """Ticks that a counter shows at these nanoseconds, same shape; a tick that rounding to ns has cut is whole."""
    return np.asarray(((device_ns + 1) * 64) // 1_953_125)
