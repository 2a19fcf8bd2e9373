"""Whether the checks may be trusted: reasons why not, and the exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.scorecard.campaign import Campaign, checks_of
from harness.scorecard.claims import Claim, falls_again, power_low, seeds_needed
from harness.scorecard.physical import untrue
from harness.scorecard.score import Measured, Run, counted
from harness.scorecard.targets import Target
from harness.scorecard.trial import Finding
from harness.verdict import Outcome

_SEEDS = 8
"""So many are named: with them a run can be made again."""
_TOLERATED = 0.05
"""Of the failures that claim a size that was never there: a verdict holds with 95 % confidence, and not with more."""


@dataclass(frozen=True)
class Reason:
    """Why a scorecard is not green."""

    kind: str
    """``broken``, ``false alarm``, ``wrong reason``, ``untrue claim``, ``never fires``, ``missed``, ``too few seeds``
    or ``interrupted``."""
    text: str

    @property
    def outcome(self) -> Outcome:
        """FAIL, unless there is only too little evidence."""
        if self.kind == "broken":
            return Outcome.INVALID
        return Outcome.INCONCLUSIVE if self.kind in ("too few seeds", "interrupted") else Outcome.FAIL


MEANING = {
    0: "every check finds every fault that it must, where the run is long enough to tell, and says nothing else",
    1: "a check never fires, misses a fault, fires on clean data or for a wrong reason",
    2: "usage or rig file error",
    3: "INVALID: a check or the harness itself failed",
    4: "INCONCLUSIVE: too few seeds for what is claimed",
    130: "interrupted: what is there is shown",
}


def exit_code(campaign: Campaign, reasons: Iterable[Reason]) -> int:
    """130 if it was interrupted, else as verdicts are ranked: INVALID, FAIL, INCONCLUSIVE."""
    if not campaign.complete:
        return 130
    outcomes = {reason.outcome for reason in reasons}
    for outcome, code in ((Outcome.INVALID, 3), (Outcome.FAIL, 1), (Outcome.INCONCLUSIVE, 4)):
        if outcome in outcomes:
            return code
    return 0


def reasons_of(campaign: Campaign) -> list[Reason]:
    """Every reason, the gravest first."""
    found = [*_broken(campaign), *_alarms(campaign), *_wrong(campaign), *_untrue(campaign)]
    if campaign.complete:  # what was not tried yet has not been missed
        found += [*_never(campaign), *_missed(campaign), *_few(campaign)]
    else:
        found.append(Reason("interrupted", "the campaign was ended by hand: what was not tried is not judged"))
    return found


def level_text(target: Target, level: int) -> str:
    """``ppm = 200``, or ``by default``."""
    return f"{target.key} = {target.levels[level]:g}" if target.key else "by default"


def _where(target: Target, level: int) -> str:
    return f"{target.fault} on {target.place} ({level_text(target, level)})"


def _told(runs: dict[int, Run], measured: Measured) -> str:
    """Which seeds show a wrong failure, and what the first of them says."""
    found: dict[int, Finding] = {}
    for seed in sorted(runs):
        for finding in runs[seed].wrong:
            if Measured(finding.check, finding.measure) == measured:
                found.setdefault(seed, finding)
    seeds = ", ".join(map(str, list(found)[:_SEEDS])) + (", ..." if len(found) > _SEEDS else "")
    first = next(iter(found.values()))
    return f"seeds {seeds}; the first: {first.subject}: {first.reason}"


def _broken(campaign: Campaign) -> Iterator[Reason]:
    """Once for each thing that is said, with the first place where it happened."""
    score = campaign.score
    cells = {"a clean rig": score.clean}
    cells |= {_where(score.targets[t], level): runs for (t, level), runs in sorted(score.cells.items())}
    total = sum(map(len, cells.values()))
    places = [
        (Measured(finding.check, finding.measure), finding.reason, f"{where}, seed {seed}")
        for where, runs in cells.items()
        for seed in sorted(runs)
        for finding in runs[seed].broken
    ]
    counts = Counter((measured, reason) for measured, reason, _ in places)
    first = {(measured, reason): place for measured, reason, place in reversed(places)}
    for (measured, reason), count in sorted(counts.items()):
        text = f"{measured} was INVALID in {count} of {total} runs, first on {first[measured, reason]}: {reason}"
        yield Reason("broken", text)


def _alarms(campaign: Campaign) -> Iterator[Reason]:
    runs = campaign.score.clean
    for measured, count in sorted(counted(runs.values(), "wrong").items()):
        told = _told(runs, measured)
        yield Reason("false alarm", f"{measured} failed in {count} of {len(runs)} clean runs; {told}")


def _wrong(campaign: Campaign) -> Iterator[Reason]:
    score = campaign.score
    for (number, level), runs in sorted(score.cells.items()):
        for measured, count in sorted(counted(runs.values(), "wrong").items()):
            told = _told(runs, measured)
            where = _where(score.targets[number], level)
            yield Reason("wrong reason", f"{where}: {measured} failed in {count} of {len(runs)} runs; {told}")


def _untrue(campaign: Campaign) -> Iterator[Reason]:
    """A size within its limit, called beyond it more often than a 95 % interval may err."""
    score = campaign.score
    for (number, level), runs in sorted(score.cells.items()):
        target = score.targets[number]
        fired = counted(runs.values(), "right")
        for measured in sorted(untrue(campaign.rig, target, level)):
            if power_low(fired[measured], len(runs)) > _TOLERATED:
                text = f"{measured} failed in {fired[measured]} of {len(runs)} runs, though the limit is kept"
                yield Reason("untrue claim", f"{_where(target, level)}: {text}")


def fired_checks(campaign: Campaign) -> set[str]:
    """Checks that failed for the right reason at least once."""
    return {check for cell in campaign.score.cells.values() for run in cell.values() for check in run.checks}


def _never(campaign: Campaign) -> Iterator[Reason]:
    """Of the checks that the rig asks for, those that what was tried must touch; of a whole catalogue, all."""
    fired = fired_checks(campaign)
    some = campaign.plan.faults or campaign.plan.roles
    must = {check for target in campaign.targets for check in target.touches}
    touched = must | {check for target in campaign.targets for check in target.may_touch}
    for check in checks_of(campaign.rig):
        if check not in fired and (check in must or not some):
            why = "no fault of those tried touches it" if check not in touched else "not at any level of any fault"
            yield Reason("never fires", f"{check} never failed for a right reason: {why}")


def _missed(campaign: Campaign) -> Iterator[Reason]:
    power = campaign.plan.power
    for made in campaign.claims:
        target = campaign.targets[made.target]
        if made.level is None and (made.check not in target.touches or made.too_short):
            continue
        if made.level is None:
            boldest = len(target.levels) - 1
            text = f"{made.check} finds it reliably at no level, and at this boldest one in {made.detected} of {made.n}"
            yield Reason("missed", f"{_where(target, boldest)}: {text}")
        for level in falls_again(campaign.score, made, power):
            runs = campaign.score.runs(made.target, level)
            found = sum(made.check in run.checks for run in runs)
            text = f"{made.check} finds {found} of {len(runs)} only, and all at {level_text(target, made.level or 0)}"
            yield Reason("missed", f"{_where(target, level)}: {text}")


def is_proven(made: Claim, power: float) -> bool:
    """The power at the claimed level is shown; the smallest n that can show it may miss it by rounding only."""
    return made.level is not None and made.proven >= power - 1e-9


def _few(campaign: Campaign) -> Iterator[Reason]:
    power = campaign.plan.power
    short = [made for made in campaign.claims if made.level is not None and not is_proven(made, power)]
    if short:
        least = min(made.proven for made in short)
        text = (
            f"{len(short)} of {len(campaign.claims)} levels are claimed on too few seeds: a power of "
            f"{100 * least:.1f} % is proven, {100 * power:g} % is asked for; --seeds {seeds_needed(power)} would do"
        )
        yield Reason("too few seeds", text)
