"""``hil health``: the health of a server that runs, of a recorded run, or of what wrote a log."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from drivers.clock import RealClock, to_ns
from harness.commands import UsageError
from harness.monitor.health_source import UnknownMetricError, UnreachableError, from_log, from_run, from_server, is_url
from harness.report.hand_out import shown_on, write_json

_ABOUT = """Prints metrics (of their last ten values), and alerts: of a server, of a recorded run, or from a log.

  hil health http://127.0.0.1:8000                a `hil serve` that runs
  hil health http://127.0.0.1:8000 --watch        again every 2 s, until Ctrl-C
  hil health runs/demo-20260101T120000000000Z     a run, as it ended
  hil health run.jsonl --above latency_ms=50      from a log, by a threshold of one's own

A run or log in which a window brought no answer in time alerts (misses above 0), and so does a run whose latency
exceeds its rig's limit; --above and the rig's `health:` set other thresholds for a metric.
Of a server, an alert is one that stands; of a run or a log, one that was raised at any time."""
_CODES = """exit codes:
  0    no alert
  1    an alert
  2    usage error
  3    the server cannot be reached, or there is no report"""


def add(some: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``hil health`` with its options."""
    parser = some.add_parser("health", help="health of a server, a run or a log: metrics and alerts")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = _ABOUT, _CODES
    parser.add_argument("what", metavar="URL|FOLDER|LOG", help="where to ask")
    parser.add_argument(
        "--above", action="append", default=[], metavar="METRIC=LIMIT",
        help="of a run or a log: alert by this threshold on the mean of ten values",
    )  # fmt: skip
    parser.add_argument("--timeout", type=float, default=5.0, metavar="S", help="wait so long for a server (default 5)")
    parser.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=2.0,
        metavar="S",
        help="ask again every so many seconds (2), until Ctrl-C",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON, - for standard output")
    parser.add_argument("--quiet", action="store_true", help="no table: only the exit code, and errors")
    parser.set_defaults(call=show_health)


def show_health(given: argparse.Namespace, err: Console) -> int:
    """hil health"""
    limits = thresholds(given.above)
    for option, seconds in (("--watch", given.watch), ("--timeout", given.timeout)):
        if seconds is not None and not 0 < seconds < math.inf:
            raise UsageError(f"{option}: expected seconds above 0, found {seconds:g}")
    if limits and is_url(given.what):
        raise UsageError("--above: a server judges by its own thresholds (hil serve --alert)")
    clock = RealClock()
    while True:
        code = _once(given, limits, err)
        if given.watch is None:
            return code
        clock.sleep_until(clock.now_ns() + to_ns(given.watch))


def _once(given: argparse.Namespace, limits: Mapping[str, float], err: Console) -> int:
    try:
        report = health_of(given.what, limits, given.timeout)
    except UnknownMetricError as error:
        raise UsageError(f"--above: {given.what} has {error}") from error
    except UnreachableError as error:
        err.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 3
    write_json(given, report)
    if not given.quiet:
        show(shown_on(given, err), given.what, report)
    return 1 if report["status"] != "ok" else 0


def health_of(what: str, limits: Mapping[str, float], timeout_s: float) -> dict[str, Any]:
    """The report of a URL, a run's folder or a log; UnreachableError, UnknownMetricError, RecordingError or OSError."""
    if is_url(what):
        return from_server(what, timeout_s)
    path = Path(what)
    report = from_run(path, limits or None) if path.is_dir() else from_log(path, limits)
    if not report["metrics"] and not report["alerts"]:
        raise UnreachableError(f"{path} holds no metric: no window was answered, or this is no log of a run")
    return report


def thresholds(given: list[str]) -> dict[str, float]:
    """METRIC=LIMIT pairs; UsageError."""
    found = {}
    for text in given:
        name, equals, limit = text.rpartition("=")
        try:
            found[name] = float(limit)
        except ValueError:
            equals = ""
        if not equals or not name or not math.isfinite(found[name]):
            raise UsageError(f"--above: expected METRIC=NUMBER, found {text!r}")
    return found


def show(out: Console, what: str, report: Mapping[str, Any]) -> None:
    """For people: the metrics as a table, the alerts, and the status in the last line."""
    if not out.is_terminal:
        out.width = max(out.width, 120)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in ("metric", "current", "average", "min", "max"):
        table.add_column(heading, justify="left" if heading == "metric" else "right", overflow="fold")
    for name, values in report["metrics"].items():
        table.add_row(escape(name), *(f"{values[key]:.4g}" for key in ("current", "average", "min", "max")))
    out.print(table)
    if report.get("missed"):
        of = f" of {report['windows']}" if "windows" in report else ""
        text = f"{report['missed']}{of} windows brought no answer, or brought it too late"
        out.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
    for at_s, text in report["alerts"]:
        out.print(f"{_when(at_s)} {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if report.get("reason"):
        out.print(str(report["reason"]), style="yellow", markup=False, highlight=False, soft_wrap=True)
    for name, count in report.get("refused", {}).items():
        out.print(f"{name}: {count} values were no numbers", markup=False, highlight=False)
    style = "green" if report["status"] == "ok" else "bold red"
    out.print(f"{what}: {report['status']}", style=style, markup=False, highlight=False, soft_wrap=True)


def _when(at_s: float) -> str:
    """Time of day; seconds since the beginning where nothing says when that was."""
    return f"{at_s:.1f} s" if at_s < 1e9 else datetime.fromtimestamp(at_s, UTC).strftime("%H:%M:%S")
