"""A leak is found, what goes up and down or up once is not, and the interval covers the drift that was put in."""

import numpy as np
import pytest

from harness.monitor.growth import growth, longer, shown

X = np.linspace(0.0, 1.0, 600)
MIB = 1.048576


def test_a_straight_line_has_its_slope_and_an_interval_of_nothing_but_the_resolution():
    found = growth(X, 300 + 20 * X, resolution=0.75)
    assert found.value == pytest.approx(20.0)
    assert found.high - found.low == pytest.approx(2 * 0.75 / found.span, abs=1e-9)
    assert shown(found, 10.0) is False
    assert shown(found, 30.0) is True


def test_what_settles_in_the_first_quarter_is_no_growth():
    warm = 300 + 50 * np.minimum(X / 0.2, 1.0)
    assert growth(X, warm).value == 0.0


@pytest.mark.parametrize("at", [0.3, 0.5, 0.7, 0.95])
def test_one_step_is_no_leak_however_high(at):
    found = growth(X, 300 + 500 * (at < X))
    assert found.low < 0
    assert shown(found, 10.0) is not False


def test_an_allocators_stairs_are_a_leak():
    """1 MiB at a time, 40 times an hour: 42 MB an hour."""
    found = growth(X, 300 + MIB * np.floor(40 * X), resolution=MIB)
    assert found.low < 40 * MIB < found.high
    assert shown(found, 20.0) is False
    assert shown(found, 60.0) is True


def test_a_leak_that_an_allocator_still_hides_is_not_said_to_be_none():
    """A minute with nothing to see allows almost 1 MiB a minute."""
    found = growth(np.linspace(0, 1 / 60, 60), np.full(60, 300.0), resolution=MIB)
    assert shown(found, 50.0) is None
    assert longer(found, 50.0) > 1


def test_garbage_that_is_collected_now_and_then_is_no_leak():
    found = growth(X, 300 + 30 * ((17 * X) % 1.0))
    assert found.low < 0 < found.high


@pytest.mark.parametrize("kind", ["walk", "noise", "steps"])
@pytest.mark.parametrize("drift", [0.0, 30.0])
def test_the_interval_covers_the_drift_that_was_put_in(kind, drift):
    """At 95 %: of 400 runs at most 32 may miss (binomial, one in a thousand); a level with noise is covered always."""
    draws = np.random.default_rng(1)
    missed = 0
    for _ in range(400):
        if kind == "walk":
            values = np.cumsum(draws.normal(drift / len(X), 0.3, len(X)))
        elif kind == "noise":
            values = drift * X + draws.normal(0, 2.0, len(X))
        else:  # allocations of some size at random moments, each kept: their mean is the drift
            values = np.cumsum(draws.poisson(120 / len(X), len(X)) * draws.exponential(1.0, len(X))) + (drift - 120) * X
        found = growth(X, values)
        missed += not found.low <= drift <= found.high
    assert missed <= 32


@pytest.mark.parametrize("n", [0, 1, 5, 12])
def test_few_samples_say_nothing(n):
    assert growth(np.arange(float(n)), np.arange(float(n))) is None


def test_missing_values_are_left_out():
    values = np.where(np.arange(600) % 3 == 0, np.nan, 5 * X)
    assert growth(X, values).value == pytest.approx(5.0, rel=0.01)
