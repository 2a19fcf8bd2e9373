"""Which lines (offset, slope) pass between bounds from above and from below, and how likely each of them is.

A search from coarse to fine. It leaves a cell of (offset, slope) out only if no line in it could be nearly as good as
the best one found, and looks at a few seconds of data first, then at four times as much, and so on: as far as slopes
are known from a short stretch, few bounds of a longer one still matter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln

from drivers.clock_blur import counts, log_frame, log_lower, log_upper
from drivers.types import FloatArray, IntArray

_FLAT_PPM, _SHOULDER_PPM = 160.0, 35.0
_MOST_SLOPE = 350e3
"""ns/s: the prior leaves nothing beyond."""
_IMPOSSIBLE = 12.0
"""Nats that a packet costs which a line has arrive before it was complete."""
_LOST, _KEPT = 0.5, 9.5
"""Beta prior of the share of polls lost: 5 % on average, 0 to 20 % likely."""
_MOST_LOST = 12
"""A chunk later than so many polls was held up by something else."""
_FIRST_SPAN_S, _FIRST_CHUNKS = 10.0, 24
_ROUGH, _FINE, _GLANCE, _BLURRED = (25, 36), (61, 96), (13, 18), (25, 36)
_NATS, _FINE_NATS = 20.0, 12.0
_MOST_ACTIVE = 1500
"""Of more bounds of one kind, the ones that bind first in each stretch of time are used."""


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
    late: FloatArray
    """(g,) how much later than the grid each chunk arrived, ns."""
    jitter_ns: float = 0.0
    """Half-normal part of ``late`` that came after the poll; 0: bounds are exact."""
    frame_ns: float = 0.0
    """So much of ``late`` may lie before the poll."""
    own: bool = True
    """``bottom`` speaks of the chunk's own poll, not of the one before."""
    firm: bool = True
    """What missed a poll missed it by itself; False: it may have been ready late, how often nobody knows."""

    @property
    def reach_s(self) -> float:
        """Largest time from the middle."""
        return float(max(np.abs(self.top_s).max(), np.abs(self.bottom_s).max()))

    def within(self, reach_s: float) -> Bounds:
        """The bounds of chunks no further from the middle than this."""
        near = np.abs(self.top_s) <= reach_s
        pick = ("top_s", "top", "bottom_s", "bottom", "late")
        return replace(self, **{name: getattr(self, name)[near] for name in pick})

    def moved(self, origin_s: float) -> Bounds:
        """The bounds with times about another moment."""
        return replace(self, top_s=self.top_s - origin_s, bottom_s=self.bottom_s - origin_s)

    def lost_share(self, offset: float, slope: float) -> float:
        """Share of polls that a line says were lost."""
        box = (offset, offset + 1.0, slope, slope)
        lost = _late(self, box, np.array([slope]), np.array([offset, offset + 1.0]))[0, 0]
        return float(lost / (lost + len(self.top)))


Box = tuple[float, float, float, float]
"""Offsets from, to (ns), slopes from, to (ns/s)."""
_Place = tuple[float, Box]
"""A box, and the moment (s from the middle) at which its offsets are taken: where lines differ in slope only, as after
a single slide, that is when they cross."""


def posterior(bounds: Bounds) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Lines (offset in the middle in ns, slope in ns/s) and their share of the posterior, (m,) each."""
    whole = bounds.reach_s
    enough = float(np.sort(np.abs(bounds.top_s))[min(_FIRST_CHUNKS, len(bounds.top_s)) - 1])
    reach = min(max(_FIRST_SPAN_S / 2, 1.01 * enough), whole)
    place = 0.0, _first_box(bounds.within(reach), reach)
    while True:
        part = bounds.within(reach)
        for _ in range(8):
            before, place = place, _narrowed(part, place)
            if _size(place[1]) > 0.6 * _size(before[1]):
                break
        if reach >= whole:
            return _resolved(bounds, place)
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


def _narrowed(part: Bounds, place: _Place) -> _Place:
    """The box about every cell that may hold a line nearly as good as the best one found."""
    origin, box = place
    moved = part.moved(origin)
    slope, offset, wide, high = _axes(box, _ROUGH)
    slack = 0.5 * high + 0.5 * wide * moved.reach_s
    best = float(_log_posterior(moved, box, slope, offset, 0.0).max())
    may = _log_posterior(moved, box, slope, offset, slack) > best - _NATS
    return _about(may, place, wide, high)


def _about(may: NDArray[np.bool_], place: _Place, wide: float, high: float) -> _Place:
    """The smallest box about some cells, with offsets taken when that makes it smallest."""
    rows, columns = np.nonzero(may)
    if not len(rows):
        return place
    origin, box = place
    slope, offset = wide * (rows - rows.mean()), high * columns
    lean = -float(offset @ slope) / max(float(slope @ slope), 1e-12)
    slopes = box[2] + wide * float(rows.min()), box[2] + wide * float(rows.max() + 1)
    straight = box[0] + float(offset.min()), box[0] + float(offset.max()) + high
    there = box[0] + (0.5 * high) + offset + lean * (box[2] + wide * (rows + 0.5))
    margin = 0.5 * (high + wide * abs(lean))
    crossed = float(there.min()) - margin, float(there.max()) + margin
    if crossed[1] - crossed[0] < 0.7 * (straight[1] - straight[0]):
        return origin + lean, (*crossed, *slopes)
    return origin, (*straight, *slopes)


def _resolved(bounds: Bounds, place: _Place) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The posterior on a grid that is fine enough for it."""
    for turn in range(8):
        shape = (_BLURRED if turn else _GLANCE) if bounds.jitter_ns else _FINE
        origin, box = place
        moved = bounds.moved(origin)
        slope, offset, wide, high = _axes(box, shape)
        log_weight = _log_posterior(moved, box, slope, offset, 0.0)
        blurred = bounds.jitter_ns and high < 4 * bounds.jitter_ns
        if blurred:
            log_weight += _log_upper(moved, box, slope, offset)
            log_weight += _log_lower(moved, box, slope, offset) if bounds.firm else 0.0
        slack = 0.0 if blurred else 0.5 * high + 0.5 * wide * moved.reach_s
        most = _log_posterior(moved, box, slope, offset, slack) if slack else log_weight
        there, inner = _about(most > log_weight.max() - _FINE_NATS, place, wide, high)
        if shape != _GLANCE and there == origin and _size(inner) > (0.25 if blurred else 0.6) * _size(box):
            break
        pad = (high, wide) if blurred else (0.0, 0.0)
        place = there, (inner[0] - pad[0], inner[1] + pad[0], inner[2] - pad[1], inner[3] + pad[1])
    weight = np.exp(log_weight - log_weight.max()).ravel()
    keep = weight > 1e-7
    slopes = np.repeat(slope, len(offset))[keep]
    return np.tile(offset, len(slope))[keep] - origin * slopes, slopes, weight[keep] / weight[keep].sum()


def _log_posterior(bounds: Bounds, box: Box, slope: FloatArray, offset: FloatArray, slack: float) -> FloatArray:
    """Log posterior of each (slope, offset), or with ``slack`` the most that it can be so near to it. (s, o)"""
    early = _early(bounds, box, slope, offset - slack)
    lost = _late(bounds, box, slope, offset + slack)
    beyond = np.maximum(np.abs(slope) / 1e3 - _FLAT_PPM, 0.0) / _SHOULDER_PPM
    likely = betaln(lost + _LOST, len(bounds.top) + _KEPT) - _IMPOSSIBLE * early
    return np.asarray(likely - 0.5 * (beyond**2)[:, None])


def _early(bounds: Bounds, box: Box, slope: FloatArray, offset: FloatArray) -> FloatArray:
    """Chunks that came before they were complete, for each line. (s, o)"""
    high = max(float(offset[-1]), box[1])
    crossing = bounds.top - np.maximum(box[2] * bounds.top_s, box[3] * bounds.top_s) < high
    pick = _binding(bounds.top_s, bounds.top, crossing, box, 1)
    return counts(bounds.top[pick] - slope[:, None] * bounds.top_s[pick], offset)


def _late(bounds: Bounds, box: Box, slope: FloatArray, offset: FloatArray) -> FloatArray:
    """Polls lost by all chunks together, for each line. (s, o)"""
    low, high = min(box[0], float(offset[0])), max(box[1], float(offset[-1]))
    lean = np.sort([box[2] * bounds.bottom_s, box[3] * bounds.bottom_s], axis=0)
    least = np.clip(np.ceil((bounds.bottom - lean[1] - high) / bounds.height), 0, _MOST_LOST)
    most = np.clip(np.ceil((bounds.bottom - lean[0] - low) / bounds.height), 0, _MOST_LOST)
    total = np.full((len(slope), len(offset)), float(least.sum()))
    for step in range(int((most - least).max(initial=0))):
        level = bounds.bottom - (least + step) * bounds.height
        pick = _binding(bounds.bottom_s, level, most - least > step, box, -1)
        total += len(pick) - counts(level[pick] - slope[:, None] * bounds.bottom_s[pick], offset)
    return total


def _log_upper(bounds: Bounds, box: Box, slope: FloatArray, offset: FloatArray) -> FloatArray:
    """Log probability that the jitter was no more than the lines leave room for. (s, o)"""
    wait = bounds.top - np.maximum(box[2] * bounds.top_s, box[3] * bounds.top_s) - box[1]
    pick = _binding(bounds.top_s, bounds.top, wait < np.minimum(bounds.late, 4 * bounds.jitter_ns), box, 1)
    chunks = bounds.top_s[pick], bounds.top[pick], bounds.late[pick]
    return log_upper(*chunks, bounds.jitter_ns, bounds.frame_ns, slope, offset)


def _log_lower(bounds: Bounds, box: Box, slope: FloatArray, offset: FloatArray) -> FloatArray:
    """Log probability that the jitter, or the frame phase of the poll before, was as large as the lines ask for."""
    room = bounds.late if bounds.own else np.full(len(bounds.late), bounds.frame_ns)
    near = bounds.bottom + room - np.minimum(box[2] * bounds.bottom_s, box[3] * bounds.bottom_s) > box[0]
    near &= bounds.bottom - np.maximum(box[2] * bounds.bottom_s, box[3] * bounds.bottom_s) < box[1]
    pick = _binding(bounds.bottom_s, bounds.bottom + room, near & (room > 0), box, -1)
    at_s, bottom = bounds.bottom_s[pick], bounds.bottom[pick]
    if bounds.own:
        return log_lower(at_s, bottom, room[pick], bounds.jitter_ns, bounds.frame_ns, slope, offset)
    return log_frame(at_s, bottom, bounds.frame_ns, slope, offset)


def _binding(at_s: FloatArray, level: FloatArray, near: NDArray[np.bool_], box: Box, sign: int) -> IntArray:
    """Numbers of the bounds in question; of too many the three that bind first, lowest (sign 1) or highest (-1), in
    each of several hundred stretches of time."""
    pick = np.flatnonzero(near)
    if len(pick) <= _MOST_ACTIVE:
        return pick
    stretch = np.arange(len(pick)) * (_MOST_ACTIVE // 3) // len(pick)
    order = np.lexsort((sign * (level - 0.5 * (box[2] + box[3]) * at_s)[pick], stretch))
    first = np.flatnonzero(np.diff(stretch, prepend=-1))
    kept = order[np.unique(np.minimum(np.concatenate([first, first + 1, first + 2]), len(order) - 1))]
    return np.asarray(pick[kept])
