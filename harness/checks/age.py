"""Data are fresh when they arrive, do not grow older during the run, and begin to come soon.

What one-way stamps show is how much later than the earliest ones samples come. A delay that is the same for all of
them is invisible: the sensor's declared ``floor_ms`` stands in for it, and where the sensor samples on command its
first sample, which was not taken before that, says how much more it can be. Where nothing bounds it the interval has
no upper end, and the verdict is about the part that can be seen.

A delay that grows evenly looks like a clock that runs slow; beyond max_growth_ms_per_min no crystal does.

Found with 95 % power in 30 s, at default limits and with a host that is half a millisecond late now and then, on a
Cyton's serial line and on counted packets behind connection events every 30 ms: a growth of 70 ms a minute from the
start on; one that begins in the middle from 150 (serial) and 450 (BLE); a stall of 520 (serial) and 560 ms (BLE); a
delay of 1000 ms (BLE); a device that begins 5 s late (serial). A counter of 8 bits does not show a delay of more than
its wrap: 1024 ms on a Cyton, where delivery tells a loss instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from drivers.timebase import arrivals_tell
from harness.age import Delays, Growth, constant_bound_ns, delays_of, growth_of, longest_stall
from harness.clocks import StreamClock, clock_of
from harness.recording import Recording, StreamData
from harness.verdict import Outcome, Verdict

NAME = "age"
_FEWEST = 10


@dataclass(frozen=True)
class LIMITS:
    """Limits of the age check."""

    max_age_ms: float = field(
        default=1000.0, metadata={"help": "how old 99 % of the samples may be when they arrive, packets included"}
    )
    max_growth_ms_per_min: float = field(
        default=60.0, metadata={"help": "how fast the delay may grow; 60 is a clock 1000 ppm slow"}
    )
    max_stall_ms: float = field(default=500.0, metadata={"help": "how long a link may stand still while samples go on"})
    max_first_sample_s: float = field(
        default=5.0,
        metadata={"help": "from the start of connecting to a stream's first sample; never less than three periods"},
    )

    def __post_init__(self) -> None:
        given = (self.max_age_ms, self.max_growth_ms_per_min, self.max_stall_ms, self.max_first_sample_s)
        if min(given) <= 0:
            raise ValueError(
                "age: expected max_age_ms, max_growth_ms_per_min, max_stall_ms and max_first_sample_s above 0"
            )


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """Per stream with a rate: age, growth and stalls, and the first sample.

    A slow stream without counter and time stamps is told by its arrivals alone, so that only its first sample can be
    judged; of a fast one what looks old may as well have been lost.
    """
    streams = [stream for stream in recording.streams.values() if stream.spec.rate_hz]
    verdicts = [verdict for stream in streams for verdict in _stream(recording, stream, limits)]
    if not any(_tells(stream) for stream in streams):
        reason = "every stream of this rig is slow and neither numbers nor stamps its samples: their age does not show"
        verdicts.append(Verdict(NAME, "rig", Outcome.NOT_RUN, reason, "age", None, "ms", limits.max_age_ms))
    return verdicts


def _tells(stream: StreamData) -> bool:
    """The stream's samples have times of their own, were it by how many have come."""
    return not arrivals_tell(stream.spec)


def _or_lost(verdict: Verdict) -> Verdict:
    """Where nothing counts, a sample that was lost makes all later ones look a period older."""
    if verdict.outcome is not Outcome.FAIL:
        return verdict
    reason = f"{verdict.reason}. Or so many samples were lost: nothing in this stream counts them"
    return replace(verdict, outcome=Outcome.INCONCLUSIVE, reason=reason)


def _stream(recording: Recording, stream: StreamData, limits: LIMITS) -> list[Verdict]:
    first = _first_sample(recording, stream, limits)
    if not _tells(stream):
        return [first]
    clock = clock_of(stream)
    if len(stream.arrival_ns) < _FEWEST:
        reason = f"{len(stream.arrival_ns)} samples are too few to tell how old they are"
        age = Verdict(NAME, stream.key, Outcome.INCONCLUSIVE, reason, "age", None, "ms", limits.max_age_ms)
        return [age, first]
    delays = delays_of(clock, limits.max_growth_ms_per_min / 0.06)
    judged = [
        _age(recording, stream, delays, limits), _growth(recording, stream, clock, limits),
        _stall(recording, stream, clock, delays, limits),
    ]  # fmt: skip
    if not (stream.spec.counted or stream.spec.timed):
        judged = [_or_lost(verdict) for verdict in judged]
    return [*judged, first]


def _age(recording: Recording, stream: StreamData, delays: Delays, limits: LIMITS) -> Verdict:
    limit, floor_ms = limits.max_age_ms, recording.rig.sensors[stream.role].floor_ms
    during = (delays.arrival_ns >= recording.start_ns) & (delays.arrival_ns <= recording.stop_ns)
    ages = (delays.delay_ns[during] if during.any() else delays.delay_ns) / 1e6 + floor_ms
    p50, p99 = (float(age) for age in np.percentile(ages, (50, 99)))
    bound_ns = constant_bound_ns(recording, stream, delays)
    unsure_ms = delays.unsure_ns / 1e6
    low = max(floor_ms, p99 - unsure_ms)
    high = None if bound_ns is None else p99 + unsure_ms + max(bound_ns / 1e6 - floor_ms, 0.0)
    reason = f"{p50:.1f} ms old at the median, {p99:.1f} ms at the 99th percentile"
    if bound_ns is None:
        reason += f"; beyond the {floor_ms:g} ms declared, a delay that all samples share would not show here"
        if delays.hidden_ns:
            reason += f", such as a wait of up to {delays.hidden_ns / 1e6:.1f} ms for the link's next turn"
    else:
        reason += f"; at most {bound_ns / 1e6:.1f} ms of it can be the same for all samples, by the first one"
    if low > limit:
        outcome = Outcome.FAIL
        reason += ": do samples wait in a queue, a buffer or a packet that is too large?"
    elif (p99 + unsure_ms if high is None else high) <= limit:
        outcome = Outcome.PASS
    else:
        outcome = Outcome.INCONCLUSIVE
        reason += "; either the sensor was slow to start or all of its samples are that old" * (high is not None)
        reason += "; the clock is not known well enough, so run longer" * (high is None)
    return Verdict(NAME, stream.key, outcome, reason, "age", p99, "ms", limit, len(ages), low, high, 0.95)


def _growth(recording: Recording, stream: StreamData, clock: StreamClock, limits: LIMITS) -> Verdict:
    limit, n, found = limits.max_growth_ms_per_min, len(stream.arrival_ns), growth_of(clock)
    if found is None:
        reason = f"{n} samples within a few seconds are too few to tell whether their delay grows: run longer"
        return Verdict(NAME, stream.key, Outcome.INCONCLUSIVE, reason, "age growth", None, "ms/min", limit, n)
    whole, steepest = found
    shown = whole
    if max(whole.low, steepest.low) > limit:
        shown = max(whole, steepest, key=lambda growth: growth.low)
        outcome, reason = Outcome.FAIL, _grows(recording, stream, shown)
    elif whole.high <= limit:
        outcome, reason = Outcome.PASS, f"the delay grows by no more than {max(whole.high, 0.0):.1f} ms a minute"
    else:
        outcome = Outcome.INCONCLUSIVE
        reason = "delays on this link scatter too much to tell whether they grow: run longer"
    return Verdict(
        NAME, stream.key, outcome, reason, "age growth", shown.value, "ms/min", limit, n, shown.low, shown.high, 0.95
    )


def _grows(recording: Recording, stream: StreamData, growth: Growth) -> str:
    begin, end = ((at_ns - recording.start_ns) / 1e9 for at_ns in (growth.from_ns, growth.to_ns))
    return (
        f"from {max(begin, 0.0):.0f} to {end:.0f} s the delay of {stream.role} grows by {growth.value:.0f} ms a minute"
        f": does a queue fill faster than it is emptied, or is its clock {growth.value / 0.06:.0f} ppm slow? "
        "One way, the two look alike"
    )


def _stall(recording: Recording, stream: StreamData, clock: StreamClock, delays: Delays, limits: LIMITS) -> Verdict:
    limit = limits.max_stall_ms
    longest, ended_ns = longest_stall(clock, delays)
    reason = f"the link stood still for at most {longest:.0f} ms while samples went on"
    if longest:
        reason += f", until {(ended_ns - recording.start_ns) / 1e9:.2f} s"
    ok = longest <= limit
    if not ok:
        reason += ": what keeps the link, the device or this host busy then?"
    return Verdict(
        NAME, stream.key, Outcome.PASS if ok else Outcome.FAIL, reason, "longest stall", longest, "ms", limit,
        len(stream.arrival_ns), longest, longest, 1.0,
    )  # fmt: skip


def _first_sample(recording: Recording, stream: StreamData, limits: LIMITS) -> Verdict:
    limit = max(limits.max_first_sample_s, 3 / (stream.spec.rate_hz or 1.0))
    times = recording.meta.get("connect", {}).get(stream.role, {})
    begun_ns, n = times.get("begun_ns"), len(stream.arrival_ns)
    if begun_ns is None:
        reason = "this recording does not say when connecting began"
        return Verdict(NAME, stream.key, Outcome.INCONCLUSIVE, reason, "first sample", None, "s", limit, n)
    if not n:
        waited = (recording.stop_ns - begun_ns) / 1e9
        reason = f"no sample came in the {waited:.1f} s from the start of connecting"
        outcome = Outcome.FAIL if waited > limit else Outcome.INCONCLUSIVE
        return Verdict(NAME, stream.key, outcome, reason, "first sample", None, "s", limit, n, waited, None, 1.0)
    value = (int(stream.arrival_ns[0]) - begun_ns) / 1e9
    exchange = (times.get("streaming_ns", begun_ns) - begun_ns) / 1e9
    reason = f"the first sample came {value:.2f} s after connecting began, which took {exchange:.2f} s"
    if not _tells(stream):
        reason += "; how old samples are cannot be told, since nothing numbers or stamps them"
    if value > limit:
        reason += ": does the device warm up, look for a signal, or wait for skin contact?"
    outcome = Outcome.PASS if value <= limit else Outcome.FAIL
    return Verdict(NAME, stream.key, outcome, reason, "first sample", value, "s", limit, n, value, value, 1.0)
