"""Heart rate and RR intervals: simulated hearts, what straps do wrong, and a wristband's recording."""

from __future__ import annotations

import io
import lzma

import numpy as np
import pytest

from drivers.quality import score, scores
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.profile import Profile
from simulators.sensor import digitise
from simulators.signals.registry import make_signal
from simulators.subject import Subject

RATE = StreamSpec("hr", "heart_rate", ("hr",), "bpm", 1.0, lsb=1.0, low=0.0, high=255.0)
FINE = StreamSpec("hr", "heart_rate", ("hr",), "bpm", 1.0, lsb=0.01)
INTERVALS = StreamSpec("rr", "rr", ("rr",), "ms", None, lsb=1000 / 1024)


def judged_intervals(intervals_ms, spec: StreamSpec = INTERVALS):
    """The ten seconds that end with the last of these intervals."""
    values = np.asarray(intervals_ms, dtype=np.float64)
    times = np.cumsum(np.rint(values * 1e6)).astype(np.int64)
    return scores(values[:, None], times, spec, times[-1:] + 1).at(0)


def steady(count: int = 20, seed: int = 0) -> np.ndarray:
    """800 ms, breathing, and 20 ms from beat to beat."""
    return 800 + 40 * np.sin(np.arange(count)) + np.random.default_rng(seed).normal(0, 20, count)


@pytest.mark.parametrize("bpm", [42, 66, 110, 180])
def test_clean_rates_and_intervals_of_twenty_people_stay_good_and_without_flags(bpm):
    ends = np.arange(10, 41) * 1_000_000_000
    for seed in range(20):
        subject = Subject(seed, Profile(heart_rate_bpm=bpm))
        times_s = np.arange(40.0)
        rate = make_signal({}, subject, RATE, Draws(seed, "bench")).render(0, times_s)
        moments_s, intervals = make_signal({}, subject, INTERVALS, Draws(seed, "bench")).events(0.0, 40.0)
        found = [
            scores(digitise(rate, RATE), np.rint(times_s * 1e9).astype(np.int64), RATE, ends),
            scores(digitise(intervals, INTERVALS), np.rint(moments_s * 1e9).astype(np.int64), INTERVALS, ends),
        ]
        for result in found:
            known = ~np.isnan(result.score)
            assert known.sum() >= 28
            assert result.score[known].min() >= 0.9
            assert not any(raised[known].any() for raised in result.flags.values())


@pytest.mark.parametrize(("values", "flag"), [
    ([0] * 10, "off_body"),
    ([251] * 10, "noise"),
    ([62, 63, 0, 0, 0, 0, 62, 64, 63, 62], "off_body"),
    ([62, 124, 63, 62, 126, 61, 62, 63, 125, 62], "noise"),
], ids=["no contact", "no heart", "contact comes and goes", "doubles now and then"])  # fmt: skip
def test_a_rate_that_no_heart_has_is_low_and_named(values, flag):
    found = score(np.array(values, dtype=np.float64)[:, None], 1.0, RATE)
    assert found.score < 0.5
    assert flag in found.flags
    assert min(found.parts.values()) < 0.5


@pytest.mark.parametrize("values", [
    [62] * 10,
    [60, 60, 61, 61, 60, 61, 61, 62, 61, 61],
    [88, 92, 97, 101, 106, 111, 116, 121, 125, 130],
    [60, 61, 60, 75, 74, 60, 61, 60, 61, 60],
], ids=["steady", "usual", "running", "an early beat in the mean"])  # fmt: skip
def test_a_rate_that_hearts_have_is_good(values):
    assert score(np.array(values, dtype=np.float64)[:, None], 1.0, RATE).score >= 0.9


def test_a_rate_in_hundredths_that_never_changes_is_repeated_and_not_measured():
    frozen = score(np.full((10, 1), 71.25), 1.0, FINE)
    assert frozen.score < 0.5
    assert frozen.flags == {"flat"}
    wave = 71.25 + np.arange(10)[:, None] % 3 * 0.01
    assert score(wave, 1.0, FINE).score == 1


def missed(intervals: np.ndarray, *places: int) -> np.ndarray:
    """Beats that were not found: two intervals become one."""
    values = intervals.copy()
    for place in places:
        values[place] += values[place + 1]
    return np.delete(values, [place + 1 for place in places])


def doubled(intervals: np.ndarray, *places: int) -> np.ndarray:
    """Beats too many: an interval becomes two, at 0.4 of its length."""
    values = list(intervals)
    for place in sorted(places, reverse=True):
        values[place : place + 1] = [0.4 * intervals[place], 0.6 * intervals[place]]
    return np.array(values)


def early(intervals: np.ndarray, *places: int) -> np.ndarray:
    """Beats that come early and are followed by a pause, as hearts make them."""
    values = intervals.copy()
    for place in places:
        values[place], values[place + 1] = 0.7 * values[place], values[place + 1] + 0.3 * values[place]
    return values


def test_an_interval_missed_is_forgiven_and_three_of_ten_are_not():
    assert judged_intervals(missed(steady(), 14)).score > 0.5
    found = judged_intervals(missed(steady(24), 14, 17, 20))
    assert found.score < 0.5
    assert "noise" in found.flags


def test_a_beat_too_many_is_forgiven_and_three_of_ten_are_not():
    assert judged_intervals(doubled(steady(), 14)).score > 0.5
    assert judged_intervals(doubled(steady(), 12, 14, 17)).score < 0.5


def test_two_early_beats_are_a_rhythm_and_no_fault():
    assert judged_intervals(early(steady(), 12, 16)).score > 0.9


def test_more_missed_beats_never_make_intervals_better():
    places = (20, 23, 26, 29)
    found = [judged_intervals(missed(steady(32), *places[4 - count :])).score for count in range(5)]
    assert found == sorted(found, reverse=True)
    assert found[0] == 1
    assert found[-1] == 0


@pytest.mark.parametrize(("intervals", "flag"), [
    (np.full(60, 180.0), "noise"),
    (np.full(20, 781.25), "flat"),
    (np.full(10, 2600.0), "noise"),
], ids=["too short", "repeated", "too long"])  # fmt: skip
def test_intervals_that_no_heart_has_are_low_and_named(intervals, flag):
    found = judged_intervals(intervals)
    assert found.score < 0.5
    assert flag in found.flags


def test_intervals_in_seconds_are_the_same_intervals():
    spec = StreamSpec("rr", "rr", ("rr",), "s", None, lsb=1 / 1024)
    values = steady()
    times = np.cumsum(np.rint(values * 1e6)).astype(np.int64)
    found = scores(values[:, None] / 1000, times, spec, times[-1:] + 1).at(0)
    assert found.score == judged_intervals(values).score == 1


def test_windows_of_intervals_score_the_same_alone_and_among_others():
    values = missed(steady(80, seed=2), 30, 33, 36)
    times = np.cumsum(np.rint(values * 1e6)).astype(np.int64)
    ends = np.arange(20, 60) * 1_000_000_000
    together = scores(values[:, None], times, INTERVALS, ends)
    for number, end in enumerate(ends.tolist()):
        alone = scores(values[:, None], times, INTERVALS, np.array([end])).at(0)
        assert alone.parts == {name: part[number] for name, part in together.parts.items()}


def test_a_real_wristbands_rate_and_intervals_are_good(pytestconfig):
    path = pytestconfig.getoption("--data") / "empatica_e4_flirt.npz.xz"
    if not path.exists():
        pytest.skip(f"needs {path.name}, a recording that is not part of the project: pytest --data DIR")
    recorded = np.load(io.BytesIO(lzma.decompress(path.read_bytes())))
    rate = recorded["HR"].astype(np.float64)[:, None]
    times = np.arange(len(rate), dtype=np.int64) * 1_000_000_000
    assert scores(rate, times, FINE, times[10::5]).score.min() >= 0.5
    at_s, intervals_s = recorded["IBI"].astype(np.float64).T
    spec = StreamSpec("rr", "rr", ("ibi",), "s", None, lsb=1 / 64)
    found = scores(intervals_s[:, None], np.rint(at_s * 1e9).astype(np.int64), spec, times[100::5])
    known = ~np.isnan(found.score)
    assert known.mean() > 0.5
    assert np.mean(found.score[known] < 0.5) < 0.01
