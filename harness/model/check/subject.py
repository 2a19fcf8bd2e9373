"""What ``hil model check`` checks: any torch module, with example windows and one way to call it.

A section (harness.model.check.findings.Section) gets a ``Subject`` of its own and a ``Settings``. What it may rely on:

* ``subject.module`` is in eval mode on the CPU and belongs to the section: train it, hook it, change its weights.
  ``subject.fresh()`` is the same subject as it was loaded, never called, with a module of its own.
* ``subject.examples(n)`` -> (inputs, quality): {modality: float32 (n, C, T)} and {modality: float32 (n,)} of ones.
  Simulated people, four windows each; the same on every call, and ``examples(4)`` begins as ``examples(8)`` does.
* ``subject.labelled(n)`` -> Material: the same windows with arousal, valence and state of the people.
* ``subject.call(inputs, quality)`` -> the module's tensor as it comes, with autograd if the caller has it on.
  ModelFault where the module raises or returns no float tensor. ``subject.infer`` is the same without autograd.
* ``subject.one_tensor``: the module takes one plain tensor, and ``inputs`` is {"input": (n, *shape)}.

Every input may be left out of ``inputs`` and of ``quality``; a module that needs all of them gets zeros and quality 0.
"""

from __future__ import annotations

import copy
import inspect
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.model.calling import Convention
from harness.model.check.material import Material, render, simulatable
from harness.model.errors import LoadError, ModelFault
from harness.model.inputs import INPUTS, InputSpec, make_spec
from harness.model.load import (
    LoadedModel,
    build_module,
    is_torchscript,
    load_model,
    open_torchscript,
    wrap_module,
)
from harness.model.program import open_program
from harness.rig import ModelEntry

_NOT_THEIRS = (str(Path(torch.__file__).parent), str(Path(__file__).parent), "<")
"""Beginnings of the file names of torch, of the check and of generated code."""

ONE = "input"
"""Name of the only input of a module that takes one tensor."""

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Subject:
    """A module under check. Make one with ``open_subject`` or ``subject_of``."""

    name: str
    """``reference``, the factory or file, or the class of a module."""
    kind: str
    """``reference``, ``factory``, ``exported``, ``torchscript`` or ``module``."""
    module: nn.Module
    """In eval mode; whoever has this subject may do anything to it."""
    source: nn.Module
    """What ``module`` is a copy of: never called."""
    shapes: Mapping[str, tuple[int, ...]]
    """Input -> shape of one window, without the batch."""
    inputs: Mapping[str, InputSpec]
    """Input -> its window; empty for one plain tensor of a shape alone."""
    convention: Convention | None
    """None: forward takes one tensor."""
    complete: bool = False
    """Every input is needed on every call."""
    batch: int | None = None
    """The only batch size that the module takes, or None; ``call`` then goes row by row."""
    outputs: tuple[str, ...] = ()
    """Names of the outputs, where the module says them."""
    seed: int = 0
    reopen: Callable[[], nn.Module] | None = None
    """Builds the module anew, for a module that cannot be copied."""
    random: bool = False
    """Outputs depend on chance (determinism.with_conduct found out), so that no two of them can be compared."""
    stateful: bool = False
    """Outputs depend on earlier calls; ``infer`` then calls a copy each time, so that order changes nothing."""
    _cache: dict[str, Material] = field(default_factory=dict, repr=False)

    @property
    def one_tensor(self) -> bool:
        """Whether forward takes one plain tensor and no mapping of modalities."""
        return self.convention is None

    @property
    def takes_quality(self) -> bool:
        """Whether forward has a parameter for the quality of its inputs."""
        return self.convention is not None and self.convention.quality != "none"

    @property
    def output_dim(self) -> int | None:
        """Width of the output as the module declares it: ``output_dim``, or the number of its ``outputs``."""
        declared = getattr(self.module, "output_dim", None)
        if isinstance(declared, int) and not isinstance(declared, bool):
            return declared
        return len(self.outputs) or None

    @property
    def invented(self) -> tuple[str, ...]:
        """Inputs whose examples are smooth curves, since no simulated person has them."""
        return tuple(name for name in self.shapes if not simulatable(self.inputs.get(name)))

    def fresh(self) -> Subject:
        """The same subject with a module of its own, as it was loaded."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what copying an exported program makes torch say of itself
                module = copy.deepcopy(self.source)
        except Exception as error:  # tensors with a history, handles of libraries: a module may hold anything
            if self.reopen is None:
                raise LoadError(
                    f"{self.name}: cannot be copied ({said(error)}), and each section needs a copy of its own; give "
                    "it as --factory, which is called again"
                ) from error
            module = self.reopen()
        return replace(self, module=module.eval())

    def examples(self, n: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """n windows of every input, and their quality, all ones; copies that may be changed."""
        material = self.labelled(n)
        return dict(material.inputs), {name: torch.ones(n) for name in material.inputs}

    def labelled(self, n: int) -> Material:
        """n windows with what was true of the people; copies that may be changed."""
        held = self._cache.get("most")
        if held is None or len(held) < n:
            held = self._cache["most"] = render(self.inputs, self.shapes, n, self.seed)
        inputs = {name: x[:n].clone() for name, x in held.inputs.items()}
        return Material(inputs, held.arousal[:n].clone(), held.valence[:n].clone(), held.state[:n].clone())

    def call(self, inputs: Tensors, quality: Tensors | None = None) -> Tensor:
        """What the module returns for windows; quality is 1 where it is not given. ModelFault, never another error."""
        level = {} if quality is None else quality
        n = _length({**level, **inputs})
        if self.batch is None or n == self.batch:
            return self._once(inputs, level)
        rows = [
            self._once({k: v[i : i + 1] for k, v in inputs.items()}, {k: v[i : i + 1] for k, v in level.items()})
            for i in range(n)
        ]
        return torch.cat(rows)

    def infer(self, inputs: Tensors, quality: Tensors | None = None) -> Tensor:
        """``call`` without autograd, on copies: what the module does to its inputs or output stays its own."""
        given = {name: x.clone() for name, x in inputs.items()}
        level = {name: q.clone() for name, q in (quality or {}).items()}
        called = replace(self, module=copy.deepcopy(self.module)) if self.stateful else self
        with torch.no_grad():
            return called.call(given, level).detach().clone()

    def arguments(self, inputs: Tensors, quality: Tensors) -> tuple[tuple[object, ...], dict[str, object]]:
        """Positional and keyword arguments of ``module`` for these windows, as ``call`` passes them."""
        if self.convention is None:
            return (inputs[ONE],), {}
        given, level = self._completed(inputs, quality)
        return self.convention.arguments(given, level)

    def _completed(self, inputs: Tensors, quality: Tensors) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        n = _length({**quality, **inputs})
        names = self.shapes if self.complete else [name for name in self.shapes if name in inputs]
        others = [name for name in inputs if name not in self.shapes]
        given = {name: inputs[name] if name in inputs else torch.zeros(n, *self.shapes[name]) for name in names}
        level = {name: quality.get(name, torch.ones(n)) if name in inputs else torch.zeros(n) for name in names}
        return {**given, **{name: inputs[name] for name in others}}, level

    def _once(self, inputs: Tensors, quality: Tensors) -> Tensor:
        args, keywords = self.arguments(inputs, quality)
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in inputs.items()) or "no input"
        found = tried(lambda: self.module(*args, **keywords), f" for {shapes}{self._hint()}")
        if not isinstance(found, Tensor):
            raise ModelFault(f"returned {type(found).__name__}; expected one tensor (B, outputs)")
        if not found.is_floating_point():
            raise ModelFault(f"returned {found.dtype}; expected a float tensor (B, outputs)")
        return found

    def _hint(self) -> str:
        """For a module that was given a mapping and may want one tensor."""
        guess = _first_width(self.module)
        if self.convention is None or self.convention.named or guess is None or hasattr(self.module, "inputs"):
            return ""
        return f"; if forward takes one plain tensor, give its shape without the batch, such as --input-shape {guess}"


def _length(tensors: Tensors) -> int:
    """Windows in a batch; one where there is no input at all."""
    return next((int(x.shape[0]) for x in tensors.values()), 1)


def tried(call: Callable[[], object], about: str = "") -> object:
    """What a call into a user's code returns; whatever it raises is a finding about it: ModelFault with its place."""
    try:
        return call()
    except (Exception, SystemExit) as error:  # a module may raise anything, and a script may want to end
        raise ModelFault(f"raised {said(error)}{about}") from error


def said(error: BaseException) -> str:
    """The error in one line, with the place that led to it: the innermost line that is not torch's or ours."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(_NOT_THEIRS)] or frames
    place = f" at {Path(theirs[-1].filename).name}:{theirs[-1].lineno}" if theirs else ""
    text = (str(error).strip().splitlines() or [""])[0].removesuffix(", but expected one of:")
    return f"{type(error).__name__}{place}: {text}"


# --- opening ----------------------------------------------------------------------------------


def open_subject(
    entry: ModelEntry, *, shape: tuple[int, ...] | None = None, only: tuple[str, ...] = (), seed: int = 0
) -> Subject:
    """The model of an entry: its factory, its file, or the reference network. LoadError or WiringError.

    ``shape`` says that forward takes one tensor (B, *shape). ``only`` are the modalities that a rig's streams feed;
    the module is then checked with those. The factory is called with torch's generator seeded.
    """
    if entry.factory and not entry.file:
        module = _built(entry.factory, seed)
        made = subject_of(module, name=entry.factory, entry=entry, shape=shape, seed=seed)
        made = replace(made, kind="factory", reopen=lambda: _built(str(entry.factory), seed))
    elif entry.file and shape is not None and not entry.factory:
        made = _file_of_one_tensor(entry.file, shape, seed)
    elif shape is not None:
        raise LoadError("--input-shape: the reference network knows its inputs; give it with --factory or --file")
    else:
        made = replace(_subject(_loaded(entry), seed), reopen=lambda: load_model(entry).module)
    return (_narrowed(made, only) if only else made).fresh()


def subject_of(
    module: nn.Module,
    *,
    name: str = "",
    entry: ModelEntry | None = None,
    shape: tuple[int, ...] | None = None,
    seed: int = 0,
) -> Subject:
    """A module that is at hand, as ``open_subject`` gives one."""
    name = name or type(module).__name__
    declared = getattr(module, "inputs", None)
    specs: dict[str, InputSpec] = {}
    if shape is None and not _wants_tensor(module):
        made = _subject(wrap_module(name, module, entry or ModelEntry()), seed)
        return replace(made, kind="module").fresh()
    if shape is None and isinstance(declared, Mapping) and len(declared) == 1:
        modality, given = next(iter(declared.items()))
        specs[ONE] = make_spec(str(modality), given)
        shape = specs[ONE].channels, specs[ONE].length
    if shape is not None:
        return Subject(name, "module", module, module.eval(), {ONE: shape}, specs, None, seed=seed).fresh()
    guess = _first_width(module)
    example = f"--input-shape {guess}" if guess else "--input-shape 10, or 1,500"
    raise LoadError(
        f"{name}: forward takes one tensor, and nothing says of which shape; give it without the batch ({example}), or "
        "give the module an attribute inputs = {modality: {'channels', 'seconds', 'rate_hz'}}"
    )


def _built(factory: str, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # weights drawn by the factory are the same on every run
        torch.manual_seed(seed)
        return build_module(factory)


def _loaded(entry: ModelEntry) -> LoadedModel:
    try:
        return load_model(entry)
    except LoadError as error:
        if not entry.file or "expected one" not in str(error):
            raise
        raise LoadError(f"{error}. A program of one plain tensor needs its shape: --input-shape 1,500") from error


def _subject(model: LoadedModel, seed: int) -> Subject:
    shapes = {name: (spec.channels, spec.length) for name, spec in model.inputs.items()}
    return Subject(
        model.name, model.kind, model.module, model.module, shapes, dict(model.inputs), model.convention,
        model.complete, model.batch, model.outputs, seed,
    )  # fmt: skip


def _narrowed(subject: Subject, only: tuple[str, ...]) -> Subject:
    """With the inputs that are wired. A module that needs all of them still gets the others, as zeros."""
    if subject.one_tensor or subject.complete:
        return subject
    kept = {name: shape for name, shape in subject.shapes.items() if name in only}
    return replace(subject, shapes=kept, inputs={name: subject.inputs[name] for name in kept})


def _file_of_one_tensor(file: str, shape: tuple[int, ...], seed: int) -> Subject:
    path = Path(file)
    if not path.is_file():
        raise LoadError(f"model.file: no file {file!r} (from {Path.cwd()})")
    if is_torchscript(path):
        script = open_torchscript(path)
        return Subject(file, "torchscript", script, script, {ONE: shape}, {}, None, seed=seed)
    program = open_program(path)
    taken = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    found = tuple(taken[0].meta["val"].shape) if len(taken) == 1 else ()
    if found[1:] != shape:
        said = f"one tensor {found}" if len(taken) == 1 else f"{len(taken)} inputs"
        raise LoadError(f"{file}: was exported for {said}; --input-shape {','.join(map(str, shape))} does not fit")
    batch = found[0] if isinstance(found[0], int) else None
    module = program.module()
    return Subject(file, "exported", module, module, {ONE: shape}, {}, None, True, batch, seed=seed)


def _wants_tensor(module: nn.Module) -> bool:
    """Whether forward says that its only input is a tensor; a parameter named after a modality is one of several.

    A chain of layers is asked for its first one.
    """
    if isinstance(module, nn.Sequential) and len(module):
        return _wants_tensor(module[0])
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return False
    needed = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(needed) != 1 or needed[0].name in INPUTS:
        return False
    return needed[0].annotation in (Tensor, "Tensor", "torch.Tensor")


def _first_width(module: nn.Module) -> str | None:
    """The likely shape of a plain module's input, by the first layer that says how much it takes."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            return f"{layer.in_features}"
        if isinstance(layer, nn.Conv1d):
            return f"{layer.in_channels},500"
        if isinstance(layer, nn.RNNBase):
            return f"100,{layer.input_size}"
    return None
