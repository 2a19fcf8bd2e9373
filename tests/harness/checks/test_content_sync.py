"""Content against content: silent on clean rigs and bad signals, loud and right about who lags."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from harness.bench import Mode, stream_specs
from harness.checks.content_sync import LIMITS, check
from harness.checks.registry import check_names, load_check
from harness.recording_files import load_recording
from harness.rig_file import parse_rig, read_rig
from harness.run import run_rig
from harness.stage import ModelStage
from harness.verdict import Outcome, exit_code

ROOT = Path(__file__).parents[3]
RIG = """
schema: 1
name: hearts
simulate: true
duration_s: 30
seed: 7
subject: {heart_rate_bpm: 66}
sensors:
  chest:
    sensor: openbci-cyton
    floor_ms: 2.9
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
        - {name: skin, stream: temperature, kind: temperature, unit: degC, rate_hz: 4, lsb: 0.01, low: 0, high: 60}
    simulate: {clock: {ppm: -20}}
limits: {content_sync: {}}
"""
BELTS = """
schema: 1
name: belts
simulate: true
seed: 3
sensors:
  thorax: &belt
    sensor: text-lines
    settings:
      time_column: t_ms
      time_unit: ms
      columns:
        - {name: belt, stream: respiration, kind: respiration, unit: a.u., rate_hz: 25, lsb: 0.001, low: -8, high: 8}
  belly: *belt
limits: {content_sync: {}}
""".replace("&belt\n", "\n")
BELTS = BELTS.replace(
    "  belly: *belt\n", BELTS[BELTS.index("  thorax:") : BELTS.index("  belly:")].replace("thorax", "belly")
)
HEARTS = parse_rig(RIG)


def damaged(rig, role, *faults):
    entry = rig.sensors[role]
    changed = replace(entry, simulate={**entry.simulate, "faults": list(faults)})
    return replace(rig, sensors={**rig.sensors, role: changed})


@cache
def prepared():
    """One model for all runs of these roles: nothing here is about models."""
    stage = ModelStage(HEARTS.model)
    stage.prepare(stream_specs(HEARTS))
    return stage


def recorded(rig):
    model = prepared() if set(rig.sensors) == set(HEARTS.sensors) else None
    return run_rig(replace(rig, limits={}), Mode.VIRTUAL, prepared=model).recording


def on_a_bench(recording):
    """The same, but of what is known of a simulation nothing may be used."""
    return replace(recording, meta={**recording.meta, "mode": "bench"})


def lags(verdicts):
    return {v.subject: v for v in verdicts if v.measure == "content lag"}


def failing(verdicts):
    return [v for v in verdicts if v.outcome is Outcome.FAIL]


@pytest.fixture(scope="module")
def clean():
    return recorded(HEARTS)


@pytest.fixture(scope="module")
def lagging():
    return {role: recorded(damaged(HEARTS, role, {"fault": "lag", "ms": 250})) for role in ("chest", "wrist")}


@pytest.mark.parametrize("seed", range(20))
def test_a_clean_rig_is_green(seed):
    verdicts = check(recorded(replace(HEARTS, seed=seed)), LIMITS())
    assert {v.outcome for v in verdicts} == {Outcome.PASS}, [v for v in verdicts if v.outcome is not Outcome.PASS]
    assert set(lags(verdicts)) >= {
        "chest/ecg", "wrist/ppg", "strap/rr", "chest/ecg~wrist/ppg", "chest/ecg~strap/rr", "strap/rr~wrist/ppg",
    }  # fmt: skip


def test_what_cannot_tell_is_named_and_not_passed(clean):
    verdicts = check(clean, LIMITS())
    assert not any("temperature" in v.subject or "heart_rate" in v.subject for v in verdicts)
    assert "wrist/temperature" in verdicts[-1].reason
    assert "strap/heart_rate" in verdicts[-1].reason


def test_a_stream_is_as_late_as_its_line_takes(clean):
    """33 bytes at 115200 baud are 2.9 ms, which the rig declares as the chest's floor."""
    chest = lags(check(clean, LIMITS()))["chest/ecg"]
    assert chest.value == pytest.approx(0, abs=0.3)
    assert chest.high - chest.low < 1


@pytest.mark.parametrize("role", ["chest", "wrist"])
def test_a_lag_behind_good_stamps_fails_and_names_the_sensor(lagging, role):
    other = {"chest": "wrist", "wrist": "chest"}[role]
    verdicts = check(lagging[role], LIMITS())
    found = failing(verdicts)
    assert {v.subject for v in found} >= {f"{role}/{'ecg' if role == 'chest' else 'ppg'}", "chest/ecg~wrist/ppg"}
    assert all(role in v.subject and f"{role} is at fault" in v.reason for v in found)
    assert all(v.outcome is Outcome.PASS for v in verdicts if role not in v.subject)
    truth = next(v for v in found if "~" not in v.subject)
    assert truth.value == pytest.approx(250, abs=3)
    assert lags(verdicts)[f"{other}/{'ppg' if other == 'wrist' else 'ecg'}"].outcome is Outcome.PASS


def test_only_the_content_tells_of_a_lag():
    limits = {"sync": {}, "rate": {}, "delivery": {}, "quality": {}, "latency": {}, "content_sync": {}}
    rig = replace(damaged(HEARTS, "wrist", {"fault": "lag"}), limits=limits)
    assert {v.check for v in failing(run_rig(rig, Mode.VIRTUAL).verdicts)} == {"content_sync"}


@pytest.mark.parametrize(("ms", "outcome"), [(10, Outcome.PASS), (40, Outcome.FAIL)])
def test_the_limit_lies_between_small_and_large_lags(ms, outcome):
    verdicts = check(recorded(damaged(HEARTS, "wrist", {"fault": "lag", "ms": ms})), LIMITS())
    assert lags(verdicts)["wrist/ppg"].outcome is outcome
    assert lags(verdicts)["wrist/ppg"].value == pytest.approx(ms + 1.6, abs=1)  # a line of text takes 1.6 ms


def test_bad_signal_is_no_lag():
    verdicts = check(recorded(damaged(HEARTS, "wrist", {"fault": "motion"})), LIMITS())
    assert not failing(verdicts)
    (unsure,) = [v for v in verdicts if v.outcome is not Outcome.PASS]
    assert (unsure.subject, unsure.outcome) == ("wrist/ppg", Outcome.INCONCLUSIVE)
    assert "low quality" in unsure.reason


def test_bad_stretches_are_left_out_and_said_so():
    rig = damaged(HEARTS, "wrist", {"fault": "motion", "stop_s": 10})
    verdicts = check(recorded(rig), LIMITS())
    assert {v.outcome for v in verdicts} == {Outcome.PASS}
    assert "left out for low quality" in lags(verdicts)["wrist/ppg"].reason


def test_a_bench_knows_the_pulse_to_50_ms_only(clean):
    verdicts = lags(check(on_a_bench(clean), LIMITS(max_offset_ms=150)))
    assert set(verdicts) == {"chest/ecg~wrist/ppg", "chest/ecg~strap/rr", "strap/rr~wrist/ppg"}
    pulse = verdicts["chest/ecg~wrist/ppg"]
    assert pulse.high - pulse.low > 100
    assert "310 +-50 ms are usual" in pulse.reason
    assert pulse.value == pytest.approx(245 + 127.5 - 310, abs=8)
    assert pulse.outcome is Outcome.PASS


def test_on_a_bench_two_sensors_cannot_tell_which_of_them_lags(lagging):
    (found,) = failing(check(on_a_bench(lagging["wrist"]), LIMITS()))
    assert found.subject == "chest/ecg~wrist/ppg"
    assert "chest or wrist is at fault" in found.reason


def test_on_a_bench_the_sensor_that_disagrees_with_all_others_is_named():
    wrist = HEARTS.sensors["wrist"]
    roles = {
        "chest": HEARTS.sensors["chest"],
        "left": replace(wrist, role="left"),
        "right": replace(wrist, role="right"),
    }
    recording = recorded(damaged(replace(HEARTS, sensors=roles), "right", {"fault": "lag", "ms": 400}))
    found = failing(check(on_a_bench(recording), LIMITS(max_offset_ms=150)))
    assert {v.subject for v in found} == {"chest/ecg~right/ppg", "left/ppg~right/ppg"}
    assert all("right is at fault, as all its 2 pairs show" in v.reason for v in found)


def test_drift_of_the_content_is_judged_where_it_shows(clean):
    stream = clean.streams["wrist/ppg"]
    middle = (clean.start_ns + clean.stop_ns) // 2
    drifting = replace(stream, time_ns=stream.time_ns + ((stream.time_ns - middle) * 800e-6).astype(np.int64))
    verdicts = check(replace(clean, streams={**clean.streams, "wrist/ppg": drifting}), LIMITS())
    (found,) = failing(verdicts)
    assert (found.subject, found.measure) == ("wrist/ppg", "content drift")
    assert found.value == pytest.approx(800, abs=40)
    assert "wrist is at fault" in found.reason


def test_an_even_heart_is_inconclusive_and_not_guessed():
    still = {"hrv_breath_percent": 0.0, "hrv_mayer_percent": 0.0, "hrv_slow_percent": 0.0}
    recording = recorded(replace(HEARTS, subject=still))
    found = lags(check(on_a_bench(recording), LIMITS()))["chest/ecg~wrist/ppg"]
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "whole beats" in found.reason


def test_too_short_a_run_is_inconclusive():
    verdicts = check(recorded(replace(HEARTS, duration_s=8.0)), LIMITS())
    assert {v.outcome for v in verdicts} == {Outcome.INCONCLUSIVE}
    assert all("10 s are needed" in v.reason for v in verdicts)


def test_a_long_run_is_followed_window_by_window():
    verdicts = check(recorded(replace(HEARTS, duration_s=150.0)), LIMITS())
    assert {v.outcome for v in verdicts} == {Outcome.PASS}
    drift = next(v for v in verdicts if (v.subject, v.measure) == ("wrist/ppg", "content drift"))
    assert drift.high - drift.low < 40


def test_two_belts_are_compared_by_breaths():
    rig = parse_rig(BELTS)
    assert {v.outcome for v in check(recorded(rig), LIMITS())} == {Outcome.PASS}
    verdicts = check(on_a_bench(recorded(damaged(rig, "belly", {"fault": "lag", "ms": 400}))), LIMITS())
    (found,) = failing(verdicts)
    assert found.subject == "thorax/respiration~belly/respiration"
    assert found.value == pytest.approx(400, abs=15)


def test_a_rig_with_nothing_in_common_is_not_green(a_recording, a_stream):
    alone = [a_stream(), a_stream("hand", "eda", 8.0, kind="eda")]
    (verdict,) = check(a_recording(alone), LIMITS())
    assert verdict.outcome is Outcome.NOT_RUN
    assert exit_code([verdict]) == 5


def test_a_stream_that_delivered_nothing_is_not_green(clean):
    stream = clean.streams["wrist/ppg"]
    empty = replace(
        stream, values=stream.values[:0], index=stream.index[:0], segment=stream.segment[:0],
        arrival_ns=stream.arrival_ns[:0], time_ns=stream.time_ns[:0], device_ns=stream.device_ns[:0],
    )  # fmt: skip
    verdicts = check(replace(clean, streams={**clean.streams, "wrist/ppg": empty}), LIMITS())
    assert lags(verdicts)["wrist/ppg"].outcome is Outcome.INCONCLUSIVE


def test_a_recording_read_from_disk_is_judged_the_same(tmp_path):
    result = run_rig(HEARTS, Mode.VIRTUAL, tmp_path)
    again = check(load_recording(tmp_path), LIMITS())
    assert [(v.subject, v.outcome, v.reason) for v in again] == [
        (v.subject, v.outcome, v.reason) for v in check(result.recording, LIMITS())
    ]


@pytest.mark.parametrize("wrong", [{"max_offset_ms": 0.0}, {"max_drift_ppm": -1.0}, {"min_seconds": 2.0}])
def test_limits_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="content_sync: expected"):
        LIMITS(**wrong)


def test_the_check_is_found_by_its_name_with_underscores():
    assert "content_sync" in check_names()
    assert not any("-" in name for name in check_names())
    assert load_check("content_sync").NAME == load_check("content-sync").NAME == "content_sync"


EDA = RIG.replace(
    "        - {name: skin,",
    "        - {name: eda, stream: eda, kind: eda, unit: uS, rate_hz: 8, lsb: 0.001, low: 0, high: 100}\n"
    "        - {name: skin,",
)


@pytest.mark.parametrize("seed", [0, 3, 7])
@pytest.mark.parametrize("subject", [{"script": "calm"}, {"heart_rate_bpm": 60}], ids=["calm", "60"])
def test_a_heart_in_step_with_the_straps_reports_is_no_late_strap(seed, subject):
    verdicts = check(recorded(replace(HEARTS, seed=seed, subject=subject)), LIMITS())
    assert not failing(verdicts)
    unsure = [v for v in verdicts if v.outcome is Outcome.INCONCLUSIVE]
    assert all("strap/rr" in v.subject and "in step with the reports" in v.reason for v in unsure)


@pytest.mark.parametrize("seed", [2, 4, 33])
def test_intervals_that_were_cut_on_their_way_are_refused(seed):
    rig = replace(damaged(HEARTS, "strap", {"fault": "truncate", "probability_percent": 50}), seed=seed)
    verdicts = check(recorded(rig), LIMITS())
    assert not failing(verdicts)
    assert lags(verdicts)["strap/rr~wrist/ppg"].outcome is Outcome.INCONCLUSIVE


def test_nothing_fails_by_what_is_left_of_a_poor_signal():
    """Sixty per cent of the pulses lie in movement; the others are late by 300 ms, or look it."""
    demo = replace(read_rig(ROOT / "rigs" / "demo.rig.yaml"), seed=59)
    motion = {"fault": "motion", "stream": "ppg", "stop_s": 18}
    verdicts = check(recorded(damaged(demo, "wrist", motion, {"fault": "lag", "stream": "ppg", "ms": 300})), LIMITS())
    assert not failing(verdicts)
    pair = lags(verdicts)["chest/ecg~wrist/ppg"]
    assert pair.outcome is Outcome.INCONCLUSIVE
    left_out = int(pair.reason.split(" % left out for low quality")[0].split(" ")[-1])
    assert 50 < left_out <= 70
    assert "nothing fails by it" in pair.reason


@pytest.mark.parametrize("seed", [10, 23, 45])
def test_nothing_fails_by_a_signal_that_is_low_but_for_a_window_here_and_there(seed):
    """Spikes are rises too, and where they meet pulses the steepest rise of the average may be theirs."""
    spikes = {"fault": "spikes", "stream": "ppg", "level": 1.0}
    verdicts = check(recorded(damaged(replace(HEARTS, seed=seed), "wrist", spikes)), LIMITS())
    assert not failing(verdicts)
    assert "nothing fails by it" in lags(verdicts)["chest/ecg~wrist/ppg"].reason


@pytest.mark.parametrize("level", [None, 0.02, 0.0375])
def test_a_skin_that_hardly_moves_is_named_and_not_judged(level):
    motion = {"fault": "motion", "stream": "eda"} | ({} if level is None else {"level": level})
    rig = damaged(replace(parse_rig(EDA), seed=1), "wrist", *([] if level is None else [motion]))
    verdicts = check(recorded(rig), LIMITS())
    assert {v.outcome for v in verdicts} == {Outcome.PASS}
    assert any(v.subject == "wrist/eda" for v in verdicts) or "wrist/eda" in verdicts[-1].reason


@pytest.mark.parametrize("seed", [1, 2])
def test_a_small_step_of_the_clock_is_no_drift(seed):
    rig = replace(damaged(HEARTS, "wrist", {"fault": "clock_step", "seconds": 0.025}), seed=seed)
    verdicts = check(recorded(rig), LIMITS())
    assert not [v for v in failing(verdicts) if v.measure == "content drift"]


@pytest.mark.parametrize("role", ["chest", "wrist"])
@pytest.mark.parametrize(("ms", "start_s"), [(250, 10), (250, 12.5), (60, 10), (1000, 15)])
def test_a_lag_in_a_part_of_the_run_is_not_passed(role, ms, start_s):
    lag = {"fault": "lag", "ms": ms, "start_s": start_s, "stop_s": start_s + 10}
    verdicts = lags(check(recorded(damaged(HEARTS, role, lag)), LIMITS()))
    own = verdicts[f"{role}/{'ecg' if role == 'chest' else 'ppg'}"]
    assert own.outcome is not Outcome.PASS
    assert any(word in own.reason for word in ("from ", "ambiguous", "straddles"))
    if ms >= 250:
        assert verdicts["chest/ecg~wrist/ppg"].outcome is not Outcome.PASS


def test_the_part_that_lags_is_named_with_its_seconds():
    rig = damaged(HEARTS, "chest", {"fault": "lag", "start_s": 10, "stop_s": 20})
    chest = lags(check(recorded(rig), LIMITS()))["chest/ecg"]
    assert chest.outcome is Outcome.FAIL
    assert "from 10 s to 20 s it is 250 ms late" in chest.reason


def test_a_run_of_nothing_but_what_stands_still_is_not_green():
    rig = parse_rig(BELTS)
    still = replace(rig.sensors["thorax"], settings={
        **rig.sensors["thorax"].settings,
        "columns": [{"name": "skin", "stream": "temperature", "kind": "temperature", "unit": "degC", "rate_hz": 4,
                     "lsb": 0.01, "low": 0, "high": 60}],
    })  # fmt: skip
    (verdict,) = check(recorded(replace(rig, sensors={"thorax": still})), LIMITS())
    assert verdict.outcome is Outcome.NOT_RUN
    assert "thorax/temperature" in verdict.reason
