"""Delay: everything comes late, and perhaps later and later, as through a queue that fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.errors import SettingError
from drivers.types import Batch
from simulators.faults import BatchStage, ByteFault, Where, key
from simulators.faults._stage import BatchDamage, Spells
from simulators.truth import Truth


@dataclass(frozen=True, kw_only=True)
class FAULT(ByteFault):
    """Everything comes later by a delay that grows while the fault lasts; nothing is lost, and order is kept.

    When it ends, what is still under way holds up what is sent then. With ``ms`` and no growth the link stands still
    at start_s for so long, and then goes on with old samples. (A counter of 8 bits cannot tell the silence in which
    its samples were delayed by more than one wrap from one in which they were lost.)
    """

    NAME: ClassVar[str] = "delay"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"age"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"content_sync", "delivery", "latency", "quality", "rate", "sync"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("growth_ms_per_s", (0.1, 0.5, 1, 2, 5, 10, 20, 50))

    ms: float = key(0.0, "delay at the beginning", "ms", low=0, high=600000)
    growth_ms_per_s: float = key(20.0, "how much the delay grows in a second", "ms/s", low=0, high=10000)

    def check_keys(self) -> None:
        """Something must come late."""
        if not (self.ms or self.growth_ms_per_s):
            raise SettingError("delay: nothing would come late; expected ms or growth_ms_per_s above 0")

    def bind(self, where: Where) -> BatchStage:
        """The stage for one channel of one sensor."""
        return _Delay(self, where)


class _Delay(BatchDamage):
    """The truth is one entry: the time from the first to the last chunk that came late, by when they were due."""

    def __init__(self, fault: FAULT, where: Where) -> None:
        super().__init__(fault, where)
        self._ms, self._growth = fault.ms, fault.growth_ms_per_s
        self._spells = Spells(fault, where, "chunks", ms=fault.ms, growth_ms_per_s=fault.growth_ms_per_s)
        self._last_ns = -(2**62)
        """Nothing overtakes what came before."""

    def damage(self, batch: Batch, low: int, high: int) -> Batch:
        at_ns = batch.at_ns.copy()
        lasted_s = (at_ns[low:high] - self._window_ns[0]) / 1e9
        at_ns[low:high] += np.rint((self._ms + self._growth * lasted_s) * 1e6).astype(np.int64)
        at_ns = np.maximum.accumulate(np.maximum(at_ns, self._last_ns))
        self._last_ns = int(at_ns[-1])
        late = at_ns != batch.at_ns
        self._spells.add(late, batch.at_ns)
        return Batch(batch.data, batch.ends, at_ns, batch.channel) if late.any() else batch

    def under_way(self) -> list[Truth]:
        """The spell that has not ended."""
        return self._spells.under_way()
