"""Breath rates are right: the breaths in a respiration signal against a reference, as mean absolute error."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from harness.accuracy.agreement import mean_size
from harness.accuracy.judging import Case, Measure, Options, judge_streams, open_case
from harness.accuracy.material import Material, Shown, material_of
from harness.accuracy.rates import Pairing, pair
from harness.accuracy.reference import Reference, breath_course
from harness.recording import Recording
from harness.verdict import Verdict

NAME = "respiration_accuracy"
_KINDS = ("respiration",)


@dataclass(frozen=True, kw_only=True)
class LIMITS(Options):
    """Limits of the respiration_accuracy check."""

    max_lag_s: float = field(default=3.0, metadata={"help": "how much later than the reference breaths may come"})
    max_mae_per_min: float = field(default=2.0, metadata={"help": "mean absolute error of the breath rate"})
    window_s: float = field(default=15.0, metadata={"help": "breaths of so many seconds are a breath rate"})

    def __post_init__(self) -> None:
        self.check_shared(NAME)
        if not (self.max_mae_per_min > 0 and 5 <= self.window_s <= 120):
            raise ValueError("respiration_accuracy: expected max_mae_per_min above 0 and window_s from 5 to 120")


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """Per stream: the rate of the breaths of the last ``window_s``, each second, and coverage.

    Breaths are counted from onset to onset, with the share of them that lies in the window. A breath that is missed or
    seen twice shows as an error of several a minute in each window that it lies in.
    """
    material = material_of(recording)
    measure = Measure(NAME, "breath rate MAE", "/min", limits.max_mae_per_min)
    return judge_streams(material, _KINDS, _KINDS, limits, measure, partial(_stream, material, measure, limits))


def _stream(
    material: Material, measure: Measure, limits: LIMITS, shown: Shown, reference: Reference | str
) -> list[Verdict]:
    case, unfit = open_case(measure, limits, shown, reference, shown.good_percent(shown.breathing.doubt))
    if unfit or isinstance(reference, str):
        return unfit
    ends_s = np.arange(np.ceil(limits.window_s), int(shown.seconds) + 1.0)
    value = shown.breathing.mean(ends_s - limits.window_s, ends_s)
    lags_s = -limits.max_lag_s, limits.max_lag_s
    found = pair(ends_s, value, breath_course(material, reference), lags_s, limits.window_s)
    return _verdicts(case, found, limits)


def _verdicts(case: Case, found: Pairing, limits: LIMITS) -> list[Verdict]:
    errors, right = found.errors, found.known_reference
    if len(errors) < 2:
        need = f"it takes {limits.window_s:g} s of breathing without a break, and a few seconds more"
        return case.nothing(f"no breath rate could be compared: {need}")
    words = (
        f"{np.median(right + errors):.1f} breaths a minute where {np.median(right):.1f} are right, "
        f"{errors.mean():+.1f} on average"
    )
    figure = mean_size(errors, case.seconds / limits.window_s)
    case = case.with_details(found.words)
    return [case.verdict("breath rate MAE", figure, "/min", limits.max_mae_per_min, words), case.covered()]
