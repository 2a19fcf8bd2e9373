"""The clock under one-sided delays: what the earliest arrivals say about the line below which none can come.

Whatever the distribution of the delays, close above its least value the density of their excess e goes as a power,
e**(alpha - 1) (Fisher and Tippett; Hall 1982): alpha is 1 for an exponential or uniform delay and 2 once a host's
scheduling has blurred that. So the k lowest points, given their times and a threshold h above them, have the
likelihood prod alpha * e_i**(alpha - 1) / H_i**alpha, with H_i the distance of the threshold from the line. The
posterior of the line follows on a grid, alpha integrated out. There is no normal theory here: the error falls as
1/n and its distribution leans to one side, which the intervals keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drivers.clock_blocks import LOWEST, Blocks, huber_line
from drivers.clock_line import NODES, ClockLine, basis, weighted_quantiles
from drivers.types import FloatArray

_ALPHAS = np.array([1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.5])
_LOG_PRIOR = -(_ALPHAS - 1.0)
_SMOOTH = 2.4
"""Delays whose density falls off faster than this may have no least value that data could show: the estimate is the
least that occurred,"""
_ALWAYS_SMOOTH = 4.0
"""and of those that fall off as fast as this the interval holds only that; in between, both meanings."""
_FEWEST, _MOST = 16, 100
_PER_ROOT = 0.8
_CORNERS = 64
"""The lower hull of so many lowest points is that of all, but for its ends."""
_ZOOMS, _UNLIKELY = 8, 9.0
"""Grids at most, and nats below the best at which one may end."""
_SHARPEST_NS = 50.0
"""Excesses below this are rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Bulk:
    """What something else than the earliest arrivals, as all delays together, says of slope and curve: Student's t."""

    mean: FloatArray
    """(2,) in ns per half span, and per half span squared."""
    error: FloatArray
    """(2,) standard errors; infinite: nothing."""
    dof: float


@dataclass(frozen=True, slots=True, eq=False)
class _Lowest:
    """The k lowest points about a first line through their underside."""

    phi: FloatArray
    """(k, order) basis without its constant."""
    height: FloatArray
    """(k,) over that line, in units of the threshold."""
    first: FloatArray
    """(order + 1,) the line, ns."""
    threshold_ns: float


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    theta: FloatArray
    """(m, order) slope (and curve) about the first line, in thresholds."""
    top: FloatArray
    """(m,) the highest offset that leaves no point below."""
    under: FloatArray
    """(t,) how far the line may lie below that."""
    weight: FloatArray
    """(m, t) posterior, sums to 1."""
    alpha: float


def edge_line(blocks: Blocks, half_s: float, order: int, bulks: Sequence[Bulk]) -> ClockLine | None:
    """The line under the earliest arrivals of blocks whose times count from the middle of 2 * half_s.

    ``order`` 2 lets the drift change; ``bulks``: what else is known, each independently. None with fewer than 8 chunks
    that arrived at different times.
    """
    points = _lowest(blocks, half_s, order)
    if points is None:
        return None
    grid = _posterior(points, bulks)
    unit, first = points.threshold_ns, points.first
    weight = grid.weight.sum(axis=1)
    theta = []
    for axis in range(order):
        low, middle, high = weighted_quantiles(grid.theta[:, axis], weight, (0.025, 0.5, 0.975))
        theta.append(tuple((unit * end + first[1 + axis]) / half_s ** (axis + 1) for end in (low, middle, high)))
    estimate = np.array([ends[1] for ends in theta]) * half_s ** np.arange(1, order + 1) - first[1:]
    shape = basis(NODES, order)[:, 1:]
    bands = unit * np.array([_band(grid, weight, phi) for phi in shape]) - (shape @ estimate)[:, None]
    offset = float(np.median(bands[:, 1]))
    return ClockLine(
        half_s,
        offset + float(first[0]),
        _ends(theta[0]),
        _ends(theta[1]) if order == 2 else (0.0, 0.0, 0.0),
        (np.minimum(bands[:, 0] - offset, 0.0), np.maximum(bands[:, 2] - offset, 0.0)),
    )


def _ends(values: tuple[float, ...]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _band(grid: _Grid, weight: FloatArray, phi: FloatArray) -> tuple[float, float, float]:
    """Low end, estimate and high end of the offset at one time, in thresholds over the first line.

    Whatever the delays are, no more than the least that occurred can lie on the line; how much less than that does
    depends on whether the delays have a least value at all.
    """
    touching = grid.top + grid.theta @ phi
    smooth = float(np.clip((grid.alpha - _SMOOTH) / (_ALWAYS_SMOOTH - _SMOOTH), 0.0, 1.0))
    under = (touching[:, None] - grid.under).ravel()
    either = np.concatenate([smooth * weight, (1 - smooth) * grid.weight.ravel()])
    low, middle = weighted_quantiles(np.concatenate([touching, under]), either, (0.055 - 0.03 * smooth, 0.5))
    least, high = weighted_quantiles(touching, weight, (0.5, 0.975))
    return low, least if smooth else middle, high


def _lowest(blocks: Blocks, half_s: float, order: int) -> _Lowest | None:
    """The points to judge by: those under a threshold that no block's own choice of lowest points cuts off."""
    total = float(blocks.count.sum())
    known = np.isfinite(blocks.low_ns)
    at, delay = blocks.low_at_s[known] / half_s, blocks.low_ns[known]
    if len(at) < 8:
        return None
    first = _under(at, delay, order)
    height = delay - basis(at, order) @ first
    full = blocks.count > LOWEST
    limit = np.inf
    if full.any():
        rim = blocks.low_at_s[full, -1] / half_s
        limit = float((blocks.low_ns[full, -1] - basis(rim, order) @ first).min())
    wanted = int(np.clip(_PER_ROOT * np.sqrt(total), _FEWEST, _MOST))
    ascending = np.sort(height)
    threshold = max(min(float(ascending[min(wanted, len(at) - 1)]), limit), float(ascending[7]), _SHARPEST_NS)
    chosen = height <= threshold
    return _Lowest(basis(at[chosen], order)[:, 1:], height[chosen] / threshold, first, threshold)


def _under(at: FloatArray, delay: FloatArray, order: int) -> FloatArray:
    """(order + 1,) of a curve under all points that touches the lowest: the lower hull's edge under the middle."""
    curve = _bend(at, delay) if order == 2 else 0.0
    straight = delay - curve * (at**2 - 1 / 3)
    if len(at) > 4 * _CORNERS:
        rest = straight - huber_line(at, straight)[0] * at
        near = np.argpartition(rest, _CORNERS)[:_CORNERS]
        at, straight = at[near], straight[near]
    offset, slope = _hull_edge(at, straight)
    return np.array([offset, slope, curve])[: order + 1]


def _bend(at: FloatArray, delay: FloatArray) -> float:
    """Curve of the low points: least squares through the lowest of each of 24 parts."""
    part = np.minimum((at + 1) * 12, 23).astype(np.int64)
    tilt = _hull_edge(at, delay)[1]
    order = np.lexsort((delay - tilt * at, part))
    lowest = order[np.flatnonzero(np.diff(part[order], prepend=-1))]
    if len(lowest) < 4:
        return 0.0
    return float(np.linalg.lstsq(basis(at[lowest], 2), delay[lowest], rcond=None)[0][2])


def _hull_edge(at: FloatArray, delay: FloatArray) -> tuple[float, float]:
    """Offset and slope of the edge of the points' lower convex hull that lies under their mean time."""
    order = np.lexsort((delay, at))
    hull: list[tuple[float, float]] = []
    for x, y in zip(at[order].tolist(), delay[order].tolist(), strict=True):
        if hull and x == hull[-1][0]:
            continue
        while len(hull) > 1:
            (x0, y0), (x1, y1) = hull[-2:]
            if (y1 - y0) * (x - x0) < (y - y0) * (x1 - x0):
                break
            hull.pop()
        hull.append((x, y))
    if len(hull) < 2:
        return hull[0][1], 0.0
    corners = np.array(hull)
    right = int(np.clip(np.searchsorted(corners[:, 0], at.mean()), 1, len(hull) - 1))
    (x0, y0), (x1, y1) = hull[right - 1], hull[right]
    slope = (y1 - y0) / (x1 - x0)
    return y0 - slope * x0, slope


def _posterior(points: _Lowest, bulks: Sequence[Bulk]) -> _Grid:
    """Grids that widen until they end where nothing is likely, then narrow until what is likely fills them."""
    order = points.phi.shape[1]
    ticks, depths = ((21, 41), (9, 18)) if order == 1 else ((11, 17), (7, 12))
    low, high = np.full(order, -1.5), np.full(order, 1.5)
    for _ in range(_ZOOMS):
        _, log = _weigh(
            points, bulks, [np.linspace(*ends, ticks[0]) for ends in zip(low, high, strict=True)], depths[0]
        )
        best = log.max(axis=1).reshape((ticks[0],) * order)
        done = True
        for axis in range(order):
            along = best.max(axis=tuple(other for other in range(order) if other != axis))
            likely = np.flatnonzero(along > along.max() - _UNLIKELY)
            first, last = int(likely[0]), int(likely[-1])
            width = high[axis] - low[axis]
            step = width / (ticks[0] - 1)
            done &= first > 0 and last < ticks[0] - 1 and last - first >= ticks[0] // 3
            below = width if first == 0 else -step * (first - 1)
            above = width if last == ticks[0] - 1 else -step * (ticks[0] - 2 - last)
            low[axis], high[axis] = low[axis] - below, high[axis] + above
        if done:
            break
    return _weigh(points, bulks, [np.linspace(*ends, ticks[1]) for ends in zip(low, high, strict=True)], depths[1])[0]


def _weigh(points: _Lowest, bulks: Sequence[Bulk], ticks: list[FloatArray], depths: int) -> tuple[_Grid, FloatArray]:
    """Posterior on the product of ``ticks`` and so many depths under the points, and its logarithm (m, t)."""
    theta = np.stack([axis.ravel() for axis in np.meshgrid(*ticks, indexing="ij")], axis=-1)
    tilted = theta @ points.phi.T
    line = points.height - tilted
    top = line.min(axis=1)
    under = np.geomspace(1e-3, 3.0, depths)
    excess = ((line - top[:, None])[:, None, :] + under[:, None]).astype(np.float32)
    room = ((1.0 - tilted - top[:, None])[:, None, :] + under[:, None]).astype(np.float32)
    above = room.min(axis=2) > 0
    lows = np.log(excess).sum(axis=2, dtype=np.float64)
    rooms = np.log(np.maximum(room, 1e-6)).sum(axis=2, dtype=np.float64)
    count = len(points.height)
    logs = _LOG_PRIOR + count * np.log(_ALPHAS) + (_ALPHAS - 1.0) * lows[..., None] - _ALPHAS * rooms[..., None]
    most = logs.max(axis=2)
    shares = np.exp(logs - most[..., None])
    log = np.where(above, np.log(shares.sum(axis=2)) + most + np.log(under), -np.inf)
    for bulk in bulks:
        log = log + _agreement(theta, points, bulk)[:, None]
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    alpha = float((weight * (shares @ _ALPHAS) / shares.sum(axis=2)).sum())
    return _Grid(theta, top, under, weight, alpha), log


def _agreement(theta: FloatArray, points: _Lowest, bulk: Bulk) -> FloatArray:
    """Log-likelihood of slopes (and curves) by all delays. (m,)"""
    order = theta.shape[1]
    off = (theta * points.threshold_ns + points.first[1:] - bulk.mean[:order]) / bulk.error[:order]
    return np.asarray(-0.5 * (bulk.dof + 1) * np.log1p(off**2 / bulk.dof).sum(axis=1))
