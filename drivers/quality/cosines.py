"""A window as a sum of cosines (DCT-II): bands by their coefficients, and the mains taken off however they wander.

The cosines continue a window beyond its ends by its mirror image, so that a filter meets no jump there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import legendre
from scipy import fft

from drivers.quality.windows import LINE_HZ
from drivers.types import FloatArray

_NEAR_HZ = 3.0
"""Half the width of what belongs to the mains."""
_BESIDE_HZ = 8.0
"""As far as that, what is around the mains tells how much would be there without them."""
_WORTHWHILE = 3.0
"""Times what lies beside: less is not taken off, for it is none of the mains."""
_BENDS = 4
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
        """50 and 60 Hz come off unless the profile says which of them it is."""
        place = np.linspace(-1, 1, rows.shape[-1])
        level = rows - np.mean(rows, axis=-1, keepdims=True)
        slope = (level * place).sum(axis=-1, keepdims=True) / max(float((place * place).sum()), 1e-30)
        found = fft.dct(level - slope * place, norm="ortho", axis=-1)
        line, stray = np.zeros(len(rows)), np.zeros(len(rows))
        for hz in (mains_hz,) if mains_hz else LINE_HZ:
            if hz + 1.5 < rate_hz / 2:
                found, power, left = _without(found, rate_hz, hz)
                line, stray = np.maximum(line, np.sqrt(power)), np.maximum(stray, np.sqrt(left))
        return cls(found, rate_hz, line, stray)

    def power(self, low_hz: float, high_hz: float) -> FloatArray:
        """Mean square of what lies in a band, (r,)."""
        part = self.coefficients[:, _bins(self.coefficients.shape[1], self.rate_hz, low_hz, high_hz)]
        return _mean_square(part, self.coefficients.shape[1])

    def density(self, low_hz: float, high_hz: float) -> FloatArray:
        """The same per Hz."""
        return self.power(low_hz, high_hz) / (high_hz - low_hz)

    def wave(self, low_hz: float = 0.0, high_hz: float = np.inf) -> FloatArray:
        """Samples (r, n) of a band with soft edges; without limits, all that is left."""
        shape = _gain(self.coefficients.shape[1], self.rate_hz, low_hz, high_hz)
        return np.asarray(fft.idct(self.coefficients * shape, norm="ortho", axis=-1))


def _bins(count: int, rate_hz: float, low_hz: float, high_hz: float) -> slice:
    """Coefficients of low_hz <= f < high_hz; number k is at k / 2 periods per window."""
    step_hz = rate_hz / (2 * count)
    return slice(max(0, int(np.ceil(low_hz / step_hz))), min(count, int(np.ceil(high_hz / step_hz))))


@lru_cache(maxsize=64)
def _gain(count: int, rate_hz: float, low_hz: float, high_hz: float) -> FloatArray:
    """Of a second-order Butterworth run forwards and backwards at either end."""
    hz = np.arange(count) * rate_hz / (2 * count)
    gain = np.ones(count)
    if low_hz > 0:
        gain *= hz**4 / (hz**4 + low_hz**4)
    if np.isfinite(high_hz):
        gain *= high_hz**4 / (hz**4 + high_hz**4)
    return gain


def _without(found: FloatArray, rate_hz: float, hz: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Coefficients without the mains, mean square of what came off, and of what is left too much of, (r,)."""
    count = found.shape[1]
    near = _bins(count, rate_hz, hz - _NEAR_HZ, hz + _NEAR_HZ)
    beside = _beside(found, rate_hz, hz)
    power = np.zeros(len(found))
    rows = np.flatnonzero(_mean_square(found[:, near], count) > _WORTHWHILE * beside)
    if len(rows):
        shapes, solve = _mains(count, rate_hz, hz)
        part = found[rows]
        amounts = (part[:, None, near] * solve).sum(axis=-1)
        fitted = np.zeros_like(part)
        for shape, amount in zip(shapes, amounts.T, strict=True):
            fitted += amount[:, None] * shape
        found = found.copy()
        found[rows] = part - fitted
        power[rows] = _mean_square(fitted, count)
        beside = _beside(found, rate_hz, hz)
    return found, power, np.maximum(_mean_square(found[:, near], count) - beside, 0.0)


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
    return np.asarray((part * part).sum(axis=-1) / count)


@lru_cache(maxsize=16)
def _mains(count: int, rate_hz: float, hz: float) -> tuple[FloatArray, FloatArray]:
    """Shapes (m, n) that the mains may have, as coefficients, and what finds how much of each from those near hz."""
    place = np.linspace(-1, 1, count)
    bends = legendre.legvander(place, _BENDS - 1).T
    turn = 2 * np.pi * hz * np.arange(count) / rate_hz
    shapes = fft.dct(np.concatenate([bends * np.cos(turn), bends * np.sin(turn)]), norm="ortho", axis=-1)
    near = _bins(count, rate_hz, hz - _NEAR_HZ, hz + _NEAR_HZ)
    return shapes, np.linalg.pinv(shapes[:, near].T, rcond=1e-3)
