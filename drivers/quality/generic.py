"""Inputs that may carry anything: only what no signal should do is judged, and hum is named but not held against it."""

from __future__ import annotations

import numpy as np

from drivers.quality.windows import Table, Windows, line_rms, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 10.0, 2.0


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst channel counts."""
    parts = {
        "flat": ramp(windows.mean(windows.stuck(0.5)), 0.45, 0.1),
        "saturated": ramp(windows.mean(windows.railed() | windows.clipped()), 0.1, 0.01),
    }
    flags = {name: parts[name] < 0.5 for name in parts}
    flags["hum"] = np.any([_hum(windows, channel) for channel in windows.channels()], axis=0)
    return Table(parts, flags)


def _hum(windows: Windows, channel: FloatArray) -> np.typing.NDArray[np.bool_]:
    """The mains make up most of what moves within a second."""
    line = line_rms(windows, channel)
    return np.asarray((2 * np.sqrt(2) * line > 0.5 * windows.swing(channel)) & (line > 0))
