"""Does a link poll? The period of its BLE connection events or USB latency timer, from the phases of its arrivals.

Arrivals on a polled link lie on a grid of the *host's* time, whatever the device's clock does; on any other link they
follow the device's clock, each with its own delay. Both leave phases concentrated at some period, so a period counts
as the link's only where arrivals keep to it better than delays keep to a line.
"""

from __future__ import annotations

import numpy as np

from drivers.types import FloatArray, IntArray

_SECOND_NS = 1e9
_SHORTEST_NS, _LONGEST_NS = 0.9e6, 4.1e9
"""From a USB frame to the longest connection interval that Bluetooth allows."""
_BIN_NS = 0.125e6
_MOST_BINS = 1 << 18
_WANTED_CHUNKS = 320
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
_MOST_SLOPE = 4e-4
"""A device's clock is off by no more than 400 ppm, the host's included."""
_LINK_CLOCK = 6e-5
"""A radio's or bridge's clock agrees with the host's this far; most crystals of sensors do not."""
_LONGEST_USB_NS, _FRAME_NS, _QUANTUM_NS = 16.5e6, 1e6, 1.25e6
_PERIOD_TOLERANCE = 0.02
_FINEST_STEP_NS, _MOST_PARTS = 0.25e6, 64
_PATIENCE = 3
"""So many of the longest periods are tried on all chunks where the first ones leave it open."""
_MOST_POINTS = 800
_LEAST_WINDOW = 64
_SEVERAL, _ALMOST_ALL = 1.9, 0.8


def find_poll(arrival_ns: IntArray, device_ns: IntArray) -> float:
    """Period of the link's polling in ns of host time; 0.0 where nothing polls. Arguments (n,), in order of arrival.

    Needs 12 arrivals, all on the grid to within a twentieth of the period, or 80 of which half are. In simulation 40 of
    40 BLE links were told by 18 arrivals (14 with packets of 0.56 s), with stalls by 45; USB latency timers, which wait
    for a frame besides, by 250 to 500.
    Where every arrival brings the same number of samples, polling and packets of the device look alike: that counts as
    polling only if the arrivals keep step with the host's clock to 60 ppm, scatter by less than a USB frame, and
    the period is one that USB or Bluetooth knows.
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
        if several and _rather_the_links(host, poll):
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
    turn = (2 * np.pi / periods_ns)[:, None] * host_ns
    return np.asarray(np.hypot(np.cos(turn).mean(axis=1), np.sin(turn).mean(axis=1)))


def _window(host: FloatArray) -> int:
    """So many chunks from the first: enough of them, but no longer than the spectrum can resolve."""
    count = min(max(_LEAST_WINDOW, int(np.searchsorted(host, _MOST_BINS * _BIN_NS / 4))), len(host))
    return max(count, min(_WANTED_CHUNKS, len(host)))


def _polled(host: FloatArray, device: FloatArray) -> tuple[float, list[float]]:
    """The longest period that arrivals keep to and delays do not explain, 0.0: none; those that delays do explain."""
    floor = float(np.clip(np.sqrt(_SURENESS / len(host)), _LEAST_ORDER, _SURE_ORDER))
    reach = 1 / float(host[-1])

    def own(period: float, off: float) -> bool:
        return off < _STEADIER * (1 - _line_order(device, host - device, period, len(host)))

    peaks = [_peak(host, rough, reach * rough**2) for rough in _candidates(host, 0.8 * floor)]
    peaks = [(period, 1 - order) for period, order in peaks if order >= floor and _SHORTEST_NS < period < _LONGEST_NS]
    scatters = {period: _scatter(host, period) for period, _ in peaks}
    offs = dict(peaks)
    best = next((period for period in sorted(scatters, key=scatters.__getitem__) if own(period, offs[period])), None)
    if best is None:
        return 0.0, [period for period, _ in peaks]
    most = _AS_GOOD * scatters[best] + _NEARLY_NS
    longest = next(period for period, off in peaks if scatters[period] <= most and own(period, off))
    multiples = np.asarray(longest * np.arange(min(_MOST_PARTS, int(_LONGEST_NS / longest)), 1, -1.0))
    for period in multiples[order_at(host, multiples) >= floor].tolist():
        if _scatter(host, period) <= most and own(period, 1 - float(order_at(host, np.array([period]))[0])):
            return period, []
    return longest, []


def _candidates(host: FloatArray, floor: float) -> FloatArray:
    """Periods at which the spectrum of the arrivals peaks, longest first."""
    span = float(host[-1])
    step = max(_BIN_NS, 1.01 * span / _MOST_BINS)
    size = 1 << int(np.ceil(np.log2(2 * span / step + 2)))
    train = np.bincount((host / step).astype(np.int64), minlength=size)[:size]
    power = np.abs(np.fft.rfft(train.astype(np.float64))) / len(host)
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


def _peak(host: FloatArray, period: float, reach: float) -> tuple[float, float]:
    """Where the concentration peaks within ``reach`` of a period, and how high."""
    order = 0.0
    for _ in range(3):
        near = period + reach * np.linspace(-1, 1, 9)
        orders = order_at(host, near)
        best = int(np.argmax(orders))
        period, order, reach = float(near[best]), float(orders[best]), reach / 4
    polished = 1 / (1 / period - _slope((2 * np.pi / period) * host, host) / (2 * np.pi))
    better = float(order_at(host, np.array([polished]))[0])
    return (polished, better) if better > order else (period, order)


def _followed(host: FloatArray, period: float, window: int) -> tuple[float, float]:
    """The period and its concentration over all chunks: the window grows and the phase is followed."""
    while True:
        part = _thinned(host[:window])
        period, order = _peak(part, period, 0.5 * period**2 / float(part[-1]))
        if window >= len(host):
            return period, order
        window = min(2 * window, len(host))


def _line_order(device: FloatArray, delay: FloatArray, period: float, window: int) -> float:
    """Concentration of the delays about the best line through all: what jitter alone would leave of arrivals' order."""
    slope, reach = 0.0, _MOST_SLOPE
    while True:
        away, part = _thinned(device[:window]) / period, _thinned(delay[:window])
        turns = (2 * np.pi / period) * part
        trials = 2 * int(np.ceil(8 * reach * max(float(away[-1]), 1.0))) + 1
        for _ in range(2):
            near = slope + reach * np.linspace(-1, 1, max(trials, 9))
            rest = turns - (2 * np.pi * near)[:, None] * away
            orders = np.hypot(np.cos(rest).mean(axis=1), np.sin(rest).mean(axis=1))
            slope, order = float(near[int(np.argmax(orders))]), float(orders.max())
            reach, trials = 2 * reach / len(near), 9
        rest = turns - 2 * np.pi * slope * away
        rest = rest - _slope(rest, away) * away
        order = max(order, float(np.hypot(np.cos(rest).mean(), np.sin(rest).mean())))
        if window >= len(device):
            return order
        window = min(2 * window, len(device))
        reach = 0.5 / max(float(away[-1]), 1.0)


def _slope(turn: FloatArray, at: FloatArray) -> float:
    """What angles near each other gain per unit: the last digits of a frequency that is nearly right."""
    turn = turn - np.arctan2(np.sin(turn).mean(), np.cos(turn).mean())
    turn = turn - 2 * np.pi * np.rint(turn / (2 * np.pi))
    near = np.abs(turn) < np.pi / 2
    away = at[near] - at.mean()
    power = float(np.sum(away**2))
    return float(np.sum(away * turn[near])) / power if power > 0 else 0.0


def _thinned(value: FloatArray) -> FloatArray:
    return value[:: len(value) // _MOST_POINTS + 1]


def _scatter(host: FloatArray, period: float) -> float:
    """Robust standard deviation of times about the grid of a period, ns."""
    rest = _rest(host, period)
    return 1.4826 * float(np.median(np.abs(rest - np.median(rest))))


def _rest(host: FloatArray, period: float) -> FloatArray:
    """Times less the nearest point of the grid that most are near, ns. (n,)"""
    turn = (2 * np.pi / period) * host
    turn = turn - np.arctan2(np.sin(turn).mean(), np.cos(turn).mean())
    return np.asarray((turn - 2 * np.pi * np.rint(turn / (2 * np.pi))) * (period / (2 * np.pi)))


def _rather_the_links(host: FloatArray, period: float) -> bool:
    """A period that both arrivals and delays keep to is one that the host's clock and USB or Bluetooth know."""
    quantum = _FRAME_NS if period < _LONGEST_USB_NS else _QUANTUM_NS
    known = any(abs(period / (q * max(round(period / q), 1)) - 1) < _LINK_CLOCK for q in {quantum, _QUANTUM_NS})
    rest = _rest(host, period)
    return known and float(np.mean(np.abs(rest - np.median(rest)) < _FRAME_NS)) >= _ALMOST_ALL
