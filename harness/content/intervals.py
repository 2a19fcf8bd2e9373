"""RR intervals as a strap reports them, against beats that another stream shows: which interval ends at which beat.

A report carries the intervals that ended since the one before, so its arrival says when a beat was to within a second
only. The intervals themselves are exact: their sequence fits the other stream's beats at one place, if the heart
varies. Lost and doubled reports shift the sequence, so it is compared in pieces of a few beats.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from drivers.types import FloatArray, IntArray
from harness.content.alignment import CLEAR, Alignment, refuse

REPORT_S = 1.0
"""A strap reports about once a second; others collect for longer, which their stamps show."""
_BLUR_MS = 15.0
"""Standard deviation with which an interval is expected to differ, by the rounding and by either detector."""
_PIECE = 11
"""Intervals that are compared together."""
_FEWEST = 8
_ALONE = 7.0
"""Delays that spread evenly leave no gap of so many times their mean distance (once in a thousand): what is beyond one
was matched to a wrong beat, next to a lost or doubled report."""
_MOST = 0.95
"""Share of the delays that the largest is taken of: a report that was held up on its way is no later beat."""
_MARGIN, _HALF = 0.15, 0.5
_PROMPT_S = 0.05
"""Reports whose last beat is always so equally far behind are sent because of that beat."""
_SLACK_S = 0.2
"""So much the way of a report may vary."""
_SURE = 0.7
"""Of the intervals, so many must fit their beat: where many are wrong, some fit by chance."""
_TOLD = 0.7
"""Of the time, so much must the intervals add up to."""
_SHIFTS, _CHANGE = 12, 2.0
"""Beats either way that are tried, and how many intervals must fit better for a change of shift."""


def align_intervals(
    a_s: FloatArray, rr_ms: FloatArray, times_s: FloatArray, report_s: float | None = None, reach_s: float = 3.0
) -> Alignment:
    """Lag of the arrival stamps times_s (m,) of RR intervals (m,), in order, against the beats a_s (n,) that end them.

    An interval is stamped when its report arrives, up to ``report_s`` after its beat. So the lag lies between the
    earliest one and the latest less ``report_s``, which are far apart where the heart beats in step with the reports;
    unless each report is as far behind its last beat as the others, since then it is that beat that sends it.
    Of drift a minute of such stamps says nothing. Without ``report_s`` it is what usually lies between two stamps,
    and no less than a second.
    """
    report_s = _report_s(times_s) if report_s is None else report_s
    few = min(len(a_s) - 1, len(rr_ms))
    if few < _FEWEST:
        return refuse(f"only {max(few, 0)} RR intervals and beats go together, {_FEWEST} are needed", max(few, 0))
    told = float(np.sum(rr_ms)) / 1e3 / max(float(np.ptp(times_s)), 1.0)
    if not _TOLD <= told <= 1 / _TOLD:
        return refuse(f"the RR intervals add up to {100 * told:.0f} % of the time: many are lost or wrong", few)
    alike, likeness, late_s = _compared(a_s, np.asarray(rr_ms, dtype=np.float64), np.asarray(times_s, dtype=np.float64))
    possible = (late_s >= -reach_s) & (late_s <= reach_s + report_s)
    meets = possible.any(axis=1)  # there are beats at that time at all
    alike, likeness = (np.where(possible, each, 0.0)[meets] for each in (alike, likeness))
    late_s = late_s[meets]
    if len(likeness) < _FEWEST:
        return refuse(f"only {len(likeness)} RR intervals came while there were beats, {_FEWEST} are needed", 0)
    numbers, best = np.arange(len(alike)), _steady_path(alike)
    top = likeness[numbers, best]
    likeness[numbers, best] = 0.0
    next_best = likeness.max(axis=1)
    ratio = float(np.median(top) / max(float(np.median(next_best)), 1e-3))
    if np.median(top) < _HALF:
        return refuse(f"the RR intervals fit the beats at no lag within {reach_s:g} s", few, ratio)
    if ratio < CLEAR or np.median(top - next_best) < _MARGIN:
        return refuse(
            f"ambiguous by whole beats: intervals that hardly vary fit anywhere (peak to side lobe {ratio:.2f}, "
            f"{CLEAR:g} needed); take a longer stretch, or let the person breathe deeply, stand up or move", few, ratio,
        )  # fmt: skip
    sure = (top >= _HALF) & (alike[numbers, best] >= _HALF) & np.isfinite(late_s[numbers, best])
    if sure.sum() < _SURE * len(sure):
        return refuse(
            f"only {sure.sum()} of {len(sure)} RR intervals have a beat that they fit: many are lost or wrong",
            int(sure.sum()), ratio,
        )  # fmt: skip
    late_s = late_s[numbers, best]
    prompt = late_s[sure & np.append(np.diff(times_s[meets]) > 0, True)]
    if len(prompt) >= _FEWEST and float(np.quantile(prompt, _MOST) - prompt.min()) < _PROMPT_S:
        floor_ms = 1e3 * float(prompt.min())  # whoever waits for a clock would not meet each beat alike
        return Alignment(floor_ms, floor_ms - 1e3 * _PROMPT_S, floor_ms + 1.0, len(prompt), ratio)
    return _earliest(late_s[sure], report_s, ratio)


def _report_s(times_s: FloatArray) -> float:
    between_s = np.diff(np.unique(times_s))
    return max(REPORT_S, float(np.median(between_s))) if len(between_s) else REPORT_S


def _compared(a_s: FloatArray, rr_ms: FloatArray, times_s: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """At every shift of their numbers: how alike each interval is to that of the beats, how alike those around it are,
    and how much later than the beat its stamp would then be; (m, shifts) each."""
    own_ms = 1e3 * np.diff(a_s)
    first = np.searchsorted(a_s, times_s) - np.arange(len(rr_ms))
    shifts = np.arange(int(first.min()) - _SHIFTS, int(first.max()) + _SHIFTS + 1)
    beat = np.arange(len(rr_ms))[:, None] + shifts
    there = (beat >= 1) & (beat < len(a_s))
    inside = np.clip(beat, 1, len(a_s) - 1)
    alike = np.where(there, np.exp(-0.5 * ((own_ms[inside - 1] - rr_ms[:, None]) / _BLUR_MS) ** 2), 0.0)
    fits = ndimage.uniform_filter1d(alike, _PIECE, axis=0, mode="constant")
    count = ndimage.uniform_filter1d(there.astype(np.float64), _PIECE, axis=0, mode="constant")
    share = np.where(there & (count >= _HALF), fits / np.maximum(count, _HALF), 0.0)
    return alike, share, np.where(there, times_s[:, None] - a_s[inside], np.inf)


def _steady_path(alike: FloatArray) -> IntArray:
    """(m,) the shift of each interval with which most of them fit, where every change of shift must pay for itself."""
    total, came = alike[0].copy(), np.zeros(alike.shape, dtype=np.int64)
    stay = np.arange(alike.shape[1])
    for row in range(1, len(alike)):
        leader = int(np.argmax(total))
        came[row] = np.where(total >= total[leader] - _CHANGE, stay, leader)
        total = np.maximum(total, total[leader] - _CHANGE) + alike[row]
    path = np.empty(len(alike), dtype=np.int64)
    path[-1] = int(np.argmax(total))
    for row in range(len(alike) - 1, 0, -1):
        path[row - 1] = came[row, path[row]]
    return path


def _earliest(late_s: FloatArray, report_s: float, ratio: float) -> Alignment:
    """What delays (n,) that lie within one report say of the link's part, but for the odd one that is wrong.

    It is no more than the smallest of them, and no less than the largest less a report. The two meet only if beats
    fall everywhere between two reports: a heart that beats once a second falls in step with a strap that reports once
    a second, and then they leave as much open as they should.
    """
    late_s = np.sort(late_s)
    few = len(late_s) // 4
    alone = np.flatnonzero(np.diff(late_s[: few + 1]) > report_s * _ALONE / max(len(late_s), 1))
    late_s = late_s[alone[-1] + 1 :] if len(alone) else late_s
    n = len(late_s)
    if n < _FEWEST:
        return refuse(f"only {n} RR intervals have one beat that they fit, {_FEWEST} are needed", n, ratio)
    floor_s = float(late_s[0])
    most_s = float(np.quantile(late_s, _MOST))
    if most_s - floor_s > report_s + _SLACK_S:
        return refuse(
            f"the RR intervals' reports would be {1e3 * floor_s:.0f} to {1e3 * most_s:.0f} ms behind their beats, and "
            f"should lie within {1e3 * report_s:.0f} ms: reports were held up, or intervals are wrong", n, ratio,
        )  # fmt: skip
    room_s = max(report_s * (1 - 0.05 ** (1 / n)), floor_s - (most_s - report_s))
    middle_s = floor_s - max(floor_s - (most_s - report_s), 0.0) / 2
    return Alignment(1e3 * middle_s, 1e3 * (floor_s - room_s), 1e3 * floor_s + 1.0, n, ratio)
