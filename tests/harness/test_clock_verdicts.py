"""The demo rig in virtual time: age, sync and rate are silent on clean data and name what was broken."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.bench import Mode
from harness.rig_file import read_rig
from harness.run import run_rig
from harness.verdict import Outcome

CHECKS = {"age": {}, "sync": {}, "rate": {}}
SHIPPED = read_rig(Path(__file__).parents[2] / "rigs" / "demo.rig.yaml")
DEMO = replace(SHIPPED, path="", text="", limits=CHECKS, window=replace(SHIPPED.window, hop_ms=5000.0))


def bad_of(seed, role="", fault=None, **changes):
    """Verdicts that are not PASS, of the rig with one fault."""
    rig = replace(DEMO, seed=seed, **changes)
    if fault:
        entry = rig.sensors[role]
        damaged = replace(entry, simulate={**entry.simulate, "faults": [fault]})
        rig = replace(rig, sensors={**rig.sensors, role: damaged})
    verdicts = run_rig(rig, Mode.VIRTUAL).verdicts
    return {(v.check, v.subject, v.measure): v for v in verdicts if v.outcome is not Outcome.PASS}


@pytest.mark.parametrize("seed", range(20))
def test_a_clean_rig_is_silent(seed):
    assert bad_of(seed) == {}


BROKEN = [
    ("chest", {"fault": "delay"}, ("age", "chest/ecg", "age growth")),
    ("wrist", {"fault": "delay"}, ("age", "wrist/ppg", "age growth")),
    ("mood", {"fault": "delay", "start_s": 15}, ("age", "mood/affect", "age growth")),
    ("wrist", {"fault": "delay", "start_s": 8, "ms": 15000, "growth_ms_per_s": 0}, ("age", "wrist/ppg", "age")),
    ("mood", {"fault": "delay", "start_s": 8, "ms": 1500, "growth_ms_per_s": 0}, ("age", "mood/affect", "age")),
    ("chest", {"fault": "stall", "at_s": 12, "for_ms": 800}, ("age", "chest/ecg", "longest stall")),
    ("wrist", {"fault": "stall", "at_s": 12, "for_ms": 1500}, ("age", "wrist/ppg", "longest stall")),
    ("chest", {"fault": "slow_start"}, ("age", "chest/ecg", "first sample")),
    ("strap", {"fault": "slow_start"}, ("age", "strap/heart_rate", "first sample")),
    ("chest", {"fault": "clock_wander"}, ("sync", "chest/ecg", "clock wander")),
    ("wrist", {"fault": "clock_wander"}, ("sync", "wrist/ppg", "clock wander")),
    ("mood", {"fault": "clock_wander", "ppm_per_min": -400}, ("sync", "mood/affect", "clock wander")),
    ("chest", {"fault": "clock_drift", "ppm": 15000}, ("rate", "chest/ecg", "rate")),
    ("chest", {"fault": "clock_drift", "ppm": 5e4, "start_s": 12, "stop_s": 17}, ("rate", "chest/ecg", "rate wander")),
]  # fmt: skip


@pytest.mark.parametrize(("role", "fault", "expected"), BROKEN, ids=[f"{r}-{e[2]}" for r, _, e in BROKEN])
def test_what_was_broken_is_found_by_name_and_nobody_else_is_blamed(role, fault, expected):
    bad = bad_of(7, role, fault)
    assert bad[expected].outcome is Outcome.FAIL
    for check, subject, _ in bad:
        assert any(part.startswith(f"{role}/") for part in subject.split("~")), (check, subject)


def test_a_delay_that_jumps_is_no_jump_of_a_clock():
    bad = bad_of(7, "wrist", {"fault": "delay", "start_s": 8, "ms": 1500, "growth_ms_per_s": 0})
    assert ("sync", "wrist/ppg", "clock step") not in bad
    assert ("sync", "wrist/ppg", "clock drift") not in bad
    assert bad["sync", "chest/ecg~wrist/ppg", "misalignment"].outcome is Outcome.FAIL  # the stamps follow the delay


def test_when_all_devices_run_off_alike_it_is_the_host():
    sensors = {
        role: replace(entry, simulate={**entry.simulate, "clock": {"ppm": 400}}) if role != "strap" else entry
        for role, entry in DEMO.sensors.items()
    }
    bad = bad_of(7, sensors=sensors)
    assert bad["sync", "rig", "clocks"].outcome is Outcome.FAIL
    assert "it is the host's that is wrong" in bad["sync", "rig", "clocks"].reason


def of_clocks(ppms, seed=7):
    """The verdict on the rig's clocks, with these errors of the crystals; the other sensors are left out."""
    sensors = {}
    for role, ppm in ppms.items():
        entry = DEMO.sensors[role]
        sensors[role] = replace(entry, simulate={**entry.simulate, "clock": {"ppm": ppm}})
    rig = replace(DEMO, sensors=sensors, limits={"sync": {}}, seed=seed)
    (verdict,) = [v for v in run_rig(rig, Mode.VIRTUAL).verdicts if v.measure == "clocks"]
    return verdict


@pytest.mark.parametrize(
    ("ppms", "outcome", "words"),
    [
        ({"chest": 12, "wrist": 500, "mood": 5}, Outcome.PASS, "the clock of wrist/ppg is the odd one out"),
        ({"chest": -500, "wrist": -20, "mood": 5}, Outcome.PASS, "the clock of chest/ecg is the odd one out"),
        ({"chest": 500, "wrist": 480, "mood": 510}, Outcome.FAIL, "it is the host's that is wrong"),
        ({"chest": 500}, Outcome.INCONCLUSIVE, "with only these two it cannot be told which one is wrong"),
        ({"chest": 500, "wrist": -500}, Outcome.INCONCLUSIVE, "no majority says which of them are wrong"),
    ],
)
def test_whose_clock_it_is_follows_from_all_of_them(ppms, outcome, words):
    verdict = of_clocks(ppms)
    assert verdict.outcome is outcome, verdict.reason
    assert words in verdict.reason


@pytest.mark.parametrize("seed", [1, 5, 8, 10])
@pytest.mark.parametrize("role", ["chest", "wrist", "mood"])
def test_jitter_blames_no_clock(role, seed):
    """Of 160 ms: age growth and clock drift fail nowhere, and the clock is not the odd one out."""
    entry = DEMO.sensors[role]
    damaged = replace(entry, simulate={**entry.simulate, "faults": [{"fault": "jitter", "mean_ms": 160}]})
    rig = replace(DEMO, seed=seed, sensors={**DEMO.sensors, role: damaged})
    verdicts = run_rig(rig, Mode.VIRTUAL).verdicts
    failed = {(v.check, v.measure) for v in verdicts if v.outcome is Outcome.FAIL}
    assert failed <= {("sync", "misalignment"), ("age", "longest stall")}, failed
    (clocks,) = [v for v in verdicts if v.measure == "clocks"]
    assert clocks.outcome is Outcome.PASS
    assert "odd one out" not in clocks.reason


HEAVY = [
    ("wrist", {"fault": "dropout", "mean_lost_percent": 50}),
    ("mood", {"fault": "dropout", "mean_lost_percent": 50}),
    ("wrist", {"fault": "reorder", "probability_percent": 50}),
    ("mood", {"fault": "reorder", "probability_percent": 50}),
    ("wrist", {"fault": "truncate", "probability_percent": 50}),
    ("mood", {"fault": "truncate", "probability_percent": 50}),
    ("wrist", {"fault": "garbage", "per_min": 240}),
    ("mood", {"fault": "garbage", "per_min": 240}),
    ("wrist", {"fault": "clock_step", "seconds": 0.025}),
]


@pytest.mark.parametrize("seed", [2, 6])
@pytest.mark.parametrize(("role", "fault"), HEAVY, ids=[f"{role}-{fault['fault']}" for role, fault in HEAVY])
def test_damage_is_no_rate_no_clock_and_no_age(role, fault, seed):
    assert [v.reason for v in bad_of(seed, role, fault).values() if v.outcome is Outcome.FAIL] == []
