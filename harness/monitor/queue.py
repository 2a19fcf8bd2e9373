"""How deep the inbox was, and whether it keeps growing: then the consumer cannot keep up, however long it runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from drivers.types import FloatArray
from harness.monitor.resources import Resources

_FEWEST = 6
"""Rows below which nothing is said of a trend."""
_BLOCKS = 200
"""The slope is by all pairs of points: more rows are put together."""
_GROWN = 20.0
"""Items: what a single late window leaves in the inbox is no trend."""


@dataclass(frozen=True, slots=True)
class QueueGrowth:
    """The inbox over a run."""

    most: int
    per_minute: float
    """Slope by Theil and Sen, with a 95 % interval; 0 where there are too few rows."""
    low: float
    high: float
    growing: bool

    @property
    def said(self) -> str:
        """A phrase where it grows, else nothing."""
        if not self.growing:
            return ""
        return f"the inbox grows by {self.per_minute:.0f} items a minute: the consumer takes less than what arrives"


def queue_growth(resources: Resources) -> QueueGrowth:
    """Of the column inbox_depth. Growing: the slope's interval is above 0, and by the end it has come to something."""
    depth = resources.column("inbox_depth")
    known = np.isfinite(depth)
    depth, minutes = depth[known], (resources.at_ns[known] - resources.at_ns[known][:1]) / 60e9
    most = int(depth.max()) if len(depth) else 0
    if len(depth) < _FEWEST or most == 0:
        return QueueGrowth(most, 0.0, 0.0, 0.0, False)
    depth, minutes = _blocks(depth), _blocks(minutes)
    slope, _, low, high = (float(value) for value in stats.theilslopes(depth, minutes, 0.95))
    part = max(1, len(depth) // 5)
    begun, ended = float(np.median(depth[:part])), float(np.median(depth[-part:]))
    growing = low > 0 and slope * float(minutes[-1]) >= _GROWN and ended >= 2 * begun + 1
    return QueueGrowth(most, slope, low, high, growing)


def _blocks(values: FloatArray) -> FloatArray:
    """Medians of at most _BLOCKS consecutive parts."""
    parts = np.array_split(values, min(_BLOCKS, len(values)))
    return np.array([np.median(part) for part in parts])
