"""Synchronisation arithmetic: how far apart the streams' time stamps are, and what their clocks do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.clock_fit import ClockFit
from drivers.types import FloatArray


def nearest_differences(a_times_s: FloatArray, b_times_s: FloatArray) -> tuple[float, float]:
    """Largest and mean distance in s from each time of ``a`` to the nearest time of ``b``, (n,) and (m,), any order.

    What ``check_modality_sync(a, b)`` of the debugging guide compares with its limit; it is not symmetric.
    """
    distances = nearest_distances(a_times_s, b_times_s)
    return float(distances.max()), float(distances.mean())


def nearest_distances(a_times_s: FloatArray, b_times_s: FloatArray) -> FloatArray:
    """Distance in s from each time of ``a`` to the nearest time of ``b``, (n,); ValueError if either is empty."""
    a, b = np.asarray(a_times_s, dtype=np.float64), np.sort(np.asarray(b_times_s, dtype=np.float64))
    if not len(a) or not len(b):
        raise ValueError(f"time stamps of both modalities are needed to compare them, found {len(a)} and {len(b)}")
    after = np.searchsorted(b, a)
    left, right = b[np.maximum(after - 1, 0)], b[np.minimum(after, len(b) - 1)]
    return np.asarray(np.minimum(np.abs(a - left), np.abs(a - right)))


@dataclass(frozen=True, slots=True)
class PairOffset:
    """How two devices' clocks stand to each other. Intervals hold with 95 % confidence each clock on its own."""

    at_ns: int
    """Host time for which the offset is stated."""
    offset_ns: float
    """Reading of the second device's clock minus the first's."""
    offset_low_ns: float
    offset_high_ns: float
    drift_ppm: float
    """How much faster the second device's clock runs."""
    drift_low_ppm: float
    drift_high_ppm: float

    @property
    def uncertainty_ns(self) -> float:
        """Half the offset's interval: two samples that are mapped to the same host time were taken at most about
        this far apart, beside the difference of the two links' smallest delays."""
        return (self.offset_high_ns - self.offset_low_ns) / 2


def pair_offset(first: ClockFit, second: ClockFit, at_ns: int | None = None) -> PairOffset:
    """Offset and drift between two streams' device clocks at a host time (default: the middle of their overlap)."""
    if at_ns is None:
        at_ns = round((max(_span(first)[0], _span(second)[0]) + min(_span(first)[1], _span(second)[1])) / 2)
    (low_a, mid_a, high_a), (low_b, mid_b, high_b) = _offset_at(first, at_ns), _offset_at(second, at_ns)
    return PairOffset(
        at_ns,
        mid_a - mid_b,
        low_a - high_b,
        high_a - low_b,
        second.drift_ppm - first.drift_ppm,
        second.drift_low_ppm - first.drift_high_ppm,
        second.drift_high_ppm - first.drift_low_ppm,
    )


def _span(fit: ClockFit) -> tuple[float, float]:
    middle = fit.reference_ns + fit.offset_ns
    return middle - fit.duration_s * 0.5e9, middle + fit.duration_s * 0.5e9


def _offset_at(fit: ClockFit, at_ns: int) -> tuple[float, float, float]:
    """(host - device) at a host time: low end, estimate, high end, ns."""
    device_ns = fit.reference_ns + (at_ns - fit.reference_ns - fit.offset_ns) / (1 + fit.slope)
    low, high = fit.offset_interval_ns(device_ns)
    return low, fit.offset_ns + fit.slope * (device_ns - fit.reference_ns), high
