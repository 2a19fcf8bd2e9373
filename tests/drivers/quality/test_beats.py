"""Beats at known places: synthetic ones here, the MIT-BIH record in tests/benchmarks/quality_ecg.py."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.quality.beats import amplitude_beats, bandpass, ecg_beats, pulses


def lead(beats_s, rate_hz, seconds, noise=0.01, seed=0):
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = sum(
        h * np.exp(-0.5 * ((t[:, None] - beats_s - at) / w) ** 2).sum(axis=1)
        for h, at, w in ((1.0, 0.0, 0.01), (-0.2, 0.03, 0.011), (0.12, -0.16, 0.024), (0.28, 0.27, 0.05))
    )
    return wave + np.random.default_rng(seed).normal(0, noise, len(t))


def irregular(seconds, bpm, seed=0):
    rng = np.random.default_rng(seed)
    times = 0.8 + np.cumsum(60 / bpm * (1 + 0.06 * rng.standard_normal(int(seconds * bpm / 60) + 5)))
    return times[times < seconds - 0.5]


@pytest.mark.parametrize("rate_hz", [100.0, 130.0, 250.0, 512.0, 1000.0])
@pytest.mark.parametrize("bpm", [40, 70, 150, 190])
def test_every_beat_is_found_once_to_the_sample(rate_hz, bpm):
    truth = irregular(60, bpm)
    found = ecg_beats(lead(truth, rate_hz, 60), rate_hz) / rate_hz
    assert len(found) == len(truth)
    assert np.abs(found - truth).max() <= max(0.006, 1.1 / rate_hz)


@pytest.mark.parametrize("factor", [-1.0, 1e-3, 1e3])
def test_polarity_and_gain_do_not_matter(factor):
    truth = irregular(30, 70)
    found = ecg_beats(factor * lead(truth, 250.0, 30), 250.0) / 250
    assert len(found) == len(truth)
    assert np.abs(found - truth).max() < 0.01


def test_the_second_detector_agrees_on_a_clean_lead():
    truth = irregular(30, 70)
    found = amplitude_beats(bandpass(lead(truth, 250.0, 30), 250.0, 0.7, 40.0), 250.0) / 250
    assert len(found) == len(truth)
    assert np.abs(found - truth).max() < 0.01


def test_a_pause_and_a_change_of_height_are_survived():
    truth = irregular(60, 70)
    truth = truth[(truth < 30) | (truth > 34)]
    wave = lead(truth, 250.0, 60, noise=0.003)
    wave[7500:] *= 0.4
    assert len(ecg_beats(wave, 250.0)) >= len(truth) - 2


def test_a_flat_lead_has_no_beats():
    assert len(ecg_beats(np.zeros(2500), 250.0)) == 0


@pytest.mark.parametrize("bpm", [45, 72, 140])
def test_pulses_come_at_the_steepest_rise(bpm):
    truth = irregular(40, bpm)
    t = np.arange(40 * 64) / 64
    wave = np.exp(-0.5 * ((t[:, None] - truth - 0.1) / 0.08) ** 2).sum(axis=1)
    found = pulses(np.gradient(bandpass(wave, 64.0, 0.5, 4.0)), 64.0) / 64
    assert len(found) == len(truth)
    assert np.ptp(found - truth) < 0.06
