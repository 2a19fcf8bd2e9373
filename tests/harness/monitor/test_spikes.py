"""Each window above the budget is laid to the step that took the time, in the window that brought it about."""

import math
from dataclasses import replace

import numpy as np
import pytest

from drivers.types import StreamSpec
from harness.monitor.happenings import COLLECTION, HELD, STACK, Happening
from harness.monitor.resources import resources_of
from harness.monitor.spikes import spike_line, spikes_document, spikes_of
from harness.recording import STAGES, Recording, StreamData, Windows
from harness.report.document import document, to_json
from harness.rig import Rig, SensorEntry

S, MS = 1_000_000_000, 1_000_000
START = 100 * S
HOP = 80


def served(model_ms, wait_ms=5.0, decode_ms=1.0, n=50, hop_ms=HOP):
    """Stamps of n windows on one server: each is decoded when it has arrived and the one before is judged."""
    model, wait, decode = (np.broadcast_to(np.asarray(v, float), n) for v in (model_ms, wait_ms, decode_ms))
    rows, free = [], 0.0
    for k in range(n):
        due = 4000 + k * hop_ms
        arrived = due + wait[k]
        decoded = max(arrived, free) + decode[k]
        windowed, judged = decoded + 1, decoded + 1 + model[k] + 0.5
        free = judged
        rows.append([due, arrived, decoded, windowed, judged - 0.5, judged])
    return START + (np.array(rows) * MS).astype(np.int64)


def a_run(stamps, limit_ms=100.0, late=None, seconds=30, **changes):
    n = int(seconds * 250)
    time_ns = START + (np.arange(n) * 4 * MS)
    spec = StreamSpec("ecg", "ecg", ("v",), "uV", 250.0, counted=True)
    zeros = np.zeros(n, np.int64)
    stream = StreamData("chest", spec, np.zeros((n, 1)), np.arange(n), zeros, time_ns + 3 * MS, time_ns, None)
    late = np.zeros((len(stamps), 1), np.int64) if late is None else late
    windows = Windows(stamps, ("chest/ecg",), late, np.zeros((len(stamps), 2)))
    rig = Rig("bench", {"chest": SensorEntry("chest", "openbci-cyton")}, limits={"latency": {"max_ms": limit_ms}})
    made = Recording(rig, START, START + seconds * S, {"chest/ecg": stream}, (), windows)
    return replace(made, **changes)


def with_value(at, value, usual, n=50):
    values = np.full(n, float(usual))
    values[at] = value
    return values


def test_a_run_within_the_budget_has_no_spike():
    spikes = spikes_of(a_run(served(5.0)))
    assert (spikes.above, spikes.incidents, spikes.worst) == (0, 0, ())
    assert spikes.windows == 50


def test_a_run_without_windows_has_no_spike():
    assert spikes_of(a_run(np.zeros((0, 6), np.int64))).windows == 0


@pytest.mark.parametrize(
    ("step", "stamps"),
    [
        ("model", served(with_value(20, 150, 5))),
        ("decode", served(5.0, decode_ms=with_value(20, 120, 1))),
        ("link and wait", served(5.0, wait_ms=with_value(20, 120, 5))),
    ],
)
def test_a_spike_is_laid_to_the_step_that_was_slow(step, stamps):
    (one,) = spikes_of(a_run(stamps)).worst
    assert (one.cause, one.first, one.step) == (20, 20, step)
    assert one.step_ms == pytest.approx({"model": 150, "decode": 120, "link and wait": 120}[step])
    assert one.median_ms == pytest.approx({"model": 5.5, "decode": 1, "link and wait": 5}[step], abs=0.6)
    assert one.due_s == pytest.approx(4 + 20 * 0.08)


def test_windows_that_queue_behind_a_slow_one_are_one_incident_with_its_cause():
    """400 ms in one window, 80 ms apart: it and the next three are above 100 ms."""
    spikes = spikes_of(a_run(served(with_value(20, 400, 5))))
    (one,) = spikes.worst
    assert (one.first, one.last, one.cause, one.step) == (20, 24, 20, "model")
    assert (spikes.incidents, spikes.above) == (1, 5)
    assert "4 windows behind it" in spike_line(one)


def test_the_cause_may_be_a_window_that_was_itself_in_time():
    """20 ms apart: the 21st waits some 75 ms for a 20th that is judged in 100.5 ms, and takes 30 ms itself."""
    values = with_value(20, 93, 5)
    values[21] = 30
    (one,) = spikes_of(a_run(served(values, hop_ms=20), limit_ms=105)).worst
    assert (one.first, one.cause, one.step) == (21, 20, "model")
    assert one.step_ms == pytest.approx(93.0)


def test_two_spikes_apart_are_two_incidents_the_worst_first():
    values = with_value(10, 150, 5)
    values[30] = 250
    worst = spikes_of(a_run(served(values))).worst
    assert [one.cause for one in worst] == [30, 10]


def test_a_model_that_is_always_too_slow_is_one_incident_from_the_first_window_on():
    (one,) = spikes_of(a_run(served(150.0))).worst
    assert (one.first, one.last, one.cause, one.step) == (0, 49, 0, "model")


def test_the_stream_that_was_not_there_is_named():
    late = np.zeros((50, 1), np.int64)
    late[20] = 1
    (one,) = spikes_of(a_run(served(5.0, wait_ms=with_value(20, 120, 5)), late=late)).worst
    assert one.stream == "chest/ecg"
    assert "the stream that came last was chest/ecg" in spike_line(one)


def test_a_window_that_the_model_failed_on_was_never_over():
    stamps = served(5.0)
    stamps[20, STAGES.index("inferred") :] = -1
    (one,) = spikes_of(a_run(stamps)).worst
    assert (one.step, one.step_ms, math.isinf(one.worst_ms)) == ("model", None, True)
    assert "never judged" in spike_line(one)
    assert "null" in to_json(spikes_document(spikes_of(a_run(stamps))))


def test_windows_that_were_never_come_to_wait_for_the_one_before():
    stamps = served(with_value(40, 400, 5))
    stamps[41:, 1:] = -1
    (one,) = spikes_of(a_run(stamps)).worst
    assert (one.first, one.last, one.cause, one.step) == (40, 49, 40, "model")


def test_what_ran_meanwhile_is_told_and_what_ran_at_other_times_is_not():
    stamps = served(with_value(20, 150, 5))
    begin = int(stamps[20, STAGES.index("windowed")])
    happenings = (
        Happening(STACK, START + S, 10 * MS, "elsewhere (other.py:1)", 5),
        Happening(STACK, begin + 60 * MS, 60 * MS, "forward (model.py:7)", 6),
        Happening(STACK, begin + 130 * MS, 10 * MS, "helper (model.py:9)", 2),
        Happening(COLLECTION, begin + 20 * MS, 12 * MS, "generation 2"),
        Happening(HELD, begin + 90 * MS, 40 * MS, "the interpreter itself was held for 40 ms"),
    )
    rows = [(begin - S, {"system_percent": 99.0, "inbox_depth": 0.0}), (begin, {"inbox_depth": 17.0})]
    (one,) = spikes_of(a_run(stamps, happenings=happenings, resources=resources_of(rows))).worst
    assert one.meanwhile == (
        "the interpreter itself was held for 40 ms",
        "ran forward (model.py:7) for 60 ms (6 of 8 samples)",
        "ran helper (model.py:9) for 10 ms (2 of 8 samples)",
        "garbage collection took 12 ms",
        "all cores of this machine were 99 % busy",
        "up to 17 items waited in the inbox",
    )


def test_the_report_has_the_spikes_and_equal_runs_have_equal_ones():
    made = [to_json(document(a_run(served(with_value(20, 150, 5))), [])) for _ in range(2)]
    assert made[0] == made[1]
    assert '"above": 1' in made[0]
