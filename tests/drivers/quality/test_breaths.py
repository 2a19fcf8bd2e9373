"""Breaths against the truth of simulated people, against arithmetic, and the stream against the whole recording."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.quality.breaths import Breaths, BreathStream, breath_rate, find_breaths
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.profile import make_profile
from simulators.signals.registry import make_signal
from simulators.subject import Subject

MINUTES_3 = 180


def breather(seed: int, rate_hz: float = 25.0, noise: float = 0.005, seconds: float = MINUTES_3, **profile):
    """(signal (n,), true onsets) of one simulated person."""
    spec = StreamSpec("respiration", "respiration", ("belt",), "a.u.", rate_hz)
    subject = Subject(seed, make_profile(profile))
    wave = make_signal({"noise": noise}, subject, spec, Draws(seed, "bench"))
    values = wave.render(0, np.arange(round(seconds * rate_hz)) / rate_hz)[:, 0]
    return values, subject.breaths(-30.0, seconds + 30.0).onset_s


def matched(found: np.ndarray, true: np.ndarray, reach_s: float = 0.5) -> tuple[float, float]:
    """Sensitivity and positive predictive value away from the ends."""
    inner = [each[(each > 5) & (each < MINUTES_3 - 10)] for each in (found, true)]
    return (
        float(np.mean(np.abs(inner[1][:, None] - found).min(axis=1) < reach_s)),
        float(np.mean(np.abs(inner[0][:, None] - true).min(axis=1) < reach_s)),
    )


def rate_errors(seed: int, **person) -> np.ndarray:
    values, true = breather(seed, **person)
    ends = np.arange(30.0, MINUTES_3 + 1)
    rate, covered = breath_rate(find_breaths(values, person.get("rate_hz", 25.0)).onset_s, ends)
    assert covered.min() > 0.4
    return np.abs(rate - breath_rate(true, ends)[0])


def pieces(stream: BreathStream, values: np.ndarray, cuts: list[int]) -> Breaths:
    parts = [stream.feed(part) for part in np.split(values, cuts)] + [stream.finish()]
    return Breaths(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("onset_s", "peak_s", "depth")))


# --- against truth ----------------------------------------------------------------------------


@pytest.mark.parametrize("person", [
    {}, {"rate_hz": 10.0}, {"rate_hz": 1000.0}, {"breath_rate_per_min": 6.0},
    {"breath_rate_per_min": 30.0}, {"breath_rate_per_min": 45.0}, {"script": "stress"},
])  # fmt: skip
def test_every_breath_of_clean_breathing_is_found_and_no_other(person):
    for seed in range(3):
        values, true = breather(seed, **person)
        found = find_breaths(values, person.get("rate_hz", 25.0)).onset_s
        assert matched(found, true) == (1.0, 1.0)


@pytest.mark.parametrize(("noise", "limit"), [(0.005, 0.05), (0.1, 0.1), (0.3, 0.3), (0.5, 1.0)])
def test_the_rate_of_thirty_seconds_is_right_in_noise(noise, limit):
    assert np.mean([rate_errors(seed, noise=noise).mean() for seed in range(6)]) < limit


@pytest.mark.parametrize("breaths", [6.0, 15.0, 45.0])
def test_the_rate_is_right_for_slow_and_fast_breathing(breaths):
    assert np.mean([rate_errors(seed, breath_rate_per_min=breaths).mean() for seed in range(4)]) < 0.1


def test_onset_peak_and_depth_are_those_of_the_wave():
    time_s = np.arange(2500) / 25.0
    breaths = find_breaths(0.5 - 0.5 * np.cos(2 * np.pi * time_s / 5), 25.0)
    whole = (breaths.onset_s > 10) & (breaths.onset_s < 90)
    assert np.abs(np.remainder(breaths.onset_s[whole] + 2.5, 5) - 2.5).max() < 0.1
    assert np.abs(breaths.peak_s - breaths.onset_s - 2.5)[whole].max() < 0.1
    assert breaths.depth[whole] == pytest.approx(1.0, abs=0.05)


def test_the_rate_is_counted_from_onset_to_onset_and_not_the_spectrums_peak():
    lengths = np.array([3.0] * 6 + [6.0] * 6)
    onsets = np.concatenate([[0.0], np.cumsum(lengths)])
    rate, covered = breath_rate(onsets, np.array([54.0]), 54.0)
    assert rate == pytest.approx([60 * 12 / 54])
    assert covered == pytest.approx([1.0])


def test_a_breath_counts_with_the_share_of_it_in_the_window():
    rate, covered = breath_rate(np.arange(0.0, 61.0, 6.0), np.array([33.0, 37.5, 41.0]), 10.0)
    assert rate == pytest.approx([10.0] * 3)
    assert covered == pytest.approx([1.0] * 3)


def test_a_pause_is_not_covered_and_slows_no_rate():
    onsets = np.array([0.0, 4.0, 8.0, 12.0, 40.0, 44.0, 48.0])
    rate, covered = breath_rate(onsets, np.array([20.0, 35.0, 48.0]), 20.0)
    assert rate[[0, 2]] == pytest.approx([15.0, 15.0])
    assert np.isnan(rate[1])
    assert covered == pytest.approx([0.6, 0.0, 0.4])


def test_without_two_breaths_there_is_no_rate():
    rate, covered = breath_rate(np.array([3.0]), np.array([30.0, 60.0]))
    assert np.isnan(rate).all()
    assert not covered.any()


# --- what is no breath ------------------------------------------------------------------------


def test_heart_beats_that_ride_on_the_signal_are_no_breaths():
    values, true = breather(2)
    time_s = np.arange(len(values)) / 25.0
    assert matched(find_breaths(values + 0.15 * np.sin(2 * np.pi * 1.2 * time_s), 25.0).onset_s, true) == (1.0, 1.0)


def test_heart_beats_while_the_breath_is_held_are_no_breaths():
    values, true = breather(3)
    time_s = np.arange(len(values)) / 25.0
    held = (time_s > 80) & (time_s < 92)
    values[held] = values[2000]
    found = find_breaths(values + 0.08 * np.sin(2 * np.pi * 1.1 * time_s), 25.0).onset_s
    assert not ((found > 82) & (found < 91)).any()
    assert np.sum(found > 93) == pytest.approx(np.sum((true > 93) & (true < MINUTES_3)), abs=1)


def test_a_sigh_does_not_hide_the_breaths_around_it():
    time_s = np.arange(3000) / 25.0
    depth = np.where((time_s >= 60) & (time_s < 64), 4.0, 1.0)
    found = find_breaths(depth * (0.5 - 0.5 * np.cos(2 * np.pi * time_s / 4)), 25.0)
    assert np.abs(np.diff(found.onset_s) - 4.0).max() < 0.2
    assert found.depth.max() == pytest.approx(4.0, rel=0.05)


def test_a_baseline_that_drifts_and_steps_costs_a_breath_at_most():
    values, true = breather(4)
    time_s = np.arange(len(values)) / 25.0
    moved = values + 3 * np.sin(2 * np.pi * time_s / 120) + 2.0 * (time_s > 90)
    sensitivity, precision = matched(find_breaths(moved, 25.0).onset_s, true)
    assert sensitivity > 0.95
    assert precision > 0.95


@pytest.mark.parametrize("values", [np.zeros(2000), np.empty(0), np.ones(3), np.full(500, np.nan)])
def test_where_nothing_moves_there_is_no_breath(values):
    assert len(find_breaths(values, 25.0).onset_s) == 0


@pytest.mark.parametrize("gain", [-1.0, 1e-7, 1e6])
def test_the_rate_depends_neither_on_unit_nor_on_polarity(gain):
    values, true = breather(5)
    ends = np.arange(40.0, 170.0)
    rate, _ = breath_rate(find_breaths(gain * values + 7, 25.0).onset_s, ends)
    assert np.abs(rate - breath_rate(true, ends)[0]).mean() < 0.5


def test_a_rise_that_began_before_the_recording_is_no_breath():
    time_s = np.arange(1500) / 25.0
    found = find_breaths(-np.cos(2 * np.pi * (time_s + 1.0) / 5), 25.0)
    assert found.onset_s[0] == pytest.approx(4.0, abs=0.1)


# --- as it comes ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rate_hz", [4.0, 25.0, 125.0])
def test_any_cut_gives_the_same_breaths_to_the_last_bit(seed, rate_hz):
    values, _ = breather(seed, rate_hz=rate_hz, noise=0.3)
    values[500:520] = np.nan
    rng = np.random.default_rng(seed)
    whole = find_breaths(values, rate_hz)
    cuts = np.sort(rng.integers(0, len(values), int(rng.integers(1, 400)))).tolist()
    cut = pieces(BreathStream(rate_hz), values, cuts)
    assert len(whole.onset_s) > 20
    assert np.array_equal(whole.onset_s, cut.onset_s)
    assert np.array_equal(whole.peak_s, cut.peak_s)
    assert np.array_equal(whole.depth, cut.depth)


def test_a_breath_at_rest_is_known_within_ten_seconds_of_its_peak():
    values, _ = breather(1)
    stream, told = BreathStream(25.0), []
    for second in range(MINUTES_3):
        told += [(second + 1, peak) for peak in stream.feed(values[25 * second : 25 * second + 25]).peak_s.tolist()]
    late = [at - peak for at, peak in told if peak > 11]
    assert len(late) > 30
    assert max(late) < 10


def test_a_stream_keeps_about_a_minute_however_long_it_runs():
    stream = BreathStream(25.0)
    values, _ = breather(1)
    sizes = []
    for _ in range(6):
        stream.feed(values)
        sizes.append(len(stream._wave) / stream._grid.hz + len(stream._usual._told) + len(stream._waiting))
    assert max(sizes) < 200
    assert sizes[-1] == pytest.approx(sizes[0], abs=10)
