"""One run of a rig, clean or damaged, and what the checks said of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.bench import stream_specs
from harness.checks.registry import load_check, make_limits
from harness.recording import Recording
from harness.rig import Rig
from harness.run import Result
from harness.scorecard.prefix import until
from harness.scorecard.splice import Splicer
from harness.scorecard.targets import Target, damage, damaged
from harness.stage import ModelStage
from harness.verdict import Outcome, Verdict

CLEAN = -1
"""Number of the target that is none."""
_STEP_NS = 20_000_000
"""Detection delays are known to so much."""


@dataclass(frozen=True, order=True)
class Trial:
    """What to run: the number of a target (CLEAN: none) and of its level, and a seed."""

    target: int
    level: int
    seed: int
    delay: bool = False
    """Also find out how early each check that must notice would have."""


@dataclass(frozen=True)
class Finding:
    """A verdict that is not PASS."""

    check: str
    measure: str
    subject: str
    outcome: Outcome
    blamed: frozenset[str]
    """Roles that it names."""
    reason: str


@dataclass(frozen=True)
class Trace:
    """What came of a trial."""

    trial: Trial
    findings: tuple[Finding, ...]
    judged: frozenset[tuple[str, str, str]] = frozenset()
    """Clean trials: (check, measure, subject) of every verdict."""
    waited_for: tuple[str, ...] = ()
    """Clean trials: ``role/stream`` that windows wait for, which is what a verdict about the whole rig is about."""
    delays_s: Mapping[str, float] | None = None
    """Check -> from the damage's first moment to the shortest recording on which the check fails."""


def prepare(rig: Rig) -> Splicer:
    """A clean rig with its model, loaded and warmed up once for many trials."""
    stage = ModelStage(rig.model)
    stage.prepare(stream_specs(rig))
    return Splicer(rig, stage)


def run_trial(splicer: Splicer, targets: Sequence[Target], trial: Trial) -> Trace:
    """Run the rig with the damage that the trial names; KeyboardInterrupt if somebody ends the run."""
    rig = splicer.rig
    if trial.target == CLEAN:
        result = _ended(splicer.whole(replace(rig, seed=trial.seed)))
        judged = frozenset((v.check, v.measure, v.subject) for v in result.verdicts if v.outcome is not Outcome.NOT_RUN)
        findings = tuple(_findings(result.verdicts, rig.sensors))
        return Trace(trial, findings, judged, result.recording.windows.waited_for)
    target = targets[trial.target]
    fault = damage(target, trial.level, trial.seed, rig.duration_s)
    result = _ended(splicer.run(damaged(rig, target.role, fault, trial.seed), target.role))
    delays = _delays_s(result, target) if trial.delay else None
    return Trace(trial, tuple(_findings(result.verdicts, rig.sensors)), delays_s=delays)


def _ended(result: Result) -> Result:
    if result.exit_code == 130:
        raise KeyboardInterrupt
    return result


def _findings(verdicts: Iterable[Verdict], roles: Collection[str]) -> Iterable[Finding]:
    for v in verdicts:
        if v.outcome not in (Outcome.PASS, Outcome.NOT_RUN):
            yield Finding(v.check, v.measure, v.subject, v.outcome, blamed(v, roles), v.reason)


def blamed(verdict: Verdict, roles: Collection[str]) -> frozenset[str]:
    """The roles that a verdict holds responsible.

    Where its reason says who is "at fault", those; else those in its subject; of a verdict about the whole rig, those
    whose streams its reason names.
    """
    for clause in re.split(r"[;:]", verdict.reason):
        if "at fault" in clause and (guilty := _named(clause, roles)):
            return guilty
    if verdict.subject == "rig":
        return frozenset(role for role in roles if re.search(rf"(?<![\w/]){re.escape(role)}/", verdict.reason))
    return frozenset(part.split("/")[0] for part in verdict.subject.split("~")) & frozenset(roles)


def _named(text: str, roles: Collection[str]) -> frozenset[str]:
    return frozenset(role for role in roles if re.search(rf"(?<!\w){re.escape(role)}(?!\w)", text))


def is_right(finding: Finding, target: Target) -> bool:
    """A failure that the damage explains: of a check that the fault may change, and naming what was damaged."""
    if finding.check not in target.touches | target.may_touch or target.role not in finding.blamed:
        return False
    parts = [part for part in finding.subject.split("~") if part.split("/")[0] == target.role]
    whole = not target.stream or not parts or target.role in parts
    return whole or target.place in parts


# --- how early --------------------------------------------------------------------------------


def _delays_s(result: Result, target: Target) -> dict[str, float]:
    """Of each check that must notice and does: how long after the damage's first moment it would have failed."""
    begins = [truth.start_ns for truth in result.truths if truth.sensor == target.role]
    recording = result.recording
    begin_ns = max(recording.start_ns, min(begins, default=recording.start_ns))
    found = {}
    for check in sorted(target.touches & set(recording.rig.limits)):
        shortest_ns = shortest_failing_ns(recording, check, target, begin_ns)
        if shortest_ns is not None:
            found[check] = (shortest_ns - begin_ns) / 1e9
    return found


def shortest_failing_ns(recording: Recording, check: str, target: Target, begin_ns: int) -> int | None:
    """End of the shortest prefix beyond ``begin_ns`` on which the check fails for the right reason; None if none does.

    By bisection, to 20 ms: of a check that fails, passes and fails again as a recording grows it finds one beginning.
    """
    if not _fails(recording, check, target):
        return None
    low, high = begin_ns, recording.stop_ns
    while high - low > _STEP_NS:
        middle = (low + high) // 2
        if _fails(until(recording, middle), check, target):
            high = middle
        else:
            low = middle
    return high


def _fails(recording: Recording, check: str, target: Target) -> bool:
    made = load_check(check)
    verdicts = made.check(recording, make_limits(made, recording.rig.limits.get(check, {})))
    findings = _findings(verdicts, recording.rig.sensors)
    return any(f.outcome is Outcome.FAIL and f.check == check and is_right(f, target) for f in findings)
