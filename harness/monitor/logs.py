"""Structured logs: one JSON object per line, on top of Python's logging.

    {"timestamp": "2026-01-01T12:00:00.000000Z", "monotonic_ns": 81234567890, "level": "INFO",
     "event_type": "model_inference", "logger": "hil", "data": {"latency_ms": 45.2}}

``timestamp`` is UTC, ``monotonic_ns`` the clock that stamps samples and windows. In virtual time both are the run's
own, and ``"virtual": true`` says so. ``"notes"`` says what in ``data`` could not stand as it was, such as NaN.

* ``StructuredLogger(name).log_event(event_type, **data)`` logs from anywhere, by default to the console.
* ``EventLog(path)`` writes a file with everything that is logged in this process while it is open, ordinary calls of
  ``logging`` by drivers and libraries included. A thread of its own writes; who logs only hands over.
* ``JsonLines`` is the formatter, for any handler of one's own.

Personal data is kept out unless asked for: see harness.monitor.log_privacy. No call here raises because of what is
logged or because of where it is written.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import queue
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from drivers.clock import Clock, RealClock
from harness.monitor.log_file import LineFile
from harness.monitor.log_privacy import Privacy
from harness.monitor.log_schema import level_of
from harness.monitor.log_values import plain
from harness.versions import package_version

LEVELS = ("debug", "info", "warning", "error", "critical")
CONSOLE_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
LOGGER = "hil"
_MOST_WAITING = 10_000
_LINE = "hil_line"
"""Attribute of a record: its line as plain data."""
_STANDARD = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", _LINE})


class _Text:
    """A line that becomes text only if somebody writes it."""

    def __init__(self, line: Mapping[str, Any]) -> None:
        self._line = line

    def __str__(self) -> str:
        return json.dumps(self._line, allow_nan=False)


def level_number(level: str | int) -> int:
    """Python's number of a level; ValueError."""
    if isinstance(level, int):
        return level
    if level.lower() not in LEVELS:
        raise ValueError(f"level: expected {', '.join(LEVELS)}, found {level!r}")
    return int(getattr(logging, level.upper()))


def _stamp(utc: datetime) -> str:
    return utc.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class StructuredLogger:
    """Logs events under a name of Python's logging.

    ``console``: also to stderr, as ``time - name - level - {json}``; asking twice for a name gives no second line.
    ``level``: the least that is logged; None leaves it to logging's own configuration.
    ``personal``: ``hash``, ``drop`` or ``keep``, or the Privacy of another logger, so that pseudonyms agree.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Clock | None = None,
        personal: str | Privacy = "hash",
        console: bool = True,
        level: str | int | None = "debug",
    ) -> None:
        self.privacy = personal if isinstance(personal, Privacy) else Privacy(personal)
        self.clock: Clock = clock or RealClock()
        self.logger = logging.getLogger(name)
        if level is not None:
            self.logger.setLevel(level_number(level))
        if console and not any(isinstance(handler, _Console) for handler in self.logger.handlers):
            self.logger.addHandler(_Console(logging.Formatter(CONSOLE_FORMAT)))

    def log_event(self, event_type: str, **data: Any) -> None:
        """Log an event with its data, at the level that is usual for its type (INFO if it is not known)."""
        self.put(event_type, data)

    def put(
        self, event_type: str, data: Mapping[str, Any], *, level: str | int | None = None, at_ns: int | None = None
    ) -> None:
        """As log_event, for any keys; ``level`` instead of the usual one; ``at_ns``: when it happened, on the clock."""
        number = level_of(event_type) if level is None else level_number(level)
        if not self.logger.isEnabledFor(number):
            return
        now_ns = self.clock.now_ns()
        when_ns = now_ns if at_ns is None else int(at_ns)
        utc = self.clock.utc() + timedelta(microseconds=(when_ns - now_ns) / 1000)
        line = _line(self.privacy, utc, when_ns, number, str(event_type), self.logger.name, data)
        if self.clock.virtual:
            line["virtual"] = True
        record = self.logger.makeRecord(self.logger.name, number, "", 0, _Text(line), (), None)
        setattr(record, _LINE, line)
        self.logger.handle(record)


def _line(
    privacy: Privacy, utc: datetime, at_ns: int, level: int, event_type: str, logger: str, data: Mapping[str, Any]
) -> dict[str, Any]:
    made, notes = plain(data, privacy)
    line = {
        "timestamp": _stamp(utc),
        "monotonic_ns": at_ns,
        "level": logging.getLevelName(level),
        "event_type": event_type,
        "logger": logger,
        "data": made,
    }
    return {**line, "notes": notes} if notes else line


class JsonLines(logging.Formatter):
    """Formats any record as one line of JSON: events as they are, other calls as the event ``log``."""

    def __init__(self, personal: str | Privacy = "hash", clock: Clock | None = None) -> None:
        super().__init__()
        self._privacy = personal if isinstance(personal, Privacy) else Privacy(personal)
        self._clock = clock or RealClock()

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
        return json.dumps(self.line(record), allow_nan=False)

    def line(self, record: logging.LogRecord) -> dict[str, Any]:
        """The record as plain data."""
        made: dict[str, Any] | None = getattr(record, _LINE, None)
        if made is not None:
            return made
        data: dict[str, Any] = {"message": _message(record)}
        if record.exc_info and record.exc_info[1] is not None:
            data["traceback"] = self.formatException(record.exc_info)
        elif record.exc_text:
            data["traceback"] = record.exc_text
        data |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        utc = datetime.fromtimestamp(record.created, UTC)
        return _line(self._privacy, utc, self._clock.now_ns(), record.levelno, "log", record.name, data)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001  arguments that do not fit: the text is worth having all the same
        return f"{record.msg} (its arguments do not fit: {type(error).__name__})"


class Readable(JsonLines):
    """For people who watch: time, level, event, and its data as ``key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
        return readable(self.line(record))


def readable(line: Mapping[str, Any]) -> str:
    """A line of the log for people."""
    data = line.get("data", {})
    pairs = " ".join(f"{_short(key)}={_short(value)}" for key, value in data.items())
    clock = str(line.get("timestamp", ""))[11:23]
    return f"{_short(clock)} {line.get('level', ''):<8} {_short(line.get('event_type', ''))} {pairs}".rstrip()


def _short(value: Any) -> str:
    """In quotes where it has blanks, or characters that would do something to a terminal."""
    if not isinstance(value, str):
        return json.dumps(value)
    return value if value.isprintable() and " " not in value else json.dumps(value)


class _Console(logging.StreamHandler[TextIO]):
    """Writes to what is stderr at that moment."""

    def __init__(self, formatter: logging.Formatter) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(formatter)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """stderr."""
        return sys.stderr


class _Handover(QueueHandler):
    """Makes a record's line where it was logged, so that later changes do not enter it, and hands it over."""

    def __init__(self, waiting: queue.Queue[Any], lines: JsonLines) -> None:
        super().__init__(waiting)
        self._waiting, self._lines, self._process = waiting, lines, os.getpid()
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Hand it over, but not in a process that was forked off: nobody would take it there."""
        if os.getpid() == self._process:
            super().emit(record)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """A copy that needs nothing of its origin."""
        made = copy.copy(record)
        line = self._lines.line(record)
        setattr(made, _LINE, line)
        made.msg, made.args, made.exc_info, made.exc_text, made.stack_info = _Text(line), None, None, None, None
        return made

    def enqueue(self, record: logging.LogRecord) -> None:
        """Never wait: what has no place is counted."""
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class EventLog(StructuredLogger):
    """While it is open, everything that is logged in this process goes to ``path`` and, if asked for, to the console.

    ``level``: the least that is logged. OSError where the file cannot be opened. Close it, or use ``with``: what was
    logged before is written then, and Python's logging is as it was.
    """

    def __init__(
        self,
        path: str | Path | None,
        *,
        level: str | int = "info",
        console: bool = False,
        rotate_bytes: int = 10_000_000,
        keep: int = 5,
        personal: str | Privacy = "hash",
        clock: Clock | None = None,
    ) -> None:
        super().__init__(LOGGER, clock=clock, personal=personal, console=False, level=None)
        number = level_number(level)
        lines = JsonLines(self.privacy)
        self.file = LineFile(path, rotate_bytes, keep) if path is not None else None
        handlers: list[logging.Handler] = []
        if self.file is not None:
            self.file.setFormatter(lines)
            handlers.append(self.file)
        if console:
            handlers.append(_Console(Readable(self.privacy)))
        waiting: queue.Queue[Any] = queue.Queue(_MOST_WAITING)
        self._handlers, self._handover = handlers, _Handover(waiting, lines)
        self._handover.setLevel(number)
        self._listener = _Listener(waiting, *handlers)
        root = logging.getLogger()
        self._root_level = root.level
        root.setLevel(min(number, root.level) if root.level else number)
        root.addHandler(self._handover)
        self._listener.start()
        self._open = True
        facts = {"version": package_version(), "process": os.getpid(), "level": logging.getLevelName(number).lower()}
        StructuredLogger(LOGGER, personal=self.privacy, console=False, level=None).put(
            "log_started", {**facts, "personal": self.privacy.mode}, level=max(number, logging.INFO)
        )

    @property
    def path(self) -> Path | None:
        """Where the lines go: not the path asked for if another process writes there."""
        return self.file.path if self.file is not None else None

    def close(self) -> None:
        """Write what waits, and leave Python's logging as it was."""
        if not self._open:
            return
        self._open = False
        root = logging.getLogger()
        root.removeHandler(self._handover)
        root.setLevel(self._root_level)
        self._listener.stop()
        if self._handover.dropped:
            record = logging.makeLogRecord({"name": LOGGER, "levelno": logging.ERROR, "levelname": "ERROR"})
            dropped = {"count": self._handover.dropped}
            utc, at_ns = RealClock().utc(), RealClock().now_ns()
            line = _line(self.privacy, utc, at_ns, logging.ERROR, "log_dropped", LOGGER, dropped)
            setattr(record, _LINE, line)
            for handler in self._handlers:
                handler.handle(record)
        for handler in self._handlers:
            handler.close()

    def __enter__(self) -> EventLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Listener(QueueListener):
    def enqueue_sentinel(self) -> None:
        """Behind everything that waits, however full the queue is."""
        self.queue.put(self._sentinel)  # type: ignore[attr-defined]
