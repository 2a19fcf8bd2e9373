"""Drift from content: the lag of window after window of a long record, and a robust line through them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.content.alignment import Alignment, Part, line, location, refuse

_FEWEST = 4
"""Windows that tell a drift."""
_SURE, _EVEN_S, _APART_S = 3.0, 1e-3, 20e-3
"""Halves of its own interval, and seconds, by which a window lies surely off the line; and that are worth a word."""


def over_windows(
    align: Callable[[float, float], Alignment], start_s: float, stop_s: float, window_s: float = 30.0, most: int = 40
) -> Alignment:
    """The lag at the middle of a long record, and how it drifts, from ``align(from_s, to_s)`` of windows.

    They lie side by side, or evenly spread where there would be more than ``most``. Refused windows are left out; if
    more than half are, or fewer than four stand, the whole is refused. Within a window the lag may grow by a few tens
    of ms (1000 ppm over 30 s) without harm. Windows that lie surely off the line are named as parts, and if the lag
    jumps or swings no drift is stated.
    """
    count = max(1, round((stop_s - start_s) / window_s))
    length_s = (stop_s - start_s) / count
    starts = np.linspace(start_s, stop_s - length_s, min(count, most))
    count = len(starts)
    found = [align(at_s, at_s + length_s) for at_s in starts.tolist()]
    good = [n for n, each in enumerate(found) if each.refused is None and np.isfinite(each.half_ms)]
    if len(good) < _FEWEST or 2 * len(good) <= count:
        said = next((each for each in found if each.refused), found[0])
        return refuse(f"{count - len(good)} of {count} windows were refused: {said.refused}", len(good),
                      still=said.still)  # fmt: skip
    middle = (start_s + stop_s) / 2
    away = starts[good] + length_s / 2 - middle
    lags_s, halves_s = (np.array([getattr(found[n], name) for n in good]) / 1e3 for name in ("lag_ms", "half_ms"))
    slope, half = line(away - away.mean(), lags_s)
    centre, spread = location(lags_s - slope * away)
    reach = spread + (half * abs(float(away.mean())) if away.mean() else 0.0)
    off_s = np.abs(lags_s - centre - slope * away)
    parts = [part for n in good for part in found[n].parts]
    for n in np.array(good)[off_s > np.maximum(_SURE * halves_s, _APART_S)].tolist():
        each = found[n]
        parts.append(Part(float(starts[n]), float(starts[n]) + length_s, each.lag_ms, each.low_ms, each.high_ms))
    if (off_s > np.maximum(_SURE * halves_s, _EVEN_S)).any():
        half = np.inf
    return Alignment(
        1e3 * centre, 1e3 * (centre - reach), 1e3 * (centre + reach), sum(found[n].n for n in good),
        float(np.median([found[n].ratio for n in good])),
        1e6 * slope, 1e6 * (slope - half), 1e6 * (slope + half), parts=tuple(parts),
    )  # fmt: skip
