"""Dose and effect: signals of simulated people, disturbed by known amounts, must be scored as the amount deserves.

ECG, PPG, EDA, respiration and temperature have tables of their own beside this one.
"""

from __future__ import annotations

import numpy as np
import pytest

from drivers.quality import FLAGS
from drivers.types import StreamSpec

SPECS = {
    "ecg": StreamSpec("ecg", "ecg", ("II",), "uV", 250.0, lsb=0.5, low=-187500.0, high=187500.0),
    "ppg": StreamSpec("ppg", "ppg", ("red", "infrared"), "counts", 64.0, lsb=1.0, low=0.0, high=262143.0),
    "eeg": StreamSpec("eeg", "eeg", ("Fp1", "O1"), "uV", 250.0, lsb=0.02235, low=-187500.0, high=187500.0),
    "acceleration": StreamSpec("acc", "acceleration", ("x", "y", "z"), "g", 25.0, lsb=1 / 2048, low=-4.0, high=4.0),
    "heart_rate": StreamSpec("hr", "heart_rate", ("hr",), "bpm", 1.0, lsb=1.0, low=0.0, high=255.0),
    "affect": StreamSpec("affect", "affect", ("valence", "arousal"), "1", 10.0, lsb=0.001, low=-1.0, high=1.0),
}


@pytest.mark.parametrize("kind", SPECS)
def test_clean_signals_of_twenty_people_stay_good_and_without_flags(kind, dosed):
    for seed in range(20):
        result = dosed(SPECS[kind], seed)
        assert result.score.min() >= 0.5
        assert not any(raised.any() for raised in result.flags.values())


MUST_BE_LOW = [
    ("acceleration", "flat", {"fault": "flatline"}),
    ("eeg", "noise", {"fault": "emg"}),
    ("eeg", "motion", {"fault": "motion"}),
    ("eeg", "saturated", {"fault": "clipping"}),
    ("eeg", "pop", {"fault": "electrode_pop"}),
    ("eeg", "baseline", {"fault": "baseline_wander"}),
]
PEOPLE = range(6)


@pytest.mark.parametrize(("kind", "flags", "fault"), MUST_BE_LOW)
def test_a_disturbance_that_ruins_the_signal_is_scored_low_and_named(kind, flags, fault, dosed):
    results = [dosed(SPECS[kind], seed, **fault) for seed in PEOPLE]
    low = np.concatenate([result.score < 0.5 for result in results])
    named = np.concatenate([np.any([result.flags[flag] for flag in flags.split()], axis=0) for result in results])
    assert low.mean() >= 0.95
    assert named.mean() >= 0.8


def test_hum_on_an_eeg_is_named_but_not_held_against_it_since_every_filter_removes_it(dosed):
    for seed in PEOPLE:
        result = dosed(SPECS["eeg"], seed, fault="mains_hum", level=0.3)
        assert result.flags["hum"].mean() > 0.95
        assert result.score.min() >= 0.5


def test_every_flag_that_is_ever_raised_is_explained(dosed):
    for kind in SPECS:
        assert set(dosed(SPECS[kind], 0).flags) <= set(FLAGS)
