"""Respiration: known doses in any unit; people who sigh, pause and hesitate; and what is no breath."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import signal as filters

from drivers.quality import FLAGS, StreamScorer, score, scores
from drivers.types import Samples, StreamSpec
from simulators.draws import Draws
from simulators.faults import Where
from simulators.faults.registry import make_fault
from simulators.profile import make_profile
from simulators.sensor import digitise
from simulators.signals.registry import make_signal
from simulators.subject import Subject

BELT = StreamSpec("respiration", "respiration", ("belt",), "a.u.", 25.0, lsb=1.0, low=0.0, high=1023.0)
PLAIN = StreamSpec("respiration", "respiration", ("belt",), "a.u.", 25.0)
SECONDS = 50
PEOPLE = range(6)


def chest_of(seed: int, spec: StreamSpec = BELT, options=None, profile=None, **fault):
    times_s = np.arange(int(SECONDS * spec.rate_hz)) / spec.rate_hz
    signal = make_signal(options or {}, Subject(seed, make_profile(profile)), spec, Draws(seed, "bench", "respiration"))
    values = signal.render(0, times_s)
    if fault:
        where = Where("bench", 0, Draws(seed, "fault"), lambda truth: None, spec, signal.span)
        values = make_fault(fault).bind(where).apply(0, times_s, values)
    return digitise(values, spec), np.rint(times_s * 1e9).astype(np.int64)


def judged_chest(seed: int, spec: StreamSpec = BELT, options=None, profile=None, **fault):
    values, times_ns = chest_of(seed, spec, options, profile, **fault)
    return scores(values, times_ns, spec, np.arange(10, SECONDS + 1) * 1_000_000_000)


def breathing(onsets_s, depths, seconds: float, rate_hz: float = 25.0, seed: int = 0) -> np.ndarray:
    """Breaths of 4 s, half cosines of the given depths, with a little noise; (n, 1)."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = np.zeros(len(time_s))
    for onset, depth in zip(onsets_s, depths, strict=True):
        phase = np.clip((time_s - onset) / 1.6, 0, 1) / 2 + np.clip((time_s - onset - 1.6) / 2.4, 0, 1) / 2
        wave += depth * (0.5 - 0.5 * np.cos(2 * np.pi * phase))
    return wave[:, None] + np.random.default_rng(seed).normal(0, 0.005, (len(time_s), 1))


# --- clean ------------------------------------------------------------------------------------


def test_clean_breathing_of_twenty_people_is_good_and_without_flags():
    for seed in range(20):
        result = judged_chest(seed)
        assert result.score.min() >= 0.5
        assert not any(raised.any() for raised in result.flags.values())


@pytest.mark.parametrize("breaths", [6.0, 10.0, 30.0, 45.0])
def test_slow_and_fast_breathing_is_good(breaths):
    for seed in PEOPLE:
        assert judged_chest(seed, profile={"breath_rate_per_min": breaths}).score.min() >= 0.5


@pytest.mark.parametrize("rate_hz", [10.0, 125.0, 1000.0])
def test_breathing_is_good_at_any_sampling_rate(rate_hz):
    spec = dataclasses.replace(BELT, rate_hz=rate_hz)
    assert all(judged_chest(seed, spec).score.min() >= 0.5 for seed in range(3))


@pytest.mark.parametrize("gain", [1e-6, -3.0, 1e5])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_unit_gain_polarity_and_offset_do_not_matter(gain, offset):
    values, times_ns = chest_of(1, PLAIN)
    ends = np.arange(20, SECONDS + 1) * 1_000_000_000
    assert scores(gain * (values + offset), times_ns, PLAIN, ends).score.min() == 1


def test_a_sigh_three_times_as_deep_and_a_held_breath_are_no_bad_signal():
    sigh = breathing(np.arange(0.5, 40, 4), [1, 1, 1, 1, 3, 0.6, 1, 1, 1, 1], 40)
    pause = breathing([0.5, 4.5, 8.5, 12.5, 24.5, 28.5, 32.5, 36.5], np.ones(8), 40)
    uneven = breathing(np.cumsum([0.5, 4, 6, 4.2, 5, 4, 7, 4.4]), [1, 0.7, 1.2, 0.5, 1, 1.4, 0.8, 1], 40)
    ends = np.arange(20, 41) * 1_000_000_000
    for values in (sigh, pause, uneven):
        times_ns = np.rint(np.arange(len(values)) * 4e7).astype(np.int64)
        result = scores(values, times_ns, PLAIN, ends)
        assert result.score.min() >= 0.5
        assert not any(raised.any() for raised in result.flags.values())


# --- doses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flag", "fault"), [
    ("flat", {"fault": "flatline"}),
    ("saturated", {"fault": "lead_off"}),
    ("noise", {"fault": "lead_off", "reads": "noise"}),
    ("noise", {"fault": "motion"}),
    ("noise", {"fault": "white_noise"}),
    ("saturated", {"fault": "clipping"}),
])  # fmt: skip
def test_what_ruins_breathing_is_scored_low_and_named(flag, fault):
    results = [judged_chest(seed, **fault) for seed in PEOPLE]
    low = np.concatenate([result.score < 0.5 for result in results])
    named = np.concatenate([result.flags[flag] for result in results])
    assert low.mean() >= 0.95
    assert named.mean() >= 0.95
    assert set(results[0].flags) <= set(FLAGS)


def test_movement_that_leaves_no_breath_like_another_is_named():
    spec = dataclasses.replace(BELT, low=None, high=None)
    moved = np.concatenate([judged_chest(seed, spec, fault="motion").flags["motion"] for seed in PEOPLE])
    noisy = np.concatenate([judged_chest(seed, spec, fault="white_noise").flags["motion"] for seed in PEOPLE])
    assert moved.mean() >= 0.7
    assert noisy.mean() <= 0.1


@pytest.mark.parametrize("rate_hz", [25.0, 100.0])
def test_spikes_are_noise_though_averaging_hides_them(rate_hz):
    spec = dataclasses.replace(BELT, rate_hz=rate_hz, low=None, high=None)
    low = np.concatenate([judged_chest(seed, spec, fault="spikes").score < 0.5 for seed in PEOPLE])
    assert low.mean() >= 0.9


@pytest.mark.parametrize("fault", [
    {"fault": "white_noise", "level": 0.2}, {"fault": "motion", "level": 0.1},
    {"fault": "flatline", "fraction": 0.1}, {"fault": "spikes", "level": 0.5},
])  # fmt: skip
def test_what_leaves_the_breaths_visible_leaves_the_score_good(fault):
    low = np.concatenate([judged_chest(seed, **fault).score < 0.5 for seed in PEOPLE])
    assert low.mean() <= 0.02


def test_more_noise_never_makes_breathing_better():
    medians = [np.median(judged_chest(1, fault="white_noise", level=x).score) for x in (0.05, 0.2, 0.3, 0.4, 0.5, 0.7)]
    assert medians == sorted(medians, reverse=True)
    assert medians[0] == 1
    assert medians[-1] == 0


# --- no breath --------------------------------------------------------------------------------


def test_white_noise_and_movement_without_any_breath_are_low():
    rng = np.random.default_rng(1)
    band = filters.butter(2, (0.5, 10.0), "bandpass", fs=25.0, output="sos")
    for values in (rng.normal(size=5000), filters.sosfiltfilt(band, rng.normal(size=5000))):
        result = scores(values[:, None], np.arange(5000) * 40_000_000, PLAIN, np.arange(20, 201) * 1_000_000_000)
        assert (result.score < 0.5).mean() >= 0.99
        assert result.flags["noise"].mean() >= 0.99


def test_a_line_without_a_sound_is_flat_and_a_few_steps_are_coarse():
    assert "flat" in score(np.full((500, 1), 512.0), 25.0, BELT).flags
    wave = 512 + np.rint(2 * np.sin(2 * np.pi * 0.25 * np.arange(500) / 25) + 0.3 * np.sin(np.arange(500) * 1.7))
    assert "coarse" in score(wave[:, None], 25.0, BELT).flags


def test_flat_tops_alone_are_the_amplifiers_business_and_flat_ends_are_clipping():
    wave = breathing(np.arange(0.5, 20, 4), np.ones(5), 20)
    tops, both = np.minimum(wave, 0.7), np.clip(wave, 0.25, 0.75)
    assert "saturated" not in score(tops, 25.0, PLAIN).flags
    assert "saturated" in score(both, 25.0, PLAIN).flags


def test_breathing_has_the_same_score_alone_among_others_and_as_it_comes():
    values, times_ns = chest_of(3, fault="motion", level=0.4)
    ends = np.arange(20, SECONDS + 1)
    together = scores(values, times_ns, BELT, ends * 1_000_000_000).score
    assert together.tolist() == [score(values[(end - 20) * 25 : end * 25], 25.0, BELT).score for end in ends.tolist()]
    scorer = StreamScorer(BELT)
    for second in range(SECONDS):
        part = slice(25 * second, 25 * second + 25)
        scorer.update(Samples("respiration", values[part], np.arange(25), times_ns[part]), times_ns[part])
    assert float(scorer.result()) == together[-1]
