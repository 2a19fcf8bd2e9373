"""One entry of the tables of error texts."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class TextRule:
    """Matches a text; names of groups may stand in braces in ``cause`` and ``next_step``.

    A group ``module`` also gives ``install`` and ``upgrade``: what to do where it is missing, or of another version.
    """

    name: str
    family: str
    pattern: re.Pattern[str]
    symptom: str
    cause: str
    next_step: str
    weight: int


def text_rule(name: str, family: str, pattern: str, symptom: str, cause: str, next_step: str, weight: int) -> TextRule:
    """An entry; ``pattern`` is a regular expression without nested repetition, for it reads logs of megabytes."""
    return TextRule(name, family, re.compile(pattern), symptom, cause, next_step, weight)
