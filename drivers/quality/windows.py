"""Sliding windows over a whole recording, and the measures that several modalities share.

Whatever can be computed once for the recording (filters, beats, masks) is; a window then only sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from drivers.types import FloatArray, IntArray, StreamSpec

Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Windows:
    """Samples on an even grid and the windows that slide over them."""

    values: FloatArray
    """(n, channels), in the stream's unit; short holes are filled by straight lines."""
    starts: IntArray
    stops: IntArray
    """(w,) window i is ``values[starts[i]:stops[i]]``, never empty."""
    rate_hz: float
    spec: StreamSpec

    @cached_property
    def lengths(self) -> FloatArray:
        """(w,) samples in each window."""
        return np.asarray(self.stops - self.starts, dtype=np.float64)

    def mean(self, values: FloatArray | Mask) -> FloatArray:
        """Mean of ``values`` (n,) over each window, (w,)."""
        total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
        return np.asarray((total[self.stops] - total[self.starts]) / self.lengths)

    def rms(self, values: FloatArray) -> FloatArray:
        """Root mean square of ``values`` (n,) over each window, (w,)."""
        return np.sqrt(np.maximum(self.mean(values * values), 0.0))

    def largest(self, values: FloatArray) -> FloatArray:
        """Maximum of ``values`` (n,) over each window, (w,)."""
        ends = np.stack([self.starts, self.stops], axis=1).ravel()
        return np.asarray(np.maximum.reduceat(np.append(values, -np.inf), ends)[::2])

    def per_second(
        self, values: NDArray[Any], statistic: Callable[..., FloatArray], step_s: float = 1.0
    ) -> list[FloatArray]:
        """``statistic`` (taking ``axis``) of each whole second within each window; at least one apiece."""
        step = max(2, round(step_s * self.rate_hz))
        count = max(1, len(values) // step)
        blocks = values[: count * step].reshape(count, -1) if len(values) >= step else values[None, :]
        each = statistic(blocks, axis=1)
        first = np.minimum(-(-self.starts // step), count - 1)
        last = np.clip(self.stops // step, first + 1, count)
        return [each[a:b] for a, b in zip(first.tolist(), last.tolist(), strict=True)]

    def swing(self, values: FloatArray, step_s: float = 1.0) -> FloatArray:
        """Median over each window's seconds of their peak-to-peak: the usual amplitude, (w,)."""
        return np.array([median(each) for each in self.per_second(values, np.ptp, step_s)])

    def steps_equal(self) -> Mask:
        """Which samples equal the one before on every channel, (n,)."""
        low = 0.25 * (self.spec.lsb or 0.0)
        still = np.abs(np.diff(self.values, axis=0)) <= low
        return np.concatenate([[False], still.all(axis=1)])

    def stuck(self, at_least_s: float) -> Mask:
        """Which samples lie in a run of equal values of that length or more, (n,)."""
        return long_runs(self.steps_equal(), max(2, round(at_least_s * self.rate_hz)))

    def resolves(self, noise: float) -> bool:
        """The converter's step is no larger than this noise, so that equal values in a row mean it is stuck.

        Where no step is declared, the usual change between unequal samples counts as the step.
        """
        step = self.spec.lsb
        if step is None:
            change = np.abs(np.diff(self.values, axis=0))
            step = float(np.median(change[change > 0])) if change.any() else 0.0
        return step <= noise

    def held(self, noise: float) -> FloatArray:
        """Share of each window in which a slow sensor is stuck, (w,); 0 where its step hides that it lives."""
        if not self.resolves(2 * noise):
            return np.zeros(len(self.starts))
        return self.mean(self.stuck(2.0 if self.resolves(noise) else 4.0))

    def railed(self) -> Mask:
        """Which samples sit at a declared rail on any channel, (n,)."""
        spec, near = self.spec, 0.5 * (self.spec.lsb or 0.0)
        hit = np.zeros(len(self.values), dtype=bool)
        for rail, sign in ((spec.low, -1.0), (spec.high, 1.0)):
            if rail is not None:
                hit |= (sign * (self.values - rail) >= -near - 1e-9 * abs(rail)).any(axis=1)
        return hit

    def clipped(
        self, reach_s: float = 0.6, at_least_s: float = 0.012, at_most_s: float = 0.4, bottoms: bool = True
    ) -> Mask:
        """Which samples lie on a flat top or bottom of the signal on any channel, (n,): an amplifier's limits.

        A run beyond ``at_most_s`` is a flat line, whatever its level. ``bottoms`` False: flat tops only.
        """
        size = 2 * max(1, round(reach_s * self.rate_hz)) + 1
        hit = np.zeros(len(self.values), dtype=bool)
        for channel in self.values.T:
            level = np.concatenate([[False], np.diff(channel) == 0])
            top = long_runs(level, max(3, round(at_least_s * self.rate_hz)))
            top &= ~long_runs(level, round(at_most_s * self.rate_hz))
            if top.any():
                highest = ndimage.maximum_filter1d(channel, size, mode="nearest")
                lowest = ndimage.minimum_filter1d(channel, size, mode="nearest")
                extreme = (channel == highest) | ((channel == lowest) & bottoms)
                hit |= top & extreme & (highest > lowest)
        return hit


def long_runs(level: Mask, at_least: int) -> Mask:
    """Members of runs of True (n,) that are at least so long; the sample before a run belongs to it."""
    edges = np.diff(level.astype(np.int8), prepend=0, append=0)
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    kept = ends - begins + 1 >= at_least
    marks = np.zeros(len(level) + 1, dtype=np.int64)
    np.add.at(marks, np.maximum(begins[kept] - 1, 0), 1)
    np.add.at(marks, ends[kept], -1)
    return np.asarray(np.cumsum(marks[:-1]) > 0)


def median(values: FloatArray) -> float:
    """Upper median of a few values, many times faster than numpy's."""
    return float(np.sort(values)[len(values) // 2])


def ramp(value: FloatArray, bad: float, good: float) -> FloatArray:
    """0 at ``bad``, 1 at ``good``, straight between and held outside; either may be the larger."""
    return np.clip((value - bad) / (good - bad), 0.0, 1.0)


@dataclass(frozen=True)
class Table:
    """What one modality says about each window. A window's score is its worst part."""

    parts: Mapping[str, FloatArray]
    """Name -> (w,) in 0..1."""
    flags: Mapping[str, Mask] = field(default_factory=dict)
    """Name -> (w,) raised or not."""

    @cached_property
    def score(self) -> FloatArray:
        """(w,)"""
        return np.asarray(np.min(np.stack(list(self.parts.values())), axis=0))

    @classmethod
    def worst(cls, tables: Iterable[Table]) -> Table:
        """Of several channels: each window's worst parts, every flag."""
        listed = list(tables)
        parts = {name: np.min([t.parts[name] for t in listed], axis=0) for name in listed[0].parts}
        flags = {name: np.any([t.flags[name] for t in listed], axis=0) for name in listed[0].flags}
        return cls(parts, flags)


VOLT_UNITS = {"V": 1e3, "mV": 1.0, "uV": 1e-3, "µV": 1e-3, "nV": 1e-6}


def millivolt(spec: StreamSpec) -> float | None:
    """Millivolt per unit of the stream; None where the unit is no voltage, so that absolute limits cannot apply."""
    return VOLT_UNITS.get(spec.unit)


def siemens(spec: StreamSpec) -> float | None:
    """Microsiemens per unit of the stream; None where the unit is no conductance."""
    return {"S": 1e6, "mS": 1e3, "uS": 1.0, "µS": 1.0, "nS": 1e-3}.get(spec.unit)


LINE_HZ = (50.0, 60.0)


def line_rms(windows: Windows, channel: FloatArray) -> FloatArray:
    """Rms at the mains' frequency, 50 or 60 Hz, whichever is stronger, (w,); what is around it is taken off."""
    best = np.zeros(len(windows.starts))
    time = np.arange(len(channel)) / windows.rate_hz
    for hz in LINE_HZ:
        if hz < 0.48 * windows.rate_hz:
            turning = channel * np.exp(-2j * np.pi * hz * time)
            best = np.maximum(best, _tone_rms(windows, turning))
    return best


def _tone_rms(windows: Windows, turning: NDArray[np.complex128]) -> FloatArray:
    """Rms of what stands still in ``turning`` over a second, on the median of each window's seconds."""
    taper = np.hanning(max(2, round(windows.rate_hz)))

    def level(seconds: NDArray[np.complex128], axis: int) -> FloatArray:
        shape = taper if seconds.shape[1] == len(taper) else np.ones(seconds.shape[1])
        total = (seconds * shape).sum(axis=1)  # no @: a threaded BLAS waits for the other core
        return np.asarray(np.sqrt(2) * np.abs(total) / shape.sum())

    return np.array([median(each) for each in windows.per_second(turning, level)])
