"""Memory: does a module keep something of every call, and if so, what holds it?

The module is called some hundred times on the same window as a session calls it, and then, where it can be trained, so
many times with a backward pass. After every stretch of calls the tensors that they left behind and Python knows of,
their bytes, all objects that the garbage collector tracks, and the process's resident memory are counted. These are
counts, not samples, but they are judged as a soak's memory is (harness/monitor/growth.py), so that a cache that fills
up once is no leak.

Tensors, their bytes and objects show a leak of one small thing a call. What the garbage collector does not track, such
as the numbers and texts of a log, shows in the blocks of memory that Python has given out. Resident memory shows what
none of them can, such as numpy arrays or memory of C++, but hides as much as an allocator takes at a time: it is judged
where that decides.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from torch import Tensor

from drivers.clock import Clock, RealClock
from drivers.types import FloatArray
from harness.model.check.findings import Finding, Note, Settings, Table
from harness.model.check.holders import described, held_by, live_tensors, referrers_of, size_of
from harness.model.check.subject import Subject
from harness.model.errors import ModelFault
from harness.monitor.growth import growth, shown
from harness.verdict import Outcome, Verdict

_STRETCHES = 24
_WARM = 20
_MOST, _FEWEST = 960, 72
"""Calls of one soak; between them, as many as take about _SOAK_S."""
_SOAK_S = 8.0
_HIDDEN_MB = 1.05
_LIMITS = {"tensors": 10.0, "MB of tensors": 0.1, "objects": 20.0, "Python blocks": 500.0, "resident MB": 10.0}
"""What may be added in 1,000 calls: less than one thing in fifty calls is chance, such as a log line that is kept. One
number that is kept of each call is a block, and every second call may leave one."""


@dataclass(frozen=True)
class Soak:
    """What the calls had left behind after each stretch."""

    calls: FloatArray
    """(k,) calls so far, in thousands."""
    columns: dict[str, FloatArray]
    """As _LIMITS -> (k,)."""
    added: str
    """The tensors that stayed, in words; empty if none did."""
    holders: tuple[str, ...]
    """Paths that hold more tensors than before, the largest first."""


def memory(subject: Subject, settings: Settings) -> Iterator[Finding]:
    """Verdicts on tensors, bytes, objects and resident memory, for inference and for training."""
    yield from _judged("inference", soak(subject, _inference(subject), RealClock()))
    trained = subject.fresh()
    if subject.kind in ("exported", "torchscript") or not any(p.requires_grad for p in trained.module.parameters()):
        yield Note("memory", "training: not tried, since the module has nothing that could be trained")
        return
    step = _training(trained)
    try:
        step()
    except (ModelFault, RuntimeError) as fault:
        yield Note("memory", f"training: not tried, since a backward pass is not possible ({fault}); see gradients")
        return
    yield from _judged("training", soak(trained, step, RealClock()))


def _inference(subject: Subject) -> Callable[[], object]:
    inputs, quality = subject.examples(1)

    def call() -> None:
        with torch.inference_mode():
            subject.call(inputs, quality)

    return call


def _training(subject: Subject) -> Callable[[], object]:
    inputs, quality = subject.examples(2)

    def step() -> None:
        loss = subject.call(inputs, quality).square().mean()
        torch.autograd.backward(loss)
        subject.module.zero_grad(set_to_none=True)

    return step


def soak(subject: Subject, call: Callable[[], object], clock: Clock) -> Soak:
    """Call again and again, and count what is alive after each stretch."""
    began_ns = clock.now_ns()
    for _ in range(_WARM):
        call()
    spent_s = (clock.now_ns() - began_ns) / 1e9 / _WARM
    each = max(_FEWEST, min(_MOST, round(_SOAK_S / max(spent_s, 1e-6)))) // _STRETCHES
    held, rows, new = _counted(subject, call, each)
    grown = held_by(subject.module) - held
    paths = tuple(f"{path} ({count} more)" for path, count in grown.most_common(4) if count >= _STRETCHES // 2)
    added = described(new) if len(new) >= _STRETCHES // 2 else ""
    if added and not paths:
        paths = (referrers_of(new[-1], [new]),)
    calls = each * np.arange(1, _STRETCHES + 1) / 1000.0
    return Soak(calls, dict(zip(_LIMITS, rows.T, strict=True)), added, paths)


def _counted(subject: Subject, call: Callable[[], object], each: int) -> tuple[Counter[str], FloatArray, list[Tensor]]:
    """Who held how many tensors before, a row for each stretch, and the tensors that were made since and stayed."""
    gc.collect()
    held = held_by(subject.module)
    gc.freeze()  # what is alive now is not looked at any more: only what the calls leave behind
    try:
        process, rows = psutil.Process(), np.zeros((_STRETCHES, len(_LIMITS)))  # made before, so as not to count
        blocks = sys.getallocatedblocks()
        for k in range(_STRETCHES):
            for _ in range(each):
                call()
            rows[k] = _row(process, blocks)
        return held, rows, live_tensors()
    finally:
        gc.unfreeze()


def _row(process: psutil.Process, blocks: int) -> tuple[float, ...]:
    """One value for each of _LIMITS, ``blocks`` being those of Python before; live_tensors() collects garbage first."""
    tensors = live_tensors()
    held = len(tensors), size_of(tensors) / 1e6, len(gc.get_objects())
    del tensors
    return (*held, sys.getallocatedblocks() - blocks, process.memory_info().rss / 1e6)


def _judged(how: str, found: Soak) -> Iterator[Finding]:
    rows = [(float(found.calls[k] * 1000), *(float(c[k]) for c in found.columns.values())) for k in _shown_rows()]
    yield Table("memory", f"left behind by calls of the module, {how}", ("calls", *found.columns), tuple(rows))
    for name, limit in _LIMITS.items():
        hidden = _HIDDEN_MB if name == "resident MB" else 0.0
        drift = growth(found.calls, found.columns[name], hidden)
        if drift is None:
            continue
        good = shown(drift, limit)
        if good is None and name == "resident MB":
            text = f"{drift.low:.3g} to {drift.high:.3g} MB in 1,000 calls, which {limit:g} MB cannot be told from"
            yield Note("memory", f"{how}: resident memory drifts by {text}; a soak says more (limit `memory` of a rig)")
            continue
        outcome = {True: Outcome.PASS, False: Outcome.FAIL, None: Outcome.INCONCLUSIVE}[good]
        yield Verdict(
            "memory", how, outcome, _reason(name, found, outcome), f"{name} in 1,000 calls", drift.value, "", limit,
            round(1000 * float(found.calls[-1])), drift.low, drift.high, drift.confidence,
        )  # fmt: skip


def _shown_rows() -> list[int]:
    return [0, *range(_STRETCHES // 4 - 1, _STRETCHES, _STRETCHES // 4)]


def _reason(name: str, found: Soak, outcome: Outcome) -> str:
    column, calls = found.columns[name], 1000 * float(found.calls[-1])
    text = f"{column[0]:.6g} at first, {column[-1]:.6g} after {calls:.0f} calls"
    if outcome is Outcome.PASS:
        return text
    if not found.added:
        return f"{text}: what is kept is no tensor; look for lists, caches and hooks that every call adds to"
    where = ", ".join(found.holders)
    return (
        f"{text}: {found.added} stayed alive, held by {where}; keep at most a fixed number (deque(maxlen=...)), and "
        "detach() what is kept, or its whole graph stays with it"
    )
