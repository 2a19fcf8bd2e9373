"""A scorecard in a terminal: claims, a heat map with digits, clean runs, and why it is not green."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.scorecard.heat import Row, by_level

_LOG = 170
"""Columns of a file or a pipe, which have no edge."""
_MOST_REASONS = 40


def show(console: Console, report: Mapping[str, Any]) -> None:
    """Everything that a person wants to know first; the exit code with its meaning is the last line."""
    if not console.is_terminal:
        console.width = max(console.width, _LOG)
    rows = by_level(report)
    if rows:
        console.print(_head("runs in which the check that must notice did, per cent; [ ] the level that is claimed"))
        console.print(_heat(rows))
        console.print(_head("what is found, and how well that is proven"))
        console.print(_claims(report))
    console.print(_head(_clean_line(report)))
    console.print(_clean(report))
    if report["unseen"]:
        told = ", ".join(f"{each['fault']} on {each['place']} ({each['checks']})" for each in report["unseen"])
        _line(console, f"nothing judges, so nothing is promised: {told}")
    for told in report["too_short"]:
        _line(console, f"needs longer runs (--duration): {told}")
    if report["silent"]:
        _line(console, f"never failed for a right reason here: {', '.join(report['silent'])}")
    _reasons(console, report)
    outcome = report["outcome"]
    style = "green" if outcome["exit_code"] == 0 else "bold red"
    text = f"exit {outcome['exit_code']}: {outcome['meaning']}"
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _head(text: str) -> Text:
    return Text(f"\n{text}:", style="italic")


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=True, overflow="fold")
    return table


def _heat(rows: list[Row]) -> Table:
    """Each cell: the level's value and the per cent; cells of one fault's places stand under each other."""
    table = _table("fault", "place", "key", "check", "from harmless to bold")
    last = ""
    for row in rows:
        cells = Text(no_wrap=False)
        for cell in row.cells:
            inner = f"{cell.label}:{cell.percent}"
            cells.append(f"[{inner}]" if cell.claimed else f" {inner} ", style=f"black on {cell.colour}")
            cells.append(" ")
        head = [Text(part) for part in row.head]
        if row.head[0] == last:
            head[0] = Text("")
        last = row.head[0]
        table.add_row(*head, cells)
    return table


def _claims(report: Mapping[str, Any]) -> Table:
    table = _table("check", "fault", "place", "found from", "runs", "power at least", "after (median, most)")
    for made in sorted(report["claims"], key=lambda made: made["check"]):
        level = made["level_text"] or _no_level(made)
        proven = f"{100 * made['power_low']:.1f} %" if made["level_text"] else ""
        proven = proven if made["proven"] or not proven else f"[yellow]{proven}[/]"
        delay = "" if made["delay_s"] is None else f"{made['delay_s']:.2f} s, {made['delay_max_s']:.2f} s"
        text = escape(level) if made["level_text"] else level
        table.add_row(
            made["check"], made["fault"], escape(made["place"]), text, f"{made['detected']}/{made['n']}", proven, delay
        )
    return table


def _no_level(made: Mapping[str, Any]) -> str:
    if made["too_short"]:
        return "[yellow]longer runs[/]"
    return "[bold red]no level[/]" if made["must"] else "no level"


def _clean_line(report: Mapping[str, Any]) -> str:
    clean = report["clean"]
    most = f"at most {100 * clean['rate_high']:.2g} % of runs raise one"
    return f"{clean['without_alarm']} of {clean['n']} clean runs without a false alarm ({most})"


def _clean(report: Mapping[str, Any]) -> Table:
    table = _table("measure", "false alarms", "at most", "inconclusive")
    for row in report["clean"]["measures"]:
        alarms = f"[bold red]{row['alarms']}[/]" if row["alarms"] else "0"
        table.add_row(row["measure"], alarms, f"{100 * row['rate_high']:.2g} %", str(row["inconclusive"]))
    return table


def _reasons(console: Console, report: Mapping[str, Any]) -> None:
    reasons = report["reasons"]
    if reasons:
        console.print()
    for reason in reasons[:_MOST_REASONS]:
        colour = {"FAIL": "bold red", "INVALID": "bold magenta"}.get(reason["outcome"], "yellow")
        console.print(f"[{colour}]{reason['kind']}[/]: {escape(reason['text'])}", highlight=False, soft_wrap=True)
    if len(reasons) > _MOST_REASONS:
        _line(console, f"and {len(reasons) - _MOST_REASONS} more: --json has them all")
