from __future__ import annotations

import numpy as np
import pytest

from drivers.clock_fit import fit_clock
from harness.sync import nearest_differences, nearest_distances, pair_offset


def naive(a, b):
    """The debugging guide's loop."""
    differences = []
    for at in a:
        closest = min(b, key=lambda other: abs(other - at))
        differences.append(abs(at - closest))
    return max(differences), sum(differences) / len(differences)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 50), (50, 1), (200, 77), (30, 300)])
def test_the_vectorised_answer_is_the_naive_one(n, m):
    rng = np.random.default_rng(n * 1000 + m)
    a, b = rng.uniform(0, 10, n), np.round(rng.uniform(-1, 12, m), 1)
    largest, mean = nearest_differences(a, b)
    assert largest == naive(a, b)[0]
    assert mean == pytest.approx(naive(a, b)[1], rel=1e-12)


def test_it_looks_from_the_first_modality_to_the_second():
    sparse, dense = np.arange(0, 10, 1.0), np.arange(0, 10, 0.01)
    assert nearest_differences(sparse, dense)[0] < 1e-9
    assert nearest_differences(dense, sparse)[0] == pytest.approx(0.99)


def test_an_offset_between_equal_rates_shows_in_full_while_it_is_under_half_a_period():
    assert nearest_differences(np.arange(50) * 0.25, np.arange(50) * 0.25 + 0.1) == pytest.approx((0.1, 0.1))


def test_no_time_stamps_is_an_error_that_says_which():
    with pytest.raises(ValueError, match="found 0 and 3"):
        nearest_distances(np.array([]), np.arange(3.0))


def fit_of(drift_ppm, boot_s, seed, seconds=60):
    """A device that booted ``boot_s`` before host second 100 and streams from there; delays of 2 ms at the mean."""
    rng = np.random.default_rng(seed)
    host = 100 + np.arange(0, seconds, 0.004)
    device = boot_s + (host - 100) * (1 + drift_ppm * 1e-6)
    arrival = np.maximum.accumulate(host + rng.exponential(2e-3, len(host)))
    as_ns = [np.rint(x * 1e9).astype(np.int64) for x in (device, arrival)]
    return fit_clock(as_ns[0], as_ns[1], np.zeros(len(host), dtype=np.int64))[0]


def test_a_pairs_offset_and_drift_are_the_injected_ones_within_their_intervals():
    first, second = fit_of(20, 5.0, 1), fit_of(-35, 7.25, 2)
    for at_s in (100, 130, 160):
        pair = pair_offset(first, second, at_s * 1_000_000_000)
        truth_ns = 2.25e9 - (at_s - 100) * 55_000
        assert pair.offset_low_ns < truth_ns < pair.offset_high_ns
        assert pair.offset_ns == pytest.approx(truth_ns, abs=0.2e6)
        assert pair.uncertainty_ns < 1e6
    assert pair.drift_low_ppm < -55 < pair.drift_high_ppm
    assert pair.drift_ppm == pytest.approx(-55, abs=2)


def test_by_default_a_pair_is_compared_in_the_middle_of_its_overlap():
    assert pair_offset(fit_of(0, 0, 1, 60), fit_of(0, 0, 2, 20)).at_ns == pytest.approx(110e9, abs=0.1e9)
