"""Hold: packets are lost inside the device, and it repeats its last value instead of telling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.types import FloatArray
from simulators.faults import SampleFault, SampleStage, Where, key
from simulators.faults._noise import rate_of
from simulators.faults._stage import Mask, SampleDamage
from simulators.faults.lead_off import held_before


@dataclass(frozen=True, kw_only=True)
class FAULT(SampleFault):
    """Packets of 100 ms get lost behind the sensor's own counter, and the last value stands in for each of them.

    Nothing is missing on the wire: frames, numbers and times are as ever, and only the waveform can tell. `dropout`
    is the loss that the wire shows.
    """

    NAME: ClassVar[str] = "hold"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"quality"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"lead_off", "saturation"})
    KINDS: ClassVar[frozenset[str]] = frozenset({"ecg", "eeg", "ppg"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("fraction", (0.02, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9))

    fraction: float = key(0.7, "of all packets are lost, each at random", "of the time", above=0, high=1)
    packet_ms: float = key(100.0, "time that a packet holds; at least one sample", "ms", above=0, high=60000)

    def bind(self, where: Where) -> SampleStage:
        """The stage for one stream."""
        return _Hold(self, where)


class _Hold(SampleDamage):
    """Packets go by sample number."""

    def __init__(self, fault: FAULT, where: Where) -> None:
        super().__init__(fault, where)
        self._fraction, self._draws = fault.fraction, where.draws.child("packets")
        self._size = max(1, round(fault.packet_ms * rate_of(where) / 1e3))
        self._good = np.empty(0)

    def watch(self, times_s: FloatArray, values: FloatArray, count: int) -> None:
        if count:
            self._good = values[count - 1]

    def damage(self, first: int, times_s: FloatArray, values: FloatArray) -> tuple[FloatArray, Mask]:
        packets = np.arange(first, first + len(values)) // self._size
        begin = int(packets[0])
        lost = self._draws.uniform(begin, int(packets[-1]) - begin + 1)[packets - begin] < self._fraction
        held = held_before(lost, values, self._good)
        self._good = held[-1]
        return held, lost
