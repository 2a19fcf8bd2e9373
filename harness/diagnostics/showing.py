"""Diagnoses for people: a short block each."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from harness.diagnostics.diagnosis import SHOWN, Diagnosis

_EXPLAINED = 4


def show_diagnoses(console: Console, found: Sequence[Diagnosis]) -> None:
    """Likely cause, evidence and next step of the most specific ones; nothing where there is none."""
    if not found:
        return
    console.print("what is likely to have gone wrong:", style="italic", markup=False, highlight=False)
    for number, one in enumerate(found[:SHOWN], 1):
        for line in lines_of(number, one):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(found) > SHOWN:
        console.print(f"  ... and {len(found) - SHOWN} more, in the report", markup=False, highlight=False)


def lines_of(number: int, one: Diagnosis) -> list[str]:
    """One diagnosis as lines of text."""
    lines = [f"  {number}. {one.symptom}", f"     likely cause: {one.cause}"]
    lines += [f"     evidence:     {text}" for text in one.evidence]
    if len(one.explains) > 1:
        rest = f" and {len(one.explains) - _EXPLAINED} more" if len(one.explains) > _EXPLAINED else ""
        lines.append(f"     accounts for: {', '.join(one.explains[:_EXPLAINED])}{rest}")
    return [*lines, f"     next step:    {one.next_step}"]
