"""What breaths and skin responses are found with: decimation, turns, zigzags, and what is usual."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.quality.decimation import Decimator
from drivers.quality.running_statistic import RunningStatistic
from drivers.quality.turning_points import Turn, Turns, Zigzag

RANDOM_WALK = np.cumsum(np.random.default_rng(0).integers(-1, 2, 3000)).astype(float)


def cut_in(values: np.ndarray, pieces: int, seed: int) -> list[np.ndarray]:
    return np.split(values, np.sort(np.random.default_rng(seed).integers(0, len(values), pieces)))


@pytest.mark.parametrize("rate_hz", [4.0, 12.0, 250.0])
def test_a_straight_line_stays_where_it_is_on_the_coarse_grid(rate_hz):
    grid = Decimator(rate_hz, 10.0, 1.0)
    line = np.arange(round(30 * rate_hz)) / rate_hz
    _, smooth = grid.feed(line)
    times = grid.seconds(np.arange(len(smooth)))
    inner = (times > 1) & (times < 29)
    assert np.abs(smooth - times)[inner].max() < 1e-9
    assert len(smooth) + len(grid.finish()) == pytest.approx(30 * grid.hz)


def test_what_is_no_number_goes_on_as_before():
    values = np.full(100, 7.0)
    values[40:60] = np.nan
    averaged, _ = Decimator(10.0, 10.0, 1.0).feed(values)
    assert (averaged == 7).all()


def test_turns_are_the_local_extremes_and_know_how_long_the_signal_rests():
    turns = Turns(1000)
    found = turns.feed(np.array([0.0, 1, 2, 2, 2, 1, 1, 0, 3]))
    assert [t for t in found if t.last] == [Turn(2, 4, 2.0), Turn(7, 7, 0.0)]
    assert turns.finish() == [Turn(8, 8, 3.0)]


@pytest.mark.parametrize("seed", range(5))
def test_turns_are_the_same_however_the_signal_is_cut(seed):
    whole = Turns(10)
    expected = [*whole.feed(RANDOM_WALK), *whole.finish()]
    parts = Turns(10)
    found = [turn for piece in cut_in(RANDOM_WALK, 700, seed) for turn in parts.feed(piece)] + list(parts.finish())
    assert found == expected


def test_a_swing_must_rise_and_fall_by_the_height():
    values = [0, 5, 4.5, 6, 0, 0.5, 0.2, 4, 1]
    zigzag = Zigzag(longest_top=100)
    told = [zigzag.take(Turn(k, k, float(v)), 1.0) for k, v in enumerate(values)]
    assert [(a.first, b.first) for a, b in filter(None, told)] == [(0, 3), (4, 7)]


def test_a_top_that_is_left_too_late_is_none():
    zigzag = Zigzag(longest_top=5)
    told = [zigzag.take(Turn(k, k, v), 1.0) for k, v in ((0, 0.0), (3, 5.0), (20, 0.0))]
    assert told == [None, None, None]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_usual_is_the_same_however_the_signal_is_cut_and_is_of_its_own_seconds(seed):
    whole = RunningStatistic(lambda near: float(np.mean(near)), 10, 20, 5, 10)
    whole.feed(RANDOM_WALK, last=True)
    parts = RunningStatistic(lambda near: float(np.mean(near)), 10, 20, 5, 10)
    for piece in cut_in(RANDOM_WALK, 100, seed):
        parts.feed(piece, last=False)
    parts.feed(np.empty(0), last=True)
    places = np.arange(0, 3000, 7).tolist()
    assert [parts.at(place) for place in places] == [whole.at(place) for place in places]
    assert whole.at(1000) == pytest.approx(RANDOM_WALK[810:1060].mean())
