"""The report of ``hil model check``: plain data for JSON and JUnit, and what a person reads. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from harness.model.check.findings import Note, Settings, Table
from harness.report.document import SCHEMA
from harness.report.terminal import at_ease, show_report
from harness.verdict import EXIT_MEANING, Verdict, exit_code

_LONG = 20
"""Rows above which a table is not for the terminal: one row for each layer of a network."""


def document(
    facts: Mapping[str, object],
    host: Mapping[str, object],
    settings: Settings,
    verdicts: Sequence[Verdict],
    notes: Sequence[Note],
    tables: Sequence[Table],
) -> dict[str, Any]:
    """Model, verdicts, notes and tables. Where nothing applied there is nothing to be green about: exit code 5."""
    code = exit_code(verdicts) if verdicts else 5
    return {
        "schema": SCHEMA,
        "rig": {"name": facts["model"], "seed": settings.seed, "duration_s": 0.0, "limits": {}},
        "model": dict(facts),
        "outcome": {"exit_code": code, "meaning": EXIT_MEANING[code]},
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "notes": [asdict(note) for note in notes],
        "tables": [asdict(table) for table in tables],
        "latency_steps": [],
        "facts": {key: value for key, value in facts.items() if not isinstance(value, dict | list)},
        "host": dict(host),
    }


def show(console: Console, report: dict[str, Any], verdicts: Sequence[Verdict], every: bool = False) -> None:
    """Tables, then what did not apply, then verdicts; the exit code comes last. Long tables only if ``every`` is."""
    at_ease(console)
    for table in report["tables"]:
        if len(table["rows"]) > _LONG and not every:
            text = f"{table['section']}: {table['title']}: {len(table['rows'])} rows, shown by --tables and in the JSON"
            console.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)
            continue
        console.print(table["title"], style="italic", markup=False, highlight=False, soft_wrap=True)
        console.print(_grid(table))
        console.print()
    for note in report["notes"]:
        console.print(f"{note['section']}: {note['text']}", style="dim", markup=False, highlight=False, soft_wrap=True)
    if report["notes"]:
        console.print()
    show_report(console, report, verdicts)


def _grid(table: Mapping[str, Any]) -> Grid:
    """A table, without the columns that are empty in every row: a terminal has few columns to spare."""
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    rows = table["rows"]
    told = [place for place in range(len(table["headings"])) if any(row[place] != "" for row in rows)]
    for place in told:
        heading = table["headings"][place]
        numeric = bool(rows) and all(isinstance(row[place], int | float) for row in rows)
        grid.add_column(escape(heading), justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows:
        grid.add_row(*(escape(_cell(row[place])) for place in told))
    return grid


def _cell(value: str | float | int) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
