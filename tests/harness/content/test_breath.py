"""Breath against breath: belts, an accelerometer on the chest, and what breathing does to the heart."""

import numpy as np
import pytest

from harness.content import Trace, align_breaths, r_peaks
from harness.content.breath import chest_breathing, heart_breathing, height_breathing, upright


@pytest.mark.parametrize("late_s", [0.0, 0.4, -1.7])
def test_two_belts_tell_their_lag_to_a_few_milliseconds(person, trace, late_s):
    someone = person(1)
    found = align_breaths(
        trace(someone, "respiration", 25.0, 10, 60), trace(someone, "respiration", 10.0, 10, 60, late_s)
    )
    assert found.lag_ms == pytest.approx(1e3 * late_s, abs=10)
    assert found.low_ms - 5 <= 1e3 * late_s <= found.high_ms + 5


def test_an_accelerometer_on_the_chest_breathes_like_a_belt(person, rendered, trace):
    someone = person(2)
    belt = trace(someone, "respiration", 25.0, 10, 120)
    axes, times_s = rendered(someone, "acceleration", 50.0, 10, 120, motion_g=0.001)
    chest = chest_breathing(axes, times_s + 0.4, 50.0, like=belt)
    found = align_breaths(belt, chest)
    assert found.lag_ms == pytest.approx(400, abs=40)


def test_a_belt_worn_the_wrong_way_round_is_turned(person, trace):
    belt = trace(person(3), "respiration", 25.0, 10, 60)
    other = Trace(-belt.values, belt.times_s + 0.2, 25.0, belt.usable)
    assert align_breaths(belt, upright(other, belt)).lag_ms == pytest.approx(200, abs=5)


def test_breathing_shows_in_the_height_of_the_r_peaks(person, trace):
    """The simulated heart's axis turns with the lungs, and the electrodes rise and fall with them."""
    someone = person(4)
    ecg = trace(someone, "ecg", 250.0, 10, 120)
    found = align_breaths(trace(someone, "respiration", 25.0, 10, 120), height_breathing(ecg, r_peaks(ecg)))
    assert found.lag_ms == pytest.approx(0, abs=100)


def test_breathing_shows_in_the_rhythm_of_the_heart(person, trace):
    """A heart rate is that of the interval before a beat, so it is about half an interval behind the breath."""
    someone = person(5, hrv_breath_percent=10.0, hrv_mayer_percent=0.0)
    found = align_breaths(trace(someone, "respiration", 25.0, 10, 120), heart_breathing(someone.beats(8, 132)))
    assert found.refused is None
    assert 200 < found.lag_ms < 700


def test_breath_as_even_as_a_clock_is_refused():
    times_s = np.arange(0, 60, 0.04)
    even = Trace.of(np.sin(2 * np.pi * 0.25 * times_s), times_s, 25.0)
    assert "ambiguous" in align_breaths(even, even).refused


def test_the_breath_of_somebody_else_is_refused(person, trace):
    found = align_breaths(
        trace(person(6), "respiration", 25.0, 10, 120), trace(person(7), "respiration", 25.0, 10, 120)
    )
    assert found.refused is not None


def test_a_few_breaths_are_too_few(person, trace):
    short = trace(person(1), "respiration", 25.0, 10, 12)
    assert "15 s are needed" in align_breaths(short, short).refused
