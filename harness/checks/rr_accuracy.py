"""Beat-to-beat intervals are right: of a strap, an ECG or a pulse wave, one by one against reference beats."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from drivers.types import FloatArray
from harness.accuracy.agreement import Z95, Figure, limits_of_agreement, mean_error, share
from harness.accuracy.intervals import Intervals, Matched, ends_of, match, reported
from harness.accuracy.judging import Case, Measure, Options, judge_streams, open_case
from harness.accuracy.material import Material, Shown, material_of
from harness.accuracy.rates import Mask
from harness.accuracy.reference import Reference, reference_beats
from harness.clocks import CRYSTAL_PPM
from harness.recording import Recording
from harness.verdict import Verdict

NAME = "rr_accuracy"
_KINDS = ("ecg", "rr", "ppg")
"""As far as they are to be trusted, the best first."""

_TOLD = 0.6
"""At least so much of the good time must lie within intervals: a sequence is found again, single ones are not."""


@dataclass(frozen=True, kw_only=True)
class LIMITS(Options):
    """Limits of the rr_accuracy check."""

    max_bias_ms: float = field(default=1.0, metadata={"help": "mean error of the intervals of an ECG or a strap"})
    max_agreement_ms: float = field(
        default=5.0, metadata={"help": "both 95 % limits of agreement lie within, beyond what sampling adds"}
    )
    tolerance_ms: float = field(default=30.0, metadata={"help": "an interval may be off by so much ..."})
    min_within_percent: float = field(default=98.0, metadata={"help": "... and so many must not be off by more"})
    max_pulse_bias_ms: float = field(default=3.0, metadata={"help": "the same for the intervals of a pulse wave"})
    max_pulse_agreement_ms: float = field(default=30.0, metadata={"help": "the same for those of a pulse wave"})
    pulse_tolerance_ms: float = field(default=60.0, metadata={"help": "the same for those of a pulse wave"})

    def __post_init__(self) -> None:
        self.check_shared(NAME)
        positive = (
            self.max_bias_ms, self.max_agreement_ms, self.tolerance_ms,
            self.max_pulse_bias_ms, self.max_pulse_agreement_ms, self.pulse_tolerance_ms,
        )  # fmt: skip
        if min(positive) <= 0 or not 0 < self.min_within_percent <= 100:
            raise ValueError("rr_accuracy: expected limits and tolerances above 0 and min_within_percent up to 100")


@dataclass(frozen=True, slots=True)
class _Allowed:
    """Limits for one kind of stream."""

    bias_ms: float
    agreement_ms: float
    tolerance_ms: float
    within_percent: float


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """Per stream: mean error, limits of agreement and share of intervals within tolerance, and coverage.

    Which interval is which is found from their sequence, so that a stamp that is late harms nothing. Limits of
    agreement are of the intervals that were found again; what was not, beats that were missed or seen twice count
    against the share within tolerance. A sampled wave cannot do better than its samples: its limits are wider by it.
    """
    material = material_of(recording)
    measure = Measure(NAME, "RR bias", "ms", limits.max_bias_ms)
    return judge_streams(material, _KINDS, _KINDS, limits, measure, partial(_stream, material, limits))


def _stream(material: Material, limits: LIMITS, shown: Shown, reference: Reference | str) -> list[Verdict]:
    intervals, good = _intervals(shown)
    allowed = _allowed(shown, reference, limits)
    measure = Measure(NAME, "RR bias", "ms", allowed.bias_ms)
    case, unfit = open_case(measure, limits, shown, reference, _coverage(material, intervals, good))
    if unfit or isinstance(reference, str):
        return unfit
    beats_s, known = reference_beats(material, reference, shown.spec.kind)
    found = _found(shown, intervals, beats_s, known, limits.max_lag_s)
    if found is None or not (found.alike & good).any():
        return case.nothing("its intervals and the reference's beats have nothing in common")
    case = replace(case, sparse=float(intervals.length_s[good].sum()) < _TOLD * (material.seconds - shown.poor_s))
    missing = _missing(material, beats_s, int(good.sum())) if limits.counted else 0
    return _verdicts(case, found, good, allowed, missing)


def _intervals(shown: Shown) -> tuple[Intervals, Mask]:
    """All intervals of a stream, and which of them are whole and good."""
    if shown.spec.kind == "rr":
        good = shown.poor.free(shown.times_s, shown.times_s + 1e-6) & (shown.interval_s > 0)
        return reported(shown.interval_s, shown.times_s), good
    return shown.wave_intervals


def _found(shown: Shown, intervals: Intervals, beats_s: FloatArray, known: Mask, max_lag_s: float) -> Matched | None:
    """Intervals again among the reference's beats, by whichever clock errs less.

    A wave whose stamps are further off its samples than any crystal has a delay that grows, or a wrong rate. Both are
    for the checks of rate and clock, and say nothing of beats.
    """
    stamped = match(intervals, beats_s, known, max_lag_s)
    if stamped is None or shown.spec.kind == "rr" or abs(shown.stretch - 1) <= CRYSTAL_PPM * 1e-6:
        return stamped
    counted = match(replace(intervals, length_s=intervals.length_s / shown.stretch), beats_s, known, max_lag_s)
    return counted if counted is not None and _usual_error_s(counted) < _usual_error_s(stamped) else stamped


def _usual_error_s(found: Matched) -> float:
    """Size of half of the errors, inf where there are none."""
    sizes_s = np.abs(found.error_s[np.isfinite(found.error_s)])
    return float(np.median(sizes_s)) if len(sizes_s) else math.inf


def _coverage(material: Material, intervals: Intervals, good: Mask) -> Figure:
    """Percent of the run's seconds in which an interval that is good ended, or that one covers."""
    ends_s = ends_of(intervals)
    starts_s, stops_s = (ends_s - intervals.length_s)[good], ends_s[good]
    seconds = np.arange(0.0, max(np.floor(material.seconds), 1.0))
    reached = np.searchsorted(stops_s, seconds)
    nearest = starts_s[np.minimum(reached, len(starts_s) - 1)] if len(starts_s) else np.full(len(seconds), np.inf)
    covered = (reached < len(stops_s)) & (nearest < seconds + 1.0)
    return share(covered)


def _missing(material: Material, beats_s: FloatArray, good: int) -> int:
    """Intervals that the run should have given and did not."""
    inside = int(((beats_s > 0) & (beats_s <= material.seconds)).sum())
    return max(inside - 1 - good, 0)


def _allowed(shown: Shown, reference: Reference | str, limits: LIMITS) -> _Allowed:
    """Limits of one stream, with what its sampling and that of its reference add to the limits of agreement."""
    specs = [shown.spec]
    if isinstance(reference, Reference) and reference.stream is not None:
        specs.append(reference.stream.spec)
    pulse = any(spec.kind == "ppg" for spec in specs)
    variance = 0.0
    for spec in specs:
        if spec.rate_hz:
            variance += (1e3 / spec.rate_hz) ** 2 / 6
        elif spec.kind == "rr":
            variance += ((spec.lsb or 0.0) * (1e3 if spec.unit == "s" else 1.0)) ** 2 / 12
    wide = limits.max_pulse_agreement_ms if pulse else limits.max_agreement_ms
    return _Allowed(
        limits.max_pulse_bias_ms if pulse else limits.max_bias_ms,
        round(math.hypot(wide, Z95 * math.sqrt(variance)), 2),
        limits.pulse_tolerance_ms if pulse else limits.tolerance_ms,
        limits.min_within_percent,
    )


def _verdicts(case: Case, found: Matched, good: Mask, allowed: _Allowed, missing: int) -> list[Verdict]:
    counted = good & np.isfinite(found.error_s)
    errors_ms = 1e3 * found.error_s[counted & found.alike]
    within = (np.abs(1e3 * found.error_s) <= allowed.tolerance_ms)[counted]
    within = np.append(within, np.zeros(missing, dtype=bool))
    bias = mean_error(errors_ms)
    spread = float(errors_ms.std(ddof=1)) if len(errors_ms) > 1 else math.nan
    low, high = bias.value - Z95 * spread, bias.value + Z95 * spread
    missed, extra = int(found.missed[good].sum()), int(found.extra[good].sum())
    lost = f", {missed} beats missed and {extra} extra" if missed or extra else ""
    lost += f", {missing} that did not come counted" if missing else ""
    return [
        case.verdict("RR bias", bias, "ms", allowed.bias_ms, f"intervals are {bias.value:+.2f} ms off on average"),
        case.verdict(
            "RR limits of agreement", limits_of_agreement(errors_ms), "ms", allowed.agreement_ms,
            f"95 % of the intervals lie {low:+.1f} to {high:+.1f} ms off",
        ),
        case.verdict(
            "RR within tolerance", share(within), "%", allowed.within_percent, f"{int(within.sum())} of {len(within)} "
            f"intervals within {allowed.tolerance_ms:g} ms{lost}", least=True,
        ),
        case.covered(),
    ]  # fmt: skip
