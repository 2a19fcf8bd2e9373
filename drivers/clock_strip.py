"""Which lines (offset, slope) pass between bounds from above and from below, and how likely each of them is.

A search from coarse to fine. It leaves a cell of (offset, slope) out only if no line in it could be nearly as good as
the best one found, and looks at a few seconds of data first, then at four times as much, and so on: as far as slopes
are known from a short stretch, few bounds of a longer one still matter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, erf, erfc

from drivers.types import FloatArray

Soft = tuple[tuple[float, float], ...]
"""How an edge gives way, in steps: (distance in ns, nats)."""
SHARP: Soft = ()

_FLAT_PPM, _SHOULDER_PPM = 200.0, 40.0
_MOST_SLOPE = 350e3
"""ns/s: the prior leaves nothing beyond."""
_IMPOSSIBLE = 12.0
"""Nats that a packet costs which a line has arrive before it was complete."""
_LOST, _KEPT = 0.5, 9.5
"""Beta prior of the share of polls lost: 5 % on average, 0 to 20 % likely."""
_MOST_LOST = 12
"""A chunk later than so many polls was held up by something else."""
_FIRST_SPAN_S, _FIRST_CHUNKS = 10.0, 24
_ROUGH, _FINE = (33, 48), (61, 96)
_NATS, _FINE_NATS = 20.0, 12.0
_MOST_ACTIVE = 1200
"""Of more bounds of one kind, the ones that bind first in each stretch of time are used."""


def jitter_edge(sigma_ns: float) -> Soft:
    """How log P(half-normal jitter < w) rises with w."""
    at = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.55, 0.8, 1.2, 1.8])
    between = np.log(erf(np.sqrt(at[:-1] * at[1:]) / np.sqrt(2)))
    nats = -np.diff(between, prepend=np.log(erf(0.01)), append=0.0)
    return tuple(zip((sigma_ns * at).tolist(), (-nats).tolist(), strict=True))


def jitter_tail(sigma_ns: float) -> Soft:
    """How log P(half-normal jitter > w) falls with w, as far as a lost packet does not explain it better."""
    at = np.array([0.2, 0.5, 0.8, 1.1, 1.4, 1.7, 2.0, 2.3])
    nats = -np.diff(np.log(erfc((at + 0.15) / np.sqrt(2))), prepend=0.0)
    return tuple(zip((sigma_ns * at).tolist(), nats.tolist(), strict=True))


def frame_edge(frame_ns: float) -> Soft:
    """How log P(phase within a frame > w) falls as w rises to a frame: the poll before may have been as late."""
    share = np.linspace(0, 1, 9)[:-1]
    nats = -np.diff(np.log(1 - share - 0.06), prepend=0.0)
    return tuple(zip((frame_ns * (share - 1)).tolist(), nats.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Bounds:
    """A line must lie below each ``top`` and above each ``bottom``, unless polls were lost. Times about the middle."""

    top_s: FloatArray
    """(g,) device time of each chunk's last sample."""
    top: FloatArray
    """(g,) host - device if that was complete just in time, ns."""
    bottom_s: FloatArray
    """(g,) device time of what must have missed the poll before."""
    bottom: FloatArray
    """(g,) host - device if it missed that just so; ``height`` lower for each poll lost."""
    height: float
    soft_top: Soft = SHARP
    """Nats lost by lines that lie so little below ``top`` or less: the host's jitter is in it."""
    soft_bottom: Soft = SHARP
    """Nats lost by lines that lie further below ``bottom`` than this; from the last one on, a poll was lost."""

    @property
    def reach_s(self) -> float:
        """Largest time from the middle."""
        return float(max(np.abs(self.top_s).max(), np.abs(self.bottom_s).max()))

    def within(self, reach_s: float) -> Bounds:
        """The bounds of chunks no further from the middle than this."""
        near = np.abs(self.top_s) <= reach_s
        return replace(
            self, top_s=self.top_s[near], top=self.top[near], bottom_s=self.bottom_s[near], bottom=self.bottom[near]
        )

    def lost_share(self, offset: float, slope: float) -> float:
        """Share of polls that a line says were lost."""
        box = (offset, offset + 1.0, slope, slope)
        lost = _late(self, box, np.array([slope]), np.array([offset, offset + 1.0]), False)[0][0, 0]
        return float(lost / (lost + len(self.top)))


Box = tuple[float, float, float, float]
"""Offsets from, to (ns), slopes from, to (ns/s)."""


def posterior(bounds: Bounds) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Lines (offset in the middle in ns, slope in ns/s) and their share of the posterior, (m,) each."""
    whole = bounds.reach_s
    enough = float(np.sort(np.abs(bounds.top_s))[min(_FIRST_CHUNKS, len(bounds.top_s)) - 1])
    reach = min(max(_FIRST_SPAN_S / 2, 1.01 * enough), whole)
    box = _first_box(bounds.within(reach), reach)
    while True:
        part = bounds.within(reach)
        for _ in range(8):
            before, box = box, _narrowed(part, box)
            if _size(box) > 0.6 * _size(before):
                break
        if reach >= whole:
            return _resolved(bounds, box)
        reach = min(4 * reach, whole)


def _size(box: Box) -> float:
    return (box[1] - box[0]) * (box[3] - box[2])


def _first_box(part: Bounds, reach_s: float) -> Box:
    level = float(np.quantile(part.top, 0.05))
    slack = _MOST_SLOPE * reach_s
    return level - part.height - slack, level + part.height + slack, -_MOST_SLOPE, _MOST_SLOPE


def _axes(box: Box, shape: tuple[int, int]) -> tuple[FloatArray, FloatArray, float, float]:
    """Middles of the cells into which a box is cut, (slopes,) and (offsets,), and the cells' sides."""
    slopes, offsets = shape
    wide, high = (box[3] - box[2]) / slopes, (box[1] - box[0]) / offsets
    slope = np.asarray(box[2] + wide * (np.arange(slopes) + 0.5))
    offset = np.asarray(box[0] + high * (np.arange(offsets) + 0.5))
    return slope, offset, wide, high


def _narrowed(part: Bounds, box: Box) -> Box:
    """The box about every cell that may hold a line nearly as good as the best one found."""
    slope, offset, wide, high = _axes(box, _ROUGH)
    slack = 0.5 * high + 0.5 * wide * part.reach_s
    best = float(_log_posterior(part, box, slope, offset, 0.0).max())
    may = _log_posterior(part, box, slope, offset, slack) > best - _NATS
    return _about(may, box, wide, high)


def _about(may: NDArray[np.bool_], box: Box, wide: float, high: float) -> Box:
    rows, columns = np.flatnonzero(may.any(axis=1)), np.flatnonzero(may.any(axis=0))
    if not len(rows):
        return box
    offsets = box[0] + high * columns[0], box[0] + high * (columns[-1] + 1)
    return (*offsets, box[2] + wide * rows[0], box[2] + wide * (rows[-1] + 1))


def _resolved(bounds: Bounds, box: Box) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The posterior on a grid that is fine enough for it."""
    for _ in range(6):
        slope, offset, wide, high = _axes(box, _FINE)
        log_weight = _log_posterior(bounds, box, slope, offset, 0.0)
        inner = _about(log_weight > log_weight.max() - _FINE_NATS, box, wide, high)
        if inner[1] - inner[0] > 0.4 * (box[1] - box[0]) and inner[3] - inner[2] > 0.4 * (box[3] - box[2]):
            break
        box = inner[0] - high, inner[1] + high, inner[2] - wide, inner[3] + wide
    weight = np.exp(log_weight - log_weight.max()).ravel()
    keep = weight > 1e-7
    lines = np.tile(offset, len(slope))[keep], np.repeat(slope, len(offset))[keep]
    return *lines, weight[keep] / weight[keep].sum()


def _log_posterior(bounds: Bounds, box: Box, slope: FloatArray, offset: FloatArray, slack: float) -> FloatArray:
    """Log posterior of each (slope, offset), or with ``slack`` the most that it can be so near to it. (s, o)"""
    soft = offset[1] - offset[0] < max((abs(at) for at, _ in bounds.soft_top + bounds.soft_bottom), default=0.0)
    early = _early(bounds, box, slope, offset - slack, soft)
    lost, late = _late(bounds, box, slope, offset + slack, soft)
    beyond = np.maximum(np.abs(slope) / 1e3 - _FLAT_PPM, 0.0) / _SHOULDER_PPM
    return np.asarray(betaln(lost + _LOST, len(bounds.top) + _KEPT) - early - late - 0.5 * (beyond**2)[:, None])


def _early(bounds: Bounds, box: Box, slope: FloatArray, offset: FloatArray, soft: bool) -> FloatArray:
    """Nats that each line loses by chunks that came before, or hardly after, they were complete. (s, o)"""
    edges = bounds.soft_top if soft else SHARP
    high = max(float(offset[-1]), box[1]) + max((at for at, _ in edges), default=0.0)
    crossing = bounds.top - np.maximum(box[2] * bounds.top_s, box[3] * bounds.top_s) < high
    at_s, top = _binding(bounds.top_s[crossing], bounds.top[crossing], box, 1)
    value = top - slope[:, None] * at_s
    cost = _IMPOSSIBLE * _counts(value, offset)
    for above, nats in edges:
        cost += nats * _counts(value - above, offset)
    return cost


def _late(bounds: Bounds, box: Box, slope: FloatArray, offset: FloatArray, soft: bool) -> tuple[FloatArray, FloatArray]:
    """Polls lost by all chunks together, for each line, and nats for those that hardly were. (s, o)"""
    edges = bounds.soft_bottom
    low, high = min(box[0], float(offset[0])), max(box[1], float(offset[-1]))
    bottom = bounds.bottom - (edges[-1][0] if edges else 0.0)
    lean = np.sort([box[2] * bounds.bottom_s, box[3] * bounds.bottom_s], axis=0)
    least = np.clip(np.ceil((bottom - lean[1] - high) / bounds.height), 0, _MOST_LOST)
    most = np.clip(np.ceil((bottom - lean[0] - low) / bounds.height), 0, _MOST_LOST)
    total = np.full((len(slope), len(offset)), float(least.sum()))
    for step in range(int((most - least).max(initial=0))):
        crossing = most - least > step
        level = bottom[crossing] - (least[crossing] + step) * bounds.height
        at_s, level = _binding(bounds.bottom_s[crossing], level, box, -1)
        total += len(level) - _counts(level - slope[:, None] * at_s, offset)
    cost = np.zeros_like(total)
    if soft and edges:
        near = bounds.bottom - lean[0] - low > edges[0][0]
        at_s, level = _binding(bounds.bottom_s[near], bounds.bottom[near], box, -1)
        value = level - slope[:, None] * at_s
        for below, nats in edges:
            cost += nats * (len(level) - _counts(value - below, offset))
    return total, cost


def _counts(value: FloatArray, offset: FloatArray) -> FloatArray:
    """How many values of each row lie below each offset; offsets evenly spaced. (s, n), (o,) -> (s, o)"""
    rows, columns = len(value), len(offset)
    if not value.size:
        return np.zeros((rows, columns))
    step = float(offset[1] - offset[0])
    place = np.clip(np.floor((value - offset[0]) / step) + 1, 0, columns).astype(np.int64)
    place += (np.arange(rows) * (columns + 1))[:, None]
    count = np.bincount(place.ravel(), minlength=rows * (columns + 1)).reshape(rows, columns + 1)
    return np.asarray(np.cumsum(count, axis=1)[:, :columns], dtype=np.float64)


def _binding(at_s: FloatArray, level: FloatArray, box: Box, sign: int) -> tuple[FloatArray, FloatArray]:
    """Of many points the few that bind first, lowest (sign 1) or highest (-1), in each of 400 stretches of time."""
    if len(at_s) <= _MOST_ACTIVE:
        return at_s, level
    stretch = np.arange(len(at_s)) * (_MOST_ACTIVE // 3) // len(at_s)
    order = np.lexsort((sign * (level - 0.5 * (box[2] + box[3]) * at_s), stretch))
    first = np.flatnonzero(np.diff(stretch, prepend=-1))
    pick = order[np.unique(np.minimum(np.concatenate([first, first + 1, first + 2]), len(order) - 1))]
    return at_s[pick], level[pick]
