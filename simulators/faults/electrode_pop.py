"""Electrode pops: the contact's potential jumps and creeps back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.types import FloatArray
from simulators.faults import SampleFault, SampleStage, Where, key
from simulators.faults._noise import level_for
from simulators.faults._stage import Mask, SampleDamage

DECAY_S = 0.3
SUPPORT_S = 10 * DECAY_S
"""Where a pop is over, to the last bit: at exp(-10) of its height."""


@dataclass(frozen=True, kw_only=True)
class FAULT(SampleFault):
    """Jumps that decay with 0.3 s, one at a drawn moment of every 2.5 s, of either sign."""

    NAME: ClassVar[str] = "electrode_pop"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"quality"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"saturation"})
    KINDS: ClassVar[frozenset[str]] = frozenset({"ecg", "eeg"})
    DEFAULT_LEVELS: ClassVar[Mapping[str, float]] = {"": 8.0}
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("level", (0.2, 1, 2, 4, 8, 16))

    level: float | None = key(None, "height of a jump", "of the clean amplitude", above=0)
    every_s: float = key(2.5, "length of the slots that hold one pop each", "s", low=0.1, high=3600)

    def bind(self, where: Where) -> SampleStage:
        """The stage for one stream."""
        return _Pops(self, where)


class _Pops(SampleDamage):
    def __init__(self, fault: FAULT, where: Where) -> None:
        level = level_for(fault.level, where, fault.DEFAULT_LEVELS)
        super().__init__(fault, where)
        self._fault, self._height = fault, level * where.span
        self._moments, self._signs = where.draws.child("moments"), where.draws.child("signs")
        self._told = -1

    def damage(self, first: int, times_s: FloatArray, values: FloatArray) -> tuple[FloatArray, Mask]:
        every = self._fault.every_s
        begin = max(0, int((times_s[0] - SUPPORT_S) // every))
        count = int(times_s[-1] // every) - begin + 1
        moments = (begin + np.arange(count) + self._moments.uniform(begin, count)) * every
        heights = self._height * np.where(self._signs.uniform(begin, count) < 0.5, -1.0, 1.0)
        total = np.zeros(len(times_s))
        for slot, at_s, height in zip(range(begin, begin + count), moments.tolist(), heights.tolist(), strict=True):
            low, high = np.searchsorted(times_s, (at_s, at_s + SUPPORT_S)).tolist()
            if at_s >= self._fault.start_s and low < high:
                total[low:high] += height * np.exp((at_s - times_s[low:high]) / DECAY_S)
                self._tell(slot, at_s, height)
        return values + total[:, None], np.zeros(len(values), dtype=bool)

    def _tell(self, slot: int, at_s: float, height: float) -> None:
        """One truth per pop, when its first sample is damaged."""
        if slot <= self._told:
            return
        self._told = slot
        end_s = min(at_s + SUPPORT_S, self._fault.stop_s)
        where = self.where
        where.log(self._fault.did(where, where.host_ns(at_s), where.host_ns(end_s), height=height))
