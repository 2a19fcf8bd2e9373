"""Skin temperature: 25 to 40 degrees Celsius, changing no faster than skin can, and neither noisy nor stuck.

The window is long because temperature is slow: a thermometer with steps of 0.01 degrees on calm skin repeats its value
for more than ten seconds, and only what lasts longer is stuck.
"""

from __future__ import annotations

import numpy as np

from drivers.quality.rows import Mask, means, white_noise
from drivers.quality.stillness import Rest, stuck
from drivers.quality.windows import Table, Windows, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 30.0, 4.0
LOWEST_C, HIGHEST_C = 25.0, 40.0
FASTEST_C_PER_S = 0.5
_REST = Rest(step=0.01, seconds=30.0)
_CELSIUS = frozenset({"C", "degC", "°C"})


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst channel counts."""
    railed = windows.railed()
    return Table.worst(_channel(windows, channel, railed) for channel in windows.channels())


def _channel(windows: Windows, celsius: FloatArray, railed: Mask) -> Table:
    known = windows.spec.unit in _CELSIUS
    off = ((celsius < LOWEST_C) | (celsius > HIGHEST_C)) & known
    seconds, hz = means(celsius, windows.rate_hz, 1.0)
    fast = (np.abs(np.diff(seconds, axis=1)) * hz > FASTEST_C_PER_S) & known
    parts = {
        "range": ramp(windows.mean(off), 0.3, 0.05),
        "rate": ramp(windows.mean(fast), 0.15, 0.02),
        "noise": ramp(white_noise(means(celsius, windows.rate_hz, 0.25)[0]) * known, 0.3, 0.05),
        "flat": ramp(stuck(windows, celsius, _REST, railed), 0.5, 0.1),
        "saturated": ramp(windows.mean(railed), 0.3, 0.02),
    }
    flags = {name: parts[name] < 0.5 for name in ("flat", "saturated", "noise")}
    return Table(parts, {**flags, "off_body": parts["range"] < 0.5, "motion": parts["rate"] < 0.5})
