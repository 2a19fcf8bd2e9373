"""Heart rates are right: as reported, and as beats in an ECG, PPG or RR intervals give them, against a reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from drivers.types import FloatArray
from harness.accuracy.agreement import mean_error, mean_size, share
from harness.accuracy.judging import Case, Measure, Options, judge_streams, open_case
from harness.accuracy.material import Material, Shown, material_of
from harness.accuracy.rates import Pairing, latest, pair
from harness.accuracy.reference import Reference, heart_course
from harness.recording import Recording
from harness.verdict import Verdict

NAME = "hr_accuracy"
_KINDS = ("ecg", "rr", "heart_rate", "ppg")
"""As far as they are to be trusted, the best first."""
_EARLY_S = 3.0
"""A clock that is slow makes values seem early."""


@dataclass(frozen=True, kw_only=True)
class LIMITS(Options):
    """Limits of the hr_accuracy check."""

    tolerance_percent: float = field(default=10.0, metadata={"help": "a value may be off by so much ..."})
    tolerance_bpm: float = field(default=5.0, metadata={"help": "... or by so much, whichever is greater"})
    min_within_percent: float = field(default=95.0, metadata={"help": "of the values must be within that tolerance"})
    max_mape_percent: float = field(default=10.0, metadata={"help": "mean absolute percentage error"})
    max_bias_bpm: float = field(default=3.0, metadata={"help": "mean error"})
    window_s: float = field(default=5.0, metadata={"help": "beats of so many seconds are a heart rate"})

    def __post_init__(self) -> None:
        self.check_shared(NAME)
        positive = self.tolerance_percent, self.tolerance_bpm, self.max_mape_percent, self.max_bias_bpm
        if min(positive) <= 0 or not 0 < self.min_within_percent <= 100 or not 2 <= self.window_s <= 60:
            raise ValueError(
                "hr_accuracy: expected tolerances, max_mape_percent and max_bias_bpm above 0, min_within_percent up to "
                "100 and window_s from 2 to 60"
            )


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """Per stream, each second: mean error, share of values within tolerance, mean absolute percentage error, coverage.

    A sensor that reports a heart rate reports a mean over some seconds, some seconds late. Up to ``max_lag_s`` of that
    is found and allowed; the reference is averaged over as long. Where only beats are seen, theirs over ``window_s``
    are compared.
    """
    material = material_of(recording)
    measure = Measure(NAME, "heart rate mean error", "bpm", limits.max_bias_bpm)
    return judge_streams(material, _KINDS, _KINDS, limits, measure, partial(_stream, material, measure, limits))


def _stream(
    material: Material, measure: Measure, limits: LIMITS, shown: Shown, reference: Reference | str
) -> list[Verdict]:
    verdicts: list[Verdict] = []
    reported = shown.spec.kind == "heart_rate"
    for number, channel in enumerate(shown.spec.channels if reported else ("",)):
        times_s, value = _rates(shown, number, limits.window_s)
        coverage = share(np.isfinite(value))
        name = channel if reported and len(shown.spec.channels) > 1 else ""
        case, unfit = open_case(measure, limits, shown, reference, coverage, name)
        if unfit or isinstance(reference, str):
            verdicts += unfit
            continue
        average_s = None if reported else limits.window_s
        found = pair(times_s, value, heart_course(material, reference), (-_EARLY_S, limits.max_lag_s), average_s)
        verdicts += _verdicts(case, found, limits)
    return verdicts


def _rates(shown: Shown, channel: int, window_s: float) -> tuple[FloatArray, FloatArray]:
    """(moment, heart rate) of each second of the run, (w,) each; NaN where there is none."""
    if shown.spec.kind == "heart_rate":
        return latest(*shown.values(channel), np.arange(1.0, int(shown.seconds) + 1.0), shown.stale_s)
    ends_s = np.arange(np.ceil(window_s) + 1.0, int(shown.seconds) + 1.0)
    return ends_s, shown.heart.mean(ends_s - window_s, ends_s)


def _verdicts(case: Case, found: Pairing, limits: LIMITS) -> list[Verdict]:
    errors, right = found.errors, found.known_reference
    if not len(errors):
        return case.nothing("none of its values has a counterpart in good signal")
    most = case.seconds / found.average_s
    within = np.abs(errors) <= np.maximum(limits.tolerance_percent / 100 * right, limits.tolerance_bpm)
    if limits.counted:
        within = np.append(within, np.zeros(len(found.value) - len(within), dtype=bool))
    case = case.with_details(found.words)
    rule = f"+-{limits.tolerance_percent:g} % or +-{limits.tolerance_bpm:g} bpm"
    words = f"{np.median(right + errors):.0f} bpm where {np.median(right):.0f} bpm are right"
    return [
        case.verdict("heart rate mean error", mean_error(errors, most), "bpm", limits.max_bias_bpm, words),
        case.verdict(
            "heart rate within tolerance", share(within, most), "%", limits.min_within_percent,
            f"{int(within.sum())} of {len(within)} values within {rule}", least=True,
        ),
        case.verdict("heart rate MAPE", mean_size(100 * errors / right, most), "%", limits.max_mape_percent, words),
        case.covered(),
    ]  # fmt: skip
