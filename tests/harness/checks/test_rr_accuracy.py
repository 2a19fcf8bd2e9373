"""Beat-to-beat intervals: silent on clean sensors and on what links do to stamps, loud on intervals that are wrong."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from harness.bench import Mode, stream_specs
from harness.checks.registry import load_check, make_limits
from harness.checks.rr_accuracy import LIMITS, check
from harness.rig_file import parse_rig
from harness.run import run_rig
from harness.stage import ModelStage
from harness.verdict import Outcome

RIG = parse_rig("""
schema: 1
name: intervals
simulate: true
duration_s: 40
seed: 7
sensors:
  chest:
    sensor: openbci-cyton
    settings: {streams: {ecg: [1]}}
    simulate: {clock: {ppm: 12}}
  strap: {sensor: heart-rate}
  finger: {sensor: nonin, settings: {format: DF2}}
limits: {rr_accuracy: {}}
""")
BIAS, AGREEMENT, WITHIN = "RR bias", "RR limits of agreement", "RR within tolerance"


@cache
def interval_model():
    stage = ModelStage(RIG.model)
    stage.prepare(stream_specs(RIG))
    return stage


@cache
def beaten(seed=7, role="", fault=()):
    rig = replace(RIG, seed=seed)
    if role:
        entry = rig.sensors[role]
        damaged = replace(entry, simulate={**entry.simulate, "faults": [dict(fault)]})
        rig = replace(rig, sensors={**rig.sensors, role: damaged})
    return run_rig(rig, Mode.VIRTUAL, prepared=interval_model()).recording


def changed(recording, key, change):
    """The same run with other intervals: ``change(values (n,)) -> kept values and their places``."""
    stream = recording.streams[key]
    values, kept = change(stream.values[:, 0])
    made = replace(
        stream, values=values[:, None], time_ns=stream.time_ns[kept], index=stream.index[kept],
        arrival_ns=stream.arrival_ns[kept], segment=stream.segment[kept],
    )  # fmt: skip
    return replace(recording, streams={**recording.streams, key: made})


def of(verdicts, subject, measure):
    return next(v for v in verdicts if (v.subject, v.measure) == (subject, measure))


def failed(verdicts):
    return {(v.subject, v.measure) for v in verdicts if v.outcome is Outcome.FAIL}


@pytest.mark.parametrize("seed", range(30, 35))
def test_clean_intervals_are_right(seed):
    verdicts = check(beaten(seed), LIMITS())
    assert {v.outcome for v in verdicts} == {Outcome.PASS}
    assert {v.subject for v in verdicts} == {"chest/ecg", "strap/rr", "finger/ppg"}


def test_a_strap_is_as_exact_as_a_1024th_of_a_second():
    spread = of(check(beaten(30), LIMITS()), "strap/rr", AGREEMENT).value
    assert spread == pytest.approx(1.96 * (1000 / 1024) / np.sqrt(12), abs=0.25)


def test_intervals_that_are_20_ms_too_long_fail_and_no_other_stream_does():
    fault = (("fault", "bias"), ("stream", "rr"), ("gain", 1.0), ("offset", 20.0))
    verdicts = check(beaten(7, "strap", fault), LIMITS())
    assert {subject for subject, _ in failed(verdicts)} == {"strap/rr"}
    assert of(verdicts, "strap/rr", BIAS).value == pytest.approx(20.0, abs=2.0)
    assert of(verdicts, "strap/rr", BIAS).outcome is Outcome.FAIL


@pytest.mark.parametrize("offset_ms", [-3.0, 2.0, 5.0])
def test_a_few_milliseconds_of_bias_are_seen(offset_ms):
    fault = (("fault", "bias"), ("stream", "rr"), ("gain", 1.0), ("offset", offset_ms))
    verdicts = check(beaten(7, "strap", fault), LIMITS())
    assert ("strap/rr", BIAS) in failed(verdicts)
    assert of(verdicts, "strap/rr", BIAS).value == pytest.approx(offset_ms, abs=0.5)


@pytest.mark.parametrize("seed", [3, 5, 11, 35])
def test_a_delay_that_grows_moves_stamps_and_no_interval(seed):
    """By 20 ms a second: each interval looks 2 % longer, and its neighbour's beat looks nearer than its own."""
    fault = (("fault", "delay"), ("growth_ms_per_s", 20.0))
    verdicts = check(beaten(seed, "chest", fault), LIMITS())
    assert failed(verdicts) == set()
    assert of(verdicts, "chest/ecg", AGREEMENT).value == pytest.approx(0.0, abs=1.0)


@pytest.mark.parametrize("at_s", [23.34, 23.36])
def test_a_counter_that_starts_anew_near_its_turn_makes_no_interval_longer(at_s):
    """It looks as if 9 or 4 frames of 4 ms were lost, of which the stamps know nothing."""
    verdicts = check(beaten(5, "chest", (("fault", "counter_reset"), ("at_s", at_s))), LIMITS())
    assert failed(verdicts) == set()
    assert of(verdicts, "chest/ecg", AGREEMENT).value < 1.0


def test_intervals_across_a_real_loss_of_some_frames_count():
    fault = (("fault", "dropout"), ("mean_lost_percent", 1.0), ("mean_burst_frames", 4))
    verdicts = check(beaten(5, "chest", fault), LIMITS())
    clean = of(check(beaten(5), LIMITS()), "chest/ecg", BIAS).n
    assert failed(verdicts) == set()
    assert of(verdicts, "chest/ecg", BIAS).n > 0.6 * clean


def test_scatter_without_bias_shows_in_the_limits_of_agreement():
    noise = np.random.default_rng(1).normal(0, 8, 500)
    recording = changed(beaten(7), "strap/rr", lambda rr: (rr + noise[: len(rr)], np.arange(len(rr))))
    verdicts = check(recording, LIMITS())
    assert ("strap/rr", AGREEMENT) in failed(verdicts)
    assert of(verdicts, "strap/rr", AGREEMENT).value == pytest.approx(1.96 * 8, rel=0.35)


def test_beats_that_a_strap_joins_count_against_the_share_within_tolerance():
    def joined(rr):
        kept = np.array([k for k in range(len(rr)) if k % 6 != 4])
        return np.array([rr[k] + (rr[k - 1] if k % 6 == 5 else 0.0) for k in kept]), kept

    verdicts = check(changed(beaten(7), "strap/rr", joined), LIMITS())
    assert failed(verdicts) == {("strap/rr", WITHIN)}
    assert "beats missed" in of(verdicts, "strap/rr", WITHIN).reason
    assert abs(of(verdicts, "strap/rr", BIAS).value) < 1.0


def test_a_strap_that_splits_intervals_counts_extra_beats():
    def split(rr):
        pieces, places = [], []
        for k, value in enumerate(rr):
            parts = [0.45 * value, 0.55 * value] if k % 6 == 5 else [value]
            pieces += parts
            places += [k] * len(parts)
        return np.array(pieces), np.array(places)

    verdict = of(check(changed(beaten(7), "strap/rr", split), LIMITS()), "strap/rr", WITHIN)
    assert verdict.outcome is not Outcome.PASS  # so odd a sequence is of low quality too
    assert "extra" in verdict.reason


@pytest.mark.parametrize(("role", "fault"), [
    ("chest", (("fault", "dropout"), ("mean_lost_percent", 10))), ("strap", (("fault", "dropout"),)),
    ("chest", (("fault", "jitter"), ("mean_ms", 80))), ("chest", (("fault", "delay"), ("growth_ms_per_s", 20))),
    ("chest", (("fault", "clock_drift"), ("ppm", 2000))), ("finger", (("fault", "stall"),)),
    ("finger", (("fault", "low_perfusion"), ("perfusion_percent", 0.1))), ("finger", (("fault", "motion"),)),
    ("chest", (("fault", "baseline_wander"),)), ("chest", (("fault", "electrode_pop"),)),
    ("chest", (("fault", "quantisation"),)), ("chest", (("fault", "emg"),)),
    ("chest", (("fault", "hold"), ("fraction", 0.02))), ("chest", (("fault", "hold"), ("fraction", 0.1))),
    ("finger", (("fault", "hold"), ("fraction", 0.05))), ("strap", (("fault", "dropout"), ("mean_lost_percent", 80))),
])  # fmt: skip
def test_a_bad_link_a_bad_clock_or_a_poor_signal_is_no_wrong_interval(role, fault):
    assert not failed(check(beaten(7, role, fault), LIMITS()))


def test_a_sampled_wave_may_be_as_far_off_as_its_samples():
    assert of(check(beaten(30), LIMITS()), "chest/ecg", AGREEMENT).limit == pytest.approx(
        np.hypot(5.0, 1.96 * 1000 / (250 * np.sqrt(6))), abs=0.02
    )


def test_a_strap_as_reference_judges_the_ecg_and_the_pulse():
    verdicts = check(beaten(30), LIMITS(reference="strap.rr"))
    assert {v.subject for v in verdicts} == {"chest/ecg", "finger/ppg"}
    assert {v.outcome for v in verdicts} == {Outcome.PASS}


def test_on_a_bench_a_strap_is_judged_by_the_ecg():
    recording = beaten(7, "strap", (("fault", "bias"), ("stream", "rr"), ("gain", 1.0), ("offset", 20.0)))
    verdicts = check(replace(recording, meta={"mode": "bench"}), LIMITS())
    assert "against chest/ecg:" in of(verdicts, "strap/rr", BIAS).reason
    assert ("strap/rr", BIAS) in failed(verdicts)
    assert not any(subject == "chest/ecg" for subject, _ in failed(verdicts))


def test_a_single_stream_of_beats_proves_nothing():
    recording = replace(beaten(30), meta={"mode": "bench"})
    alone = replace(recording, streams={"strap/rr": recording.streams["strap/rr"]})
    verdict = of(check(alone, LIMITS()), "strap/rr", BIAS)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "reference: role.stream" in verdict.reason


def test_intervals_of_another_heart_fail():
    other = beaten(31).streams["strap/rr"]
    shift = beaten(7).start_ns - beaten(31).start_ns
    moved = replace(other, time_ns=other.time_ns + shift)
    recording = beaten(7)
    verdicts = check(replace(recording, streams={**recording.streams, "strap/rr": moved}), LIMITS())
    assert ("strap/rr", WITHIN) in failed(verdicts)


def test_intervals_that_did_not_come_count_if_they_are_to():
    fault = (("fault", "dropout"), ("mean_lost_percent", 60))
    counted = check(beaten(7, "strap", fault), LIMITS(missing="counted"))
    left_out = check(beaten(7, "strap", fault), LIMITS())
    assert of(counted, "strap/rr", WITHIN).value < 70
    assert ("strap/rr", WITHIN) in failed(counted)
    assert not failed(left_out)


@pytest.mark.parametrize("given", [{"max_bias_ms": 0}, {"tolerance_ms": -1}, {"min_within_percent": 101}, {"rule": ""}])
def test_limits_that_cannot_be_are_refused_by_name(given):
    with pytest.raises(ValueError, match="rr_accuracy"):
        make_limits(load_check("rr_accuracy"), given)


@pytest.mark.parametrize("seed", range(8))
def test_nothing_fails_by_the_few_reports_that_are_left_of_a_straps(seed):
    """Which beat an interval ends at is found from its neighbours, and most of them are gone."""
    lost = (("fault", "dropout"), ("mean_lost_percent", 80))
    assert not failed(check(beaten(seed, "strap", lost), LIMITS()))
