"""The measure of how late stamps are."""

from __future__ import annotations

import math
import os
import select

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.clock import RealClock, to_ns
from drivers.links.stamp_error import PERIOD_NS, Alarm, StampError

linux = pytest.mark.skipif(not Alarm.offered(), reason="needs Linux: timerfd")


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=300))
def test_percentiles_are_nearest_ranks(late: list[int]) -> None:
    error = StampError()
    for one in late:
        error.add(one)
    ranked = sorted(late)
    assert error.summary() == {
        "n": len(late),
        "p50": ranked[math.ceil(len(late) / 2) - 1],
        "p99": ranked[math.ceil(len(late) * 99 / 100) - 1],
        "max": ranked[-1],
    }


def test_nothing_measured_is_no_number() -> None:
    assert StampError().summary() == {"n": 0}


def test_memory_is_bounded_and_the_newest_measurements_stay() -> None:
    error = StampError()
    for one in range(5000):
        error.add(one)
    summary = error.summary()
    assert (summary["n"], summary["max"]) == (2048, 4999)
    assert summary["p50"] == 4999 - 1024


@linux
def test_an_alarm_rings_once_and_not_before_its_time() -> None:
    clock, alarm = RealClock(), Alarm()
    poll = select.poll()
    poll.register(alarm.fd, select.POLLIN)
    at_ns = clock.now_ns() + to_ns(0.02)
    alarm.set(at_ns)
    assert poll.poll(10_000) == [(alarm.fd, select.POLLIN)]
    now_ns = clock.now_ns()
    assert alarm.rang(now_ns) == now_ns - at_ns >= 0
    assert alarm.at_ns == now_ns + PERIOD_NS
    assert poll.poll(0) == []
    alarm.close()
    alarm.close()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(alarm.fd)
