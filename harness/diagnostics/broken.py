"""Runs that did not come about or ended early, and models that fail: the text of the error says most."""

from __future__ import annotations

import re

import numpy as np

from drivers.types import IntArray
from harness.diagnostics.case import Case, Rule, named, unique
from harness.diagnostics.diagnosis import Diagnosis
from harness.diagnostics.texts import diagnose_text
from harness.recording import STAGES
from harness.verdict import Verdict

_SHORT = re.compile(r"run longer|must last longer|(?:is|are) needed")
_OWN = "the harness itself failed"
_REFUSED, _LATE = "connection refused", re.compile(r"no whole response within|HTTP (?:429|503|504)\b")
_SERVER = re.compile(
    r" at \S+: (?:connection refused|no connection to|no whole response within|TLS with|\S+ closed the connection|"
    r"\S+ does not answer as HTTP|the server has another model|HTTP (?:3\d\d|40[1-9]|4[13]\d|429|50[1-9]))"
)
"""What harness.api.remote says of a server that gave no answer; what the model behind it raised is HTTP 422 or 500."""
_BY_HAND = ("interrupted by the user", "ended by SIGTERM")


def crashed(case: Case) -> list[Diagnosis]:
    """The harness raised. Its traceback is of this machine, so that in virtual time only the error counts."""
    said = case.recording.interrupted
    if _OWN not in said:
        return []
    trace = "" if case.virtual else str(case.recording.host.get("crash", ""))
    known = diagnose_text(trace or said)
    evidence = (said, *(known[0].evidence[-1:] if known else _last_frame(trace)))
    explains = unique(named(verdict) for verdict in case.not_green())
    if known:
        one = known[0]
        return [Diagnosis(one.rule, "the run broke off", one.cause, unique(evidence), one.next_step, 99, explains)]
    cause = "a defect of the harness or of a sensor's or model's code: all else that is not PASS follows from it"
    step = "hil run ... --pdb stops where it raised; a traceback is in report.json under host.crash"
    return [Diagnosis("crash", "the run broke off", cause, unique(evidence), step, 99, explains)]


def _last_frame(trace: str) -> tuple[str, ...]:
    frames = [line.strip() for line in trace.splitlines() if line.lstrip().startswith("File ")]
    return tuple(frames[-1:])


def ended_early(case: Case) -> list[Diagnosis]:
    """The run was ended before its time by something else than a person."""
    said = case.recording.interrupted
    if not said or _OWN in said or said in _BY_HAND:
        return []
    known = diagnose_text(said)
    explains = unique(
        named(v) for v in case.not_green() if v.check == "run" or v.outcome in ("NOT_RUN", "INCONCLUSIVE")
    )
    rule, cause, step = "ended-early", "see what it says", "mend that and run again; what came before is recorded"
    if known:
        rule, cause, step = known[0].rule, known[0].cause, known[0].next_step
    return [Diagnosis(rule, "the run ended early", cause, (said,), step, 97, explains)]


def not_connected(case: Case) -> list[Diagnosis]:
    """A sensor could not be connected, so nothing ran."""
    errors = case.recording.meta.get("connect_errors", {})
    explains = unique(named(verdict) for verdict in case.not_green())
    made = []
    for role, said in errors.items():
        sensor = case.recording.rig.sensors[role].sensor
        text = f"{role}: {said}"
        known = diagnose_text(str(said))
        symptom = f"{role} could not be connected"
        if known:
            one = known[0]
            made.append(Diagnosis(one.rule, symptom, one.cause, (text,), one.next_step, 98, explains))
            continue
        cause = f"{role} ({sensor}) is not there, off, in use elsewhere, or another device answers at that place"
        step = f"hil probe {sensor} with its port or address tries it alone; hil doctor looks at this machine"
        made.append(Diagnosis("not-connected", symptom, cause, (text,), step, 96, explains))
    return _each_own(made)


def _each_own(made: list[Diagnosis]) -> list[Diagnosis]:
    """Several that explain the same must all stay: each keeps its own role's verdict as one that only it explains."""
    kept = []
    for number, one in enumerate(made):
        own = f"connect {one.symptom.split()[0]}"
        others = {f"connect {other.symptom.split()[0]}" for other in made if other is not one}
        shared = tuple(name for name in one.explains if name not in others) if number == 0 else (own,)
        kept.append(
            Diagnosis(one.rule, one.symptom, one.cause, one.evidence, one.next_step, one.weight - number, shared)
        )
    return kept


def model_failed(case: Case) -> list[Diagnosis]:
    """The model raised, or returned what is no number or no answer."""
    errors = case.recording.windows.errors
    if not errors:
        return []
    explains = case.accounted(("model",)) + tuple(
        named(v) for v in case.red("latency") + case.red("pacing") if _by_failed_windows(case, v)
    )
    more = (f"{len(errors)} kinds of failure",) if len(errors) > 1 else ()
    unanswered = [text for text in errors if _SERVER.search(text)] if case.recording.rig.model.url else []
    if unanswered:
        return [_no_answer(case, (unanswered[0], *more), explains)]
    known = [(one, text) for text in errors for one in diagnose_text(text)[:1]]
    if not known:
        cause = "the model raises or answers with something else than one tensor (B, outputs)"
        step = "hil model check --rig RIG repeats it without sensors, section by section; hil run --pdb stops there"
        if case.recording.rig.model.url:
            step = (
                "look in the log of the server, and run hil model check with the module's --factory where it is served"
            )
        return [Diagnosis("model-failed", "the model fails", cause, (errors[0], *more), step, 88, explains)]
    one, text = max(known, key=lambda pair: pair[0].weight)
    return [Diagnosis(one.rule, "the model fails", one.cause, (text, *more), one.next_step, 95, explains)]


def _no_answer(case: Case, evidence: tuple[str, ...], explains: tuple[str, ...]) -> Diagnosis:
    """The server behind ``model.url`` is at fault, and nothing is known of the model."""
    model = case.recording.rig.model
    if _REFUSED in evidence[0]:
        cause = f"nothing listens at {model.url}: the server ended in the run, or crashed"
    elif _LATE.search(evidence[0]):
        cause = f"the server at {model.url} is overloaded or stuck, or a window takes it longer than it is given"
    else:
        cause = f"the server at {model.url} gives no answer of a model: it crashed, was started anew, or is another one"
    step = (
        f"is it running? `hil health {model.url}` asks it; start it again with `hil serve` and read its log; give it "
        f"more time by model.timeout_ms (now {model.timeout_ms:g}) if that is what a window takes it"
    )
    return Diagnosis("model-server", "the model's server does not answer", cause, evidence, step, 95, explains)


def _by_failed_windows(case: Case, verdict: Verdict) -> bool:
    """Whether windows that never came out make up for that verdict."""
    stamps = case.recording.windows.stamps_ns
    return (bool(len(stamps)) and bool((stamps[:, -1] < 0).any())) or "the model failed" in verdict.reason


def model_too_slow(case: Case) -> list[Diagnosis]:
    """One window takes the model longer than the hop, so that those behind it queue; or longer than the budget."""
    recording = case.recording
    hop_ms, stamps = recording.rig.window.hop_ms, recording.windows.stamps_ns
    done = stamps[stamps[:, -1] >= 0] if len(stamps) else stamps
    median = _model_ms(done)
    budget = case.spikes.budget_ms
    warm = bool(recording.meta.get("model_too_slow"))
    if not warm and not (case.spikes.above and median > min(hop_ms, budget)):
        return []
    engine = recording.rig.model.engine
    evidence = f"the model takes {median:.0f} ms a window (median); one is due every {hop_ms:g} ms"
    if warm:
        evidence = f"on this machine the model alone takes longer than {budget:g} ms, by its warm-up"
    cause = "the model is slower than the windows come" if median > hop_ms else "the model alone takes the whole budget"
    step = (
        "hil model check --only speed compares eager, compiled and quantised; then take a faster model.engine (now "
        f"{engine}), a smaller model, a larger window.hop_ms, or a GPU"
    )
    explains = case.accounted(("latency", "pacing", "age"), "rig")
    return [Diagnosis("model-too-slow", "latency above the budget", cause, (evidence,), step, 92, explains)]


def _model_ms(done: IntArray) -> float:
    """Median of what the model took of the windows (n, 6) that were judged, without the wait for those before."""
    if not len(done):
        return 0.0
    began = np.maximum(done[1:, STAGES.index("windowed")], done[:-1, STAGES.index("judged")])
    return float(np.median(done[1:, STAGES.index("inferred")] - began)) / 1e6 if len(done) > 1 else 0.0


def too_short(case: Case) -> list[Diagnosis]:
    """Nothing failed for it, but the run was too short to tell."""
    waiting = [v for v in case.not_green() if v.outcome == "INCONCLUSIVE" and _SHORT.search(v.reason)]
    if not waiting or case.recording.interrupted:
        return []
    asked = case.recording.rig.duration_s
    evidence = tuple(f"{named(v)}: {v.reason}" for v in waiting[:2])
    cause = f"{asked:g} s are too short for {len(waiting)} verdict{'s' * (len(waiting) > 1)}"
    step = f"hil run ... --duration {max(30.0, 4 * asked):g}"
    explains = unique(named(verdict) for verdict in waiting)
    return [Diagnosis("too-short", "verdicts are INCONCLUSIVE", cause, evidence, step, 15, explains)]


BROKEN: tuple[Rule, ...] = (crashed, ended_early, not_connected, model_failed, model_too_slow, too_short)
