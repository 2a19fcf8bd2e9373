"""EDA: conductance that skin can have, moving no faster than sweat does (Kleckner 2018)."""

from __future__ import annotations

import numpy as np

from drivers.quality.windows import Table, Windows, ramp, siemens
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 10.0, 4.0
LOWEST_US, HIGHEST_US = 0.05, 60.0
STEEPEST_US_PER_S = 10.0
_SENSOR_NOISE_US = 0.002


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst channel counts."""
    return Table.worst(_channel(windows, channel) for channel in windows.channels())


def _channel(windows: Windows, raw: FloatArray) -> Table:
    unit = siemens(windows.spec)
    value = raw * (unit or 1.0)
    change = np.diff(value, prepend=value[:, :1])
    off = np.zeros(value.shape, dtype=bool) if unit is None else (value < LOWEST_US) | (value > HIGHEST_US)
    steep = np.abs(change) * windows.rate_hz > STEEPEST_US_PER_S if unit is not None else off
    # What turns back within a sample is no sweat: the second difference is free of level and slope.
    bend = windows.mean(np.abs(np.diff(change, prepend=change[:, :1]))) / 2
    level = np.maximum(windows.mean(np.abs(value)), 1e-9)
    jump = windows.largest(np.abs(change)) / np.maximum(0.15 * level, 0.3)
    stuck = windows.held(_SENSOR_NOISE_US / (unit or 1.0))
    parts = {
        "range": ramp(windows.mean(off), 0.3, 0.05),
        "slope": ramp(windows.mean(steep), 0.1, 0.01),
        "flat": ramp(stuck, 0.55, 0.15),
        "saturated": ramp(windows.mean(windows.railed()), 0.3, 0.02),
        "noise": ramp(bend / np.maximum(0.02 * level, 0.03), 2.0, 0.5),
        "jump": ramp(jump, 3.0, 1.0),
    }
    flags = {
        "off_body": parts["range"] < 0.5,
        "flat": parts["flat"] < 0.5,
        "saturated": parts["saturated"] < 0.5,
        "noise": (parts["noise"] < 0.5) & (parts["range"] >= 0.5),
        "motion": (np.minimum(parts["slope"], parts["jump"]) < 0.5) & (parts["range"] >= 0.5),
    }
    return Table(parts, flags)
