"""Clocks and inboxes: waiting, order, and that virtual time moves only as told."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.clock import Clock, RealClock, VirtualClock, to_ns, to_seconds

times = st.integers(0, 10**12)


@given(st.integers(-(2**50), 2**50))
def test_nanoseconds_survive_the_way_over_seconds(ns: int) -> None:
    assert to_ns(to_seconds(ns)) == ns  # 2**50 ns are 13 days, within a float's 53 bits


def test_a_second_is_a_milliard_nanoseconds() -> None:
    assert to_ns(1.5) == 1_500_000_000
    assert to_seconds(250_000_000) == 0.25


# --- virtual time ---------------------------------------------------------------------------------


@given(st.lists(times, max_size=30), times)
def test_calls_run_in_time_order_and_equal_times_in_order_of_scheduling(at: list[int], until_ns: int) -> None:
    clock, ran = VirtualClock(), list[tuple[int, int, int]]()
    for number, at_ns in enumerate(at):
        clock.schedule(at_ns, lambda at_ns=at_ns, number=number: ran.append((at_ns, number, clock.now_ns())))
    clock.sleep_until(until_ns)
    due = sorted((at_ns, number) for number, at_ns in enumerate(at) if at_ns <= until_ns)
    assert ran == [(at_ns, number, at_ns) for at_ns, number in due]
    assert clock.now_ns() == until_ns


@given(times, times)
def test_virtual_time_never_goes_back(first_ns: int, second_ns: int) -> None:
    clock = VirtualClock(first_ns)
    clock.sleep_until(second_ns)
    assert clock.now_ns() == max(first_ns, second_ns)
    assert clock.inbox().get(second_ns - 1) is None
    assert clock.now_ns() == max(first_ns, second_ns)


def test_a_call_that_is_scheduled_in_the_past_runs_now() -> None:
    clock, ran = VirtualClock(1000), list[int]()
    clock.schedule(5, lambda: ran.append(clock.now_ns()))
    clock.sleep_until(1000)
    assert ran == [1000]


def test_a_call_may_schedule_the_next_and_may_itself_wait() -> None:
    clock, ran = VirtualClock(), list[int]()

    def again() -> None:
        ran.append(clock.now_ns())
        clock.schedule(clock.now_ns() + 10, again)

    def waiting() -> None:
        clock.sleep_until(clock.now_ns() + 15)
        ran.append(-clock.now_ns())

    clock.schedule(10, again)
    clock.schedule(20, waiting)
    clock.sleep_until(50)
    assert ran == [10, 20, 30, -35, 40, 50]
    assert clock.now_ns() == 50


@given(st.lists(st.tuples(times, st.text(max_size=3)), max_size=20), times)
def test_a_virtual_inbox_gives_each_item_at_its_time_and_nothing_after_the_deadline(
    puts: list[tuple[int, str]], deadline_ns: int
) -> None:
    clock = VirtualClock()
    inbox = clock.inbox()
    for at_ns, item in puts:
        clock.schedule(at_ns, lambda item=item: inbox.put("key", item))
    got = []
    while (one := inbox.get(deadline_ns)) is not None:
        got.append((clock.now_ns(), one))
    in_time = sorted((put for put in puts if put[0] <= deadline_ns), key=lambda put: put[0])
    assert got == [(at_ns, ("key", item)) for at_ns, item in in_time]
    assert clock.now_ns() == deadline_ns


def test_an_item_that_is_there_is_given_without_moving_time_even_past_the_deadline() -> None:
    clock = VirtualClock(1000)
    inbox = clock.inbox()
    inbox.put("key", 1)
    inbox.put("key", 2)
    assert (inbox.get(5), inbox.depth(), clock.now_ns()) == (("key", 1), 1, 1000)


def test_virtual_wall_time_is_its_start_plus_the_time_that_passed() -> None:
    start = datetime(2024, 2, 29, tzinfo=UTC)
    clock = VirtualClock(77, start)
    clock.sleep_until(77 + to_ns(86_400))
    assert clock.utc() == start + timedelta(days=1)
    assert VirtualClock().utc() == VirtualClock().utc()


# --- real time ------------------------------------------------------------------------------------


def test_real_waits_end_when_the_clock_has_reached_their_time_and_not_before() -> None:
    clock = RealClock()
    for wait_ns in (-1, 0, 1, 999, 20_000, 3_000_000):
        until_ns = clock.now_ns() + wait_ns
        clock.sleep_until(until_ns)
        assert clock.now_ns() >= until_ns
        until_ns = clock.now_ns() + wait_ns
        assert clock.inbox().get(until_ns) is None
        assert clock.now_ns() >= until_ns


def test_an_item_from_another_thread_ends_the_wait() -> None:
    clock = RealClock()
    inbox = clock.inbox()
    thread = threading.Thread(target=lambda: inbox.put("role", 42))
    thread.start()
    assert inbox.get(clock.now_ns() + to_ns(30)) == ("role", 42)
    thread.join()


def test_many_threads_lose_no_item_and_each_ones_items_keep_their_order() -> None:
    clock = RealClock()
    inbox = clock.inbox()
    threads = [
        threading.Thread(target=lambda key=key: [inbox.put(key, k) for k in range(500)]) for key in ("a", "b", "c")
    ]
    for thread in threads:
        thread.start()
    got: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    for _ in range(1500):
        one = inbox.get(clock.now_ns() + to_ns(30))
        assert one is not None
        got[one[0]].append(one[1])
    for thread in threads:
        thread.join()
    assert all(items == list(range(500)) for items in got.values())
    assert inbox.depth() == 0
    assert inbox.get(clock.now_ns()) is None


def test_the_deadline_of_somebody_who_waits_for_ever_is_no_error() -> None:
    inbox = RealClock().inbox()
    inbox.put("key", 1)
    assert inbox.get(2**63 - 1) == ("key", 1)


@pytest.mark.parametrize("clock", [RealClock(), VirtualClock()], ids=["real", "virtual"])
def test_wall_time_knows_its_zone(clock: Clock) -> None:
    assert clock.utc().tzinfo is UTC
