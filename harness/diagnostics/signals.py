"""What is wrong with the signals themselves: contact, hum, rails, motion."""

from __future__ import annotations

import numpy as np

from harness.diagnostics.case import Case, Rule, facts, named, roles_of, unique
from harness.diagnostics.diagnosis import Diagnosis
from harness.quality import LOW, scores_of
from harness.verdict import Verdict

_ACCURATE = ("hr_accuracy", "rr_accuracy", "spo2_accuracy", "respiration_accuracy")
_FOLLOWS = ("quality", "noise_floor", "content_sync", *_ACCURATE)
"""What a poor signal turns from PASS."""
_OFTEN = 0.1
_FLAGS = {
    "off_body": (
        "no-contact", "no contact with the body", "the sensor is not worn, or an electrode has come off",
        "put it on again: clean skin, wet electrodes, a snug strap", 80,
    ),
    "low_perfusion": (
        "low-perfusion", "a weak pulse wave", "little blood flows where the light shines: a cold hand, a tight strap",
        "warm the hand, loosen the strap, move the sensor to a finger or the ear", 76,
    ),
    "motion": (
        "motion", "motion in the signal", "the wearer moves, or the cable pulls at the sensor",
        "fix cable and sensor to the skin, and repeat the run at rest to compare", 74,
    ),
    "flat": (
        "flat", "a signal that stands still",
        "a stuck converter, an open input, or a driver that repeats its last value",
        "hil probe shows the raw values; shorted inputs must show noise", 73,
    ),
    "baseline": (
        "baseline", "a baseline that wanders", "breathing, sweat or a dried electrode moves the electrode's potential",
        "new electrodes on prepared skin; a high-pass filter at 0.5 Hz in front of the model", 70,
    ),
    "pop": (
        "electrode-pops", "jumps in the signal", "an electrode that loosens, or a plug that moves",
        "press or replace it, and relieve the cable of strain", 71,
    ),
    "noise": (
        "noisy", "noise in the signal", "muscles, a bad contact, or something that radiates nearby",
        "relax and sit still; new electrodes; cables twisted and away from supplies and radios", 69,
    ),
}  # fmt: skip
"""Flag of the quality score -> rule, symptom, cause, next step, weight."""


def lead_off(case: Case) -> list[Diagnosis]:
    """An electrode or a probe without contact, by the device's word or its signal."""
    made = []
    for role, red in _by_role(case.red("lead_off")).items():
        explains = case.accounted(("lead_off", "saturation", *_FOLLOWS), role)
        cause = f"an electrode or the probe of {role} has come off, dried out, or its cable is broken"
        if not any("rail" in v.reason or "device" in v.reason for v in red):
            cause += "; a converter that is stuck looks the same"
        step = "put it back: clean skin, wet electrodes, a snug strap; then measure the cable's continuity"
        made.append(Diagnosis("lead-off", f"{role} has no contact", cause, _evidence(red), step, 91, explains))
    return made


def saturated(case: Case) -> list[Diagnosis]:
    """A signal at the converter's ends, or cut off below them."""
    made = []
    for role, red in _by_role(case.red("saturation")).items():
        explains = case.accounted(("saturation", *_FOLLOWS), role)
        cause = f"the gain of {role} is too high, or the electrodes' offset uses up its range"
        step = "lower the gain (or the light's current); new electrodes of one make bring the offset down"
        made.append(Diagnosis("saturation", f"{role} is cut off", cause, _evidence(red), step, 87, explains))
    return made


def hum(case: Case) -> list[Diagnosis]:
    """Mains at 50 or 60 Hz, on one sensor or on several."""
    found: dict[str, list[str]] = {}
    for key, share in _flagged(case, "hum").items():
        found.setdefault(key.split("/")[0], []).append(f"{key}: mains hum in {share:.0%} of its windows")
    if not found:
        return []
    explains = case.accounted(_FOLLOWS, found)
    roles = ", ".join(found)
    evidence = tuple(line for lines in found.values() for line in lines)
    if len(found) > 1:
        cause = f"a ground loop or a mains supply that {roles} share: a charger, a lamp, a long unshielded cable"
        step = "run the laptop from its battery, unplug chargers, and keep cables away from supplies"
        return [Diagnosis("hum-shared", "mains hum on several sensors", cause, evidence, step, 86, explains)]
    cause = f"a poor electrode or an open reference on {roles} picks up the mains"
    step = "renew the reference electrode first; twist the leads; then run the laptop from its battery"
    return [Diagnosis("hum", f"mains hum on {roles}", cause, evidence, step, 82, explains)]


def flagged(case: Case) -> list[Diagnosis]:
    """A signal of low quality, by the flag that was up most often."""
    made = []
    for flag, (rule, symptom, cause, step, weight) in _FLAGS.items():
        for key, share in _flagged(case, flag).items():
            explains = case.accounted(_FOLLOWS, key)
            evidence = (f"{key}: {flag} in {share:.0%} of its windows",)
            made.append(Diagnosis(rule, f"{symptom} of {key}", cause, evidence, step, weight, explains))
    return made


def _flagged(case: Case, flag: str) -> dict[str, float]:
    """Streams of low quality or too much noise -> share of windows in which the flag was up, where it is often.

    A flag must be up in most of the low windows to be why they are low.
    """
    found = {}
    keys = unique(v.subject for v in [*case.red("quality"), *case.red("noise_floor")])
    for key in (key for key in keys if key in case.recording.streams):
        _, table = scores_of(case.recording, case.recording.streams[key])
        known = np.isfinite(table.score)
        raised, low = table.flags.get(flag), known & (table.score < LOW)
        if raised is None or not known.any():
            continue
        share = float((raised & known).sum() / known.sum())
        if share > _OFTEN and 2 * int((raised & low).sum()) > int(low.sum()):
            found[key] = share
    return found


def inaccurate(case: Case) -> list[Diagnosis]:
    """A derived value is wrong though the signal is good."""
    red = [v for check in _ACCURATE for v in case.red(check) if "coverage" not in v.measure]
    if not red:
        return []
    cause = "calibration or algorithm of the sensor: the signal is there, and what is made of it is off"
    step = "compare with a reference on the same person at rest, then check gain, wavelengths and firmware version"
    explains = unique(named(verdict) for verdict in red)
    return [Diagnosis("inaccurate", "a derived value is wrong", cause, _evidence(red), step, 60, explains)]


def _by_role(verdicts: list[Verdict]) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(roles_of(verdict)[0], []).append(verdict)
    return found


def _evidence(verdicts: list[Verdict]) -> tuple[str, ...]:
    return unique(facts(verdict) for verdict in verdicts)[:3]


SIGNALS: tuple[Rule, ...] = (lead_off, saturated, hum, flagged, inaccurate)
