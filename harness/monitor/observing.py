"""Watches a run of ``hil run``: its log, if one is asked for, and its health."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.monitor.logs import LEVELS, EventLog
from harness.monitor.run_health import RunHealth
from harness.monitor.run_log import RunLog
from harness.observer import Observer, Observers
from harness.rig import LogEntry, Rig
from harness.run import Result

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Watch:
    """``observer`` for the run; ``log`` and ``path`` where one is written."""

    observer: Observer
    log: RunLog | None = None
    path: Path | None = None

    def ended(self, result: Result) -> None:
        """Log how the run was judged; never raises."""
        try:
            if self.log is not None:
                self.log.ended(result)
        except Exception:  # the run is over and judged, and that is what counts
            _LOGGER.exception("the end of the run could not be logged")


def add_log_options(run: argparse.ArgumentParser) -> None:
    """``--log`` and what belongs to it."""
    group = run.add_argument_group(
        "log", "what happens, as JSON lines; see docs/logs-and-health.md and `hil log --help`"
    )
    group.add_argument("--log", type=Path, metavar="FILE", help="write a log there (or `log: {file: ...}` in the rig)")
    group.add_argument("--log-level", choices=LEVELS[:4], help="the least that is logged (default: the rig's, info)")
    group.add_argument("--log-console", action="store_true", help="log to stderr too, instead of the progress")
    group.add_argument(
        "--log-personal", action="store_true", help="log personal data as it is, instead of pseudonyms (but no secrets)"
    )


def log_entry(entry: LogEntry, given: argparse.Namespace, folder: Path | None) -> LogEntry:
    """The rig's entry with what the command line says, and with the whole path of the file."""
    file = entry.file
    if given.log is not None:
        file = str(given.log)
    elif file is not None and folder is not None:
        file = str(folder / file)  # an absolute path stays
    level = given.log_level or entry.level
    return replace(entry, file=file, level=level, personal="keep" if given.log_personal else entry.personal)


def said(given: argparse.Namespace) -> list[str]:
    """What the command line asks for, as ``option=value``."""
    return [f"{key}={value}" for key, value in vars(given).items() if key != "call" and value not in (None, False, [])]


@contextmanager
def observing(
    rig: Rig, mode: str, entry: LogEntry, console: bool = False, options: list[str] | None = None
) -> Iterator[Watch]:
    """Watch one run; an exception that ends it is logged and goes on. OSError where the log cannot be opened."""
    if entry.file is None and not console:
        yield Watch(Observers([RunHealth(rig)]))
        return
    rotate_bytes = round(entry.rotate_mb * 1e6)
    with EventLog(
        entry.file, level=entry.level, console=console, rotate_bytes=rotate_bytes, keep=entry.keep,
        personal=entry.personal,
    ) as log:  # fmt: skip
        run_log = RunLog(rig, mode, log.privacy)
        run_log.interaction("hil run", options or [])
        try:
            yield Watch(Observers([run_log, RunHealth(rig, run_log.crossing)]), run_log, log.path)
        except BaseException as error:
            run_log.failed(error)
            raise
