"""The rules over a run: those that follow from rig and seed, and outside virtual time those about this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.diagnostics.broken import BROKEN
from harness.diagnostics.case import Case, Rule
from harness.diagnostics.diagnosis import Diagnosis, ranked, unplain
from harness.diagnostics.host import HOST
from harness.diagnostics.links import LINKS
from harness.diagnostics.models import diagnose_model
from harness.diagnostics.signals import SIGNALS
from harness.diagnostics.times import TIMES
from harness.recording import Recording
from harness.verdict import Outcome, Verdict

PRODUCT: tuple[Rule, ...] = (*BROKEN, *LINKS, *TIMES, *SIGNALS)
"""They see nothing but what follows from rig and seed in virtual time."""


def diagnose(recording: Recording, verdicts: Sequence[Verdict]) -> list[Diagnosis]:
    """Why verdicts are not PASS, the most specific cause first; empty for a clean run.

    In virtual time it says nothing that is of this machine or moment. A rule that raises is told of; the others go on.
    """
    case = Case(recording, verdicts)
    rules = PRODUCT if case.virtual else (*PRODUCT, *HOST)
    return ranked(one for rule in rules for one in _asked(rule, case))


def _asked(rule: Rule, case: Case) -> list[Diagnosis]:
    try:
        return rule(case)
    except Exception as error:  # noqa: BLE001  what explains a run must not cost its report
        text = f"{type(error).__name__}: {error}"
        cause = f"the rule {rule.__name__} itself failed, so what it looks for is not known"
        return [Diagnosis("rule-failed", "a rule could not be asked", cause, (text,), "report this as a defect", 0)]


def diagnose_report(path: Path) -> tuple[list[Diagnosis], bool]:
    """What a report.json says went wrong, and whether nothing did. ValueError where it is no report."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        verdicts = [verdict_of(row) for row in report["verdicts"]]
        found = unplain(report.get("diagnosis", ()))  # a report of `hil model check` has none
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: expected a report of hil, found {type(error).__name__}: {error}") from error
    return found or diagnose_model(verdicts), all(verdict.outcome is Outcome.PASS for verdict in verdicts)


def verdict_of(row: Mapping[str, Any]) -> Verdict:
    """One row of a report."""
    return Verdict(**{**row, "outcome": Outcome(row["outcome"])})
