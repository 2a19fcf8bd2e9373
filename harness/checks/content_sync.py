"""What streams show of the same events stands at equal stamps: heart beats, breaths, and what a simulator rendered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from harness.content import Alignment, over_windows
from harness.content.rendered import World
from harness.content.shared import Content, Expected, align_pair, expected_of, shares_content
from harness.content.truth import Prospect, align_truth, prospect_of
from harness.recording import Recording
from harness.verdict import Outcome, Verdict

NAME = "content_sync"
_WINDOWS_FROM_S = 120.0
"""Longer runs are aligned window by window."""
_SOUND = Outcome.PASS


@dataclass(frozen=True)
class LIMITS:
    """Limits of the content_sync check."""

    max_offset_ms: float = field(default=100.0, metadata={"help": "between two streams' content, beyond what is usual"})
    max_truth_ms: float = field(
        default=20.0,
        metadata={"help": "simulated: a stream's content behind its stamps, beyond the link's part"},
    )
    max_drift_ppm: float = field(default=100.0, metadata={"help": "of one content against the other, where it shows"})
    min_seconds: float = field(default=10.0, metadata={"help": "of good signal that both streams must have"})

    def __post_init__(self) -> None:
        if not (self.max_offset_ms > 0 and self.max_truth_ms > 0 and self.max_drift_ppm > 0 and self.min_seconds >= 5):
            raise ValueError(
                "content_sync: expected max_offset_ms, max_truth_ms and max_drift_ppm above 0 and min_seconds from 5 on"
            )


@dataclass(frozen=True, slots=True)
class _Finding:
    """One comparison: the lag beyond what is expected, and what is to be said of it."""

    subject: str
    roles: tuple[str, ...]
    limit_ms: float
    excess: Alignment
    words: str
    certain: bool
    """Against a simulator's truth: then a single stream is meant."""

    def lag_outcome(self) -> Outcome:
        """PASS or FAIL where the interval lies on one side of the limit."""
        found, limit = self.excess, self.limit_ms
        if found.refused is None and -limit <= found.low_ms and found.high_ms <= limit:
            return Outcome.PASS
        if found.refused is None and (found.low_ms > limit or found.high_ms < -limit):
            return Outcome.FAIL
        return Outcome.INCONCLUSIVE

    def drift_outcome(self, limit: float) -> Outcome:
        """The same for the drift."""
        low, high = self.excess.drift_low_ppm, self.excess.drift_high_ppm
        if self.excess.refused is None and -limit <= low and high <= limit:
            return Outcome.PASS
        if self.excess.refused is None and (low > limit or high < -limit):
            return Outcome.FAIL
        return Outcome.INCONCLUSIVE


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """Per pair of streams with content in common: lag, and drift where it shows; simulated: per stream against truth.

    What a pulse needs from the heart to a finger is known to +-50 ms, which the interval of a pair's lag contains; of
    a simulated sensor the truth is known. Stretches of low quality are left out. An alignment that is ambiguous is
    refused, and INCONCLUSIVE. Streams whose content cannot tell, such as a temperature, are named in a reason.
    """
    world = World.of(recording)
    contents = [Content.of(recording, stream) for stream in recording.streams.values()]
    span_ns = recording.start_ns, recording.stop_ns
    findings, still = [], []
    if world is not None:
        for content in contents:
            prospect = prospect_of(world, content, span_ns, limits.max_truth_ms)
            if prospect.tells:
                findings.append(_against_truth(content, prospect, limits))
            else:
                still.append(content.stream.key)
    for a, b in combinations(contents, 2):
        if shares_content(a, b):
            findings.append(_pair(a, b, world, limits))
    if not findings:
        reason = "no two streams of this rig show the same events (heart beats or breaths)"
        reason += f"; nor do {', '.join(still)} move enough to be compared with what was rendered" if still else ""
        return [Verdict(NAME, "rig", Outcome.NOT_RUN, reason, "content lag", None, "ms", limits.max_offset_ms)]
    blamed = _blamed(findings)
    verdicts = [verdict for finding in findings for verdict in _verdicts(finding, blamed, limits)]
    if still:
        reason = f"{verdicts[-1].reason}; not compared, for they do not move enough in this run: {', '.join(still)}"
        verdicts[-1] = replace(verdicts[-1], reason=reason)
    return verdicts


def _against_truth(content: Content, prospect: Prospect, limits: LIMITS) -> _Finding:
    stream = content.stream
    words = f"against what the simulator rendered for {stream.role}"
    limit = limits.max_truth_ms + prospect.batch_ms
    found = _enough(limits, content) or _followed(
        lambda start_s, stop_s: align_truth(content, prospect, start_s, stop_s), content, content
    )
    return _Finding(stream.key, (stream.role,), limit, _beyond(found, Expected(prospect.floor_ms)), words, True)


def _pair(a: Content, b: Content, world: World | None, limits: LIMITS) -> _Finding:
    found = _enough(limits, a, b) or _followed(lambda start_s, stop_s: align_pair(a, b, start_s, stop_s), a, b)
    expected = expected_of(a, b, world) if found.refused is None else Expected(0.0)
    roles = tuple(dict.fromkeys((a.stream.role, b.stream.role)))
    words = f"{b.stream.key} against {a.stream.key}"
    if expected.unsure_ms:
        words += f", where {expected.lag_ms:.0f} +-{expected.unsure_ms:.0f} ms are usual"
    limit = limits.max_offset_ms + expected.report_ms
    return _Finding(f"{a.stream.key}~{b.stream.key}", roles, limit, _beyond(found, expected), words, False)


def _enough(limits: LIMITS, *contents: Content) -> Alignment | None:
    """The refusal where a stream has too little good signal."""
    for content in contents:
        if content.good_s < limits.min_seconds:
            left = f" ({content.left_out})" if content.left_out else ""
            reason = f"{content.stream.key} has {content.good_s:.0f} s of good signal{left}; "
            reason += f"{limits.min_seconds:g} s are needed"
            return Alignment(np.nan, -np.inf, np.inf, 0, np.nan, refused=reason)
    return None


def _followed(align: Callable[[float, float], Alignment], a: Content, b: Content) -> Alignment:
    start_s, stop_s = max(a.start_s, b.start_s), min(a.stop_s, b.stop_s)
    if stop_s - start_s < _WINDOWS_FROM_S:
        return align(start_s, stop_s)
    return over_windows(align, start_s, stop_s)


def _beyond(found: Alignment, expected: Expected) -> Alignment:
    lag, unsure = expected.lag_ms, expected.unsure_ms
    return replace(
        found, lag_ms=found.lag_ms - lag, low_ms=found.low_ms - lag - unsure, high_ms=found.high_ms - lag + unsure
    )


def _blamed(findings: Sequence[_Finding]) -> dict[str, str]:
    """role -> why it is at fault: its truth says so, or every pair that it is in and none that it is not in."""
    why: dict[str, str] = {}
    for finding in findings:
        if finding.certain and finding.lag_outcome() is Outcome.FAIL:
            why[finding.roles[0]] = "as the comparison with what was rendered shows"
    if why:
        return why
    pairs = [finding for finding in findings if not finding.certain and finding.excess.refused is None]
    failed = [finding for finding in pairs if finding.lag_outcome() is Outcome.FAIL]
    for role in dict.fromkeys(role for finding in failed for role in finding.roles):
        own = [finding for finding in pairs if role in finding.roles]
        others = [finding for finding in pairs if role not in finding.roles]
        if len(own) > 1 and all(f in failed for f in own) and others and not any(f in failed for f in others):
            why[role] = f"as all its {len(own)} pairs show, and the others agree with each other"
    return why


def _verdicts(finding: _Finding, blamed: dict[str, str], limits: LIMITS) -> list[Verdict]:
    found, limit = finding.excess, finding.limit_ms
    outcome = finding.lag_outcome()
    if found.refused is not None:
        return [Verdict(NAME, finding.subject, outcome, found.refused, "content lag", None, "ms", limit, found.n)]
    reason = f"{_lag_words(found.lag_ms)} {finding.words}"
    if outcome is Outcome.FAIL:
        reason += f"; {_fault_words(finding, blamed)}"
    elif outcome is Outcome.INCONCLUSIVE:
        reason += f"; known to +-{found.half_ms:.0f} ms only, which straddles the limit, so run longer"
    drift, half = found.drift_ppm, (found.drift_high_ppm - found.drift_low_ppm) / 2
    drifts = finding.drift_outcome(limits.max_drift_ppm)
    if drifts is Outcome.INCONCLUSIVE and np.isfinite(half):
        reason += f"; its drift is known to +-{half:.0f} ppm only"
    verdicts = [
        Verdict(NAME, finding.subject, outcome, reason, "content lag", found.lag_ms, "ms", limit, found.n,
                found.low_ms, found.high_ms, 0.95)
    ]  # fmt: skip
    if drifts is not Outcome.INCONCLUSIVE:
        words = f"the lag grows by {drift * 0.06:.2f} ms a minute"
        words += f"; {_fault_words(finding, blamed)}" if drifts is Outcome.FAIL else ""
        verdicts.append(
            Verdict(NAME, finding.subject, drifts, words, "content drift", drift, "ppm", limits.max_drift_ppm, found.n,
                    found.drift_low_ppm, found.drift_high_ppm, 0.95)
        )  # fmt: skip
    return verdicts


def _lag_words(lag_ms: float) -> str:
    return f"{abs(lag_ms):.1f} ms {'late' if lag_ms >= 0 else 'early'}"


def _fault_words(finding: _Finding, blamed: dict[str, str]) -> str:
    for role in finding.roles:
        if role in blamed:
            who = f"{role} is at fault, {blamed[role]}" if not finding.certain else f"{role} is at fault"
            return f"{who}: does it filter or buffer, or are its stamps wrong?"
    if len(finding.roles) > 1:
        return f"either {finding.roles[0]} or {finding.roles[1]} is at fault; a third stream of that kind would tell"
    return f"{finding.roles[0]} is at fault: does one of its streams pass a filter or buffer that the other does not?"
