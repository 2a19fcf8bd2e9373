"""Stall: for a while nothing gets through, and then everything at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.clock import to_ns
from drivers.types import Batch, IntArray
from simulators.faults import BatchStage, ByteFault, Where, key
from simulators.faults._stage import BatchDamage, Renewals
from simulators.truth import Truth


@dataclass(frozen=True, kw_only=True)
class FAULT(ByteFault):
    """Now and then the link stands still: what is due meanwhile gets through at the end, in order."""

    NAME: ClassVar[str] = "stall"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"latency"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("for_ms", (10, 50, 100, 200, 300, 400))

    every_s: float = key(2.5, "mean time between stalls (exponential)", "s", low=0.01, high=86400)
    at_s: tuple[float, ...] = key((), "stalls begin at these seconds instead", "s", low=0)
    for_ms: float = key(400.0, "length of a stall", "ms", above=0, high=600000)
    drain_baud: float = key(0.0, "rate at which the backlog then comes (ten bits a byte); 0: at once", "bit/s", low=0)

    def check_keys(self) -> None:
        """Listed stalls must begin in the time of the fault."""
        for at_s in self.at_s:
            self.must_happen("at_s", at_s)

    def bind(self, where: Where) -> BatchStage:
        """The stage for one channel of one sensor."""
        return _Stall(self, where)


class _Stall(BatchDamage):
    """The truth has one entry per stall that held something up."""

    def __init__(self, fault: FAULT, where: Where) -> None:
        super().__init__(fault, where)
        self._stalls = _times(fault, where)
        self._byte_ns = 10e9 / fault.drain_baud if fault.drain_baud else 0.0
        self._busy_ns = 0
        """When the backlog was through."""
        self._from_ns = self._begin_ns = self._end_ns = 0
        self._held = {"chunks": 0, "bytes": 0}

    def damage(self, batch: Batch, low: int, high: int) -> Batch:
        world = batch.at_ns - self.where.start_ns
        until = max(self._from_ns, int(world[-1]) + 1)
        begins, ends, _ = self._stalls.within(self._from_ns, until)
        self._from_ns = until - 1
        if not len(begins) and int(batch.at_ns[0]) >= self._busy_ns:
            self._close()
            return batch
        start, stop = (ns - self.where.start_ns for ns in self._window_ns)
        at = batch.at_ns.copy()
        sizes = np.diff(batch.ends, prepend=0)
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            first, last = np.searchsorted(world, (begin, min(end, stop))).tolist()
            if start <= begin and first < last:
                at[first:last] = self.where.start_ns + min(end, stop)
                self._hold(begin, min(end, stop), last - first, int(sizes[first:last].sum()))
        if int(world[-1]) >= self._end_ns:
            self._close()
        if self._byte_ns:
            at = self._drain(batch.at_ns, at, sizes)
        if np.array_equal(at, batch.at_ns):
            return batch
        return Batch(batch.data, batch.ends, at, batch.channel)

    def _hold(self, begin: int, end: int, chunks: int, size: int) -> None:
        if begin != self._begin_ns or end != self._end_ns:
            self._close()
        self._begin_ns, self._end_ns = begin, end
        self._held["chunks"] += chunks
        self._held["bytes"] += size

    def _drain(self, due: IntArray, at: IntArray, sizes: IntArray) -> IntArray:
        """A chunk that was held up, or finds others before it, takes its time on the line."""
        out = at.copy()
        waits = np.flatnonzero(at > due)
        position = 0 if int(due[0]) < self._busy_ns else int(waits[0]) if len(waits) else len(at)
        while position < len(at):
            ready, size = int(at[position]), int(sizes[position])
            if ready == int(due[position]) and ready >= self._busy_ns:
                later = waits[waits > position]
                position = int(later[0]) if len(later) else len(at)
                continue
            self._busy_ns = max(ready, self._busy_ns) + round(size * self._byte_ns)
            out[position] = self._busy_ns
            position += 1
        return out

    def _close(self) -> None:
        for truth in self.under_way():
            self.where.log(truth)
        self._held = {"chunks": 0, "bytes": 0}

    def under_way(self) -> list[Truth]:
        """The stall that has not ended, if it holds something up."""
        if not self._held["chunks"]:
            return []
        start_ns = self.where.start_ns
        return [self.fault.did(self.where, start_ns + self._begin_ns, start_ns + self._end_ns, **self._held)]


def _times(fault: FAULT, where: Where) -> Renewals:
    """When the link stands still, in ns of the run."""
    length = to_ns(fault.for_ms / 1000)
    if not fault.at_s:
        return Renewals(
            lambda first, count: (-fault.every_s * 1e9 * np.log1p(-where.draws.uniform(first, count))).astype(np.int64),
            lambda first, count: np.full(count, length),
        )
    begins = np.array(sorted({to_ns(at) for at in fault.at_s}), dtype=np.int64)
    apart = np.diff(begins) > length
    return Renewals.listed(begins[np.r_[True, apart]], begins[np.r_[apart, True]] + length)
