"""Oxygen saturations: silent on clean oximeters and light, loud on values that are wrong, honest about the range."""

from dataclasses import replace
from functools import cache

import pytest

from harness.bench import Mode, stream_specs
from harness.checks.registry import load_check, make_limits
from harness.checks.spo2_accuracy import LIMITS, check
from harness.rig_file import parse_rig
from harness.run import run_rig
from harness.stage import ModelStage
from harness.verdict import Outcome

RIG = parse_rig("""
schema: 1
name: oximeters
simulate: true
duration_s: 60
seed: 3
subject: {spo2_percent: 88}
sensors:
  ble: {sensor: pulse-oximeter, settings: {averages: [normal]}}
  finger: {sensor: nonin, settings: {format: DF2}}
  light:
    sensor: text-lines
    settings:
      time_column: t_ms
      time_unit: ms
      columns:
        - {name: red, stream: ppg, kind: ppg, unit: counts, rate_hz: 64, lsb: 1, low: 0, high: 262143}
        - {name: ir, stream: ppg, kind: ppg, unit: counts, rate_hz: 64, lsb: 1, low: 0, high: 262143}
limits: {spo2_accuracy: {}}
""")
ARMS = "SpO2 Arms"


@cache
def blood_model():
    stage = ModelStage(RIG.model)
    stage.prepare(stream_specs(RIG))
    return stage


@cache
def measured(seed=3, role="", fault=(), percent=88.0):
    rig = replace(RIG, seed=seed, subject={"spo2_percent": percent})
    if role:
        entry = rig.sensors[role]
        damaged = replace(entry, simulate={**entry.simulate, "faults": [dict(fault)]})
        rig = replace(rig, sensors={**rig.sensors, role: damaged})
    return run_rig(rig, Mode.VIRTUAL, prepared=blood_model()).recording


def of(verdicts, subject, measure=ARMS):
    return next(v for v in verdicts if (v.subject, v.measure) == (subject, measure))


def offset(percent):
    return (("fault", "bias"), ("stream", "spo2"), ("gain", 1.0), ("offset", percent))


@pytest.mark.parametrize(("seed", "percent"), [(50, 97.5), (51, 88.0), (52, 75.0)])
def test_clean_oximeters_and_light_are_right_over_the_range(seed, percent):
    verdicts = check(measured(seed, percent=percent), LIMITS())
    assert {v.outcome for v in verdicts} == {Outcome.PASS}
    assert {v.subject for v in verdicts} == {"ble/spo2", "finger/spo2", "light/ppg"}
    assert all(v.value < 1.0 for v in verdicts if v.measure == ARMS)


@pytest.mark.parametrize("percent", [6.0, -6.0])
def test_six_percent_too_much_or_too_little_fail_and_no_other_stream_does(percent):
    verdicts = check(measured(3, "ble", offset(percent)), LIMITS())
    assert of(verdicts, "ble/spo2").outcome is Outcome.FAIL
    assert of(verdicts, "ble/spo2").value == pytest.approx(6.0, abs=0.6)
    assert of(verdicts, "finger/spo2").outcome is Outcome.PASS


def test_two_percent_are_within_the_limit():
    assert of(check(measured(3, "ble", offset(2.0)), LIMITS()), "ble/spo2").outcome is Outcome.PASS


def test_the_reason_says_which_saturations_were_covered_and_which_should_be():
    reason = of(check(measured(51), LIMITS()), "ble/spo2").reason
    assert "from 88 to 88 %" in reason
    assert "70 to 100 %" in reason


def test_light_with_a_wrong_calibration_fails():
    verdicts = check(measured(51), LIMITS(calibration=(116.0, -25.0)))
    assert of(verdicts, "light/ppg").outcome is Outcome.FAIL
    assert of(verdicts, "light/ppg").value == pytest.approx(6.0, abs=0.5)


def test_on_a_bench_light_without_a_calibration_is_not_judged_and_with_one_it_is():
    recording = replace(measured(51), meta={"mode": "bench"})
    assert "light/ppg" not in {v.subject for v in check(recording, LIMITS())}
    verdict = of(check(recording, LIMITS(calibration=(110, -25))), "light/ppg")
    assert verdict.outcome is Outcome.PASS
    assert "against ble/spo2:" in verdict.reason


def test_one_oximeter_alone_on_a_bench_proves_nothing():
    recording = replace(measured(51), meta={"mode": "bench"})
    alone = replace(recording, streams={"ble/spo2": recording.streams["ble/spo2"]})
    assert of(check(alone, LIMITS()), "ble/spo2").outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("name", ["low_perfusion", "motion", "baseline_wander", "flatline", "clipping", "dropout"])
def test_poor_light_is_no_wrong_saturation(name):
    verdicts = check(measured(3, "light", (("fault", name),)), LIMITS())
    assert all(v.outcome is not Outcome.FAIL for v in verdicts)


def test_a_rig_without_blood_has_nothing_to_judge():
    recording = measured(51)
    streams = {k: s for k, s in recording.streams.items() if s.spec.kind == "heart_rate"}
    (verdict,) = check(replace(recording, streams=streams), LIMITS())
    assert verdict.outcome is Outcome.NOT_RUN


@pytest.mark.parametrize("given", [{"max_arms_percent": 0}, {"calibration": ["R"]}, {"max_lag_s": -1}])
def test_limits_that_cannot_be_are_refused_by_name(given):
    with pytest.raises(ValueError, match="spo2_accuracy"):
        make_limits(load_check("spo2_accuracy"), given)
