"""``hil model check``, activations: what each layer puts out for realistic windows, and which units never say anything.

* Not finite: NaN or Inf in what a module returns, named after the first place in order of execution, not the last.
  Minus infinity that is gone at a module's end (a mask under a softmax) is nobody's business.
* Dead: a unit behind ReLU and its relatives that is 0 for every window, the realistic ones and provoked ones: the
  same windows at other levels, a tenth to ten times as high, and noise. A unit that only some rare event wakes is not
  dead, and 32 windows hold few rare events. A layer fails when significantly more than half of its units are dead
  (binomial, p < 0.001). Half is what mere chance does: far from the input of a deep network with torch's default
  weights the signal has faded beside the biases, whose sign then says who is on. Fewer are reported; trained networks
  have many (the reference network up to 45 % of a layer) and lose nothing but their place. What goes far beyond half
  was hit by something: a learning rate that threw biases far below zero, or inputs at a level that the layer before
  was not made for. A layer that is wholly dead lets nothing through at all.
* Saturated: a tanh or sigmoid unit within 1 % of the same end for every window is as good as dead (the
  same limit). Values within 1 % of either end pass less than a 25th of the gradient (fails above 95 % of a layer's
  values; the network's last squashing apart, which may be sure of what it says).
* Constant: a layer with one and the same output for all windows, while what it is fed differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from harness.model.check.findings import Finding, Note, Settings, Table
from harness.model.check.layers import NEAR_END, Layer, Survey, Units, provoked, survey
from harness.model.check.subject import Subject, Tensors
from harness.model.check.task import WINDOWS, listed
from harness.model.check.watch import kept, set_training
from harness.statistics import share_interval
from harness.verdict import Outcome, Verdict

SECTION = "activations"
DEAD = 0.5
"""Share of a layer's units above which it fails, for dead units and for units stuck at one end."""
_SURE = 0.998
"""Of the two-sided interval of that share: its lower end has to be above the limit."""
SATURATED = 0.95
"""Share of a layer's values near an end above which it fails."""
_SEED = 20_261


def activations(subject: Subject, settings: Settings) -> Iterator[Finding]:
    """The section: finite, dead, saturated, constant; statistics by layer in a table."""
    found = measure(subject, settings.seed)
    if not found.layers:
        yield Note(SECTION, "TorchScript takes no hooks, so its layers cannot be seen; give the module itself")
        return
    fresh = [name for name, x in subject.module.named_buffers() if name.endswith("num_batches_tracked") and not int(x)]
    if fresh:
        layers = listed([name.rpartition(".")[0] for name in fresh])
        yield Note(SECTION, f"batch norms that have seen no data normalise nothing in eval mode: {layers}")
    yield _finite(subject, found)
    yield _dead(found)
    yield _saturated(found)
    yield _constant(found)
    yield _table(found)


def measure(subject: Subject, seed: int = 0, n: int = WINDOWS) -> Survey:
    """Realistic windows and twice as many provoked ones, in eval mode; the module is afterwards as it was."""
    inputs, quality = subject.examples(n)
    generator = torch.Generator().manual_seed(_SEED + seed)
    wild = {name: provoked(x, generator) for name, x in inputs.items()}
    halves: list[Tensors] = [{name: x[half * n :][:n] for name, x in wild.items()} for half in (0, 1)]
    with kept(subject.module):
        set_training(subject.module, False)
        return survey(subject, [(True, inputs, quality), *((False, half, quality) for half in halves)])


# --- judging ----------------------------------------------------------------------------------


def _verdict(
    place: str, failed: bool, reason: str, measure: str, value: float, limit: float, n: int, worst: Units | None = None
) -> Verdict:
    outcome = Outcome.FAIL if failed else Outcome.PASS
    low, high = (None, None) if worst is None else share_interval(worst.lost, worst.count, _SURE)
    sure = None if worst is None else _SURE
    return Verdict(SECTION, place, outcome, reason, measure, value, "", limit, n, low, high, sure)


def _finite(subject: Subject, found: Survey) -> Verdict:
    measure, n = "layers with NaN or Inf", len(found.layers)
    if not found.ended:
        return _verdict("finite", False, f"all {n} layers put out finite numbers", measure, 0.0, 0.0, n)
    state = [*subject.module.named_parameters(), *subject.module.named_buffers()]
    poisoned = [name for name, x in state if not bool(torch.isfinite(x).all())]
    reached = "and reaches the output" if "model" in found.ended else "and is hidden before the output"
    why = (
        f"the module itself holds NaN or Inf in {listed(poisoned)}: load other weights"
        if poisoned
        else "look for a division by a spread of 0, log or sqrt of what may be 0 or below, or exp of something large"
    )
    reason = f"begins with {found.began}, goes on to {listed(found.ended)} {reached}; {why}"
    return _verdict("finite", True, reason, measure, float(len(found.ended)), 0.0, n)


def _dead(found: Survey) -> Finding:
    layers = [units for units in found.units.values() if units.never is not None]
    measure = "largest share of dead units in a layer"
    if not layers:
        return Note(SECTION, "dead units: the module calls no ReLU, GELU or the like that could be seen")
    total, lost = sum(units.count for units in layers), sum(units.lost for units in layers)
    worst = max(layers, key=_share)
    bad = sorted(filter(_beyond_chance, layers), key=_share, reverse=True)
    if not bad:
        most = f"; most in {_told(worst)}" if lost else ""
        reason = f"{lost} of {total} units in {len(layers)} layers are never heard{most}"
        return _verdict("dead", False, reason, measure, _share(worst), DEAD, total, worst)
    whole = [units.where for units in bad if units.lost == units.count]
    through = f"; nothing gets through {listed(whole)}" if whole else ""
    reason = (
        f"dead units, 0 for every window: {listed([_told(units) for units in bad])}{through}; a learning rate that was "
        "too high pushes biases far below zero, and so do inputs at a level that the layer before was not made for: "
        "train with a lower rate or warm-up, normalise the inputs, or take leaky ReLU or GELU"
    )
    return _verdict("dead", True, reason, measure, _share(worst), DEAD, total, worst)


def _saturated(found: Survey) -> Finding:
    layers = [units for units in found.units.values() if units.ends is not None]
    measure = "largest share of saturated values in a layer"
    if not layers:
        return Note(SECTION, "saturation: the module calls no tanh or sigmoid that could be seen")
    shares = {id(units): units.near_share or 0.0 for units in layers}
    stuck = list(filter(_beyond_chance, layers))
    flat = [units for units in layers[:-1] if shares[id(units)] > SATURATED and units not in stuck]
    worst = max(layers, key=lambda units: shares[id(units)])
    value, n = shares[id(worst)], sum(units.values for units in layers)
    if not stuck and not flat:
        reason = f"most in {worst.where} ({worst.what}): {value:.0%} of values within {NEAR_END:.0%} of an end"
        return _verdict("saturated", False, reason, measure, value, SATURATED, n)
    said = [f"{_told(units)} units always at the same end" for units in stuck]
    said += [f"{units.where} ({units.what}), {shares[id(units)]:.0%} of values" for units in flat]
    reason = (
        f"saturated: {listed(said)}; what comes in is too large: normalise the inputs, scale the weights before it "
        "down, or put a normalisation in front"
    )
    return _verdict("saturated", True, reason, measure, value, SATURATED, n)


def _constant(found: Survey) -> Verdict:
    silent = {units.where for units in found.units.values() if units.count and units.lost == units.count}
    flat = [name for name in found.constant if name not in silent]
    measure, n = "layers with a constant output", len(found.layers)
    if not flat:
        return _verdict("constant", False, f"no layer ignores what it is fed, of {n}", measure, 0.0, 0.0, n)
    reason = (
        f"the output of {listed(flat)} is the same for every window, though what goes in differs; look for a weight of "
        "0, a normalisation over a single value, a softmax over one, or an index that is always the same"
    )
    return _verdict("constant", True, reason, measure, float(len(flat)), 0.0, n)


def _share(units: Units) -> float:
    return units.lost / units.count if units.count else 0.0


def _beyond_chance(units: Units) -> bool:
    """Whether significantly more than half of a layer is lost, or all of it."""
    return 0 < units.count == units.lost or share_interval(units.lost, units.count, _SURE)[0] > DEAD


def _told(units: Units) -> str:
    return f"{units.where} ({units.what}), {units.lost} of {units.count}"


# --- the table --------------------------------------------------------------------------------


def _table(found: Survey) -> Table:
    headings = ("layer", "kind", "shape", "mean", "sd", "min", "max", "not finite", "lost units", "near an end")
    rows: list[tuple[str | float | int, ...]] = []
    for name, layer in found.layers.items():
        plain = layer.where.partition("#")[0]
        if name == layer.where and plain not in found.leaves and plain != "model":
            continue  # what a container returns is what its last part or function returned
        size = "x".join(map(str, layer.shape))
        numbers = [value if layer.count else "" for value in (layer.mean, layer.sd, layer.low, layer.high)]
        rows.append((layer.where, layer.what, size, *numbers, layer.broken, *_lost(found, layer)))
    return Table(SECTION, "Activations of realistic windows", headings, tuple(rows))


def _lost(found: Survey, layer: Layer) -> Sequence[str]:
    own = [units for (where, what), units in found.units.items() if where == layer.where and what == layer.what.lower()]
    if not own:
        return "", ""
    near = "" if own[0].near_share is None else f"{own[0].near_share:.0%}"
    return f"{own[0].lost} of {own[0].count}", near
