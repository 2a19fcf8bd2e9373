"""A device's clock against the host's, after the run: offset and drift of each segment with honest intervals."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from drivers.types import FloatArray, IntArray

_SECOND_NS = 1_000_000_000
_BLOCK_CHUNKS = 8
"""A block holds so many chunks where there are enough: the minimum of fewer is no floor."""
_SMALLEST_CELL_NS = 1e6
"""Finer batching than this drowns in a host's own jitter."""
_STEADY_NS = 250_000
"""A link's smallest delay may move by so much in a run: a line of text grows by a byte or two with its numbers."""
_SHARES = (0.0, 0.05, 0.25, 0.5)
_ORDERED = 0.85
"""Phase concentration from which delays count as lying on a lattice."""


def arrival_groups(arrival_ns: IntArray, device_ns: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """First sample, largest device time and smallest (arrival - device) of each run of equal arrivals, all (g,)."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(arrival_ns)) + 1])
    last = np.maximum.reduceat(device_ns, starts)
    return starts, last, np.minimum.reduceat(arrival_ns - device_ns, starts)


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
        off = np.abs(rest - np.median(rest))
        scale = max(1.5 * 1.4826 * float(np.median(off)), 100.0)
        weight = scale / np.maximum(off, scale)
    return slope, rest


@dataclass(frozen=True, slots=True)
class ClockFit:
    """One segment's device clock against the host clock: host = device + offset, offset moving with the drift.

    Intervals hold with 95 % confidence. Offsets include the link's smallest delay, which one-way data cannot show.
    """

    segment: int
    start: int
    """Number of the segment's first sample in the arrays given."""
    n: int
    """Samples in the segment."""
    arrivals: int
    """Chunks that carried them: what the estimate really rests on."""
    reference_ns: int
    """Device time at which the offset is stated: the middle of the segment, where it is known best."""
    offset_ns: float
    offset_low_ns: float
    offset_high_ns: float
    drift_ppm: float
    """Positive: the device's clock runs fast. The interval is infinite where the data say nothing."""
    drift_low_ppm: float
    drift_high_ppm: float
    jitter_ns: float
    """Robust standard deviation of the per-second statistic about the line."""
    cell_ns: float
    """Height of the strip in which batching hides the clock (0: none seen): drift is known to +-cell/duration."""
    delay_ns: tuple[float, float, float, float]
    """50 %, 95 %, 99 % and largest delay of the chunks over the earliest arrivals."""
    duration_s: float

    def host_ns(self, device_ns: IntArray) -> FloatArray:
        """Host time of device times, float64 ns."""
        return np.asarray(device_ns + self.offset_ns + self.slope * (device_ns - self.reference_ns))

    @property
    def slope(self) -> float:
        """Change of (host - device) per device second."""
        return _slope_of(self.drift_ppm)

    def offset_interval_ns(self, device_ns: float) -> tuple[float, float]:
        """95 % interval of (host - device) at a device time; grows away from the reference with the drift's."""
        away = device_ns - self.reference_ns
        if away == 0 or not np.isfinite(self.drift_high_ppm - self.drift_low_ppm):
            spread = (0.0, 0.0) if away == 0 else (-np.inf, np.inf)
        else:
            ends = sorted(away * _slope_of(ppm) for ppm in (self.drift_low_ppm, self.drift_high_ppm))
            spread = ends[0], ends[1]
        return self.offset_low_ns + spread[0], self.offset_high_ns + spread[1]


def _slope_of(drift_ppm: float) -> float:
    return 1 / (1 + drift_ppm * 1e-6) - 1


def _drift_of(slope: float) -> float:
    if np.isinf(slope):
        return -slope
    return (1 / (1 + slope) - 1) * 1e6


def fit_clock(device_ns: IntArray, arrival_ns: IntArray, segment: IntArray, cell_ns: float = 0.0) -> list[ClockFit]:
    """A ClockFit for each segment, in order. Arguments (n,), in order of arrival.

    ``cell_ns``: the greatest common step of the link's polling (BLE connection interval, USB latency timer) and the
    device's packets, where the caller knows it; otherwise it is looked for in the data. It cannot be seen where the
    packet period is a whole number of polls: there every packet waits equally long, as on a link without batching.
    Where a poll is a whole number of samples and no drift shows, a sample's period is taken.
    """
    if not len(device_ns):
        return []
    edges = [0, *(np.flatnonzero(np.diff(segment)) + 1).tolist(), len(segment)]
    fits = []
    for start, stop in pairwise(edges):
        part = slice(start, stop)
        fits.append(_fit(device_ns[part], arrival_ns[part], int(segment[start]), start, cell_ns))
    return fits


def _fit(device: IntArray, arrival: IntArray, segment: int, start: int, cell_ns: float) -> ClockFit:
    starts, last, delay = arrival_groups(arrival, device)
    reference, base = (int(device.min()) + int(device.max())) // 2, int(delay.min())
    at_s, z = (last - reference) / _SECOND_NS, (delay - base).astype(np.float64)
    duration_s = float(np.ptp(at_s))
    rough = _Blocks.of(at_s, z)
    cell = max(cell_ns, rough.cell_ns())
    tilt, _ = huber_line(rough.at_s, rough.lowest())
    blocks = _Blocks.of(at_s, z - tilt * at_s)
    one_sided = cell > 0 or blocks.one_sided()
    value = blocks.lowest() if one_sided else blocks.steadiest()
    slope, rest = huber_line(blocks.at_s, value)
    over = z - (tilt + slope) * at_s
    jitter = 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
    half = _slope_error(blocks.at_s, rest, jitter)
    if not cell:
        cell = _unseen_cell(starts, device, rest, abs(tilt + slope) <= half)
    half += (cell + _STEADY_NS) / duration_s if duration_s else np.inf
    top = rest if one_sided else blocks.middle() - slope * blocks.at_s
    centre, low, high = _levels(float(over.min()), float(np.median(top)), rest, jitter, blocks, cell)
    p50, p95, p99, worst = np.quantile(over - over.min(), (0.5, 0.95, 0.99, 1.0)).tolist()
    drifts = [_drift_of((tilt + slope + move) / _SECOND_NS) for move in (0.0, half, -half)]
    return ClockFit(
        segment, start, len(device), len(z), reference, base + centre, base + low, base + high,
        drifts[0], drifts[1], drifts[2], jitter, cell, (p50, p95, p99, worst), duration_s,
    )  # fmt: skip


def _unseen_cell(starts: IntArray, device: IntArray, rest: FloatArray, still: bool) -> float:
    """Several samples an arrival, and no drift or one that goes by samples: a poll may hold the last of each chunk up
    to a period. A drift that goes smoothly shows that nothing polls."""
    if len(rest) < 2 or np.median(np.diff(starts, append=len(device))) < 2:
        return 0.0
    period = float(np.median(np.diff(device)))
    return period if still or np.abs(np.diff(rest)).max() > period / 2 else 0.0


def _levels(
    floor: float, top: float, rest: FloatArray, jitter: float, blocks: _Blocks, cell: float
) -> tuple[float, float, float]:
    """Offset at the reference and its interval: from below the earliest arrival up to ``top``.

    On a batched link the true line lies up to a cell below the earliest arrivals; slips that were seen narrow that.
    """
    margin = 3 * jitter / float(np.sqrt(len(rest))) + 1.5 * blocks.spacing_ns()
    if not cell:
        return float(np.median(rest)), floor - margin, top + margin
    hidden = max(cell - float(np.ptp(rest)), 0.0)
    return floor - hidden / 2, floor - max(hidden, cell / 2) - margin, floor + cell / 2 + margin


def _slope_error(at_s: FloatArray, rest: FloatArray, jitter: float) -> float:
    """Half width of the 95 % interval of the slope, ns/s; residuals that hang together count for fewer."""
    count = len(at_s)
    if count < 4:
        return float("inf")
    off = np.clip(rest - np.median(rest), -3 * jitter, 3 * jitter)
    power = float(off @ off)
    together = float(np.clip(off[1:] @ off[:-1] / power, 0.0, 0.95)) if power > 0 else 0.0
    spread = max(float(np.sqrt(power / max(count - 2, 1))), 1.0)
    error = spread / float(np.sqrt(np.sum((at_s - at_s.mean()) ** 2)))
    return 1.4 * (1.96 + 8 / count) * error * float(np.sqrt((1 + together) / (1 - together)))


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Delays sorted within blocks of about a second."""

    at_s: FloatArray
    """(b,) mean device time of the block's chunks."""
    sorted_ns: FloatArray
    """(g,) all delays, ascending within each block."""
    starts: IntArray
    counts: IntArray

    @classmethod
    def of(cls, at_s: FloatArray, delay_ns: FloatArray) -> _Blocks:
        """Blocks of at least a second and, where there are enough, eight chunks; thin ones are left out."""
        count = len(at_s)
        per_block = int(np.clip(count // 16, 1, _BLOCK_CHUNKS))
        length_s = max(1.0, per_block * float(np.ptp(at_s)) / max(count - 1, 1))
        block = np.floor((at_s - at_s.min()) / length_s).astype(np.int64)
        sizes = np.bincount(block)
        keep = (sizes >= max(1.0, 0.5 * float(np.median(sizes[sizes > 0]))))[block]
        block, at_s, delay_ns = block[keep], at_s[keep], delay_ns[keep]
        order = np.lexsort((delay_ns, block))
        _, starts, counts = np.unique(block[order], return_index=True, return_counts=True)
        middle = np.add.reduceat(at_s[order], starts) / counts
        return cls(middle, delay_ns[order], starts, counts)

    def lowest(self) -> FloatArray:
        """(b,) earliest arrival of each block."""
        return self.sorted_ns[self.starts]

    def middle(self) -> FloatArray:
        """(b,) median of each block."""
        return self._share(0.5)

    def _share(self, share: float) -> FloatArray:
        return self.sorted_ns[self.starts + (share * (self.counts - 1)).astype(np.int64)]

    def one_sided(self) -> bool:
        """The earliest arrivals scatter least from block to block, as on every link that only ever delays."""
        if len(self.starts) < 2:
            return True
        floor, *others = (_scatter(self._share(share)) for share in _SHARES)
        return floor <= 1.2 * min(others)

    def steadiest(self) -> FloatArray:
        """(b,) the quantile that scatters least; the median where it comes near that."""
        scatter = [_scatter(self._share(share)) for share in _SHARES]
        best = _SHARES[scatter.index(min(scatter))]
        return self.middle() if scatter[-1] <= 1.2 * min(scatter) else self._share(best)

    def spacing_ns(self) -> float:
        """Median distance of a block's two earliest arrivals: how sharp the floor is."""
        pairs = self.starts[self.counts > 1]
        return float(np.median(self.sorted_ns[pairs + 1] - self.sorted_ns[pairs])) if len(pairs) else 0.0

    def cell_ns(self) -> float:
        """Step of the lattice on which the delays of a batched link lie; 0 where they lie on none."""
        count = min(len(self.starts), max(1, 4000 // max(int(np.median(self.counts)), 1)))
        starts, counts = self.starts[:count], self.counts[:count]
        delay = self.sorted_ns[: int(starts[-1] + counts[-1])]
        place = np.arange(len(delay)) - np.repeat(starts, counts)
        gap = np.where((place > 0) & (place <= np.repeat(counts, counts) // 2), np.diff(delay, prepend=delay[0]), 0.0)
        guess = float(np.median(np.maximum.reduceat(gap, starts)))
        if guess < _SMALLEST_CELL_NS:
            return 0.0
        steps = guess * np.linspace(0.95, 1.1, 31)
        turns = np.exp(2j * np.pi * delay[:, None] / steps)
        order = np.mean(np.abs(np.add.reduceat(turns, starts)) / counts[:, None], axis=0)
        best = int(np.argmax(order))
        return float(steps[best]) if order[best] > _ORDERED and counts.min() > 1 else 0.0


def _scatter(value: FloatArray) -> float:
    return float(np.median(np.abs(np.diff(value))))
