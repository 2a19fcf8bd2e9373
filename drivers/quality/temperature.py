"""Skin temperature: 25 to 40 degrees Celsius, changing no faster than skin can."""

from __future__ import annotations

from drivers.quality.windows import Table, Windows, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 10.0, 4.0
LOWEST_C, HIGHEST_C = 25.0, 40.0
FASTEST_C_PER_S = 0.5
_SENSOR_NOISE_C = 0.005
_CELSIUS = frozenset({"C", "degC", "°C"})


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst channel counts."""
    return Table.worst(_channel(windows, channel) for channel in windows.channels())


def _channel(windows: Windows, celsius: FloatArray) -> Table:
    known = windows.spec.unit in _CELSIUS
    off = ((celsius < LOWEST_C) | (celsius > HIGHEST_C)) & known
    # Over a second, so that the noise of a fast thermometer is no change.
    change = windows.since(celsius, 1.0)
    parts = {
        "range": ramp(windows.mean(off), 0.3, 0.05),
        "rate": ramp(windows.mean((change > FASTEST_C_PER_S) & known), 0.15, 0.02),
        "flat": ramp(windows.held(_SENSOR_NOISE_C), 0.55, 0.15),
        "saturated": ramp(windows.mean(windows.railed()), 0.3, 0.02),
    }
    flags = {
        "off_body": parts["range"] < 0.5,
        "motion": parts["rate"] < 0.5,
        "flat": parts["flat"] < 0.5,
        "saturated": parts["saturated"] < 0.5,
    }
    return Table(parts, flags)
