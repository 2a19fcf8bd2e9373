"""White noise: what an amplifier, a long cable or too little light adds to every sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.types import FloatArray
from simulators.draws import Draws
from simulators.faults import SampleFault, SampleStage, Where, key
from simulators.faults._noise import level_for
from simulators.faults._stage import Disturbance


@dataclass(frozen=True, kw_only=True)
class FAULT(SampleFault):
    """Gaussian noise on every sample, each channel its own, as strong at every frequency as at any other."""

    NAME: ClassVar[str] = "white_noise"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"noise_floor", "quality"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"saturation"})
    KINDS: ClassVar[frozenset[str]] = frozenset(
        {"ecg", "eeg", "ppg", "eda", "respiration", "temperature", "acceleration"}
    )
    DEFAULT_LEVELS: ClassVar[Mapping[str, float]] = {"": 0.7, "acceleration": 2.0}
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("level", (0.01, 0.05, 0.1, 0.2, 0.4, 0.7, 1, 2, 4))

    level: float | None = key(None, "rms of the noise", "of the clean amplitude", above=0)

    def bind(self, where: Where) -> SampleStage:
        """The stage for one stream."""
        return _White(self, where)


class _White(Disturbance):
    def __init__(self, fault: FAULT, where: Where) -> None:
        level = level_for(fault.level, where, fault.DEFAULT_LEVELS)
        super().__init__(fault, where, level=level)
        self._rms = level * where.span
        self._draws = where.draws
        self._channels: list[Draws] = []

    def wave(self, first: int, times_s: FloatArray, channels: int) -> FloatArray:
        if not self._channels:
            self._channels = [self._draws.child(number) for number in range(channels)]
        return self._rms * np.stack([draws.normal(first, len(times_s)) for draws in self._channels], axis=1)
