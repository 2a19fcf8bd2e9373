"""BITalino (r)evolution: ECG, EMG, EDA, EEG, respiration and acceleration on six inputs at up to 1000 Hz."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from drivers import bitalino_frame as wire
from drivers.bitalino_board import (
    IDLE,
    RATES_HZ,
    STATE,
    VERSION,
    BitalinoBoard,
    battery_volts,
    rate_command,
    start_command,
    state_size,
)
from drivers.bitalino_frame import Transfer, biopotential
from drivers.chained_frames import Chain, ChainedFrames
from drivers.codec import Block, Expect, Golden, Pause, Reply, SerialDevice, Steps, Write
from drivers.counter import CounterUnwrapper, Incident, spans
from drivers.errors import HandshakeError, SettingError
from drivers.framing import Bytes
from drivers.types import (
    Batch,
    CounterReset,
    Event,
    FloatArray,
    IntArray,
    Lost,
    Malformed,
    Notice,
    Reordered,
    Repeated,
    Samples,
    StreamSpec,
)

NAME = "bitalino"
LINK = "serial"
BAUD = 115200
SOURCES = (
    "firmware-bitalino-revolution 5.2 (main.c, live.c, uart.c)",
    "bitalino 1.2.6 (Python API) and bitalino-rs 0.3.3, which both decode the golden frames",
    "PLUX data sheets of the sensors; timeflux_bitalino; revolution-sample-data",
)

_SENSORS = ("ecg", "emg", "eda", "eeg", "pzt", "acc", "raw")
_LINES = ("O2", "O1", "I2", "I1")
_SOME_VERSION = rb"BITalino_v(\d+)\.(\d+)[^\n]*\n"
_HAS_STATE = (4, 2)
_COMMAND_S = 0.1
"""The board reads one command at a time; its vendor's API waits so long between them."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What may be set for a BITalino."""

    channels: Mapping[str, str] = field(
        default_factory=lambda: {"A1": "emg", "A2": "ecg", "A3": "eda"},
        metadata={"help": f"input A1..A6 -> the sensor on it: {', '.join(_SENSORS)}. Inputs with the same sensor are "
                          "one stream. The fifth and sixth input that are used have 6 bits, the others 10"},
    )  # fmt: skip
    rate_hz: int = field(default=1000, metadata={"help": "sampling rate: 1, 10, 100 or 1000"})
    emg_gain: float = field(default=1009.0, metadata={"help": "gain of the EMG sensor; 1000 on older boards"})
    eeg_gain: float = field(default=41782.0, metadata={"help": "gain of the EEG sensor; 40000 on older boards"})
    eda: Literal["revolution", "offset", "resistance"] = field(
        default="revolution",
        metadata={"help": "transfer function of the EDA sensor: revolution is V / 0.132; of older boards, offset is "
                          "(V - 0.259388) / 0.2 and resistance is 1 / (1 - ADC / 2^n)"},
    )  # fmt: skip
    acc_min: float = field(default=208.0, metadata={"help": "10-bit code of the accelerometer at -1 g"})
    acc_max: float = field(default=312.0, metadata={"help": "10-bit code of the accelerometer at 1 g"})
    firmware: str = field(default="5.2", metadata={"help": "simulated board: firmware version, 4.2 or later"})
    battery_v: float = field(default=3.9, metadata={"help": "simulated board: voltage of its battery"})

    def __post_init__(self) -> None:
        if not isinstance(self.channels, Mapping) or not self.channels:
            raise SettingError("channels is empty: name the sensor on each input, such as {A2: ecg}")
        for name, sensor in self.channels.items():
            if not re.fullmatch("A[1-6]", str(name)):
                raise SettingError(f"input {name!r}: a BITalino has A1, A2, A3, A4, A5 and A6")
            if sensor not in _SENSORS:
                raise SettingError(f"input {name}: sensor {sensor!r}; there is {', '.join(_SENSORS)}")
        if self.rate_hz not in RATES_HZ:
            raise SettingError(f"rate_hz {self.rate_hz!r}: a BITalino has {', '.join(map(str, RATES_HZ))}")
        if self.eda not in ("revolution", "offset", "resistance"):
            raise SettingError(f"eda {self.eda!r}: there is revolution, offset and resistance")
        if self.emg_gain <= 0 or self.eeg_gain <= 0 or self.acc_max <= self.acc_min:
            raise SettingError("emg_gain and eeg_gain must be above 0, and acc_max above acc_min")
        if not re.fullmatch(r"\d+\.\d+", self.firmware) or self.version() < _HAS_STATE:
            raise SettingError(f"firmware {self.firmware!r}: a (r)evolution has 4.2 or later, such as '5.2'")
        if not 3.0 <= self.battery_v <= 4.3:
            raise SettingError(f"battery_v {self.battery_v}: a lithium cell has 3.0 to 4.3 V")

    def version(self) -> tuple[int, int]:
        """Firmware of the simulated board."""
        major, minor = self.firmware.split(".")
        return int(major), int(minor)

    def inputs(self) -> tuple[int, ...]:
        """Inputs 0..5 in the order in which frames carry them."""
        return tuple(sorted(int(name[1]) - 1 for name in self.channels))

    def columns(self) -> dict[str, list[int]]:
        """Stream -> its columns among the inputs that are used."""
        found: dict[str, list[int]] = {}
        for column, number in enumerate(self.inputs()):
            found.setdefault(self.channels[f"A{number + 1}"], []).append(column)
        return found

    def transfer(self, sensor: str) -> Transfer:
        """What the sensor's codes mean."""
        edas = {
            "revolution": Transfer("eda", "uS", wire.VCC_V / 0.132, 0.0),
            "offset": Transfer("eda", "uS", wire.VCC_V / 0.2, -0.259388 / 0.2),
            "resistance": Transfer("eda", "uS", -1.0, 1.0, inverse=True),
        }
        span = self.acc_max - self.acc_min
        return {
            "ecg": biopotential("ecg", "mV", 1e3, 1100),
            "emg": biopotential("exg", "mV", 1e3, self.emg_gain),
            "eda": edas[self.eda],
            "eeg": biopotential("eeg", "uV", 1e6, self.eeg_gain),
            "pzt": Transfer("respiration", "%", 100.0, -50.0),
            "acc": Transfer("acceleration", "g", 2048 / span, -2 * self.acc_min / span - 1),
            "raw": Transfer("raw", "counts", 1024.0, 0.0),
        }[sensor]

    def specs(self) -> tuple[StreamSpec, ...]:
        """One stream for each sensor. With inputs of 10 and 6 bits together, the step is the smaller one."""
        return tuple(self._spec(sensor, columns) for sensor, columns in self.columns().items())

    def _spec(self, sensor: str, columns: list[int]) -> StreamSpec:
        transfer, inputs = self.transfer(sensor), self.inputs()
        ranges = [transfer.range(wire.BITS[column]) for column in columns]
        return StreamSpec(
            sensor, transfer.kind, tuple(f"A{inputs[column] + 1}" for column in columns), transfer.unit,
            float(self.rate_hz), lsb=min(r[2] for r in ranges), low=ranges[0][0], high=min(r[1] for r in ranges),
            counted=True, numbered=True,
        )  # fmt: skip


SETTINGS = Settings
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = (
    {"rate_hz": 100},
    {"channels": {"A3": "eda"}},
    {"channels": {"A1": "ecg", "A2": "ecg", "A3": "eeg", "A4": "pzt", "A5": "raw", "A6": "acc"}, "rate_hz": 100},
    {"channels": {"A2": "emg", "A4": "raw", "A6": "eda"}, "eda": "offset"},
    {"channels": {"A1": "raw", "A2": "acc", "A3": "acc", "A5": "acc", "A6": "eda"}, "firmware": "5.1"},
)


class Host:
    """The computer's end.

    Sixteen frames are a turn of the sequence, and only arrival times tell turns apart. A silence of up to 200 ms is
    taken for a stall of the link, and lost turns in it stay unseen; a longer one for a loss, though it may be a stall.
    """

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._settings, self._inputs = settings, settings.inputs()
        self._columns = settings.columns()
        self._transfers = {name: settings.transfer(name) for name in self._columns}
        self._full = np.array([2.0**bits for bits in wire.BITS[: len(self._inputs)]])
        chain = Chain(
            wire.SIZES[len(self._inputs) - 1], wire.check, wire.SEQUENCES, step=1, slack=0, check_bits=4, next_bits=4
        )
        self._frames = ChainedFrames(chain, f"no {chain.length}-byte frame whose CRC4 and sequence number hold")
        self._unwrap = CounterUnwrapper(wire.SEQUENCES, 1e9 / settings.rate_hz)
        self._held: tuple[Bytes, IntArray] | None = None
        """A frame that is not understood before the next has come, and its arrival."""
        self._digital: int | None = None
        self._told: dict[str, float | str] = {}  # by start(), passed on with the first frames

    # --- start and stop -----------------------------------------------------------------------

    def start(self) -> Steps:
        """Stop what may be running, ask for version and state, set the rate, stream."""
        yield Write(IDLE)
        yield Pause(0.25)
        yield Write(VERSION)
        text = yield Expect(_SOME_VERSION, "a BITalino's version, such as BITalino_v5.2")
        found = re.search(_SOME_VERSION, text or b"")
        version = (int(found[1]), int(found[2])) if found else (0, 0)
        self._told["firmware"] = f"{version[0]}.{version[1]}"
        if version >= _HAS_STATE:
            yield Pause(_COMMAND_S)
            yield Write(STATE)
            size = state_size(version)
            state = yield Expect(b".{%d}" % size, f"the {size} bytes of a BITalino's state")
            volts = battery_volts((state or b"")[-size:])
            if volts is None:
                raise HandshakeError(
                    f"expected a state reply whose CRC holds, found {(state or b'')[-size:].hex(' ')}: bytes are "
                    "damaged on the way. Move the board closer, and check the port's baud rate"
                )
            self._told["battery_V"] = volts
        yield Write(rate_command(self._settings.rate_hz))
        yield Pause(_COMMAND_S)
        self._frames.restart(last=wire.SEQUENCES - 1)  # the command to start sets the sequence to 0
        self._unwrap.restart()
        self._held = self._digital = None
        yield Write(start_command(self._inputs))

    def stop(self) -> Steps:
        """Stop streaming."""
        yield Write(IDLE)

    # --- decoding -----------------------------------------------------------------------------

    def feed(self, batch: Batch) -> list[Event]:
        """Decode frames; see drivers.codec.Host."""
        frames, arrival_ns, malformed, _ = self._frames.feed(batch)
        events: list[Event] = list(malformed)
        if not len(frames):
            return events
        events += [Notice(name, value, int(arrival_ns[0])) for name, value in self._told.items()]
        self._told.clear()
        if self._held is not None:
            frames = np.concatenate([self._held[0], frames])
            arrival_ns, self._held = np.concatenate([self._held[1], arrival_ns]), None
        unwrapped = self._unwrap.update((frames[:, -1] >> 4).astype(np.int64), arrival_ns)
        if unwrapped.undecided:
            self._held = frames[-1:], arrival_ns[-1:]
            frames, arrival_ns = frames[:-1], arrival_ns[:-1]
        index, segment = unwrapped.index, unwrapped.segment
        for incident in unwrapped.incidents:
            at = incident.position
            events += self._tell(incident, int(arrival_ns[at]), frames[at].tobytes())
        if unwrapped.incidents:
            keep = unwrapped.kept()
            frames, arrival_ns, index, segment = frames[keep], arrival_ns[keep], index[keep], segment[keep]
        if not len(frames):
            return events
        codes, digital = wire.unpack(frames, len(self._inputs))
        shares = codes / self._full
        events += self._lines(digital, arrival_ns)
        for a, b in spans(segment):
            for name, columns in self._columns.items():
                values = self._transfers[name].value(shares[a:b, columns])
                events.append(Samples(name, values, index[a:b], arrival_ns[a:b], None, int(segment[a])))
        return events

    def _tell(self, incident: Incident, at_ns: int, frame: bytes) -> list[Event]:
        """What happened to the sequence happened to every stream."""
        names = [stream.name for stream in self.streams]
        match incident.kind:
            case "lost":
                return [Lost(name, incident.count, at_ns) for name in names]
            case "repeated":
                return [Repeated(name, 1, at_ns) for name in names]
            case "reordered":
                return [Reordered(name, 1, at_ns) for name in names]
            case "odd":
                return [Malformed(incident.detail, len(frame), frame, at_ns)]
            case "reset":
                return [CounterReset(name, at_ns, incident.detail) for name in names]
            case "ambiguous":
                return [Notice("loss_ambiguous", incident.detail, at_ns)]

    def _lines(self, digital: IntArray, arrival_ns: IntArray) -> list[Event]:
        """A notice for every digital line that has changed, and for all four at first."""
        before = 15 - int(digital[0]) if self._digital is None else self._digital
        self._digital = int(digital[-1])
        changed = np.diff(digital, prepend=before)
        return [
            Notice(line, bool(digital[row] >> bit & 1), int(arrival_ns[row]))
            for row in np.flatnonzero(changed).tolist()
            for bit, line in enumerate(_LINES)
            if (digital[row] ^ (digital[row - 1] if row else before)) >> bit & 1
        ]


class Device(SerialDevice):
    """The board's end.

    It samples at the settings' rate. A client that asks for a lower one gets every tenth, hundredth or thousandth
    sample; one that asks for a higher one gets what there is. Inputs that the settings do not name are at half scale.
    """

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._settings, self._inputs = settings, settings.inputs()
        self._board = BitalinoBoard(settings.version(), settings.battery_v)
        self._restart()

    @property
    def streaming(self) -> bool:
        """Between a start and a stop command."""
        return self._board.streaming

    def _restart(self) -> None:
        self._next = self._zero = 0  # number of the next frame, and of the one whose sequence was 0
        self._newest: FloatArray = np.full(wire.INPUTS, 0.5)

    def receive(self, data: bytes, channel: str = "") -> list[Reply]:
        """Commands, cut anywhere."""
        replies: list[Reply] = []
        for value in data:
            was = self._board.streaming
            replies += self._board.receive(bytes([value]), self._newest)
            if self._board.streaming and not was:
                self._restart()
        return replies

    def reset(self) -> None:
        """Power cycle."""
        self._board.power_on()
        self._restart()

    def reset_counter(self) -> None:
        """The next frame has sequence 0."""
        self._zero = self._next

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        """One frame per sample; see drivers.codec.Device."""
        first = blocks[self.streams[0].name]
        every = max(self._settings.rate_hz // self._board.rate_hz, 1)
        rows = np.flatnonzero(first.index % every == 0)
        if not len(rows):
            return []
        shares = self._shares(blocks, rows, first.index)
        self._newest = shares[-1]
        inputs = self._board.inputs
        full = np.array([2**bits for bits in wire.BITS[: len(inputs)]])
        codes = np.clip(np.rint(shares[:, inputs] * full), 0, full - 1).astype(np.int64)
        number = first.index[rows] // every
        self._next = int(number[-1]) + 1
        frames = wire.pack(codes, (number - self._zero) % wire.SEQUENCES, self._board.digital)
        ends = np.arange(1, len(rows) + 1, dtype=np.int64) * frames.shape[1]
        return [Batch(frames.tobytes(), ends, first.due_ns[rows])]

    def _shares(self, blocks: Mapping[str, Block], rows: IntArray, index: IntArray) -> FloatArray:
        """Share of full scale on every input, (n, 6)."""
        shares = np.full((len(rows), wire.INPUTS), 0.5)
        if self._board.simulated:
            shares += 0.4 * np.exp(-(((index[rows] % 50 - 20) / 3) ** 2))[:, None]  # a pulse every 50 samples
            return shares
        for name, columns in self._settings.columns().items():
            shares[:, [self._inputs[column] for column in columns]] = self._settings.transfer(name).share(
                blocks[name].values[rows]
            )
        return shares


def host(settings: Settings) -> Host:
    """The decoding end."""
    return Host(settings)


def device(settings: Settings) -> Device:
    """The encoding end."""
    return Device(settings)


_RAW = ("A1", "A2", "A3", "A4", "A5", "A6")
_LIKE_FIRMWARE = "packed as firmware 5.2 does (live.c); decoded alike by bitalino 1.2.6 and bitalino-rs 0.3.3"


def _golden(frame: str, digital: str, codes: list[float]) -> Golden:
    lines = {line: digit == "1" for line, digit in zip(("I1", "I2", "O1", "O2"), digital, strict=True)}
    channels = dict.fromkeys(_RAW[: len(codes)], "raw")
    wide = [code * (1024 / 2**bits) for code, bits in zip(codes, wire.BITS, strict=False)]
    return Golden(_LIKE_FIRMWARE, bytes.fromhex(frame), {"raw": [wide], **lines}, {"channels": channels})


GOLDEN = (
    _golden("000000", "0000", [0]),
    _golden("a89a5f", "1001", [682]),
    _golden("01fccff9", "1100", [1023, 1]),
    _golden("00fa02056899", "0110", [513, 258, 1000]),
    _golden("00194bc890a13f", "1010", [100, 200, 300, 400]),
    _golden("4041c000020430a0", "0011", [1, 2, 3, 4, 5]),
    _golden("7e28608000fef7c2", "1111", [511, 512, 513, 514, 33, 62]),
    Golden(
        "PLUX data sheets of ECG, PZT and EDA sensors: codes 513, 258 and 1000 of the frame above",
        bytes.fromhex("00fa02056899"),
        {"ecg": [[3.0 / 1024]], "pzt": [[-24.8046875]], "eda": [[24.4140625]]},
        {"channels": {"A1": "ecg", "A2": "pzt", "A4": "eda"}},
    ),
)
