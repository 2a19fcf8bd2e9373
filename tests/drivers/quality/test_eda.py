"""EDA: known doses of what happens to electrodes, Kleckner's rules on signals written out by hand, and any rate."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from drivers.quality import FLAGS, StreamScorer, score, scores
from drivers.types import Samples, StreamSpec
from simulators.draws import Draws
from simulators.faults import Where
from simulators.faults.registry import make_fault
from simulators.profile import make_profile
from simulators.sensor import digitise
from simulators.signals.registry import make_signal
from simulators.subject import Subject

EDA = StreamSpec("eda", "eda", ("eda",), "uS", 8.0, lsb=0.001, low=0.0, high=100.0)
PLAIN = StreamSpec("eda", "eda", ("eda",), "uS", 8.0)
SECONDS = 40
PEOPLE = range(6)


def skin_of(seed: int, spec: StreamSpec = EDA, options=None, profile=None, **fault):
    """(values, times in ns) of SECONDS of a simulated person's skin, with one fault or none."""
    times_s = np.arange(int(SECONDS * spec.rate_hz)) / spec.rate_hz
    signal = make_signal(options or {}, Subject(seed, make_profile(profile)), spec, Draws(seed, "bench", "eda"))
    values = signal.render(0, times_s)
    if fault:
        where = Where("bench", 0, Draws(seed, "fault"), lambda truth: None, spec, signal.span)
        values = make_fault(fault).bind(where).apply(0, times_s, values)
    return digitise(values, spec), np.rint(times_s * 1e9).astype(np.int64)


def judged_skin(seed: int, spec: StreamSpec = EDA, options=None, profile=None, **fault):
    values, times_ns = skin_of(seed, spec, options, profile, **fault)
    return scores(values, times_ns, spec, np.arange(10, SECONDS + 1) * 1_000_000_000)


def clean_and_silent(result) -> bool:
    return bool(result.score.min() >= 0.5 and not any(raised.any() for raised in result.flags.values()))


# --- clean ------------------------------------------------------------------------------------


def test_clean_skin_of_twenty_people_is_good_and_without_flags():
    assert all(clean_and_silent(judged_skin(seed)) for seed in range(20))


@pytest.mark.parametrize("rate_hz", [4.0, 5.0, 16.0, 100.0, 1000.0])
def test_the_sampling_rate_does_not_matter(rate_hz):
    spec = dataclasses.replace(EDA, rate_hz=rate_hz)
    assert all(clean_and_silent(judged_skin(seed, spec)) for seed in range(3))


def test_three_nanosiemens_of_noise_at_16_hz_are_no_noise():
    spec = dataclasses.replace(EDA, rate_hz=16.0, lsb=0.0009)
    for seed in range(10):
        result = judged_skin(seed, spec, {"noise_us": 0.003})
        assert clean_and_silent(result)
        assert result.parts["noise"].min() == 1


@pytest.mark.parametrize("profile", [
    {"script": "stress", "scr_per_min": 4.0}, {"skin_conductance_us": 0.5, "scr_per_min": 20.0},
    {"skin_conductance_us": 40.0}, {"scr_per_min": 0.0},
])  # fmt: skip
def test_dry_and_wet_calm_and_sweating_skin_is_no_artefact(profile):
    assert all(clean_and_silent(judged_skin(seed, profile=profile)) for seed in PEOPLE)


@pytest.mark.parametrize("lsb", [0.0061, 25 / 1023])
def test_a_quiet_sensor_with_coarse_steps_is_not_stuck(lsb):
    spec = dataclasses.replace(EDA, lsb=lsb)
    assert all(clean_and_silent(judged_skin(seed, spec, {"noise_us": 0.0})) for seed in PEOPLE)


# --- doses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flags", "fault"), [
    ("flat", {"fault": "flatline"}),
    ("flat", {"fault": "flatline", "fraction": 1.0}),
    ("off_body", {"fault": "lead_off"}),
    ("saturated", {"fault": "lead_off"}),
    ("motion noise", {"fault": "motion"}),
    ("noise", {"fault": "white_noise"}),
    ("motion noise", {"fault": "spikes"}),
])  # fmt: skip
def test_what_ruins_it_is_scored_low_and_named(flags, fault):
    results = [judged_skin(seed, **fault) for seed in PEOPLE]
    low = np.concatenate([result.score < 0.5 for result in results])
    named = np.concatenate([np.any([result.flags[flag] for flag in flags.split()], axis=0) for result in results])
    assert low.mean() >= 0.95
    assert named.mean() >= 0.95
    assert set(results[0].flags) <= set(FLAGS)


@pytest.mark.parametrize("fault", ["white_noise", "spikes", "motion", "lead_off"])
def test_a_fast_rate_hides_none_of_it(fault):
    spec = dataclasses.replace(EDA, rate_hz=100.0, lsb=25 / 1023)
    low = np.concatenate([judged_skin(seed, spec, fault=fault).score < 0.5 for seed in range(3)])
    assert low.mean() >= 0.95


@pytest.mark.parametrize("fault", [
    {"fault": "flatline", "fraction": 0.02}, {"fault": "white_noise", "level": 0.035},
    {"fault": "motion", "level": 0.05}, {"fault": "spikes", "level": 0.2},
])  # fmt: skip
def test_what_hurts_nobody_leaves_it_good(fault):
    low = np.concatenate([judged_skin(seed, **fault).score < 0.5 for seed in PEOPLE])
    assert low.mean() <= 0.02


def test_more_noise_is_never_better():
    medians = [
        np.median(judged_skin(1, fault="white_noise", level=level).score) for level in (0.02, 0.1, 0.15, 0.2, 0.3, 0.6)
    ]
    assert medians == sorted(medians, reverse=True)
    assert medians[0] == 1
    assert medians[-1] == 0


# --- by hand ----------------------------------------------------------------------------------


def level_skin(seconds: float = 10.0, rate_hz: float = 8.0, us: float = 5.0, seed: int = 0) -> np.ndarray:
    return us + np.random.default_rng(seed).normal(0, 0.002, round(seconds * rate_hz))[:, None]


@pytest.mark.parametrize("us", [0.03, 70.0])
def test_conductance_beyond_what_skin_has_is_off_the_body(us):
    result = score(level_skin(us=us), 8.0, PLAIN)
    assert result.score == 0
    assert result.flags == {"off_body"}


def test_limits_apply_to_the_unit_that_the_stream_has():
    nano = dataclasses.replace(PLAIN, unit="nS")
    assert score(level_skin(us=5.0) * 1000, 8.0, nano).score == 1
    assert score(level_skin(us=5.0), 8.0, nano).flags == {"off_body"}
    unknown = dataclasses.replace(PLAIN, unit="counts")
    assert "off_body" not in score(level_skin(us=0.03), 8.0, unknown).flags


def test_the_seconds_around_a_lost_contact_count_too_but_less():
    inside, at_the_end = level_skin(), level_skin()
    inside[36:44] = 0.01
    at_the_end[-8:] = 0.01
    ranges = [score(values, 8.0, PLAIN).parts["range"] for values in (level_skin(), at_the_end, inside)]
    assert ranges[0] == 1 > ranges[1] > ranges[2] > 0.5


def test_a_slope_of_more_than_ten_microsiemens_a_second_is_movement():
    values = level_skin(us=20.0)
    values[30:50, 0] += 12.0 * np.minimum(np.arange(20) / 8.0, 1.5)
    values[50:, 0] += 18.0
    result = score(values, 8.0, PLAIN)
    assert "motion" in result.flags
    assert result.parts["slope"] < 1


@pytest.mark.parametrize("rate_hz", [4.0, 8.0, 100.0])
@pytest.mark.parametrize("height_us", [-3.0, 3.0])
def test_a_step_of_the_contact_is_movement_at_any_rate(rate_hz, height_us):
    values = level_skin(rate_hz=rate_hz)
    values[len(values) // 2 :] += height_us
    result = score(values, rate_hz, PLAIN)
    assert result.flags == {"motion"}
    assert result.score < 0.5


def test_a_large_response_is_no_step():
    time_s = np.arange(80) / 8.0 - 3
    bateman = np.where(time_s > 0, np.exp(-time_s / 3.0) - np.exp(-time_s / 0.75), 0.0)
    values = level_skin(us=2.0) + 1.5 * bateman[:, None] / bateman.max()
    assert score(values, 8.0, PLAIN).flags == set()


def test_steps_that_hide_every_response_are_coarse():
    spec = dataclasses.replace(PLAIN, lsb=0.25)
    result = score(np.rint(level_skin(us=5.1) / 0.25) * 0.25, 8.0, spec)
    assert "coarse" in result.flags
    assert result.score < 0.5


def test_alone_among_others_and_as_it_comes_a_window_has_the_same_score():
    values, times_ns = skin_of(3, fault="motion", level=0.15)
    ends = np.arange(10, SECONDS + 1)
    together = scores(values, times_ns, EDA, ends * 1_000_000_000).score
    alone = [score(values[(end - 10) * 8 : end * 8], 8.0, EDA).score for end in ends.tolist()]
    assert together.tolist() == alone
    scorer = StreamScorer(EDA)
    for second in range(SECONDS):
        part = slice(8 * second, 8 * second + 8)
        scorer.update(Samples("eda", values[part], np.arange(8), times_ns[part]), times_ns[part])
    assert float(scorer.result()) == together[-1]
