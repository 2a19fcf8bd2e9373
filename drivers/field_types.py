"""Whether a plain value, as a rig file holds it, may stand for a field of a dataclass."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

_NAMES = {str: "text", bool: "true or false", int: "a whole number", float: "a number", type(None): "nothing"}


def fits(value: Any, hint: Any) -> bool:
    """True if the value can stand for a field with this type hint; hints that say nothing fit everything.

    A whole number fits a float; neither NaN nor infinity does, and a boolean is no number.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin in (tuple, list, Sequence):
        items = [part for part in parts if part is not Ellipsis]
        return isinstance(value, list | tuple) and all(any(fits(item, part) for part in items) for item in value)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(fits(k, parts[0]) and fits(v, parts[1]) for k, v in value.items())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return hint is Any or not isinstance(hint, type) or isinstance(value, hint)


def described(hint: Any) -> str:
    """What a person would call values of a type hint."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(described(part) for part in parts)
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin in (tuple, list, Sequence):
        return f"a list, each {described(parts[0])}"
    if origin in (dict, Mapping):
        return f"a mapping, each value {described(parts[1])}"
    return _NAMES.get(hint, "a value that fits")
