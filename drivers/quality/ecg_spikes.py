"""Spikes on an ECG lead: samples that stand out alone. A pacemaker's are part of the ECG, others are not."""

from __future__ import annotations

import numpy as np

from drivers.quality.ecg_raw import RawLead
from drivers.quality.marks import Marks
from drivers.types import FloatArray, IntArray

_SPIKE_S = 0.0085
"""A spike is over within so much on either side; the tip of the narrowest QRS complex is not."""
_AROUND_S = 0.06
_HIGH, _STEEP, _ALONE = 0.5, 0.25, 0.7
"""Height and steepest step in usual seconds' ranges; height in the range of what is around."""
_SPIKES_PER_S = 0.25
_LOCKED_S, _LOCKED_SHARE = 0.02, 0.75


def reach_of(rate_hz: float) -> int:
    """Samples on either side of a spike that are its own; below 240 Hz one cannot be told from a QRS complex."""
    reach = int(_SPIKE_S * rate_hz)
    return reach if reach >= 2 else 0


def spikes(raw: RawLead) -> Marks:
    """Tips of the spikes."""
    lead, reach = raw.values, reach_of(raw.rate_hz)
    rows, count = lead.shape
    none = Marks(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), rows)
    if not reach or count < 4 * reach:
        return none
    usual = raw.ranges[:, raw.ranges.shape[1] // 2]
    steep = np.flatnonzero(raw.step > np.where(usual > 0, _STEEP * usual, np.inf)[:, None])
    if not len(steep):
        return none
    near = np.unique((steep[:, None] + np.arange(-reach, reach)).ravel())
    row, place = np.divmod(near[(near >= 0) & (near < lead.size)], count)
    inside = (place >= reach) & (place < count - reach)
    row, place = row[inside], place[inside]
    here = lead[row, place]
    before, after = here - lead[row, place - reach], here - lead[row, place + reach]
    height = np.where(before * after > 0, np.minimum(np.abs(before), np.abs(after)), 0.0)
    high = height > _HIGH * usual[row]
    row, place, height = row[high], place[high], height[high]
    around = round(_AROUND_S * raw.rate_hz)
    beside = lead[row[:, None], np.clip(place[:, None] + np.arange(-around, around + 1), 0, count - 1)]
    alone = height > _ALONE * np.ptp(beside, axis=1)
    return _tallest(Marks(row[alone], place[alone], rows), height[alone], 2 * reach)


def _tallest(marks: Marks, height: FloatArray, apart: int) -> Marks:
    """Of each group of neighbours nearer than ``apart`` samples the tallest."""
    if not len(marks):
        return marks
    new = np.concatenate([[True], (np.diff(marks.place) > apart) | (np.diff(marks.row) > 0)])
    group = np.cumsum(new) - 1
    order = np.lexsort((marks.place, -height, group))
    first = order[np.searchsorted(group[order], np.arange(group[-1] + 1))]
    return Marks(marks.row[first], marks.place[first], marks.rows)


def without(lead: FloatArray, marks: Marks, reach: int) -> FloatArray:
    """The lead (w, n) with straight lines in place of the spikes."""
    if not len(marks):
        return lead
    lead, count = lead.copy(), lead.shape[1]
    left, right = np.maximum(marks.place - reach, 0), np.minimum(marks.place + reach, count - 1)
    share = np.arange(2 * reach + 1) / (2 * reach)
    a, b = lead[marks.row, left][:, None], lead[marks.row, right][:, None]
    lead[marks.row[:, None], np.minimum(left[:, None] + np.arange(2 * reach + 1), count - 1)] = a + (b - a) * share
    return lead


def unlocked(lead: FloatArray, marks: Marks, beats: Marks, thinned: int, rate_hz: float) -> FloatArray:
    """Height of the window's larger spikes (one in four seconds is taller), (w,); 0 where a pacemaker makes them.

    Its spikes keep their distance to the next beat. ``beats`` are places in means of ``thinned`` samples.
    """
    (rows, count), reach = lead.shape, reach_of(rate_hz)
    height, rank = np.zeros(rows), round(_SPIKES_PER_S * count / rate_hz)
    for row in np.unique(marks.row).tolist():
        here = marks.place[marks.row == row]
        heart = beats.place[beats.row == row] * thinned + count % thinned
        tall = np.sort(np.abs(lead[row, here] - lead[row, np.maximum(here - reach, 0)]))[::-1]
        if len(tall) > rank and not _paced(here, heart, rate_hz):
            height[row] = tall[rank]
    return height


def _paced(marks: IntArray, beats: IntArray, rate_hz: float) -> bool:
    """Whether most spikes (k,) have company at the same distance before a beat (m,), both in samples of the stream."""
    if len(beats) < 2 or len(marks) < 3:
        return False
    after = np.searchsorted(beats, marks - _LOCKED_S * rate_hz)
    known = after < len(beats)
    distance = np.sort((beats[np.minimum(after, len(beats) - 1)] - marks)[known])
    if len(distance) < 3:
        return False
    near = np.diff(distance) <= 0.5 * _LOCKED_S * rate_hz
    company = np.concatenate([[False], near]) | np.concatenate([near, [False]])
    return bool(company.mean() >= _LOCKED_SHARE)
