"""Heart rate and RR intervals: values that a heart can have, one following from the other."""

from __future__ import annotations

import numpy as np

from drivers.quality.windows import Table, Windows, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 10.0, 4.0
SLOWEST_BPM, FASTEST_BPM = 25.0, 240.0
SHORTEST_MS, LONGEST_MS = 250.0, 2400.0
_FASTEST_CHANGE = 1.35
"""Ratio of two consecutive means of several beats."""
_LARGEST_RATIO = 1.8
"""Of two consecutive intervals: an early beat and its pause reach 1.7."""
_MS = {"ms": 1.0, "s": 1000.0}


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; kinds ``heart_rate`` (beats a minute) and ``rr`` (a time)."""
    value = np.ascontiguousarray(windows.values[:, :, 0])
    if windows.spec.kind == "rr":
        value = value * _MS.get(windows.spec.unit, 1.0)
        return _judge(windows, value, SHORTEST_MS, LONGEST_MS, _LARGEST_RATIO)
    return _judge(windows, value, SLOWEST_BPM, FASTEST_BPM, _FASTEST_CHANGE)


def _judge(windows: Windows, value: FloatArray, low: float, high: float, largest: float) -> Table:
    outside = ~((value >= low) & (value <= high))
    inside = np.clip(np.nan_to_num(value, nan=low), low, high)
    ratio = np.abs(np.diff(np.log(inside), prepend=np.log(inside[:, :1]))) > np.log(largest)
    parts = {
        "range": ramp(windows.mean(outside), 0.3, 0.05),
        "continuity": ramp(windows.mean(ratio), 0.4, 0.1),
    }
    absent = windows.mean(value <= 0) > 0.2  # a strap without contact reports 0
    return Table(parts, {"off_body": absent, "noise": np.minimum(parts["range"], parts["continuity"]) < 0.5})
