"""Which trials to make, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from harness.checks.registry import load_check
from harness.judge import ALWAYS
from harness.rig import Rig
from harness.scorecard.claims import Claim, Seeds, candidate, claim, promised
from harness.scorecard.crew import Crew, hire
from harness.scorecard.score import Score
from harness.scorecard.targets import Target, clean, targets_of
from harness.scorecard.trial import CLEAN, Trace, Trial

_PART = 20
"""Proofs of one level that are made before it is asked again whether they are worth it."""


@dataclass(frozen=True)
class Plan:
    """What a scorecard is to be made of."""

    seeds: int = 59
    """Runs that prove a level."""
    pilots: int = 4
    """Runs at every level, by which the level to prove is chosen."""
    clean: int = 300
    """Clean runs."""
    delays: int = 0
    """Seeds at each proven level for which the detection delay is asked."""
    power: float = 0.95
    """What must be proven."""
    faults: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    levels: str = "all"

    @property
    def numbers(self) -> Seeds:
        """Which seeds do what."""
        return Seeds(self.pilots, self.seeds)


@dataclass(frozen=True)
class Step:
    """What somebody who waits wants to see."""

    done: int
    total: int
    doing: str
    wrong: int = 0
    """Runs so far in which something failed that nothing explains."""


@dataclass
class Campaign:
    """What came of it."""

    rig: Rig
    plan: Plan
    score: Score
    claims: list[Claim] = field(default_factory=list)
    complete: bool = False
    """False: somebody ended it, and this is what was there."""

    @property
    def targets(self) -> Sequence[Target]:
        """What was damaged."""
        return self.score.targets


def checks_of(rig: Rig) -> list[str]:
    """The checks that the rig asks for."""
    return [name for name in rig.limits if name not in ALWAYS]


def only(rig: Rig, checks: Sequence[str]) -> Rig:
    """The rig with these checks alone; with the rig's limits where it has any. SettingError names an unknown one."""
    for name in checks:
        load_check(name)
    return replace(rig, limits={name: rig.limits.get(name, {}) for name in checks}) if checks else rig


def run_campaign(rig: Rig, plan: Plan, jobs: int, on_step: Callable[[Step], None] = lambda step: None) -> Campaign:
    """Every trial of the plan; the result depends on rig and plan alone. Ctrl-C ends it with what is there."""
    rig = clean(rig)
    checks = set(checks_of(rig))
    every = targets_of(rig, plan.faults, plan.roles, plan.levels)
    targets = [target for target in every if target.touches & checks]
    made = Campaign(rig, plan, Score(targets))
    try:
        with hire(rig, targets, jobs) as crew:
            _Rounds(made, crew, on_step).run()
        made.complete = True
    except KeyboardInterrupt:
        pass
    promises = promised(made.score, checks_of(rig))
    made.claims = [claim(made.score, target, check, plan.numbers) for target, check in promises]
    return made


class _Rounds:
    """Clean runs and pilots first; then levels are proven, until every check has one or none is left."""

    def __init__(self, campaign: Campaign, crew: Crew, on_step: Callable[[Step], None]) -> None:
        self._campaign, self._crew, self._on_step = campaign, crew, on_step
        self._score, self._plan = campaign.score, campaign.plan
        self._done = 0

    def run(self) -> None:
        """All of it."""
        targets = self._score.targets
        count = sum(len(target.levels) for target in targets)
        expected = len(targets) * (self._plan.seeds + self._plan.delays)
        cleans = [Trial(CLEAN, 0, seed) for seed in range(self._plan.clean)]
        self._make(cleans, "clean runs", count * self._plan.pilots + expected)
        pilots = [
            Trial(number, level, seed)
            for number, target in enumerate(targets)
            for level in range(len(target.levels))
            for seed in self._plan.numbers.pilot()
        ]
        self._make(pilots, "every fault at every level", expected)
        while todo := self._unproven():
            left = max(0, len(targets) * self._plan.seeds - self._proven())
            self._make(
                todo, "levels that are to be claimed", max(0, left - len(todo)) + len(targets) * self._plan.delays
            )
        if self._plan.delays:
            self._make(self._delayed(), "detection delays", 0)

    def _make(self, trials: Sequence[Trial], doing: str, later: int) -> None:
        """Ordered by seed: trials with one seed share the clean sensors."""
        trials = sorted(trials, key=lambda trial: (trial.seed, trial))
        total = self._done + len(trials) + later
        score = self._score

        def on_trace(trace: Trace) -> None:
            score.add(trace)
            self._done += 1
            self._on_step(Step(self._done, total, doing, score.wrong))

        self._crew.run(trials, on_trace)

    def _candidates(self) -> Iterable[tuple[int, int]]:
        """(target, level) that some check may claim, each once."""
        promises = promised(self._score, checks_of(self._campaign.rig))
        found = {(target, candidate(self._score, target, check)) for target, check in promises}
        return sorted((target, level) for target, level in found if level is not None)

    def _unproven(self) -> list[Trial]:
        """A part of them at a time: a level that misses one of the first costs no more."""
        todo = []
        for target, level in self._candidates():
            left = [s for s in self._plan.numbers.proof() if s not in self._score.cells[target, level]]
            todo += [Trial(target, level, seed) for seed in left[:_PART]]
        return todo

    def _proven(self) -> int:
        """Proofs made so far, of levels that are given up too."""
        proofs = set(self._plan.numbers.proof())
        return sum(len(proofs & set(cell)) for cell in self._score.cells.values())

    def _delayed(self) -> list[Trial]:
        seeds = self._plan.numbers.proof()[: self._plan.delays]
        return [Trial(target, level, seed, delay=True) for target, level in self._candidates() for seed in seeds]
