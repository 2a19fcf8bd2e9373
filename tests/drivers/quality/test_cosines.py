"""Bands of a window by its cosines, against what tones of known size amount to."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.quality.cosines import Cosines

RATE_HZ = 250.0
T = np.arange(1000) / RATE_HZ


def tone(hz: float, rms: float, phase: float = 0.4) -> np.ndarray:
    return rms * np.sqrt(2) * np.sin(2 * np.pi * hz * T + phase)


def test_the_power_of_a_tone_is_found_in_its_band_and_in_no_other():
    table = Cosines.of(tone(10.0, 3.0)[None], RATE_HZ, None)
    assert table.power(8.0, 12.0)[0] == pytest.approx(9.0, rel=0.04)  # a tone that ends anywhere smears a little
    assert table.power(20.0, 125.0)[0] < 0.05
    assert table.density(8.0, 12.0)[0] == pytest.approx(9.0 / 4, rel=0.04)


def test_all_bands_together_hold_all_there_is_but_mean_and_slope():
    rows = np.random.default_rng(0).standard_normal((3, 1000)) + 5 + 0.01 * np.arange(1000)
    table = Cosines.of(rows, 40.0, None)  # so slow a stream has no mains
    straight = np.polynomial.polynomial.polyfit(np.arange(1000), rows.T, 1)
    rest = rows - (straight[0][:, None] + straight[1][:, None] * np.arange(1000))
    assert table.power(0.0, 20.0) == pytest.approx((rest**2).mean(axis=1), rel=1e-9)
    assert table.waves((0.0, np.inf))[0] == pytest.approx(rest, abs=1e-9)


def test_a_wave_of_a_band_keeps_what_lies_in_it_and_loses_what_does_not():
    brain, slow = Cosines.of((tone(10.0, 1.0) + tone(0.1, 2.0))[None], RATE_HZ, None).waves((1.0, 40.0), (0.0, 0.5))
    inside = slice(200, 800)
    assert brain[0, inside] == pytest.approx(tone(10.0, 1.0)[inside], abs=0.1)
    assert np.abs(slow[0, inside]).max() > 0.3
    assert np.abs(np.diff(slow[0, inside])).max() < 0.1


@pytest.mark.parametrize(("hz", "profile"), [(50.0, None), (60.0, None), (50.0, 50.0), (60.1, 60.0), (49.85, None)])
def test_the_mains_come_off_whatever_their_phase_and_tell_how_strong_they_were(hz, profile):
    quiet = np.random.default_rng(1).standard_normal(1000)
    rows = np.stack([quiet + tone(hz, 300.0, phase) for phase in (0.0, 1.0, 2.0, 3.0)])
    table = Cosines.of(rows, RATE_HZ, profile)
    assert table.line == pytest.approx(np.full(4, 300.0), rel=0.01)
    assert table.power(1.0, 40.0) == pytest.approx(np.full(4, 39 / 125), rel=0.15)  # of white noise of 1
    assert table.stray.max() < 3


def test_where_the_profile_names_one_frequency_the_other_stays():
    table = Cosines.of(tone(60.0, 10.0)[None], RATE_HZ, 50.0)
    assert table.line[0] == 0
    assert table.power(55.0, 65.0)[0] == pytest.approx(100.0, rel=0.04)


def test_what_is_not_stronger_than_its_surroundings_is_no_mains():
    rows = np.random.default_rng(2).standard_normal((20, 1000))
    assert np.count_nonzero(Cosines.of(rows, RATE_HZ, None).line) <= 1


def test_mains_that_throb_leave_something_behind_that_is_told():
    throbbing = tone(50.0, 100.0) * (1 + np.sin(2 * np.pi * 1.5 * T))
    table = Cosines.of(throbbing[None], RATE_HZ, None)
    assert table.stray[0] > 30
