"""What ``hil list`` prints: names with what they are and every key, as plain text that fits the terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from typing import Any

from drivers.errors import MissingExtra
from drivers.registry import load_sensor, make_settings, sensor_names
from harness.checks.registry import check_names, load_check
from harness.judge import ALWAYS
from simulators.faults import Fault, SampleFault
from simulators.faults.registry import fault_names, load_fault
from simulators.signals.registry import load_signal, signal_names

_LAYERS = {
    "samples": "what the ADC sees",
    "frames": "the frames that the device sends",
    "bytes": "the bytes on the wire",
    "device": "the device itself",
    "link": "the link",
}


def listing(what: str, width: int) -> str:
    """The text for sensors, signals, faults or checks, in lines of at most ``width`` columns where words allow."""
    return "\n\n".join("\n".join(entry) for entry in _ENTRIES[what](max(40, width)))


def _wrapped(text: str, width: int, indent: int, hang: int = 0) -> list[str]:
    first, rest = " " * indent, " " * (indent + hang)
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def _first_sentence(thing: Any) -> str:
    return (thing.__doc__ or "").strip().split("\n")[0]


def _shown(value: Any) -> str:
    """A default as it would stand in a rig file."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, float):
        return ".inf" if math.isinf(value) else f"{value:g}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_shown(item)}" for key, item in value.items()) + "}"
    return str(value) or '""'


def _keys(kind: type[Any], width: int, without: Iterable[str] = ()) -> list[str]:
    rows = [field for field in fields(kind) if field.name not in without]
    lines: list[str] = []
    for field in rows:
        if field.default is not MISSING:
            default = _shown(field.default)
        else:
            default = "needed" if field.default_factory is MISSING else _shown(field.default_factory())
        unit, explained = field.metadata.get("unit", ""), field.metadata.get("help", "")
        if unit and field.default is None:
            explained += f", {unit}"
        elif unit:
            default += f" {unit}"
        text = f"{field.name} ({default}): {explained}"
        lines += _wrapped(text, width, 4, 4)
    return lines


def _sensors(width: int) -> list[list[str]]:
    return [
        [
            f"{name} ({sensor.LINK})",
            *_wrapped(_first_sentence(sensor), width, 2),
            "  streams, with the default settings:",
            *_streams(sensor, width),
            "  settings:",
            *(_keys(sensor.SETTINGS, width) or ["    none"]),
            *_wrapped(f"protocol from: {'; '.join(sensor.SOURCES)}", width, 2, 2),
        ]
        for name in sensor_names()
        for sensor in [load_sensor(name)]
    ]


def _streams(sensor: Any, width: int) -> list[str]:
    needed = [f.name for f in fields(sensor.SETTINGS) if f.default is MISSING and f.default_factory is MISSING]
    if needed:
        return [f"    as declared in {', '.join(needed)}"]
    try:
        streams = sensor.host(make_settings(sensor)).streams
    except MissingExtra as missing:
        return _wrapped(str(missing), width, 4, 4)
    lines = []
    for spec in streams:
        rate = f"at {spec.rate_hz:g} Hz" if spec.rate_hz else "as they happen"
        channels = f"{', '.join(spec.channels)} in {spec.unit}, {rate}"
        lines += _wrapped(f"{spec.name}: {spec.kind} ({channels})", width, 4, 4)
    return lines


def _faults(width: int) -> list[list[str]]:
    common = [field.name for field in fields(Fault)]
    entries = [["every fault has these keys, and its own:", *_keys(Fault, width)]]
    for name in fault_names():
        kind = load_fault(name)
        checks = ", ".join(sorted(kind.TOUCHES)) or "none"
        kinds = f" on streams of kind {', '.join(sorted(kind.KINDS))}" if issubclass(kind, SampleFault) else ""
        changes = f"changes {_LAYERS.get(kind.LAYER, kind.LAYER)}{kinds}; must be noticed by: {checks}"
        entries.append(
            [
                f"{name} ({kind.LAYER})",
                *_wrapped(_first_sentence(kind), width, 2),
                *_wrapped(changes, width, 2),
                *_keys(kind, width, common),
            ]
        )
    return entries


def _signals(width: int) -> list[list[str]]:
    return [
        [name, *_wrapped(_first_sentence(module), width, 2), *(_keys(module.OPTIONS, width) or ["    no options"])]
        for name in signal_names()
        for module in [load_signal(name)]
    ]


def _checks(width: int) -> list[list[str]]:
    return [
        [
            f"{name} (always runs)" if name in ALWAYS else name,
            *_wrapped(_first_sentence(module), width, 2),
            *(_keys(module.LIMITS, width) or ["    no limits to set"]),
        ]
        for name in check_names()
        for module in [load_check(name)]
    ]


_ENTRIES: dict[str, Callable[[int], list[list[str]]]] = {
    "sensors": _sensors,
    "signals": _signals,
    "faults": _faults,
    "checks": _checks,
}
