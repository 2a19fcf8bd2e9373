"""Finds signals: one file each in simulators/signals, or an entry point of the group ``hil.signals``."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import MISSING, fields
from importlib.metadata import entry_points
from typing import Any, Protocol, cast, get_type_hints

import simulators.signals
from drivers.errors import SettingError
from drivers.field_types import fits
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.signals import Signal
from simulators.subject import Subject

_GROUP = "hil.signals"


class SignalModule(Protocol):
    """What a signal's file holds."""

    OPTIONS: type[Any]
    """Frozen dataclass of the options; each field's metadata["help"] explains it."""

    def signal(self, subject: Subject, spec: StreamSpec, draws: Draws, options: Any) -> Signal:
        """The signal for one stream; SettingError where options and stream do not fit."""


def signal_names() -> list[str]:
    """Every signal that a simulated stream can carry, sorted."""
    return sorted(_own_names() | {point.name for point in entry_points(group=_GROUP)})


def _own_names() -> set[str]:
    return {m.name for m in pkgutil.iter_modules(simulators.signals.__path__) if m.name != "registry"}


def load_signal(name: str) -> SignalModule:
    """The signal's module; SettingError lists near names."""
    module = str(name).replace("-", "_")
    if module in _own_names():
        return cast(SignalModule, importlib.import_module(f"simulators.signals.{module}"))
    for point in entry_points(group=_GROUP):
        if point.name == name:
            return cast(SignalModule, point.load())
    near = difflib.get_close_matches(module, signal_names(), n=3) or signal_names()
    raise SettingError(f"no signal is called {name!r}; there is {', '.join(near)} (see `hil list signals`)")


def make_options(name: str, given: Mapping[str, Any]) -> Any:
    """The signal's options from plain values; SettingError names an unknown key or a value of the wrong type."""
    kind = load_signal(name).OPTIONS
    known = {field.name: field for field in fields(kind)}
    hints = get_type_hints(kind)
    for key, value in given.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known) or 'none'}"
            raise SettingError(f"signal {name!r} has no option {key!r}{hint}")
        if not fits(value, hints[key]):
            wanted = getattr(hints[key], "__name__", str(hints[key]))
            raise SettingError(f"signal {name!r}: option {key!r} is {value!r}; {wanted} is wanted")
    for key, field in known.items():
        if field.default is MISSING and field.default_factory is MISSING and key not in given:
            raise SettingError(f"signal {name!r} needs the option {key!r}: {field.metadata.get('help', '')}")
    return kind(**given)


def make_signal(given: Mapping[str, Any], subject: Subject, spec: StreamSpec, draws: Draws) -> Signal:
    """The signal of one stream from {"signal": name, **options}; SettingError says what does not fit."""
    options = dict(given)
    name = options.pop("signal", spec.kind)
    return load_signal(name).signal(subject, spec, draws, make_options(name, options))
