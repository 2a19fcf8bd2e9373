"""Quality-awareness: what a low quality says is there must count as little as if it were absent.

One modality's windows are replaced by garbage (white noise at three times the spread of other windows) and its
quality goes from 1 to 0, while all others stay good. Two distances of outputs, medians over windows:

* influence at quality q: between the answers to the real window and to garbage, both at quality q. If quality counts,
  the content does not matter where it is low, so the influence falls with q.
* distance from absence at q: between the answer to garbage at quality q and the answer without that modality.

Influence is divided by what it is at quality 1, distance by the larger of both at quality 1. Judged:

* at quality 0.1 no more than a quarter is left (of influence, and of distance). A gate in proportion to quality leaves
  a tenth, a softmax over two modalities with log quality added leaves 0.18, the square root of quality 0.32;
* influence never rises by more than 5 % of what it is at quality 1 while the quality falls.

A module that takes modalities and no quality fails: a loose electrode then counts like a good one, and nobody behind
the model can undo it. Where that is wanted, leave the section out with --skip quality_aware. A modality that hardly
moves the outputs even at quality 1 cannot be judged, and is named in a note.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.model.check.findings import BY_CHANCE, Finding, Note, Settings, Table
from harness.model.check.shapes import agreement
from harness.model.check.subject import Subject
from harness.model.train import noise_like
from harness.verdict import Outcome, Verdict

WINDOWS = 32
QUALITIES = (1.0, 0.8, 0.6, 0.4, 0.2, 0.1, 0.0)
LOW = 0.1
LEFT = 0.25
"""Share of a modality's influence that may be left at quality LOW."""
RISE = 0.05
_FEEBLE = 10.0
"""An influence below so many times what rounding can make says nothing."""


@dataclass(frozen=True)
class Curve:
    """What a modality's content does at each of QUALITIES, relative to quality 1."""

    modality: str
    moved: float
    """Influence at quality 1, in units of the outputs."""
    influence: tuple[float, ...]
    distance: tuple[float, ...]

    @property
    def rise(self) -> float:
        """The largest rise of influence from one quality to the next lower one."""
        return max(after - before for before, after in zip(self.influence, self.influence[1:], strict=False))


def quality_aware(subject: Subject, settings: Settings) -> Iterator[Finding]:
    """Verdicts on influence, distance from absence and monotony; a table of influence by quality."""
    if subject.one_tensor:
        yield Note("quality_aware", "not applicable, forward takes one tensor and knows no modalities")
        return
    if not subject.takes_quality:
        reason = (
            "forward has no parameter 'quality', so a loose electrode counts like a good one: all of its influence is "
            "left at any quality. Add quality ({modality: (B,)} in 0..1) and let attention or features fall with it; "
            "docs/model-check.md has an example"
        )
        yield Verdict(
            "quality_aware", "model", Outcome.FAIL, reason, f"influence left at quality {LOW:g}", 1.0, "", LEFT, 0
        )
        return
    if subject.random:
        yield Verdict("quality_aware", "model", Outcome.INCONCLUSIVE, BY_CHANCE)
        return
    curves = []
    for name in subject.shapes:
        curve = _curve(subject, name, settings.seed)
        if curve is None:
            yield Note(
                "quality_aware", f"{name}: noise in its place hardly moves the outputs, so there is nothing to judge"
            )
        else:
            curves.append(curve)
    if not curves:
        reason = "no modality moves the outputs, so nothing can be said about their quality; see fusion and activations"
        yield Verdict("quality_aware", "model", Outcome.INCONCLUSIVE, reason)
        return
    headings = ("modality", "moves outputs by", *(f"q {q:g}" for q in QUALITIES))
    rows: list[tuple[str | float, ...]] = [(c.modality, *_digits(c.moved, *c.influence)) for c in curves]
    title = "influence of a modality's content by its quality, 1 at quality 1"
    yield Table("quality_aware", title, headings, tuple(rows))
    place = QUALITIES.index(LOW)
    influence, distance = [c.influence[place] for c in curves], [c.distance[place] for c in curves]
    yield from _judged(
        curves, "influence", f"influence left at quality {LOW:g}", LEFT, influence,
        "what its window holds still moves the outputs at a low quality; let its weight fall at least in proportion to "
        "quality, after the softmax or as log quality in it",
    )  # fmt: skip
    yield from _judged(
        curves, "distance", f"distance from absence at quality {LOW:g}", LEFT, distance,
        "at a low quality the outputs are not near those without it: low quality acts like something else than absence",
    )  # fmt: skip
    yield from _judged(
        curves, "monotony", "largest rise of influence", RISE, [curve.rise for curve in curves],
        "what its window holds moves the outputs more as its quality falls: the quality is used the wrong way round "
        "(weights divided by it, or high taken for bad)",
    )  # fmt: skip


def _judged(
    curves: list[Curve], what: str, measure: str, limit: float, values: list[float], wrong: str
) -> Iterator[Verdict]:
    """A verdict for each modality beyond the limit, or one for all of them."""
    failed = [(curve, value) for curve, value in zip(curves, values, strict=True) if not value <= limit]
    for curve, value in failed:
        reason = f"{curve.modality}: {wrong}"
        yield Verdict(
            "quality_aware", f"{curve.modality} {what}", Outcome.FAIL, reason, measure, value, "", limit, WINDOWS
        )
    if not failed:
        worst = max(range(len(values)), key=values.__getitem__)
        reason = f"low quality acts like absence in {len(curves)} modalities; {curves[worst].modality} is the worst"
        yield Verdict("quality_aware", f"each {what}", Outcome.PASS, reason, measure, values[worst], "", limit, WINDOWS)


def _curve(subject: Subject, name: str, seed: int) -> Curve | None:
    """The modality's curve, or None where even garbage at quality 1 hardly moves the outputs."""
    inputs, quality = subject.examples(WINDOWS)
    generator = torch.Generator().manual_seed(seed)
    garbage = {**inputs, name: noise_like(inputs[name], generator)}
    if subject.complete or len(inputs) == 1:
        absent = subject.infer(
            {**inputs, name: torch.zeros_like(inputs[name])}, {**quality, name: torch.zeros(WINDOWS)}
        )
    else:
        absent = subject.infer(
            {key: x for key, x in inputs.items() if key != name}, {k: q for k, q in quality.items() if k != name}
        )
    influence, distance, floor = [], [], 0.0
    for q in QUALITIES:
        level = {**quality, name: torch.full((WINDOWS,), q)}
        real, noise = subject.infer(inputs, level), subject.infer(garbage, level)
        influence.append(_apart(real, noise))
        distance.append(_apart(noise, absent))
        floor = max(floor, _FEEBLE * agreement(real, noise)[1])
    if not influence[0] >= floor:
        return None
    scale = max(influence[0], distance[0])  # garbage that the module takes for absence is no reason to divide by 0
    return Curve(name, influence[0], tuple(i / influence[0] for i in influence), tuple(d / scale for d in distance))


def _digits(*values: float) -> tuple[float, ...]:
    """Rounded to what a reader can use."""
    return tuple(round(value, 4) for value in values)


def _apart(found: Tensor, other: Tensor) -> float:
    """Median over windows of the Euclidean distance of two outputs (n, outputs)."""
    return float((found - other).double().norm(dim=1).median())
