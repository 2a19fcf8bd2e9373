"""Bluetooth LE health thermometer: body or skin temperature, as final or intermediate measurements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from drivers.codec import Block, Characteristic, Gatt, Golden, ReadValue, Reply, Service, Steps, Subscribe, Write
from drivers.errors import AttError, SettingError
from drivers.gatt import uuid128
from drivers.health_service import BATTERY, DATE_BYTES, SERVICES, Reader, parse_date, read_about, write_date
from drivers.ieee11073 import FLOAT
from drivers.types import Batch, Event, Malformed, Samples, StreamSpec

NAME = "health-thermometer"
LINK = "ble"
BAUD = 0
SOURCES = (
    "Bluetooth SIG: Health Thermometer Service (0x1809), as implemented by labmcp-ble-health 0.1.3 and Wireshark",
    "polar-ble-sdk, BleHtsClient and its test",
    "HL7/phd, MderFLOATsandSFLOATs.md",
)

THERMOMETER = uuid128(0x1809)
MEASUREMENT, TYPE, INTERMEDIATE, INTERVAL = uuid128(0x2A1C), uuid128(0x2A1D), uuid128(0x2A1E), uuid128(0x2A21)
_TYPES = ("", "armpit", "body", "ear", "finger", "gut", "mouth", "rectum", "toe", "tympanum")
_FAHRENHEIT, _TIME, _TYPE = 1, 2, 4
_OUT_OF_RANGE = 0x80
_LSB_C, _EXPONENT = 0.01, -2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What may be set for a thermometer."""

    interval_s: int = field(default=1, metadata={"help": "seconds from one measurement to the next, 1..65535"})
    intermediate: bool = field(
        default=False, metadata={"help": "read the intermediate values that come while a measurement settles"}
    )
    name: str = field(default="Thermometer", metadata={"help": "simulated thermometer: advertised name"})
    fahrenheit: bool = field(default=False, metadata={"help": "simulated thermometer: sends degrees Fahrenheit"})
    dated: bool = field(default=False, metadata={"help": "simulated thermometer: sends date and time with each value"})
    place: str = field(
        default="body", metadata={"help": f"simulated thermometer: worn at {', '.join(_TYPES[1:])}; '' says nothing"}
    )
    battery_percent: int = field(default=87, metadata={"help": "simulated thermometer: battery level 0..100"})

    def __post_init__(self) -> None:
        if not 1 <= self.interval_s <= 65535:
            raise SettingError(f"interval_s {self.interval_s}: expected 1 to 65535")
        if self.place not in _TYPES:
            raise SettingError(f"place {self.place!r}: expected one of {', '.join(_TYPES[1:])}, or '' for none")
        if not 0 <= self.battery_percent <= 100:
            raise SettingError(f"battery_percent {self.battery_percent}: expected 0 to 100")

    @property
    def channel(self) -> str:
        """The characteristic that brings the values."""
        return INTERMEDIATE if self.intermediate else MEASUREMENT

    def specs(self) -> tuple[StreamSpec, ...]:
        """The one stream."""
        rate_hz = 1 / self.interval_s
        return (
            StreamSpec("temperature", "temperature", ("celsius",), "degC", rate_hz, lsb=_LSB_C, low=-40.0, high=115.0),
        )


SETTINGS = Settings
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = (
    {},
    {"fahrenheit": True, "dated": True},
    {"intermediate": True, "place": ""},
)


@dataclass(frozen=True, slots=True)
class _Value:
    celsius: float
    special: str
    taken_at: str
    place: str


def _parse(data: bytes) -> _Value | str:
    """An indication of 0x2A1C or a notification of 0x2A1E, or what is wrong with it."""
    flags = data[0] if data else 0
    size = 5 + (DATE_BYTES if flags & _TIME else 0) + (1 if flags & _TYPE else 0)
    if len(data) != size:
        return f"temperature of {len(data)} bytes, {size} by its flags 0x{flags:02X}"
    value, at, date = FLOAT.decode(data[1:5]), 5, ""
    if flags & _TIME:
        found = parse_date(data[at : at + DATE_BYTES])
        if found is None:
            return f"temperature with the date {data[at : at + DATE_BYTES].hex(' ')}"
        date, at = found, at + DATE_BYTES
    kind = data[at] if flags & _TYPE else 0
    celsius = (value - 32) / 1.8 if flags & _FAHRENHEIT else value
    place = _TYPES[kind] if kind < len(_TYPES) else f"type {kind}"
    return _Value(celsius if math.isfinite(celsius) else math.nan, FLOAT.special(data[1:5]), date, place)


class Host:
    """The collector's end, always in degrees Celsius. Nothing is numbered: a lost value cannot be seen here."""

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._settings = settings
        self._about = Reader()
        self._taken, self._segment, self._fresh = 0, -1, True

    def start(self) -> Steps:
        """Set the interval if it can be set and is another, and ask for the values; AttError if it refuses."""
        self._fresh = True
        yield from self._about.start()
        kind = yield ReadValue(TYPE)
        if kind and 0 < kind[0] < len(_TYPES):
            self._about.expect("place", _TYPES[kind[0]])
        wanted = self._settings.interval_s.to_bytes(2, "little")
        interval = yield ReadValue(INTERVAL)
        if interval is not None and interval != wanted:
            yield Write(wanted, INTERVAL)
        yield Subscribe(self._settings.channel)

    def stop(self) -> Steps:
        """Nothing: closing the connection ends the indications."""
        yield from ()

    def feed(self, batch: Batch) -> list[Event]:
        """Decode values and battery levels; see drivers.codec.Host."""
        events: list[Event] = []
        rows: list[tuple[float, int]] = []
        for data, at_ns in batch.chunks():
            events += self._about.take_read(at_ns)
            if batch.channel == BATTERY:
                events += self._about.battery(data, at_ns)
            elif batch.channel in (MEASUREMENT, INTERMEDIATE):
                found = _parse(data)
                if isinstance(found, str):
                    events.append(Malformed(found, len(data), data[:64], at_ns))
                    continue
                events += self._tell(found, at_ns)
                rows.append((found.celsius, at_ns))
        return events + self._samples(rows)

    def _tell(self, found: _Value, at_ns: int) -> list[Event]:
        events = self._about.tell("no_value", found.special, at_ns)
        events += self._about.tell("place", found.place, at_ns) if found.place else []
        return events + (self._about.tell("taken_at", found.taken_at, at_ns) if found.taken_at else [])

    def _samples(self, rows: list[tuple[float, int]]) -> list[Event]:
        if not rows:
            return []
        if self._fresh:
            self._segment, self._fresh = self._segment + 1, False
        index = np.arange(self._taken, self._taken + len(rows), dtype=np.int64)
        self._taken += len(rows)
        values = np.array([[celsius] for celsius, _ in rows])
        arrival_ns = np.array([at_ns for _, at_ns in rows], dtype=np.int64)
        return [Samples("temperature", values, index, arrival_ns, segment=self._segment)]


class Device:
    """The thermometer."""

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._settings = settings
        characteristics = (
            Characteristic(MEASUREMENT, ("indicate",)), Characteristic(TYPE, ("read",)),
            Characteristic(INTERMEDIATE, ("notify",)), Characteristic(INTERVAL, ("read", "write")),
        )  # fmt: skip
        self.gatt: Gatt | None = Gatt((Service(THERMOMETER, characteristics), *SERVICES), (THERMOMETER,), settings.name)
        self.reset()

    def reset(self) -> None:
        """Power cycle."""
        self.streaming = False

    def reset_counter(self) -> None:
        """The protocol has no counter."""

    def receive(self, data: bytes, channel: str = "") -> list[Reply]:
        """A write of the interval: this thermometer has only one."""
        if channel != INTERVAL:
            raise AttError(0x03, "write not permitted")
        if len(data) != 2:
            raise AttError(0x0D, "an interval has 2 bytes")
        if int.from_bytes(data, "little") != self._settings.interval_s:
            raise AttError(_OUT_OF_RANGE, f"the simulated thermometer measures every {self._settings.interval_s} s")
        return []

    def read(self, channel: str) -> bytes | None:
        """Type, interval, or what the thermometer says about itself."""
        if channel == TYPE:
            return bytes([_TYPES.index(self._settings.place)])
        if channel == INTERVAL:
            return self._settings.interval_s.to_bytes(2, "little")
        return read_about(channel, "thermometer", self._settings.battery_percent)

    def subscribe(self, channel: str, on: bool = True) -> None:
        """Final or intermediate values, as it is set, make it stream; the other one says nothing."""
        if channel == self._settings.channel:
            self.streaming = on
        elif channel not in (BATTERY, MEASUREMENT, INTERMEDIATE):
            raise AttError(0x06, "this characteristic does not notify")

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        """One value per sample; see drivers.codec.Device."""
        block = blocks["temperature"]
        rows = zip(block.values[:, 0].tolist(), block.device_ns.tolist(), strict=True)
        chunks = [self._value(celsius, device_ns) for celsius, device_ns in rows]
        return [Batch.of(chunks, block.due_ns, self._settings.channel)] if chunks else []

    def _value(self, celsius: float, device_ns: int) -> bytes:
        settings = self._settings
        kind = _TYPES.index(settings.place)
        flags = (settings.fahrenheit and _FAHRENHEIT) | (settings.dated and _TIME) | (kind and _TYPE)
        value = FLOAT.encode(celsius * 1.8 + 32 if settings.fahrenheit else celsius, _EXPONENT)
        date = write_date(device_ns) if settings.dated else b""
        return bytes([flags]) + value + date + (bytes([kind]) if kind else b"")


def host(settings: Settings) -> Host:
    """The decoding end."""
    return Host(settings)


def device(settings: Settings) -> Device:
    """The encoding end."""
    return Device(settings)


_POLAR = "polar-ble-sdk BleHtsClientTest"
_DECODED = "decoded alike by labmcp-ble-health 0.1.3 and Wireshark 4.0.17"

GOLDEN = (
    Golden(_POLAR, bytes.fromhex("00A00A00FE"), {"temperature": [[27.2]]}, channel=MEASUREMENT),
    Golden(_POLAR, bytes.fromhex("00A10A00FE"), {"temperature": [[27.21]]}, channel=MEASUREMENT),
    Golden(
        _DECODED, bytes.fromhex("06 6E0100FF E7070B170A2D1E 02"),
        {"temperature": [[36.6]], "taken_at": "2023-11-23T10:45:30", "place": "body"}, channel=MEASUREMENT,
    ),
)  # fmt: skip
