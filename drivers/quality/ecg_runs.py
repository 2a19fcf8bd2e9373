"""What the samples of an ECG lead say before any filter: runs of equal values, plateaus, steps and spikes.

Everything here works at the stream's own rate, on leads (w, n), one window a row; no measure mixes rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from drivers.quality.marks import Marks
from drivers.quality.windows import Windows, middle
from drivers.types import FloatArray, IntArray

_FLAT_S = 0.5
"""A lead never rests to the last bit for so long, unless its converter's step hides that it lives."""
_HELD_S = 0.08
_PLATEAU_S = (0.012, 0.09, 0.4)
"""Shortest; longest that needs no company; longest at all, if others lie at the same level."""
_COMPANY = 3
_NEAR_S = 0.6
_SPIKE_S = 0.0085
"""A spike is over within so much on either side; the tip of the narrowest QRS complex is not."""
_AROUND_S = 0.06
_QUANTA = 2.5
_USUAL = 0.4


@dataclass(frozen=True)
class Runs:
    """Stretches of equal samples of leads (w, n), each at least one sample long, in the order of the samples."""

    lead: FloatArray
    rate_hz: float
    step: FloatArray
    """(w, n) size of the step into each sample; 0 at a row's first."""
    begin: IntArray
    """(r,) first sample of each run, in the flattened leads."""
    length: IntArray
    """(r,) samples."""

    @classmethod
    def of(cls, windows: Windows, lead: FloatArray) -> Runs:
        """Runs of one channel (w, n)."""
        step = np.empty_like(lead)
        step[:, 0] = 0.0
        np.abs(np.subtract(lead[:, 1:], lead[:, :-1], out=step[:, 1:]), out=step[:, 1:])
        moved = step > 0.25 * (windows.spec.lsb or 0.0)
        moved[:, 0] = True
        begin = np.flatnonzero(moved)
        return cls(lead, windows.rate_hz, step, begin, np.diff(begin, append=lead.size))

    @cached_property
    def quantum(self) -> FloatArray:
        """Smallest step of each row, (w,): the converter's, where the lead is alive; 0 where nothing moves."""
        sizes = self.step.ravel()[self.begin]
        first = np.flatnonzero(self.begin % self.lead.shape[1] == 0)
        least = np.minimum.reduceat(np.where(sizes > 0, sizes, np.inf), first)
        return np.where(np.isfinite(least), least, 0.0)

    @cached_property
    def moved(self) -> FloatArray:
        """Share of each row's samples that differ from the one before, (w,)."""
        count = self.lead.shape[1]
        return np.asarray((np.bincount(self.begin // count, minlength=len(self.lead)) - 1) / count)

    def _longer(self, seconds: float) -> tuple[IntArray, IntArray, IntArray, FloatArray, FloatArray]:
        """Row, first sample, length, and steps into and out of the runs that last so long, in quanta."""
        least = max(3, round(seconds * self.rate_hz))
        kept = np.flatnonzero(self.length >= least)
        begin, length, count = self.begin[kept], self.length[kept], self.lead.shape[1]
        row = begin // count
        after = np.minimum(begin + length, self.lead.size - 1)
        lead = self.lead.ravel()
        quantum = np.maximum(self.quantum[row], 1e-300)
        # signed: positive where the run lies above what is beside it; nothing lies beyond a row's ends
        into = np.where(begin % count > 0, lead[begin] - lead[np.maximum(begin - 1, 0)], 0.0) / quantum
        out = np.where((begin + length) % count > 0, lead[begin] - lead[after], 0.0) / quantum
        return row, begin, length, into, out

    def _share(self, row: IntArray, length: IntArray) -> FloatArray:
        return np.asarray(np.bincount(row, weights=length, minlength=len(self.lead)) / self.lead.shape[1])

    def flat(self) -> FloatArray:
        """Share of each row in runs of half a second and more, (w,)."""
        row, _, length, _, _ = self._longer(_FLAT_S)
        return self._share(row, length)

    def held(self) -> FloatArray:
        """Share of each row in runs of 80 ms and more that end with a jump, (w,): lost packets, bridged by the device.

        A quiet lead of a coarse converter rests as long, but goes on by a single step.
        """
        row, _, length, _, out = self._longer(_HELD_S)
        kept = (np.abs(out) > _QUANTA) | (length >= round(_FLAT_S * self.rate_hz))
        return self._share(row[kept], length[kept])

    def plateaus(self) -> FloatArray:
        """Share of each row on tops or bottoms that are cut off flat, (w,): entered and left by more than a step."""
        row, begin, length, into, out = self._longer(_PLATEAU_S[0])
        kept = (length <= round(_PLATEAU_S[2] * self.rate_hz)) & (np.minimum(np.abs(into), np.abs(out)) > _QUANTA)
        kept &= into * out > 0
        row, begin, length, into = row[kept], begin[kept], length[kept], into[kept]
        if len(row):
            count, reach = self.lead.shape[1], round(_NEAR_S * self.rate_hz)
            place = (begin % count)[:, None] + np.arange(-reach, reach + 1)
            near = self.lead[row[:, None], np.clip(place, 0, count - 1)]
            here = self.lead.ravel()[begin]
            most = np.where(into > 0, here >= near.max(axis=1), here <= near.min(axis=1))
            row, length, here = row[most], length[most], here[most]
            _, which, alike = np.unique(np.stack([row, here]), axis=1, return_inverse=True, return_counts=True)
            cut = (length <= round(_PLATEAU_S[1] * self.rate_hz)) | (alike[which.ravel()] >= _COMPANY)
            row, length = row[cut], length[cut]
        return self._share(row, length)

    def coarseness(self) -> FloatArray:
        """Mean step of each row whose samples mostly stay where they are, (w,); 0 where they do not."""
        mean = self.step.mean(axis=-1)
        return np.where(self.moved < 0.4, mean / np.maximum(self.moved, 1e-9), 0.0)

    def jump(self) -> FloatArray:
        """Second steepest step of a row's seconds over the usual steepest, which is a QRS complex's, (w,).

        Five of ten seconds may hold a jump, and four no beat, before what is usual is mistaken.
        """
        steepest = np.sort(seconds(self.step, self.rate_hz).max(axis=-1), axis=1)
        count = steepest.shape[1]
        if count < 3:
            return np.ones(len(steepest))
        usual = steepest[:, int(_USUAL * count)]
        return np.asarray(steepest[:, -2] / np.where(usual > 0, usual, np.inf))

    def spikes(self) -> tuple[Marks, int]:
        """Samples that stand out alone, by half of a second's usual range or more, and how many around are theirs.

        A pacemaker's are among them; a QRS complex is too wide to be.
        """
        rows, count = self.lead.shape
        reach = int(_SPIKE_S * self.rate_hz)
        none = Marks(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), rows)
        if reach < 2 or count < 4 * reach:
            return none, reach
        usual = middle(np.ptp(seconds(self.lead, self.rate_hz), axis=-1))
        steep = np.flatnonzero(self.step > np.where(usual > 0, 0.5 / reach * usual, np.inf)[:, None])
        if not len(steep):
            return none, reach
        near = np.unique((steep[:, None] + np.arange(-reach, reach)).ravel())
        row, place = np.divmod(near[(near >= 0) & (near < self.lead.size)], count)
        around = round(_AROUND_S * self.rate_hz)
        inside = (place >= reach) & (place < count - reach)
        row, place = row[inside], place[inside]
        here = self.lead[row, place]
        before, after = here - self.lead[row, place - reach], here - self.lead[row, place + reach]
        height = np.where(before * after > 0, np.minimum(np.abs(before), np.abs(after)), 0.0)
        high = height > 0.5 * usual[row]
        row, place, height = row[high], place[high], height[high]
        beside = self.lead[row[:, None], np.clip(place[:, None] + np.arange(-around, around + 1), 0, count - 1)]
        alone = height > 0.7 * np.ptp(beside, axis=1)
        return _tallest(Marks(row[alone], place[alone], rows), height[alone], 2 * reach), reach


def _tallest(marks: Marks, height: FloatArray, apart: int) -> Marks:
    """Of neighbours nearer than ``apart`` samples the tallest."""
    if not len(marks):
        return marks
    new = np.concatenate([[True], (np.diff(marks.place) > apart) | (np.diff(marks.row) > 0)])
    group = np.cumsum(new) - 1
    order = np.lexsort((marks.place, -height, group))
    first = order[np.searchsorted(group[order], np.arange(group[-1] + 1))]
    return Marks(marks.row[first], marks.place[first], marks.rows)


def without(lead: FloatArray, spikes: Marks, reach: int) -> FloatArray:
    """The lead with straight lines in place of the spikes."""
    if not len(spikes):
        return lead
    lead, count = lead.copy(), lead.shape[1]
    left, right = np.maximum(spikes.place - reach, 0), np.minimum(spikes.place + reach, count - 1)
    share = np.arange(2 * reach + 1) / (2 * reach)
    a, b = lead[spikes.row, left][:, None], lead[spikes.row, right][:, None]
    lead[spikes.row[:, None], np.minimum(left[:, None] + np.arange(2 * reach + 1), count - 1)] = a + (b - a) * share
    return lead


def seconds(values: FloatArray, rate_hz: float) -> FloatArray:
    """(w, n) cut into whole seconds from the end backwards, (w, k, step)."""
    count, step = values.shape[-1], max(2, round(rate_hz))
    return values[:, count % step :].reshape(len(values), -1, step) if count >= step else values[:, None, :]


_LOCKED_S, _LOCKED_SHARE = 0.02, 0.75
_SPIKES_PER_S = 0.25


def unlocked(
    lead: FloatArray, spikes: Marks, reach: int, beats: Marks, rate_hz: float, thinned: int
) -> FloatArray:  # fmt: skip
    """Height of the window's larger spikes (one in four seconds is taller), (w,); 0 where a pacemaker makes them.

    Its spikes keep their distance to the next beat. ``beats`` are places in means of ``thinned`` samples.
    """
    rows, count = lead.shape
    height = np.zeros(rows)
    for row in np.flatnonzero(spikes.counts()).tolist():
        here = spikes.place[spikes.row == row]
        heart = beats.place[beats.row == row] * thinned + count % thinned
        tall = np.sort(np.abs(lead[row, here] - lead[row, np.maximum(here - reach, 0)]))[::-1]
        rank = 1 + round(_SPIKES_PER_S * count / rate_hz)
        if len(tall) > rank - 1 and not _paced(here, heart, rate_hz):
            height[row] = tall[rank - 1]
    return height


def _paced(spikes: IntArray, beats: IntArray, rate_hz: float) -> bool:
    """Whether most spikes have company at the same distance before a beat."""
    if len(beats) < 2 or len(spikes) < 3:
        return False
    after = np.searchsorted(beats, spikes - _LOCKED_S * rate_hz)
    known = after < len(beats)
    distance = np.sort((beats[np.minimum(after, len(beats) - 1)] - spikes)[known])
    if len(distance) < 3:
        return False
    gap = np.diff(distance) <= 0.5 * _LOCKED_S * rate_hz
    company = np.concatenate([[False], gap]) | np.concatenate([gap, [False]])
    return bool(company.mean() >= _LOCKED_SHARE)
