"""What the checks said, counted per target and level, and on clean runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from harness.scorecard.targets import Target
from harness.scorecard.trial import CLEAN, Finding, Trace, is_right
from harness.verdict import Outcome

CONNECT = "connect"


@dataclass(frozen=True, order=True)
class Measured:
    """A check and what it measures; a check may give several verdicts by it."""

    check: str
    measure: str

    def __str__(self) -> str:
        return f"{self.check}: {self.measure}" if self.measure else self.check


@dataclass(frozen=True)
class Run:
    """One trial with a seed, sorted by what the verdicts are worth."""

    right: frozenset[Measured] = frozenset()
    """Failures that the damage explains."""
    wrong: tuple[Finding, ...] = ()
    """Failures that it does not."""
    unsure: frozenset[Measured] = frozenset()
    """INCONCLUSIVE: neither an alarm nor a pass."""
    undecided: frozenset[str] = frozenset()
    """Checks that are INCONCLUSIVE about what was damaged, and did not fail."""
    broken: tuple[Finding, ...] = ()
    """INVALID: the check or the harness itself failed."""
    delays_s: tuple[tuple[str, float], ...] = ()

    @property
    def checks(self) -> set[str]:
        """Checks that failed for the right reason."""
        return {each.check for each in self.right}


@dataclass
class Score:
    """Fills with traces in any order; what it says then depends on the trials alone."""

    targets: Sequence[Target]
    clean: dict[int, Run] = field(default_factory=dict)
    """Seed -> run."""
    cells: dict[tuple[int, int], dict[int, Run]] = field(default_factory=lambda: defaultdict(dict))
    """(number of the target, number of its level) -> seed -> run."""
    judged: set[tuple[str, str, str]] = field(default_factory=set)
    """(check, measure, subject) of every verdict of clean runs."""
    waited_for: set[str] = field(default_factory=set)
    wrong: int = 0
    """Trials with a failure that nothing explains, or with a check that broke."""

    def add(self, trace: Trace) -> None:
        """One more trial; a second time with delays replaces the first."""
        trial = trace.trial
        if trial.target == CLEAN:
            run = self.clean[trial.seed] = _run(trace, None)
            self.judged |= trace.judged
            self.waited_for |= set(trace.waited_for)
        else:
            run = _run(trace, self.targets[trial.target])
            self.cells[trial.target, trial.level][trial.seed] = run
        self.wrong += bool(run.wrong or run.broken)

    def runs(self, target: int, level: int) -> list[Run]:
        """Of one cell, by seed."""
        found = self.cells.get((target, level), {})
        return [found[seed] for seed in sorted(found)]

    def can_see(self, check: str, target: Target) -> bool:
        """A check promises to see what it judges: in clean runs it gives a verdict about the damaged place.

        By the measures that the fault changes anywhere, if it changes any. A verdict about the whole rig is about the
        streams that windows wait for.
        """
        fired = self._fired(check, target.fault)
        subjects = {s for name, measure, s in self.judged if name == check and (not fired or measure in fired)}
        if "rig" in subjects:
            subjects |= self.waited_for
        parts = {part for subject in subjects for part in subject.split("~")}
        if target.stream:
            return target.place in parts or target.role in parts
        return target.role in {part.split("/")[0] for part in parts}

    def _fired(self, check: str, fault: str) -> set[str]:
        """The measures by which a check failed rightly because of a fault, wherever that was."""
        return {
            each.measure
            for (number, _), runs in self.cells.items()
            if self.targets[number].fault == fault
            for run in runs.values()
            for each in run.right
            if each.check == check
        }

    def measures(self) -> list[Measured]:
        """Everything that was judged anywhere, in a fixed order."""
        found = {Measured(check, measure) for check, measure, _ in self.judged}
        for cell in self.cells.values():
            for run in cell.values():
                found |= run.right | {Measured(f.check, f.measure) for f in run.wrong}
        return sorted(found)


def _run(trace: Trace, target: Target | None) -> Run:
    failed = [f for f in trace.findings if f.outcome is Outcome.FAIL]
    unsure = [f for f in trace.findings if f.outcome is Outcome.INCONCLUSIVE]
    right = [f for f in failed if target is not None and is_right(f, target)]
    fired = _measured(right)
    if target is not None and any(f.check == CONNECT for f in right):  # then no other check is run: it speaks for all
        fired |= {Measured(check, CONNECT) for check in target.touches}
    return Run(
        right=fired,
        wrong=tuple(f for f in failed if f not in right),
        unsure=_measured(unsure),
        undecided=frozenset(f.check for f in unsure if target is not None and is_right(f, target))
        - {each.check for each in fired},
        broken=tuple(f for f in trace.findings if f.outcome is Outcome.INVALID),
        delays_s=tuple(sorted((trace.delays_s or {}).items())),
    )


def _measured(findings: Iterable[Finding]) -> frozenset[Measured]:
    return frozenset(Measured(f.check, f.measure) for f in findings)


def counted(runs: Iterable[Run], of: str) -> Counter[Measured]:
    """How many runs have each measure under ``right``, ``wrong``, ``unsure`` or ``broken``."""
    total: Counter[Measured] = Counter()
    for run in runs:
        found = getattr(run, of)
        total.update({each if isinstance(each, Measured) else Measured(each.check, each.measure) for each in found})
    return total
