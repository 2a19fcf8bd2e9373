"""``hil model check``, gradients: whether every parameter and every input gets one that something can be learnt from.

Two losses of realistic windows are propagated back: the sum of a window's outputs (mean over the windows, so that the
norm does not grow with their number) and a task, the mean square error against the arousal and valence of the simulated
people. A network that has learnt its task has no gradient left there, and a softmax has none in its sum, so a norm
counts as vanished only where it is below the limit under both losses; as exploded where it is above under either.

Norms are taken in training mode, where gradients matter. "Without gradient" and "not finite" are what training mode
and eval mode agree on, and what either has, respectively.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import Node

from harness.model.check.findings import Finding, Note, Settings, Table
from harness.model.check.subject import Subject
from harness.model.check.task import WINDOWS, listed, loss_of
from harness.model.check.watch import Watch, kept, set_training
from harness.verdict import Outcome, Verdict

SECTION = "gradients"
STEEPEST = 1e-6
"""The root mean square of the gradient may fall, or rise, by this factor between the layers near the output and those
near the input. Adam scales each parameter's steps by its own gradient and bears much; a millionfold is beyond float32's
24 bits for anything that adds the two up, such as the global norm that clipping uses."""
_MIN_LAYERS = 6
"""Weight matrices from which a trend by depth is looked for: two in each third."""


@dataclass(frozen=True, slots=True)
class Gradient:
    """One parameter's gradient under one loss."""

    norm: float
    mean: float
    sd: float
    finite: bool


@dataclass(frozen=True)
class Pass:
    """One loss propagated back."""

    parameters: Mapping[str, Gradient | None]
    """None: no gradient at all."""
    inputs: Mapping[str, float | None]
    """Norm of the gradient by input, in units of the input's own standard deviation."""
    distance: Mapping[str, int]
    """Operations between the loss and a parameter, along the shortest way."""
    finite: bool
    """Whether the loss was."""


@dataclass(frozen=True)
class Gradients:
    """What ``measure`` found: passes by (mode, loss), and the modules that ran."""

    passes: Mapping[tuple[str, str], Pass]
    ran: frozenset[str]
    frozen: tuple[str, ...]
    """Parameters that ask for no gradient."""

    def of(self, name: str, mode: str | None = None) -> list[Gradient]:
        """A parameter's gradients in one mode or in all, where it has any."""
        found = (p.parameters.get(name) for (m, _), p in self.passes.items() if mode in (None, m))
        return [gradient for gradient in found if gradient is not None]

    def norm(self, name: str) -> float | None:
        """The larger norm of the two losses, in training mode."""
        return max((gradient.norm for gradient in self.of(name, "training")), default=None)


def gradients(subject: Subject, settings: Settings) -> Iterator[Finding]:
    """The section: reach, finite, vanishing, exploding, depth and inputs; norms by parameter in a table."""
    names = [name for name, p in subject.module.named_parameters() if p.requires_grad]
    if not names:
        yield Note(SECTION, "the module has no parameter that asks for a gradient, so there is nothing to propagate")
        return
    found = measure(subject)
    if found.frozen:
        yield Note(SECTION, f"frozen, and left out: {listed(found.frozen)}")
    yield from _reach(subject, found, names)
    yield _finite(subject, found, names)
    yield _vanishing(found, names, settings.vanishing)
    yield _exploding(found, names, settings.exploding)
    yield from _depth(subject, found, names)
    yield _heard(subject, found, settings.vanishing)
    yield _table(found, names)


# --- measuring --------------------------------------------------------------------------------


def measure(subject: Subject, n: int = WINDOWS) -> Gradients:
    """Both losses in both modes; the module is afterwards as it was. ModelFault where it raises in eval mode."""
    n = n if subject.batch is None else subject.batch
    ran: set[str] = set()
    passes: dict[tuple[str, str], Pass] = {}
    with kept(subject.module):
        for mode in ("training", "eval"):
            set_training(subject.module, mode == "training")
            for loss in ("sum", "task"):
                with Watch(subject.module, on_module=lambda where, *_: ran.add(where.partition("#")[0])):
                    passes[mode, loss] = _propagate(subject, n, loss)
    frozen = tuple(name for name, p in subject.module.named_parameters() if not p.requires_grad)
    return Gradients(passes, frozenset(ran), frozen)


def _propagate(subject: Subject, n: int, kind: str) -> Pass:
    subject.module.zero_grad(set_to_none=True)
    inputs, quality = subject.examples(n)
    leaves = {name: x.requires_grad_() for name, x in inputs.items()}
    loss = loss_of(subject, subject.call(leaves, quality), kind)
    names = {id(p): name for name, p in subject.module.named_parameters()}
    distance: Mapping[str, int] = {}
    if loss.requires_grad:
        distance = _distances(loss, names)
        _backward(loss)
    parameters = {name: _gradient(p.grad) for name, p in subject.module.named_parameters() if p.requires_grad}
    return Pass(parameters, {m: _scaled(x) for m, x in leaves.items()}, distance, bool(torch.isfinite(loss)))


def _backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def _gradient(grad: Tensor | None) -> Gradient | None:
    if grad is None:
        return None
    flat = grad.detach().to_dense().double().flatten()
    return Gradient(
        float(flat.norm()), float(flat.mean()), float(flat.std(correction=0)), bool(torch.isfinite(flat).all())
    )


def _scaled(x: Tensor) -> float | None:
    """As if the input had been standardised: what is in microvolts and what is in volts compare."""
    if x.grad is None:
        return None
    spread = float(x.detach().double().std(correction=0))
    return float(x.grad.double().norm()) * (spread or 1.0)


def _distances(loss: Tensor, names: Mapping[int, str]) -> dict[str, int]:
    reached: dict[str, int] = {}
    for steps, level in enumerate(_levels(loss)):
        for node in level:
            name = names.get(id(getattr(node, "variable", None)))
            if name is not None:
                reached[name] = steps
    return reached


def _levels(loss: Tensor) -> Iterator[list[Node]]:
    """The graph that autograd recorded, breadth first: nodes that are one, two, ... steps from the loss."""
    level = [] if loss.grad_fn is None else [loss.grad_fn]
    seen = set(level)
    while level:
        yield level
        behind = [child for node in level for child, _ in node.next_functions]
        level = [child for child in dict.fromkeys(behind) if child is not None and child not in seen]
        seen.update(level)


# --- judging ----------------------------------------------------------------------------------


def _verdict(subject: str, outcome: Outcome, reason: str, measure: str, value: float, **rest: float | None) -> Verdict:
    n, limit = rest.get("n"), rest.get("limit")
    shown = value if math.isfinite(value) else None
    return Verdict(SECTION, subject, outcome, reason, measure, shown, "", limit, int(n or 0))


def _reach(subject: Subject, found: Gradients, names: Sequence[str]) -> Iterator[Finding]:
    missing = [name for name in names if not found.of(name)]
    unwired = [name for name in missing if _of_unwired(subject, name)]
    lost = [name for name in missing if name not in unwired]
    if unwired:
        wired = ", ".join(subject.shapes)
        yield Note(
            SECTION, f"not judged, since they belong to inputs that are not given ({wired} are): {listed(unwired)}"
        )
    idle = [name for name in lost if not _ran(found, name)]
    cut = [name for name in lost if name not in idle]
    n = len(names) - len(unwired)
    if not lost:
        reason = f"a gradient reaches each of {n} parameters"
        yield _verdict("reach", Outcome.PASS, reason, "parameters without gradient", 0.0, n=n, limit=0.0)
        return
    said = []
    if cut:
        said.append(
            f"no gradient reaches {listed(cut)}, though their modules run: look for detach(), no_grad(), .data, "
            ".item(), numpy, argmax or rounding between them and the output, or for a result that is not used"
        )
    if idle:
        said.append(
            f"no gradient reaches {listed(idle)}: their modules never run; call them in forward, or remove them"
        )
    reason = "; ".join(said)
    yield _verdict("reach", Outcome.FAIL, reason, "parameters without gradient", float(len(lost)), n=n, limit=0.0)


def _of_unwired(subject: Subject, name: str) -> bool:
    """Whether a part of the name is a modality that the module declares and the examples do not hold."""
    declared = getattr(subject.module, "inputs", {})
    known = set(declared) if isinstance(declared, Mapping) else set()
    return bool(set(name.split(".")) & (known - set(subject.shapes)))


def _ran(found: Gradients, name: str) -> bool:
    layer = name.rpartition(".")[0] or "model"
    return layer in found.ran or not found.ran  # TorchScript does not say what runs


def _finite(subject: Subject, found: Gradients, names: Sequence[str]) -> Verdict:
    names = [name for name in names if found.of(name)]
    bad = [name for name in names if not all(gradient.finite for gradient in found.of(name))]
    measure, n = "parameters with NaN or Inf gradient", len(names)
    if not bad:
        reason = f"gradients of all {n} parameters are finite"
        return _verdict("finite", Outcome.PASS, reason, measure, 0.0, n=n, limit=0.0)
    if not all(p.finite for p in found.passes.values()):
        why = "the outputs themselves are not finite: see the section activations for the first layer"
    else:
        why = (
            f"the outputs are finite, so it arises on the way back{_culprit(subject)}: sqrt, norm or pow at 0, "
            "log of 0 and a division under torch.where are the usual places; add an epsilon inside the function"
        )
    distance = {name: steps for p in found.passes.values() for name, steps in p.distance.items()}
    near = min(bad, key=lambda name: distance.get(name, 0))
    reason = f"gradient is NaN or Inf in {listed(bad)}; nearest to the loss is {near}; {why}"
    return _verdict("finite", Outcome.FAIL, reason, measure, float(len(bad)), n=n, limit=0.0)


def _culprit(subject: Subject) -> str:
    """The function whose derivative first made something not finite out of what was, by its name in the graph."""
    n = WINDOWS if subject.batch is None else subject.batch
    first: list[str] = []

    def watching(node: Node) -> Callable[[tuple[Tensor | None, ...], tuple[Tensor | None, ...]], None]:
        def hook(back: tuple[Tensor | None, ...], came: tuple[Tensor | None, ...]) -> None:
            if _all_finite(came) and not _all_finite(back):
                first.append(re.sub(r"Backward\d*$", "", node.name()))

        return hook

    with kept(subject.module):
        for training, kind in ((True, "sum"), (True, "task"), (False, "sum"), (False, "task")):
            set_training(subject.module, training)
            inputs, quality = subject.examples(n)
            loss = loss_of(subject, subject.call(inputs, quality), kind)
            for level in _levels(loss):
                for node in level:
                    node.register_hook(watching(node))
            _backward(loss)
            if first:
                return f" (first in the derivative of {first[0]})"
    return ""


def _all_finite(values: tuple[Tensor | None, ...]) -> bool:
    return all(bool(torch.isfinite(x).all()) for x in values if x is not None)


def _vanishing(found: Gradients, names: Sequence[str], limit: float) -> Verdict:
    norms = {name: norm for name in names if (norm := found.norm(name)) is not None and math.isfinite(norm)}
    low = [name for name, norm in norms.items() if norm < limit]
    excused = [
        name for name in low if _shift(name) and any(norms.get(other, 0) >= limit for other in _siblings(name, names))
    ]
    gone = [name for name in low if name not in excused]
    measure = "smallest gradient norm"
    aside = (
        f"; aside from {listed(excused)}, biases ahead of a normalisation or a softmax, which take any shift back out"
        if excused
        else ""
    )
    if not gone:
        kept_norms = [norm for name, norm in norms.items() if name not in excused]
        value = min(kept_norms, default=math.nan)
        reason = f"smallest norm {value:.3g} of {len(kept_norms)} parameters{aside}"
        return _verdict("vanishing", Outcome.PASS, reason, measure, value, n=len(norms), limit=limit)
    zero = [name for name in gone if norms[name] == 0]
    why = (
        f"{len(zero)} of them exactly 0: whatever follows is off for every window (dead ReLU, saturation, a weight of "
        "zero), or what comes in is all zeros"
        if zero
        else "many saturating layers in a row shrink it: take ReLU or GELU, a normalisation between layers, residual "
        "connections, or He initialisation"
    )
    shown = listed([f"{name} ({norms[name]:.2g})" for name in gone])
    reason = f"gradient vanishes in {shown}; {why}{aside}"
    worst = min(norms[name] for name in gone)
    return _verdict("vanishing", Outcome.FAIL, reason, measure, worst, n=len(norms), limit=limit)


def _shift(name: str) -> bool:
    return name.rpartition(".")[2].startswith("bias")


def _siblings(name: str, names: Sequence[str]) -> list[str]:
    layer = name.rpartition(".")[0]
    return [other for other in names if other != name and other.rpartition(".")[0] == layer]


def _exploding(found: Gradients, names: Sequence[str], limit: float) -> Verdict:
    norms = {name: norm for name in names if (norm := found.norm(name)) is not None and math.isfinite(norm)}
    high = [name for name, norm in norms.items() if norm > limit]
    measure, value = "largest gradient norm", max(norms.values(), default=math.nan)
    if not high:
        reason = f"largest norm {value:.3g} of {len(norms)} parameters"
        return _verdict("exploding", Outcome.PASS, reason, measure, value, n=len(norms), limit=limit)
    high.sort(key=lambda name: -norms[name])
    reason = (
        f"gradient explodes in {listed([f'{name} ({norms[name]:.2g})' for name in high])}; look for large weights or "
        "factors, inputs or targets that are not normalised, or a loop without gating; clip the global norm, "
        "normalise, or scale the initial weights down"
    )
    return _verdict("exploding", Outcome.FAIL, reason, measure, value, n=len(norms), limit=limit)


def _depth(subject: Subject, found: Gradients, names: Sequence[str]) -> Iterator[Finding]:
    """From the layers near the output to those near the input, the root mean square of the weights' gradients."""
    sizes = {name: p.numel() for name, p in subject.module.named_parameters() if p.dim() > 1}
    distance = found.passes["training", "sum"].distance
    known = [name for name in names if name in sizes and name in distance and found.norm(name) is not None]
    level = {name: float(found.norm(name) or 0.0) / math.sqrt(sizes[name]) for name in known}
    if len(known) < _MIN_LAYERS or not all(map(math.isfinite, level.values())):
        return
    known.sort(key=lambda name: distance[name])
    third = len(known) // 3
    near, far = known[:third], known[-third:]
    tiny = float(torch.finfo(torch.float32).tiny)
    ratio = (_median([level[name] for name in far]) + tiny) / (_median([level[name] for name in near]) + tiny)
    text = f"gradients near the input ({far[-1]}) are {ratio:.2g} times those near the output ({near[0]})"
    steep = not STEEPEST <= ratio <= 1 / STEEPEST
    advice = ": the first layers and the last cannot learn at one rate; add normalisation or residual connections"
    outcome = Outcome.FAIL if steep else Outcome.PASS
    reason = text + (advice if steep else "")
    limit = STEEPEST if ratio < 1 else 1 / STEEPEST
    yield _verdict("depth", outcome, reason, "gradient near input over near output", ratio, n=len(known), limit=limit)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _heard(subject: Subject, found: Gradients, limit: float) -> Verdict:
    by_input: dict[str, float] = {}
    for name in subject.shapes:
        norms = [p.inputs.get(name) for p in found.passes.values()]
        by_input[name] = max((norm for norm in norms if norm is not None and math.isfinite(norm)), default=0.0)
    passes = found.passes.values()
    broken = {name for p in passes for name, norm in p.inputs.items() if norm is not None and not math.isfinite(norm)}
    deaf = [name for name, norm in by_input.items() if norm < limit and name not in broken]
    measure, n = "smallest gradient of an input, per standard deviation", len(by_input)
    value = min((norm for name, norm in by_input.items() if name not in broken), default=math.nan)
    if deaf:
        reason = (
            f"the outputs do not depend on {listed(deaf)}: no gradient reaches the input, so what this sensor says is "
            "not heard; look for a branch that is detached, dead, rounded, or multiplied by 0"
        )
        return _verdict("inputs", Outcome.FAIL, reason, measure, value, n=n, limit=limit)
    if broken:
        reason = f"the gradient of {listed(sorted(broken))} is NaN or Inf, which says nothing about being heard"
        return _verdict("inputs", Outcome.INCONCLUSIVE, reason, measure, value, n=n, limit=limit)
    reason = f"the outputs depend on each of {listed(list(by_input))}"
    return _verdict("inputs", Outcome.PASS, reason, measure, value, n=n, limit=limit)


def _table(found: Gradients, names: Sequence[str]) -> Table:
    rows: list[tuple[str | float | int, ...]] = []
    for name in names:
        total, task = (found.passes["training", loss].parameters.get(name) for loss in ("sum", "task"))
        if total is None or task is None:
            rows.append((name, "none", "none", "", ""))
        else:
            rows.append((name, total.norm, task.norm, total.mean, total.sd))
    headings = ("parameter", "norm (sum)", "norm (task)", "mean (sum)", "sd (sum)")
    return Table(SECTION, "Gradients in training mode", headings, tuple(rows))
