"""Samples got through: lost share, longest gap, and damage on the wire, per stream and sensor."""

from __future__ import annotations

from dataclasses import dataclass, field

from drivers.types import Malformed, Notice
from harness.delivery import Delivery, delivery_of, integrity_of
from harness.recording import Recording, StreamData
from harness.statistics import rate_upper_bound, share_interval
from harness.verdict import Outcome, Verdict

NAME = "delivery"


@dataclass(frozen=True)
class LIMITS:
    """Limits of the delivery check."""

    max_lost_percent: float = field(default=1.0, metadata={"help": "share of a stream's samples that may be lost"})
    max_gap_ms: float = field(
        default=500.0, metadata={"help": "longest time without a sample; never less than three sampling periods"}
    )
    max_damaged: int = field(
        default=0, metadata={"help": "malformed, repeated and reordered frames, counter resets and link losses"}
    )

    def __post_init__(self) -> None:
        if not (0 <= self.max_lost_percent <= 100 and self.max_gap_ms > 0 and self.max_damaged >= 0):
            raise ValueError("delivery: expected 0 <= max_lost_percent <= 100, max_gap_ms > 0 and max_damaged >= 0")


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """Two verdicts per stream with a rate (loss, gap), one per stream without, one per sensor (damage).

    This judges what happened in this run, so a loss is a fact and not a sample of one; the interval says
    what the run tells about the sensor's long-run loss, and is wider.
    """
    verdicts = []
    for stream in recording.streams.values():
        found = delivery_of(recording, stream)
        verdicts.append(_loss(recording, stream, found, limits))
        if stream.spec.rate_hz:
            verdicts.append(_gap(stream, found, limits))
    return verdicts + [_damage(recording, role, limits) for role in recording.rig.sensors]


def _loss(recording: Recording, stream: StreamData, found: Delivery, limits: LIMITS) -> Verdict:
    n = found.received + found.lost
    if not found.received:
        reason = "no sample of this stream arrived"
        return Verdict(NAME, stream.key, Outcome.FAIL, reason, "lost", 100.0, "%", limits.max_lost_percent, n)
    if stream.spec.rate_hz is None:
        reason = f"{found.received} events arrived; without a rate or counter a lost one cannot be seen"
        return Verdict(NAME, stream.key, Outcome.PASS, reason, "received", float(n), "events", 1.0, n)
    low, high = share_interval(found.lost, n)
    ok = found.lost_percent <= limits.max_lost_percent
    how = "by the device's counter" if found.exact else "by the nominal rate"
    hours = (recording.stop_ns - recording.start_ns) / 3.6e12
    bound = rate_upper_bound(found.incidents, hours)
    reason = f"{found.lost} of {n} samples lost {how}, in {found.incidents} incidents (at most {bound:.0f} per hour)"
    outcome = Outcome.PASS if ok else Outcome.FAIL
    unsure = _ambiguous(recording, stream) if found.exact else 0
    if unsure:
        reason += f"; unsure {unsure} times by a turn of the counter, which a silence and a stall together hid"
        outcome = Outcome.INCONCLUSIVE if ok else outcome
    if not ok:
        reason += "; look at range, cable, baud rate and what else uses the link"
    return Verdict(
        NAME, stream.key, outcome, reason, "lost", found.lost_percent, "%",
        limits.max_lost_percent, n, 100 * low, 100 * high, 0.95,
    )  # fmt: skip


def _ambiguous(recording: Recording, stream: StreamData) -> int:
    """Losses in the run that a short counter could not size for certain."""
    told = [e for role, e in recording.events if role == stream.role and isinstance(e, Notice)]
    return sum(e.name == "loss_ambiguous" and e.arrival_ns >= recording.start_ns for e in told)


def _gap(stream: StreamData, found: Delivery, limits: LIMITS) -> Verdict:
    limit = max(limits.max_gap_ms, 3e3 / (stream.spec.rate_hz or 1.0))
    ok = found.gap_ms <= limit
    reason = f"longest gap {found.gap_ms:.0f} ms, at {found.gap_at_s:.2f} s"
    if not ok:
        reason += ": an outage; was the device unplugged, out of range or stalled then?"
    return Verdict(
        NAME, stream.key, Outcome.PASS if ok else Outcome.FAIL, reason, "longest gap", found.gap_ms, "ms", limit,
        found.received, found.gap_ms, found.gap_ms, 1.0,
    )  # fmt: skip


def _damage(recording: Recording, role: str, limits: LIMITS) -> Verdict:
    found = integrity_of(recording, role)
    parts = [
        f"{found.malformed} malformed ({found.malformed_bytes} bytes)" if found.malformed else "",
        f"{found.repeated} repeated" if found.repeated else "",
        f"{found.reordered} reordered" if found.reordered else "",
        f"{found.resets} counter resets" if found.resets else "",
        f"{found.link_losses} link losses ({found.down_s:.1f} s down)" if found.link_losses else "",
    ]
    reason = ", ".join(part for part in parts if part) or "no damage on the wire"
    first = next((e for r, e in recording.events if r == role and isinstance(e, Malformed)), None)
    if first is not None and found.malformed:
        reason += f"; first: {first.reason}"
    outcome = Outcome.PASS if found.total <= limits.max_damaged else Outcome.FAIL
    count = float(found.total)
    return Verdict(
        NAME, role, outcome, reason, "damaged frames", count, "incidents", float(limits.max_damaged),
        sum(len(s.values) for s in recording.streams.values() if s.role == role), count, count, 1.0,
    )  # fmt: skip
