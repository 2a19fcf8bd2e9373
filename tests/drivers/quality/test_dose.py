"""Undisturbed signals of simulated people stay good; what damage does to each kind is in tests of its own."""

from __future__ import annotations

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
        named = {name for name, raised in result.flags.items() if raised.any()}
        assert named <= ({"blink"} if kind == "eeg" else set())  # eyes blink, and no electrode is worse for it


def test_every_flag_that_is_ever_raised_is_explained(dosed):
    for kind in SPECS:
        assert set(dosed(SPECS[kind], 0).flags) <= set(FLAGS)
