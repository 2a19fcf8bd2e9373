"""Hum of the mains: a tone at the mains' frequency with weak second and third harmonics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.types import FloatArray
from simulators.faults import SampleFault, SampleStage, Where, key
from simulators.faults._noise import level_for, rate_of
from simulators.faults._stage import Disturbance

HARMONICS = ((1, 1.0), (2, 0.02), (3, 0.05))
"""Order and amplitude: odd ones are stronger, since transformers saturate symmetrically."""


@dataclass(frozen=True, kw_only=True)
class FAULT(SampleFault):
    """Hum of the mains with weak harmonics; a slow stream sees it aliased, as a device without a filter would."""

    NAME: ClassVar[str] = "mains_hum"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"quality"})
    KINDS: ClassVar[frozenset[str]] = frozenset({"ecg"})
    DEFAULT_LEVELS: ClassVar[Mapping[str, float]] = {"": 0.2}
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("level", (0.01, 0.03, 0.05, 0.1, 0.2, 0.5))

    level: float | None = key(None, "amplitude of the fundamental", "of the clean amplitude", above=0)
    frequency_hz: float = key(50.0, "the mains' frequency", "Hz", low=1, high=1000)

    def bind(self, where: Where) -> SampleStage:
        """The stage for one stream."""
        return _Hum(self, where)


class _Hum(Disturbance):
    def __init__(self, fault: FAULT, where: Where) -> None:
        level = level_for(fault.level, where, fault.DEFAULT_LEVELS)
        super().__init__(fault, where, level=level)
        nyquist_hz = rate_of(where) / 2
        self._tones = [
            (level * where.span * weight, 2 * np.pi * order * fault.frequency_hz)
            for order, weight in HARMONICS
            if order == 1 or order * fault.frequency_hz < nyquist_hz
        ]
        self._phase = 2 * np.pi * float(where.draws.uniform(0, 1)[0])

    def wave(self, first: int, times_s: FloatArray, channels: int) -> FloatArray:
        total = np.zeros(len(times_s))
        for amplitude, omega in self._tones:
            total += amplitude * np.sin(omega * times_s + self._phase)
        return total[:, None]
