"""Accuracy over many simulated people: no false alarm on shipped rigs, and power against what is wrong."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from harness.bench import Mode, stream_specs
from harness.checks.registry import load_check, make_limits
from harness.rig_file import read_rig
from harness.run import run_rig
from harness.stage import ModelStage
from harness.verdict import Outcome

RIGS = Path(__file__).parents[2] / "rigs"
CHECKS = ("hr_accuracy", "rr_accuracy", "respiration_accuracy", "spo2_accuracy")
QUALITY_FAULTS = (
    "mains_hum", "emg", "motion", "baseline_wander", "electrode_pop", "flatline", "lead_off", "clipping",
    "quantisation", "low_perfusion",
)  # fmt: skip
LINK_FAULTS = ("dropout", "jitter", "delay", "lag", "stall", "unplug", "clock_drift", "clock_wander", "slow_start")


@cache
def accuracy_rig(name):
    rig = replace(read_rig(RIGS / f"{name}.rig.yaml"), limits={"delivery": {}})
    stage = ModelStage(rig.model)
    stage.prepare(stream_specs(rig))
    return rig, stage


def verdicts_of(name, seed, lasting_s, role="", **fault):
    rig, stage = accuracy_rig(name)
    rig = replace(rig, seed=seed, duration_s=lasting_s)
    if role:
        entry = rig.sensors[role]
        damaged = replace(entry, simulate={**entry.simulate, "faults": [fault]})
        rig = replace(rig, sensors={**rig.sensors, role: damaged})
    recording = run_rig(rig, Mode.VIRTUAL, prepared=stage).recording
    checks = [load_check(check) for check in CHECKS]
    return [v for check in checks for v in check.check(recording, make_limits(check, {}))]


def ill(verdicts):
    return [v for v in verdicts if v.outcome not in (Outcome.PASS, Outcome.NOT_RUN)]


def failures(verdicts):
    return {(v.check, v.subject) for v in verdicts if v.outcome is Outcome.FAIL}


@pytest.mark.parametrize("name", [
    "demo", "pulse-oximeter", "polar-h10", "nonin", "polar-verity", "bitalino", "openview", "contec-cms50", "chords",
    "shimmer3-gsr", "shimmer3-ecg", "framed-records",
])  # fmt: skip
def test_a_clean_run_of_a_shipped_rig_is_right(name):
    verdicts = verdicts_of(name, 300, 40.0)
    assert not ill(verdicts)
    assert any(v.outcome is Outcome.PASS for v in verdicts)
    covered = {(v.check, v.subject): v.value for v in verdicts if v.measure == "coverage"}
    assert all(percent > 70 for percent in covered.values()), covered  # a clean signal is nearly all good


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "seconds", "runs"), [
    ("demo", 30.0, 100), ("pulse-oximeter", 60.0, 20), ("polar-h10", 60.0, 20), ("nonin", 60.0, 20),
    ("polar-verity", 60.0, 20), ("bitalino", 60.0, 20), ("openview", 60.0, 20), ("contec-cms50", 60.0, 20),
])  # fmt: skip
@pytest.mark.timeout(900)
def test_no_clean_run_of_many_raises_anything(name, seconds, runs):
    assert not [(seed, ill(found)) for seed in range(runs) if ill(found := verdicts_of(name, 1000 + seed, seconds))]


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(400, 420))
def test_a_heart_rate_a_tenth_too_high_and_intervals_20_ms_off_are_always_found(seed):
    wrong = verdicts_of("demo", seed, 30.0, "strap", fault="bias", gain=1.1)
    assert failures(wrong) == {("hr_accuracy", "strap/heart_rate")}
    wrong = verdicts_of("demo", seed, 30.0, "strap", fault="bias", stream="rr", gain=1.0, offset=20.0)
    assert failures(wrong) == {("rr_accuracy", "strap/rr")}


@pytest.mark.heavy
@pytest.mark.parametrize("role", ["chest", "wrist"])
@pytest.mark.parametrize("name", QUALITY_FAULTS + LINK_FAULTS)
def test_low_quality_and_bad_links_make_no_accuracy_check_fail(name, role):
    kinds = {"chest": "ecg", "wrist": "ppg"}
    from simulators.faults.registry import load_fault

    fault = load_fault(name)
    if name in QUALITY_FAULTS and kinds[role] not in fault.KINDS:
        pytest.skip(f"{name} is no fault of {kinds[role]}")
    stream = {"stream": kinds[role]} if name in QUALITY_FAULTS else {}
    level, steps = fault.LEVELS
    for seed, value in enumerate(steps):
        assert not failures(verdicts_of("demo", 500 + seed, 30.0, role, fault=name, **stream, **{level: value}))
