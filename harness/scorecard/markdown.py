"""A scorecard as Markdown, for the documentation: no date, no machine, so that equal campaigns give equal text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.scorecard.heat import Row, by_level


def to_markdown(report: Mapping[str, Any]) -> str:
    """Claims, the map by level, clean runs and reasons."""
    parts = (_summary(report), _claims(report), _map(report), _clean(report))
    return "\n\n".join(part for part in parts if part) + "\n"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _table(headings: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join(lines + ["| " + " | ".join(map(_cell, row)) + " |" for row in rows])


def _summary(report: Mapping[str, Any]) -> str:
    plan, clean, rig = report["plan"], report["clean"], report["rig"]
    lines = [
        f"Rig `{rig['name']}`, runs of {rig['duration_s']:g} s in virtual time; levels chosen by {plan['pilots']} runs "
        f"each and proven by {plan['seeds']} others; {clean['without_alarm']} of {clean['n']} clean runs without a "
        f"false alarm, so that at most {100 * clean['rate_high']:.2g} % of clean runs raise one (95 % confidence). "
        f"Outcome: exit {report['outcome']['exit_code']}, {report['outcome']['meaning']}."
    ]
    lines += [f"* {reason['kind']}: {_cell(reason['text'])}" for reason in report["reasons"]]
    lines += [f"* needs longer runs: {_cell(told)}" for told in report["too_short"]]
    return "\n".join(lines)


def _claims(report: Mapping[str, Any]) -> str:
    if not report["claims"]:
        return ""
    rows = []
    for made in sorted(report["claims"], key=lambda made: made["check"]):
        found = made["level_text"] is not None
        level = made["level_text"] or ("longer runs" if made["too_short"] else "no level")
        delay = "" if made["delay_s"] is None else f"{made['delay_s']:.2f} s (most {made['delay_max_s']:.2f} s)"
        rows.append([
            made["check"], f"`{made['fault']}`", made["place"], level, f"{made['detected']} of {made['n']}",
            f"{100 * made['power_low']:.1f} %" if found else "", delay,
        ])  # fmt: skip
    return _table(["check", "fault", "on", "found from", "detected", "power at least", "detected after"], rows)


def _map(report: Mapping[str, Any]) -> str:
    rows = by_level(report)
    if not rows:
        return ""
    head = (
        "Runs in which the check failed for the right reason, per cent, from harmless to bold; bold: what is claimed."
    )
    return f"{head}\n\n" + _table(["fault", "on", "key", "check", "value: per cent"], [_map_row(row) for row in rows])


def _map_row(row: Row) -> list[str]:
    told = [f"{cell.label}: {cell.percent}" for cell in row.cells]
    cells = [f"**{text}**" if cell.claimed else text for text, cell in zip(told, row.cells, strict=True)]
    fault, place, key, check = row.head
    return [f"`{fault}`", place, f"`{key}`" if key else "", check, ", ".join(cells)]


def _clean(report: Mapping[str, Any]) -> str:
    rows = [
        [row["measure"], str(row["alarms"]), f"{100 * row['rate_high']:.2g} %", str(row["inconclusive"])]
        for row in report["clean"]["measures"]
    ]
    return _table(["measure, clean runs", "false alarms", "at most", "inconclusive"], rows)
