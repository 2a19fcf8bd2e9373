"""Which estimator suits a stretch of arrivals, and its answer as a ClockFit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from drivers.clock_blocks import Blocks
from drivers.clock_centre import Centre, Rough, centre, influence, jitters, rough
from drivers.clock_edge import Bulk, edge_line
from drivers.clock_fit import ClockFit, drift_of
from drivers.clock_lattice import fit_lattice
from drivers.clock_line import NODES, ClockLine, basis, weighted_quantiles
from drivers.clock_poll import common_step
from drivers.types import FloatArray

_SECOND_NS = 1_000_000_000
_PARTS = 24
"""A stretch is cut into so many parts where it is asked whether a line suffices."""
_BENT = 4.0
"""So many standard errors from 0 a curve is believed."""
_SHORTEST_BENT_S = 20.0
_USUAL_BEND = 10.0
"""ns/s^2: 1.2 ppm a minute, as a crystal that warms up with its device."""
_TOGETHER, _STRAIGHT = 1.9, 0.1
"""Samples per arrival, and share of the cell that delays scatter by, from which on a link may poll."""
_MOST_SLOPE = 350e3
"""ns/s: the lattice knows crystals, no wrong sampling rates."""
_SLIGHT_NS = 10.0
"""A floor that moves by less is rounding."""
_MAD = 1.4826
"""Standard deviation of a normal over the median distance from its median."""
_KEPT_PPM, _BEFORE_DOF, _AGREE = 0.05, 30.0, 3.0
"""A crystal moves by about so much from one stretch to the next. Degrees of freedom of the drift before a step, and so
many standard errors from it this stretch's own is another one."""
_MOST_EXPONENT = 700.0
"""e to the power of more is no float: how far the delays scatter is then as good as unknown."""
_FEWEST = 5
"""Chunks from which on a drift is stated."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """All that is kept of a stretch. Delays are arrival - device, device times are in s; each less a constant."""

    blocks: Blocks
    at_s: FloatArray
    """(g,) device time of the last sample of each chunk kept as it is."""
    delay_ns: FloatArray
    low_ns: int
    high_ns: int
    """Device times of the stretch's ends."""
    arrivals: int
    n: int
    poll_ns: float
    """Period of the link's polls; 0: none seen."""
    cell_ns: float
    """What that batching hides; as the caller says where no poll is seen."""
    told_cell_ns: float
    spacing_ns: float
    """Between samples."""
    play_ns: float = 0.0
    """So much later than at best the device itself may have a packet ready, now more, now less."""
    before: ClockFit | None = None
    """The stretch before a step of the same clock: a step leaves the crystal as it was."""


def judge(evidence: Evidence, segment: int, start: int, device0_ns: int, base_ns: int) -> ClockFit:
    """The fit of a stretch whose first sample is number ``start``. Constants: device times count from ``device0_ns``,
    delays from ``base_ns``."""
    middle_ns = (evidence.low_ns + evidence.high_ns) // 2
    half_s = (evidence.high_ns - evidence.low_ns) / 2 / _SECOND_NS
    blocks = evidence.blocks.shifted(-middle_ns / _SECOND_NS)
    kind, line, cell, jitter = _line(
        replace(evidence, blocks=blocks, at_s=evidence.at_s - middle_ns / _SECOND_NS), half_s
    )
    rest = blocks.level_ns - _at(line, blocks.at_s)[:, None]
    jitter = jitter or _jitter(rest, blocks.weight)
    curve = line.curve[1] * half_s**2 / 3
    offset = line.offset_ns - curve + base_ns
    low, high = line.band_ns
    drifts = [drift_of(value / _SECOND_NS) for value in line.slope]
    changes = [-value * 120 / 1e3 for value in line.curve]
    return ClockFit(
        segment, start, evidence.n, evidence.arrivals, device0_ns + middle_ns,
        offset, offset + float(low[len(low) // 2]), offset + float(high[len(high) // 2]),
        drifts[1], drifts[2], drifts[0], jitter[1], cell, _delays(blocks, rest, line), 2 * half_s,
        jitter[0], jitter[2], changes[1], changes[2], changes[0], kind,
        tuple(zip(low.tolist(), high.tolist(), strict=True)),
    )  # fmt: skip


_Answer = tuple[str, ClockLine, float, tuple[float, float, float] | None]
"""Kind, line, cell, and jitter with its interval where that is not about the line."""


def _line(evidence: Evidence, half_s: float) -> _Answer:
    blocks = evidence.blocks
    if evidence.arrivals < _FEWEST or not half_s:
        return "floor", _unknown(blocks, half_s, evidence.cell_ns), evidence.cell_ns, None
    first = rough(blocks, half_s)
    if evidence.poll_ns and _may_poll(evidence, first):
        found = _lattice(evidence, half_s)
        if found is not None:
            return "lattice", *found
    cell = evidence.told_cell_ns
    both = not cell and first is not None and jitters(first)
    bend, order, bulk = None, 1, None
    if first is not None and not cell:
        kind = influence(first, symmetric=both)
        bend = _bend(blocks, half_s, centre(first, 2, kind))
        bent = bend is not None and abs(bend.curve) > bend.surely(_BENT) and 2 * half_s >= _SHORTEST_BENT_S
        order = 2 if bent else 1
        bulk = centre(first, order, kind)
    before = _before(evidence.before, half_s, bulk) if order == 1 else None
    if both and first is not None and bulk is not None:
        bulk = bulk.known(before) if before is not None else bulk
        line = bulk.line() if order == 2 else _straight(bulk.line(), bend)
        return "centre", _wandering(line, *_part_middles(first)), 0.0, None
    bulks = ([] if bulk is None else [bulk.bulk()]) + ([] if before is None else [before])
    floor = edge_line(blocks, half_s, order, bulks)
    if floor is None:
        return "floor", _unknown(blocks, half_s, cell), cell, None
    floor = _wandering(floor if order == 2 else _straight(floor, bend), *_part_floors(blocks, half_s))
    cell = cell or _unseen_cell(evidence, floor, first.sigma if first is not None else 0.0)
    return "floor", _strip(floor, blocks, cell) if cell else floor, cell, None


def _before(fit: ClockFit | None, half_s: float, bulk: Centre | None) -> Bulk | None:
    """What the stretch before says of the slope; None where it says nothing or all delays of this one say otherwise."""
    if fit is None or fit.kind == "lattice" or fit.drift_change_ppm_per_min or not np.isfinite(fit.drift_high_ppm):
        return None
    error = np.hypot((fit.drift_high_ppm - fit.drift_low_ppm) / (2 * 1.96), _KEPT_PPM) * 1e3 * half_s
    found = Bulk(np.array([fit.slope * _SECOND_NS * half_s, 0.0]), np.array([float(error), np.inf]), _BEFORE_DOF)
    if bulk is None:
        return found
    apart = abs(float(bulk.theta[1] - found.mean[0]))
    return found if apart < _AGREE * float(np.hypot(np.sqrt(bulk.covariance[1, 1]), error)) else None


def _may_poll(evidence: Evidence, first: Rough | None) -> bool:
    """Delays that keep to one line do not wait for polls, arrivals of one sample each may keep to a grid because the
    device does while its stamps are coarse, and a sampling rate that is far off fits no lattice."""
    if first is None:
        return True
    if evidence.n < _TOGETHER * evidence.arrivals:
        one_each = evidence.n <= 1.005 * evidence.arrivals
        if (one_each and _keeps_packets_time(evidence, first.half_s)) or first.sigma < _STRAIGHT * evidence.cell_ns:
            return False
    slope, error = first.slides()
    return abs(slope) - 4 * error < _MOST_SLOPE


def _keeps_packets_time(evidence: Evidence, half_s: float) -> bool:
    """The poll is the packets' own period, or a fraction of that where the device's time stamps are coarse."""
    polls = 2 * half_s * _SECOND_NS / (evidence.arrivals * evidence.poll_ns)
    coarse = common_step(np.diff(evidence.at_s) * _SECOND_NS) < 0.75 * evidence.spacing_ns
    return abs(polls - 1) < 0.05 or (coarse and abs(polls / max(round(polls), 1) - 1) < 3 / evidence.arrivals)


def _lattice(evidence: Evidence, half_s: float) -> tuple[ClockLine, float, tuple[float, float, float]] | None:
    """Line, cell and jitter about the polls of a link that polls; None where no lattice explains the arrivals."""
    poll_ns, cell_ns = evidence.poll_ns, evidence.cell_ns
    lattice = fit_lattice(evidence.at_s, evidence.delay_ns, poll_ns, cell_ns, evidence.play_ns, evidence.spacing_ns)
    if lattice is None:
        return None
    edges = np.array([lattice.offset_at(float(at)) for at in NODES * half_s])
    slope = lattice.slope_low_ns_per_s, lattice.slope_ns_per_s, lattice.slope_high_ns_per_s
    middle = lattice.offset_ns + slope[1] * NODES * half_s
    band = edges[:, 0] - middle, edges[:, 2] - middle
    return ClockLine(half_s, lattice.offset_ns, slope, (-np.inf, 0.0, np.inf), band), lattice.cell_ns, lattice.jitter_ns


def _unknown(blocks: Blocks, half_s: float, cell: float) -> ClockLine:
    """Too few arrivals for a drift: the offset is at most the earliest one's, and how much less nobody knows."""
    low = blocks.low_ns[np.isfinite(blocks.low_ns)]
    lowest, spread = float(low.min()), float(np.ptp(low)) + cell
    here = NODES == 0 if half_s else np.ones(len(NODES), dtype=bool)
    ends = np.where(here, spread + 1.0, np.inf)
    wide = (-np.inf, 0.0, np.inf)
    return ClockLine(half_s, lowest, wide, wide, (-ends, ends))


@dataclass(frozen=True, slots=True)
class _Bend:
    """What is known of the curve, ns per half span squared."""

    curve: float
    error: float
    dof: float
    usual: float
    """Standard deviation of the curves of crystals whose rate moves."""

    def surely(self, errors: float) -> float:
        """What it would have to exceed to be as improbable as so many standard deviations of a normal."""
        return self.error * float(special.stdtrit(self.dof, float(special.ndtr(errors))))

    @property
    def hidden(self) -> float:
        """Standard deviation of a curve that is taken for 0: its probability by these data, when as many crystals
        warm up or cool down as keep their rate, times what it is then."""
        error, usual = self.error**2, self.usual**2
        shrunk = self.curve * usual / (usual + error)
        odds = np.sqrt(error / (error + usual)) * np.exp(min(0.5 * self.curve * shrunk / error, 50.0))
        return float(np.sqrt(odds / (1 + odds) * (shrunk**2 + error * usual / (error + usual))))


def _bend(blocks: Blocks, half_s: float, bulk: Centre | None) -> _Bend | None:
    """By all delays or the earliest, whichever are surer. None: too little to say."""
    found = [] if bulk is None else [(float(bulk.theta[2]), float(np.sqrt(bulk.covariance[2, 2])), bulk.dof)]
    low = _low_bend(blocks, half_s)
    if low is not None:
        found.append(low)
    bends = [_Bend(curve, max(error, 1.0), dof, _USUAL_BEND * half_s**2) for curve, error, dof in found]
    return min(bends, key=lambda bend: bend.surely(2.0), default=None)


def _low_bend(blocks: Blocks, half_s: float) -> tuple[float, float, float] | None:
    """Curve of the parts' earliest arrivals, its standard error (ns per half span squared), degrees of freedom."""
    at, low = _part_floors(blocks, half_s)
    if len(at) < 7:
        return None
    phi = basis(at, 2)
    theta, *_ = np.linalg.lstsq(phi, low, rcond=None)
    for _ in range(4):
        rest = low - phi @ theta
        off = np.abs(rest - np.median(rest))
        scale = max(2.2 * float(np.median(off)), 1.0)
        weight = scale / np.maximum(off, scale)
        theta = np.linalg.solve((phi * weight[:, None]).T @ phi, phi.T @ (weight * low))
    power = float(weight @ (low - phi @ theta) ** 2)
    dof = float(weight.sum()) - 3
    if dof < 2:
        return None
    error = np.sqrt(power / dof * np.linalg.inv((phi * weight[:, None]).T @ phi)[2, 2])
    return float(theta[2]), max(float(error), 1.0), dof


def _part_floors(blocks: Blocks, half_s: float) -> tuple[FloatArray, FloatArray]:
    """Time (in half spans) and delay of the earliest arrival of each of up to 24 parts."""
    count = min(_PARTS, len(blocks))
    at, low = blocks.low_at_s[:, 0] / half_s, blocks.lowest()
    part = np.minimum((blocks.at_s / half_s + 1) / 2 * count, count - 1).astype(np.int64)
    tilt = float(np.median(np.diff(low) / np.maximum(np.diff(at), 1e-9))) if len(at) > 1 else 0.0
    order = np.lexsort((low - tilt * at, part))
    lowest = order[np.flatnonzero(np.diff(part[order], prepend=-1))]
    return at[lowest], low[lowest]


def _straight(line: ClockLine, bend: _Bend | None) -> ClockLine:
    """A straight line with what is known of the curve that it lacks."""
    if bend is None:
        return replace(line, curve=(-np.inf, 0.0, np.inf))
    reach, square = bend.surely(1.96), line.half_s**2
    hidden = 1.96 * bend.hidden * np.abs(NODES**2 - 1 / 3)
    return replace(
        line,
        curve=(min(bend.curve - reach, 0.0) / square, 0.0, max(bend.curve + reach, 0.0) / square),
        band_ns=(-np.hypot(line.band_ns[0], hidden), np.hypot(line.band_ns[1], hidden)),
    )


def _wandering(line: ClockLine, at: FloatArray, value: FloatArray) -> ClockLine:
    """Where the delays' floor or middle moves slowly by itself (a line of text that grows with its numbers), the
    intervals tell. ``value`` is what carries the line in each part of the stretch, at times in half spans, (p,)."""
    rest = value - _at(line, at * line.half_s)
    if len(rest) < 8:
        return line
    rest = rest - rest.mean()
    power, steps = float(rest @ rest), float(np.sum(np.diff(rest) ** 2)) / 2
    if power < _SLIGHT_NS**2 * len(rest) or steps / power > 1 - 1.8 / np.sqrt(len(rest)):
        return line
    moved = float(np.ptp(np.quantile(rest, (0.03, 0.97))))
    more = 1.5 * moved / line.half_s
    low, slope, high = line.slope
    return replace(
        line,
        slope=(slope - float(np.hypot(slope - low, more)), slope, slope + float(np.hypot(high - slope, more))),
        band_ns=(-np.hypot(line.band_ns[0], moved), np.hypot(line.band_ns[1], moved)),
    )


def _part_middles(first: Rough) -> tuple[FloatArray, FloatArray]:
    """Time (in half spans) and middle delay of each of up to 24 parts."""
    edges = np.unique(np.linspace(0, len(first.at), min(_PARTS, len(first.at)) + 1).astype(np.int64))[:-1]
    count = first.weight.sum(axis=1)
    clipped = np.clip(first.rest, -2 * first.sigma, 2 * first.sigma)
    middle = (first.weight * clipped).sum(axis=1) + count * (basis(first.at, 1) @ first.theta)
    parts = np.add.reduceat(count, edges)
    return np.add.reduceat(count * first.at, edges) / parts, np.add.reduceat(middle, edges) / parts


def _unseen_cell(evidence: Evidence, line: ClockLine, jitter_ns: float) -> float:
    """Every arrival brings the same few samples, waits hardly differ, and no drift shows or one that goes by samples: a
    poll may hold the last of each chunk up to a period. A drift that goes smoothly shows that nothing polls."""
    together = evidence.n / evidence.arrivals
    if together < _TOGETHER or abs(together - round(together)) > 0.05 or jitter_ns > evidence.spacing_ns / 2:
        return 0.0
    at, low = _part_floors(evidence.blocks, line.half_s)
    rest = low - _at(line, at * line.half_s)
    still = line.slope[0] <= 0 <= line.slope[2]
    jumps = len(rest) > 1 and float(np.abs(np.diff(rest)).max()) > evidence.spacing_ns / 2
    return evidence.spacing_ns if still or jumps else 0.0


def _strip(line: ClockLine, blocks: Blocks, cell: float) -> ClockLine:
    """On a batched link whose polls were not found out the line lies up to a cell below the earliest arrivals; what
    the earliest arrivals slid by narrows that."""
    at, low = _part_floors(blocks, line.half_s)
    slid = float(np.ptp(low - _at(line, at * line.half_s))) if len(at) else 0.0
    hidden = max(cell - slid, 0.0)
    low_end, slope, high_end = line.slope
    more = cell / (2 * line.half_s)
    return ClockLine(
        line.half_s,
        line.offset_ns - hidden / 2,
        (low_end - more, slope, high_end + more),
        (-np.inf, 0.0, np.inf),
        (line.band_ns[0] - max(hidden, cell / 2) + hidden / 2, line.band_ns[1] + cell / 2 + hidden / 2),
    )


def _at(line: ClockLine, at_s: FloatArray) -> FloatArray:
    return np.asarray(
        line.offset_ns + line.slope[1] * at_s + line.curve[1] * (at_s**2 - line.half_s**2 / 3), dtype=np.float64
    )


def _jitter(rest: FloatArray, weight: FloatArray) -> tuple[float, float, float]:
    """Robust standard deviation of the delays with its interval (low end, estimate, high end), from how much whole
    blocks differ in their shares of delays below the median and near it."""
    fine, heavy = _between_ranks(rest, weight)
    shares = heavy.ravel() / float(heavy.sum())
    below, middle, above = weighted_quantiles(fine.ravel(), shares, (0.45, 0.5, 0.55))
    off = np.abs(fine - middle)
    inner, away, outer = weighted_quantiles(off.ravel(), shares, (0.4, 0.5, 0.6))
    if len(rest) < 3:
        return 0.0, _MAD * away, np.inf
    ring = (off > inner) & (off < outer)
    lean = float(shares[(ring & (fine > middle)).ravel()].sum() - shares[(ring & (fine < middle)).ravel()].sum())
    lean *= (above - below) / 0.1 / max(outer - inner, 1e-9)  # how much less far one goes for a median too low
    near = (heavy * ((off < away) - 0.5)).sum(axis=1) - lean * (heavy * ((fine < middle) - 0.5)).sum(axis=1)
    dof, power = len(rest) - 1, float(near @ near)
    together = float(near[1:] @ near[:-1]) / power if power > 0 else 0.0
    if together > 1 / np.sqrt(len(near)):
        together = min(together, 0.9)
        power *= (1 + together) / (1 - together)
    error = np.sqrt(power * len(rest) / dof) / float(heavy.sum()) * (outer - inner) / 0.2
    exponent = float(special.stdtrit(dof, 0.975) * error / max(away, 1e-9))
    if exponent > _MOST_EXPONENT:
        return 0.0, _MAD * away, np.inf
    factor = float(np.exp(exponent))
    return _MAD * away / factor, _MAD * away, _MAD * away * factor


def _between_ranks(rest: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Four values for each mean of a rank, on lines between neighbouring means, and their weights, (b, 4 * RANKS): the
    means alone are a staircase."""
    known = weight > 0
    value = np.where(known, rest, 0.0)
    apart = weight[:, 1:] + weight[:, :-1]
    rise = np.where(known[:, 1:], 2 * np.diff(value, axis=1) / np.maximum(apart, 1.0), 0.0)
    below = np.pad(rise, ((0, 0), (1, 0))) * weight
    above = np.pad(rise, ((0, 0), (0, 1))) * weight
    fine = np.stack(
        [value - 0.375 * below, value - 0.125 * below, value + 0.125 * above, value + 0.375 * above], axis=2
    )
    return fine.reshape(len(rest), -1), np.repeat(weight / 4, 4, axis=1)


def _delays(blocks: Blocks, rest: FloatArray, line: ClockLine) -> tuple[float, float, float, float]:
    """50 %, 95 %, 99 % and largest delay over the earliest arrival."""
    known = np.isfinite(blocks.low_ns)
    least = float((blocks.low_ns[known] - _at(line, blocks.low_at_s[known])).min())
    worst = float((blocks.worst_ns - _at(line, blocks.at_s)).max())
    fine, heavy = _between_ranks(rest, blocks.weight)
    p50, p95, p99 = weighted_quantiles(fine.ravel(), heavy.ravel() / float(heavy.sum()), (0.5, 0.95, 0.99))
    return max(p50 - least, 0.0), max(p95 - least, 0.0), max(p99 - least, 0.0), max(worst - least, 0.0)
