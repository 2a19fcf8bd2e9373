"""Damage to the pulse in light, about the steady part that it rides on."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import signal

from drivers.types import FloatArray
from simulators.faults import SampleFault, Where
from simulators.faults._noise import rate_of
from simulators.faults._stage import Mask, SampleDamage

CUTOFF_HZ = 0.2
ORDER = 4
"""Leaves less than 1 % of a pulse of 40 per minute in the steady part, and settles within 8 s."""
SETTLE_S = 20.0


class PulseDamage(SampleDamage):
    """The pulse wave is multiplied by a factor about the steady part."""

    def __init__(self, fault: SampleFault, where: Where, **detail: Any) -> None:
        super().__init__(fault, where, **detail)
        self._sos = signal.butter(ORDER, CUTOFF_HZ, fs=rate_of(where), output="sos")
        self._state = np.empty((0, 0, 0))
        self._listen_s = fault.start_s - SETTLE_S

    def factor(self, steady: FloatArray) -> FloatArray:
        """What the wave is multiplied by, (n, channels) or what broadcasts to it, from its steady part."""
        raise NotImplementedError

    def watch(self, times_s: FloatArray, values: FloatArray, count: int) -> None:
        """Follow the steady part from before the fault begins."""
        early = int(np.searchsorted(times_s[:count], self._listen_s))
        if early < count:
            self._steady(values[early:count])

    def _steady(self, values: FloatArray) -> FloatArray:
        if not self._state.size:
            self._state = signal.sosfilt_zi(self._sos)[:, :, None] * values[0]
        steady, self._state = signal.sosfilt(self._sos, values, axis=0, zi=self._state)
        return np.asarray(steady)

    def damage(self, first: int, times_s: FloatArray, values: FloatArray) -> tuple[FloatArray, Mask]:
        """The wave as it is with the factor."""
        steady = self._steady(values)
        return steady + self.factor(steady) * (values - steady), np.ones(len(values), dtype=bool)
