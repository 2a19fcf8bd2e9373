"""Modalities out of step: clocks that drift, jump or run at another rate, and content that comes late."""

from __future__ import annotations

from harness.diagnostics.case import Case, Rule, facts, named, roles_of, unique
from harness.diagnostics.diagnosis import Diagnosis
from harness.verdict import Verdict

_SIMPLE = 0.01
"""A rate that is so near to twice, half, ... the declared one is another setting."""
_BEHIND = 74
"""Weight behind the rules on old data."""
_CLOCKED = ("sync", "content_sync", "age", "rate")


def host_clock(case: Case) -> list[Diagnosis]:
    """All sensors' clocks run off alike, so that it is the host's."""
    red = case.red("sync", "clocks")
    if not red:
        return []
    cause = "this machine's clock runs off: it is being slewed by NTP, or it is a virtual machine's"
    step = "hil doctor shows the clock source; let NTP settle (chronyc tracking) or run outside the virtual machine"
    explains = case.accounted(_CLOCKED)
    return [Diagnosis("host-clock", "all clocks drift alike", cause, (facts(red[0]),), step, 89, explains)]


def _by_role(case: Case, check: str, measure: str) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for verdict in case.red(check, measure):
        for role in roles_of(verdict)[:1]:
            found.setdefault(role, []).append(verdict)
    return found


def _grows_old(case: Case, role: str) -> bool:
    """Its samples get older faster than any crystal would make them; one way, that looks like a slow clock."""
    return any(roles_of(verdict) == [role] for verdict in case.red("age", "age growth"))


def clock_step(case: Case) -> list[Diagnosis]:
    """A device's time stamps jump."""
    made = []
    for role, red in _by_role(case, "sync", "clock step").items():
        cause = f"the clock of {role} was set, or the device restarted, in the middle of the run"
        step = "do not set its time (an app that connects does) while it streams; look for a restart in its log"
        explains = case.accounted(("sync", "content_sync", "age"), role)
        symptom = f"time stamps of {role} jump"
        made.append(Diagnosis("clock-step", symptom, cause, (facts(red[0]),), step, 86, explains))
    return made


def wrong_rate(case: Case) -> list[Diagnosis]:
    """A stream samples at another rate than the rig declares: different sampling rates."""
    made = []
    for role, red in _by_role(case, "rate", "rate").items():
        off = [v for v in red if v.measure == "rate" and v.value and v.limit]
        if not off:
            continue
        worst = max(off, key=lambda v: abs((v.value or 0.0) / (v.limit or 1.0) - 1))
        share = (worst.value or 0.0) / (worst.limit or 1.0)
        cause = f"{worst.subject} samples at {worst.value:.5g} Hz, {share:.3g} times what the rig declares"
        if any(abs(max(share, 1 / share) / times - 1) < _SIMPLE for times in range(2, 11)):
            cause += ": another setting of the device (rate, decimation, or channels that take turns)"
        else:
            cause += ": its oscillator or its setting is off"
        step = "set rate_hz in the rig to what the device runs at, or the device to what the rig says"
        explains = case.accounted(("sync", "content_sync", "age", "rate", "delivery"), role)
        weight = (
            78 if any(roles_of(v) == [role] for v in case.red("age", "age growth")) else 84
        )  # one way, they look alike
        symptom = f"{role} runs at another rate"
        made.append(Diagnosis("wrong-rate", symptom, cause, (facts(worst),), step, weight, explains))
    return made


def clock_drift(case: Case) -> list[Diagnosis]:
    """A device's crystal runs fast or slow, evenly."""
    made = []
    for role, red in _by_role(case, "sync", "clock drift").items():
        cause = f"the crystal of {role} is off: cheap, cold or warm; its samples move against the others'"
        step = "resample by the host time stamps (time_ns), which follow the clock; or sync.max_drift_ppm if it may be"
        explains = case.accounted(("sync", "content_sync", "age"), role)
        symptom, weight = f"the clock of {role} drifts", _BEHIND if _grows_old(case, role) else 81
        made.append(Diagnosis("clock-drift", symptom, cause, (facts(red[0]),), step, weight, explains))
    return made


def clock_wander(case: Case) -> list[Diagnosis]:
    """A device's drift changes."""
    made = []
    for role, red in _by_role(case, "sync", "clock wander").items():
        cause = f"{role} warms up, its clock follows another one, or software times its samples"
        step = "let it warm up before the run; resample in short stretches; is its sampling timed by an interrupt?"
        explains = case.accounted(("sync", "content_sync", "age"), role)
        symptom = f"the clock of {role} wanders"
        made.append(Diagnosis("clock-wander", symptom, cause, (facts(red[0]),), step, 82, explains))
    return made


def uneven(case: Case) -> list[Diagnosis]:
    """Inconsistent frame rate of a sensor."""
    made = []
    for role, red in _by_role(case, "rate", "rate wander").items():
        cause = f"the sampling of {role} is timed by software that is busy at times, or its clock wanders"
        step = "time it by a hardware timer; lower what else its processor does"
        explains = case.accounted(("rate",), role)
        made.append(Diagnosis("uneven-rate", f"{role} samples unevenly", cause, (facts(red[0]),), step, 71, explains))
    return made


def out_of_step(case: Case) -> list[Diagnosis]:
    """What two streams show of one event stands at different stamps."""
    red = case.red("content_sync", "content")
    if not red:
        return []
    counts: dict[str, int] = {}
    for verdict in red:
        for role in roles_of(verdict):
            counts[role] = counts.get(role, 0) + (2 if "~" not in verdict.subject else 1)
    role = max(counts, key=lambda name: counts[name])
    cause = f"{role} filters or buffers before it stamps, or its stamps are made at arrival and not at sampling"
    step = f"measure the delay of {role} (hil run with a shared event, such as taps) and declare it as floor_ms"
    explains = unique(named(verdict) for verdict in red)
    evidence = tuple(facts(verdict) for verdict in red[:3])
    return [Diagnosis("out-of-step", "modalities are out of step", cause, evidence, step, 75, explains)]


def misaligned(case: Case) -> list[Diagnosis]:
    """Stamps of two sensors disagree and no clock is to blame by itself."""
    red = case.red("sync", "misalignment")
    if not red:
        return []
    cause = "the delay of one link jumps or scatters, and its stamps follow the link and not its samples"
    step = "steady that link (a shorter connection interval, a cable, no bridge that buffers) and run again"
    explains = unique(named(verdict) for verdict in red)
    return [Diagnosis("misaligned", "modalities are out of step", cause, (facts(red[0]),), step, 68, explains)]


TIMES: tuple[Rule, ...] = (
    host_clock, clock_step, wrong_rate, clock_drift, clock_wander, uneven, out_of_step, misaligned,
)  # fmt: skip
