"""Reading logs back: our lines, Python's usual lines, broken lines; and ``hil log``."""

import json
import logging
from datetime import UTC, datetime

import pytest

from drivers.clock import VirtualClock
from harness.cli import main
from harness.monitor.log_reader import LONGEST, BrokenLine, follow, iter_log, parse_line, read_events
from harness.monitor.logs import EventLog

S = 1_000_000_000


def ours(number=0, at="2026-01-01T12:00:00.000000Z", event_type="x", level="INFO"):
    line = {"timestamp": at, "monotonic_ns": 5, "level": level, "event_type": event_type, "data": {"n": number}}
    return json.dumps(line) + "\n"


@pytest.fixture
def a_log(tmp_path):
    def write(*lines):
        path = tmp_path / "run.jsonl"
        path.write_bytes(b"".join(line if isinstance(line, bytes) else line.encode() for line in lines))
        return path

    return write


# --- what is read -----------------------------------------------------------------------------


def test_what_was_logged_is_read_back_as_it_was(tmp_path):
    clock = VirtualClock(7 * S, datetime(2026, 1, 1, tzinfo=UTC))
    data = {"text": 'quotes " and\nlines, ä', "nested": {"list": [1, None, True]}, "latency_ms": 45.2}
    with EventLog(tmp_path / "run.jsonl", clock=clock) as log:
        log.put("model_inference", data, level="warning")
    content = read_events(tmp_path / "run.jsonl")
    event = content.events[-1]
    assert content.broken == ()
    assert (event.number, event.event_type, event.level, event.data) == (2, "model_inference", "WARNING", data)
    assert (event.monotonic_ns, event.virtual, event.logger) == (7 * S, True, "hil")
    assert event.utc == datetime(2026, 1, 1, tzinfo=UTC)
    lines = (tmp_path / "run.jsonl").read_text().splitlines()
    assert [item.line() for item in content.events] == [json.loads(line) for line in lines]


def test_lines_with_the_usual_prefix_of_logging_are_read_too(tmp_path):
    """A logger as anybody sets it up: time, name, level, and an event as JSON, or just a message."""
    logger = logging.getLogger("test_logs_reader.app")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    handler = logging.FileHandler(tmp_path / "app.log")
    handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
    logger.addHandler(handler)
    stamp = "2026-01-01T12:00:00.250000"  # as datetime.utcnow().isoformat() has it: no zone
    event = {"timestamp": stamp, "event_type": "data_quality_check", "data": {"sensor": "chest", "quality": 0.9}}
    logger.info(json.dumps(event))
    logger.error("no answer - again - and again")
    handler.close()
    logger.removeHandler(handler)
    first, second = read_events(tmp_path / "app.log").events
    assert (first.event_type, first.level, first.logger) == ("data_quality_check", "INFO", "test_logs_reader.app")
    assert first.data == {"sensor": "chest", "quality": 0.9}
    assert first.utc == datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    assert (second.event_type, second.level) == ("log", "ERROR")
    assert second.data == {"message": "no answer - again - and again"}


def test_a_line_of_foreign_json_needs_no_level():
    event = parse_line(b'{"timestamp": "2026-01-01T00:00:00", "event_type": "x", "data": {"a": NaN}}\n')
    assert (event.level, event.data) == ("INFO", {"a": None})


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("half a lin", "expected JSON, found something else: .*, and the line has no end: it was torn off"),
        ('{"timestamp": "2026-01-01T00:00:00Z", "event_ty', "the line has no end"),
        ("Traceback (most recent call last):\n", "expected JSON"),
        ("[1, 2]\n", "expected a JSON object, found list"),
        ('{"event_type": "x", "data": {}}\n', "the key 'timestamp' is missing"),
        ('{"timestamp": "2026-01-01T00:00:00Z", "data": {}}\n', "the key 'event_type' is missing"),
        ('{"timestamp": "2026-01-01T00:00:00Z", "event_type": "x"}\n', "the key 'data' is missing"),
        ('{"timestamp": "noon", "event_type": "x", "data": {}}\n', "Invalid isoformat string: 'noon'"),
        ('{"timestamp": "2026-01-01", "event_type": 3, "data": {}}\n', "expected event_type as text"),
        ('{"timestamp": "2026-01-01", "event_type": "x", "data": [1]}\n', "data as a mapping"),
        ('{"timestamp": "2026-01-01", "event_type": "x", "data": {}, "level": "LOUD"}\n', "found 'LOUD'"),
        ('{"timestamp": "2026-01-01", "event_type": "x", "data": {}, "notes": 7}\n', "not iterable"),
        ("2026-13-01 00:00:00,000 - a - INFO - text\n", "month must be in"),
        ("2026-01-01 00:00:00,000 - a - LOUD - text\n", "found 'LOUD'"),
        ("[" * 100_000 + "\n", "nested too deeply|expected JSON"),
        (b"\xff\xfe\x00binary\x00\n", "expected JSON"),
        ("x" * (LONGEST + 10) + "\n", "longer than 1048576 bytes"),
    ],
)
def test_a_broken_line_is_told_by_its_number_and_the_others_are_read(a_log, line, why):
    path = a_log(ours(1), "\n", ours(2), line)
    content = read_events(path)
    assert [event.data["n"] for event in content.events] == [1, 2]
    (broken,) = content.broken
    assert broken.number == 4
    assert len(broken.text) < 100
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(broken.why)


def test_what_follows_a_line_that_is_too_long_has_the_right_number(a_log):
    path = a_log("x" * (3 * LONGEST + 10) + "\n", ours(7))
    broken, event = iter_log(path)
    assert (broken.number, event.number, event.data["n"]) == (1, 2, 7)


def test_a_line_without_its_end_that_is_whole_is_read(a_log):
    assert len(read_events(a_log(ours(1), ours(2).rstrip("\n"))).events) == 2


def test_following_a_log_gives_what_is_appended_also_after_it_was_put_aside(a_log, tmp_path):
    path = a_log(ours(0))
    clock = VirtualClock()

    def append(text):
        with path.open("a") as file:
            file.write(text)

    def rotate():
        append(ours(4))
        path.rename(tmp_path / "run.jsonl.1")
        path.write_text(ours(5))

    clock.schedule(1 * S, lambda: append(ours(1) + ours(2) + ours(3)[:20]))
    clock.schedule(2 * S, lambda: append(ours(3)[20:] + "broken\n"))
    clock.schedule(3 * S, rotate)
    clock.schedule(4 * S, lambda: append(ours(6)))
    items = list(follow(path, clock, lambda: clock.now_ns() < 5 * S))
    assert [item.data["n"] for item in items if not isinstance(item, BrokenLine)] == [0, 1, 2, 3, 4, 5, 6]
    assert [item.number for item in items if isinstance(item, BrokenLine)] == [5]


# --- hil log ----------------------------------------------------------------------------------


def test_hil_log_shows_events_for_people(a_log, capsys):
    assert main(["log", str(a_log(ours(3, event_type="alert", level="WARNING")))]) == 0
    assert capsys.readouterr().out == "12:00:00.000 WARNING  alert n=3\n"


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ([], [0, 1, 2, 3]),
        (["--type", "alert"], [1]),
        (["--type", "alert,verdict"], [1, 2]),
        (["--level", "warning"], [1, 2]),
        (["--level", "error"], [2]),
        (["--since", "5m"], [1, 2, 3]),
        (["--since", "90s"], [2, 3]),
        (["--since", "2026-01-01T12:09:00Z"], [2, 3]),
        (["--since", "2026-01-01T14:09:00+02:00"], [2, 3]),
        (["--since", "2026-01-01 12:10"], [3]),
        (["--type", "x", "--since", "1m"], [3]),
        (["--type", "run_ended"], []),
    ],
)
def test_hil_log_filters(a_log, capsys, options, shown):
    path = a_log(
        ours(0, "2026-01-01T12:00:00Z"),
        ours(1, "2026-01-01T12:05:00Z", "alert", "WARNING"),
        ours(2, "2026-01-01T12:09:30Z", "verdict", "ERROR"),
        ours(3, "2026-01-01T12:10:00Z"),
    )
    assert main(["log", str(path), "--json", "-", *options]) == 0
    assert [json.loads(line)["data"]["n"] for line in capsys.readouterr().out.splitlines()] == shown


def test_hil_log_counts(a_log, capsys):
    assert main(["log", str(a_log(ours(), ours(event_type="alert", level="WARNING"), ours())), "--count"]) == 0
    assert capsys.readouterr().out.split() == ["2", "INFO", "x", "1", "WARNING", "alert"]


def test_hil_log_shows_what_was_put_aside_too(tmp_path, capsys):
    with EventLog(tmp_path / "run.jsonl", rotate_bytes=500, keep=20) as log:
        for number in range(30):
            log.log_event("x", number=number)
    assert len(list(tmp_path.iterdir())) > 10  # so that .10 comes before .9
    assert (
        main(["log", str(tmp_path / "run.jsonl"), "--all", "--type", "x", "--json", str(tmp_path / "all.jsonl")]) == 0
    )
    assert [event.data["number"] for event in read_events(tmp_path / "all.jsonl").events] == list(range(30))
    assert main(["log", str(tmp_path / "run.jsonl"), "--type", "x"]) == 0
    assert len(capsys.readouterr().out.splitlines()) < 5


def test_hil_log_finds_the_log_of_a_run(a_log, tmp_path, capsys):
    a_log(ours(3))
    assert main(["log", str(tmp_path)]) == 2
    assert "no log in this folder" in capsys.readouterr().err
    (tmp_path / "rig.json").write_text('{"log": {"file": "run.jsonl"}}')
    assert main(["log", str(tmp_path)]) == 0
    assert "n=3" in capsys.readouterr().out


def test_what_would_do_something_to_a_terminal_is_shown_and_not_done(a_log, capsys):
    line = {
        "timestamp": "2026-01-01T12:00:00Z",
        "event_type": "x\x1b[2J",
        "data": {"a\rb": "\x1b]0;x\x07", "c": "\x9b2J"},
    }
    assert main(["log", str(a_log(json.dumps(line) + "\n"))]) == 0
    out = capsys.readouterr().out
    assert out.rstrip("\n").isprintable()
    assert "x\\u001b[2J" in out


def test_hil_log_tells_broken_lines_and_fails(a_log, capsys):
    assert main(["log", str(a_log(ours(), "no line\n")), "--json", "-"]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert err.startswith("line 2: expected JSON, found something else") and "'no line'" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--since", "noon"], "--since: expected an ISO time or a span such as 5m, found 'noon'"),
        (["--count", "--follow"], "--count and --follow: give one of them"),
        (["--all", "--follow"], "--all and --follow: give one of them"),
    ],
)
def test_hil_log_explains_wrong_options(a_log, capsys, options, message):
    assert main(["log", str(a_log(ours())), *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", [[], ["--count"], ["--follow"], ["--all"]])
def test_an_event_type_that_is_nowhere_is_a_usage_error_and_not_an_empty_log(a_log, capsys, option):
    log = a_log(ours(event_type="sensor_lost"), ours(event_type="my_own"))
    assert main(["log", str(log), "--type", "my_own,sensor_lots", *option]) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert "--type: no event 'sensor_lots'; did you mean 'sensor_lost'? This log has my_own, sensor_lost" in err


def test_an_event_type_that_a_run_may_log_or_that_is_in_the_log_may_be_asked_for(a_log, capsys):
    log = str(a_log(ours(event_type="my_own")))
    assert main(["log", log, "--type", "sensor_lost"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["log", log, "--type", "my_own"]) == 0
    assert "my_own" in capsys.readouterr().out


def test_hil_log_of_no_file_is_a_usage_error(tmp_path, capsys):
    assert main(["log", str(tmp_path / "absent.jsonl")]) == 2
    assert "absent.jsonl: no such log" in capsys.readouterr().err
