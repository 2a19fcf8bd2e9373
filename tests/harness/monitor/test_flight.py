"""A flight is written when a window is too late, in a format that Perfetto opens, and never while a window is due."""

import json

import numpy as np
import pytest

from drivers.types import Batch
from harness.monitor.flight import AFTERMATH_NS, FlightRecorder
from harness.monitor.happenings import COLLECTION, HELD, PROFILER, STACK, Happening
from harness.monitor.heartbeat import NEVER, Heartbeat
from harness.monitor.journal import Journal
from harness.monitor.trace import PID, Arrival, Flight, trace_events, trace_pieces

MS, S = 1_000_000, 1_000_000_000
PHASES = {"M", "X", "b", "e", "i", "C"}


class HandClock:
    """Reads what it was set to."""

    virtual = False
    at_ns = 0

    def now_ns(self):
        return self.at_ns


class NoProfile:
    """torch is not at work."""

    armed = 0

    def arm(self):
        self.armed += 1

    def write(self, path):
        return False


def stamps_of(number, model_ms=5.0, hop_ms=80, start_ns=100 * S):
    due = start_ns + number * hop_ms * MS
    arrived, decoded, windowed = due + 2 * MS, due + 3 * MS, due + 4 * MS
    inferred = windowed + round(model_ms * MS)
    return [due, arrived, decoded, windowed, inferred, inferred + 100_000]


def strictly(events):
    """Assert what the Trace Event Format demands of every event, and that complete events nest on their track."""
    named = {e["tid"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    open_spans = {}
    for e in events:
        assert e["ph"] in PHASES
        assert isinstance(e["name"], str)
        assert e["name"]
        assert e["pid"] == PID
        assert isinstance(e["tid"], int)
        assert isinstance(e["ts"], int | float)
        assert e["ts"] >= 0
        assert ("dur" in e) == (e["ph"] == "X")
        if e["ph"] == "X":
            assert e["dur"] >= 0
            assert e["tid"] in named
        if e["ph"] == "b":
            open_spans[e["cat"], e["id"]] = e["ts"]
        if e["ph"] == "e":
            assert open_spans.pop((e["cat"], e["id"])) <= e["ts"]
        if e["ph"] == "i":
            assert e["s"] == "t"
            assert e["tid"] in named
        if e["ph"] == "C":
            assert all(isinstance(value, int | float) for value in e["args"].values())
    assert not open_spans
    for tid in named:
        spans = sorted((e["ts"], -e["dur"]) for e in events if e["ph"] == "X" and e["tid"] == tid)
        ends = []
        for begin, negative in spans:
            while ends and ends[-1] <= begin + 1e-6:
                ends.pop()
            assert not ends or begin - negative <= ends[-1] + 1e-6, "it ends within the one that it began in"
            ends.append(begin - negative)


FULL = Flight(
    windows=[(k, stamps_of(k, 150 if k == 3 else 5)) for k in range(3)]
    + [(3, stamps_of(3, 150)), (4, [stamps_of(4)[0], -1, -1, -1, -1, -1])],
    arrivals=[Arrival("chest", 100 * S + k * 20 * MS, 100 * S + k * 20 * MS + 50_000, 33) for k in range(20)],
    happenings=[
        Happening(STACK, 100 * S + 300 * MS, 40 * MS, "slow (model.py:3)", 4, ("main (run.py:1)", "slow (model.py:3)")),
        Happening(STACK, 100 * S + 335 * MS, 10 * MS, "other (model.py:9)", 1, ("other (model.py:9)",)),
        Happening(COLLECTION, 100 * S + 310 * MS, 5 * MS, "garbage collection of generation 2"),
        Happening(HELD, 100 * S + 320 * MS, 60 * MS, "the interpreter itself was held"),
        Happening(PROFILER, 100 * S + 400 * MS, 90 * MS, "3 windows"),
    ],
    rows=[(100 * S, {"inbox_depth": 2.0, "cpu_percent": 15.0, "rss_bytes": 3e8})],
    budget_ns=100 * MS,
)


def test_a_trace_keeps_to_the_format():
    strictly(list(trace_events(FULL)))


def test_a_trace_of_nothing_is_a_trace_too():
    empty = Flight([], [], [], [], 100 * MS)
    strictly(json.loads(b"".join(trace_pieces(empty)))["traceEvents"])


@pytest.mark.parametrize("arrivals", [0, 60, 61, 62, 63, 64, 65, 200, 1000])
def test_the_pieces_make_one_json_document_whatever_their_number(arrivals):
    flight = Flight((), [Arrival("a", k, k, 1) for k in range(arrivals)], (), (), 1)
    found = json.loads(b"".join(trace_pieces(flight)))
    assert found["displayTimeUnit"] == "ms"
    assert found["traceEvents"] == list(trace_events(flight))


def test_late_windows_are_marked_and_have_their_latency():
    begins = {e["id"]: e for e in trace_events(FULL) if e["ph"] == "b"}
    assert {k: e["name"] for k, e in begins.items()} == {
        0: "window", 1: "window", 2: "window", 3: "late window", 4: "late window",
    }  # fmt: skip
    assert begins[3]["args"]["latency_ms"] == pytest.approx(154.1)


def test_a_name_with_quotes_and_odd_characters_stays_valid_json():
    odd = Happening(STACK, S, MS, 'say "\u2028\\ü" (mödel.py:1)')
    found = json.loads(b"".join(trace_pieces(Flight((), (), (odd,), (), 1))))
    assert odd.what in [e["name"] for e in found["traceEvents"]]


# --- the recorder -----------------------------------------------------------------------------


@pytest.fixture
def recorder(tmp_path):
    clock, beat, journal, profile = HandClock(), Heartbeat(), Journal(None), NoProfile()
    made = FlightRecorder(clock, beat, tmp_path, journal, profile, budget_ns=100 * MS, keep_ns=10 * S, most=2)
    made.clock, made.beat, made.journal, made.profile, made.folder = clock, beat, journal, profile, tmp_path / "flight"
    return made


def judged(recorder, *numbers, model_ms=5.0):
    for number in numbers:
        recorder.judged(np.array([stamps_of(number, model_ms)], dtype=np.int64))


def step(recorder, at_ns, due_in_ms=60, overdue_ns=0):
    recorder.clock.at_ns, recorder.beat.due_ns = at_ns, at_ns + due_in_ms * MS
    return recorder.step(at_ns, overdue_ns)


def end_of(number, model_ms=5.0):
    return stamps_of(number, model_ms)[-1]


def files(recorder):
    return sorted(path.name for path in recorder.folder.glob("*")) if recorder.folder.exists() else []


def test_windows_in_time_leave_no_file(recorder):
    judged(recorder, *range(50))
    assert not step(recorder, end_of(49))
    recorder.close()
    assert files(recorder) == []
    assert recorder.profile.armed == 0


def test_a_late_window_is_written_with_its_aftermath_when_nothing_is_due(recorder):
    judged(recorder, *range(20))
    judged(recorder, 20, model_ms=150)
    assert not step(recorder, end_of(20, 150)), "there is something to write, but later"
    assert files(recorder) == ["1.stacks.txt"]
    assert recorder.profile.armed == 1
    judged(recorder, *range(21, 27))
    later = end_of(20, 150) + AFTERMATH_NS
    while step(recorder, later):
        later += 5 * MS
    assert files(recorder) == ["1.stacks.txt", "1.trace.json"]
    events = json.loads((recorder.folder / "1.trace.json").read_text())["traceEvents"]
    strictly(events)
    assert [e["id"] for e in events if e["ph"] == "b"] == list(range(27))
    assert "after window 20 was judged, 154 ms after it was due" in (recorder.folder / "1.stacks.txt").read_text()


@pytest.mark.parametrize("due_in_ms", [10, 0, -200])
def test_nothing_is_written_while_a_window_is_due(recorder, due_in_ms):
    judged(recorder, *range(5))
    judged(recorder, 5, model_ms=150)
    step(recorder, end_of(5, 150))
    later = end_of(5, 150) + AFTERMATH_NS
    for k in range(50):
        assert step(recorder, later + k * MS, due_in_ms=due_in_ms)
    assert files(recorder) == ["1.stacks.txt"]
    recorder.beat.due_ns = NEVER
    recorder.close()
    assert files(recorder) == ["1.stacks.txt", "1.trace.json"]


def test_stacks_are_taken_while_the_window_is_still_not_judged(recorder):
    judged(recorder, *range(5))
    step(recorder, 200 * S, overdue_ns=90 * MS)
    assert files(recorder) == []
    step(recorder, 200 * S, overdue_ns=110 * MS)
    text = (recorder.folder / "1.stacks.txt").read_text()
    assert "110 ms after a window was due, which is still not judged" in text
    assert "test_flight.py" in text


def test_flights_are_as_many_as_asked_for_and_do_not_overlap(recorder):
    for number in range(400):
        judged(recorder, number, model_ms=150)
        step(recorder, end_of(number, 150))
    recorder.close()
    assert files(recorder) == ["1.stacks.txt", "1.trace.json", "2.stacks.txt", "2.trace.json"]
    first, second = (json.loads((recorder.folder / f"{n}.trace.json").read_text())["traceEvents"] for n in (1, 2))
    begun = [max(e["ts"] for e in events if e["ph"] == "b") for events in (first, second)]
    assert begun[1] - begun[0] >= 9e6, "ten seconds apart, in microseconds"


def test_only_the_last_seconds_are_kept(recorder):
    for number in range(1000):
        recorder.clock.at_ns = stamps_of(number)[0]
        recorder.arrived("chest", Batch.single(b"x" * 33, recorder.clock.at_ns))
        judged(recorder, number)
    judged(recorder, 1000, model_ms=150)
    step(recorder, end_of(1000, 150))
    recorder.close()
    events = json.loads((recorder.folder / "1.trace.json").read_text())["traceEvents"]
    begins = [e["ts"] for e in events if e["ph"] == "b"]
    assert max(begins) - min(begins) == pytest.approx(9.9e6, abs=0.1e6)
    assert len([e for e in events if e["ph"] == "i"]) == pytest.approx(len(begins), abs=2)


def test_memory_is_bounded_however_much_arrives(recorder):
    batch = Batch.single(b"x", 1)
    for _ in range(25_000):
        recorder.arrived("chest", batch)
    judged(recorder, *range(3_000))
    assert len(recorder._arrivals) == 20_000
    assert len(recorder._windows) == 2_000


def test_a_folder_that_cannot_be_written_costs_the_flight_and_nothing_else(recorder):
    recorder.folder.write_text("not a folder")
    judged(recorder, 0, model_ms=150)
    step(recorder, end_of(0, 150))
    recorder.close()
    assert recorder.folder.read_text() == "not a folder"
