"""Beats at known places: synthetic ones here, real recordings in tests/benchmarks/quality_beats.py."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.errors import SettingError
from drivers.quality.beats import bandpass, ecg_beats, energy_beats, ppg_pulses, pulse_feet, pulses, pulses_point_up

NORMAL = ((1.0, 0.0, 0.01), (-0.2, 0.03, 0.011), (0.12, -0.16, 0.024), (0.28, 0.27, 0.05))
"""Height, place in s and standard deviation in s of R, S, P and T."""
VENTRICULAR = ((1.3, 0.0, 0.04), (-0.6, 0.09, 0.045), (-0.5, 0.33, 0.07))


def lead(beats_s, rate_hz, seconds, noise=0.01, seed=0, shape=NORMAL):
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = sum(h * np.exp(-0.5 * ((t[:, None] - beats_s - at) / w) ** 2).sum(axis=1) for h, at, w in shape)
    return wave + np.random.default_rng(seed).normal(0, noise, len(t))


def irregular(seconds, bpm, seed=0):
    rng = np.random.default_rng(seed)
    times = 0.3 + np.cumsum(60 / bpm * (1 + 0.06 * rng.standard_normal(int(seconds * bpm / 60) + 5)))
    return times[times < seconds - 0.2]


def same_beats(found_s, truth_s, within_s=0.15):
    return len(found_s) == len(truth_s) and np.abs(found_s - truth_s).max() <= within_s


def counts(found_s, truth_s, within_s=0.15):
    """(missed, extra)"""
    apart = np.abs(np.subtract.outer(truth_s, found_s)) <= within_s
    return int((~apart.any(axis=1)).sum()), int((~apart.any(axis=0)).sum())


@pytest.mark.parametrize("rate_hz", [100.0, 130.0, 250.0, 512.0, 1000.0])
@pytest.mark.parametrize("bpm", [32, 70, 150, 200, 250])
def test_every_beat_is_found_once_to_the_sample(rate_hz, bpm):
    truth = irregular(40, bpm)
    shape = NORMAL if bpm < 160 else NORMAL[:2]
    found = ecg_beats(lead(truth, rate_hz, 40, shape=shape), rate_hz) / rate_hz
    assert same_beats(found, truth, max(0.006, 1.1 / rate_hz))


@pytest.mark.parametrize("factor", [-1.0, 1e-3, 1e3])
def test_polarity_gain_and_baseline_do_not_matter(factor):
    truth = irregular(30, 70)
    wave = lead(truth, 250.0, 30)
    drift = 0.8 * np.sin(2 * np.pi * 0.2 * np.arange(len(wave)) / 250)
    found = ecg_beats(factor * (wave + drift) - 1234.5, 250.0) / 250
    assert same_beats(found, truth, 0.01)


def test_the_first_and_the_last_beat_are_found():
    truth = np.arange(0.05, 10, 0.9)
    found = ecg_beats(lead(truth, 360.0, truth[-1] + 0.05), 360.0) / 360
    assert same_beats(found, truth, 0.01)


@pytest.mark.parametrize("seconds", [2, 3, 4, 6])
def test_a_short_recording_needs_no_training(seconds):
    truth = np.arange(0.3, seconds, 0.7)
    assert same_beats(ecg_beats(lead(truth, 250.0, seconds), 250.0) / 250, truth, 0.01)


def test_a_pause_costs_no_beat_and_brings_none():
    truth = irregular(60, 70)
    truth = truth[(truth < 20) | (truth > 24)]
    assert same_beats(ecg_beats(lead(truth, 250.0, 60), 250.0) / 250, truth)


@pytest.mark.parametrize("change", [0.4, 3.0])
def test_a_change_of_height_is_survived(change):
    truth = irregular(60, 70)
    wave = lead(truth, 250.0, 60, noise=0.003)
    wave[7500:] *= change
    missed, extra = counts(ecg_beats(wave, 250.0) / 250, truth)
    assert missed <= 2
    assert extra == 0


def test_every_other_beat_may_be_small():
    truth = irregular(60, 75)
    wave = lead(truth[::2], 250.0, 60) + 0.45 * lead(truth[1::2], 250.0, 60, noise=0.0)
    assert same_beats(ecg_beats(wave, 250.0) / 250, truth)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("every", [2, 3, 6])
def test_ventricular_beats_that_are_wide_and_early_are_found(every, sign):
    starts = np.arange(0.5, 58, 0.8)
    wide = (np.arange(len(starts)) % every) == every - 1
    truth = starts - np.where(wide, 0.25, 0.0)
    wave = lead(truth[~wide], 360.0, 60) + sign * lead(truth[wide], 360.0, 60, noise=0.0, shape=VENTRICULAR)
    missed, extra = counts(ecg_beats(wave, 360.0) / 360, truth)
    assert missed <= 0.02 * len(truth)
    assert extra <= 0.01 * len(truth)


def test_a_run_of_ventricular_beats_is_found():
    truth = np.concatenate([np.arange(0.5, 20, 0.8), np.arange(20.1, 26, 0.42), np.arange(26.8, 50, 0.8)])
    wide = (truth > 20) & (truth < 26.1)
    wave = lead(truth[~wide], 250.0, 52) + lead(truth[wide], 250.0, 52, noise=0.0, shape=VENTRICULAR[:2])
    missed, extra = counts(ecg_beats(wave, 250.0) / 250, truth)
    assert missed <= 2
    assert extra <= 1


@pytest.mark.parametrize("t_mv", [0.4, 0.8, 1.2])
@pytest.mark.parametrize("bpm", [60, 80, 110])
def test_t_waves_as_tall_as_the_qrs_complex_are_no_beats(t_mv, bpm):
    """ANSI/AAMI EC13 4.1.2.1 c: QRS 1 mV and 100 ms, T to 1.2 mV, 180 ms wide, QT 350 ms."""
    truth = np.arange(0.6, 59, 60 / bpm)
    t = np.arange(60 * 500) / 500
    wave = 0.005 * np.random.default_rng(3).standard_normal(len(t))
    for beat in truth:
        wave += np.maximum(0, 1 - np.abs(t - beat) / 0.05)
        wave += t_mv * np.where(np.abs(t - beat - 0.21) < 0.09, np.cos((t - beat - 0.21) / 0.18 * np.pi) ** 2, 0)
    assert same_beats(ecg_beats(wave, 500.0) / 500, truth)


def test_pacing_spikes_are_part_of_their_beats():
    truth = np.arange(0.6, 39, 0.85)
    wave = lead(truth, 500.0, 40)
    for beat in truth:
        wave[round((beat - 0.05) * 500)] += 2.0
    assert same_beats(ecg_beats(wave, 500.0) / 500, truth, 0.06)


def test_a_knocked_electrode_costs_few_beats():
    truth = irregular(60, 70)
    wave, t = lead(truth, 250.0, 60), np.arange(15000) / 250
    for at in (10.3, 25.7, 41.2):
        wave += np.where(t > at, 5.0 * np.exp(-(t - at) / 0.4), 0.0)
    missed, extra = counts(ecg_beats(wave, 250.0) / 250, truth)
    assert missed <= 1
    assert extra <= 3


@pytest.mark.parametrize("height", [5.0, 10.0])
@pytest.mark.parametrize("bpm", [45, 72, 110])
def test_a_first_second_that_swings_costs_no_later_beat(bpm, height):
    """At 4 Hz, as after an electrode was put on."""
    truth, t = irregular(30, bpm), np.arange(7500) / 250
    swing = np.where(t < 1, height * np.sin(2 * np.pi * 4 * t) * np.exp(-t / 0.4), 0.0)
    found = ecg_beats(lead(truth, 250.0, 30) + swing, 250.0) / 250
    assert same_beats(found[found > 1.5], truth[truth > 1.5])


@pytest.mark.parametrize("height", [5.0, 10.0])
@pytest.mark.parametrize("at_s", [0.5, 1.5, 3.0])
@pytest.mark.parametrize("bpm", [45, 72, 110])
def test_an_electrode_knocked_in_the_first_seconds_costs_no_later_beat(bpm, at_s, height):
    truth, t = irregular(30, bpm), np.arange(7500) / 250
    knock = np.where(t > at_s, height * np.exp(-(t - at_s) / 0.4), 0.0)
    found = ecg_beats(lead(truth, 250.0, 30) + knock, 250.0) / 250
    assert same_beats(found[found > at_s + 1.5], truth[truth > at_s + 1.5])


@pytest.mark.parametrize("factor", [6.0, 15.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_gain_that_grows_many_times_is_followed(factor, seed):
    """The first six seconds apart, of which the last three judge what the others brought."""
    truth = irregular(60, 70, seed)
    wave = lead(truth, 250.0, 60, noise=0.002, seed=seed)
    wave[7500:] *= factor
    found = ecg_beats(wave, 250.0) / 250
    for part in (lambda at: at < 29, lambda at: at > 36):
        assert same_beats(found[part(found)], truth[part(truth)])
    missed, extra = counts(found, truth)
    assert missed <= 5
    assert extra <= 6


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("first", ["normal", "ventricular"])
def test_bigeminy_from_the_start_is_found_whole(first, sign):
    starts = np.arange(0.5, 30, 0.8)
    wide = (np.arange(len(starts)) % 2) == (1 if first == "normal" else 0)
    truth = starts - np.where(wide, 0.25, 0.0)
    wave = lead(truth[~wide], 250.0, 32) + sign * lead(truth[wide], 250.0, 32, noise=0.0, shape=VENTRICULAR)
    assert counts(ecg_beats(wave, 250.0) / 250, truth) == (0, 0)


@pytest.mark.parametrize("seconds", [3, 5, 20])
@pytest.mark.parametrize("t_height", [0.3, 0.9, 1.5])
@pytest.mark.parametrize("bpm", [38, 65, 120])
def test_t_waves_of_a_clean_lead_are_never_beats(bpm, t_height, seconds):
    """Nor where nothing else is known yet, nor where they are the highest of all."""
    shape = (*NORMAL[:3], (t_height, 0.25, 0.045))
    truth = irregular(seconds, bpm)
    assert counts(ecg_beats(lead(truth, 250.0, seconds, shape=shape), 250.0) / 250, truth)[1] == 0


@pytest.mark.parametrize("p_height", [0.12, 0.25, 0.4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_p_waves_of_a_blocked_heart_are_no_beats(p_height, seed):
    """Eight seconds in which the atria beat on: no QRS complex follows their P waves, which may even be taller."""
    truth = irregular(60, 70, seed)
    truth = truth[(truth < 20) | (truth > 28)]
    wave, t = lead(truth, 250.0, 60, seed=seed), np.arange(15000) / 250
    for at in np.arange(20.3, 28, 0.7):
        wave += p_height * np.exp(-0.5 * ((t - at) / 0.024) ** 2)
    missed, extra = counts(ecg_beats(wave, 250.0) / 250, truth)
    assert missed == 0
    assert extra <= 2


@pytest.mark.parametrize("trouble", ["white", "muscle", "movement", "hum"])
def test_noise_costs_few_beats_and_brings_few(trouble):
    rng, rate_hz, truth = np.random.default_rng(5), 250.0, irregular(120, 75)
    clean = lead(truth, rate_hz, 120)
    white = rng.standard_normal(len(clean))
    noise = {
        "white": 0.12 * white,
        "muscle": 0.15 * bandpass(white, rate_hz, 20.0, rate_hz) / 0.8,
        "movement": 0.02 * bandpass(np.cumsum(white), rate_hz, 0.5, 10.0),
        "hum": 0.3 * np.sin(2 * np.pi * 50 * np.arange(len(clean)) / rate_hz),
    }[trouble]
    missed, extra = counts(ecg_beats(clean + noise, rate_hz) / rate_hz, truth)
    assert missed <= 0.02 * len(truth)
    assert extra <= 0.02 * len(truth)


@pytest.mark.parametrize("level", [0.0, 1e6, -3.3])
def test_a_flat_lead_has_no_beats(level):
    assert len(ecg_beats(np.full(2500, level), 250.0)) == 0


def test_missing_samples_cost_their_own_beats_only():
    truth = irregular(60, 70)
    wave = lead(truth, 250.0, 60)
    wave[5000:6000] = np.nan
    wave[9000:9010] = np.nan
    there = (truth < 19.95) | (truth > 24.05)
    assert same_beats(ecg_beats(wave, 250.0) / 250, truth[there], 0.05)


def test_a_lead_too_slow_to_show_beats_is_refused():
    with pytest.raises(SettingError, match="at least 80 Hz"):
        ecg_beats(np.zeros(100), 50.0)


def test_beats_of_a_band_keep_to_its_peaks():
    truth = irregular(30, 70)
    found = energy_beats(bandpass(lead(truth, 250.0, 30), 250.0, 8.0, 20.0), 250.0) / 250
    assert same_beats(found, truth, 0.01)


def finger(beats_s, rate_hz, seconds, notch=0.3, noise=0.005):
    """A pulse of 0.15 s rise, and a second wave behind its notch."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = np.exp(-0.5 * ((t[:, None] - beats_s - 0.15) / 0.07) ** 2).sum(axis=1)
    wave += notch * np.exp(-0.5 * ((t[:, None] - beats_s - 0.46) / 0.09) ** 2).sum(axis=1)
    return wave + np.random.default_rng(1).normal(0, noise, len(t))


@pytest.mark.parametrize("rate_hz", [28.0, 30.0, 64.0, 100.0, 500.0, 1000.0])
@pytest.mark.parametrize("bpm", [45, 72, 140])
def test_pulses_come_at_the_steepest_rise(rate_hz, bpm):
    truth = irregular(40, bpm)
    found = ppg_pulses(finger(truth, rate_hz, 40, notch=0.0, noise=0.001), rate_hz, upright=True) / rate_hz
    assert len(found) == len(truth)
    late = (found - truth)[1:-1] - 0.08  # a bell is steepest one standard deviation before its top
    assert np.abs(late + 0.006).max() < 0.004  # smoothing with 0.03 s makes its 0.07 s to 0.076


@pytest.mark.parametrize("height", [5.0, 10.0])
@pytest.mark.parametrize("at_s", [0.5, 1.5, 3.0])
@pytest.mark.parametrize("bpm", [45, 72, 110])
def test_a_large_movement_in_the_first_seconds_costs_no_later_pulse(bpm, at_s, height):
    """There and back, half a second later: nothing stands alone, and both are alike."""
    truth, t = irregular(30, bpm), np.arange(3000) / 100
    there, back = (np.exp(-0.5 * ((t - at) / 0.1) ** 2) for at in (at_s, at_s + 0.5))
    found = ppg_pulses(finger(truth, 100.0, 30) + height * (there - back), 100.0, upright=True) / 100
    rises = truth + 0.08
    assert same_beats(found[found > at_s + 1.5], rises[rises > at_s + 1.5])


@pytest.mark.parametrize("factor", [6.0, 15.0])
def test_light_that_grows_many_times_is_followed(factor):
    truth = irregular(60, 70)
    wave = finger(truth, 100.0, 60, noise=0.001)
    wave[3000:] *= factor
    found, late = ppg_pulses(wave, 100.0, upright=True) / 100, truth + 0.08
    assert same_beats(found[found > 36], late[late > 36])
    assert counts(found, late)[0] <= 5


@pytest.mark.parametrize("factor", [1.0, -1.0, -500.0])
def test_the_direction_of_the_light_is_found(factor):
    truth = irregular(40, 70)
    wave = factor * finger(truth, 64.0, 40) + 1e4
    assert pulses_point_up(wave, 64.0) is (factor > 0)
    assert len(ppg_pulses(wave, 64.0)) == len(truth)


@pytest.mark.parametrize("bpm", [50, 70, 90])
def test_the_wave_behind_the_dicrotic_notch_is_no_pulse(bpm):
    truth = irregular(60, bpm)
    assert len(ppg_pulses(finger(truth, 100.0, 60, notch=0.5), 100.0)) == len(truth)


def test_an_arrhythmic_pulse_is_followed():
    rng = np.random.default_rng(2)
    truth = 0.5 + np.cumsum(rng.uniform(0.55, 1.3, 60))
    found = ppg_pulses(finger(truth, 100.0, truth[-1] + 1, notch=0.15), 100.0) / 100
    assert counts(found, truth + 0.08) == (0, 0)


def test_feet_are_where_the_tangent_meets_the_level_before():
    """A pulse made of a level and a straight rise of 0.2 s: tangent and level meet at its corner."""
    truth, rate_hz = np.arange(1.0, 30, 0.9), 500.0
    t = np.arange(15500) / rate_hz
    wave = np.zeros(len(t))
    for beat in truth:
        wave += np.interp(t - beat, [0, 0.2, 0.55], [0, 1, 0])
    rises = ppg_pulses(wave, rate_hz)
    feet = pulse_feet(wave, rate_hz, rises) / rate_hz
    assert len(feet) == len(truth)
    assert np.abs(feet - truth).max() < 0.004


def test_a_pulse_at_the_very_start_has_no_foot():
    truth = np.arange(0.1, 20, 0.8)
    wave = finger(truth, 100.0, 20)
    feet = pulse_feet(wave, 100.0, np.array([15.0, 500.0]))
    assert np.isnan(feet[0])
    assert np.isfinite(feet[1])


@pytest.mark.parametrize("bpm", [45, 72, 140])
def test_pulses_of_a_band_come_at_the_steepest_rise(bpm):
    truth = irregular(40, bpm)
    t = np.arange(40 * 64) / 64
    wave = np.exp(-0.5 * ((t[:, None] - truth - 0.1) / 0.08) ** 2).sum(axis=1)
    found = pulses(np.gradient(bandpass(wave, 64.0, 0.5, 4.0)), 64.0) / 64
    assert len(found) == len(truth)
    assert np.ptp(found - truth) < 0.06
