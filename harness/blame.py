"""Which part of a mapping a constructor objects to, found by leaving parts out and asking again.

Settings, faults, signals, limits and subjects each check themselves and raise one error at a time, in their own
words. A rig file's author wants every problem with its line and column; so what is objected to is searched here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from drivers.errors import SensorError
from harness.yaml_tree import Where

Make: TypeAlias = Callable[[dict[str, Any]], object]
_MANY = 200
"""Longer lists are blamed as a whole."""
_QUOTED = re.compile(r"\{.*\}|\[.*\]", re.DOTALL)


def objections(given: Mapping[str, Any], make: Make, needed: Collection[str] = ()) -> list[tuple[Where, str]]:
    """(path within ``given``, message) of what ``make`` raises; empty if it takes everything.

    The first error is always told. Each further one is told if its key alone, with the ``needed`` ones, brings it
    about too and it names no key that was left out, so that no error is told that only the search has caused.
    """
    found: list[tuple[Where, str]] = []
    rest = dict(given)
    while (message := _complaint(make, rest)) is not None:
        where = _culprit(rest, lambda changed: _complaint(make, changed), message)
        caused = any(_names(message, str(before[0])) for before, _ in found)
        if found and (caused or not where or not _alone(make, rest, where[0], needed, message)):
            break
        found.append((where, message))
        if not where:
            break
        del rest[str(where[0])]
    return found


def _complaint(make: Make, given: dict[str, Any]) -> str | None:
    try:
        make(given)
    except (SensorError, ValueError) as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  sensors and checks may come from outside: no traceback for a bad value
        return f"{type(error).__name__}: {error}"
    return None


def _alone(make: Make, given: Mapping[str, Any], key: str | int, needed: Collection[str], message: str) -> bool:
    after = _complaint(make, {name: value for name, value in given.items() if name == key or name in needed})
    return after is not None and _shape(after) == _shape(message)


def _shape(message: str) -> str:
    """The message without the mappings and lists that it quotes."""
    return _QUOTED.sub("", message)


def _culprit(value: Any, attempt: Callable[[Any], str | None], message: str) -> Where:
    """The deepest path whose removal changes the message: rather one that cures it, that it quotes, a later one."""
    children = _children(value)
    ranked = []
    for order, (key, child) in enumerate(children):
        after = attempt(_without(value, key))
        if after is None or _shape(after) != _shape(message):
            ranked.append((after is not None, not _quotes(message, key, child), -order, key))
    if not ranked:
        return ()
    key = min(ranked)[-1]
    return key, *_culprit(dict(children)[key], lambda changed: attempt(_with(value, key, changed)), message)


def _children(value: Any) -> list[tuple[str | int, Any]]:
    if isinstance(value, Mapping):
        children = list(value.items())
    else:
        children = list(enumerate(value)) if isinstance(value, list) else []
    return children if len(children) <= _MANY else []


def _without(value: Any, key: str | int) -> Any:
    if isinstance(value, Mapping):
        return {name: child for name, child in value.items() if name != key}
    return [child for number, child in enumerate(value) if number != key]


def _with(value: Any, key: str | int, child: Any) -> Any:
    if isinstance(value, Mapping):
        return {**value, key: child}
    return [child if number == key else old for number, old in enumerate(value)]


def _quotes(message: str, key: str | int, child: Any) -> bool:
    named = isinstance(key, str) and _names(message, key)
    return named or (isinstance(child, str) and repr(child) in message)


def _names(message: str, key: str) -> bool:
    return re.search(rf"\b{re.escape(key)}\b", message) is not None
