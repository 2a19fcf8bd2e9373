"""Contec CMS50 finger pulse oximeters over USB: pleth, pulse rate and SpO2, 60 frames a second, both protocols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from drivers import contec_frame as wire
from drivers.codec import Block, Expect, Golden, KeepAlive, Reply, SerialDevice, Steps, Write
from drivers.contec_capture import CAPTURE, CAPTURED_PLETH
from drivers.errors import SettingError
from drivers.frame_finder import FrameFinder
from drivers.notices import Changes
from drivers.types import Batch, Event, IntArray, Notice, Samples, StreamSpec

NAME = "contec-cms50"
LINK = "serial"
BAUD = 115200
SOURCES = (
    "Contec, Communication protocol of pulse oximeter V7.0, 2010-07-08 (in albertcbraun/CMS50FW)",
    "Contec CMS50D+ V5.0A communication protocol (in jgerschler/CMS50DPlus-PulseOx)",
    "atbrask/CMS50Dplus, timegrid/CMS50Dplus7, tobac/cms50ew",
    "titinho11/CMS50E-raw-ppg-data: a recording of a CMS50E",
)

_RATE_HZ = 60.0
_KEEP_ALIVE_S = 5.0
_FIVE, _SEVEN = "5-byte", "v7"
_LINES = {_FIVE: (19200, "O"), _SEVEN: (115200, "N")}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What may be set for a CMS50."""

    protocol: str = field(
        default=_SEVEN,
        metadata={"help": "v7 (CMS50D+ from V7.0 on, E, F, EW) or 5-byte (CMS50D+ up to V5.0, streams unasked)"},
    )
    baud: int | None = field(
        default=None, metadata={"help": "line rate; if absent 115200 for v7 and 19200 for 5-byte; some units differ"}
    )
    parity: str | None = field(
        default=None, metadata={"help": "N (none), O (odd) or E (even); if absent N for v7 and O for 5-byte"}
    )
    perfusion_percent: float = field(
        default=4.2, metadata={"help": "simulated v7 oximeter: perfusion index it shows; 0: it has none, as a CMS50E"}
    )
    drop_after_s: float = field(
        default=0.0,
        metadata={"help": "simulated v7 oximeter: ends the connection after so long without a word; 0: never"},
    )

    def __post_init__(self) -> None:
        if self.protocol not in _LINES:
            raise SettingError(f"protocol {self.protocol!r}: expected v7 or 5-byte")
        baud, parity = _LINES[self.protocol]
        object.__setattr__(self, "baud", baud if self.baud is None else self.baud)
        object.__setattr__(self, "parity", parity if self.parity is None else self.parity)
        if not self.baud or self.baud < 0:
            raise SettingError(f"baud {self.baud!r}: expected a positive number of bits per second")
        if self.parity not in ("N", "O", "E"):
            raise SettingError(f"parity {self.parity!r}: expected N, O or E")
        if not 0 <= self.perfusion_percent < 655.35:
            raise SettingError(f"perfusion_percent {self.perfusion_percent}: expected 0 to 655.34")
        if self.drop_after_s < 0:
            raise SettingError(f"drop_after_s {self.drop_after_s}: expected 0 or more")
        if self.protocol == _FIVE and self.drop_after_s:
            raise SettingError("drop_after_s: the 5-byte protocol knows no word from the host")

    def specs(self) -> tuple[StreamSpec, ...]:
        """Three streams of one sample per frame. The device repeats rate and saturation until it has new ones."""
        return (
            StreamSpec("ppg", "ppg", ("pleth",), "counts", _RATE_HZ, lsb=1.0, low=0.0, high=127.0),
            StreamSpec("heart_rate", "heart_rate", ("bpm",), "bpm", _RATE_HZ, lsb=1.0, low=0.0, high=254.0),
            StreamSpec("spo2", "spo2", ("spo2",), "%", _RATE_HZ, lsb=1.0, low=0.0, high=100.0),
        )


SETTINGS = Settings
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = ({}, {"protocol": "5-byte"}, {"perfusion_percent": 0.0})


class Host:
    """The computer's end. Nothing counts or dates the frames: a lost one shows in their pace alone.

    A rate or saturation that the oximeter does not know (no finger, searching) is NaN, so that the streams keep
    their pace and their quality falls to 0; why, the notices ``finger``, ``searching`` and ``probe_error`` say.
    """

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._seven = settings.protocol == _SEVEN
        self.keep_alive = KeepAlive(wire.command(wire.KEEP_ALIVE), _KEEP_ALIVE_S) if self._seven else None
        self._frames = FrameFinder(wire.RULE7 if self._seven else wire.RULE5, "no frame of a CMS50")
        self._changes = Changes()
        self._taken, self._segment = 0, 0

    def start(self) -> Steps:
        """V7: stop what may be running, then ask for real-time data. Otherwise: see whether frames come."""
        if self._seven:
            yield Write(wire.command(wire.STOP))
            yield Expect(
                rb"\x0c\x80|\x0b[\x80-\xff]{3}", "the CMS50's answer 0C 80 to the stop command (is it set to v7?)", 2.0
            )
            yield Write(wire.command(wire.START))
        else:
            yield Expect(
                rb"[\x80-\xff][\x00-\x7f]{4}[\x80-\xff][\x00-\x7f]{4}",
                "two 5-byte frames of a CMS50 (check protocol, baud and parity)", 3.0,
            )  # fmt: skip
        self._frames.restart()
        self._changes.restart()
        self._segment += self._taken > 0

    def stop(self) -> Steps:
        """V7: end the real-time data. The 5-byte stream never ends."""
        if self._seven:
            yield Write(wire.command(wire.STOP))

    def feed(self, batch: Batch) -> list[Event]:
        """Decode frames; see drivers.codec.Host."""
        found = self._frames.feed(batch)
        events: list[Event] = list(found.malformed)
        if not len(found.starts):
            return events
        arrival_ns = found.arrival_ns
        if not self._seven:
            return events + self._frame_events(wire.read5(found.table(5)), arrival_ns)
        live = found.data[found.starts] == wire.LIVE
        for k in np.flatnonzero(~live).tolist():
            frame = found.data[found.starts[k] : found.starts[k] + found.sizes[k]]
            events += _said(frame.tobytes(), int(arrival_ns[k]))
        if live.all():
            return events + self._frame_events(wire.read7(found.table(9)), arrival_ns)
        table = found.data[found.starts[live][:, None] + np.arange(9)]
        return events + (self._frame_events(wire.read7(table), arrival_ns[live]) if live.any() else [])

    def _frame_events(self, frames: wire.Frames, arrival_ns: IntArray) -> list[Event]:
        tell = self._changes.tell
        events = [
            *tell("finger", ~frames.finger_out, arrival_ns),
            *tell("searching", frames.searching, arrival_ns),
            *tell("probe_error", frames.probe_error, arrival_ns),
            *tell("spo2_dropping", frames.spo2_dropping, arrival_ns),
            *tell("signal_strength", frames.signal, arrival_ns, float),
        ]
        if self._seven:
            events += tell("perfusion_index_percent", frames.perfusion, arrival_ns, wire.percent)
        count = len(arrival_ns)
        index = np.arange(self._taken, self._taken + count, dtype=np.int64)
        self._taken += count
        columns = (frames.pleth, frames.rate, frames.spo2)
        return events + [
            Samples(spec.name, values[:, None], index, arrival_ns, segment=self._segment)
            for spec, values in zip(self.streams, columns, strict=True)
        ]


def _said(frame: bytes, at_ns: int) -> list[Event]:
    """What a packet that carries no samples says, as a notice."""
    values = wire.data_bytes(frame)
    if frame[0] == wire.DISCONNECTED:
        return [Notice("disconnected", float(values[0]), at_ns)]
    if frame[0] == wire.REFUSED:
        return [Notice("refused", f"command {values[0]:02X}, reason {values[1]:02X}", at_ns)]
    return []


class Device(SerialDevice):
    """The oximeter."""

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._settings = settings
        self._seven = settings.protocol == _SEVEN
        self.reset()

    def reset(self) -> None:
        """Power cycle: the 5-byte stream begins at once."""
        self.streaming = not self._seven
        self._pending = b""
        self._unheard = 0  # frames since the host's last word

    def reset_counter(self) -> None:
        """The protocols have no counter."""

    def receive(self, data: bytes, channel: str = "") -> list[Reply]:
        """Commands of the V7 protocol, cut anywhere."""
        if not self._seven:
            return []
        self._unheard = 0
        self._pending += data
        replies: list[Reply] = []
        while self._pending:
            start = self._pending.find(bytes([wire.COMMAND]))
            self._pending = self._pending[start:] if start >= 0 else b""
            if len(self._pending) < wire.COMMAND_LENGTH:
                break
            code, self._pending = self._pending[2], self._pending[wire.COMMAND_LENGTH :]
            replies += self._obey(code)
        return replies

    def _obey(self, code: int) -> list[Reply]:
        if code == wire.KEEP_ALIVE:
            return []
        if code in (wire.START, wire.STOP):
            self.streaming = code == wire.START
            return [] if self.streaming else [Reply(wire.STOPPED)]
        return [Reply(wire.packet(wire.REFUSED, [code, wire.UNKNOWN_COMMAND]))]

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        """One frame per sample; see drivers.codec.Device."""
        ppg = blocks["ppg"]
        count = self._still_heard(len(ppg.index))
        pleth, rate, spo2 = (wire.counts(blocks[spec.name].values[:count, 0]) for spec in self.streams)
        batches = []
        if count:
            if self._seven:
                frames = wire.write7(pleth, rate, spo2, round(self._settings.perfusion_percent * 100))
            else:
                frames = wire.write5(pleth, rate, spo2)
            ends = np.arange(1, count + 1, dtype=np.int64) * frames.shape[1]
            batches.append(Batch(frames.tobytes(), ends, ppg.due_ns[:count]))
        if count < len(ppg.index):
            self.streaming = False
            batches.append(Batch.single(wire.packet(wire.DISCONNECTED, [0]), int(ppg.due_ns[count])))
        return batches

    def _still_heard(self, count: int) -> int:
        """How many of the next ``count`` frames are sent before the oximeter has waited too long for a word."""
        if self._settings.drop_after_s:
            count = min(count, max(0, round(self._settings.drop_after_s * _RATE_HZ) - self._unheard))
        self._unheard += count
        return count


def host(settings: Settings) -> Host:
    """The decoding end."""
    return Host(settings)


def device(settings: Settings) -> Device:
    """The encoding end."""
    return Device(settings)


_READ_BY_HAND = {"heart_rate": [[195.0]], "spo2": [[88.0]], "ppg": [[19.0]], "signal_strength": 4.0}

GOLDEN = (
    Golden(
        "titinho11/CMS50E-raw-ppg-data, file data: the whole recording, 102 packets and 4 bytes",
        CAPTURE,
        {
            "ppg": [[value] for value in CAPTURED_PLETH], "heart_rate": [[60.0]] * 102, "spo2": [[99.0]] * 102,
            "signal_strength": 4.0, "finger": True, "searching": False, "probe_error": False,
            "perfusion_index_percent": "none",
        },
    ),
    Golden(
        "laid out by hand from Contec's V7.0 document, perfusion index 12.34 %, searching",
        bytes.fromhex("01 AA 84 93 82 C3 D8 D2 84"),
        {**_READ_BY_HAND, "perfusion_index_percent": 12.34, "searching": True},
    ),
    Golden(
        "laid out by hand from Contec's V5.0A document, pulse beep",
        bytes.fromhex("C4 13 42 43 58"),
        {**_READ_BY_HAND, "finger": True},
        {"protocol": "5-byte"},
    ),
)  # fmt: skip
