"""Duplicate: a frame is sent twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.types import Batch
from simulators.faults import BatchStage, FrameFault, Where, key
from simulators.faults._stage import BatchDamage, picked


@dataclass(frozen=True, kw_only=True)
class FAULT(FrameFault):
    """A frame is sent twice in a row, as when an acknowledgement was lost."""

    NAME: ClassVar[str] = "duplicate"
    LINKS: ClassVar[frozenset[str]] = frozenset({"serial"})
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"delivery"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"rr_accuracy"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("probability_percent", (0.01, 0.1, 1, 5, 10, 25))

    probability_percent: float = key(10.0, "of a frame to be sent twice", "%", above=0, high=100)

    def bind(self, where: Where) -> BatchStage:
        """The stage for one channel of one sensor."""
        return _Duplicate(self, where)


class _Duplicate(BatchDamage):
    def __init__(self, fault: FAULT, where: Where) -> None:
        super().__init__(fault, where)
        self._percent = fault.probability_percent

    def damage(self, batch: Batch, low: int, high: int) -> Batch:
        if low >= high:
            return batch
        twice = picked(self.where.draws.uniform(self.seen, len(batch)), self._percent, low, high)
        if not len(twice):
            return batch
        for number in twice.tolist():
            self.log(batch.at_ns[number], batch.at_ns[number], frames=1)
        return batch.take(np.sort(np.concatenate([np.arange(len(batch)), twice])))
