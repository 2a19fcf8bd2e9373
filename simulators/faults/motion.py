"""Movement: noise of 0.5 to 10 Hz on a baseline that steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.types import FloatArray
from simulators.faults import SampleFault, SampleStage, Where, key
from simulators.faults._noise import BandNoise, level_for, rate_of
from simulators.faults._stage import Disturbance

BAND_HZ = (0.5, 10.0)
STEP_EVERY_S = 2.0


@dataclass(frozen=True, kw_only=True)
class FAULT(SampleFault):
    """Movement: noise of 0.5 to 10 Hz, and a new baseline every two seconds or so."""

    NAME: ClassVar[str] = "motion"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"quality"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"lead_off", "noise_floor", "saturation"})
    KINDS: ClassVar[frozenset[str]] = frozenset({"ecg", "eeg", "ppg", "eda", "respiration"})
    DEFAULT_LEVELS: ClassVar[Mapping[str, float]] = {"": 0.75, "ecg": 0.5, "eeg": 2.0, "eda": 2.0, "respiration": 1.0}
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("level", (0.02, 0.1, 0.25, 0.5, 0.75, 1.5, 3))

    level: float | None = key(None, "rms of the noise, and of the baseline's places", "of the clean amplitude", above=0)

    def bind(self, where: Where) -> SampleStage:
        """The stage for one stream."""
        return _Motion(self, where)


class _Motion(Disturbance):
    def __init__(self, fault: FAULT, where: Where) -> None:
        level = level_for(fault.level, where, fault.DEFAULT_LEVELS)
        super().__init__(fault, where, level=level)
        self._noise = BandNoise(where.draws.child("noise"), *BAND_HZ, rate_of(where))
        self._moments, self._places = where.draws.child("moments"), where.draws.child("places")
        self._scale = level * where.span

    def wave(self, first: int, times_s: FloatArray, channels: int) -> FloatArray:
        return self._scale * (self._noise.take(first, len(times_s), channels) + self._baseline(times_s)[:, None])

    def _baseline(self, times_s: FloatArray) -> FloatArray:
        """In slot n the baseline moves, at a drawn moment, from place n to place n + 1."""
        slots = np.floor(times_s / STEP_EVERY_S).astype(np.int64)
        begin, count = int(slots[0]), int(slots[-1] - slots[0]) + 1
        moved = times_s >= (slots + self._moments.uniform(begin, count)[slots - begin]) * STEP_EVERY_S
        return self._places.normal(begin, count + 1)[slots - begin + moved]
