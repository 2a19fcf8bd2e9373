"""Device clocks keep time and do not jump, and samples of two sensors with one stamp were taken together."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from drivers.clock_fit import ClockFit, fit_clock
from drivers.clock_steps import find_steps, smallest_visible_ms
from drivers.types import FloatArray, IntArray
from harness.delivery import outages_ns
from harness.recording import Recording, StreamData
from harness.sync import nearest_differences, pair_offset
from harness.verdict import Outcome, Verdict

NAME = "sync"
_SETTLED_NS = 2_000_000_000
"""Stamps of a stream's first seconds are still being learnt; they are counted from here on."""


@dataclass(frozen=True)
class LIMITS:
    """Limits of the sync check."""

    max_offset_ms: float = field(default=100.0, metadata={"help": "between two sensors' samples with equal stamps"})
    max_drift_ppm: float = field(default=100.0, metadata={"help": "of a device's clock against the host's"})
    max_step_ms: float = field(default=50.0, metadata={"help": "jump of a device's clock"})

    def __post_init__(self) -> None:
        if not (self.max_offset_ms > 0 and self.max_drift_ppm > 0 and self.max_step_ms > 0):
            raise ValueError("sync: expected max_offset_ms, max_drift_ppm and max_step_ms above 0")


@dataclass(frozen=True)
class _Clock:
    """One sensor's clock, seen through its fastest stream."""

    stream: StreamData
    device_ns: IntArray
    fits: list[ClockFit]

    @property
    def main(self) -> ClockFit:
        return max(self.fits, key=lambda fit: fit.n)


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """Per sensor with a clock: drift, and steps where it sends time stamps; per pair of such sensors: offset.

    A sensor without counter or time stamps has no clock that could be judged; the verdict of the whole
    rig says which those are.
    """
    clocks = [clock for role in recording.rig.sensors if (clock := _clock_of(recording, role)) is not None]
    verdicts = []
    for clock in clocks:
        verdicts.append(_drift(clock, limits))
        if clock.stream.spec.timed:
            verdicts.append(_steps(clock, limits, outages_ns(recording, clock.stream.role)))
    verdicts += [_pair(a, b, limits) for a, b in combinations(clocks, 2)]
    if verdicts:
        return verdicts
    reason = "no sensor of this rig has a counter or time stamps, so nothing can be said about its clock"
    return [Verdict(NAME, "rig", Outcome.NOT_RUN, reason)]


def _clock_of(recording: Recording, role: str) -> _Clock | None:
    every = [s for s in recording.streams.values() if s.role == role and s.spec.rate_hz]
    streams = [s for s in every if s.spec.counted or s.spec.timed]
    if not streams:
        return None
    stream = max(streams, key=lambda s: (s.spec.rate_hz or 0, len(s.index)))
    device_ns = stream.device_ns
    if device_ns is None:
        device_ns = np.asarray(np.rint(stream.index * (1e9 / (stream.spec.rate_hz or 1))), dtype=np.int64)
    return _Clock(stream, device_ns, fit_clock(device_ns, stream.arrival_ns, stream.segment))


def _drift(clock: _Clock, limits: LIMITS) -> Verdict:
    stream, limit = clock.stream, limits.max_drift_ppm
    if not clock.fits or not np.isfinite(clock.main.drift_high_ppm - clock.main.drift_low_ppm):
        reason = f"{len(stream.index)} samples are too few to tell the clock's drift: run longer"
        return Verdict(NAME, stream.key, Outcome.INCONCLUSIVE, reason, "clock drift", None, "ppm", limit)
    fit = clock.main
    low, high = fit.drift_low_ppm, fit.drift_high_ppm
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


def _steps(clock: _Clock, limits: LIMITS, outages: list[tuple[int, int]]) -> Verdict:
    """Jumps but those with which a device that lost its link came back: it was switched on anew."""
    stream, limit = clock.stream, limits.max_step_ms
    every = find_steps(clock.device_ns, stream.arrival_ns, stream.segment, smallest_ms=limit)
    backs_ns = [back for _, back in outages]
    found = [s for s in every if not any(stream.arrival_ns[s.index - 1] < back <= s.at_ns for back in backs_ns)]
    restarts = f"; {len(every) - len(found)} restarts with the link" if len(found) < len(every) else ""
    n, hidden = len(stream.index), smallest_visible_ms(clock.device_ns, stream.arrival_ns, stream.segment)
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
    return Verdict(NAME, stream.key, outcome, reason + restarts, "clock step", worst, "ms", limit, n, worst, high, 0.95)


def _pair(first: _Clock, second: _Clock, limits: LIMITS) -> Verdict:
    """How far apart two samples with one host stamp can have been taken.

    That is how far the stamps given during the run lay from the fit over the whole run (99 % of samples),
    and how well that fit is known. What the two links delay every sample alike cannot be seen one way.
    """
    subject = f"{first.stream.key}~{second.stream.key}"
    limit = limits.max_offset_ms
    if not first.fits or not second.fits:
        reason = "one of the two delivered too little to align them"
        return Verdict(NAME, subject, Outcome.INCONCLUSIVE, reason, "misalignment", None, "ms", limit)
    errors = [_stamp_error_ns(clock) for clock in (first, second)]
    value = float(sum(np.percentile(error, 99) for error in errors)) / 1e6
    unsure = pair_offset(first.main, second.main).uncertainty_ns / 1e6
    n = min(len(error) for error in errors)
    far, mean = nearest_differences(second.stream.time_ns / 1e9, first.stream.time_ns / 1e9)
    reason = (
        f"equal stamps were taken at most {value + unsure:.1f} ms apart (nearest samples: {1e3 * mean:.1f} ms on "
        f"average, {1e3 * far:.0f} ms at most)"
    )
    if value + unsure <= limit:
        outcome = Outcome.PASS
    elif value - unsure > limit:
        outcome = Outcome.FAIL
        worse = first if np.percentile(errors[0], 99) > np.percentile(errors[1], 99) else second
        reason += f"; the stamps of {worse.stream.role} are at fault"
    else:
        outcome = Outcome.INCONCLUSIVE
        reason += "; the clocks are not known well enough on these links, so run longer"
    low, high = max(0.0, value - unsure), value + unsure
    return Verdict(NAME, subject, outcome, reason, "misalignment", value, "ms", limit, n, low, high, 0.95)


def _stamp_error_ns(clock: _Clock) -> FloatArray:
    """Distance of every stamp from its segment's fit, (n,), without what was learnt at the start."""
    best = np.empty(len(clock.device_ns))
    for fit in clock.fits:
        part = slice(fit.start, fit.start + fit.n)
        best[part] = fit.host_ns(clock.device_ns[part])
    error = np.abs(clock.stream.time_ns - best)
    settled = clock.stream.arrival_ns > clock.stream.arrival_ns[0] + _SETTLED_NS
    return error[settled] if settled.any() else error
