"""Courses, doubt and the pairing of values with what they should have been."""

import numpy as np
import pytest

from harness.accuracy.rates import Course, Doubt, latest, pair

NEVER = Doubt(np.empty(0), np.empty(0))


def spans(*pairs):
    return np.array([a for a, _ in pairs], dtype=float), np.array([b for _, b in pairs], dtype=float)


def heart(seconds=120.0, rng=None):
    """A heart that quickens and slows between 60 and 75 a minute."""
    at, beats = 0.0, []
    while at < seconds:
        beats.append(at)
        at += 60 / (67.5 + 5 * np.sin(2 * np.pi * 0.03 * at) + 2.5 * np.sin(2 * np.pi * 0.13 * at))
    return np.array(beats)


def test_spans_that_overlap_or_lie_within_one_another_are_counted_once():
    doubt = Doubt.of(spans((0, 10), (2, 3)), spans((8, 12), (20, 21), (25, 25)))
    assert doubt.starts_s.tolist() == [0.0, 20.0]
    assert doubt.stops_s.tolist() == [12.0, 21.0]
    assert doubt.until(np.array([-1.0, 6.0, 15.0, 20.5, 30.0])).tolist() == [0.0, 6.0, 12.0, 12.5, 13.0]
    assert doubt.free(np.array([11.0, 12.0, 19.0]), np.array([12.5, 20.0, 20.1])).tolist() == [False, True, False]


def test_the_rate_of_even_events_is_theirs_wherever_a_window_cuts():
    course = Course.of_events(np.arange(0.0, 60.0, 0.8), 2.4, NEVER)
    starts = np.array([1.0, 1.3, 7.77])
    assert course.mean(starts, starts + 5.0) == pytest.approx([75.0, 75.0, 75.0])


def test_nothing_is_known_before_the_first_event_in_a_pause_and_in_doubt():
    beats = np.concatenate([np.arange(2.0, 20.0), np.arange(25.0, 60.0)])
    course = Course.of_events(beats, 2.4, Doubt.of(spans((40, 41))))
    starts = np.array([0.0, 3.0, 17.0, 26.0, 38.0, 56.0])
    assert np.isfinite(course.mean(starts, starts + 5.0)).tolist() == [False, True, False, True, False, False]


def test_the_mean_of_a_value_is_its_integral():
    course = Course.of_values(np.array([0.0, 1.0, 2.0, 3.0]), np.array([60.0, 80.0, 80.0, 60.0]), 1.5, NEVER)
    assert course.mean(np.array([0.0, 1.0]), np.array([1.0, 3.0])) == pytest.approx([70.0, 75.0])


@pytest.mark.parametrize(("lag_s", "average_s"), [(0.0, 4.0), (2.5, 8.0), (7.0, 12.0), (-1.5, 5.0)])
def test_lag_and_averaging_of_a_sensor_are_found(lag_s, average_s):
    course = Course.of_events(heart(200.0), 2.4, NEVER)
    at = np.arange(30.0, 170.0)
    found = pair(at, course.mean(at - lag_s - average_s, at - lag_s), course, (-3.0, 10.0))
    assert found.lag_s + found.average_s / 2 == pytest.approx(lag_s + average_s / 2, abs=0.3)
    assert np.abs(found.errors).max() < 0.3


def test_a_rate_that_is_wrong_stays_wrong_however_it_is_paired():
    course = Course.of_events(heart(200.0), 2.4, NEVER)
    at = np.arange(30.0, 170.0)
    right = course.mean(at - 6.0, at - 1.0)
    assert pair(at, right + 4.0, course, (-3.0, 10.0)).errors.mean() == pytest.approx(4.0, abs=0.05)
    gain = pair(at, 1.1 * right, course, (-3.0, 10.0))
    assert np.median(gain.errors / gain.known_reference) == pytest.approx(0.1, abs=0.01)


def test_where_nothing_is_known_nothing_is_paired():
    at = np.arange(30.0)
    assert not len(pair(at, np.full(30, np.nan), Course.of_events(heart(), 2.4, NEVER), (0.0, 5.0)).errors)
    assert not len(pair(at, np.full(30, 60.0), Course.of_events(np.empty(0), 2.4, NEVER), (0.0, 5.0)).errors)


def test_a_value_holds_until_the_next_but_not_for_ever():
    own, value = latest(np.array([1.0, 2.0, 8.0]), np.array([60.0, 61.0, 62.0]), np.arange(0.5, 9.0), 1.5)
    assert np.isnan(value).tolist() == [True, False, False, False, True, True, True, True, False]
    assert own[1] == 1.0
    assert value[[1, 2, 3, 8]].tolist() == [60.0, 61.0, 61.0, 62.0]
