"""Lag: the content of a stream comes later than its stamps say, as behind a device's own filter or buffer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.types import FloatArray
from simulators.faults import SampleFault, SampleStage, Where, key
from simulators.faults._stage import Mask, SampleDamage

_PERIODS = 3
"""Samples kept beyond the lag, so that there is always one on either side."""


@dataclass(frozen=True, kw_only=True)
class FAULT(SampleFault):
    """Each sample shows what was there some ms before it was taken, by a straight line between two samples.

    Counter, clock and arrival are as ever: only what the signal contains tells. Between samples the line takes off
    some of what is near half the sampling rate. Before the stream's first sample nothing is known, so that is held.
    """

    NAME: ClassVar[str] = "lag"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"content_sync"})
    KINDS: ClassVar[frozenset[str]] = frozenset({"ecg", "eeg", "exg", "ppg", "respiration"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("ms", (2, 10, 15, 25, 40, 80, 150, 250))

    ms: float = key(250.0, "how much later the content comes", "ms", above=0, high=60000)

    def bind(self, where: Where) -> SampleStage:
        """The stage for one stream."""
        return _Lag(self, where)


class _Lag(SampleDamage):
    """Remembers as much of the stream as the lag spans, from a lag before start_s on."""

    def __init__(self, fault: FAULT, where: Where) -> None:
        super().__init__(fault, where, ms=fault.ms)
        self._lag_s = fault.ms / 1e3
        rate_hz = (where.spec.rate_hz if where.spec else None) or 1.0
        self._span_s = self._lag_s + _PERIODS / rate_hz
        self._listen_s = fault.start_s - self._span_s
        self._times_s, self._values = np.empty(0), np.empty((0, 0))

    def watch(self, times_s: FloatArray, values: FloatArray, count: int) -> None:
        early = int(np.searchsorted(times_s[:count], self._listen_s))
        if early < count:
            self._remember(times_s[early:count], values[early:count])

    def _remember(self, times_s: FloatArray, values: FloatArray) -> None:
        if len(self._times_s):
            times_s, values = np.concatenate([self._times_s, times_s]), np.concatenate([self._values, values])
        self._times_s, self._values = times_s, values

    def _forget(self) -> None:
        old = int(np.searchsorted(self._times_s, self._times_s[-1] - self._span_s))
        self._times_s, self._values = self._times_s[old:], self._values[old:]

    def damage(self, first: int, times_s: FloatArray, values: FloatArray) -> tuple[FloatArray, Mask]:
        self._remember(times_s, values)
        late = self._earlier(times_s - self._lag_s)
        self._forget()
        return late, np.ones(len(values), dtype=bool)

    def _earlier(self, at_s: FloatArray) -> FloatArray:
        """Values (n, channels) at earlier times; arithmetic sample by sample, whatever comes together."""
        known_s, values = self._times_s, self._values
        after = np.clip(np.searchsorted(known_s, at_s, side="right"), 1, max(len(known_s) - 1, 1))
        before = np.minimum(after - 1, len(known_s) - 1)
        after = np.minimum(after, len(known_s) - 1)
        step_s = known_s[after] - known_s[before]
        part = np.maximum(at_s - known_s[before], 0.0) / np.where(step_s > 0, step_s, 1.0)
        return np.asarray(values[before] + part[:, None] * (values[after] - values[before]))
