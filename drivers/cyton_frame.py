"""The tail of a Cyton frame: accelerometer, board time and stop byte, as numbers.

Source: OpenBCI_Cyton_Library (OpenBCI_32bit_Library.cpp) and the Cyton Data Format page of OpenBCI's
documentation. Where they differ on time-stamped frames, this follows the firmware.
"""

from __future__ import annotations

import numpy as np

from drivers.counter import steps_from
from drivers.cyton_board import RATE_HZ
from drivers.framing import Bytes
from drivers.types import FloatArray, IntArray

LENGTH = 33
START, ACCEL, RAW, FIRST_STAMPED, STAMPED = 0xA0, 0xC0, 0xC1, 0xC3, 0xC4
"""Start byte, then stop bytes: 0xC2 to 0xC6 exist too, two more being 0xC5 and 0xC6 for time and raw pins."""
G_PER_COUNT = 0.002 / 16
AXIS_SLOTS = (7, 8, 9)
"""Counter modulo 10 at which a time-stamped frame carries the X, Y and Z axis."""
SLOTS_PER_TURN = 25
"""A turn of the counter, 256 frames, has 25 whole groups of those: 24.4 samples a second instead of 25."""
_CLOCK_STEP_MS = 50


def plain_axes(frames: Bytes) -> tuple[IntArray, FloatArray]:
    """Rows that carry a fresh accelerometer sample, (m,), and it in g, (m, 3): zeros are none."""
    rows = (frames[:, 26:32].any(axis=1) & (frames[:, -1] == ACCEL)).nonzero()[0]
    return rows, np.ascontiguousarray(frames[rows, 26:32]).view(">i2").astype(np.float64) * G_PER_COUNT


class StampedAxes:
    """Puts together the axes that time-stamped frames carry one by one. New for every segment."""

    def __init__(self) -> None:
        self._number = self._axis = np.empty(0, dtype=np.int64)  # of the last two frames

    def update(self, frames: Bytes, index: IntArray) -> tuple[IntArray, FloatArray]:
        """Rows that complete an X, Y, Z triplet, (m,), and it in g, (m, 3)."""
        axis = np.ascontiguousarray(frames[:, 26:28]).view(">i2")[:, 0].astype(np.int64)
        axis = np.where((frames[:, -1] == FIRST_STAMPED) | (frames[:, -1] == STAMPED), axis, 0)
        kept = len(self._number)
        number, value = np.concatenate([self._number, index]), np.concatenate([self._axis, axis])
        self._number, self._axis = number[-2:], value[-2:]
        last = np.flatnonzero(number % 256 % 10 == AXIS_SLOTS[2])
        last = last[last >= max(kept, 2)]
        last = last[(number[last - 1] == number[last] - 1) & (number[last - 2] == number[last] - 2)]
        counts = np.stack([value[last - 2], value[last - 1], value[last]], axis=1)
        sent = counts.any(axis=1)
        return last[sent] - kept, counts[sent] * G_PER_COUNT


class BoardClock:
    """Unwraps the board's milliseconds and notices when they do not go with the frame numbers."""

    def __init__(self) -> None:
        self._last: tuple[int, int, int, bool] | None = None  # number, segment, ms, and whether stamped

    def update(self, frames: Bytes, index: IntArray, segment: IntArray) -> tuple[IntArray, list[tuple[int, str]]]:
        """Unwrapped ms of every frame, (n,), and each row at which the clock jumped or its stamps came or went.

        Every such row begins a further segment; the next call's ``segment`` counts them.
        """
        stamped = frames[:, -1] >= FIRST_STAMPED
        raw = np.ascontiguousarray(frames[:, 28:32]).view(">u4")[:, 0].astype(np.int64)
        number, part, ms, was = self._last or (int(index[0]), int(segment[0]), int(raw[0]), bool(stamped[0]))
        moved = (steps_from(ms, raw) + 2**31) % 2**32 - 2**31
        unwrapped = ms + np.cumsum(moved)
        excess = moved - steps_from(number, index) * (1000 / RATE_HZ)
        same = stamped & np.concatenate([[was], stamped[:-1]]) & (steps_from(part, segment) == 0)
        steps = [
            (k, f"the board's clock jumped by {excess[k]:.0f} ms")
            for k in np.flatnonzero(same & (np.abs(excess) > _CLOCK_STEP_MS)).tolist()
        ]
        switched = np.flatnonzero(np.diff(stamped, prepend=was)).tolist()
        steps += [(k, "time stamps were switched on or off") for k in switched]
        self._last = int(index[-1]), int(segment[-1]) + len(steps), int(unwrapped[-1]), bool(stamped[-1])
        return unwrapped, sorted(steps)
