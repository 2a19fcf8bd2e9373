"""Affect: inside its scale, alive, and without leaps."""

from __future__ import annotations

import numpy as np

from drivers.quality.rows import Mask
from drivers.quality.windows import Table, Windows, ramp

WINDOW_S, SHORTEST_S = 10.0, 4.0
_SCALE = (-1.0, 1.0)
"""Where the profile states no ends."""
_LEAP = 0.2
"""Of the scale, from one value to the next: feelings do not change so fast."""


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; an estimator that has lost the face sticks, leaps, or sits at its scale's end.

    ``leaps`` adds up by how much the steps of a window exceed a fifth of the scale, in scales.
    """
    spec = windows.spec
    low = spec.low if spec.low is not None else _SCALE[0]
    high = spec.high if spec.high is not None else _SCALE[1]
    place = (windows.values - low) / (high - low)
    near = 0.25 * (spec.lsb or 0.0) / (high - low) + 1e-6
    outside: Mask = ~np.all((place >= -near) & (place <= 1 + near), axis=2)
    at_end: Mask = np.any((place <= near) | (place >= 1 - near), axis=2) & ~outside
    leaps = np.maximum(np.abs(np.diff(np.clip(place, 0, 1), axis=1)) - _LEAP, 0.0).sum(axis=1).max(axis=1)
    parts = {
        "range": ramp(windows.mean(outside), 0.2, 0.02),
        "saturated": ramp(windows.mean(at_end), 0.8, 0.4),
        "flat": ramp(windows.stuck(3.0), 0.7, 0.3),
        "leaps": ramp(leaps, 2.0, 0.4),
    }
    flags = {name: parts[name] < 0.5 for name in ("saturated", "flat")}
    return Table(parts, {**flags, "off_body": parts["range"] < 0.5, "pop": parts["leaps"] < 0.5})
