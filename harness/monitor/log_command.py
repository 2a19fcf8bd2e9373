"""``hil log``: shows a log, filtered."""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import TextIO

from rich.console import Console

from drivers.clock import RealClock
from harness.commands import UsageError
from harness.monitor.log_reader import BrokenLine, LogEvent, follow, iter_log
from harness.monitor.log_schema import EVENTS
from harness.monitor.logs import LEVELS, level_number, readable
from harness.recording_files import RIG

_ABOUT = """Shows a log that `hil run --log` or `hil serve --log` wrote, or one with Python's usual lines of
`time - name - level - message`.

  hil log run.jsonl                                       all of it, for people
  hil log run.jsonl --type sensor_lost,latency_violation  only these events
  hil log run.jsonl --level warning --since 5m            what went wrong in its last five minutes
  hil log run.jsonl --since 2026-01-01T12:00:00Z --json - from then on, as JSON lines
  hil log run.jsonl --count                               how often each event occurs
  hil log run.jsonl --follow                              and what comes, until Ctrl-C

Lines that cannot be read are told on stderr by their number."""
_CODES = """exit codes:
  0    every line could be read
  1    some lines could not be read
  2    usage error, or no such file"""
_BACK = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def add(some: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``hil log`` with its options."""
    parser = some.add_parser("log", help="show a log: filter it by event, level and time")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    types = "\n".join(f"  {name:<19} {event.help}" for name, event in EVENTS.items())
    parser.description, parser.epilog = _ABOUT, f"events of a run:\n{types}\n\n{_CODES}"
    parser.add_argument("log", type=Path, metavar="FILE", help="the log, or the folder of a run that logged into it")
    parser.add_argument("--type", metavar="A,B", help="only these event types")
    parser.add_argument("--level", choices=LEVELS, help="only from this level on")
    parser.add_argument(
        "--since", metavar="T", help="ISO time (UTC), or so long before the last event: 90s, 5m, 2h, 1d"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", type=Path, metavar="FILE", help="write as JSON lines, - for standard output")
    how.add_argument("--count", action="store_true", help="only how often each event type occurs")
    parser.add_argument(
        "--all", action="store_true", help="begin with the files that were put aside: FILE.2, FILE.1, FILE"
    )
    parser.add_argument("--follow", action="store_true", help="go on with what is appended, until Ctrl-C")
    parser.set_defaults(call=show_log)


@dataclass(frozen=True)
class Filter:
    """Which events to show; all by default."""

    types: frozenset[str] = frozenset()
    level: int = 0
    since: datetime | None = None

    def takes(self, event: LogEvent) -> bool:
        """This one is shown."""
        right = not self.types or event.event_type in self.types
        late = self.since is None or event.utc >= self.since
        return right and late and level_number(event.level) >= self.level


def show_log(given: argparse.Namespace, err: Console) -> int:
    """hil log"""
    for option in ("count", "all"):
        if getattr(given, option) and given.follow:
            raise UsageError(f"--{option} and --follow: give one of them")
    path = log_in(given.log)
    paths = [*put_aside(path), path] if given.all else [path]
    types = frozenset(part.strip() for part in (given.type or "").split(",") if part.strip())
    refuse_unknown_types(types, paths)
    level = level_number(given.level) if given.level else 0
    chosen = Filter(types, level, since(given.since, path) if given.since else None)
    items = follow(path, RealClock(), lambda: True) if given.follow else chain.from_iterable(map(iter_log, paths))
    broken = Broken(err)
    events = (event for event in broken.told(items) if chosen.takes(event))
    if given.count:
        show_counts(events, sys.stdout)
    elif given.json is None:
        show_lines((readable(event.line()) for event in events), sys.stdout)
    elif str(given.json) == "-":
        show_lines((json.dumps(event.line()) for event in events), sys.stdout)
    else:
        with given.json.open("w", encoding="utf-8") as out:
            show_lines((json.dumps(event.line()) for event in events), out)
    return 1 if broken.count else 0


def refuse_unknown_types(types: Iterable[str], paths: Iterable[Path]) -> None:
    """UsageError for an event type that no run logs and that is not in these files either."""
    unknown = set(types) - set(EVENTS)
    if not unknown:
        return
    there = {item.event_type for path in paths for item in iter_log(path) if isinstance(item, LogEvent)}
    for name in sorted(unknown - there):
        close = difflib.get_close_matches(name, sorted({*EVENTS, *there}), 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"--type: no event {name!r}; {hint}This log has {', '.join(sorted(there)) or 'no event'}")


def show_lines(lines: Iterable[str], out: TextIO) -> None:
    """Each at once, since more may take its time."""
    for line in lines:
        out.write(line + "\n")
        out.flush()


def log_in(path: Path) -> Path:
    """The log; of a run's folder the one that its rig names. UsageError."""
    if not path.exists():
        raise UsageError(f"{path}: no such log; `hil run --log FILE` writes one")
    if not path.is_dir():
        return path
    try:
        name = json.loads((path / RIG).read_text("utf-8"))["log"]["file"]
    except (OSError, ValueError, KeyError, TypeError):
        name = None
    if not name or not (path / name).is_file():
        raise UsageError(
            f"{path}: no log in this folder; name the file that --log wrote, or give the rig a `log:` section"
        )
    return path / str(name)


def put_aside(path: Path) -> list[Path]:
    """``path.3``, ``path.2``, ``path.1``, as far as they are there: the oldest first."""
    numbers = [int(found.suffix[1:]) for found in path.parent.glob(f"{path.name}.*") if found.suffix[1:].isdecimal()]
    return [path.with_name(f"{path.name}.{number}") for number in sorted(numbers, reverse=True)]


class Broken:
    """Tells of lines that cannot be read, and counts them."""

    def __init__(self, err: Console) -> None:
        self._err, self.count = err, 0

    def told(self, items: Iterable[LogEvent | BrokenLine]) -> Iterator[LogEvent]:
        """The events among the items."""
        for item in items:
            if isinstance(item, LogEvent):
                yield item
                continue
            self.count += 1
            text = f"line {item.number}: {item.why}: {item.text!r}"
            self._err.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def since(text: str, path: Path) -> datetime:
    """The time that ``--since`` means; UsageError."""
    back = _BACK.fullmatch(text.strip())
    if back is not None:
        newest = max((item.utc for item in iter_log(path) if isinstance(item, LogEvent)), default=None)
        span = timedelta(seconds=float(back[1]) * _SECONDS[back[2]])
        return newest - span if newest is not None else datetime.min.replace(tzinfo=UTC)
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--since: expected an ISO time or a span such as 5m, found {text!r}") from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def show_counts(events: Iterable[LogEvent], out: TextIO) -> None:
    """Event type, level and how often, the most frequent first."""
    counted = Counter((event.event_type, event.level) for event in events)
    for (event_type, level), count in counted.most_common():
        out.write(f"{count:>8} {level:<8} {event_type}\n")
