"""OpenBCI Cyton: 8 channels of ECG, EEG or EMG at 250 Hz (with its Daisy 16 at 125 Hz) and an accelerometer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from drivers import cyton_frame as wire
from drivers.codec import Block, Golden, Reply, SerialDevice, Steps, Write
from drivers.counter import TOO_SOON, CounterUnwrapper, Incident, SparseIndex, spans, sparse_events
from drivers.cyton_board import CHANNELS, FULL_COUNT, GAINS, RATE_HZ, CytonBoard, microvolts_per_count
from drivers.cyton_daisy import RATE_16_HZ, Pairs, spread, twice
from drivers.cyton_start import set_up
from drivers.errors import SettingError
from drivers.framing import Bytes, SyncedFrames, int24_be, to_int24_be
from drivers.sparse import SparseSource
from drivers.types import (
    KINDS,
    Batch,
    CounterReset,
    Event,
    IntArray,
    Lost,
    Malformed,
    Notice,
    Reordered,
    Repeated,
    Samples,
    StreamSpec,
)

NAME = "openbci-cyton"
LINK = "serial"
BAUD = 115200
SOURCES = (
    "OpenBCI_Cyton_Library, OpenBCI_32bit_Library.cpp (firmware 3.1.2)",
    "OpenBCI documentation: Cyton Data Format, Cyton SDK",
    "OpenBCI_Python, openbci/utils/utilities.py and tests/test_parse.py",
    "BrainFlow, src/board_controller/openbci/cyton_daisy.cpp (5.23)",
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What may be set for a Cyton."""

    streams: Mapping[str, Sequence[int]] = field(
        default_factory=dict,
        metadata={"help": "stream name -> channel numbers 1..8, with the Daisy 1..16; a name that is a kind "
                          "(ecg, eeg) is of that kind. Empty: all as 'exg'"},
    )  # fmt: skip
    gain: int = field(default=24, metadata={"help": "amplifier gain of every channel: 1, 2, 4, 6, 8, 12 or 24"})
    timestamps: bool = field(default=False, metadata={"help": "ask the board for its clock (ms) in every frame"})
    daisy: bool = field(default=False, metadata={"help": "the Daisy module is attached: 16 channels at 125 Hz"})

    def __post_init__(self) -> None:
        if self.gain not in GAINS:
            raise SettingError(f"gain {self.gain!r}: a Cyton has {', '.join(map(str, GAINS))}")
        used: dict[int, str] = {}
        for name, channels in self.streams.items():
            if name == "accel" or not name:
                raise SettingError(f"stream name {name!r} is taken by the accelerometer or empty: choose another")
            if not isinstance(channels, list | tuple) or not channels:
                raise SettingError(f"stream {name!r} needs a list of channel numbers 1..{self.count}, such as [7, 8]")
            for channel in channels:
                if type(channel) is not int or not 1 <= channel <= self.count:
                    hint = "" if self.daisy else ": 9..16 are the Daisy's, which `daisy: true` asks for"
                    raise SettingError(f"stream {name!r}: channel {channel!r} is not one of 1..{self.count}{hint}")
                if channel in used:
                    raise SettingError(f"channel {channel} is in stream {used[channel]!r} and again in {name!r}")
                used[channel] = name

    @property
    def count(self) -> int:
        """Channels on the board and its Daisy."""
        return CHANNELS * (1 + self.daisy)

    def channels(self) -> dict[str, list[int]]:
        """Stream -> columns 0..7, with the Daisy 0..15."""
        given = self.streams or {"exg": range(1, self.count + 1)}
        return {name: [channel - 1 for channel in channels] for name, channels in given.items()}

    def specs(self) -> tuple[StreamSpec, ...]:
        """The streams, the accelerometer last."""
        lsb = microvolts_per_count(self.gain)
        exg = [
            StreamSpec(
                name, name if name in KINDS else "exg", tuple(f"ch{c + 1}" for c in columns), "uV",
                RATE_16_HZ if self.daisy else RATE_HZ,
                lsb=lsb, low=-(FULL_COUNT + 1) * lsb, high=FULL_COUNT * lsb, counted=True, timed=self.timestamps,
                numbered=True,
            )
            for name, columns in self.channels().items()
        ]  # fmt: skip
        rate_hz = RATE_HZ * wire.SLOTS_PER_TURN / 256 if self.timestamps else RATE_HZ / 10
        accel = StreamSpec(
            "accel", "acceleration", ("x", "y", "z"), "g", rate_hz, lsb=wire.G_PER_COUNT,
            low=-32768 * wire.G_PER_COUNT, high=32767 * wire.G_PER_COUNT, counted=True, timed=self.timestamps,
            numbered=True,
        )  # fmt: skip
        return (*exg, accel)


SETTINGS = Settings
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = (
    {},
    {"streams": {"ecg": [1], "eeg": [7, 8]}, "gain": 12},
    {"timestamps": True},
    {"daisy": True},
    {"daisy": True, "streams": {"ecg": [1], "eeg": [8, 9, 16]}, "gain": 12, "timestamps": True},
)


class Host:
    """The computer's end."""

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._settings = settings
        self._columns = settings.channels()
        self._scale = microvolts_per_count(settings.gain)
        self._frames = SyncedFrames(wire.START, wire.LENGTH, range(wire.ACCEL, 0xC7), counter_at=1)
        self._unwrap = CounterUnwrapper(256, 1e9 / RATE_HZ)
        self._accel_index = SparseIndex(1 if settings.timestamps else 10)
        self._clock_segment = 0
        self._segment = -1
        self._held: tuple[Bytes, IntArray] | None = None
        """A frame that is not understood before the next has come, and its arrival."""
        self._clock = wire.BoardClock()
        self._axes = wire.StampedAxes()
        self._pairs = Pairs()

    # --- start and stop -----------------------------------------------------------------------

    def start(self) -> Steps:
        """Set up as drivers.cyton_start does, then stream."""
        given = self._settings
        yield from set_up(given.gain, given.timestamps, given.daisy)
        self._frames.restart()
        self._unwrap.restart()
        self._held = None
        self._pairs.restart()
        yield Write(b"b")

    def stop(self) -> Steps:
        """Stop streaming."""
        yield Write(b"s")

    # --- decoding -----------------------------------------------------------------------------

    def feed(self, batch: Batch) -> list[Event]:
        """Decode frames; see drivers.codec.Host."""
        frames, arrival_ns, malformed = self._frames.feed(batch)
        events: list[Event] = list(malformed)
        if not len(frames):
            return events
        if self._held is not None:
            frames = np.concatenate([self._held[0], frames])
            arrival_ns, self._held = np.concatenate([self._held[1], arrival_ns]), None
        unwrapped = self._unwrap.update(frames[:, 1].astype(np.int64), arrival_ns)
        if unwrapped.undecided:
            self._held = frames[-1:], arrival_ns[-1:]
            frames, arrival_ns = frames[:-1], arrival_ns[:-1]
        index, segment = unwrapped.index, unwrapped.segment + self._clock_segment
        milliseconds = None
        for incident in unwrapped.incidents:
            frame = frames[incident.position : incident.position + 1]
            events += self._tell(incident, int(arrival_ns[incident.position]), frame)
        if unwrapped.incidents:
            keep = unwrapped.kept()
            frames, arrival_ns, index, segment = frames[keep], arrival_ns[keep], index[keep], segment[keep]
        if self._settings.timestamps and len(frames):
            milliseconds, steps = self._clock.update(frames, index, segment)
            for position, detail in steps:
                segment[position:] += 1
                events += [CounterReset(s.name, int(arrival_ns[position]), detail, clock=True) for s in self.streams]
            self._clock_segment += len(steps)
        for a, b in spans(segment):
            stamps = None if milliseconds is None else milliseconds[a:b] * 1_000_000
            events += self._samples(frames[a:b], arrival_ns[a:b], index[a:b], int(segment[a]), stamps)
        return events

    def _tell(self, incident: Incident, at_ns: int, frame: Bytes) -> list[Event]:
        """Events of the frame counter; losses of the accelerometer show in its own numbers."""
        every = [stream.name for stream in self.streams]
        exg = every[:-1] if not self._settings.daisy else []  # pairs tell by their own numbers
        match incident.kind:
            case "lost":
                return [Lost(name, incident.count, at_ns) for name in exg]
            case "repeated":
                return [Repeated(name, 1, at_ns) for name in (every if self._carries_accel(frame) else every[:-1])]
            case "reordered":
                return [Reordered(name, 1, at_ns) for name in exg]
            case "odd":
                return [Malformed(incident.detail, wire.LENGTH, frame.tobytes(), at_ns)]
            case "reset":
                return [CounterReset(name, at_ns, incident.detail) for name in every]
            case "ambiguous":
                return [Notice("loss_ambiguous", incident.detail, at_ns)]

    def _carries_accel(self, frame: Bytes) -> bool:
        if self._settings.timestamps:
            return bool(frame[0, 1] % 10 == wire.AXIS_SLOTS[2])
        return len(wire.plain_axes(frame)[0]) > 0

    def _samples(
        self, frames: Bytes, arrival_ns: IntArray, index: IntArray, segment: int, device_ns: IntArray | None
    ) -> list[Event]:
        if segment != self._segment:
            self._segment = segment
            if not self._pairs.follows(int(index[0])):  # as it does where only the clock jumped
                self._pairs.restart()
            self._accel_index.restart()
            self._axes = wire.StampedAxes()
        microvolts = np.multiply(int24_be(frames[:, 2:26]), self._scale, dtype=np.float64)
        if device_ns is not None and frames[0, -1] < wire.FIRST_STAMPED:
            device_ns = None
        events: list[Event] = []
        sampled, number, sampled_ns = microvolts, index, arrival_ns
        stamped_ns = device_ns
        if self._settings.daisy:
            pair = self._pairs.update(index, microvolts)
            sampled, number, sampled_ns = pair.values, pair.number, arrival_ns[pair.row]
            stamped_ns = None if device_ns is None else device_ns[pair.row]
            events += [e for name in self._columns for e in sparse_events(name, pair.lost, sampled_ns)]
        if len(number):
            events += [
                Samples(name, sampled[:, columns], number, sampled_ns, stamped_ns, segment)
                for name, columns in self._columns.items()
            ]
        rows, g = self._axes.update(frames, index) if self._settings.timestamps else wire.plain_axes(frames)
        if len(rows):
            slots = index[rows]
            if self._settings.timestamps:
                slots = slots // 256 * wire.SLOTS_PER_TURN + slots % 256 // 10
            numbers, lost = self._accel_index.update(slots)
            events += sparse_events("accel", lost, arrival_ns[rows])
            if (soon := lost == TOO_SOON).any():
                rows, g, numbers = rows[~soon], g[~soon], numbers[~soon]
            stamps = None if device_ns is None else device_ns[rows]
            events.append(Samples("accel", g, numbers, arrival_ns[rows], stamps, segment))
        return events


class Device(SerialDevice):
    """The board's end: what its dongle hands to the computer."""

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._columns = settings.channels()
        self._daisy = settings.daisy
        self._board = CytonBoard(settings.daisy)
        self._restart()

    @property
    def streaming(self) -> bool:
        """Between ``b`` and ``s``."""
        return self._board.streaming

    def _restart(self) -> None:
        self._next = self._zero = 0  # number of the next sample, and of the one whose counter was 0
        self._accel = SparseSource()
        self._newest = np.zeros(3, dtype=np.int64)  # counts of the accelerometer
        self._held = self._newest

    def receive(self, data: bytes, channel: str = "") -> list[Reply]:
        """Commands, cut anywhere."""
        replies: list[Reply] = []
        for value in data:
            was = self._board.streaming
            replies += self._board.receive(bytes([value]))
            if self._board.streaming and not was:
                self._restart()
        return replies

    def reset(self) -> None:
        """Power cycle."""
        self._board.power_on()
        self._restart()

    def reset_counter(self) -> None:
        """The next frame has counter 0."""
        self._zero = self._next

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        """One frame per EXG sample, with the Daisy two; see drivers.codec.Device."""
        first = blocks[self.streams[0].name]
        if not len(first.index):
            self._accel.take(blocks["accel"], first.due_ns)  # it waits for the next frame
            return []
        microvolts = np.zeros((len(first.index), len(self._board.gains)))
        for name, columns in self._columns.items():
            microvolts[:, columns] = blocks[name].values
        counts, number = self._board.counts(microvolts, first.index), first.index - self._zero
        self._next = int(first.index[-1]) + 1
        if self._daisy:
            number, counts = spread(number, counts, self._board.attached)
            first = twice(first)
        rows, g = self._accel.take(blocks["accel"], first.due_ns)
        frames = np.zeros((len(number), wire.LENGTH), dtype=np.uint8)
        counter = number % 256
        frames[:, 0], frames[:, 1] = wire.START, counter
        frames[:, 2:26] = to_int24_be(counts.astype(np.int32))
        accel = np.rint(g / wire.G_PER_COUNT).astype(np.int64)
        if self._board.timestamps:
            self._encode_stamped(frames, counter, first, rows, accel)
        else:
            frames[:, 32] = wire.RAW if self._board.raw_aux else wire.ACCEL
            if not self._board.raw_aux:
                frames[rows, 26:32] = accel.astype(">i2").view(np.uint8)
        if len(rows):
            self._newest = accel[-1]
        ends = np.arange(1, len(number) + 1, dtype=np.int64) * wire.LENGTH
        return [Batch(frames.tobytes(), ends, first.due_ns)]

    def _encode_stamped(self, frames: Bytes, counter: IntArray, first: Block, rows: IntArray, accel: IntArray) -> None:
        """One axis at a time, of the sample that was the newest when X went out, and the board's ms."""
        milliseconds = (first.device_ns // 1_000_000 % 2**32).astype(">u4")
        frames[:, 28:32] = milliseconds.view(np.uint8).reshape(-1, 4)
        frames[:, 32] = wire.STAMPED + 2 * self._board.raw_aux
        frames[:1, 32] -= self._board.first_stamp
        self._board.first_stamp = False
        slots = np.flatnonzero(counter % 10 >= wire.AXIS_SLOTS[0]).tolist() if not self._board.raw_aux else []
        for row in slots:
            axis = int(counter[row]) % 10 - wire.AXIS_SLOTS[0]
            if axis == 0:
                newest = int(np.searchsorted(rows, row, side="right"))
                self._held = accel[newest - 1] if newest else self._newest
            frames[row, 26:28] = np.frombuffer(int(self._held[axis]).to_bytes(2, "big", signed=True), np.uint8)


def host(settings: Settings) -> Host:
    """The decoding end."""
    return Host(settings)


def device(settings: Settings) -> Device:
    """The encoding end."""
    return Device(settings)


_VECTOR = "A045 000001 000002 000003 000004 000005 000006 000007 000008 "
_COUNTING = [4.5 / 24 / (2**23 - 1) * 1e6 * n for n in range(1, 9)]
_REAL = (-7343552, -7348236, -7328842, -7356481, 8388607, 8388607, -7068364, 2143869)
_MEASURED = [4.5 / 24 / (2**23 - 1) * 1e6 * n for n in _REAL]
_UTILITIES = "OpenBCI_Python openbci/utils/utilities.py"

GOLDEN = (
    Golden(
        f"{_UTILITIES}: sample packet",
        bytes.fromhex(_VECTOR + "0000 0001 0002 C0"),
        {"exg": [_COUNTING], "accel": [[0.0, 0.000125, 0.00025]]},
    ),
    Golden(
        f"{_UTILITIES}: sample packet from real hardware (counter 0 put in)",
        bytes.fromhex("A000 8FF240 8FDFF4 902BB6 8FBFBF 7FFFFF 7FFFFF 942534 20B67D 00E0 00E0 0F70 C0"),
        {"exg": [_MEASURED], "accel": [[0.028, 0.028, 0.494]]},
    ),
    Golden(
        f"{_UTILITIES}: raw aux packet (counter and channels of the sample packet put in)",
        bytes.fromhex(_VECTOR + "000102030405 C1"),
        {"exg": [_COUNTING], "accel": []},
    ),
    *(
        Golden(
            f"{_UTILITIES}: time-stamped packet (counter and channels of the sample packet put in)",
            bytes.fromhex(_VECTOR + "0001 00000001" + stop),
            {"exg": [_COUNTING], "accel": []},
            {"timestamps": True},
        )
        for stop in ("C3", "C4", "C5", "C6")
    ),
    Golden(
        f"{_UTILITIES}: packet from real hardware for the Daisy (counter, tail put in), sample packet for the board",
        bytes.fromhex(
            "A044 8FF240 8FDFF4 902BB6 8FBFBF 7FFFFF 7FFFFF 942534 20B67D 000000000000 C0"
            + _VECTOR
            + "0000 0001 0002 C0"
        ),
        {"exg": [[*_COUNTING, *_MEASURED]], "accel": [[0.0, 0.000125, 0.00025]]},
        {"daisy": True},
    ),
)
