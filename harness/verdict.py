"""Verdicts: five outcomes, each with a value, a unit, a limit, an n and an interval; exit codes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """Nothing but PASS is green."""

    PASS = "PASS"  # noqa: S105  an outcome, not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    """Too little data, or the interval straddles the limit, or the instrument is coarser than the limit."""
    INVALID = "INVALID"
    """Rig or harness broken: says nothing about the product."""
    NOT_RUN = "NOT_RUN"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check says about one subject."""

    check: str
    subject: str
    """``rig``, ``role``, ``role/stream`` or ``role/stream~role/stream``."""
    outcome: Outcome
    reason: str
    """A sentence: what was found, and where it fails also what is likely and what to try."""
    measure: str = ""
    """What ``value`` is: ``p99 latency``."""
    value: float | None = None
    unit: str = ""
    limit: float | None = None
    n: int = 0
    low: float | None = None
    high: float | None = None
    """Ends of the interval of ``value``, at ``confidence``."""
    confidence: float | None = None


EXIT_MEANING = {
    0: "every verdict is PASS",
    1: "at least one verdict is FAIL",
    2: "usage or rig file error",
    3: "INVALID: the rig or the harness is broken, nothing is said about the product",
    4: "INCONCLUSIVE: not enough evidence",
    5: "nothing ran",
    130: "interrupted",
}


def exit_code(verdicts: Iterable[Verdict]) -> int:
    """0 all PASS, 1 any FAIL, 3 any INVALID (or no verdict at all), 4 any INCONCLUSIVE, 5 any NOT_RUN.

    INVALID wins over FAIL: what a broken rig says about the product counts for nothing.
    """
    outcomes = {verdict.outcome for verdict in verdicts}
    if not outcomes or Outcome.INVALID in outcomes:
        return 3
    for outcome, code in ((Outcome.FAIL, 1), (Outcome.INCONCLUSIVE, 4), (Outcome.NOT_RUN, 5)):
        if outcome in outcomes:
            return code
    return 0
