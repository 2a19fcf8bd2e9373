"""Runs within windows, against a plain walk through each row."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from drivers.quality.runs import Runs

masks = st.integers(1, 5).flatmap(
    lambda rows: st.integers(1, 12).flatmap(
        lambda size: st.lists(st.lists(st.booleans(), min_size=size, max_size=size), min_size=rows, max_size=rows)
    )
)


def walked(rows: list[list[bool]]) -> list[tuple[int, int, int]]:
    """(row, begin, length) of every run of True."""
    found = []
    for number, row in enumerate(rows):
        place = 0
        for held, group in groupby(row):
            length = len(list(group))
            if held:
                found.append((number, place, length))
            place += length
    return found


@given(masks)
def test_runs_are_found_row_by_row(rows):
    runs = Runs.of(np.array(rows))
    expected = walked(rows)
    assert list(zip(runs.row.tolist(), runs.begin.tolist(), runs.length.tolist(), strict=True)) == expected
    assert len(runs) == len(expected)


@given(masks, st.integers(1, 6), st.integers(1, 8))
def test_runs_of_some_lengths_fill_their_share_of_each_row(rows, at_least, at_most):
    kept = [run for run in walked(rows) if at_least <= run[2] <= at_most]
    shares = [sum(run[2] for run in kept if run[0] == number) / len(rows[0]) for number in range(len(rows))]
    assert Runs.of(np.array(rows)).longer(at_least, at_most).share().tolist() == shares


@given(masks)
def test_the_mask_of_all_runs_is_what_they_were_found_in(rows):
    assert Runs.of(np.array(rows)).mask().tolist() == rows


@given(masks)
def test_the_sample_before_a_run_can_be_counted_with_it(rows):
    rows = [[False, *row] for row in rows]  # as with what differs from the sample before: the first has none
    expected = [[here or after for here, after in zip(row, [*row[1:], False], strict=True)] for row in rows]
    assert Runs.of(np.array(rows)).with_first().mask().tolist() == expected
