"""Clipping: the amplifier saturates before the converter does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import signal

from drivers.types import FloatArray
from simulators.faults import SampleFault, SampleStage, Where, key
from simulators.faults._noise import level_for, rate_of
from simulators.faults._stage import Mask, SampleDamage

SETTLE_S = 2.0
"""Time constant of the recent centre, and how long the limits then stay where they are."""


@dataclass(frozen=True, kw_only=True)
class FAULT(SampleFault):
    """The signal is cut off above and below its recent centre, so that a fraction of its amplitude is lost."""

    NAME: ClassVar[str] = "clipping"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"quality", "saturation"})
    KINDS: ClassVar[frozenset[str]] = frozenset({"ecg", "exg", "eeg", "ppg", "respiration", "raw"})
    DEFAULT_LEVELS: ClassVar[Mapping[str, float]] = {"": 0.5, "ppg": 0.3, "eeg": 0.8}
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("fraction", (0.002, 0.02, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9))

    fraction: float | None = key(None, "amplitude that is lost", "of the clean amplitude", above=0, high=1)

    def bind(self, where: Where) -> SampleStage:
        """The stage for one stream."""
        return _Clip(self, where)


class _Clip(SampleDamage):
    """The limits move in steps only, since an amplifier's do not follow the signal: plateaus are flat."""

    def __init__(self, fault: FAULT, where: Where) -> None:
        fraction = level_for(fault.fraction, where, fault.DEFAULT_LEVELS)
        super().__init__(fault, where, fraction=fraction)
        self._reach = (1 - fraction) * where.span / 2
        self._gain = 1 - float(np.exp(-1 / (SETTLE_S * rate_of(where))))
        self._centre = self._state = np.empty(0)
        self._held = np.empty(0)
        self._slot = -1
        self._clipped = 0

    def watch(self, times_s: FloatArray, values: FloatArray, count: int) -> None:
        self._follow(values[:count])

    def _follow(self, values: FloatArray) -> FloatArray:
        """The centre before each sample, (n, channels): a first-order mean, from the first sample on."""
        if not len(values):
            return values
        if not len(self._centre):
            self._centre = values[0]
            self._state = (1 - self._gain) * values[:1]
        before = self._centre
        after, self._state = signal.lfilter([self._gain], [1, self._gain - 1], values, axis=0, zi=self._state)
        self._centre = after[-1]
        return np.concatenate([before[None, :], after[:-1]])

    def damage(self, first: int, times_s: FloatArray, values: FloatArray) -> tuple[FloatArray, Mask]:
        moving = self._follow(values)
        slots = np.floor(times_s / SETTLE_S).astype(np.int64)
        change = np.flatnonzero(np.diff(slots, prepend=self._slot))
        known = np.concatenate([self._held[None, :], moving[change]]) if len(self._held) else moving[change]
        place = np.searchsorted(change, np.arange(len(values)), side="right") - (0 if len(self._held) else 1)
        centre = known[place]
        self._held, self._slot = centre[-1], int(slots[-1])
        out = np.clip(values, centre - self._reach, centre + self._reach)
        self._clipped = int(np.count_nonzero((out != values).any(axis=1)))
        return out, np.ones(len(values), dtype=bool)

    def tally(self) -> dict[str, int]:
        return {"clipped": self._clipped}
