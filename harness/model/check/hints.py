"""``hil model check``, hints: advice on learning rate, clipping, normalisation and the loss's scale. Nothing is red.

* Learning rate: a range test (Smith 2017, Cyclical learning rates for training neural networks, section 3.3). One step
  of Adam at each rate, ten rates to the decade; where the loss falls fastest is a good rate, and a tenth of that at
  which it explodes is the most to be dared: four times the best loss so far, or four tenths of what a constant answer
  costs where that is more, since a module that has learnt its task has a loss near 0.
* Clipping: how many steps of a short run have a gradient of more than ten times the median norm.
* Normalisation: what the first layer with weights sees of each input. Values far from 0 for their spread (|mean| above
  10 standard deviations), and columns or inputs whose sizes differ more than a hundredfold, make one learning rate
  serve badly for all. A network that normalises before its first layer has nothing to be told.
* Scale of the loss: of the first answers, against that of the best constant.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from drivers.clock import Clock, RealClock
from drivers.types import FloatArray
from harness.model.check.course import LONGEST_S, RATE, Course, learning, step, train, trainable, windows_of
from harness.model.check.findings import Finding, Note, Settings, Table
from harness.model.check.subject import Subject
from harness.model.check.task import WINDOWS, listed
from harness.model.check.watch import Watch, kept, mark, origin
from harness.verdict import Outcome, Verdict

SECTION = "hints"
_RATES = np.logspace(-6, 1, 71)
_SMOOTH = 5
_FEWEST_RATES = 15
"""Two a decade: below that a steepest fall has no place."""
_EXPLODES = 4.0
_FALLS = 0.05
"""Of the loss at the start: a fall that is worth following."""
_LEARNT = 0.1
"""Of a constant answer's loss: below it there is next to nothing left to learn."""
_STEPS = 40
_BIG, _MEDIANS = 0.02, 10.0
"""Clipping is advised if more than this share of steps has a norm above so many medians."""
_OFFSET, _APART = 10.0, 100.0
_LOSSES = 100.0
_WEIGHTED = (
    "linear", "conv", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "baddbmm", "einsum", "bilinear",
    "lstm", "gru", "rnn_tanh", "rnn_relu", "multi_head_attention_forward", "_transformer_encoder_layer_fwd",
)  # fmt: skip


@dataclass(frozen=True)
class Range:
    """A range test: the rates tried until the loss exploded, and the loss before each step, smoothed."""

    rates: FloatArray
    losses: FloatArray
    steepest: float | None
    """The rate at which the loss falls fastest, or None where it falls nowhere."""
    explodes: float | None
    """The first rate at which it does, or None."""
    learnt: bool = False
    """Whether next to nothing was left to learn at the start."""


@dataclass(frozen=True)
class Seen:
    """What the first layer with weights sees of an input."""

    layer: str
    inputs: tuple[str, ...]
    offset: float
    """Median over columns of |mean| / standard deviation, over windows and time."""
    size: float
    """Root mean square of all values."""
    apart: float
    """Largest over smallest root mean square of a column."""


def hints(subject: Subject, settings: Settings) -> Iterator[Finding]:
    """The section: learning rate, clipping and scale of the loss where something can be trained; normalisation."""
    seen = first_layers(subject)
    yield normalisation(seen)
    if seen:
        yield _table(seen)
    if not trainable(subject):
        yield Note(SECTION, "the module has no parameter that asks for a gradient: no advice on training")
        return
    yield learning_rate(range_test(subject), settings.rate)
    course = train(subject, _STEPS, min(settings.rate, RATE))
    yield clipping(course)
    yield loss_scale(course)


def _advice(place: str, reason: str, measure: str, value: float | None, n: int = 0) -> Verdict:
    shown = value if value is not None and math.isfinite(value) else None
    return Verdict(SECTION, place, Outcome.PASS, reason, measure, shown, "", None, n)


# --- learning rate ----------------------------------------------------------------------------


def range_test(subject: Subject, rates: FloatArray = _RATES, clock: Clock | None = None) -> Range:
    """One step of Adam at each rate, at fewer of them where a step takes long; the module is afterwards as it was."""
    clock = clock or RealClock()
    task = windows_of(subject)
    losses: list[float] = []
    with learning(subject, float(rates[0])) as optimiser:
        began_ns = clock.now_ns()
        while len(losses) < len(rates):
            for group in optimiser.param_groups:
                group["lr"] = float(rates[len(losses)])
            loss, _, broken = step(subject, task, optimiser)
            losses.append(math.nan if broken else loss)
            if broken:
                break
            if len(losses) == 1:
                rates = _affordable(rates, (clock.now_ns() - began_ns) / 1e9)
    return read_range(rates[: len(losses)], np.array(losses), float(task.constant.mean()))


def _affordable(rates: FloatArray, step_s: float) -> FloatArray:
    """As many of the rates, evenly, as there is time for when a step takes so long."""
    count = max(_FEWEST_RATES, int(LONGEST_S / max(step_s, 1e-9)))
    if count >= len(rates):
        return rates
    return np.asarray(rates[np.rint(np.linspace(0, len(rates) - 1, count)).astype(int)])


def read_range(rates: FloatArray, losses: FloatArray, constant: float) -> Range:
    """What a range test says. A loss is what the step before it left, so it speaks for the rate before."""
    finite = np.isfinite(losses)
    best = np.minimum.accumulate(np.where(finite, losses, np.inf))
    wild = np.flatnonzero(~finite | (losses > _EXPLODES * np.maximum(best, _LEARNT * constant)))
    learnt = bool(losses[0] < _LEARNT * constant)
    explodes = float(rates[max(0, wild[0] - 1)]) if len(wild) else None
    calm = losses[: wild[0]] if len(wild) else losses
    if len(calm) < _SMOOTH + 2:
        return Range(rates[: len(calm)], calm, None, explodes, learnt)
    weights = np.ones(_SMOOTH) / _SMOOTH
    smooth = np.convolve(calm, weights, mode="valid")
    middle = rates[_SMOOTH // 2 :][: len(smooth)]
    if learnt or smooth[0] - smooth.min() < _FALLS * smooth[0]:
        return Range(middle, smooth, None, explodes, learnt)
    return Range(middle, smooth, float(middle[int(np.argmin(np.diff(smooth)))]), explodes)


def learning_rate(found: Range, rate: float) -> Verdict:
    """What a range test says of the rate that was given."""
    n = len(found.losses)
    if n == 0:
        return _advice("learning rate", "the loss is not finite at any rate: see training", "learning rate", None)
    most = None if found.explodes is None else found.explodes / 10
    told = "explodes nowhere up to 10"
    if most is not None:
        told = f"explodes at {found.explodes:.1g}, so stay below {most:.1g}"
    if found.steepest is None:
        why = "it has next to nothing left to learn" if found.learnt else "see training"
        reason = f"the loss does not fall at any rate of the range test ({why}); it {told}"
        return _advice("learning rate", reason, "highest learning rate", most, n=n)
    good = found.steepest if most is None else min(found.steepest, most)
    if most is not None and rate > most:
        judged = f"{rate:g} is too high: try {good:.1g}"
    elif rate < good / 30:
        judged = f"{rate:g} is low: try {good:.1g}"
    else:
        judged = f"{rate:g} is in order"
    reason = f"{judged}; the loss falls fastest at {found.steepest:.1g} and {told} (Adam, range test)"
    return _advice("learning rate", reason, "learning rate", good, n=n)


# --- clipping, and the scale of the loss ------------------------------------------------------


def clipping(course: Course) -> Verdict:
    """Whether some steps would need their gradient clipped."""
    norms = course.norms[np.isfinite(course.norms)]
    if not len(norms) or float(np.median(norms)) == 0:
        return _advice("clipping", "there were no gradients to clip", "steps with a large gradient", None)
    median = float(np.median(norms))
    share = float((norms > _MEDIANS * median).mean())
    measure = "share of steps with a gradient above ten medians"
    if share <= _BIG and course.broken is None:
        reason = f"not needed: norms of {median:.3g} (median) to {norms.max():.3g} in {len(norms)} steps"
    else:
        reason = (
            f"{share:.0%} of {len(norms)} steps have a gradient above ten times the median norm of {median:.3g}: clip "
            f"the global norm, torch.nn.utils.clip_grad_norm_(parameters, {2 * median:.1g})"
        )
    return _advice("clipping", reason, measure, share, n=len(norms))


def loss_scale(course: Course) -> Verdict:
    """How far the first answers are from what is wanted."""
    ratio = float(course.losses[0]) / course.constant
    told = f"the first loss is {ratio:.2g} times that of a constant answer"
    if not math.isfinite(ratio):
        told += ": the outputs are not finite, see activations"
    elif ratio > _LOSSES:
        told += (
            ": the outputs are far larger than what is wanted of them; normalise inputs and targets, or scale the last "
            "layer's weights down, else the first steps only undo that"
        )
    else:
        told += ", a scale to begin from"
    return _advice("loss scale", told, "first loss over a constant's", ratio, n=len(course.gained))


# --- normalisation ----------------------------------------------------------------------------


def first_layers(subject: Subject, n: int = WINDOWS) -> list[Seen]:
    """What the first function with weights sees of each input; inputs that reach none are left out."""
    found: list[Seen] = []
    known: set[str] = set()

    def listen(where: str, what: str, given: list[Tensor], _: list[Tensor]) -> None:
        if not what.startswith(_WEIGHTED):
            return
        for x in given:
            names = origin(x)
            if isinstance(x, nn.Parameter) or not names or names <= known or x.dim() < 2:
                continue
            known.update(names)
            found.append(_seen(where, tuple(sorted(names)), x, 1 if what.startswith("conv") else x.dim() - 1))

    with kept(subject.module), torch.no_grad():
        inputs, quality = subject.examples(n if subject.batch is None else subject.batch)
        mark(inputs)
        with Watch(subject.module, on_function=listen):
            subject.call(inputs, quality)
    return found


def _seen(where: str, names: tuple[str, ...], x: Tensor, axis: int) -> Seen:
    columns = x.detach().double().movedim(axis, -1).reshape(-1, x.shape[axis])
    tiny = float(torch.finfo(torch.float32).tiny)
    mean, sd = columns.mean(dim=0).abs(), columns.std(dim=0, correction=0)
    size = columns.square().mean(dim=0).sqrt()
    told = size[size > 0]
    apart = float(told.max() / told.min()) if len(told) else 1.0
    offset = float((mean / sd.clamp_min(tiny))[mean > 0].median()) if bool((mean > 0).any()) else 0.0
    return Seen(where, names, offset, float(columns.square().mean().sqrt()), apart)


def normalisation(seen: list[Seen]) -> Verdict:
    """Whether the first layers see inputs of one size around 0."""
    far = [f"{_name(s)} ({s.layer} sees |mean| / sd {s.offset:.0f})" for s in seen if s.offset > _OFFSET]
    sizes: Mapping[str, float] = {_name(s): s.size for s in seen if s.size > 0}
    ratio = max(sizes.values(), default=1.0) / min(sizes.values(), default=1.0)
    mixed = [f"{s.layer} (columns {s.apart:.0f}-fold apart)" for s in seen if s.apart > _APART]
    said = []
    if far:
        said.append(f"far from 0 for its spread: {listed(far)}")
    if ratio > _APART:
        low, high = min(sizes, key=lambda k: sizes[k]), max(sizes, key=lambda k: sizes[k])
        said.append(f"{high} comes in {ratio:.0f} times as large as {low} ({sizes[high]:.2g} and {sizes[low]:.2g})")
    if mixed:
        said.append(f"columns of one layer differ in size: {listed(mixed)}")
    measure, n = "largest size of an input over the smallest", len(seen)
    if not said:
        return _advice("normalisation", f"in order at the first layers of {n} inputs", measure, ratio, n=n)
    reason = f"{'; '.join(said)}: subtract each input's mean and divide by its spread, or begin with a normalisation"
    return _advice("normalisation", reason, measure, ratio, n=n)


def _name(seen: Seen) -> str:
    return "+".join(seen.inputs)


def _table(seen: list[Seen]) -> Table:
    headings = ("input", "first layer", "size", "|mean| / sd", "columns apart")
    rows = tuple((_name(s), s.layer, s.size, s.offset, s.apart) for s in seen)
    return Table(SECTION, "What the first layers see", headings, rows)
