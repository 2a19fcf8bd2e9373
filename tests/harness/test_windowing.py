"""When windows close, from arrival stamps alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.types import Samples, StreamSpec
from harness.rig import WindowEntry
from harness.track import Track
from harness.windowing import Schedule, close_windows, waits_for

MS = 1_000_000


def track_of(times_ms, arrivals_ms, rate_hz=100.0):
    track = Track(StreamSpec("s", "raw", ("v",), "1", rate_hz))
    add(track, times_ms, arrivals_ms)
    return track


def add(track, times_ms, arrivals_ms):
    times = np.asarray(times_ms, dtype=np.int64) * MS
    arrivals = np.asarray(arrivals_ms, dtype=np.int64) * MS
    track.add(Samples("s", np.zeros((len(times), 1)), np.arange(len(times)), arrivals), times)


SCHEDULE = Schedule(first_ns=100 * MS, hop_ns=100 * MS, wait_ns=50 * MS, count=10)


def test_a_window_closes_when_the_sample_that_reaches_its_due_time_arrives():
    times = np.arange(0, 320, 10)
    closing = close_windows(SCHEDULE, 0, [track_of(times, times + 7)], 325 * MS, sure=False)
    assert closing.due_ns.tolist() == [100 * MS, 200 * MS, 300 * MS]
    assert closing.closed_ns.tolist() == [107 * MS, 207 * MS, 307 * MS]
    assert not closing.late.any()


def test_a_window_waits_for_the_slower_of_two_streams():
    times = np.arange(0, 320, 10)
    tracks = [track_of(times, times + 7), track_of(times, times + 30)]
    assert close_windows(SCHEDULE, 0, tracks, 150 * MS, sure=False).closed_ns.tolist() == [130 * MS]


def test_a_window_closes_without_a_late_stream_when_its_waiting_time_is_over():
    times = np.arange(0, 90, 10)
    closing = close_windows(SCHEDULE, 0, [track_of(times, times + 7)], 150 * MS, sure=False)
    assert closing.closed_ns.tolist() == [150 * MS]
    assert closing.late.tolist() == [[1]]


def test_a_window_does_not_close_while_its_stream_may_still_come():
    times = np.arange(0, 90, 10)
    assert not len(close_windows(SCHEDULE, 0, [track_of(times, times + 7)], 149 * MS, sure=False).due_ns)


def test_a_window_does_not_wait_for_a_stream_that_has_been_silent_for_a_second():
    far = Schedule(first_ns=2000 * MS, hop_ns=100 * MS, wait_ns=50 * MS, count=10)
    closing = close_windows(far, 0, [track_of([0, 10], [7, 17])], 2001 * MS, sure=False)
    assert closing.closed_ns.tolist() == [2000 * MS]
    assert not closing.late.any()


def test_without_streams_to_wait_for_windows_close_when_due():
    closing = close_windows(SCHEDULE, 0, [], 250 * MS, sure=False)
    assert closing.closed_ns.tolist() == [100 * MS, 200 * MS]


def test_no_window_is_due_beyond_the_schedule():
    assert len(close_windows(SCHEDULE, 0, [], 5000 * MS, sure=False).due_ns) == 10
    assert not len(close_windows(SCHEDULE, 10, [], 5000 * MS, sure=False).due_ns)


def test_the_schedule_leaves_the_last_window_time_to_be_judged():
    schedule = Schedule.of(WindowEntry(hop_ms=80, wait_ms=50, fill_s=4, grace_ms=150), 0, 30_000 * MS)
    last = int(schedule.due_ns(0, schedule.count)[-1])
    assert last + 80 * MS > 30_000 * MS - 200 * MS >= last
    assert schedule.first_ns == 4000 * MS


@pytest.mark.parametrize(("period_ms", "expected"), [(0, False), (4, True), (80, True), (81, False)])
def test_only_streams_as_fast_as_the_hop_are_waited_for(period_ms, expected):
    assert waits_for(period_ms * MS, 80 * MS) is expected


@settings(max_examples=60, deadline=None)
@given(
    delays=st.lists(st.integers(0, 120), min_size=60, max_size=60),
    lost=st.sets(st.integers(0, 59), max_size=25),
)
def test_many_windows_at_once_close_as_they_do_one_by_one(delays, lost):
    """Virtual time closes a second's worth in one call; real time closes each on its own."""
    kept = [i for i in range(60) if i not in lost]
    times = np.array([10 * i for i in kept], dtype=np.int64)
    arrivals = np.maximum.accumulate(times + np.array([delays[i] for i in kept], dtype=np.int64)) if kept else times
    schedule = Schedule(100 * MS, 40 * MS, 50 * MS, 10)
    at_once = close_windows(schedule, 0, [track_of(times, arrivals)], 2000 * MS, sure=True)
    closed, late, number = [], [], 0
    live = track_of([], [])
    for now in range(2000):
        fresh = arrivals == now
        if fresh.any():
            add(live, times[fresh], arrivals[fresh])
        closing = close_windows(schedule, number, [live], now * MS, sure=False)
        number += len(closing.due_ns)
        closed += closing.closed_ns.tolist()
        late += closing.late.tolist()
    assert closed == at_once.closed_ns.tolist()
    assert late == at_once.late.tolist()
