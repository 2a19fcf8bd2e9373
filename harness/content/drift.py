"""Drift from content: the lag of window after window of a long record, and a robust line through them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from harness.content.alignment import Alignment, line, location, refuse

_FEWEST = 4
"""Windows that tell a drift."""


def over_windows(
    align: Callable[[float, float], Alignment], start_s: float, stop_s: float, window_s: float = 30.0
) -> Alignment:
    """The lag at the middle of a long record, and how it drifts, from ``align(from_s, to_s)`` of windows side by side.

    Refused windows are left out; if more than half are, or fewer than four stand, the whole is refused. Within a
    window the lag may grow by a few tens of ms (1000 ppm over 30 s) without harm.
    """
    count = max(1, round((stop_s - start_s) / window_s))
    edges = np.linspace(start_s, stop_s, count + 1)
    found = [align(a, b) for a, b in pairwise(edges.tolist())]
    good = [n for n, each in enumerate(found) if each.refused is None and np.isfinite(each.half_ms)]
    if len(good) < _FEWEST or 2 * len(good) <= count:
        said = next((each.refused for each in found if each.refused), "")
        return refuse(f"{count - len(good)} of {count} windows were refused: {said}", len(good))
    middle = (start_s + stop_s) / 2
    away = (edges[:-1] + edges[1:])[good] / 2 - middle
    lags_s = np.array([found[n].lag_ms for n in good]) / 1e3
    slope, half = line(away - away.mean(), lags_s)
    centre, spread = location(lags_s - slope * away)
    reach = spread + (half * abs(float(away.mean())) if away.mean() else 0.0)
    return Alignment(
        1e3 * centre, 1e3 * (centre - reach), 1e3 * (centre + reach), sum(found[n].n for n in good),
        float(np.median([found[n].ratio for n in good])),
        1e6 * slope, 1e6 * (slope - half), 1e6 * (slope + half),
    )  # fmt: skip
