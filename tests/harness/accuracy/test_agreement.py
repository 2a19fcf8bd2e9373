"""Figures of agreement against their definitions and against what theory says of normal errors."""

import numpy as np
import pytest

from harness.accuracy.agreement import limits_of_agreement, mean_error, mean_size, rms_error, share


def test_the_mean_error_keeps_its_sign_and_the_mean_size_loses_it():
    errors = np.array([-3.0, -1.0, -2.0, -2.0])
    assert mean_error(errors).value == -2.0
    assert mean_size(errors).value == 2.0


def test_arms_holds_bias_and_spread():
    errors = np.array([1.0, 3.0, 1.0, 3.0])
    assert rms_error(errors).value == pytest.approx(np.sqrt(5.0))


def test_limits_of_agreement_lie_196_standard_deviations_around_the_bias():
    errors = np.random.default_rng(1).normal(2.0, 5.0, 4000)
    assert limits_of_agreement(errors).value == pytest.approx(2.0 + 1.96 * 5.0, rel=0.03)


def test_the_further_limit_counts_whatever_its_sign():
    errors = np.random.default_rng(2).normal(3.0, 1.0, 50)
    assert limits_of_agreement(-errors).value == limits_of_agreement(errors).value


@pytest.mark.parametrize("n", [20, 100])
def test_the_interval_of_the_limits_of_agreement_holds_them(n):
    rng = np.random.default_rng(n)
    found = [limits_of_agreement(rng.normal(1.0, 2.0, n)) for _ in range(400)]
    held = np.mean([one.low <= 1.0 + 1.96 * 2.0 <= one.high for one in found])
    assert 0.90 <= held <= 0.99


def test_the_interval_of_arms_holds_it():
    rng = np.random.default_rng(7)
    found = [rms_error(rng.normal(0.5, 2.0, 60)) for _ in range(400)]
    held = np.mean([one.low <= np.sqrt(0.25 + 4.0) <= one.high for one in found])
    assert 0.90 <= held <= 0.99


def test_a_share_says_how_many_of_them_are_independent():
    found = share(np.ones(24, dtype=bool), most=6.0)
    assert (found.value, found.n, found.many, found.design_effect) == (100.0, 24, 6.0, 4.0)
    assert found.low == pytest.approx(100 * 0.025 ** (1 / 6))


@pytest.mark.parametrize("figure", [mean_error, mean_size, rms_error, limits_of_agreement])
def test_of_nothing_nothing_is_known(figure):
    with np.errstate(invalid="raise"):
        found = figure(np.empty(0))
    assert np.isnan(found.value)
    assert found.high == np.inf
    assert found.many == 0


def test_one_error_has_no_interval():
    assert mean_error(np.array([2.0])).high == np.inf
