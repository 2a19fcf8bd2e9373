"""Delivery: a waveform says little about what was lost from it, so losses count beside it.

5 % lost costs nothing and 35 % everything; likewise a gap of 0.25 s and of 2 s, or a few periods of a slow stream.
"""

from __future__ import annotations

import numpy as np

from drivers.quality.windows import ramp
from drivers.types import FloatArray, IntArray

LOST_GOOD, LOST_BAD = 0.05, 0.35
GAP_GOOD_S, GAP_BAD_S = 0.25, 2.0
GAP_GOOD_PERIODS, GAP_BAD_PERIODS = 2.5, 10.0
_SECOND_NS = 1e9


def delivery(
    times_ns: IntArray, begins_ns: IntArray, ends_ns: IntArray, rate_hz: float
) -> tuple[FloatArray, FloatArray]:
    """Share lost and longest silence in s of each window [begin, end), (w,) each; times (n,) sorted."""
    first, last = np.searchsorted(times_ns, begins_ns), np.searchsorted(times_ns, ends_ns)
    span_s = np.maximum(ends_ns - begins_ns, 1) / _SECOND_NS
    count = last - first
    lost = np.clip(1 - (count + 1) / np.maximum(span_s * rate_hz, 1.0), 0, 1)
    steps = np.append(np.diff(times_ns), 0)
    inside = np.maximum.reduceat(np.append(steps, 0), np.stack([first, np.maximum(last - 1, first)], 1).ravel())[::2]
    inside = np.where(count > 1, inside, 0)
    padded = np.append(times_ns, 0)
    lead = np.where(count > 0, padded[first] - begins_ns, ends_ns - begins_ns)
    trail = np.where(count > 0, ends_ns - padded[np.maximum(last - 1, 0)], ends_ns - begins_ns)
    return np.asarray(lost), np.maximum(inside, np.maximum(lead, trail)) / _SECOND_NS


def delivery_factor(lost: FloatArray, gap_s: FloatArray, rate_hz: float) -> FloatArray:
    """0..1, (w,)."""
    good = max(GAP_GOOD_S, GAP_GOOD_PERIODS / rate_hz)
    bad = max(GAP_BAD_S, GAP_BAD_PERIODS / rate_hz)
    return ramp(lost, LOST_BAD, LOST_GOOD) * ramp(gap_s, bad, good)
