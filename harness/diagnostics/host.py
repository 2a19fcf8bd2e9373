"""Facts of this machine and moment: what it was busy with when windows were late. Never asked in virtual time."""

from __future__ import annotations

import numpy as np

from harness.diagnostics.case import Case, Rule
from harness.diagnostics.diagnosis import Diagnosis
from harness.latency import COARSE, worst_p99
from harness.monitor.growth import growth
from harness.monitor.happenings import COLLECTION, HELD, STACK, Happening
from harness.monitor.queue import queue_growth

_LATE = ("latency", "pacing", "age")
_BUSY_PERCENT = 95.0
_FEWEST_ROWS = 20
_GROWN_BYTES = 50 * 2**20
_GROWN_SHARE = 0.1


def _happened(case: Case, kind: str) -> list[Happening]:
    """Of a kind, while windows that ended above the budget were waiting."""
    recording = case.recording
    hop_ns = round(recording.rig.window.hop_ms * 1e6)
    spans = []
    for one in case.spikes.worst:
        stamps = recording.windows.stamps_ns[one.cause : one.last + 1]
        spans.append((int(stamps[0, 0]) - hop_ns, int(stamps.max())))
    return [
        h for h in recording.happenings
        if h.kind == kind and any(h.at_ns <= end and h.until_ns >= begin for begin, end in spans)
    ]  # fmt: skip


def blocking_call(case: Case) -> list[Diagnosis]:
    """Something ran in the loop while windows were overdue."""
    places: dict[str, int] = {}
    for one in _happened(case, STACK):
        place = one.what.split(", in ")[0]  # what a library did there counts for who called it
        places[place] = places.get(place, 0) + one.n
    n, where = sum(places.values()), max(places, key=lambda place: places[place], default="")
    if not where or 2 * places[where] < n:
        return []
    evidence = f"while windows were overdue, the loop was in {where} in {places[where]} of {n} samples"
    cause = f"{where} takes long, or waits for something (a file, a lock, the network), in the loop that serves windows"
    step = "make that call shorter or do it beside the loop; the flight recorder's trace in the run's folder shows it"
    return [_of_latency(case, "blocking-call", cause, evidence, step, 88)]


def collected(case: Case) -> list[Diagnosis]:
    """Python's garbage collector stopped the loop."""
    found = _happened(case, COLLECTION)
    longest = max((one.for_ns / 1e6 for one in found), default=0.0)
    if longest < 0.5 * case.spikes.budget_ms:
        return []
    evidence = f"garbage was collected {len(found)} times while windows were overdue, for up to {longest:.0f} ms"
    cause = "Python's garbage collector walks through many objects that were made during the run"
    step = "keep fewer small objects (arrays, not lists), and gc.freeze() after loading"
    return [_of_latency(case, "garbage-collection", cause, evidence, step, 83)]


def held(case: Case) -> list[Diagnosis]:
    """No Python ran at all."""
    found = _happened(case, HELD)
    longest = max((one.for_ns / 1e6 for one in found), default=0.0)
    if longest < 0.5 * case.spikes.budget_ms:
        return []
    evidence = f"no Python ran for up to {longest:.0f} ms while windows were overdue"
    cause = "C code held the interpreter's lock, or the system gave this process no core"
    step = "look for a C extension that does not release the lock; hil doctor measures this machine's own pauses"
    return [_of_latency(case, "interpreter-held", cause, evidence, step, 82)]


def machine_busy(case: Case) -> list[Diagnosis]:
    """All cores were busy when windows were late, or simulated sensors could not send in time."""
    recording, percent = case.recording, case.recording.resources.column("system_percent")
    late_ms = worst_p99(recording, "sender_lateness_us", recording.rig.sensors) / 1e3
    known = percent[np.isfinite(percent)]
    busy = float(np.median(known)) if len(known) else 0.0
    evidence = []
    if busy >= _BUSY_PERCENT:
        evidence.append(f"all cores of this machine were {busy:.0f} % busy in half of the run")
    if sent_late := late_ms >= COARSE * case.spikes.budget_ms:
        evidence.append(f"the simulators themselves sent up to {late_ms:.0f} ms late (p99)")
    suffered = case.spikes.above or any(case.red(check) for check in _LATE)
    explains = case.accounted(_LATE)
    if not evidence or not (suffered or (sent_late and explains)):
        return []  # a busy machine that made nothing late is no cause of anything
    cause = "other programs, or too many threads of this one, take the processor"
    step = "end what else runs (top), set model.threads below the number of cores, or use --virtual"
    symptom = "high CPU use, and " + ("latency above the budget" if suffered else "simulated sensors that send late")
    return [Diagnosis("machine-busy", symptom, cause, tuple(evidence), step, 84, explains)]


def queue_grows(case: Case) -> list[Diagnosis]:
    """The consumer cannot keep up."""
    said = queue_growth(case.recording.resources).said
    if not said:
        return []
    cause = "one window takes longer than the hop on this machine, so that more arrives than is taken"
    step = "hil model check --only speed; a faster engine, a smaller model, or a larger window.hop_ms"
    return [_of_latency(case, "queue-grows", cause, said, step, 86)]


def memory_grows(case: Case) -> list[Diagnosis]:
    """Resident memory keeps growing after the start."""
    resources = case.recording.resources
    rss, at_ns = resources.column("rss_bytes"), resources.at_ns
    drift = growth((at_ns - at_ns[:1]) / 60e9, rss)
    if drift is None or drift.n < _FEWEST_ROWS:
        return []
    grown = drift.value * drift.span
    if drift.low <= 0 or grown < max(_GROWN_BYTES, _GROWN_SHARE * float(np.nanmin(rss))):
        return []
    evidence = f"memory grows by {drift.value / 2**20:.0f} MiB a minute, {grown / 2**20:.0f} MiB in this run"
    cause = "something keeps what it no longer needs: outputs with their graph (no torch.no_grad), a list that grows"
    step = "hil model check --only memory names who holds tensors; detach() what is kept, and bound every buffer"
    return [Diagnosis("memory-grows", "memory grows", cause, (evidence,), step, 65)]


def _of_latency(case: Case, rule: str, cause: str, evidence: str, step: str, weight: int) -> Diagnosis:
    explains = case.accounted(_LATE, "rig")
    return Diagnosis(rule, "latency above the budget", cause, (evidence,), step, weight, explains)


HOST: tuple[Rule, ...] = (blocking_call, queue_grows, machine_busy, collected, held, memory_grows)
