"""A Shimmer3's skin conductance: what its words mean, and how it chooses its range.

Sources: Shimmer's Java API (SensorGSR) for the units; log-and-stream-common (gsr.c) for the ranges.
"""

from __future__ import annotations

import numpy as np

from drivers.shimmer3_packet import ADC_FULL, ADC_MV
from drivers.types import FloatArray, IntArray

AUTO = 4
FEEDBACK_KOHM = (40.2, 287.0, 1000.0, 3300.0)
LIMITS_KOHM = ((8.0, 63.0), (63.0, 220.0), (220.0, 680.0), (680.0, 4700.0))
"""What each fixed range is good for."""
_BIAS_MV = 500.0
_OPEN = 683
"""The code of the bias voltage: no current flows. Anything lower is an open circuit too."""
_UP = (1120, 1490, 1630, -1)
"""Below this code the next higher feedback resistor is taken,"""
_DOWN = (ADC_FULL + 1, 3960, 3700, 3930)
"""and above this one the next lower."""
_SETTLING_TICKS = 2621
_FIRST_IGNORED = 6


def step_us(gsr_range: int) -> float:
    """Microsiemens of one code."""
    return 1000 / FEEDBACK_KOHM[gsr_range] * ADC_MV / ADC_FULL / _BIAS_MV


def limits_us(gsr_range: int) -> tuple[float, float]:
    """Lowest and highest conductance that a fixed range, or the automatic one, shows."""
    if gsr_range == AUTO:
        return 0.0, _microsiemens(np.array([ADC_FULL]), np.array([0]))[0]
    low, high = LIMITS_KOHM[gsr_range]
    top = _microsiemens(np.array([ADC_FULL]), np.array([gsr_range]))[0]
    return 1000 / high, min(1000 / low, top)


def _microsiemens(codes: IntArray, ranges: IntArray) -> FloatArray:
    ratio = np.maximum(codes, _OPEN) * (ADC_MV / ADC_FULL) / _BIAS_MV - 1
    return np.asarray(ratio * (1000 / np.array(FEEDBACK_KOHM))[ranges])


def conductance(words: IntArray, gsr_range: int) -> FloatArray:
    """Microsiemens of words (n,) that a device with this range setting sends."""
    values = _microsiemens(words & 0x0FFF, words >> 14)
    return np.asarray(np.clip(values, *limits_us(gsr_range)) if gsr_range != AUTO else values)


def codes_of(microsiemens: FloatArray, gsr_range: int) -> IntArray:
    """What the converter reads with this feedback resistor, (n,)."""
    volts = (microsiemens * (FEEDBACK_KOHM[gsr_range] / 1000) + 1) * _BIAS_MV
    return np.clip(np.rint(volts * (ADC_FULL / ADC_MV)), 0, ADC_FULL).astype(np.int64)


class Ranger:
    """The device's choice of range. After a change the firmware repeats the last word while the input settles."""

    def __init__(self, gsr_range: int, period_ticks: int) -> None:
        self._auto = gsr_range == AUTO
        self._range = 0 if self._auto else gsr_range
        self._settling = _SETTLING_TICKS // period_ticks
        self._held, self._hold = 0, _FIRST_IGNORED if self._auto else 0

    def words(self, microsiemens: FloatArray) -> IntArray:
        """Words for consecutive samples, (n,)."""
        words = np.empty(len(microsiemens), dtype=np.int64)
        at = 0
        while at < len(words):
            if self._hold:
                count = min(self._hold, len(words) - at)
                words[at : at + count] = self._held
                self._hold -= count
            else:
                count = self._measure(microsiemens[at:], words[at:])
            at += count
        return words

    def _measure(self, microsiemens: FloatArray, words: IntArray) -> int:
        """Fill in words up to the one after which the range changes; how many."""
        here = self._range
        codes = codes_of(microsiemens, here)
        low, high = codes < _UP[here], codes > _DOWN[here]
        change = (low | high) & self._auto
        changes = bool(change.any())
        count = int(change.argmax()) + 1 if changes else len(codes)
        words[:count] = codes[:count] | here << 14
        if changes:
            self._range += 1 if low[count - 1] else -1
            self._held, self._hold = int(words[count - 1]), self._settling
        return count
