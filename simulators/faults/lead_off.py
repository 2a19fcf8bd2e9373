"""Lead off: for part of the time nothing touches the skin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.types import FloatArray
from simulators.faults import SampleFault, SampleStage, Where, key
from simulators.faults._noise import Cycle
from simulators.faults._stage import Mask, SampleDamage

LOW_RAIL = frozenset({"eda", "temperature"})
"""Kinds whose open input reads nothing; the bias current pulls that of the others to the high rail."""
BEYOND = 10.0
"""Amplitudes above the last good sample, where a stream declares no rail."""


@dataclass(frozen=True, kw_only=True)
class FAULT(SampleFault):
    """An electrode or finger is off for a fraction of every ten seconds: the stream sits at a rail, or is noise."""

    NAME: ClassVar[str] = "lead_off"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"lead_off", "quality"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"saturation"})
    KINDS: ClassVar[frozenset[str]] = frozenset({"ecg", "exg", "eeg", "ppg", "eda", "respiration", "raw"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("fraction", (0.002, 0.02, 0.1, 0.2, 0.4, 0.8))

    fraction: float = key(0.4, "of every ten seconds", "of the time", above=0, high=1)
    reads: str = key("rail", "what an open input reads", choices=("rail", "noise"))

    def bind(self, where: Where) -> SampleStage:
        """The stage for one stream."""
        return _LeadOff(self, where)


class _LeadOff(SampleDamage):
    def __init__(self, fault: FAULT, where: Where) -> None:
        super().__init__(fault, where, reads=fault.reads)
        self._cycle = Cycle(where.draws, fault.fraction)
        self._noise = where.draws.child("noise") if fault.reads == "noise" else None
        spec = where.spec
        self._rail = (spec.low if spec.kind in LOW_RAIL else spec.high) if spec else None
        self._good = np.empty(0)

    def watch(self, times_s: FloatArray, values: FloatArray, count: int) -> None:
        if count:
            self._good = values[count - 1]

    def damage(self, first: int, times_s: FloatArray, values: FloatArray) -> tuple[FloatArray, Mask]:
        off = self._cycle.mask(times_s)
        held = held_before(off, values, self._good)
        if not off.all():
            self._good = values[np.flatnonzero(~off)[-1]]
        elif not len(self._good):
            self._good = values[0]
        if self._noise is not None:
            reading = held + self.where.span * self._noise.normal(first, len(values))[:, None]
        elif self._rail is not None:
            reading = np.full_like(values, self._rail)
        else:
            reading = held + BEYOND * self.where.span
        return np.where(off[:, None], reading, values), off


def held_before(off: Mask, values: FloatArray, before: FloatArray) -> FloatArray:
    """The newest good sample at every sample, (n, channels).

    ``before`` is the one before these samples, empty if there was none: then the very first one counts.
    """
    place = np.maximum.accumulate(np.where(off, -1, np.arange(len(off))))
    first = before if len(before) else values[0]
    return np.where(place[:, None] >= 0, values[np.maximum(place, 0)], first)
