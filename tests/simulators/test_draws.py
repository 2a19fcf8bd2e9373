"""Randomness by position."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from simulators.draws import Draws


@settings(max_examples=50, deadline=None)
@given(first=st.integers(0, 5000), cuts=st.lists(st.integers(1, 1500), min_size=1, max_size=6))
def test_draws_do_not_depend_on_how_they_are_asked_for(first: int, cuts: list[int]) -> None:
    whole = Draws(3, "a").normal(first, sum(cuts))
    source, at, parts = Draws(3, "a"), first, []
    for count in cuts:
        parts.append(source.normal(at, count))
        at += count
    assert np.array_equal(np.concatenate(parts), whole)


def test_any_position_is_reached_at_once_and_after_any_other() -> None:
    source = Draws(3, "a")
    late = source.uniform(10**9, 5)
    for block in range(40):  # more blocks than are kept
        source.uniform(block * 1024, 1)
    assert np.array_equal(source.uniform(10**9, 5), late)


def test_nothing_asked_is_nothing_given() -> None:
    assert Draws(0).normal(7, 0).shape == (0,)


def test_seed_labels_and_law_give_independent_draws() -> None:
    base = Draws(1, "ecg").normal(0, 4000)
    others = [Draws(2, "ecg").normal(0, 4000), Draws(1, "ppg").normal(0, 4000), Draws(1, "ecg", 0).normal(0, 4000)]
    others.append(stats.norm.ppf(Draws(1, "ecg").uniform(0, 4000)))
    for other in others:
        # Under independence r is N(0, 1/4000): five sigma.
        assert abs(np.corrcoef(base, other)[0, 1]) < 5 / np.sqrt(4000)


def test_a_child_is_the_same_as_all_labels_at_once() -> None:
    assert np.array_equal(Draws(5, "a").child("b", 2).normal(0, 10), Draws(5, "a", "b", 2).normal(0, 10))


def test_the_laws_are_the_ones_they_are_called_after() -> None:
    source = Draws(11, "law")
    assert stats.kstest(source.normal(0, 20000), "norm").pvalue > 1e-4
    assert stats.kstest(source.uniform(0, 20000), "uniform").pvalue > 1e-4
