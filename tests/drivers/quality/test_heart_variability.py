"""Heart rate and variability: sums done by hand, sines whose power is known, and an independent implementation."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from drivers.quality.heart_variability import heart_rate, rr_intervals, variability


def modulated(seconds, mean_s=0.8, lf_s=0.03, hf_s=0.02):
    """Beats whose intervals swing at 0.1 and 0.25 Hz."""
    beats = [0.0]
    while beats[-1] < seconds:
        at = beats[-1]
        beats.append(at + mean_s + lf_s * np.sin(2 * np.pi * 0.1 * at) + hf_s * np.sin(2 * np.pi * 0.25 * at))
    return np.array(beats)


def test_time_domain_figures_are_those_of_the_task_force():
    rr_ms = np.array([800.0, 810, 790, 860, 800, 805])
    got = variability(np.concatenate([[0], np.cumsum(rr_ms)]) / 1000)
    assert got.intervals == 6
    assert got.pairs == 5
    assert got.coverage == pytest.approx(1.0)
    assert got.mean_nn_ms == pytest.approx(4865 / 6)
    assert got.sdnn_ms == pytest.approx(np.sqrt(3120.8333 / 5), abs=1e-3)  # squares of the deviations from 4865 / 6
    assert got.rmssd_ms == pytest.approx(np.sqrt((10**2 + 20**2 + 70**2 + 60**2 + 5**2) / 5))
    assert got.pnn50 == pytest.approx(2 / 5)


@pytest.mark.parametrize("seconds", [120, 300])
def test_a_sine_has_half_its_amplitude_squared_in_its_band(seconds):
    got = variability(modulated(seconds))
    assert got.lf_ms2 == pytest.approx(30**2 / 2, rel=0.03)
    assert got.hf_ms2 == pytest.approx(20**2 / 2, rel=0.03)
    assert got.lf_hf == pytest.approx(2.25, rel=0.04)


def test_missed_and_extra_beats_change_little_and_cost_coverage():
    whole = modulated(300)
    broken = np.sort(np.append(np.delete(whole, [40, 120, 200, 201]), [whole[80] + 0.3, whole[160] + 0.5]))
    clean, got = variability(whole), variability(broken)
    assert got.rmssd_ms == pytest.approx(clean.rmssd_ms, rel=0.03)
    assert got.sdnn_ms == pytest.approx(clean.sdnn_ms, rel=0.03)
    assert got.hf_ms2 == pytest.approx(clean.hf_ms2, rel=0.1)
    assert got.coverage == pytest.approx(1 - 9 * 0.8 / 300, abs=0.005)
    raw_ms = 1e3 * np.diff(broken)
    assert np.sqrt(np.mean(np.diff(raw_ms) ** 2)) > 3 * clean.rmssd_ms  # as they stand they would have ruined it


def test_an_interval_left_out_breaks_the_pairs_around_it():
    beats = np.delete(np.arange(0, 40, 0.8), 20)
    got = variability(beats)
    assert got.intervals == len(beats) - 2
    assert got.pairs == got.intervals - 2
    assert got.rmssd_ms == pytest.approx(0.0, abs=1e-9)


def test_impossible_intervals_are_left_out_and_an_irregular_heart_is_not():
    rng = np.random.default_rng(1)
    beats = np.cumsum(rng.uniform(0.5, 0.85, 200))
    assert rr_intervals(beats).kept.mean() > 0.95
    with_pause = np.concatenate([beats, beats[-1] + 4 + np.arange(5) * 0.7])
    assert not rr_intervals(with_pause).kept[len(beats) - 1]
    assert not rr_intervals(np.sort(np.append(beats, beats[50] + 0.05))).kept[50]


def test_a_heart_that_speeds_up_is_believed():
    rr = np.concatenate([np.full(20, 1.0), np.linspace(1.0, 0.5, 20), np.full(20, 0.5)])
    assert rr_intervals(np.cumsum(rr)).kept.all()


def test_beats_that_do_not_ascend_are_refused():
    with pytest.raises(ValueError, match="must ascend"):
        rr_intervals(np.array([1.0, 3.0, 2.0]))


@pytest.mark.parametrize("bpm", [30, 60, 93, 200])
def test_an_even_heart_has_its_rate_wherever_the_window_lies(bpm):
    beats = np.arange(0, 60, 60 / bpm)
    got = heart_rate(beats, np.arange(12, 55, 0.37))
    assert np.allclose(got.bpm, bpm)
    assert np.allclose(got.coverage, 1.0)


def test_the_rate_of_a_window_is_that_of_the_time_in_it():
    beats = np.concatenate([np.arange(0, 20, 1.0), np.arange(20, 41, 0.5)])
    got = heart_rate(beats, np.array([20.0, 25.0, 30.0]))
    assert got.bpm == pytest.approx([60.0, 90.0, 120.0])


def test_a_missed_beat_costs_coverage_and_not_rate():
    beats = np.delete(np.arange(0, 60, 0.8), 50)
    got = heart_rate(beats, np.array([45.0]))
    assert got.bpm == pytest.approx([75.0])
    assert got.coverage == pytest.approx([1 - 1.6 / 10])


def test_a_window_without_enough_beats_has_no_rate():
    beats = np.concatenate([np.arange(0, 20, 0.8), np.arange(40, 60, 0.8)])
    got = heart_rate(beats, np.array([18.0, 27.0, 33.0, 59.0]))
    assert np.isfinite(got.bpm).tolist() == [True, False, False, True]
    assert got.coverage[1] < 0.3
    assert got.coverage[2] == 0
    assert np.isnan(heart_rate(np.empty(0), np.array([5.0])).bpm).all()


def test_a_window_without_length_is_refused():
    with pytest.raises(ValueError, match="more than 0"):
        heart_rate(np.arange(5.0), np.array([3.0]), window_s=0)


def test_too_short_a_stretch_has_no_low_frequency():
    got = variability(modulated(200), 0.0, 30.0)
    assert np.isnan(got.lf_ms2)
    assert np.isfinite(got.hf_ms2)
    assert np.isnan(got.lf_hf)


def test_fewer_than_three_intervals_say_nothing():
    got = variability(np.array([0.0, 1.0, 2.0]))
    assert got.intervals == 2
    assert np.isnan(got.sdnn_ms)
    assert variability(np.empty(0)).intervals == 0


@pytest.mark.skipif(importlib.util.find_spec("neurokit2") is None, reason="needs neurokit2: pip install neurokit2")
@pytest.mark.filterwarnings("ignore")
def test_another_implementation_agrees():
    import neurokit2

    rng = np.random.default_rng(4)
    beats = np.cumsum(0.85 + 0.03 * np.sin(np.arange(400) / 3.1) + 0.015 * rng.standard_normal(400))
    theirs = neurokit2.hrv_time(np.rint(beats * 1000).astype(int), sampling_rate=1000)
    got = variability(beats)
    assert got.mean_nn_ms == pytest.approx(float(theirs["HRV_MeanNN"].iloc[0]), abs=0.1)
    assert got.sdnn_ms == pytest.approx(float(theirs["HRV_SDNN"].iloc[0]), rel=0.01)
    assert got.rmssd_ms == pytest.approx(float(theirs["HRV_RMSSD"].iloc[0]), rel=0.01)
    assert 100 * got.pnn50 == pytest.approx(float(theirs["HRV_pNN50"].iloc[0]), abs=1.0)
