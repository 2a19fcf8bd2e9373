"""Runs the sections one after the other, each on a module of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from harness.model.check.determinism import with_conduct
from harness.model.check.findings import Finding, Note, Section, Settings, Table
from harness.model.check.sections import load_section
from harness.model.check.subject import Subject
from harness.model.errors import ModelFault
from harness.verdict import Outcome, Verdict

Told = Callable[[str, int, int], None]
"""Section that begins, its number from 0, and how many there are."""


@dataclass
class Findings:
    """What the sections found, in the order in which they did."""

    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def add(self, found: Finding) -> None:
        """Put it where it belongs."""
        if isinstance(found, Verdict):
            self.verdicts.append(found)
        elif isinstance(found, Note):
            self.notes.append(found)
        else:
            self.tables.append(found)


def check(subject: Subject, settings: Settings, names: Sequence[str], told: Told = lambda *_: None) -> Findings:
    """Run the named sections. A module that cannot be called at all fails once, not once for every section.

    torch's generator is seeded for each section, and its state and thread count are put back afterwards.
    """
    sections = {name: load_section(name) for name in names}
    findings = Findings()
    fault = _unusable(subject, settings)
    if fault is not None:
        findings.add(Verdict("shapes", "model", Outcome.FAIL, f"{fault}"))
        findings.add(Note("all", f"{', '.join(names)}: not run, since no batch of {_listed(settings.batches)} works"))
        return findings
    subject = _with_conduct(subject, findings)
    for number, (name, section) in enumerate(sections.items()):
        told(name, number, len(sections))
        with _one_section(settings):
            for found in _guarded(name, section, subject.fresh(), settings):
                findings.add(found)
    if subject.invented:
        text = "smooth curves, or independent draws where it is a vector of features, both of variance about 1"
        findings.add(Note("examples", f"nobody simulates {', '.join(subject.invented)}; it is {text}"))
    return findings


def _guarded(name: str, section: Section, subject: Subject, settings: Settings) -> Iterator[Finding]:
    try:
        yield from section(subject, settings)
    except ModelFault as fault:
        yield Verdict(name, "model", Outcome.FAIL, str(fault))


def _with_conduct(subject: Subject, findings: Findings) -> Subject:
    try:
        known = with_conduct(subject)
    except ModelFault:  # some batch size does not work, which the shapes say
        return subject
    if known.stateful:
        text = (
            "outputs depend on earlier calls, so every call that is compared goes to a copy of its own; see determinism"
        )
        findings.add(Note("all", text))
    return known


def _unusable(subject: Subject, settings: Settings) -> ModelFault | None:
    """The first reason for which no batch size works, or None where one does."""
    first: ModelFault | None = None
    for batch in settings.batches:
        trial = subject.fresh()
        try:
            trial.infer(*trial.examples(batch))
        except ModelFault as fault:
            first = first or fault
        else:
            return None
    return first


def _listed(batches: Sequence[int]) -> str:
    return ", ".join(map(str, batches))


@contextmanager
def _one_section(settings: Settings) -> Iterator[None]:
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.set_num_threads(settings.threads)
            torch.manual_seed(settings.seed)
            yield
    finally:
        torch.set_num_threads(threads)


def model_facts(subject: Subject) -> Mapping[str, object]:
    """What a report says about the module."""
    module = subject.source
    return {
        "model": subject.name,
        "kind": subject.kind,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "inputs": {name: list(shape) for name, shape in subject.shapes.items()},
        "outputs": list(subject.outputs),
        "takes_quality": subject.takes_quality,
    }
