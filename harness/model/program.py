"""Opening a ``.pt2`` archive (torch.export) without letting the file execute anything while it loads.

``torch.export.load`` falls back to full unpickling, opens compiled libraries that the archive carries and
evaluates size expressions. So the archive is searched for what a plain program never holds, and refused.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram
from torch.utils import _pytree

from harness.model.calling import Convention
from harness.model.errors import EngineError, LoadError, WiringError
from harness.model.inputs import INPUTS, InputSpec, input_specs

_PLAIN_MEMBER = re.compile(
    r"[^/]+/(data/weights/(weight_\d+|\w+_config\.json)|data/constants/(tensor_\d+|\w+_config\.json)|models/\w+\.json"
    r"|data/sample_inputs/\w+\.pt|extra/[\w.]+|archive_format|archive_version|byteorder|\.data/\w+)"
)
_SIZE_CALLS = frozenset({
    "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Mod", "Abs", "Max", "Min", "Eq", "Ne", "Lt",
    "Le", "Gt", "Ge", "Equality", "Unequality", "LessThan", "StrictLessThan", "GreaterThan", "StrictGreaterThan",
    "And", "Or", "Not", "FloorDiv", "CeilDiv", "CleanDiv", "ModularIndexing", "PythonMod", "IntTrueDiv",
    "FloatTrueDiv", "TruncToInt", "TruncToFloat", "CeilToInt", "FloorToInt", "ToFloat", "Where", "PowByNatural",
    "FloatPow",
})  # fmt: skip
_SIZE_NODES = (
    ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp, ast.Compare,
    ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip


def open_program(path: Path) -> ExportedProgram:
    """The exported program; LoadError names what in the archive is not plain weights and graph."""
    _refuse_what_executes(path)
    try:
        with _weights_only(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the file's age is not the user's business here
            with path.open("rb") as file:
                return torch.export.load(file)
    except Exception as error:  # the loader raises whatever the file makes it stumble over
        raise LoadError(
            f"{path}: a torch.export archive that this torch {torch.__version__} cannot read "
            f"({type(error).__name__}: {_first_line(error)}); write it again with torch.export.save"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]


@contextmanager
def _weights_only() -> Iterator[None]:
    """torch.load inside can rebuild tensors and nothing else."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _refuse_what_executes(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not _PLAIN_MEMBER.fullmatch(name):
                raise LoadError(
                    f"{path}: holds {name!r}, which is neither weights nor graph; compiled or pickled parts are "
                    "not opened. Save the exported program alone: torch.export.save(program, 'model.pt2')"
                )
            if name.endswith(".json"):
                _refuse_bad_json(path, name, json.loads(archive.read(name)))


def _refuse_bad_json(path: Path, name: str, node: Any) -> None:
    if isinstance(node, dict):
        if node.get("use_pickle"):
            raise LoadError(f"{path}: {name} asks for a pickle, which could execute code; export plain tensors only")
        expression = node.get("expr_str")
        if isinstance(expression, str) and not _is_size(expression):
            raise LoadError(f"{path}: {name} has a size that is no arithmetic: {expression[:80]!r}")
        ranges = node.get("range_constraints")
        for symbol in ranges if isinstance(ranges, dict) else ():
            if not _is_size(symbol):
                raise LoadError(f"{path}: {name} has a range of something that is no size: {symbol[:80]!r}")
        for child in node.values():
            _refuse_bad_json(path, name, child)
    elif isinstance(node, list):
        for child in node:
            _refuse_bad_json(path, name, child)


def _is_size(text: str) -> bool:
    """Arithmetic over symbols and numbers, as torch.export writes sizes."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in ast.walk(tree):
        if not isinstance(node, _SIZE_NODES):
            return False
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _SIZE_CALLS):
            return False
        if isinstance(node, ast.Name) and node.id not in _SIZE_CALLS and not re.fullmatch(r"[a-z]+\d+", node.id):
            return False
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not re.fullmatch(r"\w+", node.value):
            return False
    return True


@dataclass(frozen=True)
class ProgramInputs:
    """What a program takes: modality -> the name of its placeholder in the graph."""

    inputs: Mapping[str, str]
    quality: Mapping[str, str]
    named: bool
    positional: tuple[str, ...]
    quality_by_position: bool


def program_inputs(program: ExportedProgram, where: str) -> ProgramInputs:
    """How the program was exported to be called; LoadError if that is not the convention (harness.model.load)."""
    names = list(program.graph_signature.user_inputs)
    args, keywords = _pytree.tree_unflatten(names, program.call_spec.in_spec)
    quality = keywords.pop("quality", {})
    by_position = False
    if not quality and len(args) == 2 and isinstance(args[1], dict):
        args, quality, by_position = args[:1], args[1], True
    named = not (len(args) == 1 and isinstance(args[0], dict) and not keywords)
    inputs: dict[str, str] = dict(args[0]) if not named else {}
    if named and _all_names(args):
        inputs = {**dict(zip(args, args, strict=True)), **keywords}
    known = inputs and _all_names(inputs.values()) and isinstance(quality, dict) and _all_names(quality.values())
    if not known or set(quality) - set(inputs) or (named and not set(inputs) <= set(INPUTS)):
        raise LoadError(
            f"{where}: was exported with inputs {args!r} {keywords!r}; expected one mapping {{modality: tensor "
            f"(B, C, T)}} or one tensor for each of {', '.join(INPUTS)}, and perhaps quality {{modality: tensor (B,)}}"
        )
    return ProgramInputs(dict(inputs), dict(quality), named, tuple(args) if named else (), by_position)


def _all_names(leaves: Any) -> bool:
    return all(isinstance(leaf, str) for leaf in leaves)


def program_specs(
    program: ExportedProgram, taken: ProgramInputs, overrides: Mapping[str, Any], where: str
) -> tuple[dict[str, InputSpec], int | None]:
    """Windows of the shapes that the program was exported with, and its batch size if that is fixed."""
    shapes = {node.name: tuple(node.meta["val"].shape) for node in program.graph.nodes if node.op == "placeholder"}
    unknown = set(overrides) - set(taken.inputs)
    if unknown:
        has = ", ".join(taken.inputs)
        raise WiringError(f"model.inputs: {', '.join(unknown)} is no input of {where}, which has {has}")
    specs, batches = {}, set()
    for modality, placeholder in taken.inputs.items():
        shape = shapes[placeholder]
        if len(shape) != 3 or not all(isinstance(size, int) for size in shape[1:]):
            raise LoadError(f"{where}: {modality} was exported as {shape}; expected (B, C, T) with fixed C and T")
        specs[modality] = _spec_of(modality, shape[1], shape[2], overrides.get(modality, {}), where)
        batches.add(shape[0] if isinstance(shape[0], int) else None)
    batch = next((size for size in batches if size is not None), None)
    if batch not in (None, 1):
        raise LoadError(
            f"{where}: was exported for exactly {batch} windows at a time; export it with one window, or with "
            "dynamic_shapes that leave the first dimension of every input free"
        )
    return specs, batch


def _spec_of(modality: str, channels: int, length: int, given: Mapping[str, Any], where: str) -> InputSpec:
    base = INPUTS.get(modality)
    if base is None and given.get("rate_hz") is None:
        raise WiringError(f"model.inputs.{modality}.rate_hz: is needed: {where} does not say how fast it samples")
    base = replace(base or InputSpec(modality, channels, 1.0, 1.0), channels=channels)
    if base.rate_hz is None:
        return input_specs({modality: given}, {modality: replace(base, events=length)})[modality]
    rate = given.get("rate_hz") or base.rate_hz
    seconds = given.get("seconds") or length / float(rate)
    spec = input_specs({modality: {"rate_hz": rate, "seconds": seconds}}, {modality: base})[modality]
    if spec.length != length:
        raise WiringError(
            f"model.inputs.{modality}: {spec.seconds:g} s at {spec.rate_hz:g} Hz are {spec.length} samples, and "
            f"{where} was exported for {length}"
        )
    return spec


def export_program(
    module: torch.nn.Module,
    convention: Convention,
    inputs: Mapping[str, NDArray[np.float32]],
    quality: Mapping[str, NDArray[np.float32]],
) -> ExportedProgram:
    """The module as a program for windows like these and any number of them; EngineError if torch cannot trace it."""
    example = [{name: torch.zeros(2, *array.shape[1:]) for name, array in side.items()} for side in (inputs, quality)]
    batch = torch.export.Dim("batch", min=1, max=65536)
    args, keywords = convention.arguments(example[0], {name: torch.ones(2) for name in quality})
    free_args, free_keywords = _pytree.tree_map(lambda _: {0: batch}, (args, keywords))
    free = dict(inspect.signature(module.forward).bind(*free_args, **free_keywords).arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module, args, keywords, dynamic_shapes=free)
    except Exception as error:  # tracing a user's module may raise anything
        raise EngineError(
            f"torch.export cannot trace the model ({type(error).__name__}: {_first_line(error)}); use engine eager"
        ) from error
