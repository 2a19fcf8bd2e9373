"""Calls run one at a time, in order, and no more wait than may."""

import threading

import pytest

from drivers.clock import VirtualClock
from harness.api.worker import QueueFullError, Worker

S = 1_000_000_000


@pytest.fixture
def worker():
    made = Worker(2, VirtualClock())
    yield made
    assert made.stop(60)


@pytest.fixture
def held(worker):
    """The worker, in a call that waits for the event that comes with it."""
    entered, release = threading.Event(), threading.Event()

    def hold():
        entered.set()
        release.wait(60)
        return "held"

    future = worker.submit(hold)
    assert entered.wait(60)
    yield worker, release, future
    release.set()


def test_results_and_errors_come_back(worker):
    def fail():
        raise KeyError("x")

    assert worker.submit(lambda: 3).result(60) == 3
    with pytest.raises(KeyError):
        worker.submit(fail).result(60)
    with pytest.raises(RuntimeError, match="SystemExit: 2"):
        worker.submit(lambda: exit(2)).result(60)
    assert worker.submit(lambda: 4).result(60) == 4


def test_calls_run_in_order_in_one_thread(held):
    worker, release, first = held
    seen = []
    others = [worker.submit(lambda n=n: seen.append((n, threading.current_thread().name))) for n in range(2)]
    release.set()
    for future in (first, *others):
        future.result(60)
    assert seen == [(0, "model"), (1, "model")]


def test_beside_the_call_that_runs_as_many_wait_as_may(held):
    worker, release, _ = held
    waiting = [worker.submit(lambda: 1), worker.submit(lambda: 2)]
    assert worker.waiting == 2
    with pytest.raises(QueueFullError, match="2 calls wait already"):
        worker.submit(lambda: 3)
    release.set()
    assert [future.result(60) for future in waiting] == [1, 2]
    assert worker.waiting == 0


def test_a_cancelled_call_makes_room_and_never_runs(held):
    worker, release, _ = held
    ran = []
    gone = worker.submit(lambda: ran.append("gone"))
    kept = worker.submit(lambda: ran.append("kept"))
    assert gone.cancel() and worker.waiting == 1
    last = worker.submit(lambda: ran.append("last"))
    release.set()
    kept.result(60), last.result(60)
    assert ran == ["kept", "last"]


def test_the_time_in_a_call_is_told_while_it_lasts(held):
    worker, release, future = held
    worker._clock.sleep_until(worker._clock.now_ns() + 3 * S)
    assert worker.busy_ms == 3000.0
    release.set()
    future.result(60)
    assert worker.busy_ms is None


def test_a_call_that_hangs_is_told_when_it_is_stopped(held):
    worker, release, _ = held
    assert not worker.stop()
    release.set()
    assert worker.stop(60)
