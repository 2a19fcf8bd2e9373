"""From a recording to verdicts: every check that the rig asks for, and those that always run."""

from __future__ import annotations

from harness.checks.registry import load_check, make_limits
from harness.recording import Recording
from harness.verdict import Outcome, Verdict

ALWAYS = ("connect", "model")


def judge(recording: Recording) -> list[Verdict]:
    """Verdicts in a fixed order. A check that raises is a broken harness: INVALID, never silent."""
    verdicts: list[Verdict] = []
    for name in ALWAYS:
        verdicts += _run(recording, name)
    if recording.interrupted:
        verdicts.append(
            Verdict("run", "rig", Outcome.INVALID, f"the run ended early: {recording.interrupted}", "duration",
                    (recording.stop_ns - recording.start_ns) / 1e9, "s", recording.rig.duration_s)
        )  # fmt: skip
    started = not recording.meta.get("connect_errors")
    asked = [*recording.rig.limits, *(["api"] if recording.rig.api and "api" not in recording.rig.limits else [])]
    for name in asked:
        if name in ALWAYS:
            continue
        if started:
            verdicts += _run(recording, name)
        else:
            reason = "the run did not start: see the connect verdicts"
            verdicts.append(Verdict(name, "rig", Outcome.NOT_RUN, reason))
    return verdicts


def _run(recording: Recording, name: str) -> list[Verdict]:
    try:
        check = load_check(name)
        verdicts = check.check(recording, make_limits(check, recording.rig.limits.get(name, {})))
    except Exception as error:  # noqa: BLE001  a check may come from outside, and must not take the others down
        reason = f"the check itself failed: {type(error).__name__}: {error}"
        return [Verdict(name, "rig", Outcome.INVALID, reason)]
    if not verdicts:
        return [Verdict(name, "rig", Outcome.INVALID, "the check returned no verdict")]
    return verdicts
