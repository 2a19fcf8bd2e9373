"""What got through: counts that are exact where the wire carries a counter or a clock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.types import CounterReset, IntArray, LinkDown, LinkUp, Lost, Malformed, Reordered, Repeated
from harness.recording import Recording, StreamData


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
    gap_ms, gap_at_s = _longest_gap(recording, stream.time_ns[inside], rate)
    if stream.spec.counted:
        losses = [
            event.count
            for role, event in recording.events
            if isinstance(event, Lost) and role == stream.role and event.stream == stream.spec.name
            and event.arrival_ns >= recording.start_ns
        ]  # fmt: skip
        missing = _missing_ends(recording, stream.time_ns[inside], rate)
        return Delivery(received, sum(losses) + missing, True, len(losses) + bool(missing), gap_ms, gap_at_s)
    if rate is None:
        return Delivery(received, 0, False, 0, gap_ms, gap_at_s)
    expected = int((recording.stop_ns - recording.start_ns) / 1e9 * rate)
    lost = max(0, expected - received - 1)  # the run's ends cut one period
    return Delivery(received, lost, False, int(lost > 0), gap_ms, gap_at_s)


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
    timed = {key for key, stream in recording.streams.items() if stream.spec.timed}  # their jumps are for sync
    malformed = [e for e in events if isinstance(e, Malformed)]
    downs = [e.arrival_ns for e in events if isinstance(e, LinkDown)]
    ups = [e.arrival_ns for e in events if isinstance(e, LinkUp)]
    down_ns = sum(next((up for up in ups if up >= down), recording.stop_ns) - down for down in downs)
    return Integrity(
        len(malformed),
        sum(e.size for e in malformed),
        _once(recording, role, Repeated),
        _once(recording, role, Reordered),
        len({e.arrival_ns for e in events if isinstance(e, CounterReset) and f"{role}/{e.stream}" not in timed}),
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
