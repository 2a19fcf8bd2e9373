"""Reads a rig from strict YAML: every problem at once, each with file, line, column and what to try."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from drivers.errors import SensorError
from drivers.registry import load_sensor, make_settings
from harness.checks.registry import check_names, load_check, make_limits
from harness.rig import ModelEntry, Rig, SensorEntry, WindowEntry
from harness.rig_schema import InputSchema, ModelSchema, RigSchema, SensorSchema, SimulateSchema, WindowSchema
from harness.yaml_tree import Problem, Tree, Where, parse
from simulators.build import SimulatedSpec, build
from simulators.subject import make_profile


@dataclass(frozen=True)
class RigError(Exception):
    """A rig file that cannot be used; str() is one ``path:line:column: message`` line per problem."""

    path: str
    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        return "\n".join(f"{self.path}:{p.line}:{p.column}: {p.message}" for p in self.problems)


def read_rig(path: str | Path) -> Rig:
    """The rig in a file; RigError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise RigError(str(path), (Problem(1, 1, f"cannot read the rig file: {error.strerror}"),)) from error
    except UnicodeDecodeError as error:
        raise RigError(str(path), (Problem(1, 1, f"expected UTF-8 text, found {error.reason}"),)) from error
    return parse_rig(text, str(path))


def parse_rig(text: str, path: str = "rig.yaml") -> Rig:
    """The rig in a text; RigError."""
    tree = parse(text)
    problems = list(tree.problems)
    schema: RigSchema | None = None
    if tree.value is not None:
        try:
            schema = RigSchema.model_validate(tree.value)
        except ValidationError as error:
            problems += [_explain(tree, dict(detail)) for detail in error.errors()]
    if schema is not None:
        problems += _check_meaning(tree, schema, Path(path).parent)
    if schema is None or problems:
        raise RigError(path, tuple(sorted(set(problems), key=lambda p: (p.line, p.column, p.message))))
    return _to_rig(schema, path, text)


# --- shape ------------------------------------------------------------------------------------

_MODELS: Sequence[tuple[type[BaseModel], int, tuple[str, ...]]] = (
    (RigSchema, 0, ()),
    (SensorSchema, 2, ("sensors",)),
    (SimulateSchema, 3, ("sensors",)),
    (ModelSchema, 1, ("model",)),
    (InputSchema, 3, ("model", "inputs")),
    (WindowSchema, 1, ("window",)),
)


def _keys_at(where: Where) -> list[str]:
    """Keys that the mapping at this path may have."""
    for model, depth, prefix in _MODELS:
        simulated = model is SimulateSchema
        if len(where) == depth and where[: len(prefix)] == prefix and (not simulated or where[2] == "simulate"):
            return [field.alias or name for name, field in model.model_fields.items()]
    return []


def _explain(tree: Tree, detail: Mapping[str, Any]) -> Problem:
    where: Where = tuple(part for part in detail["loc"] if part != "[key]")
    kind, key = detail["type"], where[-1] if where else ""
    if kind == "extra_forbidden":
        known = _keys_at(where[:-1])
        return tree.problem(where, f"unknown key {key!r}{_near(str(key), known)}", prefer_key=True)
    if kind == "missing":
        return tree.problem(where[:-1], f"the key {key!r} is missing here")
    found = detail.get("input")
    shown = f", found {found!r}" if isinstance(found, str | int | float | bool) or found is None else ""
    return tree.problem(where, f"{'.'.join(map(str, where))}: {_lower(detail['msg'])}{shown}")


def _lower(text: str) -> str:
    return text.replace("Input should be", "expected").replace("valid ", "")


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; expected one of {', '.join(known)}" if known else ""


# --- meaning ----------------------------------------------------------------------------------


def _check_meaning(tree: Tree, schema: RigSchema, folder: Path) -> list[Problem]:
    problems: list[Problem] = []
    for role, sensor in schema.sensors.items():
        problems += _check_sensor(tree, role, sensor, folder)
    for name, given in schema.limits.items():
        where: Where = ("limits", name)
        if name not in check_names():
            problems.append(tree.problem(where, f"unknown check {name!r}{_near(name, check_names())}", True))
            continue
        problems += _try(tree, where, given, lambda name=name, given=given: make_limits(load_check(name), given))
    problems += _try(tree, ("subject",), schema.subject, lambda: make_profile(schema.subject))
    if schema.model.factory and schema.model.file:
        problems.append(tree.problem(("model", "file"), "give either factory or file, not both", True))
    if schema.model.file and not (folder / schema.model.file).is_file():
        problems.append(tree.problem(("model", "file"), f"no such file: {folder / schema.model.file}"))
    return problems


def _check_sensor(tree: Tree, role: str, sensor: SensorSchema, folder: Path) -> list[Problem]:
    at: Where = ("sensors", role)
    try:
        module = load_sensor(sensor.sensor)
    except SensorError as error:
        return [tree.problem((*at, "sensor"), str(error))]
    problems = _try(tree, (*at, "settings"), sensor.settings, lambda: make_settings(module, sensor.settings))
    wrong = {"ble": ("port", "baud"), "serial": ("address",)}[module.LINK]
    for key in wrong:
        if getattr(sensor, key) is not None:
            text = f"{sensor.sensor} is a {module.LINK} sensor and has no {key!r}"
            problems.append(tree.problem((*at, key), text, True))
    if not problems:
        spec = simulated_spec(to_entry(role, sensor, folder), seed=0)
        problems += _try(tree, (*at, "simulate"), sensor.simulate.model_dump(), lambda: build(spec))
    return problems


def _try(tree: Tree, where: Where, given: Any, call: Any) -> list[Problem]:
    """Run a constructor; what it raises becomes a problem at the key or value that its message names."""
    try:
        call()
    except (SensorError, ValueError, TypeError) as error:
        message = str(error)
        return [tree.problem(_blame(where, given, message), message, prefer_key=False)]
    return []


def _blame(where: Where, given: Any, message: str) -> Where:
    """The deepest key or text value below ``where`` that the message quotes."""
    best = where
    items = given.items() if isinstance(given, Mapping) else enumerate(given) if isinstance(given, list) else ()
    for key, value in items:
        if isinstance(value, Mapping | list):
            deeper = _blame((*where, key), value, message)
            if len(deeper) > max(len(best), len(where) + 1):
                best = deeper
        elif (f"{key!r}" in message or (isinstance(value, str) and f"{value!r}" in message)) and best == where:
            best = (*where, key)
    return best


# --- to plain data ----------------------------------------------------------------------------


def to_entry(role: str, sensor: SensorSchema, folder: Path) -> SensorEntry:
    """The rig's entry; files that signals play are named from the rig file's folder."""
    simulate = sensor.simulate.model_dump()
    for options in simulate["signals"].values():
        file = options.get("file")
        if isinstance(file, str):
            options["file"] = str(folder / file)
    plain = sensor.model_dump(exclude={"simulate"})
    return SensorEntry(role=role, simulate=simulate, **plain)


def simulated_spec(entry: SensorEntry, seed: int) -> SimulatedSpec:
    """What simulators.build needs to know of an entry."""
    settings = dict(entry.settings)
    return SimulatedSpec(sensor=entry.sensor, settings=settings, seed=seed, name=entry.role, **entry.simulate)


def _to_rig(schema: RigSchema, path: str, text: str) -> Rig:
    folder = Path(path).parent
    model = schema.model.model_dump()
    if model["file"]:
        model["file"] = str(folder / model["file"])
    return Rig(
        name=schema.name,
        sensors={role: to_entry(role, sensor, folder) for role, sensor in schema.sensors.items()},
        model=ModelEntry(**model),
        window=WindowEntry(**schema.window.model_dump()),
        limits=schema.limits,
        duration_s=schema.duration_s,
        seed=schema.seed,
        simulate=schema.simulate,
        subject=schema.subject,
        path=path,
        text=text,
    )
