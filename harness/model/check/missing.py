"""Missing modalities: a sensor that is not there, or whose windows hold nothing real.

A modality can be absent in two ways, and both must mean the same: its quality is 0 (a sensor fell silent, and its
window holds whatever it held), or it is left out of the mapping (a rig without that sensor). A module that is called
with one argument for each modality always gets all of them, so there only the quality can say it. Judged on windows of
simulated people:

* without a modality the outputs are finite, and an exception is a failure: sensors fall off;
* with quality 0 the window's content changes nothing (its own, zeros, NaN): the difference must be within float32;
* with nothing at all the outputs are finite, or the error is one that was raised on purpose: a ValueError or the
  module's own class. What torch or Python raises by itself from an empty list helps nobody at the bench.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from harness.model.check.findings import BY_CHANCE, Finding, Note, Settings
from harness.model.check.shapes import agreement
from harness.model.check.subject import Subject
from harness.model.errors import ModelFault
from harness.verdict import Outcome, Verdict

_WINDOWS = 8
_BY_ACCIDENT = ("builtins", "torch")
"""Where the classes of errors live that nobody raised on purpose, ValueError excepted."""


def missing(subject: Subject, settings: Settings) -> Iterator[Finding]:
    """Verdicts for leaving out, quality 0 and nothing at all; a note where a module knows no modalities."""
    del settings
    if subject.one_tensor:
        yield Note("missing", "not applicable, forward takes one tensor and knows no modalities")
        return
    if len(subject.shapes) > 1 and not subject.complete:
        yield from _each(subject, "left out", "outputs that are not finite", _left_out)
    elif subject.complete and not subject.takes_quality:
        text = "a modality without a stream comes as zeros that look like a signal: forward has no parameter quality"
        yield Note("missing", text)
    if subject.takes_quality and subject.random:
        yield Verdict("missing", "each quality 0", Outcome.INCONCLUSIVE, BY_CHANCE)
    elif subject.takes_quality:
        yield from _each(subject, "quality 0", "largest difference from absence", _silenced)
    if subject.takes_quality:
        yield from _each(subject, "NaN at quality 0", "outputs that are not finite", _leaking)
    yield from _nothing(subject)


_Found = tuple[float, float, str]
"""Value, limit, and what is wrong if the value is above the limit."""


def _each(subject: Subject, how: str, measure: str, judge: Callable[[Subject, str], _Found]) -> Iterator[Verdict]:
    """A verdict for each modality that fails, or one for all of them."""
    worst, limit, failed = 0.0, 0.0, False
    for name in subject.shapes:
        try:
            value, limit, wrong = judge(subject, name)
        except ModelFault as fault:
            value, wrong = math.inf, f"with {name} {how}: {fault}"
        if value <= limit:
            worst = max(worst, value)
            continue
        failed = True
        known = value if math.isfinite(value) else None
        yield Verdict("missing", f"{name} {how}", Outcome.FAIL, wrong, measure, known, "", limit, _WINDOWS)
    if not failed:
        reason = f"{len(subject.shapes)} modalities in turn: as it should be"
        yield Verdict("missing", f"each {how}", Outcome.PASS, reason, measure, worst, "", limit, _WINDOWS)


def _broken(found: Tensor) -> int:
    return int((~torch.isfinite(found)).sum())


def _left_out(subject: Subject, name: str) -> _Found:
    inputs, quality = subject.examples(_WINDOWS)
    del inputs[name], quality[name]
    reason = f"without {name} the outputs are NaN or infinite; likely a mean or a softmax over what is there"
    return _broken(subject.infer(inputs, quality)), 0.0, reason


def _silenced(subject: Subject, name: str) -> _Found:
    """Does the content of a window of quality 0 matter?"""
    inputs, quality = subject.examples(_WINDOWS)
    quality[name] = torch.zeros(_WINDOWS)
    found = subject.infer(inputs, quality)
    if len(subject.shapes) > 1 and not subject.complete:
        rest = {key: x for key, x in inputs.items() if key != name}, {k: q for k, q in quality.items() if k != name}
        absent = subject.infer(*rest)
        told = "without it"
    else:
        absent = subject.infer({**inputs, name: torch.zeros_like(inputs[name])}, quality)
        told = "with zeros in its window"
    if _broken(found):
        return math.inf, 0.0, f"with {name} at quality 0 the outputs are NaN or infinite"
    value, limit = agreement(found, absent)
    if value <= limit:
        return value, limit, ""
    silent = subject.infer({**inputs, name: torch.zeros_like(inputs[name])}, quality)
    if agreement(found, silent)[0] > limit:
        likely = "what the window holds still counts. Multiply its attention or its features by 0"
    else:
        likely = (
            "what the window holds does not count, but its place is still taken. Share its weight out among the "
            "others: mask it before the softmax, or divide by the sum of the weights"
        )
    return value, limit, f"with {name} at quality 0 the outputs are not those {told}: {likely}"


def _leaking(subject: Subject, name: str) -> _Found:
    inputs, quality = subject.examples(_WINDOWS)
    inputs[name] = torch.full_like(inputs[name], torch.nan)
    quality[name] = torch.zeros(_WINDOWS)
    reason = (
        f"NaN in the window of {name} reaches the outputs although its quality is 0: NaN times 0 is NaN. Replace what "
        "is absent with torch.where(quality > 0, features, 0) before anything is multiplied or summed"
    )
    return _broken(subject.infer(inputs, quality)), 0.0, reason


def _nothing(subject: Subject) -> Iterator[Verdict]:
    """What comes out when no modality is there at all."""
    inputs, quality = subject.examples(_WINDOWS)
    if subject.takes_quality:
        silent = {name: torch.zeros_like(level) for name, level in quality.items()}
        yield _finite_or_clear("everything at quality 0", lambda: subject.infer(inputs, silent))
    if not subject.complete:
        yield _finite_or_clear("no input", lambda: subject.infer({}, {}))


def _finite_or_clear(place: str, call: Callable[[], Tensor]) -> Verdict:
    measure = "outputs that are not finite"
    try:
        bad = _broken(call())
    except ModelFault as fault:
        cause = fault.__cause__
        clear = isinstance(cause, ValueError) or type(cause).__module__.partition(".")[0] not in _BY_ACCIDENT
        if clear and cause is not None:
            return Verdict("missing", place, Outcome.PASS, f"refused on purpose: {fault}", n=_WINDOWS)
        reason = f"{fault}. Raise a ValueError that says what is needed, or return what is known without any input"
        return Verdict("missing", place, Outcome.FAIL, reason, n=_WINDOWS)
    if not bad:
        reason = "the outputs are finite"
        return Verdict("missing", place, Outcome.PASS, reason, measure, 0.0, "", 0.0, _WINDOWS)
    reason = (
        f"{bad} outputs are NaN or infinite when nothing is there; likely a softmax over nothing but -inf or a "
        "division by the sum of qualities. Give the fusion an empty slot to fall back on"
    )
    return Verdict("missing", place, Outcome.FAIL, reason, measure, float(bad), "", 0.0, _WINDOWS)
