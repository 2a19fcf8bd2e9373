"""From which level on a check finds a fault, and how well that is proven."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.scorecard.score import Score
from simulators.faults.registry import fault_names, load_fault

CONFIDENCE = 0.95


def power_low(detected: int, n: int, confidence: float = CONFIDENCE) -> float:
    """One-sided exact lower bound of a detection rate: 59 of 59 prove 0.95 (Clopper, Pearson, Biometrika 26, 1934)."""
    return float(stats.beta.ppf(1 - confidence, detected, n - detected + 1)) if detected else 0.0


def power_high(detected: int, n: int, confidence: float = CONFIDENCE) -> float:
    """One-sided exact upper bound of a detection rate."""
    return float(stats.beta.ppf(confidence, detected + 1, n - detected)) if detected < n else 1.0


def seeds_needed(power: float, confidence: float = CONFIDENCE) -> int:
    """The fewest runs that prove a power if every one of them detects: 59 for 0.95."""
    return int(np.ceil(np.log(1 - confidence) / np.log(power)))


@dataclass(frozen=True)
class Claim:
    """What one check can be relied on to find of one fault in one place."""

    target: int
    check: str
    level: int | None
    """Number of the smallest level at which every run detected it; None: there is none."""
    detected: int
    n: int
    """Of the runs that prove it, which are not those that the level was chosen by; without a level, at the boldest."""
    proven: float
    """Lower bound of the power."""
    delays_s: tuple[float, ...] = ()
    """Ascending, of the runs for which it was asked."""
    undecided: int = 0
    """Of ``n``: the check said that it could not tell."""

    @property
    def too_short(self) -> bool:
        """No run was passed and most were found out, but not all: the check asks for longer runs and misses nothing."""
        return self.level is None and self.undecided == self.n - self.detected and 2 * self.detected > self.n

    @property
    def delay_s(self) -> float | None:
        """Median delay."""
        return float(np.median(self.delays_s)) if self.delays_s else None


@dataclass(frozen=True)
class Seeds:
    """Pilots choose the level, proofs prove it: a level chosen for its luck has to repeat it."""

    pilots: int
    proofs: int
    first: int = 1

    def pilot(self) -> range:
        """Seeds that every level is tried with."""
        return range(self.first, self.first + self.pilots)

    def proof(self) -> range:
        """Seeds that only levels which may be claimed are tried with."""
        return range(self.first + self.pilots, self.first + self.pilots + self.proofs)


def promised(score: Score, checks: Iterable[str]) -> list[tuple[int, str]]:
    """(number of a target, check) for each check that must notice it and judges the damaged place.

    A check that no fault must change is asked of those that may change it: nothing else shows what it can see. Of all
    faults there are, so that what is promised of one does not depend on which others are tried.
    """
    asked = list(checks)
    tried = (target.touches for target in score.targets)
    needed = frozenset[str]().union(*tried, *(load_fault(name).TOUCHES for name in fault_names()))
    return [
        (number, check)
        for number, target in enumerate(score.targets)
        for check in asked
        if check in (target.touches | (target.may_touch - needed)) and score.can_see(check, target)
    ]


def candidate(score: Score, target: int, check: str) -> int | None:
    """The smallest level at which no run has missed so far; None if there is none left."""
    for level in range(len(score.targets[target].levels)):
        runs = score.cells.get((target, level), {})
        if runs and all(check in run.checks for run in runs.values()):
            return level
    return None


def claim(score: Score, target: int, check: str, seeds: Seeds) -> Claim:
    """What the runs made so far prove."""
    level = candidate(score, target, check)
    at = level if level is not None else _boldest(score, target)
    cell = score.cells.get((target, at), {})
    proof = [cell[seed] for seed in seeds.proof() if seed in cell] if level is not None else list(cell.values())
    detected = sum(check in run.checks for run in proof)
    delays = sorted(delay for run in cell.values() for name, delay in run.delays_s if name == check)
    undecided = sum(check in run.undecided for run in proof)
    return Claim(target, check, level, detected, len(proof), power_low(detected, len(proof)), tuple(delays), undecided)


def _boldest(score: Score, target: int) -> int:
    """The boldest level that was tried."""
    return max((level for number, level in score.cells if number == target), default=0)


def falls_again(score: Score, made: Claim, power: float) -> list[int]:
    """Levels bolder than the claimed one at which the power is shown to be below what was claimed."""
    if made.level is None:
        return []
    weak = []
    for level in range(made.level + 1, len(score.targets[made.target].levels)):
        runs = score.runs(made.target, level)
        detected = sum(made.check in run.checks for run in runs)
        if runs and power_high(detected, len(runs)) < power:
            weak.append(level)
    return weak
