"""A line of (host - device) over device time with what is known about it: the common answer of all clock estimators."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.types import FloatArray

NODES = np.linspace(-1.0, 1.0, 9)
"""Where the interval of the offset is worked out, in half spans from the middle."""


@dataclass(frozen=True, slots=True, eq=False)
class ClockLine:
    """offset(t) = offset + slope * t + curve * (t**2 - half**2 / 3), t in s from the middle, for -half <= t <= half.

    With that zero the three are known independently of each other. Every interval holds with 95 % confidence.
    """

    half_s: float
    offset_ns: float
    slope: tuple[float, float, float]
    """Low end, estimate and high end of the mean change, ns/s; infinite ends: unknown."""
    curve: tuple[float, float, float]
    """Low end, estimate and high end, ns/s^2."""
    band_ns: tuple[FloatArray, FloatArray]
    """Low and high end of offset(t) less the estimate, at NODES * half_s: (9,), (9,)."""


def basis(at: FloatArray, order: int) -> FloatArray:
    """(n, order + 1) of 1, t and t**2 - 1/3 at t in half spans."""
    return np.stack([np.ones_like(at), at, at**2 - 1 / 3][: order + 1], axis=-1)


def weighted_quantiles(value: FloatArray, weight: FloatArray, shares: tuple[float, ...]) -> tuple[float, ...]:
    """Quantiles of values (n,) with weights (n,) that sum to 1."""
    order = np.argsort(value)
    passed = np.cumsum(weight[order]) - 0.5 * weight[order]
    return tuple(np.interp(shares, passed, value[order]).tolist())
