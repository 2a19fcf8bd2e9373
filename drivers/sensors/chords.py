"""Upside Down Labs Chords: an Arduino or its like with BioAmp amplifiers on its analogue inputs, 250 or 500 Hz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from drivers.codec import Block, Expect, Golden, Pause, Reply, SerialDevice, Steps, Write
from drivers.counted import FrameNumbers
from drivers.counter import spans
from drivers.errors import HandshakeError, SettingError
from drivers.frame_finder import FrameFinder, delimited
from drivers.types import KINDS, Batch, Event, Samples, StreamSpec

NAME = "chords"
LINK = "serial"
BAUD = 115200
SOURCES = (
    "Upside Down Labs, Chords-Arduino-Firmware: table of boards",
    "Upside Down Labs, Chords-Python 0.2.2, chords_serial.py",
)

_PREFIX, _END = b"\xc7\x7c", b"\x01"
_HEADER = 3


@dataclass(frozen=True, slots=True)
class Board:
    """What a board that runs the firmware is like."""

    channels: int
    bits: int
    volts: float
    """At the ADC's highest count."""
    rate_hz: float
    baud: int


_AVR = (10, 5.0, 250.0, 115200)
BOARDS: Mapping[str, Board] = {
    "UNO-R3": Board(6, *_AVR), "UNO-CLONE": Board(6, *_AVR), "GENUINO-UNO": Board(6, *_AVR),
    "NANO-CLASSIC": Board(8, *_AVR), "NANO-CLONE": Board(8, *_AVR),
    "MEGA-2560-R3": Board(16, *_AVR), "MEGA-2560-CLONE": Board(16, *_AVR),
    "UNO-R4": Board(6, 14, 5.0, 500.0, 230400), "RPI-PICO-RP2040": Board(3, 12, 3.3, 500.0, 230400),
    "STM32F4-BLACK-PILL": Board(8, 12, 3.3, 500.0, 230400), "STM32G4-CORE-BOARD": Board(16, 12, 3.3, 500.0, 230400),
    "GIGA-R1": Board(6, 16, 3.3, 500.0, 230400), "NPG-LITE": Board(3, 12, 2.5, 500.0, 230400),
}  # fmt: skip
"""What WHORU answers -> the board."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What may be set for a Chords board."""

    board: str = field(default="UNO-R3", metadata={"help": f"what the board calls itself: {', '.join(BOARDS)}"})
    streams: Mapping[str, Sequence[int]] = field(
        default_factory=dict,
        metadata={"help": "stream name -> inputs 0, 1, ..; a name that is a kind (ecg, eeg) is of that kind. "
                          "Empty: all as 'exg'"},
    )  # fmt: skip
    gain: float = field(
        default=1000.0,
        metadata={"help": "of the amplifier before the ADC, which rests at half the supply; 1: microvolts at the pin"},
    )
    baud: int | None = field(default=None, metadata={"help": "line rate; if absent what the board's firmware has"})

    def __post_init__(self) -> None:
        if self.board not in BOARDS:
            raise SettingError(f"board {self.board!r}: expected {', '.join(BOARDS)}")
        object.__setattr__(self, "baud", BOARDS[self.board].baud if self.baud is None else self.baud)
        if not self.baud or self.baud < 0:
            raise SettingError(f"baud {self.baud!r}: expected a positive number of bits per second")
        if not self.gain > 0:
            raise SettingError(f"gain {self.gain!r}: expected more than 0")
        self._check_streams()

    def _check_streams(self) -> None:
        used: dict[int, str] = {}
        count = BOARDS[self.board].channels
        for name, inputs in self.streams.items():
            if not name or not isinstance(inputs, list | tuple) or not inputs:
                raise SettingError(f"stream {name!r} needs a name and a list of inputs such as [0, 1]")
            for each in inputs:
                if type(each) is not int or not 0 <= each < count:
                    raise SettingError(f"stream {name!r}: input {each!r}; a {self.board} has 0 to {count - 1}")
                if each in used:
                    raise SettingError(f"input {each} is in stream {used[each]!r} and again in {name!r}")
                used[each] = name

    def columns(self) -> dict[str, list[int]]:
        """Stream -> inputs."""
        given = self.streams or {"exg": range(BOARDS[self.board].channels)}
        return {name: list(inputs) for name, inputs in given.items()}

    def microvolts_per_count(self) -> float:
        """One step of the ADC, before the amplifier."""
        board = BOARDS[self.board]
        return board.volts / (1 << board.bits) / self.gain * 1e6

    def specs(self) -> tuple[StreamSpec, ...]:
        """The streams; half the supply is 0 uV."""
        board, lsb = BOARDS[self.board], self.microvolts_per_count()
        half = 2.0 ** (board.bits - 1)
        return tuple(
            StreamSpec(
                name, name if name in KINDS else "exg", tuple(f"A{k}" for k in inputs), "uV", board.rate_hz,
                lsb=lsb, low=-half * lsb, high=(half - 1) * lsb, counted=True, numbered=True,
            )
            for name, inputs in self.columns().items()
        )  # fmt: skip


SETTINGS = Settings
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = (
    {}, {"board": "GIGA-R1", "streams": {"ecg": [0], "eeg": [4, 5]}}, {"board": "NPG-LITE", "gain": 1.0},
)  # fmt: skip


class Host:
    """The computer's end."""

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._settings = settings
        self._columns = settings.columns()
        board = BOARDS[settings.board]
        self._middle, self._scale = 1 << (board.bits - 1), settings.microvolts_per_count()
        self._size = _HEADER + 2 * board.channels + len(_END)
        rule = delimited(_PREFIX, self._size, _END, counter_at=2)
        self._frames = FrameFinder(rule, f"no {self._size}-byte packet between C7 7C and 01")
        self._numbers = FrameNumbers(256, 1e9 / board.rate_hz, [(name, 1) for name in self._columns])

    def start(self) -> Steps:
        """Stop what may be running, ask who is there, start."""
        yield Write(b"STOP\n")
        yield Pause(0.25)  # a board that resets when its port is opened sleeps longer and is asked again
        answer = None
        for left in (3, 2, 1, 0):
            yield Write(b"WHORU\n")
            answer = yield Expect(rb"[A-Z0-9-]+\r?\n", "a board's name in answer to WHORU", 1.0, optional=left > 0)
            if answer:
                break
        name = (answer or b"").split()[-1].decode("ascii", "replace")
        if name != self._settings.board:
            raise HandshakeError(
                f"expected a {self._settings.board}, found {name!r}: "
                f"{'set board to that' if name in BOARDS else 'no board that runs the Chords firmware is called so'}"
            )
        self._frames.restart()
        self._numbers.restart()
        yield Write(b"START\n")

    def stop(self) -> Steps:
        """Stop streaming."""
        yield Write(b"STOP\n")

    def feed(self, batch: Batch) -> list[Event]:
        """Decode packets; see drivers.codec.Host."""
        found = self._frames.feed(batch)
        events: list[Event] = list(found.malformed)
        if not len(found.starts):
            return events
        table = found.table(self._size)
        numbered = self._numbers.update(table, table[:, 2].astype(np.int64), found.arrival_ns)
        events += numbered.events
        counts = np.ascontiguousarray(numbered.frames[:, _HEADER:-1]).view(">u2").astype(np.float64)
        microvolts = (counts - self._middle) * self._scale
        for a, b in spans(numbered.segment):
            events += [
                Samples(
                    name, microvolts[a:b][:, inputs], numbered.index[a:b], numbered.arrival_ns[a:b],
                    segment=int(numbered.segment[a]),
                )
                for name, inputs in self._columns.items()
            ]  # fmt: skip
        return events


class Device(SerialDevice):
    """The board."""

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._name, self._board = settings.board, BOARDS[settings.board]
        self._columns, self._scale = settings.columns(), settings.microvolts_per_count()
        self.reset()

    def reset(self) -> None:
        """Power cycle."""
        self.streaming = False
        self._line = b""
        self._next = self._zero = 0  # number of the next packet, and of the one whose counter was 0

    def reset_counter(self) -> None:
        """The next packet has counter 0."""
        self._zero = self._next

    def receive(self, data: bytes, channel: str = "") -> list[Reply]:
        """Commands, a line each, cut anywhere."""
        *lines, self._line = (self._line + data).split(b"\n")
        self._line = self._line[-64:]
        replies: list[Reply] = []
        for line in lines:
            match line.strip():
                case b"WHORU":
                    replies.append(Reply(self._name.encode() + b"\r\n"))
                case b"START":
                    self.streaming, self._next, self._zero = True, 0, 0
                case b"STOP":
                    self.streaming = False
        return replies

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        """One packet per sample; see drivers.codec.Device."""
        first = blocks[self.streams[0].name]
        count = len(first.index)
        if not count:
            return []
        counts = np.full((count, self._board.channels), 1 << (self._board.bits - 1), dtype=np.int64)
        for name, inputs in self._columns.items():
            counts[:, inputs] += np.rint(blocks[name].values / self._scale).astype(np.int64)
        size = _HEADER + 2 * self._board.channels + len(_END)
        frames = np.empty((count, size), dtype=np.uint8)
        frames[:, :2] = np.frombuffer(_PREFIX, dtype=np.uint8)
        frames[:, 2] = (first.index - self._zero) % 256
        frames[:, _HEADER:-1] = counts.astype(">u2").view(np.uint8)
        frames[:, -1:] = np.frombuffer(_END, dtype=np.uint8)
        self._next = int(first.index[-1]) + 1
        return [Batch(frames.tobytes(), np.arange(1, count + 1, dtype=np.int64) * size, first.due_ns)]


def host(settings: Settings) -> Host:
    """The decoding end."""
    return Host(settings)


def device(settings: Settings) -> Device:
    """The encoding end."""
    return Device(settings)


_PIN = {"gain": 1.0, "streams": {"exg": [0, 1, 5]}}
_STEP = 5e6 / 1024

GOLDEN = (
    Golden(
        "laid out from Chords-Python, chords_serial.py: an UNO-R3, counts 512, 513, 0, 0, 0, 1023",
        bytes.fromhex("C77C 2A 0200 0201 0000 0000 0000 03FF 01"),
        {"exg": [[0.0, _STEP, 511 * _STEP]]},
        _PIN,
    ),
    Golden(
        "laid out from Chords-Python, chords_serial.py: counter 255 and then 0, counts 0 and 512",
        bytes.fromhex("C77C FF" + "0000" * 6 + "01 C77C 00" + "0200" * 6 + "01"),
        {"exg": [[-512 * _STEP] * 3, [0.0] * 3]},
        _PIN,
        tolerance=1e-6,
    ),
)
