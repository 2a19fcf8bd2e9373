"""Finds checks: one file each in harness/checks, or an entry point of the group ``hil.checks``."""

from __future__ import annotations

import difflib
import importlib
import math
import pkgutil
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol, cast

import harness.checks
from drivers.errors import SettingError
from harness.recording import Recording
from harness.verdict import Verdict

_GROUP = "hil.checks"
_NOT_CHECKS = {"registry"}


class Check(Protocol):
    """A module in harness/checks."""

    NAME: ClassVar[str]
    LIMITS: ClassVar[type[Any]]

    @staticmethod
    def check(recording: Recording, limits: Any) -> list[Verdict]:
        """At least one verdict."""


def check_names() -> list[str]:
    """Every check that a rig may ask for, sorted."""
    own = {m.name for m in pkgutil.iter_modules(harness.checks.__path__)} - _NOT_CHECKS
    return sorted(own | {point.name for point in entry_points(group=_GROUP)})


def load_check(name: str) -> Check:
    """The check's module; SettingError lists near names."""
    module = name.replace("-", "_")
    if name not in _NOT_CHECKS and any(m.name == module for m in pkgutil.iter_modules(harness.checks.__path__)):
        return cast(Check, importlib.import_module(f"harness.checks.{module}"))
    for point in entry_points(group=_GROUP):
        if point.name == name:
            return cast(Check, point.load())
    near = difflib.get_close_matches(name, check_names(), n=3) or check_names()
    raise SettingError(f"no check is called {name!r}; there is {', '.join(near)} (see `hil list checks`)")


def make_limits(check: Check, given: Mapping[str, Any]) -> Any:
    """The check's limits from plain values; SettingError names an unknown key or a value that is no number."""
    known = {field.name: field for field in fields(check.LIMITS)}
    for key, value in given.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known)}"
            raise SettingError(f"the check {check.NAME} has no limit {key!r}{hint}")
        if isinstance(known[key].default, int | float) and not _is_number(value):
            raise SettingError(f"{check.NAME}: {key} is {value!r}; expected a number")
    return check.LIMITS(**given)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
