"""Collections that take time are noted, and others are not."""

import gc

import pytest

from harness.monitor.happenings import COLLECTION
from harness.monitor.pauses import Pauses

MS = 1_000_000


class ScriptedClock:
    """Reads these times, one after the other."""

    def __init__(self, *times_ms):
        self._times = iter(times_ms)

    def now_ns(self):
        return round(next(self._times) * MS)


def collected(*times_ms):
    pauses = Pauses(ScriptedClock(*times_ms))
    for _ in range(len(times_ms) // 2):
        pauses.noted("start", {"generation": 2})
        pauses.noted("stop", {"generation": 2, "collected": 9})
    return pauses.taken()


def test_a_collection_that_takes_time_is_told_with_its_generation():
    (one,) = collected(100, 135)
    assert (one.kind, one.at_ns, one.for_ns) == (COLLECTION, 100 * MS, 35 * MS)
    assert one.what == "garbage collection of generation 2, 9 objects freed"


def test_a_storm_of_short_collections_is_not_told():
    assert collected(*range(100)) == []


def test_what_was_told_is_not_told_again():
    pauses = Pauses(ScriptedClock(0, 50))
    pauses.noted("start", {})
    pauses.noted("stop", {})
    assert len(pauses.taken()) == 1
    assert pauses.taken() == []


def test_memory_is_bounded():
    pauses = Pauses(ScriptedClock(*(k * 10 for k in range(10_000))))
    for _ in range(5_000):
        pauses.noted("start", {})
        pauses.noted("stop", {})
    assert len(pauses.taken()) == 1000


@pytest.fixture
def listening():
    pauses = Pauses(ScriptedClock(*range(0, 10_000, 5)))
    pauses.start()
    yield pauses
    pauses.stop()


def test_python_itself_tells_of_its_collections(listening):
    gc.collect()
    assert listening.taken()
    listening.stop()
    assert listening.noted not in gc.callbacks
    listening.stop()
