"""Dose and effect on an ECG: how much of which disturbance it stands, and from how much on it is spoilt and says why.

Levels are fractions of the clean lead's amplitude (1st to 99th percentile), or of the time. ``quality_ecg.py --dose``
among the benchmarks gives the same doses to clinical leads.
"""

from __future__ import annotations

import numpy as np
import pytest

from drivers.types import StreamSpec

ECG = StreamSpec("ecg", "ecg", ("II",), "uV", 250.0, lsb=0.5, low=-187500.0, high=187500.0)
PEOPLE = range(8)

STANDS = [
    {"fault": "baseline_wander", "level": 0.25},
    {"fault": "mains_hum", "level": 0.05},
    {"fault": "mains_hum", "level": 0.05, "frequency_hz": 60.0},
    {"fault": "emg", "level": 0.05},
    {"fault": "motion", "level": 0.1},
    {"fault": "electrode_pop", "level": 0.5},
    {"fault": "quantisation", "level": 0.02},
    {"fault": "hold", "fraction": 0.2},
    {"fault": "white_noise", "level": 0.2},
    {"fault": "spikes", "level": 1.0},
]

IS_LOST = [
    ("baseline", {"fault": "baseline_wander", "level": 3.0}),
    ("hum", {"fault": "mains_hum", "level": 0.2}),
    ("hum", {"fault": "mains_hum", "level": 0.2, "frequency_hz": 60.0}),
    ("noise", {"fault": "emg", "level": 0.35}),
    ("motion", {"fault": "motion", "level": 0.5}),
    ("pop", {"fault": "electrode_pop", "level": 8.0}),
    ("flat", {"fault": "flatline", "fraction": 0.4}),
    ("saturated", {"fault": "lead_off", "fraction": 0.4}),
    ("saturated", {"fault": "clipping", "fraction": 0.5}),
    ("coarse", {"fault": "quantisation", "level": 0.5}),
    ("flat", {"fault": "hold", "fraction": 0.7}),
    ("noise", {"fault": "white_noise", "level": 0.7}),
    ("pop", {"fault": "spikes", "level": 4.0}),
]


def name_of(value) -> str:
    return value["fault"] if isinstance(value, dict) else ""


def scored(dosed, spec, fault):
    results = [dosed(spec, seed, **fault) for seed in PEOPLE]
    low = np.concatenate([result.score < 0.5 for result in results])
    return low, {name: np.concatenate([result.flags[name] for result in results]) for name in results[0].flags}


@pytest.mark.parametrize("fault", STANDS, ids=name_of)
def test_a_dose_that_hurts_nobody_leaves_an_ecg_good(fault, dosed):
    low, _ = scored(dosed, ECG, fault)
    assert low.mean() <= 0.02


@pytest.mark.parametrize(("flag", "fault"), IS_LOST, ids=name_of)
def test_a_dose_that_ruins_an_ecg_is_scored_low_and_named(flag, fault, dosed):
    low, flags = scored(dosed, ECG, fault)
    assert low.mean() >= 0.99
    assert flags[flag].mean() >= 0.9


@pytest.mark.parametrize("rate_hz", [130.0, 500.0])
@pytest.mark.parametrize(("flag", "fault"), [row for row in IS_LOST if row[1]["fault"] not in ("spikes", "mains_hum")],
                         ids=name_of)  # fmt: skip
def test_at_other_rates_the_same_doses_ruin_it(flag, fault, rate_hz, dosed):
    spec = StreamSpec("ecg", "ecg", ("II",), "mV", rate_hz, lsb=0.001, low=-187.5, high=187.5)
    results = [dosed(spec, seed, **fault) for seed in (0, 1)]
    assert np.mean([result.score < 0.5 for result in results]) >= 0.95
    assert np.mean([result.flags[flag] for result in results]) >= 0.8


@pytest.mark.parametrize(("fault", "levels"), [
    ({"fault": "emg"}, (0.02, 0.1, 0.2, 0.4)),
    ({"fault": "white_noise"}, (0.02, 0.1, 0.3, 0.8)),
    ({"fault": "motion"}, (0.02, 0.1, 0.2, 0.5)),
    ({"fault": "mains_hum"}, (0.02, 0.08, 0.15, 0.4)),
    ({"fault": "baseline_wander"}, (0.2, 1.0, 2.0, 4.0)),
    ({"fault": "spikes"}, (0.5, 1.0, 2.0, 8.0)),
])  # fmt: skip
def test_more_of_it_never_makes_an_ecg_better(fault, levels, dosed):
    medians = [np.median(dosed(ECG, 1, **fault, level=level).score) for level in levels]
    assert medians == sorted(medians, reverse=True)
    assert medians[0] > 0.9 > 0.5 > medians[-1]
