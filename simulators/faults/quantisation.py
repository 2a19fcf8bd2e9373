"""Coarse quantisation: bits of the converter are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.types import FloatArray
from simulators.faults import SampleFault, SampleStage, Where, key
from simulators.faults._noise import level_for
from simulators.faults._stage import Mask, SampleDamage


@dataclass(frozen=True, kw_only=True)
class FAULT(SampleFault):
    """Every sample is rounded to a coarse step, as with missing bits or a wrong gain."""

    NAME: ClassVar[str] = "quantisation"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"quality"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"lead_off", "noise_floor", "saturation"})
    KINDS: ClassVar[frozenset[str]] = frozenset({"ecg", "exg"})
    DEFAULT_LEVELS: ClassVar[Mapping[str, float]] = {"": 0.5}
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("level", (0.02, 0.1, 0.2, 0.3, 0.5, 0.8))

    level: float | None = key(None, "the step", "of the clean amplitude", above=0)

    def bind(self, where: Where) -> SampleStage:
        """The stage for one stream."""
        return _Coarse(self, where)


class _Coarse(SampleDamage):
    def __init__(self, fault: FAULT, where: Where) -> None:
        level = level_for(fault.level, where, fault.DEFAULT_LEVELS)
        super().__init__(fault, where, level=level)
        self._step = level * where.span

    def damage(self, first: int, times_s: FloatArray, values: FloatArray) -> tuple[FloatArray, Mask]:
        return np.rint(values / self._step) * self._step, np.ones(len(values), dtype=bool)
