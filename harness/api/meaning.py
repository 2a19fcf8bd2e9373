"""What a rig's ``api:`` section and ``model.url`` mean: addresses, credentials, payloads and schemas that can be used.

Works on the file's plain values, as harness.rig_meaning does for the rest of a rig.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from drivers.errors import SettingError
from harness.api.address import address_of, check_path
from harness.api.credentials import check_header
from harness.api.structure import check_schema
from harness.rig import ApiEntry, EndpointEntry
from harness.rig_schema import ApiSchema, EndpointSchema
from harness.yaml_tree import Where

Found = tuple[Where, str]
"""Where, from the section on, and what is wrong there."""
_BODIES = ("payload", "payload_file", "live")
_BODILESS = ("get", "delete")
_MOST_BYTES = 16 * 2**20
_NO_MODULE = ("factory", "file", "engine", "device", "threads")
"""Keys of ``model:`` that say how a module is run here."""


def api_problems(api: Mapping[str, Any], folder: Path) -> Iterator[Found]:
    """Everything that is wrong with an ``api:`` section but its shape."""
    url, remote = api.get("base_url"), api.get("allow_remote") is True
    if isinstance(url, str):
        yield from _tried(("base_url",), lambda: address_of(url, allow_remote=remote))
    yield from _headers((), api.get("headers"))
    timeout_ms = api.get("timeout_ms", 1000.0)
    for name, given in _mapping(api.get("endpoints")).items():
        yield from _endpoint(("endpoints", name), name, _mapping(given), folder, timeout_ms)


def model_problems(model: Mapping[str, Any]) -> Iterator[Found]:
    """What is wrong with a model that is behind a URL."""
    url = model.get("url")
    if not isinstance(url, str):
        for key in ("timeout_ms", "allow_remote"):
            if key in model:
                yield (key,), f"{key}: it belongs to model.url, and there is none"
        return
    yield from _tried(("url",), lambda: address_of(url, allow_remote=model.get("allow_remote") is True))
    for key in _NO_MODULE:
        if key in model:
            text = "give either factory, file or url" if key in ("factory", "file") else "its server decides that"
            yield (key,), f"{key}: the model is behind model.url; {text}"


def api_entry(schema: ApiSchema, folder: Path) -> ApiEntry:
    """The section as plain data: files are named from the rig file's folder, schemas are read."""
    endpoints = {name: _entry(name, given, folder) for name, given in schema.endpoints.items()}
    return ApiEntry(schema.base_url, endpoints, schema.timeout_ms, schema.allow_remote, schema.headers)


def _entry(name: str, given: EndpointSchema, folder: Path) -> EndpointEntry:
    expect = given.expect
    return EndpointEntry(
        name, given.path or name, given.method, given.payload,
        payload_file=str(folder / given.payload_file) if given.payload_file else None,
        live=given.live, headers=given.headers, status=expect.status,
        schema=read_json(folder / expect.schema_file) if expect.schema_file else expect.structure,
        is_json=expect.is_json, budget_ms=given.budget_ms, repeat=given.repeat,
    )  # fmt: skip


def read_json(path: Path) -> Any:
    """A JSON document in a file; SettingError."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SettingError(f"no file that can be read: {path} ({error.strerror})") from error
    if len(data) > _MOST_BYTES:
        raise SettingError(f"{path} is longer than {_MOST_BYTES} bytes")
    try:
        return json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise SettingError(f"{path} is no JSON: {error}") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"it holds {name}, which JSON does not have")


# --- one endpoint -----------------------------------------------------------------------------


def _endpoint(at: Where, name: str, given: Mapping[str, Any], folder: Path, timeout_ms: Any) -> Iterator[Found]:
    path = given.get("path", name)
    if isinstance(path, str):
        here = (*at, "path") if "path" in given else at
        yield from _tried(here, lambda: check_path(path))
    yield from _headers(at, given.get("headers"))
    yield from _body(at, given, folder)
    yield from _expect((*at, "expect"), _mapping(given.get("expect")), folder)
    budget_ms = given.get("budget_ms")
    if _is_number(budget_ms) and _is_number(timeout_ms) and budget_ms > timeout_ms:
        text = f"budget_ms: no call may take longer than timeout_ms, {timeout_ms:g}, so {budget_ms:g} says nothing"
        yield (*at, "budget_ms"), text


def _body(at: Where, given: Mapping[str, Any], folder: Path) -> Iterator[Found]:
    bodies = [key for key in _BODIES if key in given and given[key] is not False]
    if len(bodies) > 1:
        yield (*at, bodies[1]), f"give one of {', '.join(_BODIES)}, not {' and '.join(bodies)}"
    if bodies and given.get("method") in _BODILESS:
        yield (*at, bodies[0]), f"a {str(given['method']).upper()} request carries no {bodies[0]}"
    file = given.get("payload_file")
    if isinstance(file, str):
        yield from _tried((*at, "payload_file"), lambda: read_json(folder / file))
    try:
        json.dumps(given.get("payload"), allow_nan=False)
    except (TypeError, ValueError) as error:
        yield (*at, "payload"), f"payload: not JSON: {error}; put dates in quotes, and give finite numbers"


def _expect(at: Where, expect: Mapping[str, Any], folder: Path) -> Iterator[Found]:
    schema, file = expect.get("schema"), expect.get("schema_file")
    if schema is not None and file is not None:
        yield (*at, "schema_file"), "give either schema or schema_file, not both"
    if (schema is not None or file is not None) and expect.get("json") is False:
        yield (*at, "json"), "a schema is about JSON: leave out `json: false`, or the schema"
    if isinstance(schema, Mapping):
        yield from _tried((*at, "schema"), lambda: check_schema(schema))
    if isinstance(file, str):
        yield from _tried((*at, "schema_file"), lambda: _check_schema_file(folder / file))


def _check_schema_file(path: Path) -> None:
    schema = read_json(path)
    if not isinstance(schema, Mapping):
        raise SettingError(f"{path}: expected a JSON Schema as an object")
    check_schema(schema)


def _headers(at: Where, headers: Any) -> Iterator[Found]:
    for name, value in _mapping(headers).items():
        if isinstance(value, str):
            yield from _tried((*at, "headers", name), _header_check(name, value))


def _header_check(name: str, value: str) -> Callable[[], None]:
    return lambda: check_header(name, value)


def _tried(where: Where, check: Callable[[], object]) -> Iterator[Found]:
    try:
        check()
    except SettingError as error:
        text = str(error)
        yield where, text if text.startswith(f"{where[-1]}:") else f"{where[-1]}: {text}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
