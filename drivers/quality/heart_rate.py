"""Heart rate and RR intervals: values that a heart can have, one following from the other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from drivers.quality.rows import unchanged
from drivers.quality.runs import Runs
from drivers.quality.windows import Table, Windows, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 10.0, 4.0
SLOWEST_BPM, FASTEST_BPM = 25.0, 240.0
SHORTEST_MS, LONGEST_MS = 250.0, 2400.0
_MS = {"ms": 1.0, "s": 1000.0}


class _Kind(NamedTuple):
    low: float
    high: float
    usual: float
    """Ratio of two consecutive values that hearts reach."""
    erratic: tuple[float, float]
    """(bad, good): by how much the logarithms of a window's ratios exceed that in all."""
    stuck: int
    """Equal values in a row that are repeated, and not measured."""
    fine: float
    """Step up to which equal values mean that."""


_RATE = _Kind(SLOWEST_BPM, FASTEST_BPM, 1.15, (1.0, 0.2), 8, 0.25)
"""A mean of several beats; 60, 120 and 60 again add up to 1.1. Whole beats a minute may well stay the same."""
_INTERVALS = _Kind(SHORTEST_MS, LONGEST_MS, 1.5, (1.6, 0.4), 4, 4.0)
"""An early beat with its pause adds 0.2, a missed beat 0.6 and a beat too many 0.7."""


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; kinds ``heart_rate`` (beats a minute) and ``rr`` (a time)."""
    value = np.ascontiguousarray(windows.values[:, :, 0])
    if windows.spec.kind == "rr":
        unit = _MS.get(windows.spec.unit, 1.0)
        return _judge(windows, value * unit, _INTERVALS, windows.step() * unit)
    step = np.full(len(value), windows.spec.lsb or np.inf)  # of a rate that rests nobody knows the step
    return _judge(windows, value, _RATE, step)


def _judge(windows: Windows, value: FloatArray, kind: _Kind, step: FloatArray) -> Table:
    outside = ~((value >= kind.low) & (value <= kind.high))
    inside = np.log(np.clip(value, kind.low, kind.high))
    change = np.abs(np.diff(inside, axis=1))
    erratic = np.maximum(change - np.log(kind.usual), 0.0).sum(axis=1)
    repeated = Runs.of(unchanged(value)).longer(kind.stuck - 1).share()
    parts = {
        "range": ramp(windows.mean(outside), 0.3, 0.05),
        "continuity": ramp(erratic, *kind.erratic),
        "flat": ramp(np.where(step <= kind.fine, repeated, 0.0), 0.7, 0.3),
    }
    absent = windows.mean(value <= 0) > 0.2  # a strap without contact reports 0
    noise = np.minimum(parts["range"], parts["continuity"]) < 0.5
    return Table(parts, {"off_body": absent, "noise": noise, "flat": parts["flat"] < 0.5})
