"""Rows of numbers as text: how microcontroller sketches print them, read and written in whole blocks.

Conventions: the Arduino serial plotter (bare numbers, ``label:value``), Teleplot
(``>name:milliseconds:value``), JSON lines, and the NMEA 0183 checksum (``$...*hh``).
"""

from __future__ import annotations

import json
import math
import operator
from dataclasses import dataclass
from functools import reduce

import numpy as np

from drivers.framing import GivenUp, StampedBuffer
from drivers.types import Batch, FloatArray, IntArray, Malformed

LONGEST_LINE = 4096
_NUMBER_BYTES = b"0123456789+-.eE"
_NO_NUMBER = (b"nan", b"inf", b"-inf", b"+inf", b"ovf", b"-ovf")
"""What C and Arduino print for a value that is none."""
_PADDING = b" \r\n"
_BLOCK = 4
"""From so many lines on, a block is parsed as a whole."""


@dataclass(frozen=True)
class Layout:
    """What a line looks like. ``cells`` in printed order, NaN standing for a cell that is not there."""

    form: str
    """csv, label, teleplot or jsonl."""
    cells: tuple[str, ...]
    formats: tuple[str, ...]
    """A % format for each cell."""
    separator: str = ","
    nmea: bool = False
    time_cell: int | None = None
    every_row: frozenset[int] = frozenset()
    """Teleplot, which prints a line for each value: cells that each row has, and that complete it."""

    def header(self) -> bytes:
        """The line with the names, without its end."""
        return self.separator.join(self.cells).encode()


def nmea_checksum(body: bytes) -> int:
    """XOR of the bytes between ``$`` and ``*``."""
    return reduce(operator.xor, body, 0)


def number(text: bytes) -> float:
    """A cell's number, NaN if it is empty or says that there is none; ValueError otherwise."""
    text = text.strip()
    if not text or text.lower() in _NO_NUMBER:
        return math.nan
    if text.translate(None, _NUMBER_BYTES):
        raise ValueError("no number")
    value = float(text)
    return value if math.isfinite(value) else math.nan


# --- reading ----------------------------------------------------------------------------------


class LineReader:
    """Cuts bytes into lines and lines into rows of numbers; what is neither is given up."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._at = {name.encode(): k for k, name in enumerate(layout.cells)}
        self._names = {name: k for k, name in enumerate(layout.cells)}
        parsers = {"csv": self._csv, "label": self._label, "teleplot": self._teleplot, "jsonl": self._json}
        self._parse = parsers[layout.form]
        self._buffer = StampedBuffer()
        self._given_up = GivenUp(f"a line of more than {LONGEST_LINE} bytes")
        self._pending = self._empty()
        self._lines: list[bytes] = []
        self._keep: IntArray = np.empty(0, dtype=np.int64)
        self.restart(aligned=False)

    def restart(self, *, aligned: bool) -> None:
        """Forget all. Unless aligned, the bytes up to the first line end are the rest of a line."""
        self._buffer.clear()
        self._given_up.clear()
        self._joining, self._endless = not aligned, False
        self._pending = self._empty()

    def _empty(self) -> list[float]:
        return [math.nan] * len(self.layout.cells)

    def matches(self, line: bytes) -> bool:
        """Whether one line is a row, or the beginning of one."""
        try:
            self._parse(self._unwrap(line.strip(_PADDING)))
        except ValueError:
            return False
        finally:
            self._pending = self._empty()
        return bool(line.strip())

    def feed(self, batch: Batch) -> tuple[FloatArray, IntArray, list[Malformed]]:
        """Rows (n, cells), the arrival of each one's line end (n,), and what was given up."""
        joined = self._buffer.join(batch)
        data = joined.data
        done = data.rfind(b"\n") + 1
        start, events = self._skip(joined) if done or self._endless else (0, [])
        if self._endless:
            return self._none(events)
        if len(data) - done > LONGEST_LINE:
            self._endless = True
            events += self._given_up.add(data[done:], int(joined.at_ns[-1]))
        else:
            self._buffer.keep(joined, done)
        if done <= start:
            return self._none(events)
        lines = data[start : done - 1].split(b"\n")
        arrival_ns = joined.time_of(start + np.cumsum([len(line) + 1 for line in lines]) - 1)
        rows, keep, wrong = self._rows(lines)
        self._lines, self._keep = lines, keep
        return rows, arrival_ns[keep], [*events, *_given_up(wrong, lines, arrival_ns)]

    def line(self, row: int) -> bytes:
        """The line that completed a row of the last feed()."""
        return self._lines[int(self._keep[row])]

    def _none(self, events: list[Malformed]) -> tuple[FloatArray, IntArray, list[Malformed]]:
        return np.empty((0, len(self.layout.cells))), np.empty(0, np.int64), events

    def _skip(self, joined: Batch) -> tuple[int, list[Malformed]]:
        """Bytes up to the first line end that are the rest of a line, and the event if that line was too long."""
        end = joined.data.find(b"\n") + 1
        if not self._endless:
            joining, self._joining = self._joining, False
            return (end if joining else 0), []
        events = self._given_up.add(joined.data[: end or None], int(joined.at_ns[-1]))
        if end:
            self._endless = self._joining = False
            events += self._given_up.tell()
        return end, events

    def _rows(self, lines: list[bytes]) -> tuple[FloatArray, IntArray, list[int]]:
        """Rows, the line that completed each, and the lines that are none."""
        if len(lines) >= _BLOCK and self.layout.form == "csv" and not self.layout.nmea:
            whole = self._csv_block(lines)
            if whole is not None:
                return whole, np.arange(len(lines)), []
        rows: list[list[float]] = []
        keep: list[int] = []
        wrong: list[int] = []
        for k, line in enumerate(lines):
            text = line.strip(_PADDING)
            try:
                if len(line) > LONGEST_LINE:
                    raise ValueError("too long")
                row = self._parse(self._unwrap(text)) if text else None
            except ValueError:
                wrong.append(k)
                continue
            if row is not None:
                rows.append(row)
                keep.append(k)
        table = np.array(rows, dtype=np.float64).reshape(len(rows), len(self.layout.cells))
        return table, np.array(keep, dtype=np.int64), wrong

    def _unwrap(self, text: bytes) -> bytes:
        """Take the checksum off; ValueError if it is wrong."""
        if not self.layout.nmea:
            return text
        body, star, given = text[1:].rpartition(b"*")
        if text[:1] != b"$" or not star or len(given) != 2 or int(given, 16) != nmea_checksum(body):
            raise ValueError("wrong checksum")
        return body

    def _csv_block(self, lines: list[bytes]) -> FloatArray | None:
        """All lines at once, or None if one of them needs a closer look. Gives what _csv would."""
        separator, width = self.layout.separator.encode(), len(self.layout.cells)
        text = b"\n".join(lines)
        if text.translate(None, _NUMBER_BYTES + separator + b"\r\n") or separator == b" ":
            return None
        if not all(line.count(separator) == width - 1 and 1 < len(line) <= LONGEST_LINE for line in lines):
            return None
        cells = separator.join(lines).replace(b"\r", b"").split(separator)
        if b"" in cells:
            cells = [cell or b"nan" for cell in cells]
        try:
            table = np.array(list(map(float, cells))).reshape(len(lines), width)
        except ValueError:
            return None
        return np.where(np.isfinite(table), table, math.nan)

    def _csv(self, text: bytes) -> list[float] | None:
        layout = self.layout
        cells = text.split() if layout.separator == " " else text.split(layout.separator.encode())
        if len(cells) != len(layout.cells):
            raise ValueError("another number of cells")
        if text == layout.header():
            return None
        return [number(cell) for cell in cells]

    def _label(self, text: bytes) -> list[float]:
        row, seen = self._empty(), set[int]()
        for token in text.replace(b"\t", b",").replace(b" ", b",").split(b","):
            if token:
                label, colon, value = token.partition(b":")
                found = number(value)
                if not colon or not label:
                    raise ValueError("no label")
                place = self._at.get(label)
                if place is not None:
                    if place in seen:
                        raise ValueError("a label twice: two lines that ran into one another")
                    seen.add(place)
                    row[place] = found
        if not seen:
            raise ValueError("no known label")
        return row

    def _json(self, text: bytes) -> list[float]:
        try:
            found = json.loads(text.decode())
            if not isinstance(found, dict):
                raise ValueError("no object")
            row, known = self._empty(), False
            for name, value in found.items():
                if name not in self._names:
                    continue
                if isinstance(value, bool) or not isinstance(value, int | float | None):
                    raise ValueError("no number")
                known = True
                if value is not None and math.isfinite(value):
                    row[self._names[name]] = float(value)
        except (RecursionError, OverflowError) as error:
            raise ValueError("out of range") from error
        if not known:
            raise ValueError("no known key")
        return row

    def _teleplot(self, text: bytes) -> list[float] | None:
        """Collect ``>name:[ms:]value`` lines until each cell of every_row has been seen."""
        if text[:1] != b">":
            raise ValueError("no Teleplot line")
        label, colon, rest = text[1:].partition(b":")
        column = self._at.get(label.partition(b",")[0])
        stamp, stamped, value = rest.split("§".encode())[0].split(b"|")[0].rpartition(b":")
        if column is None or not colon or b";" in rest or bool(stamped) != (self.layout.time_cell is not None):
            raise ValueError("another variable, or with or without a time")
        self._collect(column, number(value), number(stamp))
        if any(math.isnan(self._pending[k]) for k in self.layout.every_row):
            return None
        row, self._pending = self._pending, self._empty()
        return row

    def _collect(self, column: int, value: float, stamp: float) -> None:
        """Put a value into the row at hand. If that row cannot go on with it, a line was lost: it is left out."""
        row, time_cell = self._pending, self.layout.time_cell
        if column in self.layout.every_row:
            begun = [k for k in self.layout.every_row if not math.isnan(row[k])]
            if begun and (column <= max(begun) or (time_cell is not None and row[time_cell] != stamp)):
                for k in begun:
                    row[k] = math.nan
        row[column] = value
        if time_cell is not None:
            row[time_cell] = stamp


def _given_up(wrong: list[int], lines: list[bytes], arrival_ns: IntArray) -> list[Malformed]:
    """One event for each run of adjacent lines."""
    events: list[Malformed] = []
    first = 0
    while first < len(wrong):
        last = first
        while last + 1 < len(wrong) and wrong[last + 1] == wrong[last] + 1:
            last += 1
        text = b"\n".join(lines[wrong[first] : wrong[last] + 1])
        reason = f"{last - first + 1} lines that do not fit the format" if last > first else "a line that does not fit"
        events.append(Malformed(reason, len(text) + 1, text[:64], int(arrival_ns[wrong[last]])))
        first = last + 1
    return events


# --- writing ----------------------------------------------------------------------------------


def decimals(lsb: float | None) -> int:
    """Decimals that print multiples of ``lsb`` exactly, or else to a hundredth of it; 6 if there is none."""
    if not lsb:
        return 6
    for places in range(7):
        scaled = lsb * 10**places
        if scaled >= 0.5 and abs(scaled - round(scaled)) < 1e-6:
            return places
    return max(0, math.ceil(-math.log10(lsb))) + 2


def write_rows(layout: Layout, rows: FloatArray) -> tuple[bytes, IntArray]:
    """Rows (n, cells) as text with CRLF line ends, and where each row ends, (n,)."""
    patterns, which = np.unique(~np.isnan(rows), axis=0, return_inverse=True)
    templates = [_template(layout, pattern.tolist()) for pattern in patterns]
    chosen = which.reshape(-1).tolist()
    if layout.form == "teleplot":
        rows = _with_its_time(layout, rows)
    text = "".join([templates[k] for k in chosen]) % tuple(rows[~np.isnan(rows)].tolist())
    if layout.nmea:
        text = "".join(f"${line}*{nmea_checksum(line.encode()):02X}\r\n" for line in text.split("\r\n")[:-1])
    data = text.encode()
    line_ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n")) + 1
    count = np.array([template.count("\n") for template in templates])[chosen]
    return data, np.concatenate([[0], line_ends])[np.cumsum(count)]


def _template(layout: Layout, present: list[bool]) -> str:
    """What one row looks like, a % format for each number that is there."""
    if layout.form == "csv":
        cells = [text if there else "" for text, there in zip(layout.formats, present, strict=True)]
        return layout.separator.join(cells) + "\r\n"
    hidden = layout.time_cell if layout.form == "teleplot" else None
    numbers = [k for k, there in enumerate(present) if there and k != hidden]
    shown = [(layout.cells[k], layout.formats[k]) for k in numbers]
    if layout.form == "label":
        return layout.separator.join(f"{name}:{text}" for name, text in shown) + "\r\n"
    if layout.form == "jsonl":
        return "{" + ",".join(f'"{name}":{text}' for name, text in shown) + "}\r\n"
    stamp = "" if layout.time_cell is None else layout.formats[layout.time_cell] + ":"
    return "".join(f">{name}:{stamp}{text}\r\n" for name, text in shown)


def _with_its_time(layout: Layout, rows: FloatArray) -> FloatArray:
    """Teleplot prints the time before each value: (n, values) or (n, 2 values), NaN where a value is not there."""
    if layout.time_cell is None:
        return rows
    values = np.delete(rows, layout.time_cell, axis=1)
    stamps = np.where(np.isnan(values), math.nan, rows[:, layout.time_cell, None])
    return np.stack([stamps, values], axis=2).reshape(len(rows), -1)
