"""Low perfusion: cold fingers, a weak pulse on the same level of light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import signal

from drivers.types import FloatArray
from simulators.faults import SampleFault, SampleStage, Where, key
from simulators.faults._noise import rate_of
from simulators.faults._stage import Mask, SampleDamage

CUTOFF_HZ = 0.2
ORDER = 4
"""Leaves less than 1 % of a pulse of 40 per minute in the steady part, and settles within 8 s."""
SETTLE_S = 20.0


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


class _LowPerfusion(SampleDamage):
    """All channels shrink by one factor, so that the ratio of ratios (SpO2) stays as it was."""

    def __init__(self, fault: FAULT, where: Where) -> None:
        super().__init__(fault, where, perfusion_percent=fault.perfusion_percent)
        self._sos = signal.butter(ORDER, CUTOFF_HZ, fs=rate_of(where), output="sos")
        self._state = np.empty((0, 0, 0))
        self._wanted = fault.perfusion_percent / 100
        self._listen_s = fault.start_s - SETTLE_S

    def watch(self, times_s: FloatArray, values: FloatArray, count: int) -> None:
        early = int(np.searchsorted(times_s[:count], self._listen_s))
        if early < count:
            self._steady(values[early:count])

    def _steady(self, values: FloatArray) -> FloatArray:
        if not self._state.size:
            self._state = signal.sosfilt_zi(self._sos)[:, :, None] * values[0]
        steady, self._state = signal.sosfilt(self._sos, values, axis=0, zi=self._state)
        return np.asarray(steady)

    def damage(self, first: int, times_s: FloatArray, values: FloatArray) -> tuple[FloatArray, Mask]:
        steady = self._steady(values)
        index = self.where.span / np.maximum(np.abs(steady).mean(axis=1), np.finfo(float).tiny)
        factor = np.minimum(1.0, self._wanted / index)
        return steady + factor[:, None] * (values - steady), np.ones(len(values), dtype=bool)
