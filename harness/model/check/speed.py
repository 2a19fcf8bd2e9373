"""Speed: the module as it is, compiled and dynamically quantised, side by side; and where its time goes.

The variants take turns, one call each in every round and another order in each, so that whatever else the machine
does hits all alike; calls one after the other by variant would compare hours of the day. One window per call, as a
session calls. The p99 has a distribution-free interval (harness.statistics.quantile_bounds): its upper end exists from
299 calls on, which is how many there are unless that takes longer than two minutes.

Judged: the p99 of the variant that the rig runs (eager unless its engine says compile) against the latency budget, and
whether compiling changes the answers. Quantised answers differ by design: the table says by how much.
"""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from drivers.clock import Clock, RealClock
from drivers.types import FloatArray
from harness.model.check.findings import Finding, Note, Settings, Table
from harness.model.check.shapes import agreement
from harness.model.check.subject import Subject, tried
from harness.model.errors import ModelFault
from harness.statistics import needed_for_quantile, quantile_bounds
from harness.verdict import Outcome, Verdict

_WARM = 10
_LONGEST_S = 120.0
_TOP = 10
_SILENT = "6"
"""torch's profiler writes its own doings to stderr below this level."""
_COMPILERS = ("g++", "clang++", "c++")

Call = Callable[[], Tensor]


@dataclass(frozen=True)
class Timed:
    """How long one variant takes."""

    first_ms: float
    """The first call, which compiles and allocates."""
    spent_ms: FloatArray
    """(n,) of the calls after the warm-up."""


def speed(subject: Subject, settings: Settings) -> Iterator[Finding]:
    """Verdicts on p99 and on equal answers, tables of variants and of operations, and a trace file if asked for."""
    calls: dict[str, Call] = {"eager": _caller(subject)}
    refused: list[Finding] = []
    for name, make in (("compile", compiled), ("quantised", quantised)):
        if name == "compile" and not settings.compiled:
            continue
        made = make(subject.fresh(), settings)
        if isinstance(made, Subject):
            calls[name] = _caller(made)
        else:
            refused.append(made)
    timed, answers, faults = race(calls, RealClock())
    for name, fault in faults.items():
        refused.append(_unusable(name, fault, settings))
    yield from refused
    yield _table(timed, answers)
    judged = settings.engine if settings.engine in timed else "eager"
    if judged != settings.engine:
        yield Note(
            "speed", f"the rig runs engine {settings.engine}, which is not measured here; eager is judged instead"
        )
    yield judge_latency(judged, timed[judged], settings.budget_ms)
    if "compile" in answers:
        yield _same("compile", answers["compile"], answers["eager"])
    yield from _profiled(subject, settings)


def _caller(subject: Subject) -> Call:
    """Nothing but the module's own call, on windows of its own."""
    args, keywords = subject.arguments(*subject.examples(1))

    def call() -> Tensor:
        with torch.inference_mode():
            found = tried(lambda: subject.module(*args, **keywords))
        if not isinstance(found, Tensor):
            raise ModelFault(f"returned {type(found).__name__}; expected one tensor (B, outputs)")
        return found

    return call


# --- variants ---------------------------------------------------------------------------------


def compiled(subject: Subject, settings: Settings) -> Subject | Finding:
    """The subject through torch.compile, which works at its first call; or why it cannot be had."""
    if subject.kind == "torchscript":
        return Note("speed", "compile: not applicable, TorchScript cannot go through torch.compile")
    compiler = os.environ.get("CXX") or next((name for name in _COMPILERS if shutil.which(name)), None)
    if compiler is None or shutil.which(compiler) is None:
        reason = (
            f"torch.compile needs a C++ compiler, and there is no {compiler or ', '.join(_COMPILERS)} here: "
            "apt-get install g++, or leave it out with --no-compile"
        )
        return Verdict("speed", "compile", Outcome.NOT_RUN, reason)
    with _quiet():
        torch._dynamo.reset()
        subject.module.compile()
    return subject


def quantised(subject: Subject, settings: Settings) -> Subject | Finding:
    """The subject with its linear layers in 8 bits, scaled by each call's largest input; or why it cannot be had."""
    del settings
    if not any(isinstance(layer, nn.Linear) for layer in subject.module.modules()):
        return Note("speed", "quantised: not applicable, the module has no linear layer that could be replaced")
    quantise: Callable[..., nn.Module] = torch.ao.quantization.quantize_dynamic
    try:
        with _quiet():
            module = tried(lambda: quantise(subject.module, {nn.Linear}, dtype=torch.qint8))
    except ModelFault as fault:  # a build of torch without an 8-bit engine is one reason
        return Note("speed", f"quantised: torch {fault}")
    assert isinstance(module, nn.Module)
    return replace(subject, module=module)


def _unusable(name: str, fault: ModelFault, settings: Settings) -> Finding:
    """What is said of a variant that cannot be called: nobody depends on it unless the rig runs it."""
    text = str(fault).splitlines()[0]
    if name == "quantised":
        return Note("speed", f"quantised: cannot be called: {text}")
    outcome = Outcome.FAIL if settings.engine == "compile" else Outcome.NOT_RUN
    reason = f"torch.compile cannot run it ({text}); use engine eager, and leave compiling out with --no-compile"
    return Verdict("speed", name, outcome, reason)


@contextmanager
def _quiet() -> Iterator[None]:
    """torch's deprecations and remarks about its own doings."""
    loggers = [logging.getLogger(name) for name in ("torch._dynamo", "torch._inductor", "torch.ao")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


# --- timing -----------------------------------------------------------------------------------


def race(
    calls: Mapping[str, Call], clock: Clock, rounds: int = needed_for_quantile(0.99) + 1, longest_s: float = _LONGEST_S
) -> tuple[dict[str, Timed], dict[str, Tensor], dict[str, ModelFault]]:
    """Times of each variant in interleaved rounds, its answer, and the fault of each that cannot be called.

    Ends early once ``longest_s`` have passed. A fault of ``eager`` is raised.
    """
    first: dict[str, float] = {}
    answers: dict[str, Tensor] = {}
    faults: dict[str, ModelFault] = {}
    with _quiet():
        for name, call in calls.items():
            try:
                first[name], answer = _timed(call, clock)
                answers[name] = answer.clone()
                for _ in range(_WARM):
                    call()
            except ModelFault as fault:
                if name == "eager":
                    raise
                faults[name] = fault
                answers.pop(name, None)
        spent: dict[str, list[float]] = {name: [] for name in answers}
        began_ns = clock.now_ns()
        for number in range(rounds):
            for name in _turns(list(spent), number):
                spent[name].append(_timed(calls[name], clock)[0])
            if clock.now_ns() - began_ns > longest_s * 1e9:
                break
    return {name: Timed(first[name], np.asarray(times)) for name, times in spent.items()}, answers, faults


def _turns(names: list[str], number: int) -> list[str]:
    """Another one begins in each round, and every second round goes the other way about."""
    start = number % len(names)
    turned = names[start:] + names[:start]
    return turned if number // len(names) % 2 == 0 else turned[::-1]


def _timed(call: Call, clock: Clock) -> tuple[float, Tensor]:
    began_ns = clock.now_ns()
    found = call()
    return (clock.now_ns() - began_ns) / 1e6, found


def judge_latency(name: str, timed: Timed, budget_ms: float) -> Verdict:
    """The p99 of a variant against the budget, by its interval."""
    bounds = quantile_bounds(timed.spent_ms, 0.99)
    needed = needed_for_quantile(0.99)

    def verdict(outcome: Outcome, reason: str) -> Verdict:
        return Verdict(
            "speed", name, outcome, reason, "p99 of one window", bounds.value, "ms", budget_ms, bounds.n, bounds.low,
            bounds.high, bounds.confidence,
        )  # fmt: skip

    median = float(np.median(timed.spent_ms))
    if bounds.high is not None and bounds.high <= budget_ms:
        return verdict(Outcome.PASS, f"p50 {median:.2f} ms, slowest {timed.spent_ms.max():.1f} ms")
    over = bounds.low is not None and bounds.low > budget_ms
    if over or median > budget_ms:
        reason = (
            f"one window takes {median:.0f} ms at p50, and the way from sensor to verdict has {budget_ms:g} ms; the "
            "table of operations says where it goes: fewer or shorter windows, a smaller model, engine compile or onnx"
        )
        return verdict(Outcome.FAIL, reason)
    if bounds.high is None:
        reason = f"{bounds.n} calls bound no p99, {needed} are needed and would have taken too long"
        return verdict(Outcome.INCONCLUSIVE, reason)
    reason = (
        f"p50 is {median:.2f} ms and the slowest call {timed.spent_ms.max():.0f} ms: either the machine was busy with "
        "something else or the model stalls now and then; run again on a quiet machine"
    )
    return verdict(Outcome.INCONCLUSIVE, reason)


def _table(timed: Mapping[str, Timed], answers: Mapping[str, Tensor]) -> Table:
    rows = []
    for name, found in timed.items():
        p50, p99 = (float(np.quantile(found.spent_ms, q)) for q in (0.5, 0.99))
        apart = float((answers[name] - answers["eager"]).abs().max())
        rows.append((name, p50, p99, float(found.spent_ms.max()), found.first_ms, apart, len(found.spent_ms)))
    headings = ("variant", "p50 ms", "p99 ms", "max ms", "first call ms", "largest difference", "calls")
    return Table("speed", "one window, variants in turn", headings, tuple(rows))


def _same(name: str, found: Tensor, eager: Tensor) -> Verdict:
    measure = "largest difference from eager"
    value, limit = agreement(found, eager)
    limit *= 10  # other kernels and fused sums in another order
    if value <= limit:
        reason = "compiled and eager answers agree to float32's precision"
        return Verdict("speed", f"{name} answers", Outcome.PASS, reason, measure, value, "", limit, 1)
    reason = (
        "the compiled module gives other answers than the eager one; likely Python code in forward that depends on "
        "values, or a state that only one of them keeps"
    )
    return Verdict("speed", f"{name} answers", Outcome.FAIL, reason, measure, value, "", limit, 1)


# --- where the time goes ----------------------------------------------------------------------


def _profiled(subject: Subject, settings: Settings) -> Iterator[Finding]:
    from torch.profiler import ProfilerActivity, profile, record_function

    os.environ.setdefault("KINETO_LOG_LEVEL", _SILENT)
    call = _caller(subject)
    with _quiet(), profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        for _ in range(_WARM):
            with record_function("model_inference"):
                call()
    if settings.trace is not None:
        profiler.export_chrome_trace(str(settings.trace))
        yield Note("speed", f"trace of {_WARM} windows in {settings.trace}: open it at https://ui.perfetto.dev")
    averages = [item for item in profiler.key_averages() if item.key != "model_inference"]
    total = sum(item.self_cpu_time_total for item in averages)
    averages.sort(key=lambda item: item.self_cpu_time_total, reverse=True)
    rows = tuple(
        (item.key, item.self_cpu_time_total / 1e3 / _WARM, 100 * item.self_cpu_time_total / max(total, 1e-9),
         item.count / _WARM)
        for item in averages[:_TOP]
    )  # fmt: skip
    headings = ("operation", "self CPU ms per window", "%", "calls per window")
    yield Table("speed", "operations by self CPU time, under the profiler", headings, rows)
