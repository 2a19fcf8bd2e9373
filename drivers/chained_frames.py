"""Finds frames of one length that have no start mark of their own: by their check, and by how they go on.

A short checksum holds by chance too often to be believed alone. So evidence is added up in bits: what a check that
holds is worth, and what a number is worth that goes on as it should.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.framing import Bytes, GivenUp, StampedBuffer
from drivers.types import Batch, IntArray, Malformed

_ENOUGH_BITS = 20.0
"""After damage, frames are believed with so much evidence: by chance once in a million places."""
_MISSES = 2
"""So many damaged frames may stand among those that count as evidence."""
_BLOCK = 256
_NO_ASIDES: list[tuple[bytes, int]] = []


@dataclass(frozen=True)
class Chain:
    """What tells frames of a protocol from other bytes."""

    length: int
    read: Callable[[Bytes], tuple[NDArray[np.bool_], IntArray]]
    """(n, length) pieces -> whether the check of each holds, and its number, (n,) each."""
    modulus: int
    """The number starts over at this."""
    step: int
    """The number's way from one frame to the next,"""
    slack: int
    """give or take so much."""
    check_bits: float
    """Evidence of a check that holds,"""
    next_bits: float
    """and of a number that goes on."""
    guarded: bool = True
    """The check would notice damage to the number."""
    aside: Callable[[bytes, int], int] = lambda data, at: 0
    """Length of what the device says between two frames and begins at this offset: 0 if nothing does, -1 if that
    takes more bytes to tell."""

    def goes_on(self, numbers: IntArray, last: IntArray, frames: IntArray | int = 1) -> NDArray[np.bool_]:
        """(n,) whether each number is that of the frame ``frames`` behind ``last``."""
        half = self.modulus // 2
        off = (numbers - last - frames * self.step + half) % self.modulus - half
        return np.asarray(np.abs(off) <= self.slack)


class ChainedFrames:
    """Cuts a byte stream into the frames of a Chain.

    In step, a frame is believed at once if its check holds and its number goes on, or if the check alone is
    evidence enough. Otherwise the first place is looked for from which frames follow on: the frames there wait for
    the one to three behind them, and none is lost for it. The first of them must be what the second goes on from, or
    garbage that happens to pass the check just ahead of good frames would pass with them. Right behind a frame, where
    a loss is likelier than garbage, that is not asked, unless the number itself could be damaged unnoticed.
    """

    def __init__(self, chain: Chain, reason: str) -> None:
        self._chain = chain
        self._buffer = StampedBuffer()
        self._given_up = GivenUp(reason)
        self._slots = int(-(-_ENOUGH_BITS // chain.check_bits)) + _MISSES
        self.restart()

    def restart(self, last: int | None = None) -> None:
        """Forget all: a frame begins with the next byte, and its number goes on from ``last`` if that is known."""
        self._buffer.clear()
        self._given_up.clear()
        self._hunting, self._last = False, last
        self._behind_frame = True

    def feed(self, batch: Batch) -> tuple[Bytes, IntArray, list[Malformed], list[tuple[bytes, int]]]:
        """Frames (n, length), the arrival of each one's last byte (n,), what was given up, and asides with arrivals."""
        joined, length = self._buffer.join(batch), self._chain.length
        data = np.frombuffer(joined.data, dtype=np.uint8)
        offsets: list[IntArray] = []
        events: list[Malformed] = []
        asides: list[tuple[bytes, int]] = []
        position = 0
        while True:
            if self._hunting:
                found_at, believed = self._hunt(data, position)
                events += self._give_up(joined, position, found_at)
                self._behind_frame &= found_at == position
                position = found_at
                if not believed:
                    break
                self._hunting, self._last = False, None
                events += self._given_up.tell()
            count = self._walk(data[position:])
            offsets.append(position + np.arange(count, dtype=np.int64) * length)
            position += count * length
            size = self._chain.aside(joined.data, position) if position < len(data) else -1
            if size > 0:
                told = joined.data[position : position + size]
                position += size
                asides.append((told, int(joined.time_of(np.array(position - 1)))))
            elif size < 0 or position + length > len(data):
                break
            else:
                self._hunting = self._behind_frame = True
        self._buffer.keep(joined, position)
        starts = offsets[0] if len(offsets) == 1 else np.concatenate([np.empty(0, np.int64), *offsets])
        frames = data[starts[:, None] + np.arange(length)] if len(starts) else np.empty((0, length), np.uint8)
        return frames, joined.time_of(starts + (length - 1)) if len(starts) else starts, events, asides

    def _walk(self, data: Bytes) -> int:
        """How many frames at the beginning are believed at once."""
        chain, rows = self._chain, len(data) // self._chain.length
        if not rows:
            return 0
        good, numbers = chain.read(data[: rows * chain.length].reshape(rows, chain.length))
        if chain.check_bits < _ENOUGH_BITS:
            before = np.empty(rows, dtype=np.int64)
            before[0], before[1:] = -1 if self._last is None else self._last, numbers[:-1]
            next_ones = chain.goes_on(numbers, before)
            next_ones[0] |= self._last is None
            good = good & next_ones
        count = rows if good.all() else int(good.argmin())
        if count:
            self._last = int(numbers[count - 1])
        return count

    # --- when something is wrong --------------------------------------------------------------

    def _hunt(self, data: Bytes, position: int) -> tuple[int, bool]:
        """Where frames begin to follow on and True, or where to go on looking once there are more bytes and False."""
        length = self._chain.length
        places = len(data) - length + 1
        exempt = position if self._behind_frame and self._chain.guarded else -1
        while position < places:
            stop = min(places, position + _BLOCK + self._slots * length)
            windows = np.lib.stride_tricks.sliding_window_view(data[position : stop + length - 1], length)
            good, numbers = self._chain.read(windows)
            near = np.flatnonzero(good[:_BLOCK])
            verdict = self._weigh(good, numbers, near, position + near == exempt)
            standing = np.flatnonzero(verdict >= 0)
            if len(standing):
                first = standing[0]
                return position + int(near[first]), bool(verdict[first] > 0)
            position += min(_BLOCK, stop - position)
        return max(position, 0), False

    def _weigh(self, good: NDArray[np.bool_], numbers: IntArray, near: IntArray, exempt: NDArray[np.bool_]) -> IntArray:
        """For each place of ``near``, (n,): 1 if frames follow on from there, -1 if not, 0 if more bytes must tell.

        At an ``exempt`` place (n,) the second frame need not go on from the first.
        """
        chain = self._chain
        bits = np.full(len(near), chain.check_bits)
        misses = np.zeros(len(near), dtype=np.int64)
        last, last_slot = numbers[near], np.zeros(len(near), dtype=np.int64)
        verdict = np.where(bits >= _ENOUGH_BITS, 1, 0)
        for slot in range(1, self._slots + 1):
            place = near + slot * chain.length
            open_ = (verdict == 0) & (place < len(good))
            if not open_.any():
                break
            place = np.minimum(place, len(good) - 1)
            held, here = open_ & good[place], numbers[place]
            moved = here != last  # a constant that satisfies the check is no evidence, however long it is
            next_ones = chain.goes_on(here, last, slot - last_slot)
            bits += held * (moved * chain.check_bits + chain.next_bits * next_ones)
            misses += open_ & ~held
            last, last_slot = np.where(held, here, last), np.where(held, slot, last_slot)
            alone = (slot == 1) & ~exempt & ~(held & next_ones)
            enough = (bits >= _ENOUGH_BITS) & ~alone
            hopeless = (misses > _MISSES) | (slot == self._slots) | alone
            verdict = np.where(open_, np.where(enough, 1, np.where(hopeless, -1, 0)), verdict)
        return np.asarray(verdict)

    def _give_up(self, joined: Batch, start: int, stop: int) -> list[Malformed]:
        if stop <= start:
            return []
        return self._given_up.add(joined.data[start:stop], int(joined.time_of(np.array(stop - 1))))
