"""What can be told about a board that sends binary records: framing, fields, clock, counter, checksum."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drivers import serial_transfer
from drivers.errors import SettingError
from drivers.record_finder import FRAMINGS
from drivers.records import CHECKS, TYPES, Field, Layout, limits
from drivers.types import KINDS, StreamSpec

UNIT_NS = {"us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_KEYS = ("name", "type", "count", "stream", "kind", "unit", "rate_hz", "scale", "offset", "low", "high")
_ALIKE = ("kind", "unit", "rate_hz", "count", "scale", "offset", "low", "high")
"""What all channels of a stream have in common."""
_LONGEST = 4096
DEFAULT: Sequence[Mapping[str, str | float | None]] = (
    {"name": "n", "type": "u8"},
    {"name": "ecg", "type": "i16", "stream": "ecg", "kind": "ecg", "unit": "mV", "rate_hz": 250.0, "scale": 0.001},
)


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    """What the board sends, whatever carries it."""

    framing: str = field(default="cobs", metadata={"help": "cobs, slip or serial-transfer (the Arduino library)"})
    fields: Sequence[Mapping[str, str | float | None]] = field(
        default=tuple(DEFAULT),
        metadata={"help": "in the order of the struct: {name, type, stream, kind, unit, rate_hz, scale, offset, "
                          f"count, low, high}}; type one of {', '.join(TYPES)}; value = number x scale + offset; "
                          "count: so many consecutive samples per record; fields of one stream are its channels; "
                          "{name, type} alone is passed over"},
    )  # fmt: skip
    byte_order: str = field(default="little", metadata={"help": "little (Arduino, ESP32, STM32) or big"})
    counter_field: str = field(default="n", metadata={"help": "unsigned field that counts records; empty: none"})
    time_field: str = field(
        default="", metadata={"help": "u32 or u64 field with the board's clock when it sends a record; empty: none"}
    )
    time_unit: str = field(default="ms", metadata={"help": "unit of the board's clock: us, ms or s"})
    check: str = field(
        default="none",
        metadata={"help": "behind the fields: none, crc8 (0x07), crc16 (CCITT-FALSE) or crc32, in the byte order"},
    )
    packet_id: int = field(default=0, metadata={"help": "simulated board: SerialTransfer's packet id, 0 to 125"})

    def __post_init__(self) -> None:
        _one_of("framing", self.framing, FRAMINGS)
        _one_of("byte_order", self.byte_order, ("little", "big"))
        _one_of("time_unit", self.time_unit, tuple(UNIT_NS))
        _one_of("check", self.check, tuple(CHECKS))
        if not isinstance(self.fields, list | tuple) or not self.fields:
            raise SettingError(f"fields {self.fields!r}: expected a list of mappings")
        for each in self.fields:
            _check_field(each)
        names = [str(each["name"]) for each in self.fields]
        if len(set(names)) < len(names):
            raise SettingError(f"fields {', '.join(names)}: a name stands twice")
        self._check_special("counter_field", self.counter_field, ("u8", "u16", "u32"))
        self._check_special("time_field", self.time_field, ("u32", "u64"))
        if self.time_field and self.time_field == self.counter_field:
            raise SettingError(f"{self.time_field!r} cannot be the clock and the counter at once")
        self._check_streams()
        self._check_size()
        if not 0 <= self.packet_id < serial_transfer.START:
            raise SettingError(f"packet_id {self.packet_id}: expected 0 to {serial_transfer.START - 1}")

    def _check_special(self, key: str, name: str, types: Sequence[str]) -> None:
        if not name:
            return
        found = next((each for each in self.fields if each["name"] == name), None)
        if found is None:
            there = ", ".join(str(each["name"]) for each in self.fields)
            raise SettingError(f"{key} {name!r} is not among the fields, {there}; leave it empty if there is none")
        if found["type"] not in types or found.get("count", 1) != 1 or "stream" in found:
            raise SettingError(f"{key} {name!r}: expected one number of type {' or '.join(types)}, in no stream")

    def _check_streams(self) -> None:
        if not self.streams():
            raise SettingError("fields: expected at least one with a stream")
        for name, channels in self.streams().items():
            for key in _ALIKE:
                if len({each.get(key) for each in channels}) > 1:
                    raise SettingError(f"stream {name!r}: its fields differ in {key}")
        rates = {name: c[0]["rate_hz"] / c[0].get("count", 1) for name, c in self.streams().items()}
        if max(rates.values()) - min(rates.values()) > 1e-9 * max(rates.values()):
            shown = ", ".join(f"{name} {rate:g} Hz" for name, rate in rates.items())
            raise SettingError(f"every record holds every stream, so rate_hz / count must be one number; found {shown}")
        if self.time_field and self.record_hz() > 0.5e9 / UNIT_NS[self.time_unit]:
            raise SettingError(f"time_unit {self.time_unit} cannot tell records at {self.record_hz():g} Hz apart")

    def _check_size(self) -> None:
        size = self.layout().size
        longest = serial_transfer.LONGEST if self.framing == "serial-transfer" else _LONGEST
        if size > longest:
            raise SettingError(f"a record of {size} bytes: {self.framing} carries at most {longest} here")

    def streams(self) -> dict[str, list[Mapping[str, Any]]]:
        """Stream -> its fields."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for each in self.fields:
            if "stream" in each:
                found.setdefault(str(each["stream"]), []).append(each)
        return found

    def record_hz(self) -> float:
        """Records per second."""
        first = next(iter(self.streams().values()))[0]
        return float(first["rate_hz"]) / int(first.get("count", 1))

    def layout(self) -> Layout:
        """The bytes of a record."""
        fields: list[Mapping[str, Any]] = list(self.fields)
        made = [Field(each["name"], each["type"], int(each.get("count", 1))) for each in fields]
        return Layout(made, self.byte_order, self.check)

    def bits(self, name: str) -> int:
        """Width of an integer field."""
        return 8 * TYPES[next(str(each["type"]) for each in self.fields if each["name"] == name)][0]

    def specs(self) -> tuple[StreamSpec, ...]:
        """The streams, in the order of their first fields."""
        timed, numbered = bool(self.time_field), bool(self.counter_field)
        return tuple(_spec(name, each, timed, numbered) for name, each in self.streams().items())


def _spec(name: str, channels: Sequence[Mapping[str, Any]], timed: bool, numbered: bool) -> StreamSpec:
    first = channels[0]
    scale, offset = float(first.get("scale", 1.0)), float(first.get("offset", 0.0))
    ends = limits(first["type"])
    low, high = sorted(end * scale + offset for end in ends) if ends else (None, None)
    return StreamSpec(
        name, first["kind"], tuple(each["name"] for each in channels), first["unit"], float(first["rate_hz"]),
        abs(scale) if ends else None, first.get("low", low), first.get("high", high),
        counted=timed or numbered, timed=timed, numbered=numbered,
    )  # fmt: skip


def _check_field(each: object) -> None:
    """One field by itself."""
    if not isinstance(each, Mapping) or set(each) - set(_KEYS):
        raise SettingError(f"field {each!r}: expected a mapping of {', '.join(_KEYS)}")
    name = each.get("name", "")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SettingError(f"field name {name!r}: expected a letter, then letters, digits or any of _ . / -")
    _one_of(f"type of {name!r}", each.get("type"), tuple(TYPES))
    count = each.get("count", 1)
    if type(count) is not int or not 1 <= count <= _LONGEST:
        raise SettingError(f"field {name!r}: count {count!r} is no whole number from 1 to {_LONGEST}")
    if "stream" not in each:
        return
    if missing := {"kind", "unit", "rate_hz"} - set(each):
        raise SettingError(f"field {name!r} lacks {', '.join(sorted(missing))}")
    for key in ("stream", "unit"):
        if not isinstance(each[key], str) or not each[key]:
            raise SettingError(f"field {name!r}: {key} {each[key]!r} is no text")
    _one_of(f"kind of {name!r}", each["kind"], KINDS)
    for key in ("rate_hz", "scale", "offset", "low", "high"):
        value = each.get(key)
        if value is None and key != "rate_hz":
            continue
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise SettingError(f"field {name!r}: {key} {value!r} is no number")
        if (key == "rate_hz" and value <= 0) or (key == "scale" and value == 0):
            raise SettingError(f"field {name!r}: {key} {value!r} is of no use")


def _one_of(key: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise SettingError(f"{key} {value!r}: expected one of {', '.join(map(repr, allowed))}")
