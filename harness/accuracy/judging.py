"""From figures to verdicts: what all accuracy checks let a rig choose, how they decide, and what they always say.

FAIL asks that the whole 95 % interval lies beyond the limit. What passes depends on ``rule``: with ``simple`` the value
itself must lie within the limit, and its interval must not be wider than the limits are apart, which is wrong half of
the time where the truth is at the limit; with ``guarded`` the whole interval must lie within, which is what a
certificate needs (decision rules of ILAC-G8:09/2019). Everything else is INCONCLUSIVE.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from harness.accuracy.agreement import Figure
from harness.accuracy.material import Material, Shown
from harness.accuracy.reference import Reference, WrongReferenceError, reference_for
from harness.recording import StreamData
from harness.verdict import Outcome, Verdict

_FEWEST = 1.5
"""Effective values below which nothing is judged."""
_POOR_PERCENT = 50.0
"""More than this of low quality: what is left may be distorted too, so that nothing fails by it."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Limits that all accuracy checks have."""

    reference: str = field(
        default="",
        metadata={"help": "role.stream that is right; otherwise a simulation's truth, or the best other stream"},
    )
    missing: Literal["left_out", "counted"] = field(
        default="left_out", metadata={"help": "missing values and those of low quality: left_out, or counted as wrong"}
    )
    rule: Literal["simple", "guarded"] = field(
        default="simple", metadata={"help": "PASS if the value is within the limit, or if its 95 % interval is"}
    )
    min_coverage_percent: float = field(
        default=5.0, metadata={"help": "share of the run with a good value; with `missing: counted` less fails"}
    )
    min_seconds: float = field(default=10.0, metadata={"help": "of good values; from fewer nothing is judged"})
    max_lag_s: float = field(default=10.0, metadata={"help": "how much later than the reference a value may come"})

    def check_shared(self, name: str) -> None:
        """ValueError, with the check's name, unless all of these can be."""
        if self.missing not in ("left_out", "counted") or self.rule not in ("simple", "guarded"):
            raise ValueError(
                f"{name}: expected missing: left_out or counted and rule: simple or guarded, found {self.missing!r} "
                f"and {self.rule!r}"
            )
        if not isinstance(self.reference, str) or (self.reference and not _names_stream(self.reference)):
            raise ValueError(f"{name}: expected reference: role.stream, such as strap.rr, found {self.reference!r}")
        if not (0 <= self.min_coverage_percent <= 100 and self.min_seconds >= 3 and 0 <= self.max_lag_s <= 30):
            raise ValueError(
                f"{name}: expected min_coverage_percent from 0 to 100, min_seconds from 3 on and max_lag_s from 0 to 30"
            )

    @property
    def counted(self) -> bool:
        """What is missing counts as wrong."""
        return self.missing == "counted"


def _names_stream(reference: str) -> bool:
    role, _, stream = reference.replace("/", ".", 1).partition(".")
    return bool(role and stream)


@dataclass(frozen=True, slots=True)
class Measure:
    """The first that a check says of a stream."""

    check: str
    name: str
    unit: str
    limit: float


@dataclass(frozen=True, slots=True)
class Case:
    """One stream under judgement."""

    measure: Measure
    subject: str
    options: Options
    reference: Reference | None
    coverage: Figure
    """Of the run, in percent."""
    seconds: float
    """Of the run."""
    low_percent: float = 0.0
    """Share of the run that is of low quality."""
    clear: bool = True
    """What is left is good beyond doubt."""
    sparse: bool = False
    """So much is missing between its intervals that which of them is which would be a guess."""
    channel: str = ""
    details: str = ""
    """How the two were brought together."""

    def with_details(self, details: str) -> Case:
        """The same, and how the two were brought together."""
        return replace(self, details=details)

    @property
    def good_s(self) -> float:
        """Seconds with a good value."""
        return self.coverage.value / 100 * self.seconds if math.isfinite(self.coverage.value) else 0.0

    @property
    def poor(self) -> bool:
        """Most of the stream is of low quality."""
        return self.low_percent > _POOR_PERCENT

    def unfit(self) -> str:
        """Why nothing can be judged, or nothing."""
        if self.good_s >= self.options.min_seconds and self.coverage.value >= self.options.min_coverage_percent:
            return ""
        low = f", {self.low_percent:.0f} % of the run is of low quality" if self.low_percent >= 1 else ""
        return (
            f"good values cover {self.good_s:.0f} s of {self.seconds:.0f} s{low}; at least "
            f"{self.options.min_seconds:g} s and {self.options.min_coverage_percent:g} % are needed to judge accuracy"
        )

    def verdict(
        self, measure: str, figure: Figure, unit: str, limit: float, words: str, *, least: bool = False
    ) -> Verdict:
        """Of one figure, which may be ``limit`` in size at most, or with ``least`` at least."""
        outcome, why = self._decide(figure, limit, least)
        told = f"{words}{self.details}; coverage {self.coverage.value:.0f} %; {_evidence(figure)}{why}"
        known = math.isfinite(figure.low) and math.isfinite(figure.high)
        return Verdict(
            self.measure.check, self.subject, outcome, self._named(told), measure, _finite(figure.value), unit, limit,
            figure.n, figure.low if known else None, figure.high if known else None, 0.95 if known else None,
        )  # fmt: skip

    def _decide(self, figure: Figure, limit: float, least: bool) -> tuple[Outcome, str]:
        """The outcome, and what is to be added to the reason."""
        if figure.many < _FEWEST or not math.isfinite(figure.value):
            return Outcome.INCONCLUSIVE, "; too few independent values to judge: run longer"
        beyond, straddles, within = _place(figure, limit, least)
        if beyond and self.poor and not self.options.counted:
            return Outcome.INCONCLUSIVE, "; what is left of so poor a signal may be distorted, so nothing fails by it"
        if beyond and not self.clear and not self.options.counted:
            why = "; the signal is noisy or lacks samples that nothing counts: nothing fails by what is found in it"
            return Outcome.INCONCLUSIVE, why
        if beyond and self.sparse and not self.options.counted:
            why = "; too much is missing between its intervals to be sure which is which: nothing fails by it"
            return Outcome.INCONCLUSIVE, why
        if beyond and self.reference is not None and self.reference.outranked:
            return Outcome.INCONCLUSIVE, "; the two differ, and the reference is the less reliable of them"
        if beyond:
            return Outcome.FAIL, "" if self.reference is None or self.reference.certain else "; one of the two is wrong"
        vague = not least and figure.high - figure.low > 2 * limit
        if within or (self.options.rule == "simple" and not straddles and not vague):
            return Outcome.PASS, "" if within else "; the interval reaches beyond the limit"
        return Outcome.INCONCLUSIVE, "; the interval straddles the limit: run longer"

    def covered(self) -> Verdict:
        """How much of the run has a good value: a fact of this run, so that less than the limit fails if it counts."""
        limit, figure = self.options.min_coverage_percent, self.coverage
        low = f", {self.low_percent:.0f} % of it of low quality" if self.low_percent >= 1 else ""
        reason = f"a good value for {self.good_s:.0f} s of {self.seconds:.0f} s{low}"
        enough = figure.value >= limit and self.good_s >= self.options.min_seconds
        outcome = Outcome.PASS if enough else Outcome.INCONCLUSIVE
        if self.options.counted and figure.value < limit:
            outcome = Outcome.FAIL
        elif self.options.counted and self.options.rule == "guarded" and figure.low < limit:
            outcome = Outcome.INCONCLUSIVE
        return Verdict(
            self.measure.check, self.subject, outcome, self._named(reason), "coverage", _finite(figure.value), "%",
            limit, figure.n, figure.low, figure.high, 0.95,
        )  # fmt: skip

    def nothing(self, reason: str) -> list[Verdict]:
        """INCONCLUSIVE, and why; and coverage."""
        check, name, unit, limit = self.measure.check, self.measure.name, self.measure.unit, self.measure.limit
        reason = self._named(reason)
        return [Verdict(check, self.subject, Outcome.INCONCLUSIVE, reason, name, None, unit, limit), self.covered()]

    def _named(self, reason: str) -> str:
        against = f"against {self.reference.words}: " if self.reference is not None else ""
        return f"{self.channel + ' ' if self.channel else ''}{against}{reason}"


def judge_streams(
    material: Material, kinds: tuple[str, ...], ranks: tuple[str, ...], options: Options, measure: Measure,
    judge: Callable[[Shown, Reference | str], list[Verdict]], fits: Callable[[StreamData], bool] = lambda stream: True,
) -> list[Verdict]:  # fmt: skip
    """What ``judge`` says of every stream of these kinds that ``fits`` but the one that the rig names as reference.

    ``ranks``: the kinds that can be a reference, the best first. NOT_RUN where there is no stream to judge.
    """
    verdicts: list[Verdict] = []
    for stream in filter(fits, material.streams(*kinds)):
        try:
            reference = reference_for(material, stream, ranks, options.reference)
        except WrongReferenceError as error:
            return [Verdict(measure.check, "rig", Outcome.INVALID, f"{measure.check}: {error}")]
        if isinstance(reference, str) or reference.stream is not stream:
            verdicts += judge(material.shown(stream), reference)
    if verdicts:
        return verdicts
    reason = f"this rig has no stream to judge of kind {' or '.join(kinds)}"
    return [Verdict(measure.check, "rig", Outcome.NOT_RUN, reason, measure.name, None, measure.unit, measure.limit)]


def open_case(
    measure: Measure, options: Options, shown: Shown, reference: Reference | str, coverage: Figure, channel: str = ""
) -> tuple[Case, list[Verdict]]:
    """The case of one stream, and verdicts if it cannot be judged: no reference, or too little good signal."""
    known = None if isinstance(reference, str) else reference
    case = Case(
        measure,
        shown.stream.key,
        options,
        known,
        coverage,
        shown.seconds,
        shown.low_percent,
        shown.clear,
        channel=channel,
    )
    if isinstance(reference, str):
        return case, case.nothing(reference)
    unfit = case.unfit()
    return case, case.nothing(unfit) if unfit and not options.counted else []


def _place(figure: Figure, limit: float, least: bool) -> tuple[bool, bool, bool]:
    """(all of the interval beyond the limit, the value beyond it, all within) for a size that is limited."""
    if least:
        return figure.high < limit, figure.value < limit, figure.low >= limit
    beyond = figure.low > limit or figure.high < -limit
    return beyond, abs(figure.value) > limit, -limit <= figure.low and figure.high <= limit


def _evidence(figure: Figure) -> str:
    return f"n {figure.n}, as good as {figure.many:.0f} independent (design effect {figure.design_effect:.1f})"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
