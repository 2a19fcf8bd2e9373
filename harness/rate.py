"""How fast a stream samples: over the run, from window to window, and when it did not sample at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.types import FloatArray, IntArray
from harness.clocks import StreamClock, chance_of, floors
from harness.recording import Recording, StreamData

WINDOW_S = 5.0
_FEWEST_A_WINDOW = 8
_LONGEST_POLL_NS = 0.05e9
"""What looks like a link that polls more rarely is a device that sends large packets."""
_JUMP_NS = 50e6
_AT_ONCE = 0.6
"""A share of a window's change in one second that makes it a jump."""
_ALIKE, _COMMON = 1.5, 0.15
"""Intervals up to so many times the shortest of them are alike, and common if they are such a share of all."""
_MOST_PERIODS, _OFF = 3, 0.35
"""Longer intervals, and those further from a whole number of periods, say nothing of the rate."""
_SILENT_S = 2.0
_SILENT_PERIODS = 5


@dataclass(frozen=True, slots=True)
class RateWander:
    """How the rate of successive windows departs from their mean, in percent of it."""

    window_s: float
    windows: int
    sd: float
    largest: float
    low: float
    high: float
    """Ends of the interval of ``largest``: how sharply the link shows when samples were taken."""
    at_ns: int
    """Arrival at which the window with the largest departure begins."""


def rate_wander(stream: StreamData, clock: StreamClock) -> RateWander | None:
    """Over windows of 5 s or of 8 samples, whichever is longer, one from each second on.

    None if the longest span without a restart has fewer than three windows beside one another.
    """
    span = max(clock.spans, key=lambda span: span.stop - span.start, default=None)
    if span is None:
        return None
    nominal = float(stream.spec.rate_hz or 1.0)
    window_s = max(WINDOW_S, _FEWEST_A_WINDOW / nominal)
    arrival_ns, device_ns = clock.arrival_ns[span.part], clock.device_ns[span.part]
    at_ns, floor_ns = floors(arrival_ns, (arrival_ns - device_ns).astype(np.float64))
    stops = np.searchsorted(at_ns, at_ns + round((window_s - 0.5) * 1e9))
    starts = np.flatnonzero(stops < len(at_ns))
    starts = starts[_without_jumps(floor_ns, starts, stops[starts])]
    stops = stops[starts]
    beside = int((at_ns[stops[-1]] - at_ns[starts[0]]) / 1e9 / window_s) if len(starts) else 0
    if beside < 3:
        return None
    edge_ns, unsure_ns = _edges(floor_ns)
    lasted = at_ns[stops] - at_ns[starts]
    own, own_errors = np.ones(len(starts)), np.zeros(len(starts))
    if stream.device_ns is not None:
        own, own_errors = _own_rates(device_ns, arrival_ns, at_ns[starts], at_ns[stops], nominal)
    rates = own / nominal * (1 - (edge_ns[stops] - edge_ns[starts]) / lasted)
    rates = 100 * rates / float(np.median(rates)) - 100
    cell_ns = min(max(fit.cell_ns for fit in span.fits), _LONGEST_POLL_NS)
    errors = 100 * ((np.sqrt(2) * unsure_ns + cell_ns) / lasted + own_errors)
    worst = int(np.abs(rates).argmax())
    low, high = max(0.0, float((np.abs(rates) - errors).max())), float((np.abs(rates) + errors).max())
    largest, apart = float(abs(rates[worst])), max(len(rates) // beside, 1)
    deviation = float(rates[::apart].std(ddof=1))
    return RateWander(window_s, beside, deviation, largest, low, high, int(at_ns[starts[worst]]))


def _without_jumps(floor_ns: FloatArray, starts: IntArray, stops: IntArray) -> NDArray[np.bool_]:
    """Windows start..stop, (w,), whose floor did not move at once, as that of a delay that jumps does."""
    even = np.ones(len(starts), dtype=np.bool_)
    for window, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        seconds = floor_ns[max(start - 1, 0) : stop + 2]
        steps, moved = np.abs(np.diff(seconds)), abs(float(seconds[-1] - seconds[0]))
        even[window] = moved < _JUMP_NS or steps.max() < _AT_ONCE * moved
    return even


def _edges(floor_ns: FloatArray) -> tuple[FloatArray, float]:
    """Floor of the delays around each second, (b,): the median of three; and what one may be off by, ns.

    How much floors vary by chance shows in their second differences, whatever the rate does.
    """
    padded = np.concatenate([floor_ns[:1], floor_ns, floor_ns[-1:]])
    median = np.median(np.lib.stride_tricks.sliding_window_view(padded, 3), axis=1)
    chance = chance_of(floor_ns)
    return median, float(1.96 * 1.25 * chance / np.sqrt(3))


def _own_rates(
    device_ns: IntArray, arrival_ns: IntArray, from_ns: IntArray, to_ns: IntArray, nominal_hz: float
) -> tuple[FloatArray, FloatArray]:
    """Samples per second of the device's own clock between two arrivals, and the share of it that it is unsure by, (w,)
    each: between two losses only the first and the last stamp count, and every loss adds two such ends."""
    ordered = np.sort(device_ns)  # what was overtaken on the way stands where it belongs
    period_ns = _period_ns(ordered, nominal_hz)
    taken, lasted = _counted(ordered, period_ns)
    number, spent = np.diff(taken), np.diff(lasted)
    usual = number > 0
    if not usual.any():
        return np.full(len(from_ns), nominal_hz), np.full(len(from_ns), np.inf)
    off = spent[usual] / float(spent[usual].sum() / number[usual].sum()) - number[usual]
    breaks = np.concatenate([[0], np.cumsum(~usual)])
    begins, ends = np.searchsorted(arrival_ns, from_ns), np.searchsorted(arrival_ns, to_ns) - 1
    number, spent = taken[ends] - taken[begins], lasted[ends] - lasted[begins]
    error = 1.96 * float(np.sqrt(np.mean(off**2))) * np.sqrt(breaks[ends] - breaks[begins] + 1)
    rates = np.where(number > 0, 1e9 * number / np.maximum(spent, 1.0), nominal_hz)
    return rates, np.where(number > 0, error / np.maximum(number, 1.0), np.inf)


def own_rate_hz(stream: StreamData) -> float:
    """Samples per second of the device's own clock, from its numbers and time stamps; the nominal rate without any.

    A sensor that stamps its samples may keep good time and still take them at another rate. Losses are no low rate:
    a device that numbers its samples says how many were taken between two, and where none does (``_counted``)
    intervals of several periods count as several.
    """
    nominal_hz = float(stream.spec.rate_hz or 1.0)
    if stream.device_ns is None or not len(stream.device_ns):
        return nominal_hz
    starts = np.concatenate([[0], np.flatnonzero(np.diff(stream.segment)) + 1])
    taken, lasted = 0.0, 0.0
    period_ns = _period_ns(np.sort(stream.device_ns), nominal_hz)
    for start, stop in zip(starts, [*starts[1:], len(stream.segment)], strict=True):
        number, spent = _counted(np.sort(stream.device_ns[start:stop]), period_ns)
        taken, lasted = taken + float(number[-1]), lasted + float(spent[-1])
    return 1e9 * taken / lasted if lasted else nominal_hz


def _period_ns(device_ns: IntArray, nominal_hz: float) -> float:
    """About how far apart two samples are that nothing was lost between: the shortest interval that is common.

    ``device_ns`` (n,) is sorted. Whatever is lost at random leaves neighbours; damaged stamps are few.
    """
    steps = np.diff(device_ns)
    steps = np.sort(steps[steps > 0]).astype(np.float64)
    if not len(steps):
        return 1e9 / nominal_hz
    within = np.searchsorted(steps, _ALIKE * steps, side="right") - np.arange(len(steps))
    common = np.flatnonzero(within >= max(_COMMON * len(steps), 1.0))
    first = int(common[0]) if len(common) else len(steps) // 2
    return float(np.median(steps[first : first + int(within[first])]))


def _counted(device_ns: IntArray, period_ns: float) -> tuple[FloatArray, FloatArray]:
    """Samples taken, and ns of device time, from the first to each of the stamps (n,), which are sorted.

    Both leave out what is no whole number of periods, and what is so many that it would not show.
    """
    steps = np.diff(device_ns).astype(np.float64)
    periods = np.rint(steps / period_ns)
    usual = (periods >= 1) & (periods <= _MOST_PERIODS) & (np.abs(steps / period_ns - periods) <= _OFF)
    taken = np.concatenate([[0.0], np.cumsum(np.where(usual, periods, 0.0))])
    return taken, np.concatenate([[0.0], np.cumsum(np.where(usual, steps, 0.0))])


def silences_s(recording: Recording, stream: StreamData) -> list[tuple[float, float]]:
    """Seconds of the run from and to which nothing of a stream arrived, 2 s and five sampling periods at least."""
    least_ns = 1e9 * max(_SILENT_S, _SILENT_PERIODS / (stream.spec.rate_hz or 1.0))
    inside = (stream.arrival_ns >= recording.start_ns) & (stream.arrival_ns <= recording.stop_ns)
    marks = np.concatenate([[recording.start_ns], stream.arrival_ns[inside], [recording.stop_ns]])
    return [
        (float(marks[place] - recording.start_ns) / 1e9, float(marks[place + 1] - recording.start_ns) / 1e9)
        for place in np.flatnonzero(np.diff(marks) >= least_ns).tolist()
    ]
