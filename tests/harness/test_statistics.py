"""Bounds against published tables, closed forms and simulated coverage."""

import math

import numpy as np
import pytest

from harness.statistics import judge_share, needed_for_quantile, quantile_bounds, rate_upper_bound, share_interval


@pytest.mark.parametrize(("quantile", "n"), [(0.95, 59), (0.99, 299), (0.999, 2995)])
def test_the_sample_size_without_failures_is_the_textbook_one(quantile, n):
    assert needed_for_quantile(quantile, 0.95) == n


@pytest.mark.parametrize(
    ("events", "n", "upper_percent"), [(0, 300, 0.99), (1, 300, 1.57), (3, 3000, 0.26), (10, 10000, 0.17)]
)
def test_one_sided_clopper_pearson_bounds_are_the_published_ones(events, n, upper_percent):
    assert 100 * share_interval(events, n, confidence=0.90)[1] == pytest.approx(upper_percent, abs=0.006)


def test_the_poisson_bound_without_events_is_three_over_the_time():
    assert rate_upper_bound(0, 2.0) == pytest.approx(-math.log(0.05) / 2.0)


def test_no_time_bounds_no_rate():
    assert rate_upper_bound(0, 0.0) == math.inf


@pytest.mark.parametrize(("n", "rank"), [(473, 472), (1000, 996), (3000, 2980), (10000, 9917)])
def test_the_rank_that_bounds_p99_is_the_tabulated_one(n, rank):
    ordered = np.arange(1.0, n + 1)
    assert quantile_bounds(ordered, 0.99).high == rank


def test_too_few_values_give_no_upper_bound():
    assert quantile_bounds(np.arange(298.0), 0.99).high is None
    assert quantile_bounds(np.arange(299.0), 0.99).high == 298.0


def test_the_upper_bound_of_p90_covers_the_true_quantile_as_often_as_it_says():
    draws = np.random.default_rng(1)
    covered = sum(quantile_bounds(draws.exponential(size=200), 0.9).high >= -math.log(0.1) for _ in range(1000))
    assert covered >= 930  # 95 % of 1000, less three standard deviations


def test_the_lower_bound_of_p90_covers_the_true_quantile_as_often_as_it_says():
    draws = np.random.default_rng(2)
    covered = sum(quantile_bounds(draws.exponential(size=200), 0.9).low <= -math.log(0.1) for _ in range(1000))
    assert covered >= 930


def test_a_share_is_shown_only_with_enough_trials():
    assert judge_share(0, 299, 0.01) is True
    assert judge_share(0, 298, 0.01) is None
    assert judge_share(1, 473, 0.01) is True
    assert judge_share(1, 472, 0.01) is None


def test_many_misses_refute_and_few_leave_it_open():
    assert judge_share(20, 300, 0.01) is False
    assert judge_share(3, 300, 0.01) is None
    assert judge_share(0, 0, 0.01) is None
