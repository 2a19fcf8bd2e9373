"""What a text-line sensor can be told about the board that prints: format, columns, clock, counter."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drivers.errors import SettingError
from drivers.lines import Layout, decimals
from drivers.types import KINDS, StreamSpec

UNIT_NS = {"ms": 1_000_000, "us": 1_000, "s": 1_000_000_000}
WRAPS = ("ms", "us")
"""millis() and micros() are 32 bits wide."""
_FORMS = ("csv", "label", "teleplot", "jsonl")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_COLUMN_KEYS = ("name", "stream", "kind", "unit", "rate_hz", "lsb", "low", "high")
DEFAULT: Mapping[str, str | float | None] = {
    "name": "ecg", "stream": "ecg", "kind": "ecg", "unit": "mV", "rate_hz": 250.0,
    "lsb": 0.001, "low": -5.0, "high": 5.0,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the board prints."""

    format: str = field(default="csv", metadata={"help": "csv, label (name:value), teleplot (>name:value) or jsonl"})
    columns: Sequence[Mapping[str, str | float | None]] = field(
        default=(DEFAULT,),
        metadata={"help": "in printed order: {name, stream, kind, unit, rate_hz, lsb, low, high}, the last three "
                          "optional; columns of one stream are its channels; {name} alone is passed over"},
    )  # fmt: skip
    separator: str = field(default=",", metadata={"help": "between cells of csv or label lines: comma, tab or space"})
    time_column: str = field(default="", metadata={"help": "cell with the board's clock; printed first unless listed"})
    time_unit: str = field(default="ms", metadata={"help": "unit of the board's clock: ms, us or s"})
    counter_column: str = field(default="", metadata={"help": "cell that counts lines; printed next unless listed"})
    counter_modulus: int = field(default=65536, metadata={"help": "the counter goes from this less one to 0"})
    checksum: str = field(default="none", metadata={"help": "none, or nmea: each line is $...*hh"})
    baud: int = field(default=115200, metadata={"help": "line rate in bits per second"})

    def __post_init__(self) -> None:
        _one_of("format", self.format, _FORMS)
        _one_of("separator", self.separator, (",", "\t", " "))
        _one_of("time_unit", self.time_unit, tuple(UNIT_NS))
        _one_of("checksum", self.checksum, ("none", "nmea"))
        if self.baud <= 0:
            raise SettingError(f"baud {self.baud}: expected a positive number of bits per second")
        if self.counter_modulus < 2:
            raise SettingError(f"counter_modulus {self.counter_modulus}: a counter has at least 2 values")
        self._check_columns()
        self._check_rates()
        if self.format == "teleplot" and (self.checksum != "none" or self.counter_column):
            raise SettingError("teleplot lines have neither a checksum nor a counter")

    def _check_columns(self) -> None:
        if not isinstance(self.columns, list | tuple):
            raise SettingError(f"columns {self.columns!r}: expected a list of mappings")
        for column in self.columns:
            _check_column(column)
        names = self.cells()
        for name in (self.time_column, self.counter_column):
            if name and not _NAME.fullmatch(name):
                raise SettingError(f"column name {name!r}: expected a letter, then letters, digits or any of _ . / -")
            if any(column["name"] == name and "stream" in column for column in self.columns):
                raise SettingError(f"column {name!r} is the clock or the counter, so it cannot be in a stream too")
        if len(set(names)) < len(names):
            raise SettingError(f"columns {', '.join(names)}: a name stands twice")
        if not any("stream" in column for column in self.columns):
            raise SettingError("columns: expected at least one with a stream")
        for stream in self.streams().values():
            for key in ("kind", "unit", "rate_hz", "lsb", "low", "high"):
                if len({column.get(key) for column in stream}) > 1:
                    raise SettingError(f"stream {stream[0]['stream']!r}: its columns differ in {key}")

    def _check_rates(self) -> None:
        for stream in self.streams().values():
            ratio = self.row_rate_hz() / stream[0]["rate_hz"]
            if ratio < 3 and ratio != round(ratio):
                raise SettingError(
                    f"stream {stream[0]['stream']!r}: {stream[0]['rate_hz']:g} Hz is neither a whole part nor less "
                    f"than a third of the line rate, {self.row_rate_hz():g} Hz, so its losses could not be counted"
                )
            if ratio > 1 and self.separator == " " and self.format == "csv":
                raise SettingError("csv with spaces cannot leave a cell empty: all streams must have one rate")
        finest_hz = 0.5e9 / UNIT_NS[self.time_unit]
        if self.time_column and self.time_unit != "s" and self.row_rate_hz() > finest_hz:
            raise SettingError(f"time_unit {self.time_unit} cannot tell lines apart above {finest_hz:g} Hz")

    def streams(self) -> dict[str, list[Mapping[str, Any]]]:
        """Stream -> its columns."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for column in self.columns:
            if "stream" in column:
                found.setdefault(str(column["stream"]), []).append(column)
        return found

    def row_rate_hz(self) -> float:
        """Lines per second: the fastest stream's rate."""
        return max(float(stream[0]["rate_hz"]) for stream in self.streams().values())

    def cells(self) -> list[str]:
        """Names in printed order. Teleplot prints slow streams first, so that a fast one completes a row."""
        columns: list[Mapping[str, Any]] = list(self.columns)
        if self.format == "teleplot":
            columns.sort(key=lambda column: float(column.get("rate_hz", 0)))
        names = [column.get("name", "") for column in columns]
        return [name for name in (self.time_column, self.counter_column) if name and name not in names] + names

    def specs(self) -> tuple[StreamSpec, ...]:
        """The streams, in the order of their first columns."""
        timed, numbered = bool(self.time_column), bool(self.counter_column)
        play_ms = len(self.cells()) * 10e3 / self.baud  # each number may gain a digit or a sign: ten bits
        return tuple(
            StreamSpec(
                name, first["kind"], tuple(c["name"] for c in columns), first["unit"], float(first["rate_hz"]),
                first.get("lsb"), first.get("low"), first.get("high"), timed or numbered, timed, numbered, play_ms,
            )
            for name, columns in self.streams().items()
            for first in columns[:1]
        )  # fmt: skip

    def layout(self) -> Layout:
        """What a line looks like."""
        cells = self.cells()
        known: dict[Any, Mapping[str, Any]] = {column.get("name"): column for column in self.columns}
        stamp = "%.6f" if self.time_unit == "s" else "%d"
        special = {self.time_column: stamp, self.counter_column: "%d"}
        formats = [special.get(n) or f"%.{decimals(known[n].get('lsb'))}f" for n in cells]
        rate_hz = self.row_rate_hz()
        fast = {k for k, name in enumerate(cells) if name in known and known[name].get("rate_hz") == rate_hz}
        time_cell = cells.index(self.time_column) if self.time_column else None
        nmea = self.checksum == "nmea"
        return Layout(self.format, tuple(cells), tuple(formats), self.separator, nmea, time_cell, frozenset(fast))


def _check_column(column: object) -> None:
    """One column by itself."""
    if not isinstance(column, Mapping) or set(column) - set(_COLUMN_KEYS):
        raise SettingError(f"column {column!r}: expected a mapping of {', '.join(_COLUMN_KEYS)}")
    name = column.get("name", "")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SettingError(f"column name {name!r}: expected a letter, then letters, digits or any of _ . / -")
    if "stream" not in column:
        return
    if missing := {"kind", "unit", "rate_hz"} - set(column):
        raise SettingError(f"column {name!r} lacks {', '.join(sorted(missing))}")
    for key in ("stream", "unit"):
        if not isinstance(column[key], str) or not column[key]:
            raise SettingError(f"column {name!r}: {key} {column[key]!r} is no text")
    _one_of(f"kind of {name!r}", column["kind"], KINDS)
    for key in ("rate_hz", "lsb", "low", "high"):
        value = column.get(key)
        if value is None and key != "rate_hz":
            continue
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise SettingError(f"column {name!r}: {key} {value!r} is no number")
        if key in ("rate_hz", "lsb") and value <= 0:
            raise SettingError(f"column {name!r}: {key} {value!r} is not positive")


def _one_of(key: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise SettingError(f"{key} {value!r}: expected one of {', '.join(map(repr, allowed))}")
