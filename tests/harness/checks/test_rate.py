"""Rates against crystals that were put in."""

from dataclasses import replace

import numpy as np
import pytest

from harness.checks.rate import LIMITS, check
from harness.verdict import Outcome


def rate_of(recording, measure="rate"):
    (verdict,) = [verdict for verdict in check(recording, LIMITS()) if verdict.measure == measure]
    return verdict


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
    verdict = rate_of(a_recording([at_rate(a_stream, factor, rate_hz=rate_hz)]))
    assert verdict.outcome is outcome
    assert verdict.value == pytest.approx(rate_hz * factor, rel=2e-3)
    assert verdict.low <= verdict.value <= verdict.high


def test_losses_do_not_lower_the_rate_of_a_counted_stream(a_recording, a_stream):
    stream = at_rate(a_stream, 1.0, keep=lambda i: i % 5 != 2)
    verdict = rate_of(a_recording([stream]))
    assert verdict.outcome is Outcome.PASS


def test_losses_do_not_lower_the_rate_of_a_slow_stream_that_nothing_counts(a_recording, a_stream):
    stream = at_rate(a_stream, 1.0, rate_hz=1.0, counted=False, keep=lambda i: i % 5 != 2)
    verdict = rate_of(a_recording([stream]))
    assert verdict.outcome is Outcome.PASS
    assert verdict.value == pytest.approx(1.0, rel=2e-3)


@pytest.mark.parametrize("factor", [0.98, 1.02, 1.4])
def test_a_slow_stream_that_nothing_counts_is_judged_all_the_same(a_recording, a_stream, factor):
    verdict = rate_of(a_recording([at_rate(a_stream, factor, rate_hz=1.0, counted=False)]))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(factor, rel=2e-3)


def test_a_device_with_a_good_clock_and_a_wrong_sampling_rate_is_found(a_recording, a_stream):
    stream = a_stream(rate_hz=64.0, timed=True, keep=lambda i: i % 2 == 0)  # samples at 32 Hz, stamps them rightly
    verdict = rate_of(a_recording([stream]))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(32.0, rel=1e-3)


def test_a_handful_of_samples_tells_nothing(a_recording, a_stream):
    (verdict,) = check(a_recording([a_stream(keep=lambda i: i < 5)]), LIMITS())
    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_no_stream_with_a_rate_is_not_green(a_recording, a_stream):
    (verdict,) = check(a_recording([a_stream(rate_hz=None, kind="rr")]), LIMITS())
    assert verdict.outcome is Outcome.NOT_RUN


# --- wander and silence -----------------------------------------------------------------------


def uneven(a_stream, faster, from_s=10.0, to_s=15.0, jitter_ms=1.0, seed=3, **given):
    """Samples come ``faster`` times as fast between two moments."""
    stream = a_stream(**given)
    start = stream.arrival_ns[0]
    due_s = (stream.arrival_ns - start) / 1e9
    early = np.clip(due_s - from_s, 0, to_s - from_s) * (1 - 1 / faster)
    late = np.random.default_rng(seed).exponential(jitter_ms * 1e-3, len(due_s))
    arrival = start + np.rint((due_s - early + late) * 1e9).astype(np.int64)
    return replace(stream, arrival_ns=np.maximum.accumulate(arrival))


@pytest.mark.parametrize("rate_hz", [250.0, 64.0, 10.0])
def test_a_rate_that_is_off_for_five_seconds_is_found_there(a_recording, a_stream, rate_hz):
    verdict = rate_of(a_recording([uneven(a_stream, 1.06, rate_hz=rate_hz)]), "rate wander")
    assert verdict.outcome is Outcome.FAIL
    assert 3.0 < verdict.low <= verdict.value < 6.5
    assert any(f"at {second} s" in verdict.reason for second in (8, 9, 10, 11))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("rate_hz", [250.0, 10.0])
def test_an_even_rate_does_not_wander_whatever_the_link_delays(a_recording, a_stream, rate_hz, seed):
    stream = uneven(a_stream, 1.0, jitter_ms=5.0, seed=seed, rate_hz=rate_hz)
    assert rate_of(a_recording([stream]), "rate wander").outcome is Outcome.PASS


def test_sampling_by_a_busy_program_is_seen_in_the_devices_own_time(a_recording, a_stream):
    stream = a_stream(rate_hz=64.0, timed=True)
    slow = np.clip(stream.device_ns / 1e9 - 10, 0, 5) * 0.05  # five seconds of samples take a quarter longer
    late = np.rint(slow * 1e9).astype(np.int64)
    stream = replace(stream, device_ns=stream.device_ns + late, arrival_ns=stream.arrival_ns + late)
    verdict = rate_of(a_recording([stream]), "rate wander")
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(5.0, abs=1.0)


def test_a_stream_that_falls_silent_is_named_with_the_time(a_recording, a_stream):
    stream = at_rate(a_stream, 1.0, keep=lambda i: i < 3000)  # the first 12 of 30 s
    verdict = rate_of(a_recording([stream]))
    assert verdict.outcome is Outcome.PASS
    assert "silent from 12.0 to 30.0 s" in verdict.reason
    assert "rate of the other 12.0 s" in verdict.reason
    assert "did not come back" in verdict.reason


def test_a_silence_in_the_middle_does_not_lower_the_rate_and_is_told(a_recording, a_stream):
    stream = at_rate(a_stream, 1.0, keep=lambda i: (i < 2500) | (i >= 4000))
    verdict = rate_of(a_recording([stream]))
    assert verdict.value == pytest.approx(250.0, rel=1e-4)
    assert "silent from 10.0 to 16.0 s" in verdict.reason
    assert "did not come back" not in verdict.reason


# --- losses, swaps and damage -----------------------------------------------------------------


def stamped(a_stream, rate_hz, taken_hz=None, seed=3, lost=0.5):
    """A board that prints milliseconds and no number; half of its lines are lost at random."""
    keep = np.random.default_rng(seed).random(int(30 * (taken_hz or rate_hz))) > lost
    stream = a_stream(rate_hz=taken_hz or rate_hz, timed=True, counted=False, keep=keep)
    in_ms = stream.device_ns // 1_000_000 * 1_000_000
    return replace(stream, device_ns=in_ms, spec=replace(stream.spec, rate_hz=rate_hz))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("rate_hz", [64.0, 8.0, 4.0])
def test_losing_every_other_line_is_no_lower_rate(a_recording, a_stream, rate_hz, seed):
    recording = a_recording([stamped(a_stream, rate_hz, seed=seed)])
    verdict = rate_of(recording)
    assert verdict.outcome is Outcome.PASS, verdict.reason
    assert verdict.value == pytest.approx(rate_hz, rel=2e-3)
    assert all(v.outcome is not Outcome.FAIL for v in check(recording, LIMITS()))


@pytest.mark.parametrize("taken_hz", [32.0, 50.0, 62.5, 66.0, 128.0])
def test_a_wrong_rate_is_found_behind_heavy_loss(a_recording, a_stream, taken_hz):
    verdict = rate_of(a_recording([stamped(a_stream, 64.0, taken_hz)]))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(taken_hz, rel=2e-3)


@pytest.mark.parametrize("rate_hz", [64.0, 10.0])
def test_samples_that_change_places_are_no_other_rate(a_recording, a_stream, rate_hz):
    stream = a_stream(rate_hz=rate_hz, timed=True, counted=False)
    order = np.arange(len(stream.index))
    swaps = order[:-1:3]
    order[swaps], order[swaps + 1] = order[swaps + 1], order[swaps].copy()
    swapped = replace(stream, index=stream.index[order], device_ns=stream.device_ns[order])
    verdict = rate_of(a_recording([swapped]))
    assert verdict.value == pytest.approx(rate_hz, rel=1e-3)
    assert all(v.outcome is not Outcome.FAIL for v in check(a_recording([swapped]), LIMITS()))


@pytest.mark.parametrize("seed", range(20))
def test_a_few_wrong_stamps_among_few_samples_are_no_wandering_rate(a_recording, a_stream, seed):
    stream = stamped(a_stream, 8.0, seed=seed)
    draws = np.random.default_rng(seed + 100)
    wrong = draws.random(len(stream.device_ns)) < 0.03
    device = stream.device_ns + np.where(wrong, draws.integers(-40, 41, len(wrong)) * 1_000_000, 0)
    verdicts = check(a_recording([replace(stream, device_ns=device)]), LIMITS())
    assert all(v.outcome is not Outcome.FAIL for v in verdicts), [v.reason for v in verdicts]
