"""Line rate, USB batching and connection events, in integer nanoseconds."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.types import Batch
from simulators.line import ConnectionEvents, SerialLine

_MS = 1_000_000


def _frames(sizes: list[int], at_ns: list[int]) -> Batch:
    return Batch.of([bytes(size) for size in sizes], np.array(at_ns, dtype=np.int64))


def _one_by_one(sizes: list[int], at_ns: list[int], byte_ns: int) -> list[int]:
    """A queue on paper: a frame starts when it is due and the line is free."""
    free, done = -(10**18), []
    for size, at in zip(sizes, at_ns, strict=True):
        free = max(at, free) + size * byte_ns
        done.append(free)
    return done


def test_a_frame_takes_ten_bits_a_byte() -> None:
    # 33 bytes at 100 kbit/s: 330 bits of 10 us.
    assert SerialLine(100_000).carry(_frames([33], [7])).at_ns.tolist() == [7 + 3_300_000]


def test_a_frame_waits_for_the_one_before_it() -> None:
    out = SerialLine(100_000).carry(_frames([10, 10, 10], [0, 0, 5 * _MS]))
    assert out.at_ns.tolist() == [1 * _MS, 2 * _MS, 6 * _MS]


@settings(max_examples=100, deadline=None)
@given(
    frames=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 6 * _MS)), min_size=1, max_size=40),
    cuts=st.sets(st.integers(1, 40)),
)
def test_the_line_is_a_queue_however_its_frames_are_cut(frames: list[tuple[int, int]], cuts: set[int]) -> None:
    sizes = [size for size, _ in frames]
    at_ns = np.cumsum([gap for _, gap in frames]).tolist()
    line, edges = SerialLine(115_200), sorted({0, len(frames)} | {c for c in cuts if c < len(frames)})
    done: list[int] = []
    for a, b in itertools.pairwise(edges):
        done += line.carry(_frames(sizes[a:b], at_ns[a:b])).at_ns.tolist()
    assert done == _one_by_one(sizes, at_ns, round(10e9 / 115_200))


def test_a_usb_bridge_delivers_at_its_latency_timer_only() -> None:
    line = SerialLine(1_000_000, usb_latency_ms=16, start_ns=3)
    out = line.carry(_frames([1, 1, 1], [3, 3 + 15 * _MS, 3 + 16 * _MS]))
    assert out.at_ns.tolist() == [3 + 16 * _MS, 3 + 16 * _MS, 3 + 32 * _MS]


def test_a_cleared_line_has_forgotten_what_it_was_sending() -> None:
    line = SerialLine(1000)
    line.carry(_frames([1000], [0]))  # ten seconds
    line.clear()
    assert line.carry(_frames([1], [1_000 * _MS])).at_ns.tolist() == [1_010 * _MS]


def test_notifications_leave_together_at_the_next_connection_event() -> None:
    line = ConnectionEvents(30, start_ns=5)
    out = line.carry(_frames([20, 20, 20], [5, 6, 5 + 30 * _MS]))
    assert out.at_ns.tolist() == [5, 5 + 30 * _MS, 5 + 30 * _MS]


def test_a_notification_does_not_overtake_an_earlier_one() -> None:
    line = ConnectionEvents(30)
    late = line.carry(_frames([4], [100 * _MS]))
    after = line.carry(_frames([20], [70 * _MS]))
    assert late.at_ns.tolist() == [120 * _MS]
    assert after.at_ns.tolist() == [120 * _MS]


def test_an_empty_batch_passes() -> None:
    assert len(SerialLine(9600).carry(_frames([], []))) == 0
    assert len(ConnectionEvents(30).carry(_frames([], []))) == 0
