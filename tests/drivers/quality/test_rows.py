"""Cutting and comparing rows, against a plain walk through each."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.quality.rows import extremes, means, stretches, unchanged, white_noise

numbers = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


@given(st.integers(1, 20), st.integers(1, 8))
def test_stretches_are_whole_and_end_where_the_row_ends(count, step):
    row = np.arange(count, dtype=float)
    parts = stretches(np.stack([row, -row]), step)
    if count < step:
        assert parts.tolist() == [[row.tolist()], [(-row).tolist()]]
    else:
        assert parts.shape == (2, count // step, step)
        assert parts[0].ravel().tolist() == row[-(count // step * step) :].tolist()
        assert np.array_equal(parts[1], -parts[0])


def test_means_tell_the_rate_that_they_come_at():
    found, rate_hz = means(np.arange(11, dtype=float)[None, :], 10.0, 0.5)
    assert found.tolist() == [[3.0, 8.0]]
    assert rate_hz == 2.0


@given(numbers, st.sampled_from([0.0, 1.0]))
def test_a_sample_is_unchanged_if_it_is_near_enough_to_the_one_before(row, within):
    expected = [False, *(abs(after - before) <= within for before, after in pairwise(row))]
    assert unchanged(np.array([row], dtype=float), within)[0].tolist() == expected


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 1)])
def test_the_first_sample_of_every_row_has_none_before_it(shape):
    assert not unchanged(np.zeros(shape))[..., 0].any()


def test_extremes_are_the_highest_and_lowest_nearby_and_none_lie_in_what_rests():
    highest, lowest = extremes(np.array([[0, 0, 0, 0, 1, 3, 3, 2, -1, 0]], dtype=float), 2)
    assert np.flatnonzero(highest[0]).tolist() == [5, 6]
    assert np.flatnonzero(lowest[0]).tolist() == [2, 3, 8]


def test_white_noise_is_measured_whatever_level_and_slope_it_lies_on():
    noise = 0.02 * np.random.default_rng(0).standard_normal((3, 20_000))
    rows = noise + np.array([[0.0], [5.0], [-3.0]]) + np.array([[0.0], [0.1], [-1.0]]) * np.arange(20_000)
    assert white_noise(rows) == pytest.approx([0.02] * 3, rel=0.03)
    assert white_noise(rows[:, :3]).tolist() == [0, 0, 0]
