"""Does a link poll? The period of its BLE connection events or USB latency timer, from the phases of its arrivals.

Arrivals on a polled link lie on a grid of the *host's* time, whatever the device's clock does; on any other link they
follow the device's clock, each with its own delay. Both leave phases concentrated at some period, so a period counts
as the link's only where arrivals keep to it better than delays keep to a line.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from drivers.types import FloatArray, IntArray

_SECOND_NS = 1e9
_SHORTEST_NS, _LONGEST_NS = 0.9e6, 4.1e9
"""From a USB frame to the longest connection interval that Bluetooth allows."""
_BIN_NS = 0.125e6
_COARSE_BIN_NS, _COARSE_GAP_NS = 0.25e6, 20e6
"""The spectrum's bins, and those of arrivals that come so slowly that it spans many seconds."""
_MOST_BINS = 1 << 18
_WANTED_CHUNKS, _MOST_CHUNKS = 320, 640
"""A spectrum is taken over so many chunks where there are so many: enough to tell a grid from chance."""
_FEWEST_CHUNKS = 12
_LEAST_ORDER, _SURE_ORDER, _SURENESS = 0.5, 0.97, 18.0
"""Phase concentration to be believed: by chance it exceeds sqrt(18 / n) once in e^18 periods."""
_AS_GOOD, _NEARLY_NS = 1.5, 50e3
"""Periods to which most arrivals keep nearly as well as to the best are it or its fractions: the longest counts."""
_PROMINENT, _MOST_CANDIDATES = 0.75, 24
"""Peaks of the spectrum that are looked at: so high against the highest, and so many."""
_STEADIER = 0.4
"""Arrivals scatter about the link's grid by at most this share of what delays scatter about a line (variances)."""
_FAINT, _MULTIPLES = 1e-3, 13
_ROUNDING = 2e-6
"""Of a concentration: less than that tells nothing."""
_MOST_SLOPE = 4e-4
"""A device's clock is off by no more than 400 ppm, the host's included."""
_LINK_CLOCK = 6e-5
"""A radio's or bridge's clock agrees with the host's this far; most crystals of sensors do not."""
_LONGEST_USB_NS, _FRAME_NS, _QUANTUM_NS = 16.5e6, 1e6, 1.25e6
_PERIOD_TOLERANCE = 0.02
_FINEST_STEP_NS, _MOST_PARTS = 0.25e6, 64
_POLISHES = 3
_STARTS = np.array([-0.4, -0.2, 0.0, 0.2, 0.4])
"""Turns by which a period may be off over all times; a peak is found from within a fifth of one."""
_PATIENCE = 3
"""So many of the longest periods are tried on all chunks where the first ones leave it open."""
_MOST_POINTS = 800
_LEAST_WINDOW = 64
_SEVERAL, _ALMOST_ALL = 1.9, 0.8


def find_poll(arrival_ns: IntArray, device_ns: IntArray, radio: bool = True) -> float:
    """Period of the link's polling in ns of host time; 0.0 where nothing polls. Arguments (n,), in order of arrival.

    Needs 12 arrivals, all on the grid to within a twentieth of the period, or 80 of which half are. In simulation 40 of
    40 BLE links were told by 18 arrivals (14 with packets of 0.56 s), with stalls by 45; USB latency timers, which wait
    for a frame besides, by 250 to 500.
    Where every arrival brings the same number of samples, polling and packets of the device look alike: that counts as
    polling only if the arrivals keep step with the host's clock to 60 ppm, scatter by less than a USB frame, and
    the period is one that USB knows, or, on a link that may be a ``radio``, Bluetooth.
    """
    at, last, _ = chunks(arrival_ns, device_ns)
    if len(at) < _FEWEST_CHUNKS or at[-1] - at[0] < _FEWEST_CHUNKS * _SHORTEST_NS:
        return 0.0
    host, device = at - at[0], last - last[0]
    window = _window(host)
    poll, maybe = _polled(host[:window], device[:window])
    if poll:
        poll, order = _followed(host, poll, window)
        return poll if order >= _LEAST_ORDER else 0.0
    several = len(arrival_ns) > _SEVERAL * len(at)
    for poll in maybe[:_PATIENCE] if several or window < len(host) else []:
        poll, order = _followed(host, poll, window)
        if order >= _LEAST_ORDER and 1 - order < _STEADIER * (1 - _line_order(device, host - device, poll, window)):
            return poll
        if several and _rather_the_links(host, poll, radio):
            return poll
    return 0.0


def lattice_cell(arrival_ns: IntArray, device_ns: IntArray, poll_ns: float) -> float:
    """Greatest common step of the poll and the device's packets, ns: how much of the clock batching hides for good.

    Arguments as for find_poll(). The whole poll where every arrival brings the same, but a sample's period on a
    link so fast that it must be a stream of bytes (USB). Periods that share no step of 0.1 ms or more count as
    sharing one of 0.1 ms.
    """
    _, last, _ = chunks(arrival_ns, device_ns)
    step = common_step(np.diff(last))
    if np.isfinite(step) and abs(step / poll_ns - round(step / poll_ns)) < 1e-3:
        sample = float(np.median(np.diff(device_ns)))
        usb = poll_ns < _LONGEST_USB_NS and 0 < sample < 0.9 * poll_ns
        step = sample if usb and round(step / poll_ns) == 1 else poll_ns
    return _common(poll_ns, step)


def chunks(arrival_ns: IntArray, device_ns: IntArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """Arrival, device time of the last sample, and number of the first one of each run of equal arrivals, (g,) each.

    Times count from the first sample: float64 then holds them exactly.
    """
    if not len(arrival_ns):
        return np.empty(0), np.empty(0), np.empty(0, dtype=np.int64)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(arrival_ns)) + 1])
    last = np.maximum.reduceat(device_ns - device_ns[0], starts)
    return (arrival_ns[starts] - arrival_ns[0]).astype(np.float64), last.astype(np.float64), starts


def common_step(gap_ns: FloatArray) -> float:
    """The step of which all gaps between a device's packets are multiples; infinite where there is none.

    One gap in fifty may be anything where without that no step is found.
    """
    sizes, counts = np.unique(np.rint(gap_ns[gap_ns > _SHORTEST_NS / 4] / 1e3), return_counts=True)
    if not len(sizes):
        return float("inf")
    pick = np.unique(np.linspace(0, len(sizes) - 1, 200).astype(np.int64))
    gaps, counts = 1e3 * sizes[pick], counts[pick]
    least = float(gaps[np.searchsorted(np.cumsum(counts), 0.01 * counts.sum())])
    for odd in (0.0, 0.02):
        for parts in range(1, int(min(least / _FINEST_STEP_NS, _MOST_PARTS)) + 1):
            step = least / parts
            for _ in range(3):
                turns = np.maximum(np.rint(gaps / step), 1)
                step = float(np.sum(counts * gaps * turns) / np.sum(counts * turns**2))
            off = np.abs(gaps - turns * step) > _PERIOD_TOLERANCE * step
            if float(np.sum(counts[off])) <= odd * float(counts.sum()):
                return step
    return float("inf")


def _common(first_ns: float, second_ns: float) -> float:
    """Greatest common divisor of two periods that are known to about 100 ppm."""
    if not np.isfinite(second_ns):
        return _BIN_NS
    high, low = max(first_ns, second_ns), min(first_ns, second_ns)
    while low > 0.1e6:
        rest = high - low * round(high / low)
        high, low = low, abs(rest)
    return high if low < 2e-4 * (first_ns + second_ns) else max(low, 0.1e6)


def order_at(host_ns: FloatArray, periods_ns: FloatArray) -> FloatArray:
    """Phase concentration of times at each period, 0 (anywhere) to 1 (all on one grid). (n,), (m,) -> (m,)"""
    return _phase(host_ns * (1 / periods_ns)[:, None])[1]


def _window(host: FloatArray) -> int:
    """So many chunks from the first: enough of them, but no longer than the spectrum can resolve."""
    resolved = min(int(np.searchsorted(host, _MOST_BINS * _BIN_NS / 4)), _MOST_CHUNKS)
    return max(min(max(_LEAST_WINDOW, resolved), len(host)), min(_WANTED_CHUNKS, len(host)))


def _polled(host: FloatArray, device: FloatArray) -> tuple[float, list[float]]:
    """The longest period that arrivals keep to and delays do not explain, 0.0: none; those that delays do explain."""
    floor = float(np.clip(np.sqrt(_SURENESS / len(host)), _LEAST_ORDER, _SURE_ORDER))

    def own(period: float, off: float) -> bool:
        return off + _ROUNDING < _STEADIER * (1 - _line_order(device, host - device, period, len(host)))

    found = _peaks(host, _candidates(host, 0.8 * floor))
    here = (found[1] >= floor) & (found[0] > _SHORTEST_NS) & (found[0] < _LONGEST_NS)
    periods, offs = _with_multiples(host, found[0][here], 1 - found[1][here], 1 - floor)
    scatters = _scatters(host, periods)
    best = next((i for i in np.argsort(scatters, kind="stable").tolist() if own(periods[i], offs[i])), None)
    if best is None:
        return 0.0, periods.tolist()
    most = _AS_GOOD * scatters[best] + _NEARLY_NS
    longest = next(i for i in range(len(periods)) if scatters[i] <= most and own(periods[i], offs[i]))
    period = float(periods[longest])
    multiples = np.asarray(period * np.arange(min(_MOST_PARTS, int(_LONGEST_NS / period)), 1, -1.0))
    orders = order_at(host, multiples)
    keep = orders >= floor
    for multiple, order in zip(multiples[keep].tolist(), orders[keep].tolist(), strict=True):
        if _scatters(host, np.array([multiple]))[0] <= most and own(multiple, 1 - order):
            return multiple, []
    return period, []


def _with_multiples(
    host: FloatArray, periods: FloatArray, offs: FloatArray, most: float
) -> tuple[FloatArray, FloatArray]:
    """Periods, longest first, and how far from 1 their concentrations are, with those of multiples of the best one: a
    train almost without jitter peaks as high at all fractions of its period, of which only some were looked at."""
    if not len(offs) or offs.min() > _FAINT:
        return periods, offs
    multiples = periods[np.argmin(np.where(offs <= offs.min() + _ROUNDING, -periods, 0.0))] * np.arange(2, _MULTIPLES)
    more = 1 - order_at(host, multiples)
    here = (more <= most) & (multiples < _LONGEST_NS)
    periods, offs = np.concatenate([periods, multiples[here]]), np.concatenate([offs, more[here]])
    order = np.argsort(-periods)
    return periods[order], offs[order]


def _candidates(host: FloatArray, floor: float) -> FloatArray:
    """Periods at which the spectrum of the arrivals peaks, longest first."""
    span = float(host[-1])
    finest = _COARSE_BIN_NS if span > _COARSE_GAP_NS * len(host) else _BIN_NS
    step = max(finest, 1.01 * span / _MOST_BINS)
    size = fft.next_fast_len(int(2 * span / step) + 2, real=True)
    train = np.bincount((host * (1 / step)).astype(np.int64), minlength=size)[:size]
    power = np.abs(fft.rfft(train.astype(np.float32))).astype(np.float64) / len(host)
    low = max(3, int(np.ceil(2 * size * step / max(span, 1.0))), int(size * step / _LONGEST_NS))
    high = min(int(size * step / _SHORTEST_NS), len(power) - 2)
    if high <= low:
        return np.empty(0)
    here = power[low:high]
    floor = max(floor, _PROMINENT * float(here.max()))
    peak = (here >= floor) & (here >= power[low - 1 : high - 1]) & (here > power[low + 1 : high + 1])
    places = np.flatnonzero(peak)
    highest = np.sort(places[np.argsort(-here[places])[:_MOST_CANDIDATES]])
    return np.asarray(size * step / (highest + low))


def _peaks(host: FloatArray, periods: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Periods near the given ones at which the concentration peaks, and how high, (m,) each.

    A given one may be off by so much that phases move by half a turn from the first time to the last.
    """
    rate, order = 1 / periods, np.zeros(len(periods))
    kept = rate
    away = host - host.mean()
    for _ in range(_POLISHES):
        turn = away * rate[:, None]
        phase, here = _phase(turn)
        better = here > order
        kept, order = np.where(better, rate, kept), np.where(better, here, order)
        turn -= phase[:, None]
        turn -= np.rint(turn)
        near = np.abs(turn) < 0.25
        power = near @ away**2
        rate = rate - np.where(power > 0, (near * turn) @ away / np.maximum(power, 1e-9), 0.0)
    return 1 / kept, order


def _phase(turn: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean angle of each row, in turns, and concentration. (m, n) -> (m,), (m,)"""
    angle = (2 * np.pi * (turn - np.rint(turn))).astype(np.float32)
    east, north = np.cos(angle).mean(axis=1), np.sin(angle).mean(axis=1)
    return np.arctan2(north, east).astype(np.float64) / (2 * np.pi), np.hypot(east, north).astype(np.float64)


def _followed(host: FloatArray, period: float, window: int) -> tuple[float, float]:
    """The period and its concentration over all chunks: the window grows and the phase is followed."""
    while True:
        part = _thinned(host[:window])
        rates = 1 / period + _STARTS / float(part[-1])
        periods, orders = _peaks(part, 1 / rates)
        best = int(np.argmax(orders))
        period, order = float(periods[best]), float(orders[best])
        if window >= len(host):
            return period, order
        window = min(2 * window, len(host))


def _line_order(device: FloatArray, delay: FloatArray, period: float, window: int) -> float:
    """Concentration of the delays about the best line through all: what jitter alone would leave of arrivals' order."""
    slope, reach = 0.0, _MOST_SLOPE
    while True:
        away, part = _thinned(device[:window]) / period, _thinned(delay[:window])
        turns = part * (1 / period)
        trials = 2 * int(np.ceil(8 * reach * max(float(away[-1]), 1.0))) + 1
        for _ in range(2):
            near = slope + reach * np.linspace(-1, 1, max(trials, 9))
            _, orders = _phase(turns - near[:, None] * away)
            slope, order = float(near[int(np.argmax(orders))]), float(orders.max())
            reach, trials = 2 * reach / len(near), 9
        rest = turns - slope * away
        order = max(order, float(_phase((rest - _slope(rest, away) * away)[None])[1][0]))
        if window >= len(device):
            return order
        window = min(2 * window, len(device))
        reach = 0.5 / max(float(away[-1]), 1.0)


def _slope(turn: FloatArray, at: FloatArray) -> float:
    """What phases (in turns) near each other gain per unit: the last digits of a slope that is nearly right."""
    turn = turn - float(_phase(turn[None])[0][0])
    turn = turn - np.rint(turn)
    near = np.abs(turn) < 0.25
    away = at[near] - at.mean()
    power = float(np.sum(away**2))
    return float(np.sum(away * turn[near])) / power if power > 0 else 0.0


def _thinned(value: FloatArray) -> FloatArray:
    return value[:: len(value) // _MOST_POINTS + 1]


def _scatters(host: FloatArray, periods: FloatArray) -> FloatArray:
    """Robust standard deviation of times about the grid of each period, ns. (n,), (m,) -> (m,)"""
    if not len(periods):
        return np.empty(0)
    rest = _rest(host, periods)
    middle = rest.shape[1] // 2
    rest -= np.partition(rest, middle, axis=1)[:, middle, None]
    return np.asarray(1.4826 * np.partition(np.abs(rest), middle, axis=1)[:, middle])


def _rest(host: FloatArray, periods: FloatArray) -> FloatArray:
    """Times less the nearest point of the grid that most are near, ns. (n,), (m,) -> (m, n)"""
    turn = host * (1 / periods)[:, None]
    turn -= _phase(turn)[0][:, None]
    turn -= np.rint(turn)
    return np.asarray(turn * periods[:, None])


def _rather_the_links(host: FloatArray, period: float, radio: bool) -> bool:
    """A period that both arrivals and delays keep to is one that the host's clock and USB or Bluetooth know."""
    if period > _LONGEST_USB_NS and not radio:
        return False
    quantum = _FRAME_NS if period < _LONGEST_USB_NS else _QUANTUM_NS
    known = any(abs(period / (q * max(round(period / q), 1)) - 1) < _LINK_CLOCK for q in {quantum, _QUANTUM_NS})
    rest = _rest(host, np.array([period]))[0]
    return known and float(np.mean(np.abs(rest - np.median(rest)) < _FRAME_NS)) >= _ALMOST_ALL
