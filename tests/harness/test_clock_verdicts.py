"""The demo rig in virtual time: age, sync and rate are silent on clean data and name what was broken."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.bench import Mode
from harness.rig_file import read_rig
from harness.run import run_rig
from harness.verdict import Outcome

CHECKS = {"age": {}, "sync": {}, "rate": {}}
DEMO = replace(read_rig(Path(__file__).parents[2] / "rigs" / "demo.rig.yaml"), path="", text="", limits=CHECKS)


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
