"""Levels and limits in the same unit: where a check that fails says something about a size that was never there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.checks.registry import load_check, make_limits
from harness.rig import Rig
from harness.scorecard.score import Measured
from harness.scorecard.targets import Target


@dataclass(frozen=True)
class Comparison:
    """A failure of ``measured`` says that the size of the damage is beyond ``limit``, a key of the check's limits."""

    fault: str
    measured: Measured
    limit: str
    size: Callable[[float, dict[str, Any]], float]
    """From the level and the sensor's ``clock`` to the size in the limit's unit."""


def _drift_ppm(level: float, clock: dict[str, Any]) -> float:
    return abs(level + float(clock.get("ppm", 0.0)))


def _drift_percent(level: float, clock: dict[str, Any]) -> float:
    return _drift_ppm(level, clock) / 1e4


def _step_ms(level: float, clock: dict[str, Any]) -> float:
    return 1000 * abs(level)


def _level(level: float, clock: dict[str, Any]) -> float:
    return abs(level)


def _wander_ppm_per_min(level: float, clock: dict[str, Any]) -> float:
    return abs(level + float(clock.get("ppm_per_min", 0.0)))


def _growth_ms_per_min(level: float, clock: dict[str, Any]) -> float:
    """A clock that runs slow looks like a delay that grows."""
    return abs(60 * level - 0.06 * float(clock.get("ppm", 0.0)))


COMPARISONS = (
    Comparison("clock_drift", Measured("sync", "clock drift"), "max_drift_ppm", _drift_ppm),
    Comparison("clock_drift", Measured("rate", "rate"), "tolerance_percent", _drift_percent),
    Comparison("clock_step", Measured("sync", "clock step"), "max_step_ms", _step_ms),
    Comparison("clock_wander", Measured("sync", "clock wander"), "max_wander_ppm_per_min", _wander_ppm_per_min),
    Comparison("delay", Measured("age", "age growth"), "max_growth_ms_per_min", _growth_ms_per_min),
    Comparison("slow_start", Measured("age", "first sample"), "max_first_sample_s", _level),
    Comparison("lag", Measured("content_sync", "content lag"), "max_truth_ms", _level),
)


def untrue(rig: Rig, target: Target, level: int) -> frozenset[Measured]:
    """The measures whose failure at this level would claim that a limit is exceeded which is not."""
    found = set()
    for each in COMPARISONS:
        if each.fault == target.fault and target.key and each.measured.check in rig.limits:
            check = load_check(each.measured.check)
            limits = make_limits(check, rig.limits[each.measured.check])
            clock = dict(rig.sensors[target.role].simulate.get("clock", {}))
            if each.size(target.levels[level], clock) <= getattr(limits, each.limit):
                found.add(each.measured)
    return frozenset(found)
