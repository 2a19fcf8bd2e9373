"""What a scorecard damages, whom a verdict blames, and when a failure is explained by the damage."""

from dataclasses import replace
from pathlib import Path

import pytest

from drivers.errors import SettingError
from harness.rig_file import read_rig
from harness.scorecard.physical import untrue
from harness.scorecard.score import Measured
from harness.scorecard.targets import Target, clean, damage, damaged, targets_of
from harness.scorecard.trial import Finding, blamed, is_right
from harness.verdict import Outcome, Verdict
from simulators.faults.registry import fault_names, make_fault

RIGS = Path(__file__).parents[3] / "rigs"
DEMO = read_rig(RIGS / "demo.rig.yaml")
ROLES = tuple(DEMO.sensors)


def test_every_fault_of_the_catalogue_is_tried_on_the_demo_rig():
    targets = targets_of(DEMO)
    assert {target.fault for target in targets} == set(fault_names())
    assert len(set(targets)) == len(targets)


def test_a_sample_fault_is_tried_on_each_stream_that_it_can_damage_and_on_nothing_else():
    places = {target.place for target in targets_of(DEMO, faults=["motion"])}
    assert places == {"chest/ecg", "wrist/ppg", "wrist/eda"}


def test_what_a_radio_repairs_is_not_done_to_a_strap():
    assert {t.role for t in targets_of(DEMO, faults=["reorder", "bit_flip"])} == {"chest", "wrist", "mood"}
    assert {t.role for t in targets_of(DEMO, faults=["clock_step"])} == {"wrist", "mood"}  # only they send their time


def test_levels_can_be_all_the_ends_or_the_default():
    every, ends, default = (targets_of(DEMO, ["jitter"], ["chest"], levels)[0] for levels in ("all", "ends", "default"))
    assert len(every.levels) > 2
    assert ends.levels == (every.levels[0], every.levels[-1])
    assert (default.key, len(default.levels)) == ("", 1)
    assert damage(default, 0, 1, 30.0) == {"fault": "jitter"}


@pytest.mark.parametrize(("faults", "roles"), [(["jiter"], []), ([], ["breast"])])
def test_an_unknown_fault_or_role_is_named(faults, roles):
    with pytest.raises(SettingError, match=r"jiter|breast"):
        targets_of(DEMO, faults, roles)


def test_every_damage_can_be_made_and_happens_within_the_run():
    for target in targets_of(DEMO):
        for level in range(len(target.levels)):
            given = damage(target, level, 3, 30.0)
            assert getattr(make_fault(given), target.key) == target.levels[level]
            assert 0 <= given.get("at_s", 0.0) < 30
            assert 0 <= given.get("start_s", 0.0) < 30


@pytest.mark.parametrize(("fault", "key"), [("unplug", "at_s"), ("clock_step", "at_s"), ("counter_reset", "start_s")])
def test_a_moment_is_drawn_anew_for_every_seed_and_stays_for_one(fault, key):
    target = targets_of(DEMO, [fault], ["mood"])[0]
    moments = [damage(target, 1, seed, 30.0)[key] for seed in range(40)]
    assert len(set(moments)) == 40
    assert moments == [damage(target, 1, seed, 30.0)[key] for seed in range(40)]
    if key == "at_s":
        assert 10 <= min(moments) < 12
        assert 18 < max(moments) <= 20


def test_faults_of_the_rig_file_are_left_out_and_one_is_put_in():
    rig = clean(read_rig(RIGS / "demo-faults.rig.yaml"))
    assert not any(entry.simulate.get("faults") for entry in rig.sensors.values())
    broken = damaged(rig, "wrist", {"fault": "stall"}, 9)
    assert broken.seed == 9
    assert broken.sensors["wrist"].simulate["faults"] == [{"fault": "stall"}]
    assert broken.sensors["wrist"].simulate["clock"]["ppm"] == -20
    assert {role: entry for role, entry in broken.sensors.items() if role != "wrist"} == {
        role: entry for role, entry in rig.sensors.items() if role != "wrist"
    }


@pytest.mark.parametrize(
    ("subject", "reason", "expected"),
    [
        ("chest", "34 malformed", {"chest"}),
        ("chest/ecg", "", {"chest"}),
        ("chest/ecg~wrist/ppg", "far apart", {"chest", "wrist"}),
        ("chest/ecg~wrist/ppg", "far apart; the stamps of wrist are at fault", {"wrist"}),
        ("chest/ecg~wrist/ppg", "far apart; either chest or wrist is at fault", {"chest", "wrist"}),
        ("rig", "the samples of wrist/ppg were late for 20 windows", {"wrist"}),
        ("rig", "the host is at fault: chest and mood agree", set()),
        ("rig", "most of the time went into 'model'", set()),
    ],
)
def test_a_verdict_blames_whom_its_reason_or_its_subject_names(subject, reason, expected):
    assert blamed(Verdict("sync", subject, Outcome.FAIL, reason), ROLES) == expected


PPG = Target("motion", "wrist", "ppg")
STALL = Target("stall", "chest")


@pytest.mark.parametrize(
    ("target", "check", "subject", "right"),
    [
        (PPG, "quality", "wrist/ppg", True),
        (PPG, "quality", "wrist/eda", False),
        (PPG, "quality", "chest/ecg", False),
        (PPG, "delivery", "wrist/ppg", False),
        (PPG, "quality", "chest/ecg~wrist/ppg", True),
        (STALL, "latency", "chest/ecg", True),
        (STALL, "latency", "wrist/ppg", False),
        (STALL, "delivery", "chest", False),
    ],
)
def test_a_failure_is_right_if_the_fault_may_change_the_check_and_the_damaged_place_is_named(
    target, check, subject, right
):
    roles = blamed(Verdict(check, subject, Outcome.FAIL, ""), ROLES)
    assert is_right(Finding(check, "", subject, Outcome.FAIL, roles, ""), target) is right


def test_a_size_within_its_limit_cannot_be_called_beyond_it():
    drift, wander = Measured("sync", "clock drift"), Measured("rate", "rate")
    target = Target("clock_drift", "wrist", key="ppm", levels=(10.0, 119.0, 121.0, 20000.0))  # its own crystal: -20
    assert [untrue(DEMO, target, level) for level in range(4)] == [{drift, wander}, {drift, wander}, {wander}, set()]
    strict = replace(DEMO, limits={"sync": {"max_drift_ppm": 20}})
    assert [untrue(strict, target, level) for level in range(4)] == [{drift}, set(), set(), set()]
