"""Slow drift of the baseline, as breathing and a sliding electrode make it: three tones of 0.05 to 0.5 Hz."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.types import FloatArray
from simulators.faults import SampleFault, SampleStage, Where, key
from simulators.faults._noise import level_for
from simulators.faults._stage import Disturbance

BAND_HZ = (0.05, 0.5)
TONES = 3


@dataclass(frozen=True, kw_only=True)
class FAULT(SampleFault):
    """Slow drift of the baseline: three tones of 0.05 to 0.5 Hz."""

    NAME: ClassVar[str] = "baseline_wander"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"quality"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"lead_off", "saturation"})
    KINDS: ClassVar[frozenset[str]] = frozenset({"ecg", "eeg", "ppg"})
    DEFAULT_LEVELS: ClassVar[Mapping[str, float]] = {"": 3.0, "ppg": 8.0, "eeg": 6.0}
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("level", (0.1, 0.5, 1, 2, 3, 5, 8, 15))

    level: float | None = key(None, "amplitude of each tone", "of the clean amplitude", above=0)

    def bind(self, where: Where) -> SampleStage:
        """The stage for one stream."""
        return _Wander(self, where)


class _Wander(Disturbance):
    def __init__(self, fault: FAULT, where: Where) -> None:
        level = level_for(fault.level, where, fault.DEFAULT_LEVELS)
        super().__init__(fault, where, level=level)
        low, high = BAND_HZ
        place = (np.arange(TONES) + where.draws.child("tones").uniform(0, TONES)) / TONES
        self._tones_hz = low * (high / low) ** place
        self._phases = 2 * np.pi * where.draws.child("phases").uniform(0, TONES)
        self._amplitude = level * where.span

    def wave(self, first: int, times_s: FloatArray, channels: int) -> FloatArray:
        total = np.zeros(len(times_s))
        for tone_hz, phase in zip(self._tones_hz.tolist(), self._phases.tolist(), strict=True):
            total += np.sin(2 * np.pi * tone_hz * times_s + phase)
        return (self._amplitude * total)[:, None]
