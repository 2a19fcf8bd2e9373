"""Reads a rig from strict YAML: every problem at once, each with file, line, column and what to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from harness.api.meaning import api_entry
from harness.rig import HealthEntry, LogEntry, ModelEntry, MonitorEntry, Rig, SensorEntry, WindowEntry
from harness.rig_meaning import Meaning, near, resolved
from harness.rig_schema import (
    ApiSchema,
    ClockSchema,
    EndpointSchema,
    ExpectSchema,
    HealthSchema,
    InputSchema,
    LogSchema,
    ModelSchema,
    MonitorSchema,
    RigSchema,
    SensorSchema,
    SimulateSchema,
    WindowSchema,
)
from harness.yaml_tree import Problem, Tree, Where, parse
from simulators.build import SimulatedSpec

_MOST_BYTES = 4_000_000


@dataclass(frozen=True)
class RigError(Exception):
    """A rig file that cannot be used; str() is one ``path:line:column: message`` line per problem."""

    path: str
    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        return "\n".join(f"{self.path}:{p.line}:{p.column}: {p.message}" for p in self.problems)


def read_rig(path: str | Path) -> Rig:
    """The rig in a file; RigError."""
    data = b""
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise RigError(str(path), (Problem(1, 1, f"cannot read the rig file: {error.strerror}"),)) from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        text = f"expected UTF-8 text, found the byte 0x{data[error.start]:02x}: is this a rig file?"
        raise RigError(str(path), (Problem(line, column, text),)) from error
    if len(data) > _MOST_BYTES:
        raise RigError(str(path), (Problem(1, 1, f"longer than {_MOST_BYTES} bytes: this is no rig file"),))
    return parse_rig(text, str(path))


def parse_rig(text: str, path: str = "rig.yaml") -> Rig:
    """The rig in a text; RigError."""
    tree = parse(text)
    problems = list(tree.problems)
    schema: RigSchema | None = None
    if isinstance(tree.value, Mapping):
        broken = {(p.line, p.column) for p in tree.problems}  # has its message already
        found: list[Problem] = []
        try:
            schema = RigSchema.model_validate(tree.value)
        except ValidationError as error:
            found += [_explain(tree, dict(detail)) for detail in error.errors()]
        found += Meaning(tree, Path(path).parent).check()
        problems += [p for p in found if (p.line, p.column) not in broken]
    elif not problems:
        text = f"expected a mapping with `name:`, `sensors:`, `limits:`, found {_found(tree, (), tree.value)}"
        problems.append(tree.problem((), text))
    if schema is None or problems:
        raise RigError(path, tuple(sorted(set(problems), key=lambda p: (p.line, p.column, p.message))))
    return _to_rig(schema, path, text)


# --- shape ------------------------------------------------------------------------------------

_MODELS: Sequence[tuple[type[BaseModel], tuple[str, ...]]] = (
    (RigSchema, ()),
    (SensorSchema, ("sensors", "*")),
    (SimulateSchema, ("sensors", "*", "simulate")),
    (ClockSchema, ("sensors", "*", "simulate", "clock")),
    (ModelSchema, ("model",)),
    (InputSchema, ("model", "inputs", "*")),
    (WindowSchema, ("window",)),
    (ApiSchema, ("api",)),
    (EndpointSchema, ("api", "endpoints", "*")),
    (ExpectSchema, ("api", "endpoints", "*", "expect")),
    (MonitorSchema, ("monitor",)),
    (LogSchema, ("log",)),
    (HealthSchema, ("health",)),
)
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "list_type": "a list (- item)",
}
_BOUNDS = {"greater_than": "more than", "greater_than_equal": "at least", "less_than": "less than",
           "less_than_equal": "at most"}  # fmt: skip
_LONGEST = 60


def _keys_at(where: Where) -> list[str]:
    """Keys that the mapping at this path may have."""
    for model, pattern in _MODELS:
        if len(where) == len(pattern) and all(b in ("*", a) for a, b in zip(where, pattern, strict=True)):
            return [field.alias or name for name, field in model.model_fields.items()]
    return []


def _explain(tree: Tree, detail: Mapping[str, Any]) -> Problem:
    where: Where = detail["loc"]
    kind, context = detail["type"], detail.get("ctx", {})
    key = f"{where[-2]}[{where[-1]}]" if isinstance(where[-1], int) else where[-1]
    if kind == "extra_forbidden":
        return tree.problem(where, f"unknown key {key!r}{near(str(key), _keys_at(where[:-1]))}", prefer_key=True)
    if kind == "missing":
        return tree.problem(where[:-1], f"the key {key!r} is missing here")
    if kind == "too_short":
        what = {"sensors": "at least one sensor", "limits": "at least one check, such as `latency: {max_ms: 100}`"}
        return tree.problem(where, f"{key}: expected {what.get(str(key), 'at least one')}, found none")
    if kind in _EXPECTED:
        expected = _EXPECTED[kind]
    elif kind in _BOUNDS:
        expected = f"{_BOUNDS[kind]} {next(iter(context.values())):g}"
    elif kind == "literal_error":
        expected = str(context["expected"])
    elif kind in ("string_pattern_mismatch", "string_too_short"):
        expected = _FORMS.get(str(key), "another text")
    else:
        expected = detail["msg"].replace("Input should be", "").replace("valid ", "").strip()
    value = detail.get("input")
    return tree.problem(
        where, f"{key}: expected {expected}, found {_found(tree, where, value)}{_quotes(tree, where, kind, value)}"
    )


_FORMS = {
    "name": "letters, digits, '.', '_' and '-', a letter or digit first",
    "factory": "package.module:function",
}


def _found(tree: Tree, where: Where, value: Any) -> str:
    """A value as a person would say it."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping | list):
        return "a mapping" if isinstance(value, Mapping) else "a list"
    if isinstance(value, str):
        return f"the text {_short(value)!r}"
    return _short(tree.texts.get(where, str(value)))


def _quotes(tree: Tree, where: Where, kind: str, value: Any) -> str:
    """YAML's own ideas of what is a number and what is not, explained where they bite."""
    text = tree.texts.get(where)
    if kind == "string_type" and text is not None and value is not None:
        reading = f" as {value}" if str(value).lower() != text.lower() else f" as a {_kind(value)}"
        return f": YAML reads {_short(text)}{reading}, so put it in quotes"
    if kind in ("float_type", "int_type", "bool_type") and isinstance(value, str):
        if text is None:
            return ": leave the quotes out"
        try:
            number = float(text)
        except ValueError:
            return ""
        return f": YAML takes this for text, so write {number!r}"
    return ""


def _kind(value: Any) -> str:
    return "boolean" if isinstance(value, bool) else "number" if isinstance(value, int | float) else "date"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


# --- to plain data ----------------------------------------------------------------------------


def to_entry(role: str, sensor: SensorSchema, folder: Path) -> SensorEntry:
    """The rig's entry; files that signals play are named from the rig file's folder."""
    simulate = sensor.simulate.model_dump()
    simulate["signals"] = {stream: resolved(options, folder) for stream, options in simulate["signals"].items()}
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
        api=api_entry(schema.api, folder) if schema.api else None,
        monitor=MonitorEntry(**schema.monitor.model_dump()),
        log=LogEntry(**schema.log.model_dump()),
        health=HealthEntry(**schema.health.model_dump()),
        limits=schema.limits,
        duration_s=schema.duration_s,
        mains_hz=schema.mains_hz,
        seed=schema.seed,
        simulate=schema.simulate,
        subject=schema.subject,
        path=path,
        text=text,
    )
