"""Jitter: what was sent comes later than it should, now more, now less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.clock import SECOND_NS, to_ns
from drivers.types import Batch, IntArray
from simulators.faults import BatchStage, ByteFault, Where, key
from simulators.faults._stage import BatchDamage
from simulators.truth import Truth


@dataclass(frozen=True, kw_only=True)
class FAULT(ByteFault):
    """Every chunk comes later by a delay that is drawn anew every hold_ms; order is kept.

    With a new delay for each of many chunks the longest would hold up all others, which is a constant
    delay and no jitter; so a delay lasts a while, as a retransmission does.
    """

    NAME: ClassVar[str] = "jitter"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"latency"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"content_sync", "sync"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("mean_ms", (2, 10, 20, 40, 80, 160))

    mean_ms: float = key(80.0, "mean of the drawn delay", "ms", above=0, high=60000)
    hold_ms: float = key(250.0, "how long a drawn delay lasts", "ms", low=1, high=60000)
    distribution: str = key(
        "uniform", "of the delay: uniform from 0 to twice the mean, or exponential", choices=("uniform", "exponential")
    )

    def bind(self, where: Where) -> BatchStage:
        """The stage for one channel of one sensor."""
        return _Jitter(self, where)


class _Jitter(BatchDamage):
    """The truth has one entry per second of run in which something was delayed."""

    def __init__(self, fault: FAULT, where: Where) -> None:
        super().__init__(fault, where)
        self._exponential = fault.distribution == "exponential"
        self._mean_ns, self._hold_ns = fault.mean_ms * 1e6, to_ns(fault.hold_ms / 1000)
        self._last_ns = 0
        self._second = self._chunks = self._sum_ns = self._longest_ns = 0

    def damage(self, batch: Batch, low: int, high: int) -> Batch:
        if low >= high and int(batch.at_ns[0]) >= self._last_ns:
            self._end_second(int(batch.at_ns[-1] - self.where.start_ns) // SECOND_NS)
            return batch
        at_ns = batch.at_ns.copy()
        if low < high:
            at_ns[low:high] += self._delays(at_ns[low:high])
        at_ns = np.maximum.accumulate(np.maximum(at_ns, self._last_ns))
        self._last_ns = int(at_ns[-1])
        self._account(batch.at_ns, at_ns - batch.at_ns)
        return Batch(batch.data, batch.ends, at_ns, batch.channel)

    def _delays(self, at_ns: IntArray) -> IntArray:
        slots = (at_ns - self.where.start_ns) // self._hold_ns
        begin = int(slots[0])
        draws = self.where.draws.uniform(begin, int(slots[-1]) - begin + 1)
        scaled = -np.log1p(-draws) if self._exponential else 2 * draws
        return np.asarray((self._mean_ns * scaled).astype(np.int64)[slots - begin])

    def _account(self, due_ns: IntArray, delays_ns: IntArray) -> None:
        seconds = (due_ns - self.where.start_ns) // SECOND_NS
        cuts = np.flatnonzero(np.diff(seconds)) + 1
        for second, delays in zip(seconds[[0, *cuts]].tolist(), np.split(delays_ns, cuts), strict=True):
            self._end_second(second)
            self._second = second
            self._chunks += int(np.count_nonzero(delays))
            self._sum_ns += int(delays.sum())
            self._longest_ns = max(self._longest_ns, int(delays.max()))

    def _end_second(self, now: int) -> None:
        if now != self._second:
            for truth in self.under_way():
                self.where.log(truth)
            self._chunks = self._sum_ns = self._longest_ns = 0

    def under_way(self) -> list[Truth]:
        """The second that has not ended."""
        if not self._chunks:
            return []
        start_ns = self.where.start_ns + self._second * SECOND_NS
        mean_ms = self._sum_ns / self._chunks / 1e6
        detail = {"chunks": self._chunks, "mean_ms": mean_ms, "max_ms": self._longest_ns / 1e6}
        return [self.fault.did(self.where, start_ns, start_ns + SECOND_NS, **detail)]
