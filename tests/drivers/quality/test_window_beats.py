"""Beats within windows, and what is said of them, against scipy and arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from drivers.quality.marks import Marks
from drivers.quality.window_beats import agreement, mutual_likeness, peaks, strongest, template_likeness, unevenness


def marks(*rows) -> Marks:
    row = np.repeat(np.arange(len(rows)), [len(places) for places in rows])
    return Marks(row, np.array([place for places in rows for place in places], dtype=np.int64), len(rows))


@pytest.mark.parametrize("seed", range(5))
def test_peaks_are_those_that_scipy_finds_in_each_row(seed):
    rng = np.random.default_rng(seed)
    level = np.apply_along_axis(lambda row: np.convolve(row, np.hanning(15), "same"), 1, rng.random((6, 1250)))
    found = peaks(level, 125.0, 0.26, 0.8)
    for number, row in enumerate(level):
        floor = 0.8 * np.sort(row[1250 % 188 :].reshape(-1, 188).max(axis=1))[6 // 2]
        places = signal.find_peaks(row, height=floor, distance=round(0.26 * 125))[0]
        assert found.place[found.row == number].tolist() == places.tolist()


def test_the_strongest_sample_near_a_mark_is_taken_and_no_row_reaches_into_another():
    level = np.zeros((2, 50))
    level[0, 49], level[1, 2], level[1, 30] = 9.0, 5.0, 7.0
    got = strongest(level, marks([46], [0, 26]), 5)
    assert got.place.tolist() == [49, 2, 30]


def test_agreement_is_the_matched_share_of_all_that_either_found():
    first, second = marks([100, 200, 300], [], [50]), marks([110, 290, 500], [40], [50])
    assert agreement(first, second, 100.0, 1000).tolist() == [2 / 4, 0.0, 1.0]
    assert agreement(first, marks([], [], []), 100.0, 1000).tolist() == [0, 0, 0]


def test_unevenness_is_the_longest_interval_over_the_shortest_and_most_where_there_is_none():
    got = unevenness(marks([0, 100, 250, 350], [10, 110], [], [5, 10, 200]))
    assert got.tolist() == [1.5, 6.0, 6.0, 6.0]


def test_likeness_is_one_for_equal_beats_and_for_beats_of_two_kinds():
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 60))
    same, mixed, none = (1e-9 * rng.normal(size=1250) for _ in range(3))
    places = np.arange(40, 1200, 100)
    for number, place in enumerate(places):
        same[place - 20 : place + 40] = one
        mixed[place - 20 : place + 40] = two if number % 2 else one
        none[place - 20 : place + 40] = rng.normal(size=60)
    got = mutual_likeness(np.stack([same, mixed, none]), marks(places, places, places), 20, 39)
    assert got[:2] == pytest.approx([1, 1], abs=1e-6)
    assert got[2] < 0.3


def test_likeness_needs_two_whole_beats():
    values = np.random.default_rng(0).normal(size=(3, 1000))
    got = mutual_likeness(values, marks([500], [10, 500, 990], [400, 600]), 25, 38)
    assert got[0] == got[1] == 0
    assert got[2] != 0


@pytest.mark.parametrize("ends", [False, True])
def test_a_flank_at_the_end_of_a_window_is_no_beat_but_may_displace_what_is_near_it(ends):
    level = np.zeros((1, 400))
    level[0, [0, 20, 120, 220, 320]] = 9.0, 5.0, 6.0, 6.0, 6.0
    expected = [120, 220, 320] if ends else [20, 120, 220, 320]
    assert peaks(level, 100.0, 0.3, 0.5, ends).place.tolist() == expected


def test_shapes_that_are_all_alike_have_a_likeness_to_their_mean_of_one_and_two_opposite_kinds_of_none():
    bump, places = np.hanning(31), np.arange(50, 800, 100)
    same, opposite = np.zeros(1000), np.zeros(1000)
    for number, place in enumerate(places):
        same[place - 15 : place + 16] = (1 + number) * bump
        opposite[place - 15 : place + 16] = bump if number % 2 else -bump
    got = template_likeness(np.stack([same, opposite, same]), marks(places, places, places[:2]), 15, 15)
    assert got == pytest.approx([1, 0, 0], abs=1e-9)
