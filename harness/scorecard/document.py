"""A scorecard as plain data: what the JSON file holds and the other reports show.

It follows from rig and plan alone: neither the number of processes nor this machine shows in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.scorecard.campaign import Campaign, checks_of
from harness.scorecard.claims import Claim
from harness.scorecard.score import Measured, Run, counted
from harness.scorecard.verdict import MEANING, exit_code, is_proven, level_text, reasons_of
from harness.statistics import share_interval

SCHEMA = 1


def document(campaign: Campaign) -> dict[str, Any]:
    """Plan, claims, cells, clean runs, reasons and outcome."""
    reasons = reasons_of(campaign)
    code = exit_code(campaign, reasons)
    plan, rig = campaign.plan, campaign.rig
    return {
        "schema": SCHEMA,
        "rig": {"name": rig.name, "duration_s": rig.duration_s, "limits": {c: rig.limits[c] for c in checks_of(rig)}},
        "plan": {
            "seeds": plan.seeds, "pilots": plan.pilots, "clean": plan.clean, "power": plan.power,
            "levels": plan.levels, "faults": list(plan.faults), "roles": list(plan.roles), "delays": plan.delays,
        },
        "outcome": {"exit_code": code, "meaning": MEANING[code], "complete": campaign.complete},
        "reasons": [{"kind": r.kind, "outcome": str(r.outcome), "text": r.text} for r in reasons],
        "measures": [str(each) for each in campaign.score.measures()],
        "silent": _silent(campaign),
        "claims": [_claim(campaign, made) for made in campaign.claims],
        "unseen": _unseen(campaign),
        "too_short": _too_short(campaign),
        "targets": [_target(campaign, number) for number in range(len(campaign.targets))],
        "clean": _clean(campaign),
    }  # fmt: skip


def _claim(campaign: Campaign, made: Claim) -> dict[str, Any]:
    target = campaign.targets[made.target]
    return {
        "fault": target.fault, "place": target.place, "check": made.check, "must": made.check in target.touches,
        "key": target.key, "unit": target.unit, "level": None if made.level is None else target.levels[made.level],
        "level_text": None if made.level is None else level_text(target, made.level),
        "detected": made.detected, "n": made.n, "power_low": made.proven,
        "proven": is_proven(made, campaign.plan.power), "delay_s": made.delay_s,
        "delay_max_s": max(made.delays_s, default=None), "delays": len(made.delays_s), "undecided": made.undecided,
        "too_short": _is_too_short(campaign, made),
    }  # fmt: skip


def _unseen(campaign: Campaign) -> list[dict[str, str]]:
    """Faults that no check judges the damaged place for: nothing is promised there."""
    claimed = {made.target for made in campaign.claims}
    return [
        {"fault": target.fault, "place": target.place, "checks": ", ".join(sorted(target.touches))}
        for number, target in enumerate(campaign.targets)
        if number not in claimed
    ]


def _is_too_short(campaign: Campaign, made: Claim) -> bool:
    return campaign.complete and made.too_short and made.check in campaign.targets[made.target].touches


def _too_short(campaign: Campaign) -> list[str]:
    """What cannot be judged in runs of this length, and at the boldest level how often it was."""
    told = []
    for made in campaign.claims:
        if _is_too_short(campaign, made):
            target = campaign.targets[made.target]
            told.append(
                f"{target.fault} on {target.place} ({level_text(target, len(target.levels) - 1)}): {made.check} finds "
                f"{made.detected} of {made.n} and says of the others that {campaign.rig.duration_s:g} s cannot tell"
            )
    return told


def _silent(campaign: Campaign) -> list[str]:
    """Measures of the rig's checks that no fault made fail for the right reason: nothing shows that they can."""
    fired = {each for cell in campaign.score.cells.values() for run in cell.values() for each in run.right}
    asked = checks_of(campaign.rig)
    return [str(each) for each in campaign.score.measures() if each.check in asked and each not in fired]


def _target(campaign: Campaign, number: int) -> dict[str, Any]:
    target = campaign.targets[number]
    levels = [
        {"value": target.levels[level], "text": level_text(target, level), **_rates(campaign.score.runs(number, level))}
        for level in range(len(target.levels))
    ]
    return {
        "fault": target.fault, "place": target.place, "key": target.key, "unit": target.unit,
        "must": sorted(target.touches), "may": sorted(target.may_touch), "levels": levels,
    }  # fmt: skip


def _rates(runs: Sequence[Run]) -> dict[str, Any]:
    """Of one cell: runs, and by measure how often it failed for the right reason, for another, or could not tell."""
    checks = sorted({check for run in runs for check in run.checks})
    right = counted(runs, "right")
    return {
        "n": len(runs),
        "right": {str(each): _rate(right[each], len(runs)) for each in sorted(right)},
        "checks": {check: _rate(sum(check in run.checks for run in runs), len(runs)) for check in checks},
        "wrong": _counts(runs, "wrong"),
        "inconclusive": _counts(runs, "unsure"),
        "invalid": _counts(runs, "broken"),
    }


def _rate(count: int, n: int) -> dict[str, Any]:
    low, high = share_interval(count, n)
    return {"count": count, "rate": count / n, "low": low, "high": high}


def _counts(runs: Sequence[Run], of: str) -> dict[str, int]:
    found = counted(runs, of)
    return {str(each): found[each] for each in sorted(found)}


def _clean(campaign: Campaign) -> dict[str, Any]:
    """False alarms by measure: the rate's exact interval at 95 %, of which the upper end is what is promised."""
    runs = list(campaign.score.clean.values())
    alarms, unsure = counted(runs, "wrong"), counted(runs, "unsure")
    judged = sorted({Measured(check, measure) for check, measure, _ in campaign.score.judged} | set(alarms))
    rows = [
        {"measure": str(each), "alarms": alarms[each], "n": len(runs), "inconclusive": unsure[each],
         "rate_high": share_interval(alarms[each], len(runs), 0.9)[1]}
        for each in judged
    ]  # fmt: skip
    silent = sum(not run.wrong for run in runs)
    return {
        "n": len(runs), "without_alarm": silent, "measures": rows,
        "rate_high": share_interval(len(runs) - silent, len(runs), 0.9)[1],
    }  # fmt: skip
