"""The sizes that the docstrings of age, sync and rate state are found, over serial and behind connection events."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
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


def rig_of(link, measure, fault, seed=0):
    """One sensor alone, 30 s, with the model hardly asked.

    Two runs differ in the crystal (sd 5 ppm, so that sizes hold beside it), in when within a second the fault begins,
    and in the host, which takes half a millisecond more or less to see what came.
    """
    name, role = ROLES[link]
    rig = shipped(name)
    entry = rig.sensors[role]
    draws = np.random.default_rng(seed)
    later_s = float(draws.uniform(0, 1))
    shifted = {key: fault[key] + later_s for key in ("start_s", "stop_s", "at_s") if fault.get(key)}
    busy = {"fault": "jitter", "mean_ms": 0.5, "hold_ms": 10, "distribution": "exponential"}
    clock = {"ppm": float(draws.normal(0, 5))}
    damaged = replace(entry, simulate={**entry.simulate, "clock": clock, "faults": [{**fault, **shifted}, busy]})
    limits = {OF_CHECK[measure]: {}}
    window = replace(rig.window, hop_ms=5000.0)
    return replace(
        rig, sensors={role: damaged}, limits=limits, window=window, duration_s=30.0, seed=seed, path="", text=""
    )


def growing(ms_per_min, start_s=0.0):
    return {"fault": "delay", "growth_ms_per_s": ms_per_min / 60, "start_s": start_s}


STATED = [
    ("serial", "age growth", growing(70)), ("ble", "age growth", growing(70)),
    ("serial", "age growth", growing(150, 15)), ("ble", "age growth", growing(450, 15)),
    ("serial", "longest stall", {"fault": "stall", "at_s": 12, "for_ms": 520}),
    ("ble", "longest stall", {"fault": "stall", "at_s": 12, "for_ms": 560}),
    ("ble", "age", {"fault": "delay", "start_s": 10, "ms": 1000, "growth_ms_per_s": 0}),
    ("serial", "first sample", {"fault": "slow_start", "seconds": 5}),
    ("serial", "clock drift", {"fault": "clock_drift", "ppm": 200}),
    ("ble", "clock drift", {"fault": "clock_drift", "ppm": 1000}),
    ("serial", "clock wander", {"fault": "clock_wander", "ppm_per_min": 300}),
    ("ble", "clock wander", {"fault": "clock_wander", "ppm_per_min": 15000}),
    ("serial", "clock wander", {"fault": "clock_wander", "ppm_per_min": 0, "swing_ppm": 600, "period_s": 20}),
    ("serial", "rate", {"fault": "clock_drift", "ppm": 10500}), ("ble", "rate", {"fault": "clock_drift", "ppm": 12000}),
    ("serial", "rate wander", {"fault": "clock_drift", "ppm": 40000, "start_s": 12, "stop_s": 17}),
    ("ble", "rate wander", {"fault": "clock_drift", "ppm": 40000, "start_s": 12, "stop_s": 17}),
]  # fmt: skip


@pytest.mark.heavy
@pytest.mark.parametrize(("link", "measure", "fault"), STATED, ids=[f"{link}-{what}" for link, what, _ in STATED])
def test_the_stated_size_is_found_in_every_one_of_59_runs(link, measure, fault):
    missed = []
    for seed in SEEDS:
        verdicts = run_rig(rig_of(link, measure, fault, seed), Mode.VIRTUAL).verdicts
        if not any(v.measure == measure and v.outcome is Outcome.FAIL for v in verdicts):
            missed.append((seed, [(v.outcome.name, v.value, v.low, v.high) for v in verdicts if v.measure == measure]))
    assert not missed
