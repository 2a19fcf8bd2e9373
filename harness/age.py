"""How old data are when they arrive, whether that grows, and how long a link stood still.

Delays count from the line of a stream's clock (harness.clocks): the earliest arrivals have none. What the link
delays every sample alike is the part that one-way data cannot see; causality bounds it for a sensor that samples on
command, since its first sample was not taken before the command was written.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.types import FloatArray, IntArray
from harness.clocks import StreamClock, drift_known, floors, line_of, slope_of
from harness.recording import Recording, StreamData

_MINUTE_MS = 60_000.0
_FEWEST_BLOCKS = 4
_PARTS = (1, 2, 3, 4, 6, 8)
"""Growth is looked for over the whole span, and over such parts of it, each of which overlaps the next by half."""
_SEVERAL = 1.5
"""Intervals of parts are wider by so much: there are many of them, and the steepest counts."""


@dataclass(frozen=True, eq=False)
class Delays:
    """Delays of one stream's samples above the earliest arrivals, in order of arrival."""

    arrival_ns: IntArray
    delay_ns: FloatArray
    """(n,)"""
    unsure_ns: float
    """They may be so much shorter or longer (95 %), as the clock's drift is not known exactly."""
    hidden_ns: float
    """A link that polls may have kept the earliest ones waiting for so long."""
    first_ns: float | None
    """What the first sample of a run without restart was delayed by; None after restarts."""


def delays_of(clock: StreamClock, most_ppm: float) -> Delays:
    """Over all spans; the uncertainty is the largest of any span that counts (a tenth of the samples)."""
    parts, unsure, hidden = [np.empty(0)], [0.0], [0.0]
    for span in clock.spans:
        line, arrival_ns = line_of(clock, span, most_ppm), clock.arrival_ns[span.part]
        over = arrival_ns - line.taken_ns
        parts.append(over - floors(arrival_ns, over)[1].min())
        if 10 * (span.stop - span.start) >= len(clock.arrival_ns):
            unsure.append(line.reach_ns)
            hidden.append(max(fit.cell_ns for fit in span.fits))
    first_ns = float(parts[1][0]) if len(parts) == 2 else None
    return Delays(clock.arrival_ns, np.concatenate(parts), max(unsure), max(hidden), first_ns)


def constant_bound_ns(recording: Recording, stream: StreamData, delays: Delays) -> float | None:
    """The most that the link can delay every sample beyond what shows; None where nothing bounds it."""
    told_ns = recording.meta.get("connect", {}).get(stream.role, {}).get("told_ns")
    if told_ns is None or delays.first_ns is None:
        return None
    return max(0.0, float(stream.arrival_ns[0] - told_ns) - delays.first_ns)


# --- growth -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Growth:
    """How fast a delay grows, ms per minute, with a 95 % interval."""

    value: float
    low: float
    high: float
    from_ns: int
    """Arrivals between which it was seen."""
    to_ns: int


def growth_of(clock: StreamClock) -> tuple[Growth, Growth] | None:
    """Growth over the longest stretch that one line fits, and where it shows most; None where all is too short.

    The first is what the clock's fit says: a clock that runs slow looks like a delay that grows. The second is looked
    for in the longest span and in parts of it, and shows in a part if it does in each half of it: a delay that steps
    once does not grow.
    """
    span = max(clock.spans, key=lambda span: span.stop - span.start, default=None)
    if span is None:
        return None
    arrival_ns, device_ns = clock.arrival_ns[span.part], clock.device_ns[span.part]
    delay_ns = (arrival_ns - device_ns).astype(np.float64)
    at_ns, floor_ns = floors(arrival_ns, delay_ns - delay_ns[0])
    cell_ns = max(fit.cell_ns for fit in span.fits)
    if len(at_ns) < _FEWEST_BLOCKS:
        return None
    found = [
        _growth(at_ns[part], floor_ns[part], cell_ns, 1.0 if count == 1 else _SEVERAL)
        for count in _PARTS
        for part in _parts(len(at_ns), count)
    ]
    fit = max(span.fits, key=lambda fit: fit.n)
    ppms = (fit.drift_ppm, *reversed(drift_known(clock, fit)))
    value, low, high = (_MINUTE_MS * (1 / (1 + ppm * 1e-6) - 1) for ppm in ppms)
    begin_ns, end_ns = clock.arrival_ns[[fit.start, fit.start + fit.n - 1]].tolist()
    return Growth(value, low, high, begin_ns, end_ns), max(found, key=lambda growth: growth.low)


def _parts(count: int, parts: int) -> list[slice]:
    length = count // parts
    if parts > 1 and length < 2 * _FEWEST_BLOCKS:
        return []
    return [slice(begin, begin + length) for begin in range(0, count - length + 1, max(length // 2, 1))]


def _growth(at_ns: IntArray, floor_ns: FloatArray, cell_ns: float, widen: float) -> Growth:
    """By lines through the whole part and through both its halves; the low end is the lowest of the three."""
    at_s = (at_ns - at_ns[0]) / 1e9
    middle = len(at_s) // 2
    slope, half = slope_of(at_s, floor_ns, cell_ns)
    halves = [slope_of(at_s[part], floor_ns[part], cell_ns) for part in (slice(middle), slice(middle, None))]
    lows = [each - widen * error for each, error in ((slope, half), *halves)]
    value, low, high = (_per_minute(each) for each in (slope, min(lows), slope + widen * half))
    return Growth(value, low, high, int(at_ns[0]), int(at_ns[-1]))


def _per_minute(slope: float) -> float:
    """ms per minute in which samples are taken, from ns per second in which they arrive."""
    return _MINUTE_MS * slope * 1e-9 / max(1 - slope * 1e-9, 0.1)


# --- stalls -----------------------------------------------------------------------------------


def longest_stall(clock: StreamClock, delays: Delays) -> tuple[float, int]:
    """The longest time in ms for which nothing came although samples went on, and the arrival that ended it.

    Counted from what is usual between two arrivals. It takes both a silence and, right after it, samples that were
    held back so long: after an outage, in which samples are lost, the next one is fresh. Over restarts nothing is said.
    """
    longest, ended_ns = 0.0, 0
    for span in clock.spans:
        arrival_ns, delay_ns = delays.arrival_ns[span.part], delays.delay_ns[span.part]
        starts = np.concatenate([[0], np.flatnonzero(np.diff(arrival_ns)) + 1])
        if len(starts) < 3:
            continue
        silent = np.diff(arrival_ns[starts]).astype(np.float64)
        held = np.maximum.reduceat(delay_ns, starts)
        over = np.minimum(silent - np.median(silent), held[1:] - np.quantile(held, 0.05))
        worst = int(over.argmax())
        if over[worst] > longest:
            longest, ended_ns = float(over[worst]), int(arrival_ns[starts[worst + 1]])
    return longest / 1e6, ended_ns
