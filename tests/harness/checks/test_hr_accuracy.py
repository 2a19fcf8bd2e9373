"""Heart rates: silent on clean rigs, loud on rates that are wrong, never green for want of a reference or signal."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from harness.accuracy.material import material_of
from harness.bench import Mode, stream_specs
from harness.checks.hr_accuracy import LIMITS, check
from harness.checks.registry import load_check, make_limits
from harness.rig_file import parse_rig
from harness.run import run_rig
from harness.stage import ModelStage
from harness.verdict import Outcome

RIG = parse_rig("""
schema: 1
name: hearts
simulate: true
duration_s: 30
seed: 7
sensors:
  chest:
    sensor: openbci-cyton
    settings: {streams: {ecg: [1]}}
    simulate: {clock: {ppm: 12}}
  strap: {sensor: heart-rate}
  wrist:
    sensor: text-lines
    settings:
      format: csv
      time_column: t_ms
      time_unit: ms
      columns:
        - {name: ppg_red, stream: ppg, kind: ppg, unit: counts, rate_hz: 64, lsb: 1, low: 0, high: 262143}
        - {name: ppg_ir, stream: ppg, kind: ppg, unit: counts, rate_hz: 64, lsb: 1, low: 0, high: 262143}
limits: {hr_accuracy: {}}
""")
TENTH = (("fault", "bias"), ("gain", 1.1))
OFF = (("fault", "lead_off"), ("fraction", 0.95))


@cache
def heart_model():
    stage = ModelStage(RIG.model)
    stage.prepare(stream_specs(RIG))
    return stage


@cache
def heard(seed=7, seconds=30.0, role="", fault=(), subject=()):
    """A virtual run; ``fault`` and ``subject`` as (key, value) pairs, so that runs can be kept."""
    rig = replace(RIG, seed=seed, duration_s=seconds, subject=dict(subject))
    if role:
        entry = rig.sensors[role]
        damaged = replace(entry, simulate={**entry.simulate, "faults": [dict(fault)]})
        rig = replace(rig, sensors={**rig.sensors, role: damaged})
    return run_rig(rig, Mode.VIRTUAL, prepared=heart_model()).recording


def on_a_bench(recording, *left_out):
    """The same run, of which nobody knows what is true."""
    streams = {key: stream for key, stream in recording.streams.items() if key not in left_out}
    return replace(recording, meta={"mode": "bench"}, streams=streams)


def of(verdicts, subject, measure="heart rate mean error"):
    return next(v for v in verdicts if v.subject == subject and v.measure == measure)


def failed(verdicts):
    return {v.subject for v in verdicts if v.outcome is Outcome.FAIL}


@pytest.mark.parametrize("seed", range(20, 26))
def test_clean_sensors_are_right(seed):
    verdicts = check(heard(seed), LIMITS())
    assert {v.outcome for v in verdicts} == {Outcome.PASS}
    assert {v.subject for v in verdicts} == {"chest/ecg", "strap/heart_rate", "strap/rr", "wrist/ppg"}
    assert all(abs(v.value) < 0.6 for v in verdicts if v.measure == "heart rate mean error")


def test_an_aroused_heart_that_quickens_within_the_run_is_followed():
    verdicts = check(heard(3, 60.0, subject=(("script", "stress"),)), LIMITS())
    assert {v.outcome for v in verdicts} == {Outcome.PASS}


def test_a_rate_that_is_a_tenth_too_high_fails_and_no_other_stream_does():
    verdicts = check(heard(7, 30.0, "strap", TENTH), LIMITS())
    assert failed(verdicts) == {"strap/heart_rate"}
    verdict = of(verdicts, "strap/heart_rate")
    assert verdict.value == pytest.approx(6.6, abs=0.6)
    assert verdict.low > 3.0
    assert "against the simulated person" in verdict.reason


def test_a_rate_that_is_one_percent_off_is_right_enough():
    assert not failed(check(heard(7, 30.0, "strap", (("fault", "bias"), ("gain", 1.01))), LIMITS()))


def test_every_number_says_its_limit_its_interval_and_how_many_independent_values_it_rests_on():
    for verdict in check(heard(20), LIMITS()):
        assert verdict.limit is not None
        assert verdict.low <= verdict.value <= verdict.high
        assert verdict.n >= 20
        assert verdict.measure == "coverage" or "design effect" in verdict.reason
        assert verdict.measure == "coverage" or "coverage" in verdict.reason


def test_a_late_sensor_is_not_wrong():
    recording = heard(20)
    stream = recording.streams["strap/heart_rate"]
    late = replace(stream, time_ns=stream.time_ns + 4_000_000_000)
    verdicts = check(replace(recording, streams={**recording.streams, stream.key: late}), LIMITS())
    assert not failed(verdicts)


@pytest.mark.parametrize("name", ["mains_hum", "emg", "motion", "flatline", "lead_off", "clipping", "hold", "dropout"])
def test_a_poor_ecg_is_no_wrong_heart_rate(name):
    assert not failed(check(heard(7, 30.0, "chest", (("fault", name),)), LIMITS()))


def test_nothing_good_is_left_of_a_lead_that_is_off_so_that_nothing_is_said():
    verdicts = check(heard(7, 30.0, "chest", OFF), LIMITS())
    verdict = of(verdicts, "chest/ecg")
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "good values cover" in verdict.reason
    assert of(verdicts, "chest/ecg", "coverage").outcome is Outcome.INCONCLUSIVE


def test_what_is_missing_fails_where_it_is_counted():
    recording = heard(7, 30.0, "chest", OFF)
    verdicts = check(recording, LIMITS(missing="counted", min_coverage_percent=90))
    assert of(verdicts, "chest/ecg", "coverage").outcome is Outcome.FAIL
    assert {v.outcome for v in check(heard(20), LIMITS(missing="counted", min_coverage_percent=70))} == {Outcome.PASS}


def test_a_sensor_that_falls_silent_is_accurate_while_it_lasts_and_fails_where_what_is_missing_counts():
    recording = heard(20)
    stream = recording.streams["strap/heart_rate"]
    kept = stream.time_ns < recording.start_ns + 14_000_000_000
    short = replace(
        stream, values=stream.values[kept], time_ns=stream.time_ns[kept], index=stream.index[kept],
        arrival_ns=stream.arrival_ns[kept], segment=stream.segment[kept],
    )  # fmt: skip
    cut = replace(recording, streams={**recording.streams, stream.key: short})
    counted = check(cut, LIMITS(missing="counted", min_coverage_percent=90))
    assert of(counted, "strap/heart_rate", "heart rate within tolerance").value == pytest.approx(
        100 * 14 / 30, abs=8
    )  # the last of them are near a hole
    assert of(counted, "strap/heart_rate", "coverage").outcome is Outcome.FAIL
    assert of(check(cut, LIMITS()), "strap/heart_rate").outcome is Outcome.PASS


def test_on_a_bench_the_best_other_stream_is_the_reference_and_is_named():
    recording = on_a_bench(heard(7, 30.0, "strap", TENTH))
    verdicts = check(recording, LIMITS())
    assert "against chest/ecg:" in of(verdicts, "strap/heart_rate").reason
    assert "against chest/ecg:" in of(verdicts, "wrist/ppg").reason
    assert "against strap/rr:" in of(verdicts, "chest/ecg").reason
    assert failed(verdicts) == {"strap/heart_rate"}


def test_an_ecg_is_not_called_wrong_by_a_heart_rate_that_is():
    recording = on_a_bench(heard(7, 30.0, "strap", TENTH), "strap/rr", "wrist/ppg")
    verdict = of(check(recording, LIMITS()), "chest/ecg")
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "less reliable" in verdict.reason


def test_a_stream_of_the_same_device_shows_their_agreement_only_and_the_reason_says_so():
    recording = on_a_bench(heard(20), "chest/ecg", "wrist/ppg")
    assert "of the same device" in of(check(recording, LIMITS()), "strap/heart_rate").reason


def test_a_named_reference_is_right_and_is_not_judged():
    verdicts = check(heard(20), LIMITS(reference="strap.rr"))
    assert "strap/rr" not in {v.subject for v in verdicts}
    assert all("strap/rr" in v.reason for v in verdicts)
    assert {v.outcome for v in verdicts} == {Outcome.PASS}


def test_without_any_reference_nothing_is_green_and_the_reason_says_what_to_add():
    recording = on_a_bench(heard(20), "chest/ecg", "strap/rr", "wrist/ppg")
    verdict = of(check(recording, LIMITS()), "strap/heart_rate")
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "reference: role.stream" in verdict.reason


@pytest.mark.parametrize(("named", "words"), [("strap.ecg", "no such stream"), ("chest.accel", "of kind acceleration")])
def test_a_reference_that_cannot_be_one_makes_the_rig_invalid(named, words):
    (verdict,) = check(heard(20), LIMITS(reference=named))
    assert verdict.outcome is Outcome.INVALID
    assert words in verdict.reason


def test_a_rig_without_a_heart_has_nothing_to_judge():
    recording = heard(20)
    streams = {key: s for key, s in recording.streams.items() if s.spec.kind == "acceleration"}
    (verdict,) = check(replace(recording, streams=streams), LIMITS())
    assert verdict.outcome is Outcome.NOT_RUN


def test_a_guarded_rule_wants_more_than_half_a_minute_to_prove_a_share():
    verdicts = check(heard(20), LIMITS(rule="guarded"))
    assert of(verdicts, "strap/heart_rate").outcome is Outcome.PASS
    assert of(verdicts, "strap/heart_rate", "heart rate within tolerance").outcome is Outcome.INCONCLUSIVE


def test_a_played_recording_is_not_compared_with_the_simulated_heart():
    recording = heard(20)
    entry = recording.rig.sensors["chest"]
    played = replace(entry, simulate={**entry.simulate, "signals": {"ecg": {"signal": "recording", "file": "x.edf"}}})
    rig = replace(recording.rig, sensors={**recording.rig.sensors, "chest": played})
    verdict = of(check(replace(recording, rig=rig), LIMITS()), "chest/ecg")
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "not the simulated person's" in verdict.reason


@pytest.mark.parametrize("given", [
    {"rule": "lenient"}, {"missing": "ignored"}, {"reference": "strap"}, {"reference": 3}, {"max_lag_s": 99},
    {"min_coverage_percent": 101}, {"max_bias_bpm": 0}, {"min_within_percent": 0}, {"window_s": 1}, {"min_seconds": 1},
])  # fmt: skip
def test_limits_that_cannot_be_are_refused_by_name(given):
    with pytest.raises(ValueError, match="hr_accuracy"):
        make_limits(load_check("hr_accuracy"), given)


def test_what_is_kept_of_a_recording_goes_with_it():
    import gc
    import weakref

    recording = replace(heard(20))
    check(recording, LIMITS())
    kept = weakref.ref(material_of(recording))
    del recording
    gc.collect()
    assert kept() is None


def test_the_same_run_gives_the_same_verdicts():
    once, again = (check(replace(heard(20)), LIMITS()) for _ in range(2))
    assert once == again
    assert np.isfinite([v.value for v in once]).all()
