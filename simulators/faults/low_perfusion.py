"""Low perfusion: cold fingers, a weak pulse on the same level of light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.types import FloatArray
from simulators.faults import SampleFault, SampleStage, Where, key
from simulators.faults._pulse import PulseDamage


@dataclass(frozen=True, kw_only=True)
class FAULT(SampleFault):
    """The pulse wave shrinks about the steady part until the perfusion index (AC / DC) is what is asked for."""

    NAME: ClassVar[str] = "low_perfusion"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"quality"})
    KINDS: ClassVar[frozenset[str]] = frozenset({"ppg"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("perfusion_percent", (5, 1, 0.5, 0.3, 0.2, 0.1, 0.05))

    perfusion_percent: float = key(0.1, "perfusion index that remains; a stronger pulse is left", "%", above=0, high=20)

    def bind(self, where: Where) -> SampleStage:
        """The stage for one stream."""
        return _LowPerfusion(self, where)


class _LowPerfusion(PulseDamage):
    """All channels shrink by one factor, so that the ratio of ratios (SpO2) stays as it was."""

    def __init__(self, fault: FAULT, where: Where) -> None:
        super().__init__(fault, where, perfusion_percent=fault.perfusion_percent)
        self._wanted = fault.perfusion_percent / 100

    def factor(self, steady: FloatArray) -> FloatArray:
        index = self.where.span / np.maximum(np.abs(steady).mean(axis=1), np.finfo(float).tiny)
        return np.asarray(np.minimum(1.0, self._wanted / index)[:, None])
