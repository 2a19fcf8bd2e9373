"""Dose and effect: signals of simulated people, disturbed by known amounts, must be scored as the amount deserves."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from drivers.quality import FLAGS, scores
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.faults import Where
from simulators.faults.registry import make_fault
from simulators.sensor import digitise
from simulators.signals.registry import make_signal
from simulators.subject import Subject

SPECS = {
    "ecg": StreamSpec("ecg", "ecg", ("II",), "uV", 250.0, lsb=0.5, low=-187500.0, high=187500.0),
    "ppg": StreamSpec("ppg", "ppg", ("red", "infrared"), "counts", 64.0, lsb=1.0, low=0.0, high=262143.0),
    "eda": StreamSpec("eda", "eda", ("eda",), "uS", 8.0, lsb=0.001, low=0.0, high=100.0),
    "respiration": StreamSpec("respiration", "respiration", ("belt",), "a.u.", 25.0, lsb=1.0, low=0.0, high=1023.0),
    "temperature": StreamSpec("temperature", "temperature", ("skin",), "C", 4.0, lsb=0.005, low=-40.0, high=115.0),
    "eeg": StreamSpec("eeg", "eeg", ("Fp1", "O1"), "uV", 250.0, lsb=0.02235, low=-187500.0, high=187500.0),
    "acceleration": StreamSpec("acc", "acceleration", ("x", "y", "z"), "g", 25.0, lsb=1 / 2048, low=-4.0, high=4.0),
    "heart_rate": StreamSpec("hr", "heart_rate", ("hr",), "bpm", 1.0, lsb=1.0, low=0.0, high=255.0),
    "affect": StreamSpec("affect", "affect", ("valence", "arousal"), "1", 10.0, lsb=0.001, low=-1.0, high=1.0),
}
SECONDS = 40
ENDS_NS = np.arange(10, SECONDS + 1) * 1_000_000_000


@cache
def clean(kind: str, seed: int):
    spec = SPECS[kind]
    times_s = np.arange(int(SECONDS * spec.rate_hz)) / spec.rate_hz
    signal = make_signal({}, Subject(seed), spec, Draws(seed, "bench", kind))
    return times_s, signal.render(0, times_s), signal.span


def judged(kind: str, seed: int, **fault):
    """Scores of SECONDS of a simulated stream, at a hop of a second, with one fault or none."""
    spec = SPECS[kind]
    times_s, values, span = clean(kind, seed)
    if fault:
        where = Where("bench", 0, Draws(seed, "fault"), lambda truth: None, spec, span)
        values = make_fault(fault).bind(where).apply(0, times_s, values)
    return scores(digitise(values, spec), np.rint(times_s * 1e9).astype(np.int64), spec, ENDS_NS)


@pytest.mark.parametrize("kind", SPECS)
def test_clean_signals_of_twenty_people_stay_good_and_without_flags(kind):
    for seed in range(20):
        result = judged(kind, seed)
        assert result.score.min() >= 0.5
        assert not any(raised.any() for raised in result.flags.values())


MUST_STAY_GOOD = [
    ("ecg", {"fault": "baseline_wander", "level": 0.25}),
    ("ecg", {"fault": "mains_hum", "level": 0.05}),
    ("ecg", {"fault": "emg", "level": 0.05}),
    ("ecg", {"fault": "motion", "level": 0.1}),
    ("ecg", {"fault": "electrode_pop", "level": 0.5}),
    ("ecg", {"fault": "quantisation", "level": 0.02}),
    ("ppg", {"fault": "baseline_wander", "level": 0.25}),
    ("ppg", {"fault": "low_perfusion", "perfusion_percent": 0.5}),
]

MUST_BE_LOW = [
    ("ecg", "baseline", {"fault": "baseline_wander", "level": 3.0}),
    ("ecg", "hum", {"fault": "mains_hum", "level": 0.2}),
    ("ecg", "hum", {"fault": "mains_hum", "level": 0.2, "frequency_hz": 60.0}),
    ("ecg", "noise", {"fault": "emg", "level": 0.35}),
    ("ecg", "motion", {"fault": "motion", "level": 0.5}),
    ("ecg", "pop", {"fault": "electrode_pop", "level": 8.0}),
    ("ecg", "flat", {"fault": "flatline", "fraction": 0.4}),
    ("ecg", "saturated", {"fault": "lead_off", "fraction": 0.4}),
    ("ecg", "saturated", {"fault": "clipping", "fraction": 0.5}),
    ("ecg", "coarse", {"fault": "quantisation", "level": 0.5}),
    ("ppg", "baseline", {"fault": "baseline_wander", "level": 8.0}),
    ("ppg", "noise", {"fault": "emg", "level": 0.8}),
    ("ppg", "motion noise", {"fault": "motion", "level": 0.75}),
    ("ppg", "flat", {"fault": "flatline", "fraction": 0.4}),
    ("ppg", "saturated", {"fault": "lead_off", "fraction": 0.4}),
    ("ppg", "saturated", {"fault": "clipping", "fraction": 0.3}),
    ("ppg", "low_perfusion", {"fault": "low_perfusion", "perfusion_percent": 0.1}),
    ("eda", "flat", {"fault": "flatline"}),
    ("eda", "off_body", {"fault": "lead_off"}),
    ("eda", "motion", {"fault": "motion"}),
    ("respiration", "flat", {"fault": "flatline"}),
    ("respiration", "saturated", {"fault": "lead_off"}),
    ("respiration", "motion", {"fault": "motion"}),
    ("temperature", "flat", {"fault": "flatline"}),
    ("acceleration", "flat", {"fault": "flatline"}),
    ("eeg", "noise", {"fault": "emg"}),
    ("eeg", "motion", {"fault": "motion"}),
    ("eeg", "saturated", {"fault": "clipping"}),
    ("eeg", "pop", {"fault": "electrode_pop"}),
    ("eeg", "baseline", {"fault": "baseline_wander"}),
]
PEOPLE = range(6)


@pytest.mark.parametrize(("kind", "fault"), MUST_STAY_GOOD)
def test_a_disturbance_that_hurts_nobody_leaves_the_score_good(kind, fault):
    low = np.concatenate([judged(kind, seed, **fault).score < 0.5 for seed in PEOPLE])
    assert low.mean() <= 0.02


@pytest.mark.parametrize(("kind", "flags", "fault"), MUST_BE_LOW)
def test_a_disturbance_that_ruins_the_signal_is_scored_low_and_named(kind, flags, fault):
    results = [judged(kind, seed, **fault) for seed in PEOPLE]
    low = np.concatenate([result.score < 0.5 for result in results])
    named = np.concatenate([np.any([result.flags[flag] for flag in flags.split()], axis=0) for result in results])
    assert low.mean() >= 0.95
    assert named.mean() >= 0.8


def test_hum_on_an_eeg_is_named_but_not_held_against_it_since_every_filter_removes_it():
    for seed in PEOPLE:
        result = judged("eeg", seed, fault="mains_hum", level=0.3)
        assert result.flags["hum"].mean() > 0.95
        assert result.score.min() >= 0.5


@pytest.mark.parametrize(("fault", "levels"), [
    ({"fault": "emg"}, (0.02, 0.1, 0.2, 0.4)),
    ({"fault": "mains_hum"}, (0.02, 0.08, 0.15, 0.4)),
    ({"fault": "baseline_wander"}, (0.2, 1.0, 2.0, 4.0)),
])  # fmt: skip
def test_more_of_it_never_makes_an_ecg_better(fault, levels):
    medians = [np.median(judged("ecg", 1, **fault, level=level).score) for level in levels]
    assert medians == sorted(medians, reverse=True)
    assert medians[0] > 0.9 > 0.5 > medians[-1]


def test_every_flag_that_is_ever_raised_is_explained():
    for kind in SPECS:
        assert set(judged(kind, 0).flags) <= set(FLAGS)
