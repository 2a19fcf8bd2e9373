"""The consumer is looked at while a window is overdue and it is at work, and at no other time."""

import sys

import pytest

from harness.monitor.happenings import HELD, STACK
from harness.monitor.heartbeat import NEVER, Heartbeat, quiet
from harness.monitor.process import phrase
from harness.monitor.stacks import as_text, frames_of, is_library, place
from harness.monitor.watcher import Watcher

MS = 1_000_000
LATE, EVERY = 50 * MS, 10 * MS
CONSUMER = 77


class HandClock:
    """Reads what it was set to."""

    virtual = False

    def __init__(self):
        self.at_ns = 0

    def now_ns(self):
        return self.at_ns


class NoReason:
    """Knows nothing of the machine."""

    def mark(self):
        """Nothing to remember."""

    def why(self, late_ns):
        return f"held {late_ns / MS:g} ms"


class Bench:
    """A watcher whose time is set by hand, and a consumer that is wherever ``frame`` says."""

    def __init__(self):
        self.clock, self.beat, self.told = HandClock(), Heartbeat(thread=CONSUMER), []
        self.frame = None
        self.watcher = Watcher(
            self.clock, self.beat, LATE, EVERY, self.told.append, lambda: {CONSUMER: self.frame}, NoReason()
        )

    def look(self, at_ms):
        """Look at that time; how many ms until the next look is wanted."""
        self.clock.at_ns = round(at_ms * MS)
        return self.watcher.look(self.clock.at_ns) / MS

    def watch(self, begin_ms, end_ms):
        """Look whenever it is wanted."""
        at = begin_ms
        while at < end_ms:
            at += self.look(at)
        return at


@pytest.fixture
def bench():
    return Bench()


def blocking():
    return sys._getframe()


def other():
    return sys._getframe()


def test_while_all_is_well_it_looks_once_a_hop_and_tells_nothing(bench):
    looks = []
    for hop in range(10):
        bench.beat.due_ns, bench.beat.busy = hop * 80 * MS, False
        at = hop * 80 - 30
        looks.append(bench.look(at))
    assert looks == [80.0] * 10, "until 50 ms after the window is due"
    bench.watcher.flush()
    assert bench.told == []


def test_without_a_window_to_come_it_looks_once_a_second(bench):
    bench.beat.due_ns = NEVER
    assert bench.look(5) == 1000.0


def test_what_blocks_is_told_with_how_long_it_was_seen(bench):
    bench.frame = blocking()
    bench.beat.due_ns, bench.beat.busy = 0, True
    bench.watch(20, 145)
    bench.beat.due_ns = 160 * MS
    bench.look(150)
    bench.watcher.flush()
    (one,) = [found for found in bench.told if "blocking" in found.what]
    assert (one.kind, one.n) == (STACK, 10), "at 50, 60, ... 140 ms"
    assert (one.at_ns, one.for_ns) == (50 * MS, 100 * MS)
    assert one.what.startswith("blocking (test_watcher.py:")
    assert one.stack[-1] == one.what


def test_a_consumer_that_waits_for_its_sensors_is_not_looked_at(bench):
    bench.frame = blocking()
    bench.beat.due_ns, bench.beat.busy = 0, False
    bench.watch(20, 200)
    bench.watcher.flush()
    assert bench.told == []
    assert bench.watcher.overdue_ns == 0


def test_two_places_are_told_apart_in_their_order(bench):
    bench.beat.due_ns, bench.beat.busy = 0, True
    bench.frame = blocking()
    bench.watch(50, 75)
    bench.frame = other()
    bench.watch(80, 95)
    bench.watcher.flush()
    assert [(one.what.split(" ")[0], one.n) for one in bench.told] == [("blocking", 3), ("other", 2)]


def test_what_blocks_for_good_is_told_once_a_second(bench):
    """A run that hangs is killed one day; until then what was told is on disk."""
    bench.frame = blocking()
    bench.beat.due_ns, bench.beat.busy = 0, True
    bench.watch(50, 3_545)
    assert [one.n for one in bench.told] == [100, 100, 100]
    assert len({one.what for one in bench.told}) == 1


def test_how_long_the_window_is_overdue_is_known_while_it_is(bench):
    bench.frame = blocking()
    bench.beat.due_ns, bench.beat.busy = 10 * MS, True
    bench.look(100)
    assert bench.watcher.overdue_ns == 90 * MS
    bench.beat.due_ns = 90 * MS
    bench.look(101)
    assert bench.watcher.overdue_ns == 0


def test_an_interpreter_that_was_held_is_told_though_no_look_was_possible(bench):
    """It wanted to look at 50 ms and came to it at 170 ms, and the consumer is where it was."""
    bench.frame = blocking()
    bench.beat.due_ns, bench.beat.busy = 0, True
    assert bench.look(0) == 50
    bench.look(170)
    (held,) = [one for one in bench.told if one.kind == HELD]
    assert (held.at_ns, held.for_ns, held.what) == (50 * MS, 120 * MS, "held 120 ms")


def test_an_interpreter_that_was_held_is_told_also_when_the_consumer_came_round_first(bench):
    bench.beat.due_ns, bench.beat.busy = 0, True
    bench.look(0)
    bench.beat.judged_ns, bench.beat.due_ns = 165 * MS, 160 * MS
    bench.look(170)
    assert [one.kind for one in bench.told] == [HELD]


def test_a_watcher_that_alone_was_late_tells_nothing(bench):
    bench.beat.due_ns = 0
    bench.look(0)
    bench.beat.judged_ns, bench.beat.due_ns = 12 * MS, 160 * MS
    bench.look(170)
    assert bench.told == []


def test_a_consumer_that_has_no_thread_is_not_found(bench):
    bench.beat.due_ns, bench.beat.busy, bench.beat.thread = 0, True, 78
    bench.look(100)
    bench.watcher.flush()
    assert bench.told == []


# --- places and reasons -----------------------------------------------------------------------


def test_the_innermost_frame_that_is_no_librarys_is_the_place():
    found = []
    sorted([1], key=lambda value: found.append(frames_of(sys._getframe())))
    assert "<lambda> (test_watcher.py:" in place(found[0])
    import json

    class Odd(json.JSONEncoder):
        def default(self, o):
            raise AssertionError

        def iterencode(self, o, _one_shot=False):
            found.append(frames_of(sys._getframe(1)))
            return []

    json.dumps(1, cls=Odd)
    text = place(found[1])
    assert text.startswith("test_the_innermost_frame_that_is_no_librarys_is_the_place (test_watcher.py:")
    assert text.endswith(", in JSONEncoder.encode")
    assert as_text(found[1])[-1].startswith("JSONEncoder.encode (encoder.py:")


def test_libraries_are_what_python_and_packages_brought():
    assert is_library(sys.modules["json"].__file__)
    assert is_library(pytest.__file__)
    assert is_library("<frozen importlib._bootstrap>")
    assert not is_library(__file__)
    assert not is_library(sys.modules["harness.monitor.watcher"].__file__)


def test_why_a_thread_came_late_is_told_from_what_the_kernel_counted():
    assert "no core for 100 ms" in phrase(100 * MS, core_ns=80 * MS, cpu_ns=5 * MS, page_faults=0)
    assert "C code that computed" in phrase(100 * MS, core_ns=0, cpu_ns=100 * MS, page_faults=0)
    text = phrase(100 * MS, core_ns=0, cpu_ns=0, page_faults=12)
    assert "the interpreter itself was held for 100 ms by C code that waited" in text
    assert "12 pages were read from disk" in text
    assert "read from disk" not in phrase(100 * MS, core_ns=0, cpu_ns=0, page_faults=0)


@pytest.mark.parametrize(("left_ms", "is_quiet"), [(60, True), (16, True), (14, False), (-30, False)])
def test_nothing_is_done_beside_the_loop_shortly_before_a_window_and_until_it_is_judged(left_ms, is_quiet):
    assert quiet(Heartbeat(due_ns=1_000 * MS), (1_000 - left_ms) * MS) is is_quiet
