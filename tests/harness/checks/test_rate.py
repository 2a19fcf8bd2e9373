"""Rates against crystals that were put in."""

from dataclasses import replace

import numpy as np
import pytest

from harness.checks.rate import LIMITS, check
from harness.verdict import Outcome


def at_rate(a_stream, factor, **given):
    """A sensor whose samples come ``factor`` times as fast as declared."""
    stream = a_stream(**given)
    start = stream.arrival_ns[0]
    jitter = np.random.default_rng(5).exponential(1e6, len(stream.arrival_ns)).astype(np.int64)
    arrival = start + ((stream.arrival_ns - start) / factor).astype(np.int64)
    return replace(stream, arrival_ns=np.maximum.accumulate(arrival + jitter))


@pytest.mark.parametrize(
    ("factor", "outcome"), [(1.0, Outcome.PASS), (1.005, Outcome.PASS), (0.98, Outcome.FAIL), (1.02, Outcome.FAIL)]
)
@pytest.mark.parametrize("rate_hz", [250.0, 10.0, 1.0])
def test_a_rate_is_judged_against_the_declared_one(a_recording, a_stream, factor, outcome, rate_hz):
    (verdict,) = check(a_recording([at_rate(a_stream, factor, rate_hz=rate_hz)]), LIMITS())
    assert verdict.outcome is outcome
    assert verdict.value == pytest.approx(rate_hz * factor, rel=2e-3)
    assert verdict.low <= verdict.value <= verdict.high


def test_losses_do_not_lower_the_rate_of_a_counted_stream(a_recording, a_stream):
    stream = at_rate(a_stream, 1.0, keep=lambda i: i % 5 != 2)
    (verdict,) = check(a_recording([stream]), LIMITS())
    assert verdict.outcome is Outcome.PASS


def test_losses_do_not_lower_the_rate_of_a_slow_stream_that_nothing_counts(a_recording, a_stream):
    stream = at_rate(a_stream, 1.0, rate_hz=1.0, counted=False, keep=lambda i: i % 5 != 2)
    (verdict,) = check(a_recording([stream]), LIMITS())
    assert verdict.outcome is Outcome.PASS
    assert verdict.value == pytest.approx(1.0, rel=2e-3)


@pytest.mark.parametrize("factor", [0.98, 1.02, 1.4])
def test_a_slow_stream_that_nothing_counts_is_judged_all_the_same(a_recording, a_stream, factor):
    (verdict,) = check(a_recording([at_rate(a_stream, factor, rate_hz=1.0, counted=False)]), LIMITS())
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(factor, rel=2e-3)


def test_a_device_with_a_good_clock_and_a_wrong_sampling_rate_is_found(a_recording, a_stream):
    stream = a_stream(rate_hz=64.0, timed=True, keep=lambda i: i % 2 == 0)  # samples at 32 Hz, stamps them rightly
    (verdict,) = check(a_recording([stream]), LIMITS())
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(32.0, rel=1e-3)


def test_a_handful_of_samples_tells_nothing(a_recording, a_stream):
    (verdict,) = check(a_recording([a_stream(keep=lambda i: i < 5)]), LIMITS())
    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_no_stream_with_a_rate_is_not_green(a_recording, a_stream):
    (verdict,) = check(a_recording([a_stream(rate_hz=None, kind="rr")]), LIMITS())
    assert verdict.outcome is Outcome.NOT_RUN
