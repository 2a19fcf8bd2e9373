"""Injected low quality raises the matching flag and fails no other verdict; a loss that the waveform hides shows too.

Every fault of the samples that a quality score must notice, at its default level, on a stream of every kind that it
fits, in virtual time. What else may fail is stated by the fault (TOUCHES, MAY_TOUCH; docs/faults.md says why).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from harness.bench import Mode
from harness.checks.registry import check_names
from harness.rig import Rig
from harness.rig_file import parse_rig, read_rig
from harness.run import run_rig
from harness.scorecard.targets import Target, damaged, targets_of
from harness.scorecard.trial import prepare
from harness.verdict import Outcome, Verdict
from simulators.faults import SampleFault
from simulators.faults.registry import fault_names, load_fault

ROOT = Path(__file__).parents[2]
ACCURACY = ("hr_accuracy", "rr_accuracy", "respiration_accuracy", "spo2_accuracy")
ASKED = {
    name: {}
    for name in ("quality", "noise_floor", "saturation", "lead_off", "delivery", "rate", "sync", "age", "latency",
                 "content_sync", *ACCURACY)
    if name in check_names()
}  # fmt: skip
DEMO = replace(read_rig(ROOT / "rigs" / "demo.rig.yaml"), path="", text="")
DEMO = replace(DEMO, limits={**ASKED, **DEMO.limits})
COLUMNS = {
    "cap": "{name: Cz, stream: eeg, kind: eeg, unit: uV, rate_hz: 250, lsb: 0.02, low: -10000, high: 10000}",
    "belt": "{name: belt, stream: breath, kind: respiration, unit: '1', rate_hz: 25, lsb: 0.001, low: -10, high: 10}",
    "board": "{name: a1, stream: raw, kind: raw, unit: counts, rate_hz: 250, lsb: 1, low: 0, high: 4095}",
    "leg": "{name: leg, stream: emg, kind: exg, unit: uV, rate_hz: 250, lsb: 0.1, low: -20000, high: 20000}",
    "ear": "{name: led, stream: light, kind: ppg, unit: counts, rate_hz: 125, lsb: 1}",
}
"""Kinds that the demo rig has none of, and a stream without rails."""
SENSOR = """
  %s:
    sensor: text-lines
    settings: {format: csv, time_column: t_ms, counter_column: n, time_unit: ms, columns: [%s]}
"""
OTHERS = "schema: 1\nname: others\nsimulate: true\nduration_s: 40\nseed: 7\nlimits: {connect: {}}\nsensors:\n"
OTHERS = replace(parse_rig(OTHERS + "".join(SENSOR % each for each in COLUMNS.items())), limits=dict(ASKED))
RIGS = {"demo": DEMO, "others": OTHERS}
FLAGS = {
    "baseline_wander": {"baseline"}, "clipping": {"saturated"}, "electrode_pop": {"pop"}, "emg": {"noise"},
    "flatline": {"flat"}, "hold": {"flat"}, "lead_off": {"saturated", "off_body", "flat"},
    "low_perfusion": {"low_perfusion"}, "mains_hum": {"hum"}, "motion": {"motion", "noise"},
    "quantisation": {"coarse", "saturated"}, "spikes": {"pop", "motion", "noise"}, "white_noise": {"noise"},
}  # fmt: skip
"""What the quality check must call each of them. On a slow stream movement is noise. A raw input of which two or three
steps are left, or that is off and declares no rail, lies flat at its ends."""


@cache
def splicer_of(name: str):
    return prepare(RIGS[name])


@cache
def clean_run(name: str):
    return run_rig(RIGS[name], Mode.VIRTUAL)


def told(verdicts) -> str:
    return "\n".join(
        f"{v.check} {v.subject} {v.outcome}: {v.reason}" for v in verdicts if v.outcome is not Outcome.PASS
    )


def failing(verdicts) -> set[str]:
    return {v.check for v in verdicts if v.outcome is Outcome.FAIL}


def quality_faults() -> list[str]:
    faults = {name: load_fault(name) for name in fault_names()}
    return [name for name, fault in faults.items() if issubclass(fault, SampleFault) and "quality" in fault.TOUCHES]


def targets() -> list[tuple[str, Target]]:
    return [(name, each) for name, rig in RIGS.items() for each in targets_of(rig, quality_faults(), levels="default")]


def test_every_such_fault_is_tried_on_every_kind_that_it_names():
    kinds = {"ecg", "eeg", "ppg", "eda", "respiration", "temperature", "acceleration", "exg", "raw"}
    tried: dict[str, set[str]] = {}
    for name, target in targets():
        spec = clean_run(name).recording.streams[target.place].spec
        tried.setdefault(target.fault, set()).add(spec.kind)
    assert set(tried) == set(FLAGS)
    assert all(load_fault(fault).KINDS & kinds == found for fault, found in tried.items())


@pytest.mark.parametrize("name", RIGS)
def test_without_a_fault_nothing_fails(name):
    verdicts = clean_run(name).verdicts
    assert failing(verdicts) == set(), told(verdicts)
    new = [v for v in verdicts if v.check in ("quality", "noise_floor", "saturation", "lead_off")]
    assert all(v.outcome is Outcome.PASS for v in new), told(new)


def judged_of(name: str, check: str) -> set[str]:
    """Streams of which the check says something in a clean run."""
    return {v.subject for v in clean_run(name).verdicts if v.check == check and v.outcome is not Outcome.NOT_RUN}


@pytest.mark.parametrize(("name", "target"), targets(), ids=lambda each: getattr(each, "place", None) or str(each))
def test_low_quality_raises_its_flag_and_fails_no_other_verdict(name, target):
    rig: Rig = RIGS[name]
    fault = load_fault(target.fault)
    given = {"fault": target.fault, "stream": target.stream}
    verdicts = splicer_of(name).run(damaged(rig, target.role, given, rig.seed), target.role).verdicts
    hit = next(v for v in verdicts if (v.check, v.subject) == ("quality", target.place))
    assert hit.outcome is Outcome.FAIL, told(verdicts)
    flagged = hit.reason.split("flagged: ")[1]
    assert any(f"{flag} in " in flagged for flag in FLAGS[target.fault]), hit.reason
    assert "low by the signal in" in hit.reason
    failed: list[Verdict] = [v for v in verdicts if v.outcome is Outcome.FAIL]
    assert {v.check for v in failed} <= fault.TOUCHES | fault.MAY_TOUCH, told(verdicts)
    assert {v.subject for v in failed} <= {target.place}, told(verdicts)
    must = {check for check in fault.TOUCHES if target.place in judged_of(name, check)}
    assert must <= {v.check for v in failed}, told(verdicts)


@pytest.mark.parametrize("role", ["chest", "wrist"])
def test_packets_that_are_lost_show_in_quality_by_delivery_where_the_waveform_hides_them(role):
    """What comes through is as good as ever, so it is the delivery that makes the score low."""
    faults = {"fault": "dropout", "mean_lost_percent": 30, "mean_burst_frames": 3}
    verdicts = splicer_of("demo").run(damaged(DEMO, role, faults, 7), role).verdicts
    low = [v for v in verdicts if v.check == "quality" and v.outcome is Outcome.FAIL]
    assert low, told(verdicts)
    assert all("gap in " in v.reason and "lost samples in" in v.reason for v in low), told(low)
    assert all(v.subject.startswith(f"{role}/") for v in low)
    assert failing(verdicts) <= {"delivery", "quality"}, told(verdicts)
    assert "delivery" in failing(verdicts)


def test_packets_that_the_device_hides_show_in_quality_by_the_signal():
    """Nothing is missing on the wire, so nothing but the waveform can tell."""
    faults = {"fault": "hold", "stream": "ecg", "fraction": 0.7}
    verdicts = splicer_of("demo").run(damaged(DEMO, "chest", faults, 7), "chest").verdicts
    assert failing(verdicts) == {"quality"}, told(verdicts)
    assert all("lost samples" not in v.reason for v in verdicts if v.check == "quality")


@pytest.mark.parametrize("role", ["chest", "wrist", "strap"])
def test_a_link_that_is_gone_is_for_delivery_and_not_for_quality(role):
    faults = {"fault": "unplug", "at_s": 10, "for_s": 4}
    verdicts = splicer_of("demo").run(damaged(DEMO, role, faults, 7), role).verdicts
    assert failing(verdicts) == {"delivery"}, told(verdicts)
    told_of = [v.reason for v in verdicts if v.check == "quality" and v.subject.startswith(f"{role}/")]
    assert all("link gone" in reason for reason in told_of), told_of
