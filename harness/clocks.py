"""Each stream's device clock against the host's, found once per recording: fits, what breaks them, the common line.

A jump of (arrival - device time) is either the device's clock or the link's delay, and the difference decides which
verdict it belongs to. One-way data do tell the two apart where samples are regular: a clock that jumps leaves a jump
between the device times of two samples that came evenly, a delay that jumps leaves the device times even.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from drivers.clock_blocks import median
from drivers.clock_fit import ClockFit, fit_clock
from drivers.clock_floor import lowest_of
from drivers.clock_steps import find_steps
from drivers.registry import load_sensor, sensor_names
from drivers.timebase import arrivals_tell
from drivers.types import FloatArray, IntArray
from harness.recording import StreamData

CRYSTAL_PPM = 1000.0
"""No crystal and no ceramic resonator is further off: what is, is a delay that grows, or a wrong rate."""
_USUAL_PPM = 100.0
"""Where nothing is known of a crystal yet."""
_SECOND_NS = 1_000_000_000
_NEAR_NS = 1_500_000_000
"""A step is placed to so much of arrival time."""
_SMALLEST_MS = 50.0
STEADY_NS = 250_000.0
"""A link's least delay may move by so much in a run: a line of text grows by a byte or two with its numbers."""
_MOST_BLOCKS = 64
_DOUBTED_PPM = 60.0
_STRANGE = 2.0
"""Floors of seconds that show a drift no better than so many ppm stray more than chance has them. How
they are distributed nobody knows then: intervals are so many times as wide."""


@dataclass(frozen=True, slots=True)
class Span:
    """Samples start..stop within one segment in which the device's clock did not jump."""

    start: int
    stop: int
    fits: tuple[ClockFit, ...]
    """One per stretch between jumps of the link's delay, in order."""

    @property
    def part(self) -> slice:
        """The samples."""
        return slice(self.start, self.stop)


@dataclass(frozen=True, eq=False)
class StreamClock:
    """One stream's clock over a recording."""

    device_ns: IntArray
    """(n,) device time, or sample number times the nominal period."""
    arrival_ns: IntArray
    spans: tuple[Span, ...]

    @property
    def fits(self) -> list[ClockFit]:
        """All of them, in order."""
        return [fit for span in self.spans for fit in span.fits]

    @property
    def main(self) -> ClockFit | None:
        """The fit with the most samples."""
        return max(self.fits, key=lambda fit: fit.n, default=None)


_CLOCKS: WeakKeyDictionary[StreamData, StreamClock] = WeakKeyDictionary()
"""Gone with the recording that the stream belongs to."""


def grid_ns(stream: StreamData) -> IntArray:
    """Time of each sample by the device, (n,): its clock where it has one, else its sample number.

    Where nothing counts, samples that come further apart than a link delays them are counted by their arrivals.
    """
    if stream.device_ns is not None:
        return stream.device_ns
    period_ns = 1e9 / (stream.spec.rate_hz or 1.0)
    if arrivals_tell(stream.spec) and len(stream.arrival_ns):
        steps = np.rint(np.diff(stream.arrival_ns, prepend=stream.arrival_ns[0]) / period_ns)
        return np.asarray(np.rint(np.cumsum(steps) * period_ns), dtype=np.int64)
    return np.asarray(np.rint(stream.index * period_ns), dtype=np.int64)


def _without_spikes(device_ns: IntArray, arrival_ns: IntArray) -> IntArray:
    """A single sample that is later than the next one, which follows the one before it, was damaged on the wire. (n,)

    Were it left, it would have arrived before it was taken, and be the earliest arrival of all. It is put between the
    two. Samples that changed places are not early.
    """
    if len(device_ns) < 3:
        return device_ns
    delay_ns = arrival_ns - device_ns
    early = np.minimum(delay_ns[:-2], delay_ns[2:]) - delay_ns[1:-1] > np.median(np.diff(device_ns)) / 2
    spike = (device_ns[1:-1] > device_ns[2:]) & (device_ns[:-2] <= device_ns[2:]) & early
    out = device_ns.copy()
    out[1:-1] = np.where(spike, (device_ns[:-2] + device_ns[2:]) // 2, device_ns[1:-1])
    return out


def clock_of(stream: StreamData) -> StreamClock:
    """The clock of a stream with a rate; worked out once for each StreamData."""
    found = _CLOCKS.get(stream)
    if found is None:
        device_ns = grid_ns(stream)
        found = StreamClock(
            device_ns, stream.arrival_ns, tuple(_spans(stream, _without_spikes(device_ns, stream.arrival_ns)))
        )
        _CLOCKS[stream] = found
    return found


def _spans(stream: StreamData, device_ns: IntArray) -> list[Span]:
    if not len(device_ns):
        return []
    arrival_ns, period_ns = stream.arrival_ns, 1e9 / (stream.spec.rate_hz or 1.0)
    cuts = np.zeros(len(device_ns), dtype=np.int64)
    cuts[1:] = np.diff(stream.segment) != 0
    begins = set(np.flatnonzero(cuts).tolist())
    for step in find_steps(_level(device_ns, arrival_ns), arrival_ns, stream.segment, smallest_ms=_SMALLEST_MS):
        cuts[step.index] = 1
    groups: list[list[ClockFit]] = []
    radio = stream.sensor not in sensor_names() or load_sensor(stream.sensor).LINK != "serial"
    for fit in fit_clock(device_ns, arrival_ns, np.cumsum(cuts), play_ns=stream.spec.play_ms * 1e6, radio=radio):
        same = groups and fit.start not in begins
        if same and jumped(device_ns, arrival_ns, fit.start, period_ns) == "delay":
            groups[-1].append(fit)
        else:
            groups.append([fit])
    return [Span(group[0].start, group[-1].start + group[-1].n, tuple(group)) for group in groups]


_STANDS = 0.9
"""Of the time by which a clock falls behind: it began anew or stood still, and does not merely run too slowly."""


def _level(device_ns: IntArray, arrival_ns: IntArray) -> IntArray:
    """Device times at the pace of the arrivals: a rate that is wrong all the time is no series of steps. (n,)"""
    at_ns, floor_ns = floors(arrival_ns, (arrival_ns - device_ns).astype(np.float64))
    if len(at_ns) < 3:
        return device_ns
    half = len(at_ns) // 2  # the median over half of the time is that of most of it, whatever jumped once or twice
    tilt = float(np.median((floor_ns[-half:] - floor_ns[:half]) / (at_ns[-half:] - at_ns[:half])))
    if abs(tilt) < CRYSTAL_PPM * 1e-6 or tilt > _STANDS:
        return device_ns
    return np.asarray(device_ns + np.rint(tilt / (1 - tilt) * (device_ns - device_ns[0])).astype(np.int64))


def jumped(device_ns: IntArray, arrival_ns: IntArray, at: int, period_ns: float) -> str:
    """What a time base that breaks near sample ``at`` of one segment shows: ``clock`` or ``delay``.

    (n,) each, in order of arrival. A loss moves device time and arrival alike and is neither.
    """
    first = int(np.searchsorted(arrival_ns, arrival_ns[at - 1] - _NEAR_NS))
    stop = int(np.searchsorted(arrival_ns, arrival_ns[at] + _NEAR_NS, side="right"))
    before, after = slice(first, at), slice(at, stop)
    size = float((arrival_ns[before] - device_ns[before]).min() - (arrival_ns[after] - device_ns[after]).min())
    steps = np.diff(device_ns[first:stop])
    excess = np.sign(size) * (steps - period_ns)
    against = np.sign(size) * (steps - np.diff(arrival_ns[first:stop]))
    return "clock" if np.any((excess >= abs(size) / 2) & (against >= abs(size) / 2)) and size else "delay"


# --- the line ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Line:
    """Host time at which the samples of a span were taken, but for what the link delays every sample alike."""

    taken_ns: FloatArray
    """(m,) of the span's samples."""
    reach_ns: float
    """What the drift's 95 % interval makes of the span's ends."""


def line_of(clock: StreamClock, span: Span, most_ppm: float = CRYSTAL_PPM) -> Line:
    """The line that the least delayed stretch of a span gives to all of it.

    A stretch whose drift no crystal has (beyond ``most_ppm``) is taken for a delay that grows or shrinks.
    """
    plausible = [fit for fit in span.fits if abs(fit.drift_ppm) <= most_ppm]
    device_ns = clock.device_ns[span.part]
    best = min(plausible, key=lambda fit: fit.drift_high_ppm - fit.drift_low_ppm, default=None)
    if best is None or best.drift_high_ppm - best.drift_low_ppm > 2 * most_ppm:
        slope, unsure = 0.0, _USUAL_PPM * 1e-6
    else:
        slope, unsure = best.slope, (best.drift_high_ppm - best.drift_low_ppm) / 2 * 1e-6
    reach_ns = unsure * float(np.ptp(device_ns)) / 2
    if len(span.fits) == len(plausible) == 1:
        return Line(plausible[0].host_ns(device_ns), reach_ns)
    reference_ns = (int(device_ns.min()) + int(device_ns.max())) // 2
    offset_ns = min(_offset(clock, fit, slope, reference_ns, fit in plausible) for fit in span.fits)
    return Line(device_ns + offset_ns + slope * (device_ns - reference_ns), reach_ns)


def _offset(clock: StreamClock, fit: ClockFit, slope: float, reference_ns: int, plausible: bool) -> float:
    """(host - device) at the reference by one stretch."""
    if plausible:
        return fit.offset_ns + slope * (reference_ns - fit.reference_ns)
    part = slice(fit.start, fit.start + fit.n)
    device_ns, arrival_ns = clock.device_ns[part], clock.arrival_ns[part]
    _, floor_ns = floors(arrival_ns, arrival_ns - device_ns - slope * (device_ns - reference_ns))
    return float(floor_ns.min())


def floors(arrival_ns: IntArray, delay_ns: FloatArray) -> tuple[IntArray, FloatArray]:
    """Arrival of the first sample and floor of the delays of each second that has samples, (b,) each.

    Arguments (n,), in order of arrival. The floor is the second smallest delay where there are four or more: one
    damaged time stamp is no floor.
    """
    block = (arrival_ns - arrival_ns[0]) // _SECOND_NS
    starts = np.concatenate([[0], np.flatnonzero(np.diff(block)) + 1])
    return arrival_ns[starts], lowest_of(delay_ns, starts)[0]


_DRIFTS: WeakKeyDictionary[StreamClock, tuple[ClockFit, tuple[float, float]]] = WeakKeyDictionary()


def chance_of(floor_ns: FloatArray) -> float:
    """Robust standard deviation of floors (b,) by chance, ns: by their second differences, which no drift changes."""
    return 1.4826 * float(np.median(np.abs(np.diff(floor_ns, 2)))) / float(np.sqrt(6))


def drift_known(clock: StreamClock, fit: ClockFit) -> tuple[float, float]:
    """95 % interval of a fit's drift, ppm, as two witnesses have it: the fit, and a line through the floors of seconds.

    A fit counts every arrival. Where a link holds many back alike, as one that is busy for moments does, they are fewer
    than they look, and where it becomes busy their middle moves; the floors of whole seconds stray then, and say so.
    """
    known = _DRIFTS.get(clock)
    if known is not None and known[0] is fit:
        return known[1]
    low, high = fit.drift_low_ppm, fit.drift_high_ppm
    if fit.kind != "lattice" and np.isfinite(high - low):
        part = slice(fit.start, fit.start + fit.n)
        device_ns, arrival_ns = clock.device_ns[part], clock.arrival_ns[part]
        at_ns, floor_ns = floors(arrival_ns, arrival_ns - device_ns - fit.slope * (device_ns - fit.reference_ns))
        slope, half = (each / 1e3 for each in slope_of((at_ns - at_ns[0]) / 1e9, floor_ns, fit.cell_ns, 0.0))
        if _DOUBTED_PPM < half < np.inf:
            half *= _STRANGE
            low, high = min(low, fit.drift_ppm - slope - half), max(high, fit.drift_ppm - slope + half)
    _DRIFTS[clock] = fit, (low, high)
    return low, high


def slope_of(
    at_s: FloatArray, floor_ns: FloatArray, cell_ns: float, steady_ns: float = STEADY_NS
) -> tuple[float, float]:
    """ns per s of a robust line through floors (b,), and half its 95 % interval; what batching hides included."""
    at_s, floor_ns = _pooled(at_s, floor_ns)
    count = len(at_s)
    span_s = float(at_s[-1] - at_s[0]) if count else 0.0
    if count < 3 or not span_s:
        return 0.0, float("inf")
    first, second = np.triu_indices(count, 1)
    slope = median((floor_ns[second] - floor_ns[first]) / (at_s[second] - at_s[first]))
    rest = floor_ns - slope * at_s
    rest = rest - median(rest)
    scatter = max(1.4826 * median(np.abs(rest)), float(np.sqrt(np.mean(rest**2))) / 2)
    error = scatter / float(np.sqrt(np.sum((at_s - at_s.mean()) ** 2)))
    return slope, 1.4 * (1.96 + 8 / count) * error + (cell_ns + steady_ns) / span_s


def _pooled(at_s: FloatArray, floor_ns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """At most _MOST_BLOCKS floors, each the lowest of several in a row, at its own time."""
    several = -(-len(at_s) // _MOST_BLOCKS)
    if several == 1:
        return at_s, floor_ns
    whole = len(at_s) // several * several
    table = floor_ns[:whole].reshape(-1, several)
    lowest = table.argmin(axis=1)
    rows = np.arange(len(table))
    return at_s[:whole].reshape(-1, several)[rows, lowest], table[rows, lowest]
