"""Where a command's report goes: a file, standard output, or both beside what is shown."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.report.document import to_json
from harness.report.junit import to_junit
from harness.verdict import Verdict


def to_stdout(given: argparse.Namespace) -> bool:
    """``--json -``: standard output belongs to the report."""
    return str(given.json) == "-"


def shown_on(given: argparse.Namespace, err: Console) -> Console:
    """Where a table is shown: standard output, but beside the report if that goes there."""
    return err if to_stdout(given) else Console(emoji=False)


def write_json(given: argparse.Namespace, report: dict[str, Any]) -> None:
    """What ``--json`` asks for."""
    if to_stdout(given):
        write_out(to_json(report))
    elif given.json is not None:
        given.json.write_text(to_json(report), encoding="utf-8")


def write_reports(given: argparse.Namespace, report: dict[str, Any], verdicts: Sequence[Verdict]) -> None:
    """What ``--json`` and ``--junit`` ask for."""
    write_json(given, report)
    junit: Path | None = given.junit
    if junit is not None:
        junit.write_text(to_junit(report, verdicts), encoding="utf-8")


def write_out(text: str) -> None:
    """To standard output, as it is, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()
