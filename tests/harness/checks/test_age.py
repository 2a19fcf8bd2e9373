"""How old data are, against delays that were put in."""

from dataclasses import replace

import numpy as np
import pytest

from harness.checks.age import LIMITS, check
from harness.verdict import Outcome

MS = 1_000_000
S = 1_000_000_000


def late_by(stream, delay_s, jitter_ms=1.0, seed=5):
    """What was taken t seconds after the first sample comes delay_s(t) later, and by chance a little more."""
    since = (stream.time_ns - stream.time_ns[0]) / 1e9
    late = delay_s(since) + np.random.default_rng(seed).exponential(jitter_ms * 1e-3, len(since))
    return replace(stream, arrival_ns=np.maximum.accumulate(stream.time_ns + np.rint(late * 1e9).astype(np.int64)))


def connected(role="chest", begun_s=98.0, told_s=None, streaming_s=99.5):
    times = {"begun_ns": round(begun_s * S), "streaming_ns": round(streaming_s * S)}
    return {"connect": {role: times | ({"told_ns": round(told_s * S)} if told_s is not None else {})}}


def found_in(a_recording, *streams, meta=None, limits=None, **changes):
    recording = a_recording(list(streams), meta=connected() if meta is None else meta, **changes)
    return {(v.subject, v.measure): v for v in check(recording, limits or LIMITS())}


def of(found, measure):
    return found["chest/ecg", measure]


# --- age --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("given", [{}, {"rate_hz": 64.0, "timed": True}, {"rate_hz": 4.0}])
def test_fresh_data_are_green_in_every_way(a_recording, a_stream, given, seed):
    found = found_in(a_recording, late_by(a_stream(**given), lambda t: 0.002 * np.ones_like(t), seed=seed))
    assert [v for v in found.values() if v.outcome is not Outcome.PASS] == []
    assert {measure for _, measure in found} == {"age", "age growth", "longest stall", "first sample"}


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("late_s", [1.5, 15.0])
def test_data_that_become_old_are_red_and_as_old_as_they_are(a_recording, a_stream, late_s, timed):
    stream = late_by(a_stream(timed=timed), lambda t: np.where(t >= 8, late_s, 0.0))
    found = found_in(a_recording, stream, stop_ns=150 * S)
    age = of(found, "age")
    assert age.outcome is Outcome.FAIL
    assert 1000 * late_s - 1 <= age.low <= age.value
    assert age.value == pytest.approx(1000 * late_s, abs=10)
    assert of(found, "age growth").outcome is Outcome.PASS  # it is old, and does not grow older


@pytest.mark.parametrize("late_s", [1.5, 15.0])
def test_data_that_were_old_and_become_fresh_are_red(a_recording, a_stream, late_s):
    """As after a queue that was emptied: only what came later shows how old the first samples were."""
    stream = a_stream(seconds=40.0)
    since = (stream.time_ns - stream.time_ns[0]) / 1e9
    arrival_s = np.maximum.accumulate(np.where(since < 20 - late_s, since + late_s, np.maximum(since, 20.0)))
    stream = replace(stream, arrival_ns=stream.time_ns[0] + np.rint(arrival_s * 1e9).astype(np.int64))
    age = of(found_in(a_recording, stream, stop_ns=150 * S), "age")
    assert age.outcome is Outcome.FAIL
    assert age.value == pytest.approx(1000 * late_s, abs=10)


def test_a_clock_that_jumps_makes_no_data_old(a_recording, a_stream):
    stream = late_by(a_stream(rate_hz=64.0, timed=True), lambda t: 0 * t)
    back = np.where(np.arange(len(stream.device_ns)) >= 1000, -3 * S, 0)
    stream = replace(stream, device_ns=stream.device_ns + back)
    assert of(found_in(a_recording, stream), "age").outcome is Outcome.PASS


def test_a_fast_crystal_makes_no_data_old(a_recording, a_stream):
    stream = late_by(a_stream(seconds=300.0), lambda t: 400e-6 * t)  # 120 ms in five minutes
    age = of(found_in(a_recording, stream, stop_ns=400 * S), "age")
    assert age.value < 10


def test_the_oldest_sample_of_a_packet_counts(a_recording, a_stream):
    stream = a_stream(rate_hz=130.0, timed=True)
    last = np.minimum(np.arange(len(stream.index)) // 73 * 73 + 72, len(stream.index) - 1)
    stream = replace(stream, arrival_ns=stream.time_ns[last] + 5 * MS)
    age = of(found_in(a_recording, stream), "age")
    assert age.outcome is Outcome.PASS
    assert age.value == pytest.approx(1e3 * 72 / 130, rel=0.03)
    stricter = of(found_in(a_recording, stream, limits=LIMITS(max_age_ms=300.0)), "age")
    assert stricter.outcome is Outcome.FAIL


def test_the_declared_floor_is_added(a_recording, a_stream):
    recording = a_recording([late_by(a_stream(), lambda t: 0 * t)], meta=connected())
    entry = replace(recording.rig.sensors["chest"], floor_ms=40.0)
    slow = replace(recording, rig=replace(recording.rig, sensors={"chest": entry}))
    ages = [next(v for v in check(each, LIMITS()) if v.measure == "age") for each in (recording, slow)]
    assert ages[1].value - ages[0].value == pytest.approx(40.0)
    assert ages[1].low >= 40.0


# --- what one way cannot show -----------------------------------------------------------------


def test_nothing_bounds_what_all_samples_share_where_a_sensor_streams_unasked(a_recording, a_stream):
    age = of(found_in(a_recording, late_by(a_stream(), lambda t: 15 + 0 * t), stop_ns=150 * S), "age")
    assert age.high is None
    assert "would not show" in age.reason


def test_the_first_sample_bounds_what_all_samples_share_where_it_was_asked_for(a_recording, a_stream):
    meta = connected(told_s=99.99)
    age = of(found_in(a_recording, late_by(a_stream(), lambda t: 0.02 + 0 * t), meta=meta), "age")
    assert age.outcome is Outcome.PASS
    assert 20 < age.high < 45  # told 10 ms before the first sample was taken, which came 20 ms later


def test_data_that_are_all_old_are_not_green_where_that_can_be_known(a_recording, a_stream):
    meta = connected(told_s=99.99)
    found = found_in(a_recording, late_by(a_stream(), lambda t: 15 + 0 * t), meta=meta, stop_ns=150 * S)
    age = of(found, "age")
    assert age.outcome is Outcome.INCONCLUSIVE  # a slow start looks the same
    assert age.low < 1000 < 15_000 < age.high < 15_100
    assert of(found, "first sample").outcome is Outcome.FAIL


# --- growth -----------------------------------------------------------------------------------


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize(("growth_ms_per_s", "from_s"), [(5.0, 0.0), (5.0, 15.0), (20.0, 20.0), (100.0, 0.0)])
def test_a_delay_that_grows_is_found_with_its_size(a_recording, a_stream, growth_ms_per_s, from_s, timed):
    stream = late_by(a_stream(timed=timed), lambda t: np.maximum(t - from_s, 0) * growth_ms_per_s * 1e-3)
    growth = of(found_in(a_recording, stream), "age growth")
    assert growth.outcome is Outcome.FAIL
    assert growth.low <= 60 * growth_ms_per_s <= growth.high
    assert growth.low > 60
    assert "ppm slow" in growth.reason  # one way, a slow clock looks the same


def test_a_growth_that_no_crystal_explains_makes_data_old(a_recording, a_stream):
    stream = late_by(a_stream(), lambda t: 0.1 * t)
    age = of(found_in(a_recording, stream, stop_ns=150 * S), "age")
    assert age.outcome is Outcome.FAIL
    assert age.value == pytest.approx(0.99 * 100 * 30, rel=0.01)


@pytest.mark.parametrize("ppm", [-300, -100, 100, 300])
def test_a_crystal_is_no_growth(a_recording, a_stream, ppm):
    stream = late_by(a_stream(), lambda t: ppm * 1e-6 * t)
    assert of(found_in(a_recording, stream), "age growth").outcome is Outcome.PASS


@pytest.mark.parametrize("seed", range(20))
def test_stalls_and_steps_of_the_delay_are_no_growth(a_recording, a_stream, seed):
    draws = np.random.default_rng(seed)
    begins = draws.uniform(0, 29, 6)
    step_s, step_at = draws.uniform(0, 0.4), draws.uniform(3, 27)

    def delay(t):
        left = [np.where((t >= b) & (t < b + 0.4), b + 0.4 - t, 0) for b in begins]
        return np.max(left, axis=0) + np.where(t >= step_at, step_s, 0)

    found = found_in(a_recording, late_by(a_stream(), delay, seed=seed))
    assert of(found, "age growth").outcome is not Outcome.FAIL


# --- stalls -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [250.0, 10.0])
@pytest.mark.parametrize(("for_s", "outcome"), [(0.3, Outcome.PASS), (0.9, Outcome.FAIL), (3.0, Outcome.FAIL)])
def test_a_link_that_stands_still_is_found_with_its_length(a_recording, a_stream, for_s, outcome, rate_hz):
    delay = lambda t: np.where((t >= 12) & (t < 12 + for_s), 12 + for_s - t, 0)  # noqa: E731
    stall = of(found_in(a_recording, late_by(a_stream(rate_hz=rate_hz), delay)), "longest stall")
    assert stall.outcome is outcome
    assert stall.value == pytest.approx(1000 * for_s, abs=2100 / rate_hz + 6)
    assert f"until {12 + for_s:.0f}" in stall.reason or for_s < 1


def test_an_outage_is_no_stall(a_recording, a_stream):
    stream = late_by(a_stream(keep=lambda i: (i < 2500) | (i >= 4000)), lambda t: 0 * t)
    stall = of(found_in(a_recording, stream), "longest stall")
    assert stall.outcome is Outcome.PASS
    assert stall.value < 10


# --- first sample -----------------------------------------------------------------------------


@pytest.mark.parametrize(("begun_s", "outcome"), [(98.0, Outcome.PASS), (92.0, Outcome.FAIL)])
def test_the_first_sample_is_timed_from_the_start_of_connecting(a_recording, a_stream, begun_s, outcome):
    meta = connected(begun_s=begun_s)
    first = of(found_in(a_recording, a_stream(), meta=meta), "first sample")
    assert first.outcome is outcome
    assert first.value == pytest.approx(100.003 - begun_s)


def test_a_slow_stream_has_three_periods_to_begin(a_recording, a_stream):
    stream = a_stream(rate_hz=0.2, seconds=60.0)
    first = of(found_in(a_recording, stream, meta=connected(begun_s=90.0)), "first sample")
    assert (first.outcome, first.limit) == (Outcome.PASS, 15.0)


def test_a_stream_that_never_came_is_red(a_recording, a_stream):
    found = found_in(a_recording, a_stream(keep=lambda i: i < 0))
    assert of(found, "first sample").outcome is Outcome.FAIL
    assert of(found, "age").outcome is Outcome.INCONCLUSIVE


def test_a_recording_without_the_times_of_connecting_is_not_green(a_recording, a_stream):
    assert of(found_in(a_recording, a_stream(), meta={}), "first sample").outcome is Outcome.INCONCLUSIVE


def test_a_stream_that_nothing_numbers_or_stamps_has_no_age_that_could_be_told(a_recording, a_stream):
    found = found_in(a_recording, a_stream(rate_hz=1.0, counted=False))
    assert "cannot be told" in of(found, "first sample").reason
    assert found["rig", "age"].outcome is Outcome.NOT_RUN


def test_a_handful_of_samples_tells_nothing(a_recording, a_stream):
    found = found_in(a_recording, a_stream(keep=lambda i: i < 5))
    assert of(found, "age").outcome is Outcome.INCONCLUSIVE


# --- what nothing counts ----------------------------------------------------------------------


def test_a_fast_stream_that_nothing_counts_is_green_as_long_as_it_comes_evenly(a_recording, a_stream):
    found = found_in(a_recording, late_by(a_stream(rate_hz=75.0, counted=False), lambda t: 0 * t))
    assert {v.outcome for v in found.values()} == {Outcome.PASS}


def test_what_looks_old_where_nothing_counts_may_have_been_lost(a_recording, a_stream):
    stream = late_by(a_stream(rate_hz=75.0, counted=False), lambda t: np.where(t >= 8, 1.5, 0.0))
    age = of(found_in(a_recording, stream, stop_ns=150 * S), "age")
    assert age.outcome is Outcome.INCONCLUSIVE
    assert "lost" in age.reason


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("given", [{}, {"rate_hz": 64.0, "timed": True}, {"rate_hz": 4.0}])
def test_a_link_that_is_busy_for_moments_makes_no_delay_that_grows(a_recording, a_stream, given, seed):
    """After a calm beginning, delays up to 320 ms that are drawn anew four times a second."""
    delays = np.random.default_rng(seed).uniform(0, 0.32, 130)
    stream = late_by(a_stream(**given), lambda t: np.where(t < 3, 0.0, delays[(t * 4).astype(int)]))
    assert of(found_in(a_recording, stream), "age growth").outcome is not Outcome.FAIL
