"""Effective sample sizes and intervals, against what mathematics says of series whose dependence is known."""

import numpy as np
import pytest

from harness.accuracy.blocks import design_effect, effective, mean_half, share_interval
from harness.statistics import share_interval as exact_share_interval


def autoregressive(rng, n, rho):
    steps = rng.normal(size=n + 100)
    values = np.empty(n + 100)
    values[0] = steps[0]
    for k in range(1, n + 100):
        values[k] = rho * values[k - 1] + steps[k]
    return values[100:]


def test_independent_values_have_a_design_effect_of_one():
    rng = np.random.default_rng(1)
    assert np.mean([design_effect(rng.normal(size=400)) for _ in range(40)]) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("rho", [0.3, 0.6])
def test_the_design_effect_of_an_autoregressive_series_is_the_one_of_theory(rho):
    rng = np.random.default_rng(2)
    found = np.mean([design_effect(autoregressive(rng, 1000, rho)) for _ in range(40)])
    assert found == pytest.approx((1 + rho) / (1 - rho), rel=0.15)


def test_windows_that_overlap_by_half_count_for_less():
    rng = np.random.default_rng(3)
    steps = rng.normal(size=500)
    assert design_effect(steps[1:] + steps[:-1]) == pytest.approx(2.0, abs=0.5)


def test_values_that_make_up_for_each_other_are_not_believed_to_be_more_than_there_are():
    jumps = np.diff(np.random.default_rng(4).normal(size=100))
    assert effective(jumps) == len(jumps)


def test_a_constant_error_has_as_many_values_as_windows_fit_into_the_run():
    assert effective(np.full(30, 2.0), most=6.0) == 6.0
    assert effective(np.full(30, 2.0)) == 30.0


def test_the_interval_of_a_mean_holds_it_as_often_as_it_says_though_values_depend_on_each_other():
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        series = autoregressive(rng, 300, 0.6)
        half = mean_half(float(series.std(ddof=1)), effective(series))
        held += abs(float(series.mean())) <= half
    assert 0.90 <= held / 400 <= 0.99


def test_the_same_series_taken_for_independent_would_be_far_too_sure():
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        series = autoregressive(rng, 300, 0.6)
        held += abs(float(series.mean())) <= mean_half(float(series.std(ddof=1)), 300.0)
    assert held / 200 < 0.85


def test_one_value_tells_no_interval():
    assert mean_half(1.0, 1.0) == np.inf


@pytest.mark.parametrize(("events", "n"), [(0, 10), (10, 10), (3, 17), (1, 300)])
def test_shares_of_whole_counts_have_the_interval_of_clopper_and_pearson(events, n):
    assert share_interval(events, n) == pytest.approx(exact_share_interval(events, n), abs=1e-9)
