"""A scorecard as one HTML file that needs nothing else: the heat maps with digits in every cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from harness.scorecard.heat import Cell, by_level, by_measure

_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #111; background: #fff; }
table { border-collapse: collapse; margin: 0.5em 0 2em; }
th, td { padding: 2px 6px; text-align: left; border: 1px solid #ddd; white-space: nowrap; }
td.cell { text-align: right; }
td.claimed { outline: 2px solid #111; outline-offset: -2px; font-weight: bold; }
td.cell small { color: #555; }
thead th { position: sticky; top: 0; background: #f4f4f4; }
.red { color: #a00; } .green { color: #060; }
"""


def to_html(report: Mapping[str, Any]) -> str:
    """The whole page; everything that comes from a rig, a check or a plug-in is escaped."""
    name = escape(str(report["rig"]["name"]))
    outcome = report["outcome"]
    colour = "green" if outcome["exit_code"] == 0 else "red"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f"<title>{name}: scorecard</title><style>{_STYLE}</style></head><body>\n<h1>{name}: scorecard</h1>\n"
        f'<p class="{colour}">exit {outcome["exit_code"]}: {escape(outcome["meaning"])}</p>\n'
        f"{_reasons(report)}{_levels(report)}{_claims(report)}{_clean(report)}{_measures(report)}</body></html>\n"
    )


def _reasons(report: Mapping[str, Any]) -> str:
    items = "".join(f"<li><b>{escape(r['kind'])}</b>: {escape(r['text'])}</li>\n" for r in report["reasons"])
    items += "".join(f"<li>needs longer runs: {escape(told)}</li>\n" for told in report["too_short"])
    return f"<ul>\n{items}</ul>\n" if items else ""


def _table(headings: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{''.join(rows)}</tbody></table>\n"


def _row(head: Sequence[str], cells: str = "") -> str:
    return f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in head)}{cells}</tr>\n"


def _cell(cell: Cell, shown: str) -> str:
    mark = "cell claimed" if cell.claimed else "cell"
    title = escape(f"{cell.label}: {cell.count} of {cell.n} runs")
    return f'<td class="{mark}" style="background:{cell.colour}" title="{title}">{shown}</td>'


def _levels(report: Mapping[str, Any]) -> str:
    rows = by_level(report)
    width = max((len(row.cells) for row in rows), default=0)
    made = []
    for row in rows:
        cells = "".join(_cell(c, f"<small>{escape(c.label)}</small> {c.percent}") for c in row.cells)
        made.append(_row(row.head, cells + "<td></td>" * (width - len(row.cells))))
    note = (
        "Runs in which the check failed for the right reason, per cent, from harmless to bold; framed: what is claimed."
    )
    levels = [f"level {number + 1}" for number in range(width)]
    return f"<h2>What is found</h2><p>{note}</p>\n" + _table(["fault", "on", "key", "check", *levels], made)


def _claims(report: Mapping[str, Any]) -> str:
    rows = []
    for made in report["claims"]:
        delay = "" if made["delay_s"] is None else f"{made['delay_s']:.2f} s"
        proven = f"{100 * made['power_low']:.1f} %" if made["level_text"] else ""
        detected = f"{made['detected']} of {made['n']}"
        level = made["level_text"] or ("longer runs" if made["too_short"] else "no level")
        rows.append(_row([made["check"], made["fault"], made["place"], level, detected, proven, delay]))
    headings = ["check", "fault", "on", "found from", "detected", "power at least", "after (median)"]
    return "<h2>What is claimed</h2>\n" + _table(headings, rows)


def _clean(report: Mapping[str, Any]) -> str:
    rows = [
        _row([row["measure"], str(row["alarms"]), f"{100 * row['rate_high']:.2g} %", str(row["inconclusive"])])
        for row in report["clean"]["measures"]
    ]
    clean = report["clean"]
    note = f"{clean['without_alarm']} of {clean['n']} clean runs without a false alarm."
    return f"<h2>Clean runs</h2><p>{note}</p>\n" + _table(["measure", "false alarms", "at most", "inconclusive"], rows)


def _measures(report: Mapping[str, Any]) -> str:
    """Every fault at every level by every measure: what failed at all."""
    rows = []
    for row in by_measure(report):
        cells = "".join(_cell(c, _shown(c)) for c in row.cells)
        rows.append(_row(row.head, cells))
    note = "Runs in which a measure failed, per cent; w and a number: so many of them for a wrong reason."
    return f"<h2>Every fault, level and measure</h2><p>{note}</p>\n" + _table(
        ["fault", "on", "level", *report["measures"]], rows
    )


def _shown(cell: Cell) -> str:
    wrong = f' <b class="red">w{cell.wrong}</b>' if cell.wrong else ""
    return f"{cell.percent}{wrong}" if cell.count else "<small>0</small>"
