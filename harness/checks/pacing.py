"""Outputs come at the pace of the windows: evenly, without one missing and without a long pause.

What is judged is the time from one verdict to the next against the hop. A window that comes late makes one interval
too long and the next too short, so every late window counts twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drivers.types import FloatArray
from harness.latency import COARSE, worst_p99
from harness.monitor.queue import queue_growth
from harness.recording import STAGES, Recording
from harness.statistics import judge_share, needed_for_quantile, quantile_bounds
from harness.verdict import Outcome, Verdict

NAME = "pacing"
_MERGED = 0.25
"""Outputs that follow each other within this share of the hop came at once, for whoever shows them."""


@dataclass(frozen=True)
class LIMITS:
    """Limits of the pacing check."""

    max_jitter_ms: float = field(default=50.0, metadata={"help": "how far an interval may be from the hop"})
    quantile: float = field(default=0.95, metadata={"help": "share of intervals that must be within max_jitter_ms"})
    max_missed_percent: float = field(default=1.0, metadata={"help": "share of windows that may give no output"})
    max_pause_ms: float = field(default=500.0, metadata={"help": "longest time between two outputs"})
    confidence: float = field(default=0.95, metadata={"help": "confidence with which that must be shown"})

    def __post_init__(self) -> None:
        within = 0 < self.quantile < 1 and 0.5 <= self.confidence < 1 and 0 < self.max_missed_percent < 100
        if not (within and self.max_jitter_ms > 0 and self.max_pause_ms > 0):
            raise ValueError(
                "pacing: expected max_jitter_ms and max_pause_ms > 0, 0 < quantile < 1, 0 < max_missed_percent < 100 "
                f"and 0.5 <= confidence < 1, found {self.max_jitter_ms}, {self.max_pause_ms}, {self.quantile}, "
                f"{self.max_missed_percent}, {self.confidence}"
            )


@dataclass(frozen=True, slots=True)
class Pace:
    """The outputs of a run, in order."""

    due: int
    missed: int
    merged: int
    """Outputs that came right behind another."""
    intervals_ms: FloatArray
    """(n - 1,) time from one output to the next; one that spans k missing windows is k + 1 hops long by right."""
    jitter_ms: FloatArray
    """(n - 1,) how far each interval is from the hops that it spans."""


def pace_of(recording: Recording) -> Pace:
    """When outputs came."""
    judged_ns = recording.windows.stamps_ns[:, STAGES.index("judged")]
    there = np.flatnonzero(judged_ns >= 0)
    hop_ms = recording.rig.window.hop_ms
    intervals = np.diff(judged_ns[there]) / 1e6
    merged = int(np.count_nonzero(intervals < _MERGED * hop_ms))
    return Pace(len(judged_ns), len(judged_ns) - len(there), merged, intervals, intervals - np.diff(there) * hop_ms)


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """Three verdicts for the rig: jitter, missed windows, longest pause; one INCONCLUSIVE for too short a run."""
    pace = pace_of(recording)
    if pace.due < 2:
        reason = f"{pace.due} windows were due: the time from one output to the next needs at least two, so run longer"
        return [Verdict(NAME, "rig", Outcome.INCONCLUSIVE, reason, "jitter", None, "ms", limits.max_jitter_ms)]
    made = [_missed(pace, limits)]
    if len(pace.intervals_ms):
        made = [_jitter(recording, pace, limits), *made, _pause(recording, pace, limits)]
    return made


def _jitter(recording: Recording, pace: Pace, limits: LIMITS) -> Verdict:
    off = np.abs(pace.jitter_ms)
    misses = int(np.count_nonzero(off > limits.max_jitter_ms))
    shown = judge_share(misses, len(off), 1 - limits.quantile, limits.confidence)
    bounds = quantile_bounds(off, limits.quantile, limits.confidence)
    seconds = float(pace.intervals_ms.sum()) / 1e3
    reason = (
        f"{len(off) / seconds if seconds else 0:.4g} outputs a second, {1000 / recording.rig.window.hop_ms:.4g} due; "
        f"intervals have a standard deviation of {np.std(pace.jitter_ms):.3g} ms, p99 "
        f"{np.quantile(off, 0.99):.3g} ms from the hop; {pace.merged} outputs came right behind another"
    )
    outcome = {True: Outcome.PASS, False: Outcome.FAIL, None: Outcome.INCONCLUSIVE}[shown]
    if shown is None:
        need = needed_for_quantile(limits.quantile, limits.confidence)
        reason += f"; too few intervals to tell: {need} without a miss would do, so run longer"
    if outcome is Outcome.FAIL:
        outcome, reason = _excused(recording, limits.max_jitter_ms, reason)
    return Verdict(
        NAME, "rig", outcome, reason, f"p{100 * limits.quantile:g} jitter", bounds.value, "ms", limits.max_jitter_ms,
        len(off), bounds.low, bounds.high, limits.confidence,
    )  # fmt: skip


def _missed(pace: Pace, limits: LIMITS) -> Verdict:
    """A count, so exact for this run."""
    share = 100 * pace.missed / pace.due
    reason = f"{pace.missed} of {pace.due} windows gave no output"
    if share > limits.max_missed_percent:
        reason += ": the model failed on them or never came to them; see the verdicts of model and latency"
    return Verdict(
        NAME, "rig", Outcome.FAIL if share > limits.max_missed_percent else Outcome.PASS, reason, "missed windows",
        share, "%", limits.max_missed_percent, pace.due, share, share, 1.0,
    )  # fmt: skip


def _pause(recording: Recording, pace: Pace, limits: LIMITS) -> Verdict:
    longest = float(pace.intervals_ms.max())
    judged_ns = recording.windows.stamps_ns[:, STAGES.index("judged")]
    at_s = (int(judged_ns[judged_ns >= 0][int(pace.intervals_ms.argmax())]) - recording.start_ns) / 1e9
    reason = f"the longest time without an output was {longest:.0f} ms, from {at_s:.1f} s on"
    outcome = Outcome.PASS
    if longest > limits.max_pause_ms:
        outcome, reason = _excused(recording, limits.max_pause_ms, reason)
    n = len(pace.intervals_ms)
    return Verdict(
        NAME, "rig", outcome, reason, "longest pause", longest, "ms", limits.max_pause_ms, n, longest, longest, 1.0
    )


def _excused(recording: Recording, limit_ms: float, reason: str) -> tuple[Outcome, str]:
    """FAIL with what is likely, or INCONCLUSIVE where the simulators sent so late that the pace is theirs."""
    roles = {key.split("/")[0] for key in recording.windows.waited_for}
    late_ms = worst_p99(recording, "sender_lateness_us", roles) / 1e3
    if late_ms >= COARSE * limit_ms:
        text = f"{reason}; but the simulators sent late, by {late_ms:.0f} ms (p99): free this machine, or use --virtual"
        return Outcome.INCONCLUSIVE, text
    growing = queue_growth(recording.resources).said
    advice = growing or "the latency spikes in the report name the step and what ran meanwhile"
    return Outcome.FAIL, f"{reason}; {advice}"
