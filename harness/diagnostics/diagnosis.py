"""What a rule says, and in which order it is said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

SHOWN = 5
"""Diagnoses that a person is shown; a report has all of them."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why something is likely to have gone wrong, what shows it, and what to do next."""

    rule: str
    symptom: str
    """What a person notices."""
    cause: str
    """What is likely, and where."""
    evidence: tuple[str, ...]
    """What was found that says so, at least one line."""
    next_step: str
    weight: int
    """0 to 100: the more specific the evidence, the more."""
    explains: tuple[str, ...] = ()
    """``check subject`` of the verdicts that it accounts for."""


def ranked(found: Iterable[Diagnosis]) -> list[Diagnosis]:
    """The most specific first; without those that account for nothing beyond what the ones before them do.

    A diagnosis that accounts for no verdict (an error text, say) always stays.
    """
    kept: list[Diagnosis] = []
    explained: set[str] = set()
    for one in sorted(found, key=lambda each: -each.weight):
        if not one.explains or not explained.issuperset(one.explains):
            kept.append(one)
            explained.update(one.explains)
    return kept


def plain(found: Sequence[Diagnosis]) -> list[dict[str, Any]]:
    """As plain data, for a report."""
    return [asdict(one) for one in found]


def unplain(rows: Iterable[dict[str, Any]]) -> list[Diagnosis]:
    """What plain() made, also after a way through JSON."""
    return [
        Diagnosis(**{**row, "evidence": tuple(row["evidence"]), "explains": tuple(row["explains"])}) for row in rows
    ]
