"""What the samples of an ECG lead say before any filter: runs of equal values, plateaus, steps and spikes.

Everything here works at the stream's own rate, on leads (w, n), one window a row; no measure mixes rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from drivers.quality.rows import stretches
from drivers.quality.runs import Runs
from drivers.types import FloatArray, IntArray, StreamSpec

_FLAT_S = 0.5
"""A lead never rests to the last bit for so long, unless its converter's step hides that it lives."""
_HELD_S = 0.08
_PLATEAU_S = (0.012, 0.09, 0.4)
"""Shortest; longest that needs no company; longest at all, if others lie at the same level."""
_COMPANY = 3
_NEAR_S = 0.6
_QUANTA = 2.5
_USUAL, _RESTS = 0.4, 0.4


@dataclass(frozen=True)
class RawLead:
    """One lead as it came, by the steps from sample to sample; ``Lead`` is the same lead filtered."""

    values: FloatArray
    """(w, n) in the stream's unit."""
    rate_hz: float
    step: FloatArray
    """(w, n) size of the step into each sample; 0 at a row's first."""
    begin: IntArray
    """(r,) first sample of every run of equal ones, even of one alone, in the flattened rows; each row begins one."""
    length: IntArray
    """(r,) samples."""

    @classmethod
    def of(cls, lead: FloatArray, rate_hz: float, spec: StreamSpec) -> RawLead:
        """Of one channel (w, n)."""
        step = np.empty_like(lead)
        step[:, 0] = 0.0
        after = step[:, 1:]
        np.abs(np.subtract(lead[:, 1:], lead[:, :-1], out=after), out=after)
        moved = step > 0.25 * (spec.lsb or 0.0)
        moved[:, 0] = True
        begin = np.flatnonzero(moved)
        length = np.empty_like(begin)
        np.subtract(begin[1:], begin[:-1], out=length[:-1])
        length[-1] = lead.size - begin[-1]
        return cls(lead, rate_hz, step, begin, length)

    @cached_property
    def _first(self) -> IntArray:
        """Where each row's runs begin, (w,)."""
        return np.asarray(np.searchsorted(self.begin, np.arange(len(self.values)) * self.values.shape[1]))

    @cached_property
    def quantum(self) -> FloatArray:
        """Smallest step of each row, (w,): the converter's, where the lead is alive; 0 where nothing moves."""
        sizes = self.step.ravel()[self.begin]
        sizes[self._first] = np.inf
        least = np.minimum.reduceat(sizes, self._first)
        return np.where(np.isfinite(least), least, 0.0)

    @cached_property
    def _long(self) -> tuple[Runs, FloatArray, FloatArray]:
        """Runs of 12 ms and more, (r,), and the steps into and out of them, in quanta, (r,) each."""
        kept = np.flatnonzero(self.length >= max(3, round(_PLATEAU_S[0] * self.rate_hz)))
        begin, length, (rows, count) = self.begin[kept], self.length[kept], self.values.shape
        row, place = np.divmod(begin, count)
        runs = Runs(row, place, length, (rows, count))
        if not len(kept):
            return runs, np.zeros(0), np.zeros(0)
        lead, end = self.values.ravel(), begin + length
        here = lead[begin]
        quantum = np.maximum(self.quantum[row], 1e-300)
        # signed: positive where the run lies above what is beside it; nothing lies beyond a row's ends
        into = np.where(place > 0, here - lead[begin - 1], 0.0) / quantum
        out = np.where(place + length < count, here - lead[np.minimum(end, lead.size - 1)], 0.0) / quantum
        return runs, into, out

    def flat(self) -> FloatArray:
        """Share of each row in runs of half a second and more, (w,)."""
        runs = self._long[0]
        return runs.longer(round(_FLAT_S * self.rate_hz)).share()

    def held(self) -> FloatArray:
        """Share of each row in runs of 80 ms and more that end with a jump, (w,): lost packets, bridged by the device.

        A quiet lead of a coarse converter rests as long, but goes on by a single step.
        """
        runs, _, out = self._long
        kept = (np.abs(out) > _QUANTA) | (runs.length >= round(_FLAT_S * self.rate_hz))
        return runs.where(kept & (runs.length >= max(3, round(_HELD_S * self.rate_hz)))).share()

    def plateaus(self) -> FloatArray:
        """Share of each row on tops or bottoms that are cut off flat, (w,): entered and left by more than a step."""
        runs, into, out = self._long
        kept = (np.minimum(np.abs(into), np.abs(out)) > _QUANTA) & (into * out > 0)
        kept &= runs.length <= round(_PLATEAU_S[2] * self.rate_hz)
        if not kept.any():
            return np.zeros(len(self.values))
        runs, into = runs.where(kept), into[kept]
        count, reach = self.values.shape[1], round(_NEAR_S * self.rate_hz)
        place = runs.begin[:, None] + np.arange(-reach, reach + 1)
        near = self.values[runs.row[:, None], np.clip(place, 0, count - 1)]
        here = self.values[runs.row, runs.begin]
        most = np.where(into > 0, here >= near.max(axis=1), here <= near.min(axis=1))
        runs, here = runs.where(most), here[most]
        alike = ((runs.row[:, None] == runs.row) & (here[:, None] == here)).sum(axis=1)
        return runs.where((runs.length <= round(_PLATEAU_S[1] * self.rate_hz)) | (alike >= _COMPANY)).share()

    @cached_property
    def ranges(self) -> FloatArray:
        """Peak-to-peak of each row's seconds, ascending, (w, k)."""
        parts = stretches(self.values, max(2, round(self.rate_hz)))
        return np.asarray(np.sort(parts.max(axis=-1) - parts.min(axis=-1), axis=1))

    def coarseness(self) -> FloatArray:
        """The converter's step in ranges of a livelier second, (w,), of rows that mostly rest; 0 of others."""
        moves = np.concatenate([self._first[1:], [len(self.begin)]]) - self._first - 1
        count = self.ranges.shape[1]
        lively = self.ranges[:, count - 1 - count // 5]
        rests = (moves < _RESTS * self.values.shape[1]) & (lively > 0)
        return np.where(rests, self.quantum / np.where(rests, lively, 1.0), 0.0)

    def jump(self) -> FloatArray:
        """Second steepest step of a row's seconds over the usual steepest, which is a QRS complex's, (w,).

        Five of ten seconds may hold a jump, and four no beat, before what is usual is mistaken.
        """
        steepest = np.sort(stretches(self.step, max(2, round(self.rate_hz))).max(axis=-1), axis=1)
        count = steepest.shape[1]
        if count < 3:
            return np.ones(len(steepest))
        usual = steepest[:, int(_USUAL * count)]
        return np.asarray(steepest[:, -2] / np.where(usual > 0, usual, np.inf))
