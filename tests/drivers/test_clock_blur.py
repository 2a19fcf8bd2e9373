"""How likely jitter about a poll is, against the same sum chunk by chunk."""

from __future__ import annotations

import numpy as np
from scipy import stats

from drivers.clock_blur import counts, log_frame, log_lower, log_upper

SCALE, FRAME = 1e5, 1e6
SLOPES = np.array([-2e3, 0.0, 1.5e3])
OFFSETS = np.linspace(-4e4, 4e4, 33)
LEAST = np.log(1e-5)


def chunks(seed, n=60):
    """Times, arrivals and lateness of chunks, none within 2 us of any line: there the tables are too coarse."""
    rng = np.random.default_rng(seed)
    at_s = rng.uniform(-15, 15, 40 * n)
    late = np.abs(rng.normal(0, SCALE, 40 * n)) + rng.uniform(0.7 * SCALE, FRAME, 40 * n)
    level = rng.uniform(-2e5, 1.2e6, 40 * n)
    gap = np.abs((level - SLOPES[:, None] * at_s)[:, None] - OFFSETS[:, None]).min(axis=(0, 1))
    clear = np.flatnonzero(gap > 2e3)[:n]
    return at_s[clear], level[clear], late[clear]


def less(jitter):
    return stats.halfnorm.cdf(np.asarray(jitter) / SCALE)


def one_by_one(at_s, level, share):
    """``share(chunk, distance of its level over the line)`` summed as logarithms."""
    total = np.zeros((len(SLOPES), len(OFFSETS)))
    for row, slope in enumerate(SLOPES):
        for column, offset in enumerate(OFFSETS):
            for number, (at, value) in enumerate(zip(at_s, level, strict=True)):
                chance = share(number, value - slope * at - offset)
                total[row, column] += 0.0 if chance is None else max(np.log(max(chance, 1e-300)), LEAST)
    return total


def alike(found, expected):
    """A constant is no matter. Where a chunk is within a grid's step of the line the table is too coarse for it."""
    apart = np.abs(found - expected - np.median(found - expected))
    return np.quantile(apart, 0.8) < 0.03 * np.ptp(expected)


def ends(late):
    return less(max(min(late - FRAME, 3 * SCALE), 0.0)), less(late) + 1e-6


def test_room_for_the_jitter_is_summed_as_chunk_by_chunk():
    at_s, top, late = chunks(1)

    def share(number, wait):
        least, most = ends(late[number])
        return None if wait < 0 else (min(less(wait), most) - least) / (most - least)

    expected = one_by_one(at_s, top, share)
    found = log_upper(at_s, top, late, SCALE, FRAME, SLOPES, OFFSETS)
    assert np.ptp(expected) > 3
    assert alike(found, expected)


def test_the_poll_before_is_summed_as_chunk_by_chunk():
    at_s, bottom, _ = chunks(2)
    bottom = bottom - 1e6

    def share(_, below):
        return None if below > 0 else min(-below / FRAME, 1.0)

    expected = one_by_one(at_s, bottom, share)
    assert np.ptp(expected) > 1
    assert alike(log_frame(at_s, bottom, FRAME, SLOPES, OFFSETS), expected)


def test_jitter_that_a_missed_poll_asks_for_is_summed_as_chunk_by_chunk():
    at_s, level, late = chunks(3)
    bottom = level - late  # where it arrived is near the line

    def share(number, below):
        least, most = ends(late[number])
        return None if below > 0 else (most - max(less(max(late[number] + below, 0.0)), least)) / (most - least)

    expected = one_by_one(at_s, bottom, share)
    found = log_lower(at_s, bottom, late, SCALE, FRAME, SLOPES, OFFSETS)
    assert np.ptp(expected) > 3
    assert alike(found, expected)


def test_values_below_each_offset_are_counted():
    value = np.random.default_rng(4).uniform(-1.2, 1.2, (3, 50))
    offset = np.linspace(-1, 1, 21)
    assert (counts(value, offset) == (value[:, None, :] < offset[:, None]).sum(axis=2)).all()
    assert (counts(np.empty((3, 0)), offset) == 0).all()
