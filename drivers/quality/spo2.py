"""Oxygen saturation: values that a living person can have, changing no faster than blood can.

Oximeters without a finger send a number that stands for none: 127 (Nonin, Contec) or 0. Both are no body's.
"""

from __future__ import annotations

import numpy as np

from drivers.quality.windows import Table, Windows, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 10.0, 4.0
LOWEST_PERCENT, HIGHEST_PERCENT = 70.0, 100.0
"""ISO 80601-2-61 asks for accuracy from 70 % up; what an oximeter says below that is a guess."""
_DEAD_PERCENT = 50.0
"""What no calibration reaches and hardly anybody survives: nothing is measured."""
FASTEST_PERCENT_PER_S = 4.0
"""Breath-holding after exertion stays under 1 %/s, and averaging over a few beats makes steps of 2 or 3."""
_FINE_PERCENT, _STUCK_S = 0.02, 9.0
"""A step so small never rests so long; a saturation in whole percent rests for minutes and says nothing by it."""


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst channel counts."""
    return Table.worst(_channel(windows, channel) for channel in windows.channels())


def _channel(windows: Windows, percent: FloatArray) -> Table:
    absent = (percent <= _DEAD_PERCENT) | (percent > HIGHEST_PERCENT)
    outside = absent | (percent < LOWEST_PERCENT)
    # From a number that stands for none to the next real one is no change of the blood.
    real = np.where(absent, np.nan, percent)
    change = np.nan_to_num(_change(real, max(1, round(windows.rate_hz))), nan=0.0)
    fine = windows.spec.lsb is not None and windows.spec.lsb <= _FINE_PERCENT
    parts = {
        "range": ramp(windows.mean(outside), 0.3, 0.05),
        "rate": ramp(windows.mean(change > FASTEST_PERCENT_PER_S), 0.3, 0.05),
        "flat": ramp(windows.stuck(_STUCK_S), 0.95, 0.85) if fine else np.ones(len(windows)),
    }
    off = ramp(windows.mean(absent), 0.3, 0.05) < 0.5
    return Table(parts, {"off_body": off, "motion": parts["rate"] < 0.5, "flat": (parts["flat"] < 0.5) & ~off})


def _change(values: FloatArray, back: int) -> FloatArray:
    """How far (w, n) has moved since ``back`` samples ago, (w, n); before that, since the window's first sample."""
    count = values.shape[-1]
    return np.abs(values - values[:, np.maximum(np.arange(count) - min(back, count - 1), 0)])
