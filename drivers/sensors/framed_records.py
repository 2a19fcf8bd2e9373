"""Anything that sends C structs: binary records in COBS, SLIP or SerialTransfer frames from a microcontroller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from drivers.codec import Block, Expect, Golden, Reply, SerialDevice, Steps
from drivers.counted import FrameNumbers
from drivers.counter import spans
from drivers.errors import HandshakeError, SettingError
from drivers.framing import Bytes
from drivers.record_finder import frame, record_finder
from drivers.record_settings import DEFAULT, UNIT_NS, RecordSettings
from drivers.tick_clock import NUMBERS, TickClock
from drivers.types import Batch, CounterReset, Event, IntArray, Samples

NAME = "framed-records"
LINK = "serial"
BAUD = 115200
SOURCES = (
    "Cheshire and Baker 1999, Consistent overhead byte stuffing; PyPI cobs 1.2.2",
    "RFC 1055 (SLIP); PyPI sliplib 0.7.2",
    "PowerBroker2/SerialTransfer; PyPI pySerialTransfer 2.6.11",
    "bakercp/PacketSerial",
)

_PACKETS_TRIED = 400
"""The bytes that end a packet occur in other data too."""


@dataclass(frozen=True, kw_only=True)
class Settings(RecordSettings):
    """What the board sends over its serial port."""

    baud: int = field(default=BAUD, metadata={"help": "line rate in bits per second"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.baud <= 0:
            raise SettingError(f"baud {self.baud}: expected a positive number of bits per second")


SETTINGS = Settings
_ECG = {"name": "ecg", "type": "i24", "stream": "ecg", "kind": "ecg", "unit": "mV", "rate_hz": 250, "count": 10,
        "scale": 0.0001}  # fmt: skip
_SKIN = {"name": "skin", "type": "u16", "stream": "temp", "kind": "temperature", "unit": "degC", "rate_hz": 25,
         "scale": 0.01, "offset": -40.0}  # fmt: skip
_MOTION = tuple(
    {"name": name, "type": "f32", "stream": "motion", "kind": "acceleration", "unit": "g", "rate_hz": 50}
    for name in "xyz"
)
_TIME, _COUNT = {"name": "t", "type": "u32"}, {"name": "n", "type": "u16"}
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = (
    {},
    {"fields": [_TIME, _COUNT, _ECG, _SKIN], "time_field": "t", "check": "crc16", "byte_order": "big"},
    {"framing": "slip", "fields": [_TIME, *_MOTION], "time_field": "t", "time_unit": "us", "counter_field": "",
     "check": "crc32"},
    {"framing": "serial-transfer", "fields": [{"name": "n", "type": "u8"}, *_MOTION], "packet_id": 3},
    {"framing": "slip", "fields": _MOTION, "counter_field": "", "check": "crc8"},
)  # fmt: skip


class Host:
    """The computer's end."""

    def __init__(self, settings: RecordSettings) -> None:
        self.streams = settings.specs()
        self._settings = settings
        self._layout = settings.layout()
        self._channels = settings.streams()
        self._finder = record_finder(settings.framing, self._layout.size, self._layout.valid)
        self._period_ns = 1e9 / settings.record_hz()
        self._counts = {name: int(channels[0].get("count", 1)) for name, channels in self._channels.items()}
        self._clock = (
            TickClock(settings.bits(settings.time_field), UNIT_NS[settings.time_unit], settings.record_hz())
            if settings.time_field
            else None
        )
        modulus = 1 << settings.bits(settings.counter_field) if settings.counter_field else NUMBERS
        self._numbers = FrameNumbers(
            modulus, self._period_ns, list(self._counts.items()), clock=not settings.counter_field
        )
        self._taken, self._segment, self._jumps = 0, 0, 0

    def start(self) -> Steps:
        """Wait for a record: boards print boot messages first, and may reset on opening."""
        lines = self._settings
        ends = {"cobs": rb"\x00", "slip": rb"\xc0", "serial-transfer": rb"\x81"}[lines.framing]
        patience_s = 5.0 + 3 / lines.record_hz()
        what = f"a {lines.framing} frame with a record of {self._layout.size} bytes (check framing, fields and baud)"
        probe = record_finder(lines.framing, self._layout.size, self._layout.valid)
        for _ in range(_PACKETS_TRIED):
            text = yield Expect(ends, what, patience_s)
            if len(probe.feed(Batch.single(text or b"", 0))[0]):
                break
        else:
            last = (text or b"")[-64:].hex(" ")
            raise HandshakeError(f"expected {what}, found {_PACKETS_TRIED} others, the last {last}")
        self._finder.restart()
        self._numbers.restart()
        if self._clock is not None:
            self._clock.restart()
        self._segment += self._taken > 0

    def stop(self) -> Steps:
        """Nothing: such a board sends as long as it has power."""
        yield from ()

    def feed(self, batch: Batch) -> list[Event]:
        """Decode records; see drivers.codec.Host."""
        rows, arrival_ns, malformed = self._finder.feed(batch)
        events: list[Event] = list(malformed)
        if not len(rows):
            return events
        if not self._settings.counter_field and self._clock is None:
            index = np.arange(self._taken, self._taken + len(rows), dtype=np.int64)
            self._taken += len(rows)
            return events + self._samples(rows, arrival_ns, index, self._segment, None)
        device_ns: IntArray | None = None
        numbers = None
        if self._clock is not None:
            device_ns, numbers = self._clock.unwrap(self._layout.integers(rows, self._settings.time_field))
        if self._settings.counter_field:
            numbers = self._layout.integers(rows, self._settings.counter_field)
        assert numbers is not None
        self._taken += len(rows)
        found = self._numbers.update(rows, numbers, arrival_ns, device_ns)
        events += found.events
        segment = found.segment + self._jumps
        if self._settings.counter_field and self._clock is not None and found.device_ns is not None:
            for position, detail in self._clock.jumps(found.device_ns, found.index, found.segment):
                segment[position:] += 1
                self._jumps += 1
                at_ns = int(found.arrival_ns[position])
                events += [CounterReset(spec.name, at_ns, detail, clock=True) for spec in self.streams]
        for a, b in spans(segment):
            stamps = None if found.device_ns is None else found.device_ns[a:b]
            part = found.frames[a:b], found.arrival_ns[a:b], found.index[a:b]
            events += self._samples(*part, int(segment[a]), stamps)
        return events

    def _samples(
        self, rows: Bytes, arrival_ns: IntArray, index: IntArray, segment: int, device_ns: IntArray | None
    ) -> list[Event]:
        """Of a field with several samples the last is as old as the record, in which the clock is read at the end."""
        events: list[Event] = []
        latest = max((count - 1) / count for count in self._counts.values())
        for name, channels in self._channels.items():
            count, first = self._counts[name], channels[0]
            table = np.stack([self._layout.numbers(rows, each["name"]) for each in channels], axis=2)
            values = table.reshape(-1, len(channels)) * float(first.get("scale", 1.0)) + float(first.get("offset", 0.0))
            place = np.arange(count)
            stamps = None
            if device_ns is not None:
                back_ns = np.rint((latest - place / count) * self._period_ns).astype(np.int64)
                stamps = (device_ns[:, None] - back_ns).reshape(-1)
            events.append(
                Samples(
                    name, values, (index[:, None] * count + place).reshape(-1), np.repeat(arrival_ns, count), stamps,
                    segment,
                )
            )  # fmt: skip
        return events


class Device(SerialDevice):
    """The board: it sends from the moment it has power and does not listen."""

    def __init__(self, settings: RecordSettings) -> None:
        self.streams = settings.specs()
        self._settings = settings
        self._layout = settings.layout()
        self._channels = settings.streams()
        self.reset()

    def reset(self) -> None:
        """Power cycle."""
        self.streaming = True
        self._next = self._zero = 0  # number of the next record, and of the one whose counter was 0
        self._waiting: dict[str, Block] = {}

    def reset_counter(self) -> None:
        """The next record has counter 0."""
        self._zero = self._next

    def receive(self, data: bytes, channel: str = "") -> list[Reply]:
        """The board does not listen."""
        return []

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        """One frame per record; see drivers.codec.Device."""
        blocks = {name: _joined(self._waiting.get(name), block) for name, block in blocks.items()}
        counts = {name: int(channels[0].get("count", 1)) for name, channels in self._channels.items()}
        ready = min(len(blocks[name].index) // count for name, count in counts.items())
        self._waiting = {name: _part(block, ready * counts[name], None) for name, block in blocks.items()}
        if not ready:
            return []
        columns: dict[str, Any] = {}
        due_ns, device_ns = np.zeros(ready, dtype=np.int64), np.zeros(ready, dtype=np.int64)
        for name, channels in self._channels.items():
            block, count, first = _part(blocks[name], 0, ready * counts[name]), counts[name], channels[0]
            due_ns = np.maximum(due_ns, block.due_ns[count - 1 :: count])
            device_ns = np.maximum(device_ns, block.device_ns[count - 1 :: count])
            numbers = (block.values - float(first.get("offset", 0.0))) / float(first.get("scale", 1.0))
            whole = numbers if first["type"][0] == "f" else np.rint(numbers)
            for k, each in enumerate(channels):
                columns[each["name"]] = whole[:, k].reshape(ready, count)
        record = np.arange(self._next, self._next + ready, dtype=np.int64)
        self._next += ready
        settings = self._settings
        if settings.counter_field:
            turn = 1 << settings.bits(settings.counter_field)
            columns[settings.counter_field] = ((record - self._zero) % turn)[:, None]
        if settings.time_field:
            ticks = device_ns // UNIT_NS[settings.time_unit]
            narrow = settings.bits(settings.time_field) == 32
            columns[settings.time_field] = (ticks % 2**32 if narrow else ticks)[:, None]
        data, ends = frame(settings.framing, self._layout.pack(columns), settings.packet_id)
        return [Batch(data, ends, due_ns)]


def _joined(first: Block | None, second: Block) -> Block:
    if first is None or not len(first.index):
        return second
    pairs = ((getattr(first, key), getattr(second, key)) for key in ("index", "due_ns", "device_ns", "values"))
    return Block(*(np.concatenate(pair) for pair in pairs))


def _part(block: Block, start: int, stop: int | None) -> Block:
    piece = slice(start, stop)
    return Block(block.index[piece], block.due_ns[piece], block.device_ns[piece], block.values[piece])


def host(settings: RecordSettings) -> Host:
    """The decoding end."""
    return Host(settings)


def device(settings: RecordSettings) -> Device:
    """The encoding end."""
    return Device(settings)


def _bytes(count: int) -> list[dict[str, Any]]:
    """A record that is nothing but bytes, in one stream with so many channels."""
    each = {"type": "u8", "stream": "raw", "kind": "raw", "unit": "1", "rate_hz": 50}
    return [{"name": f"b{k}", **each} for k in range(count)]


def _packet(source: str, framing: str, sent: str, payload: str) -> Golden:
    values = [float(value) for value in bytes.fromhex(payload)]
    settings = {"framing": framing, "fields": _bytes(len(values)), "counter_field": ""}
    return Golden(source, bytes.fromhex(sent), {"raw": [values]}, settings)


_COBS = {
    "00": "0101", "0000": "010101", "001100": "01021101", "11220033": "0311220233", "11223344": "0511223344",
    "11000000": "0211010101",
}  # fmt: skip
_SLIP = {
    "C0": "DBDC", "DB": "DBDD", "C0DB": "DBDCDBDD", "DBDC": "DBDDDC", "DBDDC0": "DBDDDDDBDC",
    "01C002DB03": "01DBDC02DBDD03",
}  # fmt: skip

GOLDEN = (
    *(_packet("PyPI cobs 1.2.2", "cobs", sent + "00", payload) for payload, sent in _COBS.items()),
    *(_packet("PyPI sliplib 0.7.2", "slip", f"C0{sent}C0", payload) for payload, sent in _SLIP.items()),
    Golden(
        "C struct {uint8_t n; int16_t ecg;} of 7 and -2, little-endian, encoded by PyPI cobs 1.2.2",
        bytes.fromhex("04 07 FE FF 00"),
        {"ecg": [[-0.002]]},
        {"fields": list(DEFAULT)},
    ),
)
