"""A short training run of a module on simulated windows, and what was measured on the way.

All windows are used in every step. There is no batch noise then: what the loss does from one step to the next is what
the steps do to it, dropout apart, whose share is measured. It is a test of whether a module *can* learn, by
understanding or by heart, and says nothing about how well it would do on other people.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from torch import Tensor

from drivers.clock import Clock, RealClock
from drivers.types import FloatArray
from harness.model.check.layers import survey
from harness.model.check.subject import Subject, Tensors
from harness.model.check.task import as_rows, listed, target
from harness.model.check.watch import kept, set_training

WINDOWS = 64
"""Of 16 people in four states each."""
STEPS = 150
RATE = 1e-3
"""Adam's usual rate (Kingma and Ba 2015, algorithm 1)."""
LONGEST_S = 60.0
"""A slow module is trained for fewer steps."""
_REPEATS = 5


@dataclass(frozen=True)
class Broken:
    """Where training ended because a number was not finite."""

    step: int
    """From 1."""
    where: str
    """What was not finite: a sentence's end."""


@dataclass(frozen=True)
class Course:
    """One run. Losses are mean square errors of arousal and valence, summed."""

    steps: int
    """That were asked for."""
    rate: float
    losses: FloatArray
    """(steps,) in training mode, before each step; the last may be NaN or Inf."""
    norms: FloatArray
    """(steps,) of the gradient over all parameters."""
    noise: float
    """Standard deviation of the loss between two calls at the same weights: dropout."""
    constant: float
    """Loss of the best constant answer."""
    gained: FloatArray
    """(windows,) how much less than the best constant each window's error is in the end, in eval mode."""
    spread: tuple[float, float]
    """Largest standard deviation of a judged output between windows, in eval mode, before and after."""
    broken: Broken | None
    seconds: float
    bytes_more: int
    """How much more memory the process held at most than before."""


@dataclass(frozen=True)
class Task:
    """Windows, and what the judged columns of the output should be for them."""

    inputs: Tensors
    quality: Tensors
    columns: list[int]
    wanted: Tensor

    @property
    def constant(self) -> Tensor:
        """(windows,) squared error of the best constant answer."""
        return (self.wanted - self.wanted.mean(dim=0)).square().sum(dim=1)

    def errors(self, subject: Subject) -> Tensor:
        """(windows,) squared error of each window."""
        rows = as_rows(subject.call(self.inputs, self.quality))
        return (rows[:, self.columns] - self.wanted).square().sum(dim=1)


def windows_of(subject: Subject, n: int = WINDOWS) -> Task:
    """The windows and what their outputs should be. ModelFault where the module cannot be called."""
    inputs, quality = subject.examples(n)
    width = as_rows(subject.infer(*subject.examples(1 if subject.batch is None else subject.batch))).shape[1]
    columns, wanted = target(subject, width, n)
    return Task(inputs, quality, columns, wanted)


def trainable(subject: Subject) -> bool:
    """Whether there is anything that could learn."""
    return any(p.requires_grad for p in subject.module.parameters())


@contextmanager
def learning(subject: Subject, rate: float) -> Iterator[torch.optim.Optimizer]:
    """Training mode with an optimiser of its own; afterwards the module is as it was."""
    with kept(subject.module), torch.enable_grad():
        set_training(subject.module, True)
        yield torch.optim.Adam([p for p in subject.module.parameters() if p.requires_grad], rate)


def train(
    subject: Subject, steps: int = STEPS, rate: float = RATE, n: int = WINDOWS, clock: Clock | None = None
) -> Course:
    """Adam at a constant rate, no clipping, no decay. The module is afterwards as it was."""
    clock = clock or RealClock()
    task = windows_of(subject, n)
    process = psutil.Process()
    before, most = process.memory_info().rss, 0
    losses: list[float] = []
    norms: list[float] = []
    broken: Broken | None = None
    began_ns = clock.now_ns()
    with learning(subject, rate) as optimiser:
        _, spread_before = _result(subject, task)
        set_training(subject.module, True)
        while len(losses) < steps and broken is None:
            loss, norm, said = step(subject, task, optimiser)
            losses.append(loss)
            norms.append(norm)
            most = max(most, process.memory_info().rss)
            broken = Broken(len(losses), said) if said else None
            if clock.now_ns() - began_ns > LONGEST_S * 1e9:
                break
        seconds = (clock.now_ns() - began_ns) / 1e9
        noise = 0.0 if broken else _noise(subject, task)
        errors, spread_after = _result(subject, task)
    gained = (task.constant - errors).double().numpy()
    spread = spread_before, spread_after
    return Course(
        steps, rate, np.array(losses), np.array(norms), noise, float(task.constant.mean()), gained, spread, broken,
        seconds, max(0, most - before),
    )  # fmt: skip


def step(subject: Subject, task: Task, optimiser: torch.optim.Optimizer) -> tuple[float, float, str]:
    """One step: (loss before it, norm of the gradient, what was not finite or nothing)."""
    optimiser.zero_grad(set_to_none=True)
    loss = task.errors(subject).mean()
    value = float(loss.detach())
    if not math.isfinite(value):
        return value, math.nan, _where(subject, task)
    if not loss.requires_grad:
        return value, 0.0, ""
    loss.backward()  # type: ignore[no-untyped-call]
    held = [(name, p.grad) for name, p in subject.module.named_parameters() if p.grad is not None]
    norm = math.sqrt(sum(float(grad.double().square().sum()) for _, grad in held))
    optimiser.step()
    if math.isfinite(norm):
        return value, norm, ""
    bad = [name for name, grad in held if not bool(torch.isfinite(grad).all())]
    return value, norm, f"the gradient of {listed(bad)}, while the loss was still {value:.3g}"


def _where(subject: Subject, task: Task) -> str:
    """What of a module whose loss is not finite was the first to be so."""
    poisoned = [name for name, p in subject.module.named_parameters() if not bool(torch.isfinite(p).all())]
    if poisoned:
        return f"the loss, as there was NaN or Inf in {listed(poisoned)} already"
    found = survey(subject, [(True, task.inputs, task.quality)])
    return f"the loss; it began with {found.began}" if found.began else "the loss, though every layer was finite"


def _noise(subject: Subject, task: Task) -> float:
    with torch.no_grad():
        again = [float(task.errors(subject).mean()) for _ in range(_REPEATS)]
    return float(np.std(again, ddof=1))


def _result(subject: Subject, task: Task) -> tuple[Tensor, float]:
    set_training(subject.module, False)
    with torch.no_grad():
        rows = as_rows(subject.call(task.inputs, task.quality))[:, task.columns]
    return (rows - task.wanted).square().sum(dim=1), float(rows.std(dim=0).max())
