"""Windows of a stream, all of one length, and the measures that several modalities share.

A window's measures depend on its own samples alone: no filter runs across its ends, and no operation here mixes
two windows. So a window scores the same to the last bit alone, among others of a recording, and as it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from drivers.quality.rows import Mask, extremes, middle, stretches, unchanged
from drivers.quality.runs import Runs
from drivers.types import FloatArray, StreamSpec


@dataclass(frozen=True)
class Windows:
    """Windows on an even grid; wherever (w, n) is said below, a row is one window of one channel."""

    values: FloatArray
    """(w, n, channels), in the stream's unit; short holes are filled by straight lines; n is at least 1."""
    rate_hz: float
    spec: StreamSpec

    def __len__(self) -> int:
        return len(self.values)

    def channels(self) -> Iterator[FloatArray]:
        """Every channel, (w, n)."""
        for number in range(self.values.shape[2]):
            yield np.ascontiguousarray(self.values[:, :, number])

    def mean(self, values: FloatArray | Mask) -> FloatArray:
        """Mean of each row of (w, n), (w,)."""
        return np.asarray(values.sum(axis=-1) / values.shape[-1])  # np.mean takes twice as long on one window

    def seconds(self, values: FloatArray) -> FloatArray:
        """(w, n) cut into seconds from the end backwards, (w, k, step); k is at least 1."""
        return stretches(values, max(2, round(self.rate_hz)))

    def swing(self, values: FloatArray) -> FloatArray:
        """Median over the seconds of each row (w, n) of their peak-to-peak: the usual amplitude, (w,)."""
        return middle(np.ptp(self.seconds(values), axis=-1))

    def unchanged(self, values: FloatArray) -> Mask:
        """Which of (..., n) equal the one before, within a quarter of the converter's step; a row's first never does.

        For the share of a window that rests, some modalities count these alone and others (``rests``) the sample
        before them too: the limits of each were set so, and one sample decides nothing.
        """
        return unchanged(values, 0.25 * (self.spec.lsb or 0.0))

    def rests(self) -> Runs:
        """Runs of samples that are equal on every channel, two or more each, in rows that are the windows."""
        return Runs.of(np.all(self.unchanged(self.values.swapaxes(1, 2)), axis=1)).with_first()

    def stuck(self, at_least_s: float) -> FloatArray:
        """Share of each window in which no channel changes for that long or longer, (w,)."""
        return self.rests().longer(max(2, round(at_least_s * self.rate_hz))).share()

    def step(self) -> FloatArray:
        """The converter's step, (w,): the declared one, or else the usual change between unequal samples."""
        if self.spec.lsb is not None:
            return np.full(len(self), self.spec.lsb)
        change = np.abs(np.diff(self.values, axis=1)).reshape(len(self), -1)
        return np.array([float(np.median(row[row > 0])) if row.any() else 0.0 for row in change])

    def railed(self) -> Mask:
        """Which samples sit at a declared rail on any channel, (w, n)."""
        return np.asarray(np.any(at_rail(self.values, self.spec), axis=2))

    def clipped(
        self, reach_s: float = 0.6, at_least_s: float = 0.012, at_most_s: float = 0.4, bottoms: bool = True
    ) -> Mask:
        """Which samples lie on a flat top or bottom of the signal on any channel, (w, n): an amplifier's limits.

        A run beyond ``at_most_s`` is a flat line, whatever its level. ``bottoms`` False: flat tops only.
        """
        reach, hit = max(1, round(reach_s * self.rate_hz)), np.zeros(self.values.shape[:2], dtype=bool)
        for channel in self.channels():
            level = Runs.of(unchanged(channel)).with_first()
            level = level.longer(max(3, round(at_least_s * self.rate_hz)), round(at_most_s * self.rate_hz) - 1)
            if len(level):
                rows = np.unique(level.row)
                highest, lowest = extremes(channel[rows], reach)
                hit[rows] |= level.mask()[rows] & ((highest | lowest) if bottoms else highest)
        return hit


def at_rail(values: FloatArray, spec: StreamSpec) -> Mask:
    """Which values are at a declared rail or beyond, same shape; half a step of the converter short of it counts."""
    hit, near = np.zeros(values.shape, dtype=bool), 0.5 * (spec.lsb or 0.0)
    if spec.high is not None:
        edge = spec.high - near - 1e-9 * abs(spec.high)
        if not values.max(initial=-np.inf) < edge:  # one number to compare for most; NaN is no smaller
            hit |= values >= edge
    if spec.low is not None:
        edge = spec.low + near + 1e-9 * abs(spec.low)
        if not values.min(initial=np.inf) > edge:
            hit |= values <= edge
    return hit


def long_runs(level: Mask, at_least: int) -> Mask:
    """Members of runs of True, within each row of (w, n), that are at least so long; the sample before belongs to it.

    The first of a row must be False, so that no run goes over from one row to the next.
    """
    return Runs.of(level).with_first().longer(at_least).mask()


def ramp(value: FloatArray, bad: float | FloatArray, good: float | FloatArray) -> FloatArray:
    """0 at ``bad``, 1 at ``good``, straight between and held outside, (w,); of several limits (m, 1) with (m, w)."""
    return np.minimum(np.maximum((value - bad) / (good - bad), 0.0), 1.0)  # np.clip takes three times as long on few


@dataclass(frozen=True)
class Table:
    """What one modality says about each window. Its score is the worst part, or ``own`` where that is given."""

    parts: Mapping[str, FloatArray]
    """Name -> (w,) in 0..1."""
    flags: Mapping[str, Mask] = field(default_factory=dict)
    """Name -> (w,) raised or not."""
    own: FloatArray | None = None
    """(w,) in 0..1; a low one must show in a part below 0.5."""

    @cached_property
    def score(self) -> FloatArray:
        """(w,)"""
        if self.own is not None:
            return self.own
        return np.asarray(np.min(np.stack(list(self.parts.values())), axis=0))

    @classmethod
    def worst(cls, tables: Iterable[Table]) -> Table:
        """Of several channels: each window's worst parts, every flag."""
        listed = list(tables)
        if len(listed) == 1:
            return listed[0]
        parts = {name: np.min([t.parts[name] for t in listed], axis=0) for name in listed[0].parts}
        flags = {name: np.any([t.flags[name] for t in listed], axis=0) for name in listed[0].flags}
        own = np.min([t.score for t in listed], axis=0) if any(t.own is not None for t in listed) else None
        return cls(parts, flags, own)


_MILLIVOLT = {"V": 1e3, "mV": 1.0, "uV": 1e-3, "µV": 1e-3, "nV": 1e-6}
_MICROSIEMENS = {"S": 1e6, "mS": 1e3, "uS": 1.0, "µS": 1.0, "nS": 1e-3}


def millivolt(spec: StreamSpec) -> float | None:
    """Millivolt per unit of the stream; None where the unit is no voltage, so that absolute limits cannot apply."""
    return _MILLIVOLT.get(spec.unit)


def siemens(spec: StreamSpec) -> float | None:
    """Microsiemens per unit of the stream; None where the unit is no conductance."""
    return _MICROSIEMENS.get(spec.unit)


LINE_HZ = (50.0, 60.0)
"""Of the mains all over the world."""
