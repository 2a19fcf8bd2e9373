"""Flat line: for part of the time the same value comes again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.types import FloatArray
from simulators.faults import SampleFault, SampleStage, Where, key
from simulators.faults._noise import Cycle
from simulators.faults._stage import Mask, SampleDamage
from simulators.faults.lead_off import held_before

EVERY = frozenset({"ecg", "exg", "eeg", "ppg", "eda", "respiration", "temperature", "acceleration", "raw"})


@dataclass(frozen=True, kw_only=True)
class FAULT(SampleFault):
    """A stuck converter holds its last value for a fraction of every ten seconds."""

    NAME: ClassVar[str] = "flatline"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"quality"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"lead_off"})
    KINDS: ClassVar[frozenset[str]] = EVERY
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("fraction", (0.02, 0.1, 0.2, 0.3, 0.5, 0.8))

    fraction: float = key(0.5, "of every ten seconds", "of the time", above=0, high=1)

    def bind(self, where: Where) -> SampleStage:
        """The stage for one stream."""
        return _Flat(self, where)


class _Flat(SampleDamage):
    def __init__(self, fault: FAULT, where: Where) -> None:
        super().__init__(fault, where)
        self._cycle = Cycle(where.draws, fault.fraction)
        self._good = np.empty(0)

    def watch(self, times_s: FloatArray, values: FloatArray, count: int) -> None:
        if count:
            self._good = values[count - 1]

    def damage(self, first: int, times_s: FloatArray, values: FloatArray) -> tuple[FloatArray, Mask]:
        stuck = self._cycle.mask(times_s)
        held = held_before(stuck, values, self._good)
        self._good = held[-1]
        return held, stuck
