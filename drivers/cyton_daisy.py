"""Sixteen channels of a Cyton with its Daisy module, which share the packets of eight.

The counter begins at 0. A packet with an even one carries the Daisy's channels 9..16, the odd one behind
it the board's 1..8, and such a pair is one sample: 125 a second. What a packet carries is the mean of
the ADC's last two samples, rounded towards zero: a sample here is that mean, as the board reports it.
The Daisy's half is taken 4 ms before the board's.

Source: OpenBCI_Cyton_Library, OpenBCI_32bit_Library.cpp (updateBoardData, updateDaisyData,
ADS_writeChannelDataAvgDaisy), says what a packet carries; BrainFlow 5.23, cyton_daisy.cpp, which two
make a sample (an early version of it took the odd packet and the even one behind it).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.codec import Block
from drivers.cyton_board import RATE_HZ
from drivers.types import FloatArray, IntArray

RATE_16_HZ = RATE_HZ / 2
HALF_NS = round(1e9 / RATE_HZ)
"""From the even packet to the odd one."""
_WAIT = 16
"""A half whose other half is further behind the newest packet than this is given up."""


@dataclass(frozen=True, slots=True, eq=False)
class Paired:
    """Whole samples, in the order in which they became whole."""

    row: IntArray
    """(n,) the packet of the batch that made each whole."""
    number: IntArray
    """(n,) of the sample, in the numbering of its segment."""
    values: FloatArray
    """(n, 16)"""
    lost: IntArray
    """(n,) samples lost just before each, or less than zero where a later one came first."""


class Pairs:
    """Puts the halves together, in whatever order they come; how packets are batched changes no answer."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """The next packet begins a new numbering."""
        self._index = np.empty(0, dtype=np.int64)
        self._values = np.empty((0, 8))
        self._newest: int | None = None
        self._top = 0

    def follows(self, index: int) -> bool:
        """Packet ``index`` is the very next one."""
        return self._newest is not None and index == self._newest + 1

    def update(self, index: IntArray, values: FloatArray) -> Paired:
        """Packets number ``index`` (n,), none twice, with eight channels each (n, 8), in order of arrival; n > 0."""
        if self._newest is None:
            self._newest, self._top = int(index[0]), (int(index[0]) + 1) // 2 - 1
        kept = len(self._index)
        before = np.concatenate([[self._newest], index])
        newest = np.maximum.accumulate(before)[1:]
        index, values = np.concatenate([self._index, index]), np.concatenate([self._values, values])
        order = np.argsort(index, kind="stable")
        first = np.flatnonzero((index[order[:-1]] % 2 == 0) & (np.diff(index[order]) == 1))
        even, odd = order[first], order[first + 1]
        row = np.maximum(odd, even) - kept
        in_time = newest[row] - np.minimum(index[odd], index[even]) <= _WAIT
        odd, even, row = odd[in_time], even[in_time], row[in_time]
        by_row = np.argsort(row)
        odd, even, row = odd[by_row], even[by_row], row[by_row]
        number = index[even] // 2
        whole = np.concatenate([values[odd], values[even]], axis=1)
        self._newest = int(newest[-1])
        waiting = index >= self._newest - _WAIT
        waiting[odd] = waiting[even] = False
        self._index, self._values = index[waiting], values[waiting]
        return Paired(row, number, whole, self._gaps(number))

    def _gaps(self, number: IntArray) -> IntArray:
        if not len(number):
            return number
        tops = np.maximum.accumulate(np.concatenate([[self._top], number]))
        self._top = int(tops[-1])
        return number - tops[:-1] - 1


def spread(index: IntArray, counts: FloatArray, attached: bool) -> tuple[IntArray, FloatArray]:
    """The two packets of each of the samples number ``index`` (n,) since counter 0, with ``counts`` (n, 16): the
    packets' numbers (2n,) and their eight channels (2n, 8).

    A Daisy that is not ``attached`` sends nothing, the board in its place.
    """
    halves = counts.reshape(-1, 2, 8)[:, ::-1] if attached else np.repeat(counts[:, None, :8], 2, axis=1)
    numbers = np.repeat(2 * index, 2)
    numbers[1::2] += 1
    return numbers, halves.reshape(-1, 8)


def twice(block: Block) -> Block:
    """One row a packet. Both leave when the sample is whole, but the first has the board's time of its own turn."""
    device_ns = np.repeat(block.device_ns, 2)
    device_ns[::2] = np.maximum(device_ns[::2] - HALF_NS, 0)
    values = np.repeat(block.values, 2, axis=0)
    return Block(np.repeat(block.index, 2), np.repeat(block.due_ns, 2), device_ns, values)
