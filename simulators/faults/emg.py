"""Muscle noise: bursts of band-limited noise while a muscle under the electrode works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.types import FloatArray
from simulators.faults import SampleFault, SampleStage, Where, key
from simulators.faults._noise import BandNoise, level_for, rate_of
from simulators.faults._stage import Mask, SampleDamage

BAND_HZ = (20.0, 120.0)


@dataclass(frozen=True, kw_only=True)
class FAULT(SampleFault):
    """Muscle noise in one-second bursts, 20 to 120 Hz or as far up as the sampling rate allows."""

    NAME: ClassVar[str] = "emg"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"quality"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"noise_floor"})
    KINDS: ClassVar[frozenset[str]] = frozenset({"ecg", "eeg", "ppg"})
    DEFAULT_LEVELS: ClassVar[Mapping[str, float]] = {"": 0.35, "ppg": 0.8, "eeg": 0.8}
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("level", (0.01, 0.05, 0.1, 0.2, 0.35, 0.8, 1.5))

    level: float | None = key(None, "rms of the noise in a burst", "of the clean amplitude", above=0)
    busy_percent: float = key(80.0, "share of seconds in which the muscle works", "%", above=0, high=100)

    def bind(self, where: Where) -> SampleStage:
        """The stage for one stream."""
        return _Muscle(self, where)


class _Muscle(SampleDamage):
    def __init__(self, fault: FAULT, where: Where) -> None:
        level = level_for(fault.level, where, fault.DEFAULT_LEVELS)
        super().__init__(fault, where, level=level)
        self._noise = BandNoise(where.draws.child("noise"), *BAND_HZ, rate_of(where))
        self._bursts = where.draws.child("bursts")
        self._busy = fault.busy_percent / 100
        self._rms = level * where.span

    def damage(self, first: int, times_s: FloatArray, values: FloatArray) -> tuple[FloatArray, Mask]:
        noise = self._rms * self._noise.take(first, *values.shape)
        slots = np.floor(times_s).astype(np.int64)
        begin = int(slots[0])
        busy = self._bursts.uniform(begin, int(slots[-1]) - begin + 1) < self._busy
        on = busy[slots - begin]
        return np.where(on[:, None], values + noise, values), on
