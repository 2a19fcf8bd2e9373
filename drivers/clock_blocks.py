"""What an estimator of a clock keeps of the arrivals: a second's delays as few numbers, so that hours fit in memory.

A block holds the lowest delays each on its own (they carry the clock of a link that only ever delays) and all
delays as averages of ranks (they carry the clock of a link that jitters both ways, and the shape of the delays).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from drivers.types import FloatArray, IntArray

LOWEST = 12
"""Delays of a block that are kept each on its own."""
_EDGES = np.array([0, 1, 3, 6, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 94, 97, 99, 100])
"""Ranks in per cent between which a block's delays are averaged; finer towards the ends."""
RANKS = len(_EDGES) - 1


def arrival_groups(arrival_ns: IntArray, device_ns: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """First sample, largest device time and smallest (arrival - device) of each run of equal arrivals, all (g,)."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(arrival_ns)) + 1])
    last = np.maximum.reduceat(device_ns, starts)
    return starts, last, np.minimum.reduceat(arrival_ns - device_ns, starts)


def median(values: FloatArray) -> float:
    """np.median of a few finite values (n,), n at least 1, several times faster."""
    half = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, half)[half])
    ordered = np.partition(values, (half - 1, half))
    return (float(ordered[half - 1]) + float(ordered[half])) / 2


def huber_line(at_s: FloatArray, value: FloatArray, ridge: float = 0.0) -> tuple[float, FloatArray]:
    """Slope of a robust line, and what is left of the values at 0 s once it is taken out. (n,) each."""
    weight = np.ones(len(at_s))
    slope, rest = 0.0, value
    for _ in range(4):
        total = weight.sum()
        middle = float(weight @ at_s) / total
        level = float(weight @ value) / total
        away = weight * (at_s - middle)
        slope = float(away @ (value - level)) / max(float(away @ (at_s - middle)) + ridge, 1e-12)
        rest = value - slope * at_s
        off = np.abs(rest - median(rest))
        scale = max(1.5 * 1.4826 * median(off), 100.0)
        weight = scale / np.maximum(off, scale)
    return slope, rest


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """b consecutive blocks of chunks. Delays are arrival - device in ns, device times in s; each less a constant."""

    at_s: FloatArray
    """(b,) mean device time."""
    count: FloatArray
    """(b,) chunks, at least 1."""
    level_ns: FloatArray
    """(b, RANKS) mean delays of ranks, ascending; those of no weight are infinite and come last."""
    weight: FloatArray
    """(b, RANKS) chunks behind each of them."""
    low_at_s: FloatArray
    """(b, LOWEST) device times of the earliest arrivals."""
    low_ns: FloatArray
    """(b, LOWEST) their delays, ascending; infinite beyond the block's count."""
    worst_ns: FloatArray
    """(b,) largest delay, as it would have been in the middle of the block."""

    def __len__(self) -> int:
        return len(self.at_s)

    @classmethod
    def of(cls, at_s: FloatArray, delay_ns: FloatArray, block: IntArray, tilt: float = 0.0) -> Blocks:
        """Blocks of chunks (g,) with g >= 1, ``block`` never decreasing. ``tilt`` (ns/s) is about what the delay
        gains by drift: without it a fast clock's earliest arrivals would all be a block's last."""
        level = delay_ns - tilt * at_s
        begins = np.diff(block, prepend=block[0] - 1) != 0
        starts = np.flatnonzero(begins)
        lowest = float(level.min())
        # one sort of numbers: the block before the point, the level behind it
        order = np.argsort(np.cumsum(begins) + (level - lowest) / (1.001 * (float(level.max()) - lowest) + 1.0))
        count = np.diff(starts, append=len(block))
        at, level, delay = at_s[order], level[order], delay_ns[order]
        middle = np.add.reduceat(at_s, starts) / count
        low = np.minimum(np.arange(LOWEST), count[:, None] - 1) + starts[:, None]
        absent = np.arange(LOWEST) >= count[:, None]
        ends = np.rint(count[:, None] * (_EDGES / 100.0)).astype(np.int64)
        weight = np.diff(ends, axis=1)
        total = np.concatenate([[0.0], np.cumsum(level)])
        sums = np.diff(total[starts[:, None] + ends], axis=1)
        empty = weight == 0
        mean = np.where(empty, np.inf, sums / np.maximum(weight, 1))
        ranked = np.argsort(empty, axis=1, kind="stable")
        mean = np.take_along_axis(mean, ranked, axis=1) + tilt * middle[:, None]
        return cls(
            middle,
            count.astype(np.float64),
            mean,
            np.take_along_axis(weight, ranked, axis=1).astype(np.float64),
            at[low],
            np.where(absent, np.inf, delay[low]),
            np.maximum.reduceat(level, starts) + tilt * middle,
        )

    def joined(self, later: Blocks) -> Blocks:
        """These and then ``later``."""
        return Blocks(*(np.concatenate([getattr(self, name), getattr(later, name)]) for name in self.__slots__))

    def halved(self, tilt: float) -> Blocks:
        """Every two neighbours made one; a last one without a neighbour stays."""
        pairs = len(self) // 2
        if not pairs:
            return self
        whole = Blocks(*(getattr(self, name)[: 2 * pairs] for name in self.__slots__))
        rest = Blocks(*(getattr(self, name)[2 * pairs :] for name in self.__slots__))
        count = whole.count.reshape(pairs, 2)
        middle = (whole.at_s.reshape(pairs, 2) * count).sum(axis=1) / count.sum(axis=1)
        level = (whole.level_ns - tilt * whole.at_s[:, None]).reshape(pairs, -1)
        weight = whole.weight.reshape(pairs, -1)
        order = np.argsort(level, axis=1, kind="stable")
        level, weight = np.take_along_axis(level, order, axis=1), np.take_along_axis(weight, order, axis=1)
        two, share = level.reshape(pairs, RANKS, 2), weight.reshape(pairs, RANKS, 2)
        total = share.sum(axis=2)
        known = np.where(share > 0, two, 0.0)
        mean = np.where(total > 0, (known * share).sum(axis=2) / np.maximum(total, 1.0), np.inf)
        low_at, low = whole.low_at_s.reshape(pairs, -1), whole.low_ns.reshape(pairs, -1)
        best = np.argsort(low - tilt * low_at, axis=1, kind="stable")[:, :LOWEST]
        merged = Blocks(
            middle,
            count.sum(axis=1),
            mean + tilt * middle[:, None],
            total,
            np.take_along_axis(low_at, best, axis=1),
            np.take_along_axis(low, best, axis=1),
            (whole.worst_ns - tilt * whole.at_s).reshape(pairs, 2).max(axis=1) + tilt * middle,
        )
        return merged.joined(rest)

    def shifted(self, by_s: float) -> Blocks:
        """The same with device times that count from elsewhere."""
        return replace(self, at_s=self.at_s + by_s, low_at_s=self.low_at_s + by_s)

    def lowest(self) -> FloatArray:
        """(b,) earliest arrival of each block."""
        return self.low_ns[:, 0]
