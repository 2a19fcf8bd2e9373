"""One clock per stream and recording, and what breaks it."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest

from harness.clocks import clock_of, floors, jumped, line_of, slope_of

MS = 1_000_000
S = 1_000_000_000


def arriving(stream, delay_s, seed=2):
    since = (stream.time_ns - stream.time_ns[0]) / 1e9
    late = delay_s(since) + np.random.default_rng(seed).exponential(1e-3, len(since))
    return replace(stream, arrival_ns=np.maximum.accumulate(stream.time_ns + np.rint(late * 1e9).astype(np.int64)))


def test_a_clock_is_worked_out_once_and_forgotten_with_its_stream(a_stream):
    stream = a_stream()
    clock = clock_of(stream)
    assert clock_of(stream) is clock
    assert clock_of(a_stream()) is not clock
    seen = weakref.ref(clock)
    del clock, stream
    gc.collect()
    assert seen() is None


@pytest.mark.parametrize("size_ms", [-400, -80, 80, 400, 5000])
def test_a_clock_that_jumps_shows_in_device_times_and_not_in_arrivals(a_stream, size_ms):
    stream = arriving(a_stream(rate_hz=64.0, timed=True), lambda t: 0 * t)
    at = 900
    device_ns = stream.device_ns + np.where(np.arange(len(stream.device_ns)) >= at, size_ms * MS, 0)
    for found_at in (at, at + 5, at - 5):  # a step is not always placed to the sample
        assert jumped(device_ns, stream.arrival_ns, found_at, 1e9 / 64) == "clock"


@pytest.mark.parametrize("size_ms", [-400, -80, 80, 400, 5000])
def test_a_delay_that_jumps_leaves_the_device_times_even(a_stream, size_ms):
    stream = arriving(a_stream(rate_hz=64.0, timed=True), lambda t: np.where(t >= 14, size_ms * 1e-3, 0) + 0.5)
    at = int(np.searchsorted(stream.time_ns, stream.time_ns[0] + 14 * S))
    assert jumped(stream.device_ns, stream.arrival_ns, at, 1e9 / 64) == "delay"


def test_a_delay_that_jumps_where_samples_are_lost_is_still_the_delay(a_stream):
    lost = lambda i: (i < 800) | (i >= 850)  # noqa: E731
    stream = arriving(a_stream(rate_hz=64.0, timed=True, keep=lost), lambda t: np.where(t >= 13, 0.6, 0))
    assert jumped(stream.device_ns, stream.arrival_ns, 800, 1e9 / 64) == "delay"


def test_a_clock_that_begins_anew_in_the_middle_has_two_lines(a_stream):
    """It falls behind by ten seconds in ten, as if it ran infinitely slowly."""
    stream = a_stream(rate_hz=64.0, timed=True, keep=lambda i: i < 20 * 64)
    again = np.arange(len(stream.time_ns)) >= 10 * 64
    anew = replace(stream, device_ns=stream.device_ns - np.where(again, 10 * S, 0), segment=again.astype(np.int64))
    spans = clock_of(anew).spans
    assert [(span.start, span.stop) for span in spans] == [(0, 640), (640, 1280)]
    assert all(abs(fit.drift_ppm) < 1 for span in spans for fit in span.fits)


def test_the_line_is_that_of_the_least_delayed_stretch(a_stream):
    stream = arriving(a_stream(seconds=60.0), lambda t: np.where((t >= 20) & (t < 40), 0.7, 0.2))
    clock = clock_of(stream)
    (span,) = clock.spans
    assert len(span.fits) == 3
    late_ms = (stream.time_ns - line_of(clock, span).taken_ns) / 1e6
    assert np.abs(late_ms + 200).max() < 2


def test_a_floor_does_not_rest_on_one_stamp():
    arrival = np.arange(0, 5 * S, 4 * MS)
    delay = np.full(len(arrival), 3.0 * MS)
    delay[300] = -900 * MS
    at_ns, floor_ns = floors(arrival, delay)
    assert floor_ns.tolist() == [3.0 * MS] * 5
    assert at_ns.tolist() == [0, S, 2 * S, 3 * S, 4 * S]


def test_a_slopes_interval_holds_it_in_95_of_100_cases():
    draws, hits = np.random.default_rng(4), 0
    for _ in range(300):
        at_s = np.arange(20.0)
        slope, half = slope_of(at_s, 2e6 * at_s + draws.normal(0, 8e6, 20), 0.0)
        hits += abs(slope - 2e6) <= half
    assert hits >= 0.95 * 300
