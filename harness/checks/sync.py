"""Device clocks keep time and do not jump, and samples of two sensors with one stamp were taken together.

The host's clock is one more clock: if most devices run off alike, it is the host's that does (NTP slews it), and the
verdict ``clocks`` says so. A jump of the link's delay is no jump of a clock: it is for the age check, and shows here
in what it does to the stamps.

Found with 95 % power in 30 s, at default limits and with a host that is half a millisecond late now and then: a drift
of 200 ppm on a Cyton's serial line, of 1000 on counted packets behind connection events every 30 ms; a drift that
changes by 300 ppm a minute (serial) or 15000 (BLE); a swing of it by 600 ppm every 20 s (serial).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from drivers.clock_fit import ClockFit
from drivers.clock_steps import Step, find_steps, smallest_visible_ms
from harness.clocks import StreamClock, clock_of, drift_known, floors, jumped, line_of
from harness.delivery import outages_ns
from harness.recording import Recording, StreamData
from harness.sync import HOST, nearest_differences, pair_offset, vote, wander_of
from harness.verdict import Outcome, Verdict

NAME = "sync"
_SETTLED_NS = 2_000_000_000
"""Stamps of a stream's first seconds are still being learnt; they are counted from here on."""
_TOGETHER_S = 1.0
"""Two streams that begin or end further apart than this are told."""


@dataclass(frozen=True)
class LIMITS:
    """Limits of the sync check."""

    max_offset_ms: float = field(default=100.0, metadata={"help": "between two sensors' samples with equal stamps"})
    max_drift_ppm: float = field(default=100.0, metadata={"help": "of a device's clock against the host's"})
    max_step_ms: float = field(default=50.0, metadata={"help": "jump of a device's clock"})
    max_wander_ppm_per_min: float = field(
        default=60.0,
        metadata={"help": "change of a clock's drift; where it cannot be told yet, half of max_offset_ms counts"},
    )

    def __post_init__(self) -> None:
        if min(self.max_offset_ms, self.max_drift_ppm, self.max_step_ms, self.max_wander_ppm_per_min) <= 0:
            raise ValueError(
                "sync: expected max_offset_ms, max_drift_ppm, max_step_ms and max_wander_ppm_per_min above 0"
            )


@dataclass(frozen=True)
class _Clock:
    """One sensor's clock, seen through its fastest stream."""

    stream: StreamData
    clock: StreamClock

    @property
    def key(self) -> str:
        return self.stream.key


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """Per sensor with a clock: drift, wander, and steps where it sends time stamps; per pair of such sensors: offset.

    For the whole rig: whether it is the host's clock that is at fault, and which streams no clock can judge, since
    they have neither counter nor time stamps.
    """
    clocks = [clock for role in recording.rig.sensors if (clock := _clock_of(recording, role)) is not None]
    verdicts = []
    for clock in clocks:
        verdicts += [_drift(clock, limits), _wander(clock, limits)]
        if clock.stream.spec.timed:
            verdicts.append(_steps(clock, limits, outages_ns(recording, clock.stream.role)))
    if verdicts:
        verdicts += [_pair(a, b, limits) for a, b in combinations(clocks, 2)]
        return [*verdicts, _clocks(recording, clocks, verdicts, limits)]
    reason = "no sensor of this rig has a counter or time stamps, so nothing can be said about its clock"
    return [Verdict(NAME, "rig", Outcome.NOT_RUN, reason)]


def _clock_of(recording: Recording, role: str) -> _Clock | None:
    every = [s for s in recording.streams.values() if s.role == role and s.spec.rate_hz]
    streams = [s for s in every if _has_clock(s)]
    if not streams:
        return None
    stream = max(streams, key=lambda s: (s.spec.rate_hz or 0, len(s.index)))
    return _Clock(stream, clock_of(stream))


def _has_clock(stream: StreamData) -> bool:
    return stream.spec.counted or stream.spec.timed


def _known(fit: ClockFit | None) -> ClockFit | None:
    return fit if fit is not None and np.isfinite(fit.drift_high_ppm - fit.drift_low_ppm) else None


# --- each clock -------------------------------------------------------------------------------


def _drift(clock: _Clock, limits: LIMITS) -> Verdict:
    stream, limit, fit = clock.stream, limits.max_drift_ppm, _known(clock.clock.main)
    if fit is None:
        reason = f"{len(stream.index)} samples are too few to tell the clock's drift: run longer"
        return Verdict(NAME, stream.key, Outcome.INCONCLUSIVE, reason, "clock drift", None, "ppm", limit)
    low, high = drift_known(clock.clock, fit)
    reason = f"the clock of {stream.role} runs {abs(fit.drift_ppm):.2f} ppm {'fast' if fit.drift_ppm > 0 else 'slow'}"
    if -limit <= low and high <= limit:
        outcome = Outcome.PASS
    elif low > limit or high < -limit:
        outcome = Outcome.FAIL
        reason += f", {fit.drift_ppm * 0.06:.1f} ms a minute: streams drift apart unless they are resampled"
    else:
        outcome = Outcome.INCONCLUSIVE
        reason += f"; delays on this link allow no better than {(high - low) / 2:.0f} ppm either way, so run longer"
    return Verdict(
        NAME, stream.key, outcome, reason, "clock drift", fit.drift_ppm, "ppm", limit, fit.arrivals, low, high, 0.95
    )


def _wander(clock: _Clock, limits: LIMITS) -> Verdict:
    """By how fast the drift changes; where that cannot be told yet, by how far the clock can have left its line."""
    stream, limit, fit = clock.stream, limits.max_wander_ppm_per_min, _known(clock.clock.main)
    if fit is None:
        reason = f"{len(stream.index)} samples are too few to tell whether the clock wanders: run longer"
        return Verdict(NAME, stream.key, Outcome.INCONCLUSIVE, reason, "clock wander", None, "ppm/min", limit)
    found = wander_of(clock.clock, fit)
    value, low, high = found.value, found.low, found.high
    departure_ms, harmless_ms = found.departure_ms + fit.cell_ns / 1e6, limits.max_offset_ms / 2
    reason = f"the clock of {stream.role} leaves a straight line by at most {departure_ms:.2f} ms"
    if found.step_ms:
        reason += f", most of it in one jump of {found.step_ms:+.0f} ms, which max_step_ms is for"
    if found.shown > limit:
        outcome = Outcome.FAIL
        if max(low, -high) < found.shown:  # it swings: parts of the run differ more than its ends
            value, low, high = found.shown, found.shown, np.inf
        reason += f": its drift changes by {found.shown:.0f} ppm a minute or more; does it warm up, or follow another?"
    elif -limit <= low and high <= limit:
        outcome = Outcome.PASS
    elif departure_ms <= harmless_ms:
        outcome = Outcome.PASS
        reason += f"; excluded is that it left it by {harmless_ms:g} ms in this run; "
        most = max(high, -low)
        reason += f"and that its drift changes by more than {most:.0f} ppm a minute" * bool(most < np.inf)
        reason += "how fast its drift changes cannot be told yet" * bool(most == np.inf)
    else:
        outcome = Outcome.INCONCLUSIVE
        reason += ", which may be the link's delays as well: run longer"
    return Verdict(
        NAME, stream.key, outcome, reason, "clock wander", value, "ppm/min", limit, fit.arrivals, low, high, 0.95
    )


def _steps(clock: _Clock, limits: LIMITS, outages: list[tuple[int, int]]) -> Verdict:
    """Jumps but those with which a device that lost its link came back, switched on anew, and those of the delay."""
    stream, device_ns, limit = clock.stream, clock.clock.device_ns, limits.max_step_ms
    every = find_steps(device_ns, stream.arrival_ns, stream.segment, smallest_ms=limit)
    backs_ns = [back for _, back in outages]
    here = [s for s in every if not any(stream.arrival_ns[s.index - 1] < back <= s.at_ns for back in backs_ns)]
    found = [step for step in here if _is_of_clock(clock, step)]
    aside = f"; {len(every) - len(here)} restarts with the link" if len(here) < len(every) else ""
    aside += f"; {len(here) - len(found)} jumps of the link's delay" if len(found) < len(here) else ""
    n, hidden = len(stream.index), smallest_visible_ms(device_ns, stream.arrival_ns, stream.segment)
    worst = max((abs(step.size_ns) / 1e6 for step in found), default=0.0)
    if found:
        outcome = Outcome.FAIL
        reason = (
            f"{len(found)} jumps in the time stamps of {stream.role}, the first by {found[0].size_ns / 1e6:+.0f} ms: "
            "did the device restart, or was its clock set during the run?"
        )
    elif hidden > limit:
        outcome = Outcome.INCONCLUSIVE
        reason = f"delays on this link hide jumps of up to {hidden:.0f} ms in the device's time stamps"
    else:
        outcome = Outcome.PASS
        reason = f"no jump of {limit:g} ms or more in the device's time stamps"
    high = max(worst, hidden)
    return Verdict(NAME, stream.key, outcome, reason + aside, "clock step", worst, "ms", limit, n, worst, high, 0.95)


def _is_of_clock(clock: _Clock, step: Step) -> bool:
    period_ns = 1e9 / (clock.stream.spec.rate_hz or 1.0)
    device_ns, arrival_ns = clock.clock.device_ns, clock.clock.arrival_ns
    return step.segmented or jumped(device_ns, arrival_ns, step.index, period_ns) == "clock"


# --- pairs ------------------------------------------------------------------------------------


def _pair(first: _Clock, second: _Clock, limits: LIMITS) -> Verdict:
    """How far apart two samples with one host stamp can have been taken.

    That is how far the stamps given during the run lay from the fit over the whole run (99 % of samples),
    and how well that fit is known. What the two links delay every sample alike cannot be seen one way.
    """
    subject, limit = f"{first.key}~{second.key}", limits.max_offset_ms
    fit_a, fit_b = first.clock.main, second.clock.main
    if fit_a is None or fit_b is None:
        silent = " and ".join(each.key for each in (first, second) if each.clock.main is None)
        reason = f"{silent} delivered nothing, so there is nothing to align"
        return Verdict(NAME, subject, Outcome.INCONCLUSIVE, reason, "misalignment", None, "ms", limit)
    stamps = [_stamps(clock, fit) for clock, fit in ((first, fit_a), (second, fit_b))]
    value = sum(each.worst_ms for each in stamps)
    pair = pair_offset(fit_a, fit_b)
    unsure = sum(each.unsure_ms for each in stamps)
    n = min(each.count for each in stamps)
    far, mean = nearest_differences(second.stream.time_ns / 1e9, first.stream.time_ns / 1e9)
    reason = (
        f"equal stamps were taken at most {value + unsure:.1f} ms apart (nearest samples: {1e3 * mean:.1f} ms on "
        f"average, {1e3 * far:.0f} ms at most); the clock of {second.stream.role} gains {pair.drift_ppm:.1f} ppm "
        f"({pair.drift_low_ppm:.1f} .. {pair.drift_high_ppm:.1f}) on that of {first.stream.role}"
    )
    reason += _late_or_short(first, second)
    if value + unsure <= limit:
        outcome = Outcome.PASS
    elif value - unsure > limit:
        outcome = Outcome.FAIL
        worse = first if stamps[0].worst_ms > stamps[1].worst_ms else second
        reason += f"; the stamps of {worse.stream.role} are at fault"
    else:
        outcome = Outcome.INCONCLUSIVE
        shaky = first if stamps[0].unsure_ms > stamps[1].unsure_ms else second
        reason += f"; the delays of {shaky.stream.role} scatter too much to say more: run longer, or steady the link"
    low, high = max(0.0, value - unsure), value + unsure
    return Verdict(NAME, subject, outcome, reason, "misalignment", value, "ms", limit, n, low, high, 0.95)


def _late_or_short(first: _Clock, second: _Clock) -> str:
    """Which of the two began much later than the other, or ended much earlier."""
    said = ""
    begins, ends = ([each.stream.time_ns[end] / 1e9 for each in (first, second)] for end in (0, -1))
    if abs(begins[0] - begins[1]) > _TOGETHER_S:
        late = first if begins[0] > begins[1] else second
        said += f"; {late.key} begins {abs(begins[0] - begins[1]):.1f} s after the other"
    if abs(ends[0] - ends[1]) > _TOGETHER_S:
        short = first if ends[0] < ends[1] else second
        said += f"; {short.key} ends {abs(ends[0] - ends[1]):.1f} s before the other"
    return said


@dataclass(frozen=True)
class _Stamps:
    """How far one sensor's stamps lie from when its samples were taken by the whole run."""

    worst_ms: float
    """99 % of the stamps lie no further off."""
    unsure_ms: float
    """What the line of the whole run may be off by itself."""
    count: int


def _stamps(clock: _Clock, fit: ClockFit) -> _Stamps:
    """Without what was learnt at the start. A jump of the link's delay does not move the line, so stamps that follow
    it are wrong.

    Stamps and line may go by different arrivals: the earliest, the middle of a jitter, or a packet that need not wait
    for a poll. Between these the stamps may choose once, for the whole run: a constant delay shows to nobody, but it
    counts among what is not sure.
    """
    best = np.concatenate([line_of(clock.clock, span).taken_ns for span in clock.clock.spans])
    off = clock.stream.time_ns - best
    settled = clock.stream.arrival_ns > clock.stream.arrival_ns[0] + _SETTLED_NS
    off = off[settled] if settled.any() else off
    earliest = 0.0
    if fit.kind != "floor":
        earliest = float(floors(clock.clock.arrival_ns, clock.clock.arrival_ns - best)[1].min())
    worst = np.percentile(np.abs(off - np.clip(np.median(off), min(earliest, 0.0), max(earliest, 0.0))), 99)
    return _Stamps(float(worst) / 1e6, (_unsure_ns(clock, fit) + abs(earliest)) / 1e6, len(off))


def _unsure_ns(clock: _Clock, fit: ClockFit) -> float:
    """Half the interval of the offset where it is widest in the stretch, and what its drift makes of the ends."""
    device_ns = clock.clock.device_ns[fit.start : fit.start + fit.n]
    ends = (float(device_ns[0]), float(fit.reference_ns), float(device_ns[-1]))
    halves = [(high - low) / 2 for low, high in (fit.offset_interval_ns(at_ns) for at_ns in ends)]
    low, high = drift_known(clock.clock, fit)
    return max(*halves, (high - low) / 2 * 1e-6 * abs(ends[2] - ends[0]) / 2)


# --- the rig ----------------------------------------------------------------------------------


def _clocks(recording: Recording, clocks: list[_Clock], verdicts: list[Verdict], limits: LIMITS) -> Verdict:
    """Is the host's clock, which all others are judged by, itself all right? Names the odd ones out either way."""
    failed = {verdict.measure for verdict in verdicts if verdict.outcome is Outcome.FAIL}
    by_drift = failed & {"clock drift"} or not failed & {"clock wander"}
    limit, unit = (limits.max_drift_ppm, "ppm") if by_drift else (limits.max_wander_ppm_per_min, "ppm/min")
    intervals = {clock.key: _interval(clock, bool(by_drift)) for clock in clocks}
    rates = {key: ends for key, ends in intervals.items() if ends[1] - ends[0] <= 2 * limit}
    found = vote(rates, limit)
    if not rates:
        outcome, reason = (
            Outcome.INCONCLUSIVE,
            "no clock is known well enough to compare it with the host's: run longer",
        )
    elif not found.majority:
        outcome, reason = Outcome.INCONCLUSIVE, _untold(rates)
    elif HOST in found.majority:
        outcome, reason = Outcome.PASS, f"the host and {len(found.majority) - 1} clocks agree to {limit:g} {unit}"
        reason += f"; the clock of {', '.join(found.others)} is the odd one out" if found.others else ""
    else:
        outcome = Outcome.FAIL
        reason = (
            f"the clocks of {', '.join(found.majority)} all run off alike, so it is the host's that is wrong: is it "
            "slewed by NTP, or does it run in a virtual machine?"
        )
    unsure = [key for key in intervals if key not in rates]
    reason += f"; not known well enough: {', '.join(unsure)}" if unsure and rates else ""
    unjudged = [stream.key for stream in recording.streams.values() if not _has_clock(stream)]
    reason += f"; without counter or time stamps, so that no clock can be judged: {', '.join(unjudged)}" * bool(
        unjudged
    )
    return Verdict(NAME, "rig", outcome, reason, "clocks", float(len(found.majority)), "alike", None, len(rates) + 1)


def _interval(clock: _Clock, by_drift: bool) -> tuple[float, float]:
    fit = clock.clock.main
    if fit is None:
        return -np.inf, np.inf
    if by_drift:
        return drift_known(clock.clock, fit)
    return fit.drift_change_low_ppm_per_min, fit.drift_change_high_ppm_per_min


def _untold(rates: dict[str, tuple[float, float]]) -> str:
    if len(rates) == 1:
        (key,) = rates
        return f"the clock of {key} and the host's differ: with only these two it cannot be told which one is wrong"
    return f"the clocks of {', '.join(rates)} and the host's differ, and no majority says which of them are wrong"
