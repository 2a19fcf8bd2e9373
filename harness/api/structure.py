"""Whether a response has the structure that a JSON Schema asks for, and if not, where it departs from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from drivers.errors import SettingError
from harness.api.wire import describe, pointer

EXTRA = "needs the package jsonschema: pip install 'spiral-hil[api]'"
_MOST = 3
"""Places that are named; the others are counted."""
_LONGEST = 80


def violations(data: Any, schema: Mapping[str, Any] | bool) -> list[str]:
    """What is wrong, in the order of the places: ``/outputs/0: 'type' asks for "number", found the text "x"``.

    The first few, and how many more. SettingError if the schema is none. Texts of the response are shown in part only.
    """
    found = sorted(_validator(json.dumps(schema)).iter_errors(data), key=lambda e: [str(step) for step in e.path])
    said = [_said(error) for error in found[:_MOST]]
    return said if len(found) <= _MOST else [*said, f"{len(found) - _MOST} more"]


def check_schema(schema: Any) -> None:
    """SettingError, with the place, unless it is a JSON Schema whose references lie all within it."""
    try:
        text = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SettingError(f"no JSON Schema: {error}") from error
    _validator(text)


@cache
def _validator(text: str) -> Any:
    """Without a registry jsonschema would fetch a $ref from anywhere, over the network or from the disk."""
    try:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import validator_for
        from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
        from referencing import Resource
        from referencing.jsonschema import DRAFT202012
    except ImportError as error:
        raise SettingError(f"a schema {EXTRA} ({error.name} is not installed)") from error
    schema = json.loads(text)
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        where = pointer(*error.absolute_path) or "the schema"
        raise SettingError(f"no JSON Schema: {where}: {_short(error.message)}") from error
    root = Resource.from_contents(schema, default_specification=DRAFT202012)
    _check_references(REGISTRY.resolver_with_root(root), schema, ())
    return kind(schema, registry=REGISTRY)


def _check_references(resolver: Any, part: Any, where: tuple[str | int, ...]) -> None:
    """Every $ref is looked up now, so that none is found missing in the middle of a run."""
    if isinstance(part, Mapping):
        reference = part.get("$ref")
        if isinstance(reference, str):
            try:
                resolver.lookup(reference)
            except Exception as error:  # of the package referencing, which names each kind of absence its own way
                text = f"the reference {_short(reference)!r} leads nowhere; only what stands in the schema is looked at"
                raise SettingError(f"no JSON Schema: {pointer(*where) or 'the schema'}: {text}") from error
        for key, inner in part.items():
            _check_references(resolver, inner, (*where, key))
    elif isinstance(part, list):
        for number, inner in enumerate(part):
            _check_references(resolver, inner, (*where, number))


def _said(error: Any) -> str:
    where = pointer(*error.absolute_path) or "the response"
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{where}: 'required' asks for {_short(', '.join(missing))}, which is not there"
    if error.validator is None:
        return f"found {describe(error.instance)} where nothing is allowed"  # jsonschema does not say where
    wanted = _short(json.dumps(error.validator_value))
    return f"{where}: {error.validator!r} asks for {wanted}, found {describe(error.instance)}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
