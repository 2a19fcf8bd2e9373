"""Reads logs: JSON lines, and lines with Python's usual prefix ``time - name - level - `` before JSON or text.

Nothing is dropped in silence: a line that is neither is given back as a BrokenLine with its number.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drivers.clock import Clock, to_ns
from harness.monitor.logs import level_number

LONGEST = 1 << 20
"""Bytes of a line; what is longer is no line of a log."""
_EXCERPT = 80
_POLL_NS = to_ns(0.25)
_PREFIX = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[,.]\d{3}) - (.*?) - ([A-Z]+) - (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One line of a log."""

    number: int
    """Of the line, from 1."""
    timestamp: str
    """As it stands there."""
    utc: datetime
    """A timestamp without a zone is taken to be UTC."""
    event_type: str
    level: str
    data: Mapping[str, Any]
    logger: str = ""
    monotonic_ns: int | None = None
    virtual: bool = False
    """The times are those of a run in virtual time."""
    notes: tuple[str, ...] = ()

    def line(self) -> dict[str, Any]:
        """As harness.monitor.logs writes it."""
        made: dict[str, Any] = {
            "timestamp": self.timestamp, "monotonic_ns": self.monotonic_ns, "level": self.level,
            "event_type": self.event_type, "logger": self.logger, "data": dict(self.data),
        }  # fmt: skip
        made |= {"virtual": True} if self.virtual else {}
        return made | ({"notes": list(self.notes)} if self.notes else {})


@dataclass(frozen=True, slots=True)
class BrokenLine:
    """A line that cannot be read as an event."""

    number: int
    why: str
    text: str
    """Its beginning."""


@dataclass(frozen=True, slots=True)
class LogContent:
    """A whole log, in the order of its lines."""

    events: tuple[LogEvent, ...]
    broken: tuple[BrokenLine, ...]


def read_events(path: str | Path) -> LogContent:
    """All of a log in memory; OSError if it cannot be read."""
    items = list(iter_log(path))
    return LogContent(
        tuple(item for item in items if isinstance(item, LogEvent)),
        tuple(item for item in items if isinstance(item, BrokenLine)),
    )


def iter_log(path: str | Path) -> Iterator[LogEvent | BrokenLine]:
    """Line after line, whatever the size; empty lines are passed over. OSError."""
    with Path(path).open("rb") as file:
        number = 0
        while line := file.readline(LONGEST):
            number += 1
            too_long = len(line) == LONGEST and not line.endswith(b"\n")
            while too_long and (rest := file.readline(LONGEST)) and not rest.endswith(b"\n"):
                pass
            if too_long:
                yield BrokenLine(number, f"longer than {LONGEST} bytes", _excerpt(line))
            elif line.strip():
                yield parse_line(line, number)


def parse_line(line: bytes, number: int = 1) -> LogEvent | BrokenLine:
    """One line, with or without its end."""
    text = line.decode("utf-8", "replace").strip("\r\n")
    prefixed = _PREFIX.fullmatch(text)
    body = prefixed[4] if prefixed else text
    if prefixed and not body.startswith("{"):
        return _plain_call(number, prefixed[1], prefixed[2], prefixed[3], body)
    found = _json(body)
    if isinstance(found, str):
        torn = "" if line.endswith(b"\n") else ", and the line has no end: it was torn off"
        return BrokenLine(number, f"{found}{torn}", _excerpt(line))
    logger, level = (prefixed[2], prefixed[3]) if prefixed else ("", "INFO")
    try:
        return _event(number, found, logger, level)
    except (KeyError, TypeError, ValueError) as error:
        why = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
        return BrokenLine(number, why, _excerpt(line))


def _json(text: str) -> dict[str, Any] | str:
    """A JSON object, or why it is none. NaN and Infinity, which Python writes and JSON has not, become null."""
    try:
        found = json.loads(text, parse_constant=lambda name: None)
    except RecursionError:
        return "nested too deeply"
    except ValueError as error:
        return f"expected JSON, found something else: {error}"
    return found if isinstance(found, dict) else f"expected a JSON object, found {type(found).__name__}"


def _event(number: int, found: Mapping[str, Any], logger: str, level: str) -> LogEvent:
    data, event_type = found["data"], found["event_type"]
    if not isinstance(event_type, str) or not isinstance(data, dict):
        raise TypeError("expected event_type as text and data as a mapping")
    level = str(found.get("level", level)).upper()
    level_number(level)
    stamp, monotonic_ns = str(found["timestamp"]), found.get("monotonic_ns")
    return LogEvent(
        number, stamp, _utc(stamp), event_type, level, data,
        logger=str(found.get("logger", logger)),
        monotonic_ns=monotonic_ns if isinstance(monotonic_ns, int) else None,
        virtual=found.get("virtual") is True,
        notes=tuple(str(note) for note in found.get("notes") or ()),
    )  # fmt: skip


def _plain_call(number: int, stamp: str, logger: str, level: str, message: str) -> LogEvent | BrokenLine:
    """A line of ordinary logging: its time is local, and nothing says which zone that was."""
    try:
        level_number(level)
        utc = datetime.fromisoformat(stamp.replace(",", ".")).astimezone(UTC)
    except ValueError as error:
        return BrokenLine(number, str(error), message[:_EXCERPT])
    return LogEvent(number, stamp, utc, "log", level, {"message": message}, logger)


def _utc(stamp: str) -> datetime:
    found = datetime.fromisoformat(stamp)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _excerpt(line: bytes) -> str:
    text = line[: 4 * _EXCERPT].decode("utf-8", "replace").strip("\r\n")
    return text if len(text) <= _EXCERPT else text[:_EXCERPT] + "..."


def follow(path: str | Path, clock: Clock, going: Callable[[], bool]) -> Iterator[LogEvent | BrokenLine]:
    """What is in a log and what is appended to it, also after it was rotated, as long as ``going()``."""
    path = Path(path)
    lines = _Growing(path)
    try:
        while True:
            yield from lines.fresh()
            if not going():
                return
            clock.sleep_until(clock.now_ns() + _POLL_NS)
            if lines.replaced():
                yield from lines.fresh()  # what came before it was put aside
                lines.close()
                lines = _Growing(path)
    finally:
        lines.close()


class _Growing:
    """The whole lines of a file that grows."""

    def __init__(self, path: Path) -> None:
        self._path, self._file, self._number, self._rest = path, path.open("rb"), 0, b""

    def fresh(self) -> Iterator[LogEvent | BrokenLine]:
        """What came since the last call; a line without its end waits for it."""
        while chunk := self._file.read(LONGEST):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._number += 1
                if line.strip():
                    yield parse_line(line + b"\n", self._number)

    def replaced(self) -> bool:
        """Another file has the name now, or the file was cut."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return there.st_ino != os.fstat(self._file.fileno()).st_ino or there.st_size < self._file.tell()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
