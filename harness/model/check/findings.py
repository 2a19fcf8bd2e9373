"""What a section of ``hil model check`` yields, and what it is told. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from harness.verdict import Verdict

if TYPE_CHECKING:
    from harness.model.check.subject import Subject


@dataclass(frozen=True, slots=True)
class Note:
    """A line of the report that judges nothing: what does not apply to this module and why, or what was assumed.

    A part that does not apply is no lack of the module and no gap in the check, so it is neither NOT_RUN nor PASS:
    the report names it, and the exit code does not know of it.
    """

    section: str
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows for a person to read, such as statistics by layer; in the JSON report as it is here."""

    section: str
    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str | float | int, ...], ...]


BY_CHANCE = "outputs depend on chance, so they cannot be compared; mend that first, determinism says where to look"
"""Reason of a verdict that needs two outputs of one module that differ only by what was changed."""

Finding: TypeAlias = Verdict | Note | Table


@dataclass(frozen=True)
class Settings:
    """What the command line says, for every section."""

    seed: int = 0
    batches: tuple[int, ...] = (1, 4, 8)
    """Batch sizes that the shapes are tried with."""
    budget_ms: float = 100.0
    """What one window may take from due time to output; the model has less of it than all."""
    compiled: bool = True
    """Whether torch.compile is tried, which takes a C++ compiler and up to a minute."""
    engine: str = "eager"
    """How the rig runs the model: the variant whose latency is judged."""
    threads: int = 1
    """torch's threads, as the rig has them."""
    steps: int = 150
    """Of the training run."""
    rate: float = 1e-3
    """Its learning rate."""
    vanishing: float = 1e-7
    exploding: float = 1e3
    """Norms of a parameter's gradient below and above which something is wrong."""
    trace: Path | None = None
    """Where torch.profiler's Chrome trace goes."""


Section: TypeAlias = Callable[["Subject", Settings], Iterable[Finding]]
"""One section: given a Subject of its own, which it may train, hook or break, it yields what it finds.

``Verdict.check`` is the section's name, ``Verdict.subject`` the part that is judged (a modality, a layer, ``batch 4``,
``model`` for the whole). A ModelFault that leaves a section becomes its FAIL; any other exception is a defect of the
harness and ends the command with exit code 3. No section prints.
"""
