"""Determinism: the same windows give the same outputs, bit by bit, whatever came before and however random things fall.

The causes of a difference are kept apart, since they are mended in different places:

* chance: two copies of the module, never called, get the same windows while the generators of torch, numpy and Python
  have different seeds. Dropout that is active in eval mode shows here.
* inputs: the module leaves the tensors that it is given as they are. A session shares their memory.
* state: a copy that has seen other windows answers as one that has seen none, with equal seeds. A recurrent state, a
  running mean or a cache that is carried from window to window shows here. A session calls the model on windows that
  overlap, in an order that losses change; a replay calls it in batches.

The number of threads changes the order of sums, so 1 and 2 threads need agree only as far as float32 does
(harness.model.check.shapes.agreement).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from harness.model.check.findings import Finding, Settings
from harness.model.check.shapes import agreement
from harness.model.check.subject import Subject, Tensors
from harness.verdict import Outcome, Verdict

_WINDOWS = 8
_Pair = tuple[Tensors, Tensors]
_MATTERS = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase)
"""Layers that do something else in training."""


def determinism(subject: Subject, settings: Settings) -> Iterator[Finding]:
    """Verdicts for eval mode, inputs, chance, state and threads."""
    subject = replace(subject, stateful=False)  # every call of a copy is its own here, and the next one sees it
    these, others = _windows(subject)
    training = _still_training(subject)
    if subject.kind not in ("exported", "torchscript"):  # those were fixed when they were written
        yield _eval_mode(training)
    yield _inputs_kept(subject.fresh(), these)
    first = _answer(subject.fresh(), these, seed=1)
    yield _chance(first, _answer(subject.fresh(), these, seed=2), training)
    yield _state(first, _after(subject.fresh(), others, these, seed=1))
    yield _threads(subject, these, settings)


def with_conduct(subject: Subject) -> Subject:
    """The subject with what other sections need to know to judge fairly: whether chance or earlier calls matter."""
    these, others = _windows(subject)
    first = _answer(subject.fresh(), these, seed=1)
    chance = _difference(first, _answer(subject.fresh(), these, seed=2)) > 0
    state = _difference(first, _after(subject.fresh(), others, these, seed=1)) > 0
    return replace(subject, random=chance, stateful=state)


def _windows(subject: Subject) -> tuple[_Pair, _Pair]:
    """Some windows, and others."""
    inputs, quality = subject.examples(2 * _WINDOWS)
    these, others = slice(0, _WINDOWS), slice(_WINDOWS, None)
    return (_part(inputs, these), _part(quality, these)), (_part(inputs, others), _part(quality, others))


def _part(tensors: Tensors, rows: slice) -> dict[str, Tensor]:
    return {name: x[rows].clone() for name, x in tensors.items()}


def _answer(subject: Subject, windows: _Pair, seed: int) -> Tensor:
    with _seeded(seed):
        return subject.infer(_part(windows[0], slice(None)), _part(windows[1], slice(None)))


def _after(subject: Subject, before: _Pair, windows: _Pair, seed: int) -> Tensor:
    """The answer of a module that has seen other windows, one by one and all at once.

    The last batch is as long as the judged one: a state that is made anew when the batch changes shows only then.
    """
    for row in range(len(next(iter(before[0].values())))):
        _answer(subject, (_part(before[0], slice(row, row + 1)), _part(before[1], slice(row, row + 1))), seed=4)
    _answer(subject, before, seed=3)
    return _answer(subject, windows, seed)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Every generator that a module may draw from, and their states put back afterwards."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def _still_training(subject: Subject) -> list[str]:
    """Layers that are in training mode although the module is in eval mode, where it matters."""
    layers = subject.module.eval().named_modules()
    return [name or "the module" for name, layer in layers if layer.training and isinstance(layer, _MATTERS)]


def _eval_mode(training: list[str]) -> Verdict:
    measure = "layers in training mode"
    if not training:
        reason = "eval() reaches every dropout and every batch norm"
        return Verdict("determinism", "eval mode", Outcome.PASS, reason, measure, 0.0, "", 0.0, 1)
    reason = (
        f"eval() leaves {', '.join(training[:4])} in training mode: train() is overridden, or a layer is switched back "
        "when it is called. Such a layer drops units or uses the batch's statistics when the model runs"
    )
    return Verdict("determinism", "eval mode", Outcome.FAIL, reason, measure, float(len(training)), "", 0.0, 1)


def _inputs_kept(subject: Subject, windows: _Pair) -> Verdict:
    """Does the module write into what it is given?"""
    given = _part(windows[0], slice(None)), _part(windows[1], slice(None))
    with torch.no_grad():
        subject.call(*given)
    changed = [
        name
        for before, after in zip(windows, given, strict=True)
        for name, x in after.items()
        if not torch.equal(x, before[name])
    ]
    measure = "inputs that are changed"
    if not changed:
        reason = "no input is written to"
        return Verdict("determinism", "inputs", Outcome.PASS, reason, measure, 0.0, "", 0.0, _WINDOWS)
    reason = (
        f"forward writes into its inputs ({', '.join(changed)}): an operation in place, such as x -= x.mean() or "
        "x[...] = 0, works on the caller's memory, which other windows share. Use x = x - x.mean()"
    )
    return Verdict("determinism", "inputs", Outcome.FAIL, reason, measure, float(len(changed)), "", 0.0, _WINDOWS)


def _difference(found: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference; 0 only where every bit agrees, NaN being equal to NaN."""
    if found.shape != wanted.shape:
        return float("inf")
    same = (found == wanted) | (torch.isnan(found) & torch.isnan(wanted))
    return float((found - wanted).abs().nan_to_num(float("inf"))[~same].max()) if not bool(same.all()) else 0.0


def _chance(first: Tensor, second: Tensor, training: list[str]) -> Verdict:
    value, measure = _difference(first, second), "largest difference between equal calls"
    if value == 0:
        reason = "equal windows give equal bits, whatever the random generators hold"
        return Verdict("determinism", "chance", Outcome.PASS, reason, measure, 0.0, "", 0.0, len(first))
    likely = (
        f"{', '.join(training[:4])} in training mode"
        if training
        else "dropout that is called as a function without training=self.training, or noise that is added on purpose"
    )
    reason = f"equal windows give different outputs: they depend on chance in eval mode. Likely {likely}"
    return Verdict("determinism", "chance", Outcome.FAIL, reason, measure, value, "", 0.0, len(first))


def _state(first: Tensor, later: Tensor) -> Verdict:
    value, measure = _difference(first, later), "largest difference after other windows"
    if value == 0:
        reason = "other windows in between change nothing"
        return Verdict("determinism", "state", Outcome.PASS, reason, measure, 0.0, "", 0.0, len(first))
    reason = (
        "a window is answered otherwise after other windows than before them: the module keeps a state from call to "
        "call. Likely a recurrent state, a running mean or a cache in an attribute. Windows overlap, may be lost and "
        "may come in batches, so the state does not mean what it did in training; reset it in forward"
    )
    return Verdict("determinism", "state", Outcome.FAIL, reason, measure, value, "", 0.0, len(first))


def _threads(subject: Subject, windows: _Pair, settings: Settings) -> Verdict:
    answers = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            answers.append(_answer(subject.fresh(), windows, seed=1))
    finally:
        torch.set_num_threads(settings.threads)
    value, limit = agreement(answers[1], answers[0])
    if _difference(answers[1], answers[0]) == 0:  # NaN in the same places too, which other sections blame
        value = 0.0
    measure = "largest difference between 1 and 2 threads"
    if value <= limit:
        reason = "1 and 2 threads agree to float32's precision"
        return Verdict("determinism", "threads", Outcome.PASS, reason, measure, value, "", limit, _WINDOWS)
    reason = (
        "1 and 2 threads give different outputs: sums of very different or very large terms cancel. Normalise the "
        "inputs, or compute that part in float64; if chance or state failed as well, mend those first"
    )
    return Verdict("determinism", "threads", Outcome.FAIL, reason, measure, value, "", limit, _WINDOWS)
