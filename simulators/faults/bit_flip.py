"""Bit flips: single bits of the wire are inverted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.types import Batch
from simulators.faults import BatchStage, ByteFault, Where, key
from simulators.faults._stage import BatchDamage, Renewals, geometric


@dataclass(frozen=True, kw_only=True)
class FAULT(ByteFault):
    """Single bits are inverted, each with the same probability, as by noise on a cable."""

    NAME: ClassVar[str] = "bit_flip"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"delivery"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({
        "hr_accuracy", "lead_off", "noise_floor", "quality", "rr_accuracy",
    })  # fmt: skip
    LINKS: ClassVar[frozenset[str]] = frozenset({"serial"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("per_million", (0.1, 1, 10, 100, 1000))

    per_million: float = key(100.0, "bits inverted among a million", "", low=0.001, high=500000)

    def bind(self, where: Where) -> BatchStage:
        """The stage for one channel of one sensor."""
        return _BitFlip(self, where)


class _BitFlip(BatchDamage):
    """Independent bits have geometric distances, so the distances are drawn, and a quiet batch costs nothing."""

    def __init__(self, fault: FAULT, where: Where) -> None:
        super().__init__(fault, where)
        mean = 1e6 / fault.per_million
        self._flips = Renewals(
            lambda first, count: geometric(where.draws.uniform(first, count), mean) - 1,
            lambda first, count: np.ones(count, dtype=np.int64),
        )
        self._bytes = 0

    def damage(self, batch: Batch, low: int, high: int) -> Batch:
        first, self._bytes = self._bytes, self._bytes + len(batch.data)
        begins, _, _ = self._flips.within(8 * first, 8 * self._bytes)
        if not len(begins) or low >= high:
            return batch
        places, bits = np.divmod(begins - 8 * first, 8)
        chunks = np.searchsorted(batch.ends, places, side="right")
        inside = (chunks >= low) & (chunks < high)
        if not inside.any():
            return batch
        data = bytearray(batch.data)
        for place, bit, chunk in zip(*(a[inside].tolist() for a in (places, bits, chunks)), strict=True):
            data[place] ^= 1 << bit
            self.log(batch.at_ns[chunk], batch.at_ns[chunk], byte=first + place, bit=bit)
        return Batch(bytes(data), batch.ends, batch.at_ns, batch.channel)
