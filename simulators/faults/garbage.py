"""Garbage: bursts of bytes that nobody sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.types import Batch
from simulators.faults import BatchStage, ByteFault, Where, key
from simulators.faults._stage import BatchDamage, Renewals, geometric

LONGEST = {"serial": 4096, "ble": 244}
"""Bytes; 244 is what one notification holds at the usual largest ATT MTU of 247."""
PATIENCE_NS = 2_000_000_000


@dataclass(frozen=True, kw_only=True)
class FAULT(ByteFault):
    """Random bytes come with the next chunk, ahead of it or in its middle; on BLE as a notification of their own.

    The moments are a Poisson process. A burst behind which nothing is sent for 2 s is left out.
    """

    NAME: ClassVar[str] = "garbage"
    LINKS: ClassVar[frozenset[str]] = frozenset({"serial"})
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"delivery"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"quality"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("per_min", (0.1, 1, 6, 20, 60, 240))

    per_min: float = key(60.0, "bursts a minute", "1/min", low=0.01, high=60000)
    mean_bytes: float = key(20.0, "mean length of a burst", "bytes", low=1, high=2048)

    def bind(self, where: Where) -> BatchStage:
        """The stage for one channel of one sensor."""
        return _Garbage(self, where)


class _Garbage(BatchDamage):
    def __init__(self, fault: FAULT, where: Where) -> None:
        super().__init__(fault, where)
        mean_ns = 60e9 / fault.per_min
        gaps = where.draws.child("gaps")
        self._bursts = Renewals(
            lambda first, count: (-mean_ns * np.log1p(-gaps.uniform(first, count))).astype(np.int64),
            lambda first, count: np.ones(count, dtype=np.int64),
        )
        self._sizes, self._places, self._content = (where.draws.child(use) for use in ("size", "place", "content"))
        self._mean_bytes, self._longest = fault.mean_bytes, LONGEST["ble" if where.channel else "serial"]
        self._splits = not where.channel
        self._from_ns = 0

    def damage(self, batch: Batch, low: int, high: int) -> Batch:
        until_ns = max(self._from_ns, int(batch.at_ns[-1]) - self.where.start_ns + 1)
        begins, _, number = self._bursts.within(self._from_ns, until_ns)
        self._from_ns = until_ns
        if not len(begins) or low >= high:
            return batch
        due_ns = begins + self.where.start_ns
        chunks = np.searchsorted(batch.at_ns, due_ns)
        good = (chunks >= low) & (chunks < high) & (due_ns >= self._window_ns[0])
        good &= batch.at_ns[np.minimum(chunks, len(batch) - 1)] - due_ns < PATIENCE_NS
        into: dict[int, list[int]] = {}
        for which in np.flatnonzero(good).tolist():
            into.setdefault(int(chunks[which]), []).append(number + which)
        return self._insert(batch, into) if into else batch

    def _insert(self, batch: Batch, into: dict[int, list[int]]) -> Batch:
        """``into``: chunk -> numbers of the bursts that come with it."""
        pieces: list[bytes] = []
        times: list[int] = []
        for position, (chunk, at_ns) in enumerate(batch.chunks()):
            parts = self._mixed(chunk, into[position], at_ns) if position in into else [chunk]
            pieces += parts
            times += [at_ns] * len(parts)
        return Batch.of(pieces, np.array(times, dtype=np.int64), batch.channel)

    def _mixed(self, chunk: bytes, numbers: list[int], at_ns: int) -> list[bytes]:
        parts, done = [], 0
        for place, noise in sorted((self._place(number, len(chunk)), self._noise(number)) for number in numbers):
            parts += [chunk[done:place], noise]
            done = place
            self.log(at_ns, at_ns, bytes=len(noise), into=place)
        return [part for part in (*parts, chunk[done:]) if part]

    def _place(self, number: int, size: int) -> int:
        """How many bytes of the chunk come first: none for half of the bursts, and never on BLE."""
        draw = float(self._places.uniform(number, 1)[0])
        return 0 if draw < 0.5 or not self._splits else int((2 * draw - 1) * size)

    def _noise(self, number: int) -> bytes:
        size = min(int(geometric(self._sizes.uniform(number, 1), self._mean_bytes)[0]), self._longest)
        draws = self._content.uniform(number * LONGEST["serial"], size)
        return (256 * draws).astype(np.uint8).tobytes()
