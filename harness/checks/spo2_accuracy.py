"""Oxygen saturations are right: as reported, and as red and infrared light give them, against a reference (Arms)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from drivers.quality.oximetry import TEXTBOOK, Calibration
from drivers.types import FloatArray
from harness.accuracy.agreement import rms_error, share
from harness.accuracy.judging import Case, Measure, Options, judge_streams, open_case
from harness.accuracy.material import OXIMETRY_S, Material, Shown, material_of
from harness.accuracy.rates import Pairing, latest, pair
from harness.accuracy.reference import Reference, saturation_course
from harness.recording import Recording, StreamData
from harness.verdict import Verdict

NAME = "spo2_accuracy"
_KINDS = ("spo2", "ppg")
_HOP_S = 4.0
"""Windows of light overlap by the rest, which says hardly more than the next one."""
_ASKED = "where the standard asks for 70 to 100 %"


@dataclass(frozen=True, kw_only=True)
class LIMITS(Options):
    """Limits of the spo2_accuracy check."""

    max_lag_s: float = field(default=20.0, metadata={"help": "how much later than the reference a value may come"})
    max_arms_percent: float = field(default=4.0, metadata={"help": "root mean square error, in percent saturation"})

    calibration: tuple[float, ...] = field(
        default=(),
        metadata={"help": "red and infrared light: percent as a polynomial in R; else only simulated light is judged"},
    )

    def __post_init__(self) -> None:
        self.check_shared(NAME)
        if not all(isinstance(c, int | float) and np.isfinite(c) for c in self.calibration):
            raise ValueError(
                f"spo2_accuracy: expected calibration: numbers, such as [110, -25], found {self.calibration}"
            )
        if not self.max_arms_percent > 0:
            raise ValueError(f"spo2_accuracy: expected max_arms_percent above 0, found {self.max_arms_percent}")


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """Per stream and channel: Arms each second, over the range of saturations that the run covered, and coverage.

    A simulated oximeter shows that values come through unharmed; how right one is on people only a study with people
    in it can tell.
    """
    material = material_of(recording)
    measure = Measure(NAME, "SpO2 Arms", "%", limits.max_arms_percent)
    return judge_streams(
        material, _KINDS, ("spo2",), limits, measure, partial(_stream, material, measure, limits),
        lambda stream: stream.spec.kind == "spo2" or _gives_saturation(material, stream, limits),
    )  # fmt: skip


def _gives_saturation(material: Material, stream: StreamData, limits: LIMITS) -> bool:
    """It is light of two colours, and it is known what saturation that means: a simulator's, or what the rig says."""
    return material.shown(stream).two_lights and (bool(limits.calibration) or material.is_physiology(stream))


def _stream(
    material: Material, measure: Measure, limits: LIMITS, shown: Shown, reference: Reference | str
) -> list[Verdict]:
    verdicts: list[Verdict] = []
    light = shown.spec.kind == "ppg"
    for number, channel in enumerate(("",) if light else shown.spec.channels):
        times_s, value = _light(shown, limits) if light else _reported(shown, number)
        name = channel if not light and len(shown.spec.channels) > 1 else ""
        case, unfit = open_case(measure, limits, shown, reference, share(np.isfinite(value)), name)
        if unfit or isinstance(reference, str):
            verdicts += unfit
            continue
        average_s = OXIMETRY_S if light else None
        found = pair(times_s, value, saturation_course(material, reference), (0.0, limits.max_lag_s), average_s)
        verdicts += _verdicts(case, found, limits)
    return verdicts


def _reported(shown: Shown, channel: int) -> tuple[FloatArray, FloatArray]:
    """(moment, percent) of each second, (w,) each."""
    return latest(*shown.values(channel), np.arange(1.0, int(shown.seconds) + 1.0), shown.stale_s)


def _light(shown: Shown, limits: LIMITS) -> tuple[FloatArray, FloatArray]:
    """The same from light, in windows that overlap."""
    calibration = Calibration(tuple(limits.calibration)) if limits.calibration else TEXTBOOK
    ends_s = np.arange(OXIMETRY_S, int(shown.seconds) + 1.0, _HOP_S)
    return ends_s, shown.saturation(calibration, ends_s)


def _verdicts(case: Case, found: Pairing, limits: LIMITS) -> list[Verdict]:
    errors, right = found.errors, found.known_reference
    if len(errors) < 2:
        return case.nothing("none of its values has a counterpart")
    words = (
        f"{errors.mean():+.1f} % on average, over saturations from {right.min():.0f} to {right.max():.0f} %, {_ASKED}"
    )
    figure = rms_error(errors, case.seconds / found.average_s)
    case = case.with_details(found.words)
    return [case.verdict("SpO2 Arms", figure, "%", limits.max_arms_percent, words), case.covered()]
