"""Acceleration: gravity is there, and nothing is stuck."""

from __future__ import annotations

import numpy as np

from drivers.quality.windows import Table, Windows, ramp

WINDOW_S, SHORTEST_S = 10.0, 2.0
_G = {"g": 1.0, "G": 1.0, "mg": 1e-3, "m/s2": 1 / 9.80665, "m/s^2": 1 / 9.80665}
_SENSOR_NOISE_G = 0.003


def assess(windows: Windows) -> Table:
    """Parts and flags for every window, from all axes together."""
    unit = _G.get(windows.spec.unit)
    stuck = windows.mean(windows.stuck(0.5))
    coarse = windows.step() > _SENSOR_NOISE_G / (unit or 1.0)
    stuck = np.where(coarse, stuck > 0.99, stuck)  # a coarse step hides small movement, but not for ten seconds
    parts = {"flat": ramp(stuck, 0.7, 0.2), "saturated": ramp(windows.mean(windows.railed()), 0.2, 0.02)}
    if unit is not None and windows.values.shape[2] == 3:
        norm = unit * np.sqrt((windows.values**2).sum(axis=2))
        parts["gravity"] = ramp(np.abs(windows.mean(norm) - 1.0), 0.5, 0.15)
    else:
        parts["gravity"] = np.ones(len(windows))
    flags = {name: parts[name] < 0.5 for name in ("flat", "saturated")}
    flags["off_body"] = (parts["gravity"] < 0.5) & (parts["flat"] >= 0.5)
    return Table(parts, flags)
