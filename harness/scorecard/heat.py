"""The two maps of a scorecard, as rows of cells that any report can colour: what is found, and what fails with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COLOURS = ("#fee0d2", "#fdd49e", "#fef0b5", "#d9f0a3", "#a8dba0")
"""Backgrounds for black text, from nothing found to everything found; the digits say it without them."""


@dataclass(frozen=True)
class Cell:
    """How many of so many runs, at which level."""

    label: str
    """The level's value; empty where there is no such level."""
    count: int
    n: int
    claimed: bool = False
    """The smallest level that is found reliably."""
    wrong: int = 0
    """Of ``count``: failures that the damage does not explain."""

    @property
    def percent(self) -> int:
        """Rounded, but 0 and 100 only where it is exact."""
        share = 100 * self.count / self.n if self.n else 0.0
        return round(share) if share in (0, 100) else min(99, max(1, round(share)))

    @property
    def colour(self) -> str:
        """Background."""
        share = self.count / self.n if self.n else 0.0
        return COLOURS[min(len(COLOURS) - 1, int(share * (len(COLOURS) - 1)))]


@dataclass(frozen=True)
class Row:
    """One line of a map."""

    head: tuple[str, ...]
    cells: tuple[Cell, ...]


def by_level(report: Mapping[str, Any]) -> list[Row]:
    """A row per fault, place and check that is claimed; a cell per level, from harmless to bold."""
    targets = {(t["fault"], t["place"]): t for t in report["targets"]}
    rows = []
    for claim in report["claims"]:
        target = targets[claim["fault"], claim["place"]]
        cells = tuple(
            Cell(
                f"{level['value']:g}" if target["key"] else "default",
                level["checks"].get(claim["check"], {"count": 0})["count"],
                level["n"],
                claim["level_text"] == level["text"],
            )
            for level in target["levels"]
        )
        rows.append(Row((claim["fault"], claim["place"], target["key"], claim["check"]), cells))
    return rows


def by_measure(report: Mapping[str, Any]) -> list[Row]:
    """A row per fault, place and level, a cell per measure: what failed at all, for a right reason or another."""
    rows = []
    for target in report["targets"]:
        for level in target["levels"]:
            fired = {name: rate["count"] for name, rate in level["right"].items()}
            cells = tuple(
                Cell(
                    name,
                    min(level["n"], fired.get(name, 0) + level["wrong"].get(name, 0)),
                    level["n"],
                    wrong=level["wrong"].get(name, 0),
                )
                for name in report["measures"]
            )
            rows.append(Row((target["fault"], target["place"], level["text"]), cells))
    return rows
