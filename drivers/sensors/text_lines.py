"""Anything that prints numbers: CSV, label:value, Teleplot or JSON lines from a microcontroller's serial port."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.codec import Block, Expect, Golden, Reply, SerialDevice, Steps
from drivers.counter import TOO_SOON, CounterUnwrapper, Incident, SparseIndex, spans, sparse_events
from drivers.errors import HandshakeError
from drivers.lines import LineReader, write_rows
from drivers.row_clock import NO_WRAP, RowClock
from drivers.sparse import SparseSource
from drivers.text_settings import DEFAULT, UNIT_NS, WRAPS, Settings
from drivers.types import (
    Batch,
    CounterReset,
    Event,
    FloatArray,
    IntArray,
    Malformed,
    Notice,
    Repeated,
    Samples,
)

NAME = "text-lines"
LINK = "serial"
BAUD = 115200
SOURCES = (
    "Arduino Serial Plotter protocol and arduino-serial-plotter-webapp, msgAggregatorWorker.ts",
    "Teleplot (nesnes/teleplot), README",
    "NMEA 0183 checksum",
)

_LINES_TRIED = 50

SETTINGS = Settings
_SLOW = {"name": "temp", "stream": "temp", "kind": "temperature", "unit": "degC", "rate_hz": 10, "lsb": 0.01}
_PAIR = tuple({"name": n, "stream": "affect", "kind": "affect", "unit": "1", "rate_hz": 50, "lsb": 0.001,
               "low": -1.0, "high": 1.0} for n in ("valence", "arousal"))  # fmt: skip
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = (
    {},
    {"columns": [DEFAULT, _SLOW], "time_column": "t"},
    {"columns": [DEFAULT, _SLOW], "counter_column": "n", "counter_modulus": 256, "separator": "\t"},
    {"columns": [DEFAULT, *_PAIR], "time_column": "t", "counter_column": "n", "checksum": "nmea", "time_unit": "us"},
    {"columns": [DEFAULT, _SLOW], "format": "label", "time_column": "t"},
    {"columns": [*_PAIR, _SLOW], "format": "teleplot", "time_column": "t"},
    {"columns": _PAIR, "format": "jsonl", "time_column": "t", "time_unit": "s"},
    {"columns": _PAIR, "separator": " "},
)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows (n, cells), the arrival of each, and how to get the line of each."""

    values: FloatArray
    arrival_ns: IntArray
    place: IntArray
    line_at: Callable[[int], bytes]

    def take(self, which: slice | NDArray[np.bool_]) -> _Rows:
        return _Rows(self.values[which], self.arrival_ns[which], self.place[which], self.line_at)

    def line(self, row: int) -> bytes:
        return self.line_at(int(self.place[row]))

    def kept(self) -> _Rows:
        """The same, for when the reader has gone on."""
        lines = [self.line(row) for row in range(len(self.place))]
        return _Rows(self.values, self.arrival_ns, np.arange(len(lines)), lines.__getitem__)

    def then(self, later: _Rows) -> _Rows:
        """These, which are kept ones, and those behind them."""
        count = len(self.place)
        values = np.concatenate([self.values, later.values])
        arrival_ns = np.concatenate([self.arrival_ns, later.arrival_ns])
        place = np.concatenate([self.place, later.place + count])
        return _Rows(values, arrival_ns, place, lambda at: self.line(at) if at < count else later.line_at(at - count))

    def malformed(self, reason: str, row: int) -> Malformed:
        line = self.line(row)
        return Malformed(reason, len(line) + 1, line[:64], int(self.arrival_ns[row]))

    def refused(self, reason: str, which: NDArray[np.bool_]) -> list[Malformed]:
        return [self.malformed(reason, row) for row in np.flatnonzero(which).tolist()]


class Host:
    """The computer's end."""

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        layout = settings.layout()
        cells = settings.cells()
        self._settings = settings
        self._reader = LineReader(layout)
        self._columns = {name: [cells.index(c["name"]) for c in cs] for name, cs in settings.streams().items()}
        rate_hz = settings.row_rate_hz()
        self._clock = RowClock(
            cells.index(settings.time_column) if settings.time_column else None,
            cells.index(settings.counter_column) if settings.counter_column else None,
            rate_hz, UNIT_NS[settings.time_unit], settings.time_unit in WRAPS, settings.counter_modulus,
        )  # fmt: skip
        modulus = settings.counter_modulus if settings.counter_column else NO_WRAP
        self._unwrap = CounterUnwrapper(modulus, 1e9 / rate_hz)
        self._index = {s.name: SparseIndex(rate_hz / (s.rate_hz or rate_hz)) for s in self.streams}
        self._taken = dict.fromkeys(self._columns, 0)
        self._segment, self._uncounted_segment = -1, 0
        self._held: _Rows | None = None
        """Rows that are not understood before the next has come."""

    def start(self) -> Steps:
        """Wait for a line that fits: boards print banners and boot messages first, and may reset on opening."""
        patience_s = 5.0 + 3 / self._settings.row_rate_hz()
        example = self._example()
        lines: list[bytes] = []
        while not lines or not self._reader.matches(lines[-1]):
            if len(lines) == _LINES_TRIED:
                raise HandshakeError(
                    f"expected {self._settings.format} lines such as {example}, found {_LINES_TRIED} others, the last "
                    f"{lines[-1][-80:]!r}: check format, columns, separator and baud"
                )
            line = yield Expect(rb"\n", f"{self._settings.format} lines such as {example}", timeout_s=patience_s)
            lines.append(line or b"")
        self._reader.restart(aligned=True)
        self._unwrap.restart()
        self._held = None
        self._uncounted_segment += any(self._taken.values())

    def _example(self) -> str:
        layout = self._reader.layout
        return repr(write_rows(layout, np.ones((1, len(layout.cells))))[0].decode())

    def stop(self) -> Steps:
        """Nothing: such a board prints as long as it has power."""
        yield from ()

    def feed(self, batch: Batch) -> list[Event]:
        """Decode lines; see drivers.codec.Host."""
        values, arrival_ns, malformed = self._reader.feed(batch)
        events: list[Event] = list(malformed)
        if not len(values):
            return events
        if not self._clock.counts:
            return events + self._uncounted(values, arrival_ns)
        rows = _Rows(values, arrival_ns, np.arange(len(values)), self._reader.line)
        if self._held is not None:
            rows, self._held = self._held.then(rows), None
        if (wrong := self._clock.wrong(rows.values)).any():
            events += rows.refused("no counter or time", wrong)
            rows = rows.take(~wrong)
        odd, undecided = self._clock.odd(rows.values)
        if undecided:
            self._held = rows.take(slice(-1, None)).kept()
            rows, odd = rows.take(slice(-1)), odd[:-1]
        if odd.any():
            events += rows.refused("a time and a counter that do not go together", odd)
            rows = rows.take(~odd)
        return events + self._counted(rows) if len(rows.values) else events

    def _counted(self, rows: _Rows) -> list[Event]:
        """Number the rows by what the board says."""
        device_ns, counters = self._clock.read(rows.values)
        unwrapped = self._unwrap.update(counters, rows.arrival_ns)
        if unwrapped.undecided:
            last = rows.take(slice(-1, None)).kept()
            self._held = last if self._held is None else last.then(self._held).kept()
            self._clock.unread()
        events: list[Event] = []
        for incident in unwrapped.incidents:
            events += self._tell(incident, rows, incident.position)
        segment, steps = self._clock.segments(unwrapped)
        for position, detail in steps:
            at_ns = int(rows.arrival_ns[position])
            events += [CounterReset(s.name, at_ns, detail, clock=True) for s in self.streams]
        index, count = unwrapped.index, len(unwrapped.index)
        keep = unwrapped.kept() if unwrapped.incidents else np.ones(count, dtype=bool)
        values, arrival_ns = rows.values[:count][keep], rows.arrival_ns[:count][keep]
        index, segment = index[keep], segment[keep]
        device_ns = None if device_ns is None else device_ns[:count][keep]
        for a, b in spans(segment):
            stamps = None if device_ns is None else device_ns[a:b]
            events += self._samples(values[a:b], arrival_ns[a:b], index[a:b], int(segment[a]), stamps)
        return events

    def _tell(self, incident: Incident, rows: _Rows, at: int) -> list[Event]:
        """Events of the lines' numbers; what was lost shows in each stream's own."""
        row, at_ns = rows.values[at], int(rows.arrival_ns[at])
        if incident.kind == "repeated":
            return [Repeated(name, 1, at_ns) for name, cs in self._columns.items() if not np.isnan(row[cs]).all()]
        if incident.kind == "odd":
            return [rows.malformed(incident.detail, at)]
        if incident.kind == "reset":
            clock = not self._settings.counter_column
            return [CounterReset(stream.name, at_ns, incident.detail, clock) for stream in self.streams]
        return [Notice("loss_ambiguous", incident.detail, at_ns)] if incident.kind == "ambiguous" else []

    def _uncounted(self, rows: FloatArray, arrival_ns: IntArray) -> list[Event]:
        events: list[Event] = []
        for name, columns in self._columns.items():
            there = ~np.isnan(rows[:, columns]).all(axis=1)
            count = int(np.count_nonzero(there))
            if count:
                index = self._taken[name] + np.arange(count, dtype=np.int64)
                self._taken[name] += count
                values = rows[there][:, columns]
                events.append(Samples(name, values, index, arrival_ns[there], None, self._uncounted_segment))
        return events

    def _samples(
        self, rows: FloatArray, arrival_ns: IntArray, numbers: IntArray, segment: int, device_ns: IntArray | None
    ) -> list[Event]:
        if segment != self._segment:
            self._segment = segment
            for sparse in self._index.values():
                sparse.restart()
        events: list[Event] = []
        for name, columns in self._columns.items():
            there = np.flatnonzero(~np.isnan(rows[:, columns]).all(axis=1))
            if not len(there):
                continue
            index, lost = self._index[name].update(numbers[there])
            events += sparse_events(name, lost, arrival_ns[there])
            if (soon := lost == TOO_SOON).any():
                there, index = there[~soon], index[~soon]
            stamps = None if device_ns is None else device_ns[there]
            events.append(Samples(name, rows[there][:, columns], index, arrival_ns[there], stamps, segment))
        return events


class Device(SerialDevice):
    """The board: it prints from the moment it has power, a header first if it prints CSV."""

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._settings = settings
        self._layout = settings.layout()
        self._cells = settings.cells()
        self._columns = {name: [self._cells.index(c["name"]) for c in cs] for name, cs in settings.streams().items()}
        self._fast = next(s.name for s in self.streams if s.rate_hz == settings.row_rate_hz())
        self.reset()

    def reset(self) -> None:
        """Power cycle."""
        self.streaming = True
        self._next = self._zero = 0
        self._slow = {s.name: SparseSource() for s in self.streams if s.rate_hz != self._settings.row_rate_hz()}
        self._header = self._layout.form == "csv" and not self._layout.nmea

    def reset_counter(self) -> None:
        """The next line has counter 0."""
        self._zero = self._next

    def receive(self, data: bytes, channel: str = "") -> list[Reply]:
        """The board does not listen."""
        return []

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        """One chunk per row; see drivers.codec.Device."""
        first = blocks[self._fast]
        rows = np.full((len(first.index), len(self._cells)), np.nan)
        for name, columns in self._columns.items():
            if name in self._slow:
                fresh, values = self._slow[name].take(blocks[name], first.due_ns)
                rows[fresh[:, None], np.array(columns)] = values
            else:
                rows[:, columns] = blocks[name].values
        if not len(rows):
            return []
        self._number(rows, first)
        data, ends = write_rows(self._layout, rows)
        if self._header:
            self._header, header = False, self._layout.header() + b"\r\n"
            data, ends = header + data, ends + len(header)
        return [Batch(data, ends, first.due_ns)]

    def _number(self, rows: FloatArray, first: Block) -> None:
        settings = self._settings
        if settings.time_column:
            unit_ns = UNIT_NS[settings.time_unit]
            ticks = first.device_ns // unit_ns % 2**32 if settings.time_unit in WRAPS else first.device_ns / unit_ns
            rows[:, self._cells.index(settings.time_column)] = ticks
        if settings.counter_column:
            counter = (first.index - self._zero) % settings.counter_modulus
            rows[:, self._cells.index(settings.counter_column)] = counter
        self._next = int(first.index[-1]) + 1


def host(settings: Settings) -> Host:
    """The decoding end."""
    return Host(settings)


def device(settings: Settings) -> Device:
    """The encoding end."""
    return Device(settings)


def _columns(*names: str, rate_hz: float = 50) -> list[dict[str, Any]]:
    return [{"name": name, "stream": name, "kind": "raw", "unit": "1", "rate_hz": rate_hz} for name in names]


_PLOTTER = "arduino-serial-plotter-webapp, parser run under node"
_TELEPLOT = "nesnes/teleplot README"

GOLDEN = (
    Golden(
        _PLOTTER, b"33,5\n1,2,3\r\n", {"a": [[1.0]], "b": [[2.0]], "c": [[3.0]]},
        {"columns": _columns("a", "b", "c")},
    ),
    Golden(
        _PLOTTER, b"33 5\n1 2\t3\n", {"a": [[1.0]], "b": [[2.0]], "c": [[3.0]]},
        {"columns": _columns("a", "b", "c"), "separator": " "},
    ),
    Golden(
        _PLOTTER, b"2\necg:1.5,hr:72\necg:1.5\thr:72 \n", {"ecg": [[1.5], [1.5]], "hr": [[72.0], [72.0]]},
        {"columns": _columns("ecg", "hr"), "format": "label"},
    ),
    Golden(
        "PulseSensorPlayground, SERIAL_PLOTTER output: BPM, IBI, signal", b"1\n72,833,512\r\n",
        {"bpm": [[72.0]], "ibi": [[833.0]], "signal": [[512.0]]}, {"columns": _columns("bpm", "ibi", "signal")},
    ),
    Golden(
        _TELEPLOT, b"\n>ecg:12.5\n>ecg:12.5\r\n>ecg:1e-3\n>ecg,plot1:5\n", {"ecg": [[12.5], [12.5], [0.001], [5.0]]},
        {"columns": _columns("ecg"), "format": "teleplot"},
    ),
    Golden(
        _TELEPLOT, "\n>ecg:1627551892437:-3§mV|g\n".encode(), {"ecg": [[-3.0]]},
        {"columns": _columns("ecg"), "format": "teleplot", "time_column": "t"},
    ),
    Golden(
        "ArduinoJson, serializeJson(document, Serial)", b'\n{"t":1234,"ecg":1.5}\n', {"ecg": [[1.5]]},
        {"columns": _columns("ecg"), "format": "jsonl", "time_column": "t"},
    ),
)  # fmt: skip
