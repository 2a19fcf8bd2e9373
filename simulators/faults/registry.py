"""Finds faults: one file each in simulators/faults, or an entry point of the group ``hil.faults``."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import entry_points
from typing import Any, cast

import simulators.faults
from drivers.errors import SettingError
from simulators.faults import Fault

_GROUP = "hil.faults"


def _own() -> set[str]:
    names = {module.name for module in pkgutil.iter_modules(simulators.faults.__path__)}
    return {name for name in names if not name.startswith("_") and name != "registry"}


def fault_names() -> list[str]:
    """Every fault that can be injected, sorted."""
    return sorted(_own() | {point.name for point in entry_points(group=_GROUP)})


def load_fault(name: str) -> type[Fault]:
    """The fault's class; SettingError lists near names."""
    if name in _own():
        return cast(type[Fault], importlib.import_module(f"simulators.faults.{name}").FAULT)
    for point in entry_points(group=_GROUP):
        if point.name == name:
            return cast(type[Fault], point.load().FAULT)
    near = difflib.get_close_matches(str(name), fault_names(), n=3) or fault_names()
    raise SettingError(f"no fault is called {name!r}; there is {', '.join(near)} (see `hil list faults`)")


def make_fault(given: Mapping[str, Any]) -> Fault:
    """The fault from plain values, ``{"fault": name, **keys}``; SettingError names what is wrong."""
    if not isinstance(given, Mapping) or "fault" not in given:
        raise SettingError(f"expected a fault as {{fault: name, key: value}}, found {given!r}")
    made = load_fault(given["fault"])
    known = [each.name for each in fields(made)]
    keys = {name: value for name, value in given.items() if name != "fault"}
    for name in keys:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known)}"
            raise SettingError(f"fault {made.NAME} has no key {name!r}{hint}")
    return made(**keys)
