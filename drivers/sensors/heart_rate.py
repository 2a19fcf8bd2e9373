"""Bluetooth LE heart rate strap: heart rate and RR intervals, with battery and device information."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from drivers.codec import Block, Characteristic, Gatt, Golden, ReadValue, Reply, Service, Steps, Subscribe
from drivers.errors import AttError, SettingError
from drivers.gatt import uuid128
from drivers.types import Batch, Event, Malformed, Notice, Samples, StreamSpec

NAME = "heart-rate"
LINK = "ble"
BAUD = 0
SOURCES = (
    "Bluetooth SIG: Heart Rate Service 1.0 (0x180D), Battery Service (0x180F), Device Information (0x180A)",
    "polar-ble-sdk, BleHrClient and its tests",
    "bumble, profiles/heart_rate_service.py; Wireshark, packet-btatt.c",
)

MEASUREMENT, LOCATION, CONTROL = uuid128(0x2A37), uuid128(0x2A38), uuid128(0x2A39)
BATTERY = uuid128(0x2A19)
_STRINGS = {"manufacturer": uuid128(0x2A29), "model": uuid128(0x2A24), "firmware": uuid128(0x2A26)}
_LOCATIONS = ("other", "chest", "wrist", "finger", "hand", "ear lobe", "foot")
_WIDE, _CONTACT, _CONTACT_SUPPORTED, _ENERGY, _RR = 1, 2, 4, 8, 16
_CONTACT_FLAGS = {"unsupported": 0, "off": _CONTACT_SUPPORTED, "on": _CONTACT_SUPPORTED | _CONTACT}
_RR_MS = 1000 / 1024
_ATT_MTU, _ATT_HEADER = 23, 3
"""ATT_MTU before any exchange, and what of it is no value (Core Specification, vol. 3, part F, 3.2.8, 3.4.7.1)."""
_CONTROL_POINT_NOT_SUPPORTED = 0x80
_KJ_PER_BEAT = 0.07


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What may be set for a heart rate strap; the host reads all of it from the strap itself."""

    name: str = field(default="HR Strap", metadata={"help": "simulated strap: advertised name"})
    contact: str = field(default="on", metadata={"help": "simulated strap: skin contact on, off or unsupported"})
    energy: bool = field(default=False, metadata={"help": "simulated strap: counts the energy expended"})
    battery_percent: int = field(default=87, metadata={"help": "simulated strap: battery level 0..100"})
    location: str = field(default="chest", metadata={"help": f"simulated strap: worn on {', '.join(_LOCATIONS)}"})

    def __post_init__(self) -> None:
        if self.contact not in ("on", "off", "unsupported"):
            raise SettingError(f"contact {self.contact!r}: expected on, off or unsupported")
        if not 0 <= self.battery_percent <= 100:
            raise SettingError(f"battery_percent {self.battery_percent}: expected 0 to 100")
        if self.location not in _LOCATIONS:
            raise SettingError(f"location {self.location!r}: expected one of {', '.join(_LOCATIONS)}")


SETTINGS = Settings
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = ({}, {"energy": True, "contact": "unsupported"})

STREAMS = (
    StreamSpec("heart_rate", "heart_rate", ("bpm",), "bpm", 1.0, lsb=1.0, low=0.0, high=65535.0),
    StreamSpec("rr", "rr", ("interval",), "ms", None, lsb=_RR_MS, low=0.0, high=65535 * _RR_MS),
)


@dataclass(frozen=True, slots=True)
class _Measurement:
    bpm: int
    contact: bool | None
    energy_kj: int | None
    rr_ms: list[float]


def _parse(data: bytes) -> _Measurement | str:
    """A notification of 0x2A37, or what is wrong with it."""
    if not data:
        return "empty heart rate notification"
    flags, at = data[0], 2 + (data[0] & _WIDE)
    energy_at = at
    at += 2 if flags & _ENERGY else 0
    if len(data) < at:
        return f"heart rate notification of {len(data)} bytes, at least {at} by its flags 0x{flags:02X}"
    if len(data) > at and not flags & _RR:
        return f"heart rate notification of {len(data)} bytes, {at} by its flags 0x{flags:02X}"
    if flags & _RR and len(data) == at:
        return f"heart rate notification of {at} bytes without the RR interval that its flags 0x{flags:02X} promise"
    if (len(data) - at) % 2:
        return "heart rate notification with half an RR interval"
    return _Measurement(
        int.from_bytes(data[1:energy_at], "little"),
        bool(flags & _CONTACT) if flags & _CONTACT_SUPPORTED else None,
        int.from_bytes(data[energy_at:at], "little") if flags & _ENERGY else None,
        [int.from_bytes(data[k : k + 2], "little") * _RR_MS for k in range(at, len(data), 2)],
    )


class Host:
    """The collector's end. There is no counter and no device time: a lost notification cannot be seen here."""

    streams = STREAMS

    def __init__(self, settings: Settings) -> None:
        self._said: dict[str, str | float | bool] = {}
        self._read: dict[str, str | float] = {}  # by start(), told with the next feed()
        self._taken = dict.fromkeys(("heart_rate", "rr"), 0)
        self._segment = -1
        self._fresh = True

    def start(self) -> Steps:
        """Ask for notifications, and read what the strap says about itself."""
        self._fresh = True
        self._said.clear()
        for name, uuid in _STRINGS.items():
            text = yield ReadValue(uuid)
            if text:
                self._read[name] = text.decode("utf-8", "replace")
        location = yield ReadValue(LOCATION)
        if location and location[0] < len(_LOCATIONS):
            self._read["location"] = _LOCATIONS[location[0]]
        level = yield ReadValue(BATTERY)
        if level:
            self._read["battery_percent"] = float(level[0])
            yield Subscribe(BATTERY)
        yield Subscribe(MEASUREMENT)

    def stop(self) -> Steps:
        """Nothing: closing the connection ends the notifications."""
        yield from ()

    def feed(self, batch: Batch) -> list[Event]:
        """Decode notifications of 0x2A37 and 0x2A19; see drivers.codec.Host."""
        events: list[Event] = []
        rates: list[tuple[int, int]] = []
        intervals: list[tuple[float, int]] = []
        for data, at_ns in batch.chunks():
            while self._read:
                events += self._tell(*self._read.popitem(), at_ns)
            if batch.channel == BATTERY:
                events += self._battery(data, at_ns)
            elif batch.channel == MEASUREMENT:
                found = _parse(data)
                if isinstance(found, str):
                    events.append(Malformed(found, len(data), data[:64], at_ns))
                    continue
                if found.contact is not None:
                    events += self._tell("contact", found.contact, at_ns)
                if found.energy_kj is not None:
                    events += self._tell("energy_kj", float(found.energy_kj), at_ns)
                rates.append((found.bpm, at_ns))
                intervals += [(rr, at_ns) for rr in found.rr_ms]
        return events + self._samples("heart_rate", rates) + self._samples("rr", intervals)

    def _battery(self, data: bytes, at_ns: int) -> list[Event]:
        if len(data) == 1 and data[0] <= 100:
            return self._tell("battery_percent", float(data[0]), at_ns)
        return [Malformed("battery level that is not one byte 0..100", len(data), data[:64], at_ns)]

    def _tell(self, name: str, value: str | float | bool, at_ns: int) -> list[Event]:
        """A notice at the first time and at every change."""
        if self._said.get(name) == value:
            return []
        self._said[name] = value
        return [Notice(name, value, at_ns)]

    def _samples(self, stream: str, rows: list[tuple[float, int]] | list[tuple[int, int]]) -> list[Event]:
        if not rows:
            return []
        if self._fresh:
            self._segment, self._fresh = self._segment + 1, False
        first = self._taken[stream]
        self._taken[stream] = first + len(rows)
        values = np.array([row[0] for row in rows], dtype=np.float64)[:, None]
        arrival_ns = np.array([row[1] for row in rows], dtype=np.int64)
        index = np.arange(first, first + len(rows), dtype=np.int64)
        return [Samples(stream, values, index, arrival_ns, segment=self._segment)]


class Device:
    """The strap. It notifies each heart rate with the RR intervals of the beats since the one before."""

    streams = STREAMS

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        control = (Characteristic(CONTROL, ("write",)),) if settings.energy else ()
        heart = (Characteristic(MEASUREMENT, ("notify",)), Characteristic(LOCATION, ("read",)), *control)
        strings = tuple(Characteristic(uuid, ("read",)) for uuid in _STRINGS.values())
        self.gatt: Gatt | None = Gatt(
            (
                Service(uuid128(0x180D), heart),
                Service(uuid128(0x180F), (Characteristic(BATTERY, ("read", "notify")),)),
                Service(uuid128(0x180A), strings),
            ),
            (uuid128(0x180D), uuid128(0x180F)),
            settings.name,
        )
        self.reset()

    def reset(self) -> None:
        """Power cycle."""
        self.streaming = False
        self._att_mtu = _ATT_MTU
        self._energy_kj = 0.0
        self._intervals: list[int] = []
        self._beats_ns: list[int] = []

    def negotiated(self, att_mtu: int) -> None:
        """RR intervals that do not fit a notification wait for the next one."""
        self._att_mtu = att_mtu

    def reset_counter(self) -> None:
        """The protocol has no counter."""

    def receive(self, data: bytes, channel: str = "") -> list[Reply]:
        """A write of the control point: 1 resets the energy, anything else is refused."""
        if channel != CONTROL or not self._settings.energy:
            raise AttError(0x03, "write not permitted")
        if data != b"\x01":
            raise AttError(_CONTROL_POINT_NOT_SUPPORTED, "heart rate control point not supported")
        self._energy_kj = 0.0
        return []

    def read(self, channel: str) -> bytes | None:
        """What the strap says about itself."""
        texts = {"manufacturer": "spiral-hil", "model": "Simulated strap", "firmware": "1.0"}
        values = {_STRINGS[name]: text.encode() for name, text in texts.items()}
        values[LOCATION] = bytes([_LOCATIONS.index(self._settings.location)])
        values[BATTERY] = bytes([self._settings.battery_percent])
        return values.get(channel)

    def subscribe(self, channel: str, on: bool = True) -> None:
        """Notifications of the measurement make it stream."""
        if channel == MEASUREMENT:
            if on and not self.streaming:
                self._intervals, self._beats_ns = [], []
            self.streaming = on
        elif channel != BATTERY:
            raise AttError(0x06, "this characteristic does not notify")

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        """One notification per heart rate; see drivers.codec.Device."""
        rate, rr = blocks["heart_rate"], blocks["rr"]
        self._intervals += np.rint(rr.values[:, 0] / _RR_MS).astype(np.int64).tolist()
        self._beats_ns += rr.due_ns.tolist()
        beats = zip(np.rint(rate.values[:, 0]).astype(np.int64).tolist(), rate.due_ns.tolist(), strict=True)
        chunks = [self._notification(bpm, due_ns) for bpm, due_ns in beats]
        return [Batch.of(chunks, rate.due_ns, MEASUREMENT)] if chunks else []

    def _notification(self, bpm: int, due_ns: int) -> bytes:
        flags = _CONTACT_FLAGS[self._settings.contact]
        body = bpm.to_bytes(2 if bpm > 255 else 1, "little")
        flags |= _WIDE if bpm > 255 else 0
        if self._settings.energy:
            self._energy_kj += bpm / 60 * _KJ_PER_BEAT
            flags |= _ENERGY
            body += min(int(self._energy_kj), 65535).to_bytes(2, "little")
        room = (self._att_mtu - _ATT_HEADER - 1 - len(body)) // 2
        count = min(sum(at <= due_ns for at in self._beats_ns[:room]), room)
        body += b"".join(rr.to_bytes(2, "little") for rr in self._intervals[:count])
        del self._intervals[:count], self._beats_ns[:count]
        return bytes([flags | (_RR if count else 0)]) + body


def host(settings: Settings) -> Host:
    """The decoding end."""
    return Host(settings)


def device(settings: Settings) -> Device:
    """The encoding end."""
    return Device(settings)


def _golden(source: str, text: str, **expected: object) -> Golden:
    return Golden(source, bytes.fromhex(text), expected, channel=MEASUREMENT)


_POLAR = "polar-ble-sdk BleHrClientTest"

GOLDEN = (
    _golden(_POLAR, "00FF", heart_rate=[[255.0]], rr=[]),
    _golden(_POLAR, "007F", heart_rate=[[127.0]], rr=[]),
    _golden(_POLAR, "018080", heart_rate=[[32896.0]]),
    _golden(_POLAR, "017F7F", heart_rate=[[32639.0]]),
    _golden(_POLAR, "0600", heart_rate=[[0.0]], contact=True),
    _golden(_POLAR, "0400", heart_rate=[[0.0]], contact=False),
    _golden(_POLAR, "0200", heart_rate=[[0.0]], contact=None),
    _golden(_POLAR, "0000", heart_rate=[[0.0]], contact=None),
    _golden(_POLAR, "090000FFFF", heart_rate=[[0.0]], energy_kj=65535.0),
    _golden(_POLAR, "08007F80", heart_rate=[[0.0]], energy_kj=32895.0),
    _golden(_POLAR, "1000FFFF", heart_rate=[[0.0]], rr=[[65535 * 1000 / 1024]]),
    _golden(_POLAR, "110000FFFF7F80", heart_rate=[[0.0]], rr=[[65535 * 1000 / 1024], [32895 * 1000 / 1024]]),
    _golden(_POLAR, "1100000000", heart_rate=[[0.0]], rr=[[0.0]]),
    _golden(
        "decoded alike by labmcp-ble-health and Wireshark", "165A0004D003",
        heart_rate=[[90.0]], rr=[[1000.0], [953.125]], contact=True,
    ),
    _golden(
        "bumble HeartRateMeasurement encoder", "1F2C0192100004D003",
        heart_rate=[[300.0]], rr=[[1000.0], [953.125]], contact=True, energy_kj=4242.0,
    ),
    Golden("Battery Service, one byte percent", b"\x57", {"battery_percent": 87.0}, channel=BATTERY),
)  # fmt: skip
