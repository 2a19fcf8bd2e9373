"""What the stages of faults share: the time in which they act, spells that become truth, draws laid end to end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from drivers.types import Batch, FloatArray, IntArray
from simulators.faults import Fault, Where
from simulators.truth import Truth

Mask = NDArray[np.bool_]

_AT_ONCE = 64
"""Spells drawn at a time."""


class Spells:
    """Runs of damage, each of which becomes one Truth, however the calls cut them.

    A run is logged when something undamaged follows it; until then it is under way. ``unit`` names
    the count in the truth's detail: ``samples`` or ``frames``.
    """

    def __init__(self, fault: Fault, where: Where, unit: str, **detail: object) -> None:
        self._fault, self._where, self._unit, self._detail = fault, where, unit, detail
        self._start_ns = self._end_ns = self._count = 0
        self._tally: dict[str, int] = {}

    def add(self, damaged: Mask, at_ns: IntArray, **tally: int) -> None:
        """Which of the next samples or frames are damaged, (n,); ``tally`` is summed over the last run."""
        hit = np.flatnonzero(damaged)
        if not len(hit):
            if len(damaged):
                self.close()
            return
        for run in np.split(hit, np.flatnonzero(np.diff(hit) > 1) + 1):
            if run[0] > 0:
                self.close()
            if not self._count:
                self._start_ns = int(at_ns[run[0]])
            self._end_ns = int(at_ns[run[-1]])
            self._count += len(run)
        for name, count in tally.items():
            self._tally[name] = self._tally.get(name, 0) + count
        if hit[-1] < len(damaged) - 1:
            self.close()

    def close(self) -> None:
        """The run is over."""
        if self._count:
            self._where.log(self._truth())
            self._count, self._tally = 0, {}

    def under_way(self) -> list[Truth]:
        """The run that has not ended, as it stands."""
        return [self._truth()] if self._count else []

    def _truth(self) -> Truth:
        detail = {self._unit: self._count, **self._tally, **self._detail}
        return self._fault.did(self._where, self._start_ns, self._end_ns, **detail)


class SampleDamage:
    """Hands the samples inside start_s..stop_s to ``damage``; all others pass as they are.

    ``damage`` sees consecutive samples only once, so it may carry filters' states.
    """

    def __init__(self, fault: Fault, where: Where, **detail: object) -> None:
        self.where = where
        self.spells = Spells(fault, where, "samples", **detail)
        self._start_s, self._stop_s = fault.start_s, fault.stop_s

    def apply(self, first: int, times_s: FloatArray, values: FloatArray) -> FloatArray:
        """Damaged values (n, channels); the same object where nothing is damaged."""
        low, high = np.searchsorted(times_s, (self._start_s, self._stop_s)).tolist()
        self.watch(times_s, values, low)
        if low >= high:
            if len(times_s):
                self.spells.close()
            return values
        inside = slice(low, high)
        result, damaged = self.damage(first + low, times_s[inside], values[inside])
        out = result
        if high - low < len(values):
            out = values.copy()
            out[inside] = result
            everywhere = np.zeros(len(values), dtype=bool)
            everywhere[inside] = damaged
            damaged = everywhere
        at_ns = self.where.start_ns + np.rint(times_s * 1e9).astype(np.int64)
        self.spells.add(damaged, at_ns, **self.tally())
        return out

    def watch(self, times_s: FloatArray, values: FloatArray, count: int) -> None:
        """The first ``count`` samples come before start_s: for those who learn from them."""

    def damage(self, first: int, times_s: FloatArray, values: FloatArray) -> tuple[FloatArray, Mask]:
        """New values (n, channels), and which samples (n,) are to be told in the truth."""
        raise NotImplementedError

    def tally(self) -> dict[str, int]:
        """Counts of the last damage() for the truth's detail."""
        return {}

    def under_way(self) -> list[Truth]:
        """The spell that has not ended."""
        return self.spells.under_way()


class Disturbance(SampleDamage):
    """Adds ``wave`` to every sample."""

    def damage(self, first: int, times_s: FloatArray, values: FloatArray) -> tuple[FloatArray, Mask]:
        """Values with the disturbance on top."""
        return values + self.wave(first, times_s, values.shape[1]), np.ones(len(values), dtype=bool)

    def wave(self, first: int, times_s: FloatArray, channels: int) -> FloatArray:
        """(n, channels) or (n, 1) in the stream's unit."""
        raise NotImplementedError


class BatchDamage:
    """Counts frames or chunks, and finds those whose time lies inside start_s..stop_s."""

    def __init__(self, fault: Fault, where: Where) -> None:
        self.fault, self.where = fault, where
        self.seen = 0
        """Chunks before this batch: the number by which draws are made."""
        self._window_ns = (where.host_ns(fault.start_s), where.host_ns(fault.stop_s))

    def apply(self, batch: Batch) -> Batch:
        """The damaged batch; the same object where nothing is damaged."""
        if not len(batch):
            return batch
        low, high = np.searchsorted(batch.at_ns, self._window_ns).tolist()
        out = self.damage(batch, low, high)
        self.seen += len(batch)
        return out

    def damage(self, batch: Batch, low: int, high: int) -> Batch:
        """Chunks low..high may be damaged; called with every batch that is not empty."""
        raise NotImplementedError

    def log(self, start_ns: int, end_ns: int, **detail: object) -> None:
        """One thing done."""
        self.where.log(self.fault.did(self.where, start_ns, end_ns, **detail))

    def under_way(self) -> list[Truth]:
        """Nothing lasts."""
        return []


def picked(draws: FloatArray, percent: float, low: int, high: int) -> IntArray:
    """Positions low..high whose uniform draw falls under a probability in percent."""
    hit = np.flatnonzero(draws < percent / 100)
    return hit[(hit >= low) & (hit < high)]


def geometric(uniform: FloatArray, mean: float) -> IntArray:
    """Lengths 1, 2, ... with this mean (at least 1), memoryless, from draws of U(0, 1)."""
    if mean <= 1:
        return np.ones(len(uniform), dtype=np.int64)
    lengths: IntArray = 1 + (np.log1p(-uniform) / np.log1p(-1 / mean)).astype(np.int64)
    return lengths


Lengths = Callable[[int, int], IntArray]
"""(first, count) -> lengths of the spells or gaps of these numbers."""


class Renewals:
    """Spells and the gaps before them, laid end to end from position 0 and drawn as far as needed.

    Positions are frames, bits or ns, int64. The draws of spell n are those of its number, so where
    a spell lies does not depend on how the positions are walked through.
    """

    def __init__(self, gaps: Lengths | None, spells: Lengths | None) -> None:
        self._gaps, self._spells = gaps, spells
        self._drawn, self._last_end = 0, 0
        self._begins = self._ends = np.empty(0, dtype=np.int64)

    @classmethod
    def listed(cls, begins: IntArray, ends: IntArray) -> Renewals:
        """These spells, sorted and apart, and no others."""
        made = cls(None, None)
        made._begins, made._ends, made._drawn = begins, ends, len(begins)
        return made

    def within(self, start: int, stop: int) -> tuple[IntArray, IntArray, int]:
        """Begins and ends of the spells that lie partly in start..stop, and the first one's number.

        ``start`` must not decrease from call to call.
        """
        while self._gaps and self._spells and self._last_end < stop:
            self._extend(self._gaps(self._drawn, _AT_ONCE), self._spells(self._drawn, _AT_ONCE))
        if len(self._ends) and self._ends[0] <= start:
            done = int(np.searchsorted(self._ends, start, side="right"))
            self._begins, self._ends = self._begins[done:], self._ends[done:]
        count = int(np.searchsorted(self._begins, stop))
        return self._begins[:count], self._ends[:count], self._drawn - len(self._begins)

    def _extend(self, gaps: IntArray, spells: IntArray) -> None:
        ends = self._last_end + np.cumsum(gaps + spells)
        self._begins = np.concatenate([self._begins, ends - spells])
        self._ends = np.concatenate([self._ends, ends])
        self._drawn += _AT_ONCE
        self._last_end = int(ends[-1])
