"""Spikes: single samples far off, as a switching supply, a spark or a bad word on an internal bus makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.types import FloatArray
from simulators.faults import SampleFault, SampleStage, Where, key
from simulators.faults._noise import level_for, rate_of
from simulators.faults._stage import Mask, SampleDamage

WIDEST = 2
"""Samples."""


@dataclass(frozen=True, kw_only=True)
class FAULT(SampleFault):
    """Impulses of one or two samples and either sign, one at a drawn place of every 1 / per_s seconds."""

    NAME: ClassVar[str] = "spikes"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"quality"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"noise_floor", "saturation"})
    KINDS: ClassVar[frozenset[str]] = frozenset({"ecg", "eeg", "ppg", "eda", "respiration", "temperature"})
    DEFAULT_LEVELS: ClassVar[Mapping[str, float]] = {"": 4.0, "eeg": 8.0}
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("level", (0.1, 0.2, 0.5, 1, 2, 4, 8, 16))

    level: float | None = key(None, "height of an impulse", "of the clean amplitude", above=0)
    per_s: float = key(0.8, "impulses in a second", "1/s", above=0, high=1000)

    def bind(self, where: Where) -> SampleStage:
        """The stage for one stream."""
        return _Spikes(self, where)


class _Spikes(SampleDamage):
    """All channels are hit together. Places go by sample number, so that no cut halves or moves one."""

    def __init__(self, fault: FAULT, where: Where) -> None:
        level = level_for(fault.level, where, fault.DEFAULT_LEVELS)
        super().__init__(fault, where)
        self._fault, self._height = fault, level * where.span
        self._rate_hz = rate_of(where)
        self._every = max(self._rate_hz / fault.per_s, 1.0)
        self._places, self._signs = where.draws.child("places"), where.draws.child("signs")
        self._widths = where.draws.child("widths")
        self._from = -1

    def damage(self, first: int, times_s: FloatArray, values: FloatArray) -> tuple[FloatArray, Mask]:
        if self._from < 0:
            self._from = first  # an impulse that would have begun before start_s never comes
        stop = first + len(values)
        begin = max(0, int((first - WIDEST) // self._every) - 1)  # a slot more on either side, against rounding
        count = int(stop // self._every) + 2 - begin
        slots = begin + np.arange(count) + self._places.uniform(begin, count)
        starts = np.floor(slots * self._every).astype(np.int64)
        heights = self._height * np.where(self._signs.uniform(begin, count) < 0.5, -1.0, 1.0)
        widths = np.where(self._widths.uniform(begin, count) < 0.5, 1, WIDEST)
        total = np.zeros(len(values))
        for offset in range(WIDEST):
            places = starts + offset
            hit = (widths > offset) & (starts >= self._from) & (places >= first) & (places < stop)
            np.add.at(total, places[hit] - first, heights[hit])
        for number in np.flatnonzero((starts >= max(self._from, first)) & (starts < stop)).tolist():
            self._tell(float(times_s[starts[number] - first]), float(heights[number]), int(widths[number]))
        return values + total[:, None], np.zeros(len(values), dtype=bool)

    def _tell(self, at_s: float, height: float, width: int) -> None:
        """One truth per impulse, from its first sample to its last."""
        where, end_s = self.where, at_s + (width - 1) / self._rate_hz
        where.log(self._fault.did(where, where.host_ns(at_s), where.host_ns(end_s), height=height, samples=width))
