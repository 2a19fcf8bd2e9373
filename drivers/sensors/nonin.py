"""Nonin pulse oximeters over serial (OEM III, Xpod, 3012LP, 9560): data formats 2, 7, 8 and 13."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from drivers import nonin_frame as wire
from drivers.codec import Block, Expect, Golden, Reply, SerialDevice, Steps
from drivers.errors import SettingError
from drivers.frame_finder import Checked, Found, FrameFinder, Rule, marked
from drivers.framing import Bytes
from drivers.notices import Changes
from drivers.types import Batch, Event, FloatArray, IntArray, Notice, Samples, StreamSpec

NAME = "nonin"
LINK = "serial"
BAUD = 9600
SOURCES = (
    "Nonin, 9560 Technical Specifications and Bluetooth Specification (in mattjlewis/NoninPulseOx)",
    "pez-globo/pufferfish-software, Nonin OEM III receivers and TestPacketReceiver.cpp",
)

_FORMATS = ("DF2", "DF7", "DF8", "DF13")
_PLETH_HZ = 75.0
_BOOT = datetime(2026, 1, 1)  # noqa: DTZ001  the oximeter's clock has no time zone
_REVISION = 48
_REASON = "no frame of this Nonin data format"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What may be set for a Nonin oximeter. Most models are ordered or strapped for one format."""

    format: str = field(
        default="DF7",
        metadata={"help": "DF2 (pleth 8 bits), DF7 (16 bits), DF8 (numbers once a second) or DF13 (spot checks)"},
    )
    spot_every_s: float = field(
        default=4.0, metadata={"help": "DF13: usual seconds from one spot check to the next, at most 60"}
    )
    baud: int = field(default=BAUD, metadata={"help": "line rate in bits per second"})

    def __post_init__(self) -> None:
        if self.format not in _FORMATS:
            raise SettingError(f"format {self.format!r}: expected {', '.join(_FORMATS)}")
        if not 0.1 <= self.spot_every_s <= 60:
            raise SettingError(f"spot_every_s {self.spot_every_s}: expected 0.1 to 60")
        if self.baud <= 0:
            raise SettingError(f"baud {self.baud}: expected a positive number of bits per second")

    def specs(self) -> tuple[StreamSpec, ...]:
        """Heart rate and saturation, behind the pleth where the format has one."""
        number_hz = {"DF8": 1.0, "DF13": 1 / self.spot_every_s}.get(self.format, _PLETH_HZ / wire.PACKET)
        numbers = (
            StreamSpec("heart_rate", "heart_rate", ("bpm",), "bpm", number_hz, lsb=1.0, low=0.0, high=510.0),
            StreamSpec("spo2", "spo2", ("spo2",), "%", number_hz, lsb=1.0, low=0.0, high=100.0),
        )
        highest = {"DF2": 255.0, "DF7": 65535.0}.get(self.format)
        if highest is None:
            return numbers
        return (StreamSpec("ppg", "ppg", ("pleth",), "counts", _PLETH_HZ, lsb=1.0, low=0.0, high=highest), *numbers)


SETTINGS = Settings
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = (
    {}, {"format": "DF2"}, {"format": "DF8"}, {"format": "DF13", "spot_every_s": 1.0},
)  # fmt: skip


class Host:
    """The computer's end. The oximeter sends unasked, and nothing numbers its frames.

    A rate or saturation that it does not know (511, 127) is NaN, so that the stream keeps its pace and its quality
    falls to 0; what is wrong, the notices say. In DF2 and DF7 they come with the last frame of their packet, a third
    of a second behind its first: which value a byte belongs to is certain only once all 25 frames are there. A packet
    with fewer is told as ``packet_incomplete`` with the number of frames that are missing, and its values are left out.
    """

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._settings = settings
        rules: dict[str, Rule] = {
            "DF2": Checked(5, wire.is_frame2), "DF7": Checked(5, wire.is_frame7),
            "DF8": marked(dict.fromkeys(range(0x80, 0x100), 4), bit7=True), "DF13": wire.find13,
        }  # fmt: skip
        self._rule = rules[settings.format]
        self._frames = FrameFinder(self._rule, _REASON)
        self._packets = wire.PacketReader()
        self._changes = Changes()
        self._taken = dict.fromkeys((spec.name for spec in self.streams), 0)
        self._segment = 0

    def start(self) -> Steps:
        """See whether frames come; a spot check may be hours away, so nothing is waited for with DF13."""
        patterns = {
            "DF2": rb"(?:\x01[\x80-\xff].{3}){2}", "DF7": rb"(?:[\x80-\xff].{4}){2}",
            "DF8": rb"[\x80-\xff][\x00-\x7f]{3}",
        }  # fmt: skip
        pattern = patterns.get(self._settings.format)
        if pattern is not None:
            yield Expect(pattern, f"{self._settings.format} frames of a Nonin oximeter (check format and baud)", 3.0)
        self._frames.restart()
        if isinstance(self._rule, Checked):
            self._rule.restart()
        self._packets.restart()
        self._changes.restart()
        self._segment += any(self._taken.values())

    def stop(self) -> Steps:
        """Nothing: it sends as long as it has power."""
        yield from ()

    def feed(self, batch: Batch) -> list[Event]:
        """Decode frames; see drivers.codec.Host."""
        found = self._frames.feed(batch)
        events: list[Event] = list(found.malformed)
        if not len(found.starts):
            return events
        if self._settings.format == "DF8":
            return events + self._numbers(found)
        if self._settings.format == "DF13":
            return events + self._spot_checks(found)
        return events + self._waveform(found)

    def _waveform(self, found: Found) -> list[Event]:
        read = wire.read2 if self._settings.format == "DF2" else wire.read7
        frames, arrival_ns = read(found.table(5)), found.arrival_ns
        packets, short = self._packets.update(frames)
        events: list[Event] = [Notice("packet_incomplete", float(n), int(arrival_ns[row])) for row, n in short]
        bits = {
            "sensor_disconnected": wire.DISCONNECTED, "artifact": wire.ARTIFACT,
            "out_of_track": wire.OUT_OF_TRACK, "sensor_alarm": wire.ALARM,
        }  # fmt: skip
        events += self._flags(bits, frames.status, arrival_ns)
        pulses = np.flatnonzero(frames.status & (wire.RED | wire.GREEN))
        colours = (frames.status[pulses] & (wire.RED | wire.GREEN)) >> 1
        events += self._changes.tell("perfusion", colours, arrival_ns[pulses], lambda bits: _COLOURS[bits])
        events += self._samples("ppg", frames.pleth, arrival_ns)
        if len(packets.last):
            last_ns = arrival_ns[packets.last]
            events += self._changes.tell("firmware_revision", packets.revision, last_ns, float)
            bits = {"low_battery": wire.LOW_BATTERY, "smartpoint": wire.SMARTPOINT}
            events += self._flags(bits, packets.status2, last_ns)
            events += self._samples("heart_rate", packets.rate, last_ns)
            events += self._samples("spo2", packets.spo2, last_ns)
        return events

    def _numbers(self, found: Found) -> list[Event]:
        status, low, spo2, status2 = found.table(4).T
        rate = (status.astype(np.int64) & 3) << 7 | low
        first = {"out_of_track": 0x20, "low_perfusion": 0x10, "marginal_perfusion": 0x08, "artifact": 0x04}
        second = {"smartpoint": wire.SMARTPOINT, "sensor_alarm": wire.ALARM8, "low_battery": wire.LOW_BATTERY}
        return [
            *self._flags(first, status, found.arrival_ns),
            *self._flags(second, status2, found.arrival_ns),
            *self._samples("heart_rate", wire.known(rate, wire.NO_RATE), found.arrival_ns),
            *self._samples("spo2", wire.known(spo2, wire.NO_SPO2), found.arrival_ns),
        ]

    def _spot_checks(self, found: Found) -> list[Event]:
        text, events = found.data.tobytes(), list[Event]()
        ends = (found.starts + found.sizes).tolist()
        checks = [wire.read13(text[a:b]) for a, b in zip(found.starts.tolist(), ends, strict=True)]
        for check, at_ns in zip(checks, found.arrival_ns.tolist(), strict=True):
            events += [Notice("measured_at", check.measured_at, at_ns), Notice("smartpoint", check.smartpoint, at_ns)]
        rate, spo2 = (np.array([getattr(check, name) for check in checks]) for name in ("rate", "spo2"))
        events += self._samples("heart_rate", wire.known(rate, wire.NO_RATE), found.arrival_ns)
        return events + self._samples("spo2", wire.known(spo2, wire.NO_SPO2), found.arrival_ns)

    def _flags(self, bits: Mapping[str, int], status: Bytes, arrival_ns: IntArray) -> list[Event]:
        return [e for name, bit in bits.items() for e in self._changes.tell(name, status & bit, arrival_ns)]

    def _samples(self, stream: str, values: FloatArray, arrival_ns: IntArray) -> list[Event]:
        first = self._taken[stream]
        self._taken[stream] = first + len(values)
        index = np.arange(first, first + len(values), dtype=np.int64)
        return [Samples(stream, values[:, None], index, arrival_ns, segment=self._segment)]


_COLOURS = {wire.GREEN >> 1: "green", wire.RED >> 1: "red", (wire.GREEN | wire.RED) >> 1: "yellow"}


class Device(SerialDevice):
    """The oximeter: it sends from the moment it has power and does not listen."""

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._format = settings.format
        self.reset()

    def reset(self) -> None:
        """Power cycle."""
        self.streaming = True
        self._packet = wire.packet_floats(np.array([wire.NO_RATE]), np.array([wire.NO_SPO2]), _REVISION)

    def reset_counter(self) -> None:
        """The protocol has no counter."""

    def receive(self, data: bytes, channel: str = "") -> list[Reply]:
        """Nothing is answered."""
        return []

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        """One frame per pleth sample, or per pair of numbers; see drivers.codec.Device."""
        rate = _counts(blocks["heart_rate"], wire.NO_RATE)
        spo2 = _counts(blocks["spo2"], wire.NO_SPO2)
        block = blocks["heart_rate"]
        if self._format == "DF8":
            return _batch(wire.write8(rate, spo2), block)
        if self._format == "DF13":
            dates = [_date(at_ns) for at_ns in block.device_ns.tolist()]
            frames = [wire.write13(*each) for each in zip(dates, rate.tolist(), spo2.tolist(), strict=True)]
            return [Batch.of(frames, block.due_ns)] if frames else []
        return self._waveform(blocks["ppg"], rate, spo2)

    def _waveform(self, ppg: Block, rate: IntArray, spo2: IntArray) -> list[Batch]:
        """Sample k of the numbers goes with frames 25 k and on, which are taken at the same time and later."""
        if not len(ppg.index):
            return []
        first = int(ppg.index[0]) // wire.PACKET
        packets = np.concatenate([self._packet, wire.packet_floats(rate, spo2, _REVISION)])
        if ppg.index[0] % wire.PACKET == 0:
            packets = packets[1:]
        place = ppg.index % wire.PACKET
        floats = packets[ppg.index // wire.PACKET - first, place].astype(np.int64)
        self._packet = packets[-1:]
        status = np.where(place == 0, 0x80 | wire.SYNC, 0x80)
        write = wire.write2 if self._format == "DF2" else wire.write7
        return _batch(write(status, np.rint(ppg.values[:, 0]).astype(np.int64), floats), ppg)


def _counts(block: Block, none: int) -> IntArray:
    """Whole numbers (n,), ``none`` for NaN."""
    return np.rint(np.nan_to_num(block.values[:, 0], nan=none)).astype(np.int64)


def _batch(frames: Bytes, block: Block) -> list[Batch]:
    ends = np.arange(1, len(frames) + 1, dtype=np.int64) * frames.shape[1]
    return [Batch(frames.tobytes(), ends, block.due_ns)] if len(frames) else []


def _date(device_ns: int) -> str:
    """Sixteen digits for a time since boot."""
    at = _BOOT + timedelta(microseconds=device_ns // 1000)
    return at.strftime("%Y%m%d%H%M%S") + f"{at.microsecond // 10_000:02d}"


def host(settings: Settings) -> Host:
    """The decoding end."""
    return Host(settings)


def device(settings: Settings) -> Device:
    """The encoding end."""
    return Device(settings)


_NULL, _HR, _SPO2, _REV = "0180010082", "01800148CA", "01800161E3", "01800130B2"
_PACKET = (
    f"0181010083 {_HR} {_SPO2} {_REV}" + _NULL * 4 + _SPO2 * 3 + _NULL * 3 + _HR + _SPO2 * 2
    + _NULL * 3 + _HR + _NULL + _HR + _NULL * 2
)  # fmt: skip
_STATUS: dict[int, dict[str, str | bool]] = {
    0x82: {"perfusion": "green"}, 0x84: {"perfusion": "red"}, 0x86: {"perfusion": "yellow"},
    0x88: {"sensor_alarm": True}, 0x90: {"out_of_track": True}, 0xA0: {"artifact": True},
    0xC0: {"sensor_disconnected": True},
}  # fmt: skip

GOLDEN: tuple[Golden, ...] = (
    Golden(
        "pufferfish-software TestPacketReceiver.cpp: one packet", bytes.fromhex(_PACKET),
        {"ppg": [[1.0]] * 25, "heart_rate": [[72.0]], "spo2": [[97.0]], "firmware_revision": 48.0,
         "low_battery": False},
        {"format": "DF2"},
    ),
    *(
        Golden(
            f"pufferfish-software TestPacketReceiver.cpp: status {status:02X}",
            bytes([1, status, 1, 0, (status + 2) & 0xFF]), {"ppg": [[1.0]], **said}, {"format": "DF2"},
        )
        for status, said in _STATUS.items()
    ),
    Golden(
        "laid out from Nonin's description of format 2", bytes.fromhex("01810A018D 01800B43CF 01800C58E5"),
        {"ppg": [[10.0], [11.0], [12.0]], "sensor_disconnected": False}, {"format": "DF2"},
    ),
    Golden(
        "laid out from Nonin's description of format 7", bytes.fromhex("81123401C8 801235430A 8012365820"),
        {"ppg": [[0x1234], [0x1235], [0x1236]]}, {"format": "DF7"},
    ),
    Golden(
        "laid out from Nonin's description of format 8", bytes.fromhex("80486100"),
        {"heart_rate": [[72.0]], "spo2": [[97.0]], "low_battery": False}, {"format": "DF8"},
    ),
    Golden(
        "laid out from Nonin's description of format 13",
        bytes.fromhex("0002 000D 000E 2026051714301500 0200 0048 00 61 66 03"),
        {"heart_rate": [[72.0]], "spo2": [[97.0]], "measured_at": "2026-05-17T14:30:15.00", "smartpoint": True},
        {"format": "DF13"},
    ),
)  # fmt: skip
