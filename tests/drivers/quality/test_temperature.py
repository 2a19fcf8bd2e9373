"""Skin temperature: known doses, and what may be called stuck: only what the step, the noise and the time allow."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from drivers.quality import FLAGS, score, scores
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.faults import Where
from simulators.faults.registry import make_fault
from simulators.profile import make_profile
from simulators.sensor import digitise
from simulators.signals.registry import make_signal
from simulators.subject import Subject

SKIN = StreamSpec("temperature", "temperature", ("skin",), "C", 4.0, lsb=0.005, low=-40.0, high=115.0)
SECONDS = 60
PEOPLE = range(6)


def warmth_of(seed: int, spec: StreamSpec = SKIN, options=None, profile=None, **fault):
    times_s = np.arange(int(SECONDS * spec.rate_hz)) / spec.rate_hz
    signal = make_signal(options or {}, Subject(seed, make_profile(profile)), spec, Draws(seed, "bench", "temperature"))
    values = signal.render(0, times_s)
    if fault:
        where = Where("bench", 0, Draws(seed, "fault"), lambda truth: None, spec, signal.span)
        values = make_fault(fault).bind(where).apply(0, times_s, values)
    return digitise(values, spec), np.rint(times_s * 1e9).astype(np.int64)


def judged_warmth(seed: int, spec: StreamSpec = SKIN, options=None, profile=None, **fault):
    values, times_ns = warmth_of(seed, spec, options, profile, **fault)
    return scores(values, times_ns, spec, np.arange(10, SECONDS + 1) * 1_000_000_000)


def constant(seconds: float, celsius: float = 33.0, rate_hz: float = 4.0) -> np.ndarray:
    return np.full((round(seconds * rate_hz), 1), celsius)


def test_clean_skin_of_twenty_people_is_warm_good_and_without_flags():
    for seed in range(20):
        result = judged_warmth(seed)
        assert result.score.min() >= 0.5
        assert not any(raised.any() for raised in result.flags.values())


@pytest.mark.parametrize("rate_hz", [1.0, 25.0, 100.0])
def test_the_rate_of_a_thermometer_does_not_matter(rate_hz):
    spec = dataclasses.replace(SKIN, rate_hz=rate_hz)
    assert all(judged_warmth(seed, spec).score.min() >= 0.5 for seed in range(3))


@pytest.mark.parametrize(("flags", "fault"), [
    ("flat", {"fault": "flatline"}),
    ("noise", {"fault": "white_noise"}),
    ("motion", {"fault": "spikes"}),
])  # fmt: skip
def test_what_ruins_a_temperature_is_scored_low_and_named(flags, fault):
    results = [judged_warmth(seed, **fault) for seed in PEOPLE]
    low = np.concatenate([result.score < 0.5 for result in results])
    named = np.concatenate([result.flags[flags] for result in results])
    assert low.mean() >= 0.95
    assert named.mean() >= 0.95
    assert set(results[0].flags) <= set(FLAGS)


@pytest.mark.parametrize(("celsius", "flag"), [(20.0, "off_body"), (43.0, "off_body")])
def test_room_air_and_hot_water_are_no_skin(celsius, flag):
    result = judged_warmth(1, profile={"skin_temperature_c": celsius})
    assert (result.score < 0.5).all()
    assert result.flags[flag].all()


def test_taking_the_sensor_off_is_seen_by_its_rate_and_then_by_its_level():
    time_s = np.arange(120) / 4.0
    values = (33 - 11 * (1 - np.exp(-np.maximum(time_s - 20, 0) / 5)))[:, None] + 0.001 * np.sin(time_s)[:, None]
    result = score(values, 4.0, SKIN)
    assert {"motion", "off_body"} & result.flags
    assert result.score < 0.5


def test_at_a_rail_it_is_saturated_and_not_stuck():
    result = score(constant(30, 115.0), 4.0, SKIN)
    assert "saturated" in result.flags
    assert "flat" not in result.flags


# --- stuck ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lsb", "noise_c"), [
    (0.0078125, 0.002), (0.01, 0.002), (0.01, 0.004), (0.02, 0.0), (0.02, 0.005), (0.0625, 0.01), (0.1, 0.0),
])  # fmt: skip
def test_a_sensor_whose_noise_is_below_its_step_is_good_on_calm_skin(lsb, noise_c):
    spec = dataclasses.replace(SKIN, lsb=lsb)
    results = [judged_warmth(seed, spec, {"noise_c": noise_c}) for seed in range(4)]
    assert np.concatenate([result.score for result in results]).min() >= 0.5


def test_how_long_an_unmoving_sensor_may_rest_grows_with_its_step():
    fine = dataclasses.replace(SKIN, lsb=0.001)
    coarse = dataclasses.replace(SKIN, lsb=0.1)
    assert score(constant(8), 4.0, fine).score >= 0.5
    assert score(constant(12), 4.0, fine).flags == {"flat"}
    assert score(constant(30), 4.0, coarse).score == 1


def test_noise_above_the_step_tells_a_stuck_sensor_within_seconds():
    spec = dataclasses.replace(SKIN, lsb=0.01)
    values = np.round(33 + np.random.default_rng(0).normal(0, 0.02, (80, 1)), 2)
    values[40:] = values[40]
    assert score(values, 4.0, spec).flags == {"flat"}


@pytest.mark.parametrize("fraction", [0.5, 0.7, 0.8])
def test_a_sensor_that_is_stuck_most_of_the_time_shows_its_noise_in_the_rest(fraction):
    spec = dataclasses.replace(SKIN, lsb=0.01)
    results = [judged_warmth(seed, spec, fault="flatline", fraction=fraction) for seed in range(20)]
    assert np.mean([result.score[20:] < 0.5 for result in results]) >= 0.95  # windows of the full 30 s


def test_rests_that_say_nothing_each_alone_do_together():
    spec = dataclasses.replace(SKIN, lsb=0.01)
    noisy, calm = np.array([1, 1, 4, 1, 1, 0, 0, 1]), np.array([1, 2, 1, 1, 2, 1, 2, 1])
    rest, drift = np.zeros(32), np.arange(32) // 8
    thrice = np.concatenate([rest, noisy, rest, calm, rest, noisy])
    once = np.concatenate([drift, noisy, rest, calm, drift, noisy])
    assert score(33 + 0.01 * thrice[:, None], 4.0, spec).flags == {"flat"}
    assert score(33 + 0.01 * once[:, None], 4.0, spec).score == 1


def test_two_jumps_to_and_fro_are_one_event_and_no_noise():
    spec = dataclasses.replace(SKIN, lsb=0.01)
    values = constant(30)
    values[40:80] += 0.01
    values[58] += 0.03
    assert score(values, 4.0, spec).score == 1


@pytest.mark.parametrize("noise_c", [0.002, 0.003, 0.004, 0.005, 0.006])
def test_a_hundredth_of_a_degree_may_rest_again_and_again_on_calm_skin(noise_c):
    spec = dataclasses.replace(SKIN, lsb=0.01)
    results = [judged_warmth(seed, spec, {"noise_c": noise_c}) for seed in range(20)]
    assert min(result.score.min() for result in results) >= 0.5


def test_a_sensor_that_measures_once_a_second_and_sends_four_times_is_not_stuck():
    measured = 33 + np.random.default_rng(0).normal(0, 0.03, 30)
    spec = dataclasses.replace(SKIN, lsb=0.01)
    assert score(np.repeat(np.round(measured, 2), 4)[:, None], 4.0, spec).score == 1
    assert score(np.repeat(np.round(measured, 2), 4)[:, None], 4.0, dataclasses.replace(spec, lsb=None)).score == 1


def test_a_value_that_flickers_between_two_steps_says_nothing_of_the_noise():
    values = constant(30)
    values[:30] += 0.01 * (np.arange(30) % 3 == 0)[:, None]
    assert score(values, 4.0, dataclasses.replace(SKIN, lsb=0.01)).score == 1


def test_each_temperature_has_the_same_score_alone_and_among_others():
    values, times_ns = warmth_of(2, fault="flatline", fraction=0.3)
    ends = np.arange(30, SECONDS + 1)
    together = scores(values, times_ns, SKIN, ends * 1_000_000_000).score
    assert together.tolist() == [score(values[(end - 30) * 4 : end * 4], 4.0, SKIN).score for end in ends.tolist()]
    assert len(set(together.tolist())) > 1
