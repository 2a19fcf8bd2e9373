"""Respiration: is the movement concentrated where people breathe, 4 to 45 breaths a minute?"""

from __future__ import annotations

import numpy as np

from drivers.quality.beats import bandpass
from drivers.quality.windows import Table, Windows, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 20.0, 10.0
_BREATH_HZ = (0.07, 0.75)


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst channel counts."""
    return Table.worst(_channel(windows, channel) for channel in windows.channels())


def _channel(windows: Windows, raw: FloatArray) -> Table:
    rate = windows.rate_hz
    breath = bandpass(raw, rate, *_BREATH_HZ)
    slow = bandpass(raw, rate, 0.0, _BREATH_HZ[0])
    swing = np.maximum(windows.rms(breath), 1e-12)
    fast = windows.rms(raw - bandpass(raw, rate, 0.0, _BREATH_HZ[1]))
    wander = np.sqrt(np.maximum(windows.mean(slow * slow) - windows.mean(slow) ** 2, 0))
    parts = {
        "flat": ramp(windows.mean(windows.stuck(3.0)), 0.45, 0.15),
        "saturated": np.minimum(ramp(windows.mean(windows.railed()), 0.12, 0.03), _unclipped(windows, raw)),
        "noise": ramp(fast / swing, 1.0, 0.4),
        "baseline": ramp(wander / swing, 5.0, 2.0),
    }
    flags = {name: parts[name] < 0.5 for name in ("flat", "saturated", "baseline")}
    flags["motion"] = (parts["noise"] < 0.5) & (parts["flat"] >= 0.5)
    return Table(parts, flags)


def _unclipped(windows: Windows, raw: FloatArray) -> FloatArray:
    """1 where breaths have no flat ends, (w,). A pause after breathing out is natural; flat at both ends is not."""
    ends = []
    for side in (raw, -raw):
        level = Windows(side[:, :, None], windows.rate_hz, windows.spec)
        ends.append(level.mean(level.clipped(reach_s=0.5, at_least_s=0.2, at_most_s=2.5, bottoms=False)))
    return ramp(np.minimum(*ends), 0.08, 0.02)
