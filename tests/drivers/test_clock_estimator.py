"""The estimator in pieces: the same answer as at once, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.clock_estimator import ClockEstimator
from drivers.clock_fit import fit_clock

BOOT_NS = 7_000_000_000_000


def arriving(kind: str, seconds: float, seed: int, drift_ppm: float = 70.0):
    """(device_ns, arrival_ns, segment) at 100 Hz; FIFO."""
    rng = np.random.default_rng(seed)
    device_s = np.arange(int(seconds * 100)) / 100
    host_s = device_s / (1 + drift_ppm * 1e-6)
    segment = np.zeros(len(device_s), dtype=np.int64)
    if kind == "gaussian":
        arrival_s = np.sort(host_s + rng.normal(0, 1e-3, len(host_s)) + 0.01)
    elif kind == "packets":
        ready = host_s[3::4]
        arrival_s = np.repeat((np.ceil(ready / 0.030) + (rng.random(len(ready)) < 0.05)) * 0.030, 4)
        arrival_s = np.maximum.accumulate(arrival_s)
        device_s, segment = device_s[: len(arrival_s)], segment[: len(arrival_s)]
    else:
        arrival_s = np.maximum.accumulate(host_s + rng.exponential(2e-3, len(host_s)))
    device = np.rint(device_s * 1e9).astype(np.int64)
    if kind == "stepped":
        device[device > 0.4 * device[-1]] += 500_000_000
    if kind == "restarted":
        segment[len(segment) // 3 :] = 1
        device[len(segment) // 3 :] -= 4_000_000_000
    return device, np.rint(arrival_s * 1e9).astype(np.int64) + BOOT_NS, segment


def in_pieces(columns, cuts):
    estimator = ClockEstimator()
    for start, stop in zip([0, *cuts], [*cuts, len(columns[0])], strict=True):
        estimator.update(*(column[start:stop] for column in columns))
    return estimator.fits()


@pytest.mark.parametrize("kind", ["gaussian", "exponential", "packets", "stepped", "restarted"])
@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(0, 6000), max_size=12), seed=st.integers(0, 3))
def test_any_cut_into_pieces_gives_the_same_fits_bit_for_bit(kind, cuts, seed):
    columns = arriving(kind, 60, seed)
    cuts = sorted(min(cut, len(columns[0])) for cut in cuts)
    assert in_pieces(columns, cuts) == fit_clock(*columns)


def test_sample_by_sample_is_at_once():
    columns = arriving("exponential", 30, 1)
    assert in_pieces(columns, range(1, len(columns[0]))) == fit_clock(*columns)


def test_asking_on_the_way_changes_nothing_and_tells_what_a_fit_of_the_start_tells():
    columns = arriving("stepped", 60, 2)
    estimator = ClockEstimator()
    for start in range(0, 6000, 500):
        estimator.update(*(column[start : start + 500] for column in columns))
        assert estimator.fits() == fit_clock(*(column[: start + 500] for column in columns))


def test_nothing_yet_is_no_fit():
    estimator = ClockEstimator()
    assert estimator.fits() == []
    empty = np.empty(0, dtype=np.int64)
    estimator.update(empty, empty, empty)
    assert estimator.fits() == []


def held_numbers(estimator: ClockEstimator) -> int:
    """How many numbers the arrays that hang from an estimator hold."""
    seen, total, todo = set(), 0, [estimator]
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            total += item.size
        elif isinstance(item, (list, tuple)):
            todo += item
        elif type(item).__module__.startswith("drivers."):
            names = getattr(item, "__slots__", None) or vars(item)
            todo += [getattr(item, name) for name in names]
    return total


def test_three_hours_fit_into_the_memory_of_ten_minutes_and_are_still_right():
    """Drift and offset of what came in three hours; the crystal keeps its rate."""
    rng = np.random.default_rng(3)
    estimator, held = ClockEstimator(), []
    for minute in range(180):
        device = (np.arange(1500) + 1500 * minute) * 40_000_000
        arrival = np.rint(device / (1 + 30e-6) + rng.exponential(2e6, 1500)).astype(np.int64) + BOOT_NS
        estimator.update(device, arrival, np.zeros(1500, dtype=np.int64))
        held.append(held_numbers(estimator))
    assert max(held[10:]) < 1.3 * held[10] + 80_000
    (fit,) = estimator.fits()
    assert fit.drift_low_ppm <= 30 <= fit.drift_high_ppm
    assert fit.drift_high_ppm - fit.drift_low_ppm < 0.01
    newest = int(device[-1])
    truth = newest / (1 + 30e-6) - newest + BOOT_NS
    low, high = fit.offset_interval_ns(newest)
    assert low <= truth <= high
    assert high - low < 100_000
    assert (fit.n, fit.arrivals) == (270_000, 270_000)


def test_a_window_that_a_stall_leaves_almost_empty_merges_after_an_hour_like_any_other():
    """Blocks of an hour are merged in pairs; a window of one block has no pair."""
    device = np.arange(3600) * 1_000_000_000
    quiet = (device > 3000e9) & (device % 16_000_000_000 != 0)
    estimator = ClockEstimator()
    columns = [column[~quiet] for column in (device, device + BOOT_NS, np.zeros(3600, dtype=np.int64))]
    dense = np.arange(0, 700_000, 40) * 1_000_000
    estimator.update(dense, dense + BOOT_NS, np.zeros(len(dense), dtype=np.int64))
    later = columns[0] > 700e9
    estimator.update(*(column[later] for column in columns))
    (fit,) = estimator.fits()
    assert fit.drift_ppm == pytest.approx(0, abs=0.01)


def test_a_live_view_that_asks_each_second_gets_an_answer_of_not_long_ago_and_a_new_one_at_a_step():
    columns = arriving("stepped", 120, 3)
    estimator, answers = ClockEstimator(), []
    for start in range(0, 12_000, 100):
        estimator.update(*(column[start : start + 100] for column in columns))
        answers.append(estimator.latest())
        told = answers[-1][-1].start + answers[-1][-1].n
        assert answers[-1] == fit_clock(*(column[:told] for column in columns))
        assert start + 100 - told < 100 * max(20, start // 600)
    assert len({id(answer) for answer in answers}) <= 14
    before, after = answers[-1]
    assert before.n + after.n > 10_000


def test_a_live_view_hears_nothing_of_no_data():
    assert ClockEstimator().latest() == []
