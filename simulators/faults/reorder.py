"""Reorder: a frame comes behind the one that was sent after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.types import Batch
from simulators.faults import BatchStage, FrameFault, Where, key
from simulators.faults._stage import BatchDamage, picked


@dataclass(frozen=True, kw_only=True)
class FAULT(FrameFault):
    """A frame changes places with the next one, and both are sent when that one is due."""

    NAME: ClassVar[str] = "reorder"
    LINKS: ClassVar[frozenset[str]] = frozenset({"serial"})
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"delivery"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"rr_accuracy"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("probability_percent", (0.01, 0.1, 1, 5, 10, 50))

    probability_percent: float = key(
        10.0, "of a frame to change places with the next; one that just moved up cannot", "%", above=0, high=100
    )

    def bind(self, where: Where) -> BatchStage:
        """The stage for one channel of one sensor."""
        return _Reorder(self, where)


class _Reorder(BatchDamage):
    """A frame that waits for the next one is held from one batch to the other."""

    def __init__(self, fault: FAULT, where: Where) -> None:
        super().__init__(fault, where)
        self._percent = fault.probability_percent
        self._held: Batch | None = None

    def damage(self, batch: Batch, low: int, high: int) -> Batch:
        if low >= high and self._held is None:
            return batch
        wants = picked(self.where.draws.uniform(self.seen, len(batch)), self._percent, low, high).tolist()
        swaps: list[int] = [-1] if self._held is not None else []
        for number in wants:
            if not swaps or number > swaps[-1] + 1:
                swaps.append(number)
        return self._swap(batch, np.array(swaps, dtype=np.int64)) if swaps else batch

    def _swap(self, batch: Batch, swaps: np.typing.NDArray[np.int64]) -> Batch:
        """``swaps``: positions of the frames that go behind their next; -1 is the held one."""
        held, count = self._held, len(batch)
        if held is not None:
            ends = np.concatenate([held.ends, batch.ends + len(held.data)])
            at_ns = np.concatenate([held.at_ns, batch.at_ns])
            batch, swaps, count = Batch(held.data + batch.data, ends, at_ns, batch.channel), swaps + 1, count + 1
        self._held = None
        order, at_ns = np.arange(count), batch.at_ns.copy()
        if swaps[-1] == count - 1:
            self._held = batch.take(order[-1:])
            swaps, order, at_ns = swaps[:-1], order[:-1], at_ns[:-1]
        for number in swaps.tolist():
            self.log(batch.at_ns[number], batch.at_ns[number + 1], frames=1)
        order[swaps], order[swaps + 1] = swaps + 1, swaps
        at_ns[swaps] = batch.at_ns[swaps + 1]
        moved = batch.take(order)
        return Batch(moved.data, moved.ends, at_ns, moved.channel)
