"""A device's clock behind a link that polls: what arrivals on a grid say, and how much they cannot.

A packet that is complete at host time s travels with the first poll after s. So the last packet of a chunk was complete
by the chunk's poll; the first one was not by the poll before, unless that was lost, nor was the next chunk's by this
poll. Each chunk thus bounds the line (offset, slope) from both sides, exactly, and says nothing in between. The joint
posterior of that is a strip as high as the greatest common step of polls and packets, until the clocks have slid past
each other by as much, and far less from then on.

The likelihood of a line: a share of lost polls that nobody knows (beta prior, integrated out) to the power of the polls
that it says were lost, and exp(-12) for each packet that it says arrived before it was complete. The prior of the
slope is flat as far as 160 ppm and falls off beyond, so that 95 % lie within 200: two crystals are hardly further
apart. Nothing is drawn to zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from drivers.clock_poll import common_step
from drivers.clock_strip import Bounds, posterior
from drivers.types import FloatArray

_SECOND_NS = 1e9
_FEWEST = 8
_SHARP_NS = 0.4e6
"""Scatter about the grid below this is the host's, after the poll; a USB frame's worth is the poll's own."""
_HOST_JITTER_NS = 0.1e6
"""Half-normal delay between a USB transfer and its stamp: the frame's phase hides it, so it is assumed."""
_USB_FRAME_NS = 1e6
_NEAR = 4.5
"""Arrivals so many standard deviations from the grid did not come with a poll."""
_FINEST_NS = 0.02e6
_ON_GRID = 0.4
_COARSE = 0.75
_MOST_LOST = 12
_PHASE_NS, _PHASE_LASTS_S = 2e6, 15.0
_NEIGHBOURS, _A_WHILE = 4, 0.4
"""Packets are alike whose phases against the polls are so near, for so long; a while is so much of so many before and
after."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """Posterior of (host - device) along device time on a polled link: offset at 0 s and slope, in 95 % intervals."""

    offset_ns: float
    offset_low_ns: float
    offset_high_ns: float
    slope_ns_per_s: float
    slope_low_ns_per_s: float
    slope_high_ns_per_s: float
    cell_ns: float
    """Greatest common step of polls and packets: the height of the strip before anything slid."""
    poll_ns: float
    """The poll's period as these arrivals show it, in host time."""
    lost_share: float
    """Share of polls lost while a packet waited; 0 where packets come faster than polls, which hides them."""
    lines: FloatArray
    """(m, 3) the posterior: offset at 0 s (ns), slope (ns/s), weight."""
    jitter_ns: tuple[float, float, float]
    """Robust standard deviation of the arrivals about the poll's grid, as this data shows it: low end, estimate, high
    end of 95 %."""
    blur_ns: float
    """Standard deviation of the grid's own phase in the middle of the data, which comes on top of the posterior."""
    middle_s: float
    span_s: float

    def offset_at(self, at_s: float) -> tuple[float, float, float]:
        """95 % interval's lower end, mean and upper end of (host - device), ns, at a device time in s."""
        blur = self.blur_ns * float(_fan(np.array(at_s - self.middle_s), self.span_s))
        return _interval(self.lines[:, 0] + self.lines[:, 1] * at_s, self.lines[:, 2], blur)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where polls lie in host time, and how well that is known."""

    period: float
    start: float
    spread: float
    """Robust standard deviation of the arrivals about it, ns,"""
    spread_ends: tuple[float, float]
    """and its 95 % interval."""


def fit_lattice(
    at_s: FloatArray,
    delay_ns: FloatArray,
    poll_ns: float,
    cell_ns: float,
    play_ns: float = 0.0,
    spacing_ns: float = 0.0,
) -> Lattice | None:
    """Posterior of a polled link's clock; None where arrivals do not lie on the poll's grid.

    Arguments: device time in s of the last sample of each chunk about some reference, and arrival - device of it in ns,
    (g,) each, in order of arrival, any constant taken off; the poll's period as find_poll() gives it (nominal will do:
    it is refined); lattice_cell(), or 0 where it is not known. Leave out chunks by the dozen or not at all: what lies
    between neighbours tells when a chunk's first packet was complete. The slope is that of arrival - device: a device
    whose clock is fast by 1 ppm shows -1000 ns/s. ``play_ns`` as for fit_clock(): the offset is that of packets which
    are ready as soon as ever. ``spacing_ns``: samples are so far apart; a common step of their times that is finer is
    that in which the device tells time, and adds to the play.
    """
    if len(at_s) < _FEWEST or poll_ns <= 0:
        return None
    base, middle = float(delay_ns.min()), 0.5 * float(at_s.min() + at_s.max())
    away_s, delay = at_s - middle, delay_ns - base
    grid = _grid(away_s * _SECOND_NS + delay, poll_ns)
    step = common_step(np.diff(away_s) * _SECOND_NS)
    if step < _COARSE * spacing_ns:
        play_ns, step = play_ns + step, float("inf")
    found = _bounds(away_s, delay, grid, cell_ns, step) if grid else None
    if grid is None or found is None:
        return None
    bounds, blur = found
    bounds = _with_play(bounds, play_ns, cell_ns) if play_ns else bounds
    offset, slope, weight = posterior(bounds)
    lines = np.column_stack([offset + base - slope * middle, slope, weight])
    lost = bounds.lost_share(float(offset @ weight), float(slope @ weight))
    span_s = float(np.ptp(at_s))
    slopes = _interval(slope, weight, float(np.sqrt(12)) * blur / span_s)
    fit = Lattice(
        0.0,
        0.0,
        0.0,
        slopes[1],
        slopes[0],
        slopes[2],
        cell_ns or bounds.height,
        grid.period,
        lost,
        lines,
        (grid.spread_ends[0], grid.spread, grid.spread_ends[1]),
        blur,
        middle,
        span_s,
    )
    low, mean, high = fit.offset_at(0.0)
    return replace(fit, offset_ns=mean, offset_low_ns=low, offset_high_ns=high)


def _missed_now_and_then(bounds: Bounds) -> NDArray[np.bool_]:
    """Chunks whose first packet came a poll later than those of its phase just before and after it did: that poll was
    lost, where a packet that is ready later for a while misses its poll for a while. (g,)"""
    waits = (bounds.bottom - np.partition(bounds.bottom, 2)[2] + _PHASE_NS / 2) / bounds.height
    level = np.floor(waits)
    phase = np.floor((waits - level) * bounds.height / _PHASE_NS).astype(np.int64)
    seconds = np.floor((bounds.bottom_s - bounds.bottom_s.min()) / _PHASE_LASTS_S).astype(np.int64)
    _, alike = np.unique(seconds * int(bounds.height / _PHASE_NS + 2) + phase, return_inverse=True)
    usual = np.full(int(alike.max()) + 1, np.inf)
    np.minimum.at(usual, alike, level)
    order = np.argsort(alike, kind="stable")
    later, kind = (level > usual[alike])[order], alike[order]
    near, all_near = np.zeros(len(order)), np.zeros(len(order))
    for away in range(1, _NEIGHBOURS + 1):
        same = kind[away:] == kind[:-away]
        all_near[away:] += same
        all_near[:-away] += same
        near[away:] += later[:-away] & same
        near[:-away] += later[away:] & same
    lost = np.zeros(len(order), dtype=bool)
    lost[order] = later & (near < _A_WHILE * all_near)
    return lost


def _interval(value: FloatArray, weight: FloatArray, blur: float) -> tuple[float, float, float]:
    """2.5 %, mean, 97.5 % of weighted values that are known to within a normal blur."""
    order = np.argsort(value)
    below = np.cumsum(weight[order]) - 0.5 * weight[order]
    low, high = np.interp([0.025, 0.975], below, value[order]).tolist()
    mean = float(value @ weight)
    return mean - float(np.hypot(mean - low, 1.96 * blur)), mean, mean + float(np.hypot(high - mean, 1.96 * blur))


def _with_play(bounds: Bounds, play_ns: float, cell_ns: float) -> Bounds:
    """The bounds of packets that may be ready so much later than at best.

    Of few phases one may be near the edge for long: its lost polls must not pass for play.
    """
    more = np.full(len(bounds.top), play_ns)
    if not bounds.frame_ns and not bounds.own and cell_ns > 2 * _PHASE_NS:
        more[_missed_now_and_then(bounds)] = 0.0
    return replace(bounds, bottom=bounds.bottom - more, firm=False)


def _bounds(
    at_s: FloatArray, delay: FloatArray, grid: _Grid, cell_ns: float, step: float
) -> tuple[Bounds, float] | None:
    """What the chunks that came with a poll allow, one for each poll, and standard deviation of the polls' own time in
    the middle (ns); None: too few of them."""
    turn = (at_s * _SECOND_NS + delay - grid.start) / grid.period
    number = np.rint(turn)
    rest = (turn - number) * grid.period
    on = np.abs(rest) <= max(_NEAR * grid.spread, _FINEST_NS)
    frame = _frame(rest[on])
    begins = np.diff(number, prepend=-np.inf) != 0
    keep = on & np.append(begins[1:], True)
    if float(np.mean(on)) < _ON_GRID or int(keep.sum()) < _FEWEST:
        return None
    if frame:
        edge, error = np.full(len(rest), _edge(rest[on], frame)), 0.55 * grid.spread / float(np.sqrt(keep.sum()))
    else:
        edge, error = _sharp_edge(at_s, rest, on)
    first_s = _first_of_chunk(at_s, step)[np.maximum.accumulate(np.where(begins, np.arange(len(at_s)), 0))]
    height = _height(step, grid.period, cell_ns)
    late = rest - edge  # not all at least 0: where the grid is a little off it must be off for all, and so is the line
    cut = delay - (np.maximum(late, 0.0) if frame else late)
    bounds = _bounds_between(at_s[keep], first_s[keep], delay[keep], cut[keep], height, grid.period, frame)
    return bounds, error


def _bounds_between(
    last_s: FloatArray,
    first_s: FloatArray,
    delay: FloatArray,
    cut: FloatArray,
    height: float,
    period: float,
    frame: float,
) -> Bounds:
    """Bounds by the grid itself (``cut``) where jitter comes after the poll, by the arrivals where polls are late."""
    top, jitter = (delay, _HOST_JITTER_NS) if frame else (cut, 0.0)
    if height < 0.999 * period:
        missed = cut - height
        missed[-1] = -np.inf  # nothing came after it
        next_s = last_s + height / _SECOND_NS
        return Bounds(last_s, top, next_s, missed, height, delay - cut, jitter, frame)
    bottom = cut + (last_s - first_s) * _SECOND_NS - period
    return Bounds(last_s, top, first_s, bottom, period, delay - cut, jitter, frame, False)


def _fan(at_s: FloatArray, span_s: float) -> FloatArray:
    """How the error of a line grows with the time from its middle."""
    return np.asarray(np.sqrt(1 + 12 * (at_s / max(span_s, 1e-9)) ** 2))


def _sharp_edge(at_s: FloatArray, rest: FloatArray, on: NDArray[np.bool_]) -> tuple[FloatArray, float]:
    """When polls were, by the earliest arrivals of each stretch: how much later than the grid (g,), and its error (ns)
    in the middle. Of jitter that is never negative the earliest say far more than all together."""
    number = np.flatnonzero(on)
    stretches = int(np.clip(np.sqrt(len(number)), 3, 64))
    starts = np.linspace(0, len(number), stretches, endpoint=False).astype(np.int64)
    first = np.minimum.reduceat(rest[number], starts)
    when = np.add.reduceat(at_s[number], starts) / np.diff(starts, append=len(number))
    near = np.ones(stretches, dtype=bool)
    for _ in range(4):
        slope, level = _line(when[near], first[near])
        off = first - slope * when - level
        scatter = 1.4 * _spread(off)
        near = np.abs(off - np.median(off)) <= 4 * max(scatter, 1.0)
    return slope * at_s + level - scatter, scatter / float(np.sqrt(near.sum()))


def _frame(rest: FloatArray) -> float:
    """How late a poll may be, as USB's are: uniformly up to a frame, with the host's jitter on top; 0: never."""
    low, middle, high = np.quantile(rest, [0.01, 0.5, 0.9]).tolist()
    if high - low < _SHARP_NS:
        return 0.0
    near = rest[np.abs(rest - middle) < 1.5 * (high - low)]
    frame = float(np.sqrt(12 * max(float(near.var()) - 0.363 * _HOST_JITTER_NS**2, 0.0)))
    return _USB_FRAME_NS if abs(frame / _USB_FRAME_NS - 1) < 0.15 else frame


def _edge(rest: FloatArray, frame: float) -> float:
    """Where the arrivals' distances from the grid begin; one in a thousand is not trusted. Jitter on top of a frame's
    phase begins gently, as the square: the first ones lie that much behind the edge."""
    rank = 1 + len(rest) // 1000
    first = float(np.partition(rest, rank - 1)[rank - 1])
    return first - float(np.sqrt(2.5 * rank / len(rest) * _HOST_JITTER_NS * frame))


def _first_of_chunk(last_s: FloatArray, step_ns: float) -> FloatArray:
    """Device time of each chunk's first packet: one packet after the chunk before, unless too much is missing. (g,)"""
    if not np.isfinite(step_ns):
        return last_s
    step_s = step_ns / _SECOND_NS
    first = np.append(last_s[0], last_s[:-1] + step_s)
    return np.where((last_s - first < _MOST_LOST * step_s) & (first < last_s), first, last_s)


def _height(step: float, period: float, cell_ns: float) -> float:
    """Polls or packets, whichever come faster; a link that brings as much with each poll may have packets of a cell."""
    if abs(step / period - 1) < 1e-3 and 0 < cell_ns < 0.99 * period:
        return cell_ns
    return min(step, period)


def _grid(host: FloatArray, poll_ns: float) -> _Grid | None:
    """The grid on which arrivals lie: the phase of each few seconds, a line through those, and arrivals about it."""
    span = float(np.ptp(host))
    blocks = int(np.clip(min(span / (4 * _SECOND_NS), len(host) / 4), 1, 400))
    block = np.minimum((blocks * (host - host.min()) / max(span, 1.0)).astype(np.int64), blocks - 1)
    turns = np.exp(2j * np.pi * host / poll_ns)
    total = np.bincount(block, turns.real, blocks) + 1j * np.bincount(block, turns.imag, blocks)
    counts = np.bincount(block, minlength=blocks)
    if float(np.abs(total).sum()) < _ON_GRID * len(host):
        return None
    keep = counts > 0
    phase = np.unwrap(np.angle(total[keep])) / (2 * np.pi)
    rate, level = _line(np.bincount(block, host, blocks)[keep] / counts[keep], phase)
    period = poll_ns / (1 - rate * poll_ns)
    start = level * period
    for _ in range(4):
        rest = host - start
        number = np.rint(rest / period)
        rest = rest - number * period
        near = np.abs(rest - np.median(rest)) <= max(_NEAR * _spread(rest), _FINEST_NS)
        more, shift = _line(number[near], rest[near])
        period, start = period + more, start + shift
    return _Grid(period, start, *_spread_known(rest))


def _spread_known(rest: FloatArray) -> tuple[float, tuple[float, float]]:
    """_spread() and its 95 % interval, from how dense values are where it is read off."""
    below, middle, above = np.quantile(rest, (0.45, 0.5, 0.55)).tolist()
    off = np.abs(rest - middle)
    inner, away, outer = np.quantile(off, (0.4, 0.5, 0.6)).tolist()
    ring = (off > inner) & (off < outer)
    lean = float(np.mean(ring & (rest > middle)) - np.mean(ring & (rest < middle)))
    lean *= (above - below) / 0.1 / max(outer - inner, 1e-9)  # how much less far one goes for a median too low
    near = ((off < away) - 0.5) - lean * ((rest < middle) - 0.5)
    error = float(np.sqrt(near @ near)) / len(rest) * (outer - inner) / 0.2
    factor = float(np.exp(min(1.96 * error / max(away, 1e-9), 20.0)))
    return 1.4826 * away, (1.4826 * away / factor, 1.4826 * away * factor)


def _spread(rest: FloatArray) -> float:
    return 1.4826 * float(np.median(np.abs(rest - np.median(rest))))


def _line(at: FloatArray, value: FloatArray) -> tuple[float, float]:
    """Slope and level at 0 of the least-squares line; level where there is one point only."""
    middle, level = float(at.mean()), float(value.mean())
    away = at - middle
    power = float(np.sum(away * away))
    slope = float(np.sum(away * (value - level))) / power if power > 0 else 0.0
    return slope, level - slope * middle
