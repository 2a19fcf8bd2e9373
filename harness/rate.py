"""How fast a stream samples: over the run, from window to window, and when it did not sample at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.types import FloatArray, IntArray
from harness.clocks import Span, StreamClock, floors
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
    """Over windows of 5 s or of 8 samples, whichever is longer; None if the longest span has fewer than three."""
    span = max(clock.spans, key=lambda span: span.stop - span.start, default=None)
    if span is None:
        return None
    rate = float(stream.spec.rate_hz or 1.0)
    window_s = max(WINDOW_S, _FEWEST_A_WINDOW / rate)
    arrival_ns, device_ns = clock.arrival_ns[span.part], clock.device_ns[span.part]
    starts, lows, unsure = _windows(arrival_ns, arrival_ns - device_ns, window_s)
    if len(starts) < 4:
        return None
    own = _own_rates(stream, span.part, arrival_ns, starts, window_s) / rate
    lasted = np.diff(starts)
    cell_ns = min(max(fit.cell_ns for fit in span.fits), _LONGEST_POLL_NS)
    moved, errors = np.diff(lows), 100 * (np.sqrt(2) * unsure + cell_ns) / lasted
    even = _without_jumps(moved, clock, span, starts)
    if np.count_nonzero(even) < 3:
        return None
    rates = (own[:-1] * (1 - moved / lasted))[even]
    rates, errors, starts = 100 * rates / float(rates.mean()) - 100, errors[even], starts[:-1][even]
    worst = int(np.abs(rates).argmax())
    largest = float(abs(rates[worst]))
    low = max(0.0, float((np.abs(rates) - errors).max()))
    high = float((np.abs(rates) + errors).max())
    return RateWander(window_s, len(rates), float(rates.std(ddof=1)), largest, low, high, int(starts[worst]))


def _without_jumps(moved: FloatArray, clock: StreamClock, span: Span, starts: IntArray) -> NDArray[np.bool_]:
    """Windows whose floor did not move at once, as that of a delay that jumps does; (w,) each, starts one more."""
    arrival_ns, device_ns = clock.arrival_ns[span.part], clock.device_ns[span.part]
    at_ns, floor_ns = floors(arrival_ns, (arrival_ns - device_ns).astype(np.float64))
    even = np.abs(moved) < _JUMP_NS
    for window in np.flatnonzero(~even).tolist():
        first, last = np.searchsorted(at_ns, (starts[window], 2 * starts[window + 1] - starts[window])).tolist()
        steps = np.diff(floor_ns[first:last])
        even[window] = np.abs(steps).max() < _AT_ONCE * abs(moved[window])
    return even


def _windows(arrival_ns: IntArray, delay_ns: IntArray, window_s: float) -> tuple[IntArray, FloatArray, float]:
    """Where windows begin and end, the floor of the delays there, (w,) each, and what such a floor may be off by, ns.

    The floor is the median of three seconds' floors. How much these vary by chance shows in their second differences,
    whatever the rate does.
    """
    at_ns, floor_ns = floors(arrival_ns, (delay_ns - delay_ns[0]).astype(np.float64))
    number = (at_ns - at_ns[0]) // round(window_s * 1e9)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(number)) + 1])
    if at_ns[-1] - at_ns[edges[-1]] >= 0.8e9 * window_s:
        edges = np.append(edges, len(at_ns) - 1)
    lows = [float(np.median(floor_ns[max(edge - 1, 0) : edge + 2])) for edge in edges.tolist()]
    turns = np.abs(np.diff(floor_ns, 2))
    chance = 1.4826 * float(np.median(turns)) / np.sqrt(6) if len(turns) else 0.0
    return at_ns[edges], np.array(lows), float(1.96 * 1.25 * chance / np.sqrt(3))


def _own_rates(stream: StreamData, part: slice, arrival_ns: IntArray, starts: IntArray, window_s: float) -> FloatArray:
    """Samples per second of the device's own clock in each window, (w,); the nominal rate where it has none."""
    nominal = float(stream.spec.rate_hz or 1.0)
    if stream.device_ns is None:
        return np.full(len(starts), nominal)
    device_ns = stream.device_ns[part]
    stops = np.searchsorted(arrival_ns, starts + round(window_s * 1e9))
    pairs = zip(np.searchsorted(arrival_ns, starts).tolist(), stops.tolist(), strict=True)
    return np.array([own_rate_hz(device_ns[begin:stop], nominal) for begin, stop in pairs])


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
