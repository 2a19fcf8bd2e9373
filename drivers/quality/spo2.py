"""Oxygen saturation: values that a living person can have, changing no faster than blood can."""

from __future__ import annotations

from drivers.quality.windows import Table, Windows, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 10.0, 4.0
LOWEST_PERCENT, HIGHEST_PERCENT = 70.0, 100.0
"""ISO 80601-2-61 asks for accuracy from 70 % up; what an oximeter says below that is a guess."""
FASTEST_PERCENT_PER_S = 4.0
"""Breath-holding after exertion stays under 1 %/s, and averaging over a few beats makes steps of 2 or 3."""


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst channel counts."""
    return Table.worst(_channel(windows, channel) for channel in windows.channels())


def _channel(windows: Windows, percent: FloatArray) -> Table:
    outside = (percent < LOWEST_PERCENT) | (percent > HIGHEST_PERCENT)
    change = windows.since(percent, 1.0)
    parts = {
        "range": ramp(windows.mean(outside), 0.3, 0.05),
        "rate": ramp(windows.mean(change > FASTEST_PERCENT_PER_S), 0.3, 0.05),
    }
    absent = windows.mean(percent <= 0) > 0.2
    return Table(parts, {"off_body": absent | (parts["range"] < 0.5), "motion": parts["rate"] < 0.5})
