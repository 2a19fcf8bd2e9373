"""RR intervals as a strap reports them, against beats that another stream shows: which interval ends at which beat.

A report carries the intervals that ended since the one before, so its arrival says when a beat was to within a second
only. The intervals themselves are exact: their sequence fits the other stream's beats at one place, if the heart
varies. Lost and doubled reports shift the sequence, so it is compared in pieces of a few beats.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from drivers.types import FloatArray
from harness.content.alignment import CLEAR, Alignment, refuse

REPORT_S = 1.0
"""A strap reports about once a second."""
_BLUR_MS = 15.0
"""Standard deviation with which an interval is expected to differ, by the rounding and by either detector."""
_PIECE = 11
"""Intervals that are compared together."""
_FEWEST = 8
_ALONE = 7.0
"""Delays that spread evenly leave no gap of so many times their mean distance (once in a thousand): what is beyond one
was matched to a wrong beat, next to a lost or doubled report."""
_MARGIN = 0.15


def align_intervals(
    a_s: FloatArray, rr_ms: FloatArray, times_s: FloatArray, report_s: float = REPORT_S, reach_s: float = 3.0
) -> Alignment:
    """Lag of the arrival stamps times_s (m,) of RR intervals (m,), in order, against the beats a_s (n,) that end them.

    An interval is stamped when its report arrives, up to ``report_s`` after its beat. So the lag is that of the
    earliest ones, and its interval allows for reports none of which came right behind a beat. Of drift a minute of
    such stamps says nothing.
    """
    few = min(len(a_s) - 1, len(rr_ms))
    if few < _FEWEST:
        return refuse(f"only {max(few, 0)} RR intervals and beats go together, {_FEWEST} are needed", max(few, 0))
    likeness, late_s = _compared(a_s, np.asarray(rr_ms, dtype=np.float64), np.asarray(times_s, dtype=np.float64))
    possible = (late_s >= -reach_s) & (late_s <= reach_s + report_s)
    likeness = np.where(possible, likeness, 0.0)
    meets = possible.any(axis=1)  # there are beats at that time at all
    likeness, late_s = likeness[meets], late_s[meets]
    if len(likeness) < _FEWEST:
        return refuse(f"only {len(likeness)} RR intervals came while there were beats, {_FEWEST} are needed", 0)
    numbers = np.arange(len(likeness))
    best = np.argmax(likeness, axis=1)
    top = likeness[numbers, best]
    likeness[numbers, best] = 0.0
    next_best = likeness.max(axis=1)
    ratio = float(np.median(top) / max(float(np.median(next_best)), 1e-3))
    if np.median(top) < 0.5:
        return refuse(f"the RR intervals fit the beats at no lag within {reach_s:g} s", few, ratio)
    if ratio < CLEAR or np.median(top - next_best) < _MARGIN:
        return refuse(
            f"ambiguous by whole beats: intervals that hardly vary fit anywhere (peak to side lobe {ratio:.2f}, "
            f"{CLEAR:g} needed); take a longer stretch, or let the person breathe deeply, stand up or move", few, ratio,
        )  # fmt: skip
    sure = (top >= 0.5) & (top - next_best >= _MARGIN)
    return _earliest(late_s[numbers, best][sure], report_s, ratio)


def _compared(a_s: FloatArray, rr_ms: FloatArray, times_s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """How alike the intervals around each one are to those of the beats, at every shift of their numbers, and how much
    later than the beat its stamp would then be: both (m, shifts)."""
    own_ms = 1e3 * np.diff(a_s)
    first = np.searchsorted(a_s, times_s) - np.arange(len(rr_ms))
    shifts = np.arange(int(first.min()) - 12, int(first.max()) + 13)
    beat = np.arange(len(rr_ms))[:, None] + shifts
    there = (beat >= 1) & (beat < len(a_s))
    inside = np.clip(beat, 1, len(a_s) - 1)
    alike = np.where(there, np.exp(-0.5 * ((own_ms[inside - 1] - rr_ms[:, None]) / _BLUR_MS) ** 2), 0.0)
    fits = ndimage.uniform_filter1d(alike, _PIECE, axis=0, mode="constant")
    count = ndimage.uniform_filter1d(there.astype(np.float64), _PIECE, axis=0, mode="constant")
    share = np.where(there & (count >= 0.5), fits / np.maximum(count, 0.5), 0.0)
    return share, np.where(there, times_s[:, None] - a_s[inside], np.inf)


def _earliest(late_s: FloatArray, report_s: float, ratio: float) -> Alignment:
    """The floor of delays (n,) that spread over report_s, but for the odd one that is wrong."""
    late_s = np.sort(late_s)
    few = len(late_s) // 4
    alone = np.flatnonzero(np.diff(late_s[: few + 1]) > report_s * _ALONE / max(len(late_s), 1))
    late_s = late_s[alone[-1] + 1 :] if len(alone) else late_s
    n = len(late_s)
    if n < _FEWEST:
        return refuse(f"only {n} RR intervals have one beat that they fit, {_FEWEST} are needed", n, ratio)
    floor_s = float(late_s[0])
    room_s = report_s * (1 - 0.05 ** (1 / n))
    return Alignment(1e3 * floor_s, 1e3 * (floor_s - room_s), 1e3 * floor_s + 1.0, n, ratio)
