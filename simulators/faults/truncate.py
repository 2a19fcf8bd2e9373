"""Truncate: a frame is cut short."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from drivers.types import Batch
from simulators.faults import BatchStage, FrameFault, Where, key
from simulators.faults._stage import BatchDamage, picked


@dataclass(frozen=True, kw_only=True)
class FAULT(FrameFault):
    """A frame loses a drawn number of bytes at its end or at its start, as when a buffer runs over."""

    NAME: ClassVar[str] = "truncate"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"delivery"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({
        "hr_accuracy", "lead_off", "noise_floor", "quality", "rr_accuracy",
    })  # fmt: skip
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("probability_percent", (0.01, 0.1, 1, 5, 10, 50))

    probability_percent: float = key(10.0, "of a frame to be cut", "%", above=0, high=100)
    side: str = key("either", "where the bytes are missing", choices=("either", "start", "end"))

    def bind(self, where: Where) -> BatchStage:
        """The stage for one channel of one sensor."""
        return _Truncate(self, where)


class _Truncate(BatchDamage):
    def __init__(self, fault: FAULT, where: Where) -> None:
        super().__init__(fault, where)
        self._percent, self._side = fault.probability_percent, fault.side
        self._which, self._sides, self._sizes = (where.draws.child(use) for use in ("which", "side", "size"))

    def damage(self, batch: Batch, low: int, high: int) -> Batch:
        if low >= high:
            return batch
        cut = picked(self._which.uniform(self.seen, len(batch)), self._percent, low, high)
        if not len(cut):
            return batch
        at_start = self._sides.uniform(self.seen, len(batch))[cut] < 0.5
        shares = self._sizes.uniform(self.seen, len(batch))[cut]
        chunks = [chunk for chunk, _ in batch.chunks()]
        for number, start, share in zip(cut.tolist(), at_start.tolist(), shares.tolist(), strict=True):
            frame = chunks[number]
            missing = 1 + int(share * (len(frame) - 1))
            if len(frame) < 2:
                continue  # nothing would remain: that is dropout's business
            from_start = start if self._side == "either" else self._side == "start"
            chunks[number] = frame[missing:] if from_start else frame[:-missing]
            side = "start" if from_start else "end"
            self.log(batch.at_ns[number], batch.at_ns[number], bytes=missing, of=len(frame), side=side)
        return Batch.of(chunks, batch.at_ns, batch.channel)
