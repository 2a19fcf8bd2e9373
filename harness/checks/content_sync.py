"""What streams show of the same events stands at equal stamps: heart beats, breaths, and what a simulator rendered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from harness.content import Alignment
from harness.content.alignment import Part
from harness.content.rendered import World
from harness.content.shared import Content, Expected, align_pair, expected_of, looked_at, shares_content
from harness.content.truth import Prospect, align_truth, prospect_of
from harness.recording import Recording
from harness.verdict import Outcome, Verdict

NAME = "content_sync"
_HEART = ("ecg", "ppg", "rr")
"""They always move: where they cannot tell, something is wrong with them."""
_CERTAIN = 0.75
"""So much of half the 95 % interval must lie between it and a limit that fails: 99.9 %, for a check is asked often."""
_PART_S = 9.0
"""A part of the run that lags for so long fails it."""
_TOLD = 10.0
"""Times its limit: a drift that is known less well is not worth a word."""


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
    """With a place for the lag."""
    certain: bool
    """Against a simulator's truth: then a single stream is meant."""

    unsure_ms: float = 0.0
    """Part of the interval that is no matter of chance."""
    cure: str = "so run longer"
    still: bool = False
    """Its content moves too little for this limit."""
    doubtful: bool = False
    """Most of a stream was left out for low quality: what is left may be distorted, so that nothing fails by it."""

    def late_parts(self) -> list[Part]:
        """Parts of the run that lie surely beyond the limit."""
        return [p for p in self.excess.parts if p.low_ms > self.limit_ms or p.high_ms < -self.limit_ms]

    def lag_outcome(self) -> Outcome:
        """PASS or FAIL where the interval lies on one side of the limit, and no part of the run on the other."""
        found, limit, late = self.excess, self.limit_ms, self.late_parts()
        if found.refused is not None:
            return Outcome.INCONCLUSIVE
        more_ms = _CERTAIN * (found.half_ms - self.unsure_ms)
        beyond = found.low_ms - more_ms > limit or found.high_ms + more_ms < -limit
        if beyond or any(p.stop_s - p.start_s >= _PART_S for p in late):
            return Outcome.INCONCLUSIVE if self.doubtful else Outcome.FAIL
        return Outcome.PASS if -limit <= found.low_ms and found.high_ms <= limit and not late else Outcome.INCONCLUSIVE

    def drift_outcome(self, limit: float) -> Outcome:
        """The same for the drift."""
        low, high = self.excess.drift_low_ppm, self.excess.drift_high_ppm
        if self.excess.refused is None and -limit <= low and high <= limit:
            return Outcome.PASS
        more = _CERTAIN * (high - low) / 2
        if self.excess.refused is None and (low - more > limit or high + more < -limit) and not self.doubtful:
            return Outcome.FAIL
        return Outcome.INCONCLUSIVE


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """Per pair of streams with content in common: lag, and drift where it shows; simulated: per stream against truth.

    What a pulse needs from the heart to a finger is known to +-50 ms, which the interval of a pair's lag contains; of
    a simulated sensor the truth is known. Stretches of low quality are left out; a stream of which too little is left
    is INCONCLUSIVE, once, and compared with nothing. So is an alignment that is ambiguous, which is refused. Streams
    whose content cannot tell, such as a temperature or a skin that hardly responds, are named in a reason.

    All of a run of up to two minutes is looked at. In a longer one all of the RR intervals, of EDA, breathing,
    temperature and affect, and of what is sampled at up to 32 Hz is, and of everything else five windows of 20 s, from
    the first to the last: a lag that comes and goes between two of them stays unseen. Where a part of what is looked
    at lags by more than the limit, the verdict names it, and is FAIL from nine seconds on. FAIL asks for 99.9 % where
    PASS asks for 95 %. A lag that jumps or swings has no drift, and no verdict on one.
    """
    world = World.of(recording)
    contents = [Content.of(recording, stream) for stream in recording.streams.values()]
    prospects, still = _prospects(contents, world, limits)
    pairs = [(a, b) for a, b in combinations(contents, 2) if shares_content(a, b)]
    taking_part = [c for c in contents if c.stream.key in prospects or any(c in pair for pair in pairs)]
    poor = [c for c in taking_part if c.good_s < limits.min_seconds]
    findings = [
        _against_truth(content, prospects[content.stream.key], limits)
        for content in taking_part
        if content not in poor and content.stream.key in prospects
    ]
    still += [finding.subject for finding in findings if finding.still]
    findings = [finding for finding in findings if not finding.still]
    findings += [_pair(a, b, world, limits) for a, b in pairs if a not in poor and b not in poor]
    blamed = _blamed(findings, limits)
    verdicts = [verdict for finding in findings for verdict in _verdicts(finding, blamed, limits)]
    verdicts += [_poor(content, limits) for content in poor]
    if not verdicts:
        return [_nothing(still, limits)]
    if still:
        reason = f"{verdicts[-1].reason}; not compared, for they do not move enough in this run: {', '.join(still)}"
        verdicts[-1] = replace(verdicts[-1], reason=reason)
    return verdicts


def _nothing(still: Sequence[str], limits: LIMITS) -> Verdict:
    reason = "no two streams of this rig show the same events (heart beats or breaths)"
    if still:
        reason += f", and nothing moves enough to be compared with what was rendered: {', '.join(still)}"
    return Verdict(NAME, "rig", Outcome.NOT_RUN, reason, "content lag", None, "ms", limits.max_offset_ms)


def _prospects(
    contents: Sequence[Content], world: World | None, limits: LIMITS
) -> tuple[dict[str, Prospect], list[str]]:
    """Of simulated streams that move enough for a comparison with the truth, by key; and the others' keys."""
    prospects: dict[str, Prospect] = {}
    still: list[str] = []
    if world is None:
        return prospects, still
    for content in contents:
        prospect = prospect_of(world, content, limits.max_truth_ms)
        if prospect.tells and (content.good_s < limits.min_seconds or prospect.tells_of(content)):
            prospects[content.stream.key] = prospect
        else:
            still.append(content.stream.key)
    return prospects, still


def _poor(content: Content, limits: LIMITS) -> Verdict:
    left = f" ({content.left_out})" if content.left_out else ""
    reason = f"{content.good_s:.0f} s of good signal came{left}; {limits.min_seconds:g} s are needed to align it"
    return Verdict(
        NAME, content.stream.key, Outcome.INCONCLUSIVE, reason, "content lag", None, "ms", limits.max_offset_ms
    )


def _against_truth(content: Content, prospect: Prospect, limits: LIMITS) -> _Finding:
    stream = content.stream
    limit = limits.max_truth_ms + prospect.batch_ms
    found = prospect.looked.over(
        lambda start_s, stop_s: align_truth(content, prospect, start_s, stop_s), content.stop_s
    )
    words = "{lag} against what the simulator rendered" + (f"; {content.left_out}" if content.left_out else "")
    excess = _beyond(found, Expected(prospect.floor_ms))
    finding = _Finding(
        stream.key, (stream.role,), limit, excess, words, True, cure=_cure(content), doubtful=content.mostly_poor
    )
    vague = found.still if found.refused is not None else found.half_ms > limit / 2
    open_yet = finding.lag_outcome() is Outcome.INCONCLUSIVE and not finding.late_parts()
    return replace(finding, still=content.kind not in _HEART and vague and open_yet)


def _pair(a: Content, b: Content, world: World | None, limits: LIMITS) -> _Finding:
    found = looked_at(a, b).over(lambda start_s, stop_s: align_pair(a, b, start_s, stop_s), min(a.stop_s, b.stop_s))
    expected = expected_of(a, b, world) if found.refused is None else Expected(0.0)
    if world is not None:  # drift is known better from the comparison with the truth
        found = replace(found, drift_ppm=np.nan, drift_low_ppm=-np.inf, drift_high_ppm=np.inf)
    roles = tuple(dict.fromkeys((a.stream.role, b.stream.role)))
    words = f"{b.stream.key} {{lag}} against {a.stream.key}"
    if expected.unsure_ms:
        words += f", where {expected.lag_ms:.0f} +-{expected.unsure_ms:.0f} ms are usual"
    words += "".join(f"; of {c.stream.key} {c.left_out}" for c in (a, b) if c.left_out)
    limit = limits.max_offset_ms + expected.report_ms
    excess, subject = _beyond(found, expected), f"{a.stream.key}~{b.stream.key}"
    poor = a.mostly_poor or b.mostly_poor
    return _Finding(subject, roles, limit, excess, words, False, expected.unsure_ms, _cure(a, b), doubtful=poor)


def _cure(*contents: Content) -> str:
    """What to do about an interval that is too wide."""
    if any(content.kind == "rr" for content in contents):
        return "for the heart beats in step with the reports: run longer, or let its rate change"
    return "so run longer"


def _beyond(found: Alignment, expected: Expected) -> Alignment:
    lag, unsure = expected.lag_ms, expected.unsure_ms
    parts = tuple(
        replace(p, lag_ms=p.lag_ms - lag, low_ms=p.low_ms - lag - unsure, high_ms=p.high_ms - lag + unsure)
        for p in found.parts
    )
    return replace(
        found, lag_ms=found.lag_ms - lag, low_ms=found.low_ms - lag - unsure, high_ms=found.high_ms - lag + unsure,
        parts=parts,
    )  # fmt: skip


def _blamed(findings: Sequence[_Finding], limits: LIMITS) -> dict[str, str]:
    """role -> why it is at fault: its truth says so, or every pair that it is in and none that it is not in."""
    failed = [f for f in findings if Outcome.FAIL in (f.lag_outcome(), f.drift_outcome(limits.max_drift_ppm))]
    certain = [finding for finding in failed if finding.certain]
    if certain:
        return {finding.roles[0]: "as the comparison with what was rendered shows" for finding in certain}
    why: dict[str, str] = {}
    pairs = [finding for finding in findings if not finding.certain and finding.excess.refused is None]
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
    reason = finding.words.format(lag=f"{abs(found.lag_ms):.1f} ms {'late' if found.lag_ms >= 0 else 'early'}")
    for part in finding.late_parts():
        late = f"{abs(part.lag_ms):.0f} ms {'late' if part.lag_ms >= 0 else 'early'}"
        reason += f"; from {part.start_s:.0f} s to {part.stop_s:.0f} s it is {late}"
    if outcome is Outcome.FAIL:
        reason += f"; {_fault_words(finding, blamed)}"
    elif outcome is Outcome.INCONCLUSIVE and finding.doubtful:
        reason += "; what is left of so poor a signal may be distorted, so nothing fails by it"
    elif outcome is Outcome.INCONCLUSIVE and not finding.late_parts():
        reason += f"; known to +-{found.half_ms:.0f} ms only, which straddles the limit, {finding.cure}"
    drifts, half = finding.drift_outcome(limits.max_drift_ppm), (found.drift_high_ppm - found.drift_low_ppm) / 2
    if drifts is Outcome.INCONCLUSIVE and half <= _TOLD * limits.max_drift_ppm:
        reason += f"; its drift is known to +-{half:.0f} ppm only"
    verdicts = [
        Verdict(NAME, finding.subject, outcome, reason, "content lag", found.lag_ms, "ms", limit, found.n,
                found.low_ms, found.high_ms, 0.95)
    ]  # fmt: skip
    if drifts is not Outcome.INCONCLUSIVE:
        reason = f"the lag changes by {found.drift_ppm * 0.06:+.2f} ms a minute"
        reason += f"; {_fault_words(finding, blamed)}" if drifts is Outcome.FAIL else ""
        verdicts.append(
            Verdict(NAME, finding.subject, drifts, reason, "content drift", found.drift_ppm, "ppm",
                    limits.max_drift_ppm, found.n, found.drift_low_ppm, found.drift_high_ppm, 0.95)
        )  # fmt: skip
    return verdicts


def _fault_words(finding: _Finding, blamed: dict[str, str]) -> str:
    what = "does it filter or buffer, or are its stamps wrong?"
    if finding.certain:
        return f"{finding.roles[0]} is at fault: {what}"
    for role in finding.roles:
        if role in blamed:
            return f"{role} is at fault, {blamed[role]}: {what}"
    if len(finding.roles) > 1:
        return f"{finding.roles[0]} or {finding.roles[1]} is at fault; a third sensor of the kind would tell which"
    return f"{finding.roles[0]} is at fault: does one of its streams pass a filter or buffer that the other does not?"
