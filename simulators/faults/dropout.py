"""Dropout: frames are lost in bursts, as on a radio link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.errors import SettingError
from drivers.types import Batch
from simulators.faults import BatchStage, FrameFault, Where, key
from simulators.faults._stage import BatchDamage, Renewals, Spells, geometric
from simulators.truth import Truth


@dataclass(frozen=True, kw_only=True)
class FAULT(FrameFault):
    """Frames are lost in bursts: a two-state Markov chain (Gilbert, Elliott) that loses all frames in its bad state."""

    NAME: ClassVar[str] = "dropout"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"delivery"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"quality"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("mean_lost_percent", (0.05, 0.5, 2, 5, 10, 20, 50, 80))

    mean_lost_percent: float = key(10.0, "share of frames lost in the long run", "%", low=0.001, high=99)
    mean_burst_frames: float = key(5.0, "mean length of a burst of losses", "frames", low=1, high=100000)

    def check_keys(self) -> None:
        """Between two bursts at least one frame gets through."""
        most = 100 * self.mean_burst_frames / (self.mean_burst_frames + 1)
        if self.mean_lost_percent > most:
            raise SettingError(
                f"dropout: mean_lost_percent {self.mean_lost_percent:g} cannot be had with bursts of "
                f"{self.mean_burst_frames:g} frames, since a frame gets through between two; expected at most {most:g}"
            )

    def bind(self, where: Where) -> BatchStage:
        """The stage for one channel of one sensor."""
        return _Dropout(self, where)


class _Dropout(BatchDamage):
    """The chain's stays in its two states are geometric, so they are drawn as such, by their number."""

    def __init__(self, fault: FAULT, where: Where) -> None:
        super().__init__(fault, where)
        share = fault.mean_lost_percent / 100
        gap = fault.mean_burst_frames * (1 - share) / share
        gaps, bursts = where.draws.child("gaps"), where.draws.child("bursts")
        self._bursts = Renewals(
            lambda first, count: geometric(gaps.uniform(first, count), gap),
            lambda first, count: geometric(bursts.uniform(first, count), fault.mean_burst_frames),
        )
        self._spells = Spells(fault, where, "frames")

    def damage(self, batch: Batch, low: int, high: int) -> Batch:
        begins, ends, _ = self._bursts.within(self.seen, self.seen + len(batch))
        lost = np.zeros(len(batch), dtype=bool)
        for begin, end in zip((begins - self.seen).tolist(), (ends - self.seen).tolist(), strict=True):
            lost[max(begin, low) : max(min(end, high), 0)] = True
        self._spells.add(lost, batch.at_ns)
        return batch.take(~lost) if lost.any() else batch

    def under_way(self) -> list[Truth]:
        """The burst that has not ended."""
        return self._spells.under_way()
