"""Structured logs: what a line holds, that nothing which is logged can do harm, and files."""

import io
import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import numpy as np
import pytest

from drivers.clock import VirtualClock
from harness.monitor.log_file import LineFile
from harness.monitor.log_reader import read_events
from harness.monitor.log_schema import EVENTS, level_of, objections
from harness.monitor.logs import EventLog, JsonLines, StructuredLogger

S = 1_000_000_000


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """Loggers and their handlers are global."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    names = set(logging.Logger.manager.loggerDict)
    yield
    root.setLevel(level)
    assert root.handlers == handlers
    for name in set(logging.Logger.manager.loggerDict) - names:
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)


@pytest.fixture
def logged(tmp_path):
    """Log events with these data in a file; the lines as plain data, without log_started."""

    def write(*events, **options):
        path = tmp_path / "run.jsonl"
        with EventLog(path, **options) as log:
            for event_type, data in events:
                log.put(event_type, data)
        lines = path.read_text("utf-8").splitlines()
        return [json.loads(line, parse_constant=no_json) for line in lines][1:]

    return write


def no_json(name):
    raise AssertionError(f"{name} is no JSON")


# --- a line -----------------------------------------------------------------------------------


def test_an_event_is_one_line_of_json_with_its_time_type_level_and_data(tmp_path):
    clock = VirtualClock(5 * S, datetime(2026, 3, 1, 12, 0, 0, 250, tzinfo=UTC))
    with EventLog(tmp_path / "run.jsonl", clock=clock) as log:
        log.log_event("model_inference", latency_ms=45.2, n=3)
    last = (tmp_path / "run.jsonl").read_text().splitlines()[-1]
    assert json.loads(last) == {
        "timestamp": "2026-03-01T12:00:00.000250Z",
        "monotonic_ns": 5 * S,
        "level": "INFO",
        "event_type": "model_inference",
        "logger": "hil",
        "data": {"latency_ms": 45.2, "n": 3},
        "virtual": True,
    }


def test_the_time_of_a_real_log_is_utc_to_the_microsecond_and_not_marked_virtual(logged):
    (line,) = logged(("x", {}))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["timestamp"])
    assert abs((datetime.now(UTC) - datetime.fromisoformat(line["timestamp"])).total_seconds()) < 60
    assert "virtual" not in line


def test_an_event_may_be_dated_to_when_it_happened(tmp_path):
    clock = VirtualClock(0, datetime(2026, 3, 1, tzinfo=UTC))
    clock.sleep_until(100 * S)
    with EventLog(tmp_path / "run.jsonl", clock=clock) as log:
        log.put("x", {}, at_ns=40 * S)
    event = read_events(tmp_path / "run.jsonl").events[-1]
    assert (event.timestamp, event.monotonic_ns) == ("2026-03-01T00:00:40.000000Z", 40 * S)


def test_a_log_begins_with_who_writes_it(tmp_path):
    with EventLog(tmp_path / "run.jsonl", level="warning", personal="drop"):
        pass
    (event,) = read_events(tmp_path / "run.jsonl").events
    assert event.event_type == "log_started"
    assert {**event.data, "version": ""} == {
        "version": "", "process": os.getpid(), "level": "warning", "personal": "drop"
    }  # fmt: skip
    assert objections("log_started", event.data) == []


def test_levels_below_the_one_asked_for_are_left_out(tmp_path):
    with EventLog(tmp_path / "run.jsonl", level="warning") as log:
        log.log_event("model_inference")
        log.log_event("latency_violation")
        log.put("whatever", {}, level="error")
        logging.getLogger("drivers.x").info("not this")
        logging.getLogger("drivers.x").warning("but this")
    found = [(e.event_type, e.level) for e in read_events(tmp_path / "run.jsonl").events[1:]]
    assert found == [("latency_violation", "WARNING"), ("whatever", "ERROR"), ("log", "WARNING")]


def test_an_unknown_level_says_which_there_are():
    with pytest.raises(ValueError, match="level: expected debug, info, warning, error, critical, found 'loud'"):
        EventLog(None, level="loud")


def test_ordinary_calls_of_logging_become_lines_too(tmp_path):
    with EventLog(tmp_path / "run.jsonl"):
        logger = logging.getLogger("bleak.backends")
        logger.info("connected to %s after %d tries", "strap", 2, extra={"rssi_dbm": -60})
        try:
            raise OSError(5, "Input/output error")
        except OSError:
            logger.exception("reading failed")
    _, first, second = read_events(tmp_path / "run.jsonl").events
    assert (first.event_type, first.logger, first.level) == ("log", "bleak.backends", "INFO")
    assert first.data == {"message": "connected to strap after 2 tries", "rssi_dbm": -60}
    assert second.data["message"] == "reading failed"
    assert second.data["traceback"].splitlines()[0] == "Traceback (most recent call last):"
    assert second.data["traceback"].splitlines()[-1] == "OSError: [Errno 5] Input/output error"
    assert objections("log", first.data) == []


def test_a_call_whose_arguments_do_not_fit_is_a_line_all_the_same():
    record = logging.makeLogRecord({"msg": "%d windows", "args": ("many",)})
    line = json.loads(JsonLines().format(record))
    assert line["data"] == {"message": "%d windows (its arguments do not fit: TypeError)"}


def test_the_formatter_suits_any_handler_of_logging():
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("test_logs.formatter")
    logger.propagate = False
    logger.addHandler(handler)
    logger.error("no answer")
    StructuredLogger("test_logs.formatter", console=False).log_event("x", n=1)
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["event_type"], first["level"], first["data"]) == ("log", "ERROR", {"message": "no answer"})
    assert second["data"] == {"n": 1}


def test_a_logger_by_name_writes_to_the_console_as_logging_usually_does(capsys):
    StructuredLogger("test_logs.console")
    StructuredLogger("test_logs.console").log_event("model_inference", latency_ms=45.2)
    (line,) = capsys.readouterr().err.splitlines()  # one, although the logger was asked for twice
    found = re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - test_logs.console - INFO - (\{.*\})", line)
    assert json.loads(found[1])["data"] == {"latency_ms": 45.2}


def test_the_console_is_for_people(capsys):
    with EventLog(None, console=True) as log:
        log.log_event("sensor_lost", role="strap", reason="out of range")
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r'\d\d:\d\d:\d\d\.\d{3} WARNING  sensor_lost role=strap reason="out of range"', line)


def test_data_may_have_any_name(logged):
    names = ("self", "level", "at_ns", "msg", "args", "exc_info")
    (line,) = logged(("x", dict.fromkeys(names, 1)))
    assert line["data"] == dict.fromkeys(names, 1)


def test_what_changes_after_it_was_logged_stays_as_it_was(tmp_path):
    with EventLog(tmp_path / "run.jsonl") as log:
        flags = ["hum"]
        log.log_event("x", flags=flags)
        flags.append("motion")
    assert read_events(tmp_path / "run.jsonl").events[-1].data == {"flags": ["hum"]}


def test_closing_leaves_logging_as_it_was(tmp_path):
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    log = EventLog(tmp_path / "run.jsonl", level="debug")
    assert root.level == logging.DEBUG
    log.close()
    log.close()
    assert (root.level, root.handlers) == before


# --- values -----------------------------------------------------------------------------------


class Colour(Enum):
    RED = 3


@dataclass
class Window:
    n: int
    score: float


class Rude:
    def __repr__(self):
        raise RuntimeError("no")

    __str__ = __repr__

    @property
    def item(self):
        raise KeyError("no")


class RudeMapping(dict):
    def items(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(2**53 + 1), 2**53 + 1),
        (np.bool_(True), True),
        (np.arange(3), [0, 1, 2]),
        (np.array([[1.5, 2.0]]), [[1.5, 2.0]]),
        (np.array(4.0), 4.0),
        (np.datetime64("2026-01-01"), "2026-01-01"),
        (Path("a") / "b", "a/b"),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00+00:00"),
        (Colour.RED, "RED"),
        (Window(2, 0.5), {"n": 2, "score": 0.5}),
        ({3: "x", "3": "y"}, {"3": "x", "3'": "y"}),
        ({"b", "a"}, ["a", "b"]),
        ((1, "x", None, True), [1, "x", None, True]),
        (b"\x00\xff", "00ff"),
        (object(), "<object object>"),
        (Rude(), None),
        (RudeMapping(a=1), None),
        (2**70, 2**70),
        pytest.param(10**5000, "<integer of 16610 bits>", id="many digits"),
        (1e308, 1e308),
        ("\ud800", "\ud800"),
        ("a\nb\x00", "a\nb\x00"),
        (complex(1, 2), "<complex object>"),
        (Window, "<Window>"),
    ],
)
def test_any_value_becomes_json(logged, value, expected):
    (line,) = logged(("x", {"value": value}))
    assert line["data"] == {"value": expected}


@pytest.mark.parametrize(
    ("value", "name"), [(math.nan, "NaN"), (-math.inf, "-Infinity"), (np.float32("inf"), "Infinity")]
)
def test_what_is_no_number_becomes_null_and_a_note_says_what_it_was(logged, value, name):
    (line,) = logged(("x", {"score": 0.5, "parts": {"hum": [1.0, value]}}))
    assert line["data"] == {"score": 0.5, "parts": {"hum": [1.0, None]}}
    assert line["notes"] == [f"parts.hum[1]: {name}"]


def test_an_exception_is_logged_with_its_traceback(logged):
    try:
        raise ValueError("expected 5 channels")
    except ValueError as error:
        caught = error
    (line,) = logged(("x", {"why": caught}))
    why = line["data"]["why"]
    assert (why["type"], why["message"]) == ("ValueError", "expected 5 channels")
    assert 'raise ValueError("expected 5 channels")' in why["traceback"]


def test_what_holds_itself_or_is_too_deep_or_too_long_is_cut(logged):
    loop = {"n": 1}
    loop["loop"] = loop
    deep = value = []
    for _ in range(50):
        value.append([])
        value = value[0]
    (line,) = logged(("x", {"loop": loop, "deep": deep, "text": "x" * 20_000, "many": ["a"] * 500}))
    assert line["data"]["loop"] == {"n": 1, "loop": "<refers to itself>"}
    assert "deeper than" in json.dumps(line["data"]["deep"])
    assert line["data"]["text"] == "x" * 10_000 + "... <10000 more characters>"
    assert line["data"]["many"] == ["a"] * 200 + ["<300 more>"]


# --- files ------------------------------------------------------------------------------------


def test_a_full_file_is_put_aside_and_only_so_many_are_kept(tmp_path):
    with EventLog(tmp_path / "run.jsonl", rotate_bytes=2000, keep=2) as log:
        for number in range(100):
            log.log_event("x", number=number)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["run.jsonl", "run.jsonl.1", "run.jsonl.2"]
    assert all((tmp_path / name).stat().st_size <= 2000 for name in files)
    numbers = []
    for name in reversed(files):
        content = read_events(tmp_path / name)
        assert not content.broken
        numbers += [event.data["number"] for event in content.events]
    assert numbers == list(range(numbers[0], 100))  # the newest, without a hole


def test_a_log_goes_on_where_the_last_one_ended(tmp_path):
    for _ in range(2):
        with EventLog(tmp_path / "run.jsonl"):
            pass
    assert [e.event_type for e in read_events(tmp_path / "run.jsonl").events] == ["log_started"] * 2


def test_folders_are_made_and_a_place_that_cannot_be_is_told_at_once(tmp_path):
    with EventLog(tmp_path / "a" / "b" / "run.jsonl"):
        pass
    assert (tmp_path / "a" / "b" / "run.jsonl").exists()
    before = list(logging.getLogger().handlers)
    with pytest.raises(OSError, match="directory"):
        EventLog(tmp_path)
    assert logging.getLogger().handlers == before


def test_a_file_that_somebody_writes_to_is_left_to_them(tmp_path):
    first, second = LineFile(tmp_path / "run.jsonl"), LineFile(tmp_path / "run.jsonl")
    try:
        assert first.path == tmp_path / "run.jsonl"
        assert second.path == tmp_path / f"run.{os.getpid()}.jsonl"
        for file in (first, second):
            file.emit(logging.makeLogRecord({"msg": "hello"}))
    finally:
        first.close()
        second.close()
    assert first.path.read_text() == second.path.read_text() == "hello\n"


WRITER = """
import sys
from harness.monitor.logs import EventLog
with EventLog(sys.argv[1], rotate_bytes=20_000, keep=100) as log:
    number = 0
    while True:
        log.log_event("x", number=number, filler="y" * (number % 300))
        number += 1
        if number == 300:
            log._handover.queue.join()
            print(log.path, flush=True)
"""


def test_kill_leaves_whole_lines_also_of_two_processes_with_one_name(tmp_path):
    path = tmp_path / "run.jsonl"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) for _ in "ab"
    ]
    paths = [Path(writer.stdout.readline().strip()) for writer in writers]
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    assert paths[0] != paths[1]
    contents = [read_events(file) for file in tmp_path.iterdir()]
    assert len(contents) > 2  # rotated
    assert not any(content.broken for content in contents)
    assert sum(len(content.events) for content in contents) >= 2 * 301


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full (Linux)")
def test_a_full_disk_is_told_once_and_logging_goes_on_without(tmp_path, capsys):
    (tmp_path / "run.jsonl").symlink_to("/dev/full")
    with EventLog(tmp_path / "run.jsonl") as log:
        for number in range(50):
            log.log_event("x", number=number)
        assert log.file is not None
    told = capsys.readouterr().err
    assert told.count("takes no more lines (No space left on device)") == 1
    assert told.count("\n") == 1
    assert log.file.lost == 51


class SmallDisk(io.FileIO):
    """Takes so many bytes, and of what exceeds them a part, as a disk does that fills up."""

    room = 0

    def write(self, data):
        part = bytes(data)[: self.room]
        self.room -= len(part)
        return super().write(part)


def test_a_line_that_fits_only_in_part_is_taken_back(tmp_path, capsys):
    file = LineFile(tmp_path / "run.jsonl")
    file._file.close()
    file._file = SmallDisk(tmp_path / "run.jsonl", "ab")
    file._file.room = 15
    for text in ("first line", "second line"):
        file.emit(logging.makeLogRecord({"msg": text}))
    file._file.room = 100
    file.emit(logging.makeLogRecord({"msg": "third line"}))
    file.close()
    assert (tmp_path / "run.jsonl").read_text() == "first line\nthird line\n"
    assert file.lost == 1
    assert "takes no more lines" in capsys.readouterr().err


def test_lines_that_come_faster_than_they_can_be_written_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.monitor.logs._MOST_WAITING", 5)
    log = EventLog(tmp_path / "run.jsonl")
    writer = log._listener._thread
    with log.file.lock:  # the disk hangs
        for number in range(50):
            log.log_event("x", number=number)
    log.close()
    assert not writer.is_alive()
    events = read_events(tmp_path / "run.jsonl").events
    (dropped,) = [event for event in events if event.event_type == "log_dropped"]
    assert dropped.data["count"] + sum(event.event_type == "x" for event in events) == 50
    assert dropped.data["count"] >= 43
    assert objections("log_dropped", dropped.data) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork (POSIX)")
def test_a_forked_process_leaves_the_log_to_its_parent(tmp_path):
    with EventLog(tmp_path / "run.jsonl") as log:
        log._handover._waiting.mutex.acquire()  # as another thread may have it at that moment
        try:
            child = os.fork()
            if not child:
                log.log_event("of_the_child")  # would wait forever
                os._exit(7)
        finally:
            log._handover._waiting.mutex.release()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        log.log_event("of_the_parent")
    types = [event.event_type for event in read_events(tmp_path / "run.jsonl").events]
    assert types == ["log_started", "of_the_parent"]


# --- the vocabulary ---------------------------------------------------------------------------


def test_an_event_that_differs_from_its_description_is_told():
    good = {"role": "strap", "sensor": "heart-rate", "reason": "gone"}
    assert objections("sensor_lost", good) == []
    assert objections("sensor_lost", {"role": 3, "sensor": None, "colour": "red"}) == [
        "sensor_lost: reason is missing",
        "sensor_lost: role: expected text, found int",
        "sensor_lost: colour is not documented",
    ]
    assert objections("of_ones_own", {"anything": 1}) == []


def test_the_document_describes_every_event_and_every_field():
    text = (Path(__file__).parents[3] / "docs" / "logs-and-health.md").read_text("utf-8")
    for name, event in EVENTS.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        assert all(f"`{field}`" in row for field in event.fields), name
        assert logging.getLevelName(event.level) in row or "| by " in row


def test_the_usual_level_of_trouble_is_a_warning_or_worse():
    assert {level_of(name) for name in ("sensor_lost", "latency_violation", "alert")} == {logging.WARNING}
    assert level_of("sensor_failed") == logging.ERROR
    assert level_of("never heard of") == logging.INFO
