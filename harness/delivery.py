"""What got through: counts that are exact where the wire carries a counter or a clock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.types import CounterReset, IntArray, LinkDown, LinkUp, Lost, Malformed, Reordered, Repeated
from harness.recording import Recording, StreamData

_STALL_NS = 500_000_000
"""A link may hold samples up for so long without losing any."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One stream over one run."""

    received: int
    lost: int
    """By the device's counter or clock; by the nominal rate where the wire carries neither."""
    exact: bool
    incidents: int
    """Separate losses."""
    gap_ms: float
    """Longest time without a sample beyond the sampling period, run's ends included; NaN without a rate."""
    gap_at_s: float

    @property
    def lost_percent(self) -> float:
        """Of what should have come."""
        expected = self.received + self.lost
        return 100.0 * self.lost / expected if expected else 100.0


@dataclass(frozen=True, slots=True)
class Integrity:
    """What was wrong on a sensor's wire."""

    malformed: int
    malformed_bytes: int
    repeated: int
    reordered: int
    resets: int
    """Of counters; a clock that jumps is for the sync check."""
    link_losses: int
    down_s: float

    @property
    def total(self) -> int:
        """Incidents of any kind."""
        return self.malformed + self.repeated + self.reordered + self.resets + self.link_losses


def delivery_of(recording: Recording, stream: StreamData) -> Delivery:
    """Counts over the run's time: what arrived before its start or after its stop is left out."""
    inside = (stream.arrival_ns >= recording.start_ns) & (stream.arrival_ns <= recording.stop_ns)
    received = int(np.count_nonzero(inside))
    rate = stream.spec.rate_hz
    times_ns = (stream.time_ns if stream.spec.counted else stream.arrival_ns)[inside]
    gap_ms, gap_at_s = _longest_gap(recording, times_ns, rate)
    if stream.spec.counted:
        losses = _losses(recording, stream)
        silent = _missing_in_outages(recording, stream, rate), _missing_ends(recording, times_ns, rate)
        incidents = len(losses) + sum(map(bool, silent))
        return Delivery(received, sum(losses) + sum(silent), True, incidents, gap_ms, gap_at_s)
    if rate is None:
        return Delivery(received, 0, False, 0, gap_ms, gap_at_s)
    between = _missing_between(stream.arrival_ns[inside], rate)
    missing = _missing_ends(recording, times_ns, rate)
    return Delivery(received, between + missing, False, bool(between) + bool(missing), gap_ms, gap_at_s)


def _losses(recording: Recording, stream: StreamData) -> list[int]:
    """Samples that each gap in the count still lacks at the end; what came late after all (Reordered) is not lost."""
    lacking: list[int] = []
    for role, event in recording.events:
        if role != stream.role or event.arrival_ns < recording.start_ns:
            continue
        if isinstance(event, Lost) and event.stream == stream.spec.name:
            lacking.append(event.count)
        elif isinstance(event, Reordered) and event.stream == stream.spec.name:
            late = event.count
            while late and lacking:  # it fills the newest gap
                filled = min(late, lacking[-1])
                lacking[-1], late = lacking[-1] - filled, late - filled
                if not lacking[-1]:
                    lacking.pop()
    return lacking


def _missing_between(arrival_ns: IntArray, rate_hz: float) -> int:
    """Samples without a number that did not come between the first and the last that did, if the rate is right.

    Each of them makes all later ones a period later for good; what is late at the ends has only been held up.
    """
    if not len(arrival_ns):
        return 0
    late_ns = arrival_ns - arrival_ns[0] - np.arange(len(arrival_ns)) * (1e9 / rate_hz)
    first = late_ns[arrival_ns <= arrival_ns[0] + _STALL_NS].min()
    last = late_ns[arrival_ns >= arrival_ns[-1] - _STALL_NS].min()
    return max(0, round(float(last - first) * 1e-9 * rate_hz))


def _missing_in_outages(recording: Recording, stream: StreamData, rate_hz: float | None) -> int:
    """Samples that a sensor which was started anew, and counts from its start, does not count as lost."""
    missing = 0
    for down_ns, back_ns in outages_ns(recording, stream.role) if rate_hz else ():
        before = stream.time_ns[(stream.arrival_ns <= down_ns) & (stream.arrival_ns >= recording.start_ns)]
        after = stream.time_ns[(stream.arrival_ns >= back_ns) & (stream.arrival_ns <= recording.stop_ns)]
        if len(after) and back_ns > recording.start_ns:
            since_ns = int(before.max()) if len(before) else recording.start_ns
            missing += max(0, round((int(after.min()) - since_ns) / 1e9 * (rate_hz or 0)) - 1)
    return missing


def outages_ns(recording: Recording, role: str) -> list[tuple[int, int]]:
    """When the role's link was gone: from its loss to the first sample after it came back, or to the run's stop."""
    arrivals = [stream.arrival_ns for stream in recording.streams.values() if stream.role == role]
    ups = [e.arrival_ns for r, e in recording.events if r == role and isinstance(e, LinkUp)]
    outages = []
    for owner, event in recording.events:
        if owner == role and isinstance(event, LinkDown):
            back_ns = next((up for up in ups if up >= event.arrival_ns), recording.stop_ns)
            firsts = [int(each[place]) for each in arrivals if (place := np.searchsorted(each, back_ns)) < len(each)]
            outages.append((event.arrival_ns, min(firsts, default=recording.stop_ns)))
    return outages


def _missing_ends(recording: Recording, time_ns: IntArray, rate_hz: float | None) -> int:
    """Samples that no counter can show as lost, since nothing came after them or before: outages at the ends."""
    if not rate_hz:
        return 0
    if not len(time_ns):
        return int((recording.stop_ns - recording.start_ns) / 1e9 * rate_hz)
    slack_ns = 1e9  # delivery of the newest samples is under way when the run ends
    tail_ns = recording.stop_ns - int(time_ns.max()) - slack_ns
    return max(0, int(tail_ns / 1e9 * rate_hz))


def _longest_gap(recording: Recording, time_ns: IntArray, rate_hz: float | None) -> tuple[float, float]:
    if not rate_hz:
        return float("nan"), float("nan")
    period_ns = 1e9 / rate_hz
    marks = np.concatenate([[recording.start_ns], np.sort(time_ns), [recording.stop_ns]])
    gaps = np.diff(marks) - period_ns
    worst = int(gaps.argmax())
    return max(0.0, float(gaps[worst]) / 1e6), float(marks[worst] - recording.start_ns) / 1e9


def integrity_of(recording: Recording, role: str) -> Integrity:
    """Counts of one role's incidents from the run's start on."""
    events = [e for r, e in recording.events if r == role and e.arrival_ns >= recording.start_ns]
    malformed = [e for e in events if isinstance(e, Malformed)]
    downs = [e.arrival_ns for e in events if isinstance(e, LinkDown)]
    ups = [e.arrival_ns for e in events if isinstance(e, LinkUp)]
    down_ns = sum(next((up for up in ups if up >= down), recording.stop_ns) - down for down in downs)
    return Integrity(
        len(malformed),
        sum(e.size for e in malformed),
        _once(recording, role, Repeated),
        _once(recording, role, Reordered),
        len({e.arrival_ns for e in events if isinstance(e, CounterReset) and not e.clock}),
        len(downs),
        down_ns / 1e9,
    )


def _once(recording: Recording, role: str, kind: type[Repeated] | type[Reordered]) -> int:
    """One frame carries several streams: count it for the stream that shows it most."""
    totals: dict[str, int] = {}
    for owner, event in recording.events:
        if owner == role and isinstance(event, kind) and event.arrival_ns >= recording.start_ns:
            totals[event.stream] = totals.get(event.stream, 0) + event.count
    return max(totals.values(), default=0)
