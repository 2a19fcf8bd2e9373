"""From a rig's ``model:`` entry to a module that the engines can call.

How a module is called is written in harness.model.calling.

The windows' shapes are those of the reference network (harness.model.inputs.INPUTS), of the module's own attribute
``inputs`` = {modality: InputSpec or {"channels", "seconds", "rate_hz"}}, or of the example that a ``.pt2`` was
exported with; a rig's ``model.inputs`` overrides seconds and rate_hz. Where a call must be complete (by name, or an
exported program) a modality without a stream gets zeros and quality 0.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import sys
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from harness.model.calling import Convention, convention_of
from harness.model.errors import LoadError
from harness.model.inputs import InputSpec, input_specs, make_spec
from harness.model.program import open_program, program_inputs, program_specs
from harness.model.weights import create_model, state_hash
from harness.rig import ModelEntry

_GIVE = (
    "Give a program, torch.export.save(torch.export.export(module.eval(), (inputs, quality)), 'model.pt2') as "
    "model.file, or as model.factory a function pkg.mod:fn that builds the module and loads its weights"
)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A module ready to be run, and what a report says about it."""

    name: str
    """``reference``, or the factory or file as the rig has it."""
    kind: str
    """``reference``, ``factory``, ``exported`` or ``torchscript``."""
    module: nn.Module
    inputs: Mapping[str, InputSpec]
    sha256: str
    """Of the file, or of the state dict's names, dtypes, shapes and bytes."""
    parameters: int
    convention: Convention
    complete: bool = False
    """Needs every input on every call."""
    batch: int | None = None
    """The only batch size that it takes, or None for any."""
    outputs: tuple[str, ...] = ()
    """Names of the outputs, where the module says them."""
    program: ExportedProgram | None = None


def load_model(entry: ModelEntry) -> LoadedModel:
    """The model of a rig, in eval mode on the CPU. LoadError or WiringError says what is wrong and what to give."""
    if entry.url:
        raise LoadError(f"model.url: the module is behind {entry.url}, and there is none here to be looked at")
    if entry.factory and entry.file:
        raise LoadError(f"model: give a factory or a file, not both (found {entry.factory!r} and {entry.file!r})")
    if entry.factory:
        return wrap_module(entry.factory, build_module(entry.factory), entry)
    if entry.file:
        return _from_file(Path(entry.file), entry)
    return _wrap("reference", "reference", create_model(), entry, input_specs(entry.inputs))


def wrap_module(name: str, module: nn.Module, entry: ModelEntry) -> LoadedModel:
    """A module that somebody built, as load_model gives one; ``entry`` may override its windows."""
    return _wrap(name, "factory", module, entry, _module_specs(module, entry))


def _wrap(name: str, kind: str, module: nn.Module, entry: ModelEntry, specs: Mapping[str, InputSpec]) -> LoadedModel:
    convention = convention_of(name, module, specs)
    if convention.named and not hasattr(module, "inputs"):
        specs = _taken(module, specs)
    outputs = getattr(module, "outputs", ())
    named = isinstance(outputs, list | tuple) and all(isinstance(output, str) for output in outputs)
    return LoadedModel(
        name, kind, module.eval(), specs, state_hash(module.state_dict()), _count(module), convention,
        complete=convention.named, outputs=tuple(outputs) if named else (),
    )  # fmt: skip


def _taken(module: nn.Module, specs: Mapping[str, InputSpec]) -> Mapping[str, InputSpec]:
    """Of windows that nobody declared, those whose modality forward has a parameter for; all with ``**windows``."""
    parameters = inspect.signature(module.forward).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return specs
    return {name: spec for name, spec in specs.items() if name in parameters}


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# --- a function that builds a module ----------------------------------------------------------


def build_module(factory: str) -> nn.Module:
    """What ``pkg.mod:function`` returns; LoadError where that is no module."""
    module_name, colon, function_name = factory.partition(":")
    if not (colon and module_name and function_name):
        raise LoadError(f"model.factory: expected 'pkg.mod:function', found {factory!r}")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.append(here)  # as python -m does: a factory beside the rig needs no installation
    try:
        built = _build(factory, module_name, function_name)
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
    if not isinstance(built, nn.Module):
        raise LoadError(f"model.factory: {factory} returned {type(built).__qualname__}; a torch.nn.Module is wanted")
    return built


def _build(factory: str, module_name: str, function_name: str) -> object:
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise LoadError(
                f"model.factory: no module {error.name!r} (from {factory!r}); install its package or run from the "
                f"folder that holds it, now {Path.cwd()}"
            ) from error
        raise LoadError(f"model.factory: {module_name} needs {error.name!r}, which is not installed") from error
    except (Exception, SystemExit) as error:  # somebody else's module may raise anything, a script may end itself
        raise LoadError(f"model.factory: importing {module_name} raised {_said(error)}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        near = difflib.get_close_matches(function_name, [name for name in vars(module) if callable(vars(module)[name])])
        hint = f"; did you mean {near[0]!r}?" if near else ""
        found = "is not callable" if function is not None else "is not there"
        raise LoadError(f"model.factory: {function_name!r} {found} in {module_name}{hint}")
    try:
        return function()
    except (Exception, SystemExit) as error:  # somebody else's function may raise anything
        raise LoadError(f"model.factory: {factory}() raised {_said(error)}; it is called without arguments") from error


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _module_specs(module: nn.Module, entry: ModelEntry) -> dict[str, InputSpec]:
    declared = getattr(module, "inputs", None)
    if not isinstance(declared, Mapping) or not declared:
        return input_specs(entry.inputs)
    base = {str(name): make_spec(str(name), given) for name, given in declared.items()}
    return input_specs(entry.inputs, base)


# --- a file -----------------------------------------------------------------------------------


def _from_file(path: Path, entry: ModelEntry) -> LoadedModel:
    if not path.is_file():
        raise LoadError(f"model.file: no file {str(path)!r} (from {Path.cwd()})")
    data = path.read_bytes()
    if not zipfile.is_zipfile(path):
        raise LoadError(f"{path}: {_describe(data)}, not a torch program. {_GIVE}")
    with zipfile.ZipFile(path) as archive:
        members = [name.partition("/")[2] for name in archive.namelist()]
    digest = hashlib.sha256(data).hexdigest()
    if "archive_format" in members or any(name.startswith("models/") for name in members):
        return _exported(path, entry, digest)
    if any(name.startswith("code/") for name in members):
        return _torchscript(path, entry, digest)
    if "data.pkl" in members:
        raise LoadError(f"{path}: {_describe_saved(path)}, without the program that they belong to. {_GIVE}")
    raise LoadError(f"{path}: a zip archive that torch did not write. {_GIVE}")


def _describe(data: bytes) -> str:
    if not data:
        return "an empty file"
    if data[:1] == b"\x80":
        return "a pickle, which could execute code when opened and was not"
    try:
        return f"text that begins {data[:40].decode('utf-8').splitlines()[0]!r}"
    except UnicodeDecodeError:
        return f"{len(data)} bytes of an unknown kind"


def _describe_saved(path: Path) -> str:
    """What torch.save wrote, without executing any of it."""
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - whatever the unpickler refuses
        return "pickled Python objects, which could execute code when opened and were not; perhaps a whole module"
    if isinstance(held, Mapping):
        return f"a state dict, {sum(isinstance(value, Tensor) for value in held.values())} tensors"
    return f"a saved {type(held).__name__}"


def _exported(path: Path, entry: ModelEntry, digest: str) -> LoadedModel:
    program = open_program(path)
    taken = program_inputs(program, str(path))
    specs, batch = program_specs(program, taken, entry.inputs, str(path))
    quality = ("positional" if taken.quality_by_position else "keyword") if taken.quality else "none"
    return LoadedModel(
        str(entry.file), "exported", program.module(), specs, digest,
        sum(tensor.numel() for tensor in program.state_dict.values() if isinstance(tensor, nn.Parameter)),
        Convention(taken.named, quality, taken.positional), complete=True, batch=batch, program=program,
    )  # fmt: skip


def is_torchscript(path: Path) -> bool:
    """Whether a file is an archive of torch.jit.save, by its folder ``code``."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.partition("/")[2].startswith("code/") for name in archive.namelist())


def open_torchscript(path: Path) -> nn.Module:
    """The module of a TorchScript file, in eval mode on the CPU; LoadError where torch cannot read it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit: old files are what this branch is for
            module: nn.Module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except Exception as error:  # the loader raises whatever the file makes it stumble over
        raise LoadError(f"{path}: a TorchScript archive that this torch cannot read ({_said(error)})") from error
    return module


def _torchscript(path: Path, entry: ModelEntry, digest: str) -> LoadedModel:
    specs = input_specs(entry.inputs)
    module: Any = open_torchscript(path)
    taken = {argument.name: str(argument.type) for argument in module.forward.schema.arguments[1:]}
    kind_of_quality = taken.pop("quality", None)
    named = bool(taken) and all(name in specs and kind == "Tensor" for name, kind in taken.items())
    mapping = list(taken.values()) == ["Dict[str, Tensor]"]
    if not (named or mapping) or kind_of_quality not in (None, "Dict[str, Tensor]"):
        found = ", ".join(f"{name}: {kind}" for name, kind in taken.items())
        raise LoadError(
            f"{path}: forward({found}) cannot be called; expected one Dict[str, Tensor], or tensors named after "
            f"modalities ({', '.join(specs)}), and optionally quality: Dict[str, Tensor]"
        )
    specs = {name: specs[name] for name in taken} if named else specs
    quality = "none" if kind_of_quality is None else "keyword"
    return LoadedModel(
        str(entry.file), "torchscript", module, specs, digest, _count(module), Convention(named, quality),
        complete=named,
    )  # fmt: skip
