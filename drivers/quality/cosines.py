"""A window of EEG or acceleration as a sum of cosines (DCT-II), its mains taken off however they wander.

The cosines continue a window beyond its ends by its mirror image, so that a filter meets no jump there, and their
squares are power: what noise is measured with. A wave's shape near the ends is kept better by sines
(``drivers.quality.pulse_band``), which put no extreme there; pulses need that, and scores were set with each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, inf

import numpy as np
from numpy.polynomial import legendre
from scipy import fft

from drivers.quality.windows import LINE_HZ
from drivers.types import FloatArray

_NEAR_HZ = 3.0
"""Half the width of what belongs to the mains."""
_BESIDE_HZ = 8.0
"""As far as that, what is around the mains tells how much would be there without them."""
_NEAREST_HZ = 1.5
"""To half the sampling rate, so that the mains stand apart from their image."""
_WORTHWHILE = 3.0
"""Times what lies beside: less is not taken off, for it is none of the mains."""
_BENDS = 6
"""Polynomials that the mains' amplitude and phase may follow: a grid, or a crystal, that is off by 0.2 Hz."""


@dataclass(frozen=True)
class Cosines:
    """Rows (r, n) without their mean, a straight line and the mains."""

    coefficients: FloatArray
    """(r, n), orthonormal: their squares sum up to those of the samples."""
    rate_hz: float
    line: FloatArray
    """(r,) rms of the mains that were taken off."""
    stray: FloatArray
    """(r,) rms around the mains' frequency that did not come off, beyond what lies beside it."""

    @classmethod
    def of(cls, rows: FloatArray, rate_hz: float, mains_hz: float | None) -> Cosines:
        """Of (r, n); 50 or 60 Hz come off, the stronger in each row, unless the profile says which of them it is."""
        place = _places(rows.shape[-1])
        slope = np.add.reduce(rows * place, axis=-1, keepdims=True)
        found = fft.dct(rows - slope * place, norm="ortho", axis=-1)
        found[:, 0] = 0.0
        line, stray = np.zeros(len(rows)), np.zeros(len(rows))
        given = [hz for hz in ((mains_hz,) if mains_hz else LINE_HZ) if hz + _NEAREST_HZ < rate_hz / 2]
        if given:
            excess = np.array([_near(found, rate_hz, hz) - _WORTHWHILE * _beside(found, rate_hz, hz) for hz in given])
            stronger = np.where(np.max(excess, axis=0) > 0, np.argmax(excess, axis=0), -1)
            for number, hz in enumerate(given):
                chosen = np.flatnonzero(stronger == number)
                if len(chosen):
                    found[chosen], line[chosen], stray[chosen] = _without(found[chosen], rate_hz, hz)
        return cls(found, rate_hz, line, stray)

    def power(self, low_hz: float, high_hz: float) -> FloatArray:
        """Mean square of what lies in a band, (r,)."""
        part = self.coefficients[:, _bins(self.coefficients.shape[1], self.rate_hz, low_hz, high_hz)]
        return _mean_square(part, self.coefficients.shape[1])

    def density(self, low_hz: float, high_hz: float) -> FloatArray:
        """The same per Hz, (r,)."""
        return self.power(low_hz, high_hz) / (high_hz - low_hz)

    def waves(self, *bands_hz: tuple[float, float]) -> FloatArray:
        """Samples of bands with soft edges, (bands, r, n); from 0 to infinity: all that is left."""
        gains = _gains(self.coefficients.shape[1], self.rate_hz, bands_hz)
        return np.asarray(fft.idct(self.coefficients * gains, norm="ortho", axis=-1))


@lru_cache(maxsize=16)
def _places(count: int) -> FloatArray:
    """A straight line through 0 whose squares add up to 1, (n,); 0 for a single sample."""
    place = np.arange(count) - (count - 1) / 2
    return np.asarray(place / max(float(np.sqrt((place * place).sum())), 1e-30))


@lru_cache(maxsize=256)
def _bins(count: int, rate_hz: float, low_hz: float, high_hz: float) -> slice:
    """Coefficients of low_hz <= f < high_hz; number k is at k / 2 periods per window."""
    step_hz = rate_hz / (2 * count)
    return slice(max(0, ceil(low_hz / step_hz)), min(count, ceil(high_hz / step_hz)))


@lru_cache(maxsize=64)
def _gains(count: int, rate_hz: float, bands_hz: tuple[tuple[float, float], ...]) -> FloatArray:
    """Of a second-order Butterworth run forwards and backwards at either end, (bands, 1, n)."""
    hz = np.arange(count) * rate_hz / (2 * count)
    gains = np.ones((len(bands_hz), 1, count))
    for gain, (low_hz, high_hz) in zip(gains, bands_hz, strict=True):
        if low_hz > 0:
            gain *= hz**4 / (hz**4 + low_hz**4)
        if high_hz < inf:
            gain *= high_hz**4 / (hz**4 + high_hz**4)
    return gains


def _without(found: FloatArray, rate_hz: float, hz: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Coefficients without the mains, rms of what came off, and of what is left too much of, (r,)."""
    count = found.shape[1]
    shapes, solve = _mains(count, rate_hz, hz)
    near = found[:, None, _bins(count, rate_hz, hz - _NEAR_HZ, hz + _NEAR_HZ)]
    fitted = np.zeros_like(found)
    for shape, amount in zip(shapes, np.add.reduce(near * solve, axis=-1).T, strict=True):
        fitted += amount[:, None] * shape
    rest = found - fitted
    left = np.maximum(_near(rest, rate_hz, hz) - _beside(rest, rate_hz, hz), 0.0)
    return rest, np.sqrt(_mean_square(fitted, count)), np.sqrt(left)


def _near(found: FloatArray, rate_hz: float, hz: float) -> FloatArray:
    """Mean square near the mains' frequency, (r,)."""
    count = found.shape[1]
    return _mean_square(found[:, _bins(count, rate_hz, hz - _NEAR_HZ, hz + _NEAR_HZ)], count)


def _beside(found: FloatArray, rate_hz: float, hz: float) -> FloatArray:
    """Mean square that would be near the mains' frequency if that were like what lies beside it, (r,)."""
    count = found.shape[1]
    sides = [(hz - _BESIDE_HZ, hz - _NEAR_HZ)]
    if hz + _BESIDE_HZ < rate_hz / 2:
        sides.append((hz + _NEAR_HZ, hz + _BESIDE_HZ))
    powers = [_mean_square(found[:, _bins(count, rate_hz, *side)], count) for side in sides]
    return np.asarray(np.min(powers, axis=0) * (2 * _NEAR_HZ / (_BESIDE_HZ - _NEAR_HZ)))


def _mean_square(part: FloatArray, count: int) -> FloatArray:
    """What some coefficients (r, k) of ``count`` samples amount to, (r,)."""
    return np.asarray(np.add.reduce(part * part, axis=-1) / count)


@lru_cache(maxsize=16)
def _mains(count: int, rate_hz: float, hz: float) -> tuple[FloatArray, FloatArray]:
    """Shapes (m, n) that the mains may have, as coefficients, and what finds how much of each from those near hz."""
    place = np.linspace(-1, 1, count)
    bends = legendre.legvander(place, _BENDS - 1).T
    turn = 2 * np.pi * hz * np.arange(count) / rate_hz
    shapes = fft.dct(np.concatenate([bends * np.cos(turn), bends * np.sin(turn)]), norm="ortho", axis=-1)
    near = _bins(count, rate_hz, hz - _NEAR_HZ, hz + _NEAR_HZ)
    return shapes, np.linalg.pinv(shapes[:, near].T, rcond=1e-3)
