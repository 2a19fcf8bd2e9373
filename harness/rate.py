"""How fast a stream samples: over the run, from window to window, and when it did not sample at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.types import FloatArray, IntArray
from harness.clocks import StreamClock, floors
from harness.recording import Recording, StreamData

WINDOW_S = 5.0
_FEWEST_A_WINDOW = 8
_LONGEST_POLL_NS = 0.05e9
"""What looks like a link that polls more rarely is a device that sends large packets."""
_JUMP_NS = 50e6
_AT_ONCE = 0.6
"""A share of a window's change in one second that makes it a jump."""
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
    own = np.ones(len(starts))
    if stream.device_ns is not None:
        own = _own_rates(device_ns, arrival_ns, at_ns[starts], at_ns[stops], nominal) / nominal
    rates = own * (1 - (edge_ns[stops] - edge_ns[starts]) / lasted)
    rates = 100 * rates / float(np.median(rates)) - 100
    cell_ns = min(max(fit.cell_ns for fit in span.fits), _LONGEST_POLL_NS)
    errors = 100 * (np.sqrt(2) * unsure_ns + cell_ns) / lasted
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
    chance = 1.4826 * float(np.median(np.abs(np.diff(floor_ns, 2)))) / np.sqrt(6)
    return median, float(1.96 * 1.25 * chance / np.sqrt(3))


def _own_rates(
    device_ns: IntArray, arrival_ns: IntArray, from_ns: IntArray, to_ns: IntArray, nominal_hz: float
) -> FloatArray:
    """Samples per second of the device's own clock between two arrivals, (w,)."""
    begins, ends = np.searchsorted(arrival_ns, from_ns), np.searchsorted(arrival_ns, to_ns)
    steps = np.diff(device_ns).astype(np.float64)
    usual = (steps > 0) & (steps <= 1.5 * np.median(steps))
    count = np.concatenate([[0], np.cumsum(usual)])
    lasted = np.concatenate([[0.0], np.cumsum(np.where(usual, steps, 0.0))])
    spent = np.maximum(lasted[ends - 1] - lasted[begins], 1.0)
    found = 1e9 * (count[ends - 1] - count[begins]) / spent
    return np.where(found > 0, found, nominal_hz)


def own_rate_hz(device_ns: IntArray, nominal_hz: float) -> float:
    """Samples per second of the device's own clock, from its time stamps (n,).

    A sensor that stamps its samples may keep good time and still take them at another rate. Gaps are
    losses, not a low rate: only intervals up to 1.5 medians count.
    """
    steps: FloatArray = np.diff(device_ns).astype(np.float64)
    steps = steps[steps > 0]
    usual = steps[steps <= 1.5 * np.median(steps)] if len(steps) else steps
    return float(1e9 / usual.mean()) if len(usual) else nominal_hz


def silences_s(recording: Recording, stream: StreamData) -> list[tuple[float, float]]:
    """Seconds of the run from and to which nothing of a stream arrived, 2 s and five sampling periods at least."""
    least_ns = 1e9 * max(_SILENT_S, _SILENT_PERIODS / (stream.spec.rate_hz or 1.0))
    inside = (stream.arrival_ns >= recording.start_ns) & (stream.arrival_ns <= recording.stop_ns)
    marks = np.concatenate([[recording.start_ns], stream.arrival_ns[inside], [recording.stop_ns]])
    return [
        (float(marks[place] - recording.start_ns) / 1e9, float(marks[place + 1] - recording.start_ns) / 1e9)
        for place in np.flatnonzero(np.diff(marks) >= least_ns).tolist()
    ]
