"""Skin conductance responses against the truth of simulated people, and what is none."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.quality.skin_responses import (
    LevelStream,
    ResponseStream,
    SkinResponses,
    conductance_level,
    find_responses,
)
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.profile import make_profile
from simulators.signals.registry import make_signal
from simulators.subject import Subject

MINUTES_5 = 300


def sweater(seed: int, rate_hz: float = 8.0, noise_us: float = 0.002, drift_us: float = 0.05, **profile):
    """(microsiemens (n,), true responses) of one simulated person."""
    spec = StreamSpec("eda", "eda", ("eda",), "uS", rate_hz)
    subject = Subject(seed, make_profile(profile))
    skin = make_signal({"noise_us": noise_us, "drift_us": drift_us}, subject, spec, Draws(seed, "bench"))
    values = skin.render(0, np.arange(round(MINUTES_5 * rate_hz)) / rate_hz)[:, 0]
    return values, subject.scrs(0.0, MINUTES_5)


def pairs(found: np.ndarray, true: np.ndarray, reach_s: float = 1.0) -> list[tuple[int, int]]:
    """(found, true) numbers, each at most once, nearest first."""
    distance = np.abs(found[:, None] - true[None, :])
    chosen: list[tuple[int, int]] = []
    for flat in np.argsort(distance, axis=None).tolist():
        one, other = divmod(flat, len(true))
        if distance[one, other] > reach_s:
            break
        if all(one != a and other != b for a, b in chosen):
            chosen.append((one, other))
    return chosen


def agreement_of(people, **person) -> tuple[float, np.ndarray]:
    """F1 at one second, and each hit's amplitude over the true one, away from the recording's ends."""
    hits = errors = 0
    ratios = []
    for seed in people:
        values, true = sweater(seed, **person)
        found = find_responses(values, person.get("rate_hz", 8.0))
        chosen = pairs(found.onset_s, true.onset_s)
        inner = [np.flatnonzero((t > 3) & (t < MINUTES_5 - 5)) for t in (found.onset_s, true.onset_s)]
        hits += 2 * len(chosen)
        errors += len(set(inner[0]) - {a for a, _ in chosen}) + len(set(inner[1]) - {b for _, b in chosen})
        ratios += [found.amplitude_us[a] / true.amplitude_us[b] for a, b in chosen]
    return hits / (hits + errors), np.array(ratios)


# --- against truth ----------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [8.0, 16.0, 100.0, 1000.0])
def test_every_response_at_rest_is_found_and_no_other(rate_hz):
    f1, ratios = agreement_of(range(4), rate_hz=rate_hz)
    assert f1 == 1
    assert np.median(np.abs(ratios - 1)) < 0.05


def test_four_samples_a_second_are_enough():
    f1, ratios = agreement_of(range(8), rate_hz=4.0)
    assert f1 > 0.95
    assert np.median(np.abs(ratios - 1)) < 0.06


def test_responses_on_the_flank_of_others_are_found():
    assert agreement_of(range(6), script="stress")[0] > 0.95
    assert agreement_of(range(4), scr_per_min=15.0)[0] > 0.88


@pytest.mark.parametrize(("noise_us", "least"), [(0.005, 0.99), (0.01, 0.97), (0.02, 0.9)])
def test_noise_costs_little_up_to_where_it_hides_them(noise_us, least):
    assert agreement_of(range(8), noise_us=noise_us)[0] >= least


def test_onset_peak_and_amplitude_are_those_of_the_curve():
    time_s = np.arange(8 * 60) / 8.0 - 30
    rise, fall = 0.75, 3.0
    bateman = np.where(time_s > 0, np.exp(-time_s / fall) - np.exp(-time_s / rise), 0.0)
    peak_s = np.log(fall / rise) * rise * fall / (fall - rise)
    found = find_responses(5 + 0.4 * bateman / (np.exp(-peak_s / fall) - np.exp(-peak_s / rise)), 8.0)
    assert found.onset_s == pytest.approx([30.0], abs=0.3)
    assert found.peak_s == pytest.approx([30 + peak_s], abs=0.3)
    assert found.amplitude_us == pytest.approx([0.4], rel=0.05)
    assert found.rise_s == pytest.approx(found.peak_s - found.onset_s)


def test_the_second_of_two_is_measured_above_the_drying_of_the_first():
    time_s = np.arange(8 * 60) / 8.0

    def bateman(start):
        since = np.maximum(time_s - start, 0)
        return (np.exp(-since / 3) - np.exp(-since / 0.75)) / 0.4725

    found = find_responses(4 + bateman(20.0) + 0.3 * bateman(24.0), 8.0)
    assert found.onset_s == pytest.approx([20.0, 24.0], abs=0.4)
    assert found.amplitude_us == pytest.approx([1.0, 0.3], rel=0.15)


def test_the_threshold_is_in_microsiemens_and_can_be_chosen():
    values, true = sweater(1)
    large = find_responses(values, 8.0, threshold_us=0.3)
    assert len(large.onset_s) == pytest.approx(np.sum(true.amplitude_us > 0.3), abs=1)
    assert large.amplitude_us.min() >= 0.3


def test_the_level_is_what_the_responses_stand_on():
    for seed, skin in ((1, 2.0), (2, 5.0), (3, 12.0)):
        values, _ = sweater(seed, skin_conductance_us=skin, drift_us=0.0)
        level = conductance_level(values, 8.0)
        assert len(level) == MINUTES_5
        assert np.abs(np.median(level) / skin - 1) < 0.06  # the script's arousal moves it by a few percent


# --- what is none -----------------------------------------------------------------------------


def calm(rate_hz: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    time_s = np.arange(round(MINUTES_5 * rate_hz)) / rate_hz
    return time_s, 5 + np.random.default_rng(seed).normal(0, 0.002, len(time_s))


@pytest.mark.parametrize(("noise_us", "most"), [(0.0, 0), (0.002, 0), (0.005, 0), (0.01, 0), (0.02, 2)])
def test_skin_without_responses_has_none(noise_us, most):
    people = [sweater(seed, noise_us=noise_us, scr_per_min=0.0)[0] for seed in range(4)]
    assert sum(len(find_responses(values, 8.0).onset_s) for values in people) <= most


def test_a_drifting_level_is_none():
    time_s, values = calm(8.0)
    values += 2.0 * np.sin(2 * np.pi * time_s / 120) + 0.01 * time_s
    assert len(find_responses(values, 8.0).onset_s) == 0


@pytest.mark.parametrize("rate_hz", [4.0, 8.0, 100.0])
@pytest.mark.parametrize("height_us", [0.1, 0.5, 2.0])
def test_steps_dips_and_bumps_of_the_contact_are_none(rate_hz, height_us):
    rng = np.random.default_rng(1)
    time_s, values = calm(rate_hz)
    steps, dips, bumps = values.copy(), values.copy(), values.copy()
    for at in np.arange(8.0, MINUTES_5 - 8, 9.7):
        steps += height_us * rng.choice([-1, 1]) * (time_s > at)
        short = (time_s > at) & (time_s < at + rng.uniform(0.3, 2))
        dips, bumps = dips - height_us * short, bumps + height_us * short
    assert len(find_responses(steps, rate_hz).onset_s) <= 1
    assert len(find_responses(dips, rate_hz).onset_s) == 0
    assert len(find_responses(bumps, rate_hz).onset_s) == 0


@pytest.mark.parametrize("values", [np.zeros(800), np.empty(0), np.ones(3), np.full(80, np.nan)])
def test_where_nothing_changes_there_is_none(values):
    assert len(find_responses(values, 8.0).onset_s) == 0


# --- as it comes ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rate_hz", [4.0, 8.0, 100.0])
def test_any_cut_gives_the_same_responses_and_level_to_the_last_bit(seed, rate_hz):
    values, _ = sweater(seed, rate_hz=rate_hz, noise_us=0.01, script="stress")
    values[300:310] = np.nan
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, len(values), int(rng.integers(1, 300)))).tolist()
    stream, level = ResponseStream(rate_hz), LevelStream(rate_hz)
    parts = [stream.feed(part) for part in np.split(values, cuts)] + [stream.finish()]
    whole = find_responses(values, rate_hz)
    assert len(whole.onset_s) > 10
    for name in SkinResponses.__slots__:
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
    levels = [level.feed(part) for part in np.split(values, cuts)] + [level.finish()]
    assert np.array_equal(np.concatenate(levels), conductance_level(values, rate_hz))


def test_a_response_is_known_within_sixteen_seconds_of_its_onset():
    values, _ = sweater(2, script="stress")
    stream, late = ResponseStream(8.0), []
    for second in range(MINUTES_5):
        found = stream.feed(values[8 * second : 8 * second + 8]).onset_s
        late += (second + 1 - found[found > 13]).tolist()
    assert len(late) > 10
    assert max(late) <= 16


def test_a_stream_of_responses_keeps_about_a_minute():
    values, _ = sweater(1)
    stream, sizes = ResponseStream(8.0), []
    for _ in range(5):
        stream.feed(values)
        sizes.append(len(stream._smooth) / 8 + len(stream._usual._told) + len(stream._waiting))
    assert max(sizes) < 250
    assert sizes[-1] == pytest.approx(sizes[1], abs=10)
