"""A queue that keeps growing is told from one that fills and empties."""

import numpy as np
import pytest

from harness.monitor.queue import queue_growth
from harness.monitor.resources import Resources

SECONDS = np.arange(60)


def seen(depth):
    depth = np.asarray(depth, dtype=float)
    return Resources(1_000_000_000 * np.arange(len(depth), dtype=np.int64), {"inbox_depth": depth})


def test_a_queue_that_grows_by_two_a_second_grows_by_120_a_minute():
    growth = queue_growth(seen(2.0 * SECONDS + np.resize([0, 3, 1], 60)))
    assert growth.growing
    assert growth.low <= 120 <= growth.high
    assert growth.per_minute == pytest.approx(120, rel=0.02)
    assert "the inbox grows by 120 items a minute" in growth.said


@pytest.mark.parametrize(
    "depth",
    [
        np.zeros(60),
        np.resize([0, 3, 1, 0, 2], 60),
        np.where(SECONDS == 30, 200, 0),
        np.where((SECONDS > 50) & (SECONDS < 56), 80, 0),
        SECONDS / 10,
        60 - SECONDS,
        [5, 50, 500],
    ],
    ids=["empty", "a few", "one burst", "a late burst", "hardly any", "shrinking", "too few rows"],
)
def test_a_queue_that_empties_again_does_not_grow(depth):
    growth = queue_growth(seen(depth))
    assert not growth.growing
    assert growth.said == ""


def test_the_deepest_queue_is_told_also_of_a_short_run():
    assert queue_growth(seen([0, 7, 1])).most == 7


def test_without_any_row_nothing_waited():
    assert queue_growth(Resources()).most == 0


def test_a_day_of_rows_is_no_burden():
    growth = queue_growth(seen(np.arange(86_400) / 60))
    assert growth.per_minute == pytest.approx(1.0, rel=0.01)
