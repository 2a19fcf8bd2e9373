"""The sizes that the docstrings of age, sync and rate state are found, over serial and behind connection events."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from harness.bench import Mode
from harness.rig_file import read_rig
from harness.run import run_rig
from harness.verdict import Outcome

RIGS = Path(__file__).parents[2] / "rigs"
ROLES = {"serial": ("demo", "chest"), "ble": ("nordic-uart", "packed")}
SEEDS = range(59)
"""Found in all of so many runs: a power of 95 %, with 95 % confidence (0.95 ** 59 < 0.05)."""
OF_CHECK = {
    "age growth": "age", "longest stall": "age", "age": "age", "first sample": "age", "clock drift": "sync",
    "clock wander": "sync", "clock step": "sync", "misalignment": "sync", "rate": "rate", "rate wander": "rate",
}  # fmt: skip


@cache
def shipped(name):
    return read_rig(RIGS / f"{name}.rig.yaml")


def rig_of(link, measure, fault):
    """One sensor alone, 30 s, with the model hardly asked."""
    name, role = ROLES[link]
    rig = shipped(name)
    entry = rig.sensors[role]
    damaged = replace(entry, simulate={**entry.simulate, "faults": [fault]})
    limits = {OF_CHECK[measure]: {}}
    window = replace(rig.window, hop_ms=5000.0)
    return replace(rig, sensors={role: damaged}, limits=limits, window=window, duration_s=30.0, path="", text="")


def growing(ms_per_min, start_s=0.0):
    return {"fault": "delay", "growth_ms_per_s": ms_per_min / 60, "start_s": start_s}


STATED = [
    ("serial", "age growth", growing(65)), ("ble", "age growth", growing(65)),
    ("serial", "age growth", growing(150, 15)), ("ble", "age growth", growing(70, 15)),
    ("serial", "longest stall", {"fault": "stall", "at_s": 12, "for_ms": 505}),
    ("ble", "longest stall", {"fault": "stall", "at_s": 12, "for_ms": 505}),
    ("ble", "age", {"fault": "delay", "start_s": 10, "ms": 1000, "growth_ms_per_s": 0}),
    ("serial", "first sample", {"fault": "slow_start", "seconds": 5}),
    ("ble", "first sample", {"fault": "slow_start", "seconds": 5}),
    ("serial", "clock drift", {"fault": "clock_drift", "ppm": 90}),  # beside 12 of the crystal
    ("ble", "clock drift", {"fault": "clock_drift", "ppm": 1000}),
    ("serial", "clock wander", {"fault": "clock_wander", "ppm_per_min": 180}),
    ("ble", "clock wander", {"fault": "clock_wander", "ppm_per_min": 10000}),
    ("serial", "clock wander", {"fault": "clock_wander", "ppm_per_min": 0, "swing_ppm": 200, "period_s": 20}),
    ("serial", "rate", {"fault": "clock_drift", "ppm": 10100}), ("ble", "rate", {"fault": "clock_drift", "ppm": 12000}),
    ("serial", "rate wander", {"fault": "clock_drift", "ppm": 35000, "start_s": 12, "stop_s": 17}),
    ("ble", "rate wander", {"fault": "clock_drift", "ppm": 35000, "start_s": 12, "stop_s": 17}),
]  # fmt: skip


@pytest.mark.heavy
@pytest.mark.parametrize(("link", "measure", "fault"), STATED, ids=[f"{link}-{what}" for link, what, _ in STATED])
def test_the_stated_size_is_found_in_every_one_of_59_runs(link, measure, fault):
    rig, missed = rig_of(link, measure, fault), []
    for seed in SEEDS:
        verdicts = run_rig(replace(rig, seed=seed), Mode.VIRTUAL).verdicts
        if not any(v.measure == measure and v.outcome is Outcome.FAIL for v in verdicts):
            missed.append((seed, [(v.outcome.name, v.value, v.low, v.high) for v in verdicts if v.measure == measure]))
    assert not missed
