"""Windows of light in frequency: bands, levels and the share of noise, from one transform.

A window is freed of the straight line through its ends and taken apart into sines that vanish there (DST-II), which is
the odd continuation that zero-phase filters use at edges, at a tenth of their price. Bands come back at one sampling
rate whatever the stream's is, so that whatever follows costs and means the same from 25 to 1000 Hz. Cosines
(``drivers.quality.cosines``), which the EEG takes, would turn every pulse that a window cuts into a peak at its end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

from drivers.types import FloatArray

BAND_RATE_HZ = 50.0
"""Sampling rate of what ``band`` returns: six times the highest frequency of interest in a pulse."""


@dataclass(frozen=True)
class PulseBand:
    """Rows (r, n) in frequency; one row says nothing of another."""

    sines: FloatArray
    """(r, n) amplitude of the sine of 1, 2, ... half periods in the window, in the unit of the light."""
    line: FloatArray
    """(r,) how far the window ends from where it began."""
    rate_hz: float

    @classmethod
    def of(cls, light: FloatArray, rate_hz: float) -> PulseBand:
        """From rows (r, n) of at least two samples."""
        count = light.shape[1]
        line = light[:, -1] - light[:, 0]
        straight = light[:, :1] + (line / (count - 1))[:, None] * np.arange(count)
        return cls(fft.dst(light - straight, 2) / count, line, rate_hz)

    def bands(self, *edges_hz: tuple[float, float]) -> tuple[FloatArray, ...]:
        """Zero-phase second-order bands (low, high) of the rows at ``BAND_RATE_HZ``, each (r, m)."""
        rows, count = self.sines.shape
        gains = _gains(count, self.rate_hz, edges_hz)
        shaped = np.zeros((len(edges_hz), rows, max(4, round(count * BAND_RATE_HZ / self.rate_hz))))
        np.multiply(self.sines[None, :, : gains.shape[1]], gains[:, None, :], out=shaped[:, :, : gains.shape[1]])
        return tuple(fft.idst(shaped, 2, axis=-1, overwrite_x=True))

    def pulse(self, low_hz: FloatArray, high_hz: float) -> FloatArray:
        """The rows at ``BAND_RATE_HZ`` from each one's own ``low_hz`` (r,), below which hardly anything is left."""
        rows, count = self.sines.shape
        size = max(4, round(count * BAND_RATE_HZ / self.rate_hz))
        kept = min(count, size)
        at = np.arange(1, kept + 1) * (self.rate_hz / (2 * count))
        steep = low_hz[:, None] / at
        for _ in range(3):
            steep *= steep
        shaped = np.zeros((rows, size))
        shaped[:, :kept] = self.sines[:, :kept] / (1 + steep) * (size / (1 + (at / high_hz) ** 4))
        return np.asarray(fft.idst(shaped, 2, axis=-1, overwrite_x=True))

    def rms(self, low_hz: float, high_hz: float) -> FloatArray:
        """Root mean square of what lies from ``low_hz`` up to ``high_hz``, (r,); the straight line is not in it."""
        count = self.sines.shape[1]
        step = self.rate_hz / (2 * count)
        first, last = (min(max(math.ceil(hz / step) - 1, 0), count) for hz in (low_hz, min(high_hz, self.rate_hz)))
        part = self.sines[:, first:last]
        return np.asarray(np.sqrt((part * part).sum(axis=1) / 2))

    def wander(self, below_hz: float) -> FloatArray:
        """Root mean square of the baseline, straight line included, (r,)."""
        return np.asarray(np.sqrt(self.rms(0.0, below_hz) ** 2 + self.line**2 / 12))


@lru_cache(maxsize=64)
def _gains(count: int, rate_hz: float, edges_hz: tuple[tuple[float, float], ...]) -> FloatArray:
    """What each band leaves of the sines of ``count`` samples that it can hold, (bands, kept)."""
    size = max(4, round(count * BAND_RATE_HZ / rate_hz))
    at = np.arange(1, min(count, size) + 1) * (rate_hz / (2 * count))
    return np.stack([size / ((1 + (low / at) ** 4) * (1 + (at / high) ** 4)) for low, high in edges_hz])
