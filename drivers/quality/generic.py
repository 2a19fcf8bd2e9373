"""Inputs that may carry anything: only what no signal should do is judged, and hum is named but not held against it."""

from __future__ import annotations

import numpy as np

from drivers.quality.mains import line_rms
from drivers.quality.rows import Mask
from drivers.quality.runs import Runs
from drivers.quality.windows import Table, Windows, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 10.0, 2.0
_STUCK_S = 0.5


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst channel counts."""
    channels = list(windows.channels())
    parts = {
        "flat": ramp(np.max([_still(windows, channel) for channel in channels], axis=0), 0.45, 0.1),
        "saturated": ramp(windows.mean(windows.railed() | windows.clipped()), 0.1, 0.01),
    }
    flags = {name: parts[name] < 0.5 for name in parts}
    flags["hum"] = np.any([_hum(windows, channel) for channel in channels], axis=0)
    return Table(parts, flags)


def _still(windows: Windows, channel: FloatArray) -> FloatArray:
    """Share of each row in which the channel does not change for half a second or more, (w,)."""
    return Runs.of(windows.unchanged(channel)).longer(max(2, round(_STUCK_S * windows.rate_hz)) - 1).share()


def _hum(windows: Windows, channel: FloatArray) -> Mask:
    """Whether the mains make up most of what moves within a second, (w,) of (w, n)."""
    swing = windows.swing(channel)
    return np.asarray((2 * np.sqrt(2) * line_rms(windows, channel) > 0.5 * swing) & (swing > 0))
