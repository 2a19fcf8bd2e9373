"""Bluetooth LE pulse oximeter: oxygen saturation and pulse rate, continuous or as spot checks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from drivers.codec import Block, Characteristic, Gatt, Golden, ReadValue, Reply, Service, Steps, Subscribe
from drivers.errors import AttError, HandshakeError, SettingError
from drivers.gatt import uuid128
from drivers.health_service import BATTERY, DATE_BYTES, SERVICES, Reader, parse_date, read_about, write_date
from drivers.ieee11073 import SFLOAT
from drivers.types import Batch, Event, Malformed, Samples, StreamSpec

NAME = "pulse-oximeter"
LINK = "ble"
BAUD = 0
SOURCES = (
    "Bluetooth SIG: Pulse Oximeter Service (0x1822), as implemented by labmcp-ble-health 0.1.3 and Wireshark",
    "HL7/phd, MderFLOATsandSFLOATs.md",
)

PLX = uuid128(0x1822)
SPOT_CHECK, CONTINUOUS, FEATURES = uuid128(0x2A5E), uuid128(0x2A5F), uuid128(0x2A60)
AVERAGES = ("normal", "fast", "slow")
_FIELDS = {
    CONTINUOUS: (("fast", 4), ("slow", 4), ("status", 2), ("sensor", 3), ("amplitude", 2)),
    SPOT_CHECK: (("time", DATE_BYTES), ("status", 2), ("sensor", 3), ("amplitude", 2)),
}
"""Behind flags and normal values: field of flag 0, 1, ... and its bytes."""
_CLOCK_NOT_SET = 1 << 4
_HAS_STATUS, _HAS_SENSOR, _HAS_TIME, _HAS_FAST, _HAS_SLOW, _HAS_AMPLITUDE = 1, 2, 8, 16, 32, 64
_STATUS = {
    5: "ongoing", 6: "early estimate", 7: "validated", 8: "fully qualified", 9: "from storage", 10: "demonstration",
    11: "test", 12: "calibration", 13: "unavailable", 14: "questionable", 15: "invalid",
}  # fmt: skip
_SENSOR = dict(enumerate((
    "extended display update", "malfunction", "processing irregular", "inadequate signal", "poor signal",
    "low perfusion", "erratic signal", "non-pulsatile", "questionable pulse", "analysis ongoing", "interference",
    "sensor unconnected", "sensor unknown", "sensor displaced", "sensor malfunction", "sensor disconnected",
)))  # fmt: skip
_ONGOING, _QUALIFIED = 1 << 5, 1 << 8
_AMPLITUDE_PERCENT = 5.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What may be set for a pulse oximeter."""

    mode: str = field(default="continuous", metadata={"help": "continuous, or spot-check: one result now and then"})
    averages: Sequence[str] = field(
        default=("normal",), metadata={"help": "channels of both streams, of normal, fast and slow averaging"}
    )
    interval_s: float = field(default=1.0, metadata={"help": "seconds from one result to the next"})
    name: str = field(default="Oximeter", metadata={"help": "simulated oximeter: advertised name"})
    status: bool = field(default=False, metadata={"help": "simulated oximeter: sends status and pulse amplitude"})
    battery_percent: int = field(default=87, metadata={"help": "simulated oximeter: battery level 0..100"})

    def __post_init__(self) -> None:
        if self.mode not in ("continuous", "spot-check"):
            raise SettingError(f"mode {self.mode!r}: expected continuous or spot-check")
        given = list(self.averages)
        if not given or len(set(given)) < len(given) or not set(given) <= set(AVERAGES):
            raise SettingError(f"averages {given}: expected some of {', '.join(AVERAGES)}, each once")
        if self.mode == "spot-check" and given != ["normal"]:
            raise SettingError(f"averages {given}: a spot check has the normal one only")
        if not 0 < self.interval_s <= 3600:
            raise SettingError(f"interval_s {self.interval_s}: expected more than 0 and at most 3600")
        if not 0 <= self.battery_percent <= 100:
            raise SettingError(f"battery_percent {self.battery_percent}: expected 0 to 100")

    @property
    def channel(self) -> str:
        """The characteristic that brings the results."""
        return CONTINUOUS if self.mode == "continuous" else SPOT_CHECK

    def specs(self) -> tuple[StreamSpec, ...]:
        """Saturation and rate."""
        names, rate_hz = tuple(self.averages), 1 / self.interval_s
        return (
            StreamSpec("spo2", "spo2", names, "%", rate_hz, lsb=1.0, low=0.0, high=100.0),
            StreamSpec("pulse_rate", "heart_rate", names, "bpm", rate_hz, lsb=1.0, low=0.0, high=float(SFLOAT.largest)),
        )


SETTINGS = Settings
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = (
    {},
    {"averages": ["slow", "normal", "fast"], "status": True},
    {"mode": "spot-check", "status": True},
)


@dataclass(frozen=True, slots=True)
class _Result:
    pairs: dict[str, bytes]
    """Averaging -> saturation and rate."""
    extras: dict[str, bytes]
    clock_set: bool


def _parse(data: bytes, channel: str) -> _Result | str:
    """A notification of 0x2A5F or an indication of 0x2A5E, or what is wrong with it."""
    if len(data) < 5:
        return f"oximeter result of {len(data)} bytes, at least 5"
    flags, at = data[0], 5
    found = {"normal": data[1:5]}
    for bit, (name, size) in enumerate(_FIELDS[channel]):
        if flags >> bit & 1:
            found[name] = data[at : at + size]
            at += size
    if at != len(data):
        return f"oximeter result of {len(data)} bytes, {at} by its flags 0x{flags:02X}"
    pairs = {name: found.pop(name) for name in AVERAGES if name in found}
    return _Result(pairs, found, channel == CONTINUOUS or not flags & _CLOCK_NOT_SET)


class Host:
    """The collector's end. Nothing is numbered and only spot checks are dated: a lost result cannot be seen here."""

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._settings = settings
        self._about = Reader()
        self._taken, self._segment, self._fresh = 0, -1, True

    def start(self) -> Steps:
        """Check what the oximeter can do and ask for its results."""
        self._fresh = True
        yield from self._about.start()
        value = yield ReadValue(FEATURES)
        if value is None or len(value) < 2:
            found = value.hex(" ") if value else "no such characteristic"
            raise HandshakeError(f"expected a pulse oximeter's features (0x2A60), found {found}: is it another device?")
        features = int.from_bytes(value[:2], "little")
        for name, bit in (("fast", _HAS_FAST), ("slow", _HAS_SLOW)):
            if name in self._settings.averages and not features & bit:
                raise HandshakeError(f"expected an oximeter with {name} averaging, found features 0x{features:04X}")
        yield Subscribe(self._settings.channel)

    def stop(self) -> Steps:
        """Nothing: closing the connection ends the notifications."""
        yield from ()

    def feed(self, batch: Batch) -> list[Event]:
        """Decode results and battery levels; see drivers.codec.Host."""
        events: list[Event] = []
        rows: list[tuple[list[bytes | None], int]] = []
        for data, at_ns in batch.chunks():
            events += self._about.take_read(at_ns)
            if batch.channel == BATTERY:
                events += self._about.battery(data, at_ns)
            elif batch.channel in _FIELDS:
                result = _parse(data, batch.channel)
                more = self._tell(result, at_ns) if isinstance(result, _Result) else result
                if isinstance(result, str) or isinstance(more, str):
                    events.append(Malformed(str(more), len(data), data[:64], at_ns))
                    continue
                events += more
                rows.append(([result.pairs.get(name) for name in self._settings.averages], at_ns))
        return events + self._samples(rows)

    def _tell(self, result: _Result, at_ns: int) -> list[Event] | str:
        """Notices of what came beside the values, or what is wrong with it."""
        events: list[Event] = []
        for name, bits in (("status", _STATUS), ("sensor", _SENSOR)):
            if name in result.extras:
                raised = int.from_bytes(result.extras[name], "little")
                text = ", ".join(meaning for bit, meaning in bits.items() if raised >> bit & 1)
                events += self._about.tell(f"{name}_flags", text, at_ns)
        if "amplitude" in result.extras:
            percent = SFLOAT.decode(result.extras["amplitude"])
            events += self._about.tell("pulse_amplitude_percent", percent, at_ns) if math.isfinite(percent) else []
        if "time" in result.extras:
            date = parse_date(result.extras["time"])
            if date is None:
                return f"oximeter result with the date {result.extras['time'].hex(' ')}"
            events += self._about.tell("taken_at", date, at_ns) + self._about.tell("clock_set", result.clock_set, at_ns)
        absent = {SFLOAT.special(pair[k : k + 2]) for pair in result.pairs.values() for k in (0, 2)} - {""}
        return events + self._about.tell("no_value", ", ".join(sorted(absent)), at_ns)

    def _samples(self, rows: list[tuple[list[bytes | None], int]]) -> list[Event]:
        if not rows:
            return []
        if self._fresh:
            self._segment, self._fresh = self._segment + 1, False
        index = np.arange(self._taken, self._taken + len(rows), dtype=np.int64)
        self._taken += len(rows)
        arrival_ns = np.array([at_ns for _, at_ns in rows], dtype=np.int64)
        events: list[Event] = []
        for k, spec in enumerate(self.streams):
            values = np.array([[_number(pair, 2 * k) for pair in pairs] for pairs, _ in rows])
            events.append(Samples(spec.name, values, index, arrival_ns, segment=self._segment))
        return events


def _number(pair: bytes | None, at: int) -> float:
    """NaN for whatever is no finite number."""
    value = math.nan if pair is None else SFLOAT.decode(pair[at : at + 2])
    return value if math.isfinite(value) else math.nan


class Device:
    """The oximeter."""

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._settings = settings
        results = (
            Characteristic(SPOT_CHECK, ("indicate",)), Characteristic(CONTINUOUS, ("notify",)),
            Characteristic(FEATURES, ("read",)),
        )  # fmt: skip
        self.gatt: Gatt | None = Gatt((Service(PLX, results), *SERVICES), (PLX,), settings.name)
        self.reset()

    def reset(self) -> None:
        """Power cycle."""
        self.streaming = False

    def reset_counter(self) -> None:
        """The protocol has no counter."""

    def receive(self, data: bytes, channel: str = "") -> list[Reply]:
        """Nothing can be written: there is no record store."""
        raise AttError(0x03, "write not permitted")

    def read(self, channel: str) -> bytes | None:
        """Features, or what the oximeter says about itself."""
        if channel == FEATURES:
            return self._features()
        return read_about(channel, "oximeter", self._settings.battery_percent)

    def _features(self) -> bytes:
        settings = self._settings
        bits = (_HAS_FAST if "fast" in settings.averages else 0) | (_HAS_SLOW if "slow" in settings.averages else 0)
        bits |= _HAS_TIME if settings.channel == SPOT_CHECK else 0
        if not settings.status:
            return bits.to_bytes(2, "little")
        bits |= _HAS_STATUS | _HAS_SENSOR | _HAS_AMPLITUDE
        return bits.to_bytes(2, "little") + (_ONGOING | _QUALIFIED).to_bytes(2, "little") + bytes(3)

    def subscribe(self, channel: str, on: bool = True) -> None:
        """The characteristic of its mode makes it stream; the other one says nothing."""
        if channel == self._settings.channel:
            self.streaming = on
        elif channel not in (BATTERY, SPOT_CHECK, CONTINUOUS):
            raise AttError(0x06, "this characteristic does not notify")

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        """One result per sample; see drivers.codec.Device."""
        saturation, rate = blocks["spo2"], blocks["pulse_rate"]
        rows = zip(saturation.values.tolist(), rate.values.tolist(), saturation.device_ns.tolist(), strict=True)
        chunks = [self._result(percent, bpm, device_ns) for percent, bpm, device_ns in rows]
        return [Batch.of(chunks, saturation.due_ns, self._settings.channel)] if chunks else []

    def _result(self, percent: list[float], bpm: list[float], device_ns: int) -> bytes:
        settings = self._settings
        pairs = {
            name: SFLOAT.encode(percent[k], 0) + SFLOAT.encode(bpm[k], 0) for k, name in enumerate(settings.averages)
        }
        # the normal pair is always there: an oximeter that has no such value says so
        normal = pairs.pop("normal", 2 * SFLOAT.encode(math.nan, 0))
        spot = settings.channel == SPOT_CHECK
        parts = {**pairs, "time": write_date(device_ns)} if spot else dict(pairs)
        if settings.status:
            state = _QUALIFIED if spot else _ONGOING
            amplitude = SFLOAT.encode(_AMPLITUDE_PERCENT, -1)
            parts |= {"status": state.to_bytes(2, "little"), "sensor": bytes(3), "amplitude": amplitude}
        names = [name for name, _ in _FIELDS[settings.channel]]
        flags = sum(1 << bit for bit, name in enumerate(names) if name in parts) | (_CLOCK_NOT_SET if spot else 0)
        return bytes([flags]) + normal + b"".join(parts[name] for name in names if name in parts)


def host(settings: Settings) -> Host:
    """The decoding end."""
    return Host(settings)


def device(settings: Settings) -> Device:
    """The encoding end."""
    return Device(settings)


_DECODED = "decoded alike by labmcp-ble-health 0.1.3 and Wireshark 4.0.17"
_NAN = math.nan

GOLDEN = (
    Golden(_DECODED, bytes.fromhex("0061004800"), {"spo2": [[97.0]], "pulse_rate": [[72.0]]}, channel=CONTINUOUS),
    Golden(
        _DECODED, bytes.fromhex("1F 6100 4800 6200 4900 6000 4700 2000 010000 D2F0"),
        {
            "spo2": [[97.0, 98.0, 96.0]], "pulse_rate": [[72.0, 73.0, 71.0]], "status_flags": "ongoing",
            "sensor_flags": "extended display update", "pulse_amplitude_percent": 21.0,
        },
        {"averages": ["normal", "fast", "slow"]}, CONTINUOUS,
    ),
    Golden(
        _DECODED, bytes.fromhex("00FF07FF07"), {"spo2": [[_NAN]], "pulse_rate": [[_NAN]], "no_value": "NaN"},
        channel=CONTINUOUS,
    ),
    Golden(
        _DECODED, bytes.fromhex("1F 6100 4800 E7070B170A2D1E 0001 100000 D2F0"),
        {
            "spo2": [[97.0]], "pulse_rate": [[72.0]], "taken_at": "2023-11-23T10:45:30", "clock_set": False,
            "status_flags": "fully qualified", "sensor_flags": "poor signal", "pulse_amplitude_percent": 21.0,
        },
        {"mode": "spot-check"}, SPOT_CHECK,
    ),
)  # fmt: skip
