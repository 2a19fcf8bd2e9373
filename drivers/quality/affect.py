"""Affect: inside its scale, and alive."""

from __future__ import annotations

import numpy as np

from drivers.quality.windows import Table, Windows, ramp

WINDOW_S, SHORTEST_S = 10.0, 4.0
_END = 1.0


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; an estimator that has lost the face sticks or sits at the end of its scale."""
    size = np.abs(windows.values).max(axis=2)
    outside = ~(size <= _END + 1e-6)
    parts = {
        "range": ramp(windows.mean(outside), 0.2, 0.02),
        "saturated": ramp(windows.mean((size >= _END - 1e-6) & ~outside), 0.8, 0.4),
        "flat": ramp(windows.mean(windows.stuck(3.0)), 0.7, 0.3),
    }
    flags = {name: parts[name] < 0.5 for name in ("saturated", "flat")}
    flags["off_body"] = parts["range"] < 0.5
    return Table(parts, flags)
