"""Shimmer3 with LogAndStream: skin conductance and PPG of a GSR+, ECG or EMG of an ExG unit, over Bluetooth serial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from drivers import shimmer3_packet as wire
from drivers.chained_frames import Chain, ChainedFrames
from drivers.codec import Block, Golden, Reply, SerialDevice, Steps, Write
from drivers.counter import CounterUnwrapper, Incident, spans
from drivers.framing import Bytes
from drivers.shimmer3_board import ShimmerBoard
from drivers.shimmer3_clock import StampClock, to_ns, to_ticks
from drivers.shimmer3_gsr import Ranger
from drivers.shimmer3_replies import NACK, meaning, reply_size
from drivers.shimmer3_settings import Settings
from drivers.shimmer3_setup import Found, begin, set_up
from drivers.shimmer3_streams import SENSORS, decode, encode
from drivers.types import (
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
)

NAME = "shimmer3"
LINK = "serial"
BAUD = 115200
SOURCES = (
    "log-and-stream-common (shimmer_bt_uart.c, shimmer_sensing.c, gsr.c, shimmer_crc.c)",
    "pyshimmer 1.0.0 and its tests (test_bt_commands.py, test_bluetooth_api.py)",
    "Shimmer Java API (SensorGSR, SensorEXG, SensorPPG)",
)

_UNWRAPPED = 1 << 40
"""Modulus of sample numbers, which do not turn."""

SETTINGS = Settings
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = (
    {"gsr_range": 2},
    {"sensors": ["ecg"], "rate_hz": 512},
    {"sensors": ["gsr", "battery", "ext_a7"], "rate_hz": 51.2, "gsr_range": 0, "crc_bytes": 1},
    {"sensors": ["emg", "ppg"], "rate_hz": 256, "exg_bits": 16, "exg_gain": 12, "crc_bytes": 0},
)


class Host:
    """The computer's end."""

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._settings = settings
        self._period_ns = 1e9 * settings.ticks() / wire.TICKS_PER_S
        self._unwrap = CounterUnwrapper(_UNWRAPPED, self._period_ns)
        self._told: dict[str, bool | float | str] = {}  # by start(), passed on with the first packets
        self._said: dict[str, bool | float | str] = {}
        self._listen(wire.channels_of(settings.field()), settings.crc_bytes)

    def _listen(self, channels: Sequence[int], crc: int) -> None:
        """Expect packets with these channels and so many bytes of CRC, in a new segment."""
        self._offsets = wire.offsets_of(channels)
        ticks = self._settings.ticks()
        chain = Chain(
            self._offsets[0xFF] + crc, lambda packets: wire.check(packets, crc), wire.STAMP_MODULUS, ticks,
            slack=2, check_bits=8 + 8 * crc, next_bits=20, guarded=crc > 0,
            aside=lambda data, at: reply_size(data, at, crc),
        )  # fmt: skip
        self._frames = ChainedFrames(chain, f"no {chain.length}-byte packet" + (" whose CRC holds" if crc else ""))
        self._clock = StampClock(ticks)
        self._unwrap.restart()
        self._held: tuple[Bytes, IntArray] | None = None
        """A packet that is not understood before the next has come, and its arrival."""

    # --- start and stop -----------------------------------------------------------------------

    def start(self) -> Steps:
        """Stop what may be running, ask what this is, set it up, ask for the order of channels, stream."""
        found = Found()
        yield from set_up(self._settings, found)
        self._told, self._said = found.said, dict(found.said)
        self._listen(found.channels, found.crc_bytes)
        yield from begin(found)

    def stop(self) -> Steps:
        """Stop streaming."""
        yield Write(b"\x20")

    # --- decoding -----------------------------------------------------------------------------

    def feed(self, batch: Batch) -> list[Event]:
        """Decode packets; see drivers.codec.Host."""
        packets, arrival_ns, malformed, asides = self._frames.feed(batch)
        events: list[Event] = list(malformed)
        for reply, at_ns in asides:
            events += self._hear(reply, at_ns)
        if not len(packets):
            return events
        events += [Notice(name, value, int(arrival_ns[0])) for name, value in self._told.items()]
        self._told.clear()
        if self._held is not None:
            packets = np.concatenate([self._held[0], packets])
            arrival_ns, self._held = np.concatenate([self._held[1], arrival_ns]), None
        ticks, numbers = self._clock.read(wire.stamps_of(packets), arrival_ns)
        unwrapped = self._unwrap.update(numbers % _UNWRAPPED, arrival_ns)
        if unwrapped.undecided:
            self._clock.unread()
            self._held = packets[-1:], arrival_ns[-1:]
            packets, arrival_ns, ticks = packets[:-1], arrival_ns[:-1], ticks[:-1]
        index, segment = _signed(unwrapped.index), unwrapped.segment
        for incident in unwrapped.incidents:
            at = incident.position
            events += self._tell(incident, int(arrival_ns[at]), packets[at].tobytes())
        if unwrapped.incidents:
            keep = unwrapped.kept()
            packets, arrival_ns, ticks = packets[keep], arrival_ns[keep], ticks[keep]
            index, segment = index[keep], segment[keep]
        if not len(packets):
            return events
        made, device_ns = self._settings, to_ns(ticks)
        for name in made.sensors:
            values = decode(packets, self._offsets, name, made.gsr_range, made.exg_bits, made.exg_gain)
            events += [
                Samples(SENSORS[name].stream, values[a:b], index[a:b], arrival_ns[a:b], device_ns[a:b], int(segment[a]))
                for a, b in spans(segment)
            ]
        return events

    def _tell(self, incident: Incident, at_ns: int, packet: bytes) -> list[Event]:
        """What happened to the time stamps happened to every stream."""
        names = [stream.name for stream in self.streams]
        match incident.kind:
            case "lost":
                return [Lost(name, incident.count, at_ns) for name in names]
            case "repeated":
                return [Repeated(name, 1, at_ns) for name in names]
            case "reordered":
                return [Reordered(name, 1, at_ns) for name in names]
            case "odd":
                return [Malformed(incident.detail, len(packet), packet[:64], at_ns)]
            case "reset":
                detail = incident.detail.replace("the counter", "the sample number by the device's clock")
                return [CounterReset(name, at_ns, detail, clock=True) for name in names]
            case "ambiguous":
                return [Notice("loss_ambiguous", incident.detail, at_ns)]

    def _hear(self, reply: bytes, at_ns: int) -> list[Event]:
        """What a reply between packets tells that is new."""
        if reply[0] == NACK:
            return [Notice("refused", True, at_ns)]
        fresh = {name: value for name, value in meaning(reply).items() if self._said.get(name) != value}
        self._said.update(fresh)
        return [Notice(name, value, at_ns) for name, value in fresh.items()]


def _signed(index: IntArray) -> IntArray:
    """A clock that was set back to before the first sample has numbers below zero, not astronomical ones."""
    return (index + _UNWRAPPED // 2) % _UNWRAPPED - _UNWRAPPED // 2


class Device(SerialDevice):
    """The Shimmer's end.

    It samples at the settings' rate and sends what a client asks for: with a longer period, the samples that begin
    each period; with a shorter one, every sample. Channels that no sensor of the settings feeds are 0.
    """

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._settings = settings
        self._board = ShimmerBoard(settings.version(), settings.battery_v)
        self._restart()

    @property
    def streaming(self) -> bool:
        """Between the commands that start and stop it."""
        return self._board.streaming

    def _restart(self) -> None:
        board = self._board
        self._ranger = Ranger(board.gsr_range, board.period_ticks)
        self._offsets = wire.offsets_of(wire.channels_of(board.sensors))

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
        """There is no counter: a time stamp is all that a packet carries."""

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        """One packet per sample; see drivers.codec.Device."""
        board, first = self._board, blocks[self.streams[0].name]
        own, asked = self._settings.ticks(), max(board.period_ticks, self._settings.ticks())
        rows = np.flatnonzero(first.index * own // asked != (first.index - 1) * own // asked)
        if not len(rows):
            return []
        columns: dict[int, IntArray] = {}
        for name in self._settings.sensors:
            values = blocks[SENSORS[name].stream].values[rows]
            if name == "gsr":
                columns[wire.GSR] = self._ranger.words(values[:, 0])
            else:
                columns |= encode(name, values, board.registers)
        stamps = to_ticks(first.device_ns[rows])
        board.now_ticks = int(stamps[-1])
        packets = wire.packets_of(stamps, columns, self._offsets, board.crc_bytes)
        ends = np.arange(1, len(rows) + 1, dtype=np.int64) * packets.shape[1]
        return [Batch(packets.tobytes(), ends, first.due_ns[rows])]


def host(settings: Settings) -> Host:
    """The decoding end."""
    return Host(settings)


def device(settings: Settings) -> Device:
    """The encoding end."""
    return Device(settings)


_PLAIN = {"crc_bytes": 0, "rate_hz": 512}
_ADC_MV = 3000 / 4095
_PYSHIMMER = "pyshimmer test_bluetooth_api.py, test_bt_commands.py"

GOLDEN = (
    *(
        Golden(f"{_PYSHIMMER}: data packet with channel A13", bytes.fromhex(packet), {"ppg": [[code * _ADC_MV]]},
               {"sensors": ["ppg"], **_PLAIN})
        for packet, code in (("00DED0B22607", 0x0726), ("001ED1B2FC06", 0x06FC), ("002513F44A07", 1866))
    ),
    Golden(
        "CRC of the same packet: Shimmer's shimmer_crc.py and pyshimmer", bytes.fromhex("00DED0B22607 CB92"),
        {"ppg": [[0x0726 * _ADC_MV]]}, {"sensors": ["ppg"], "rate_hz": 512},
    ),
    *(
        Golden(
            f"Shimmer Java API, SensorGSR: {kohm} kOhm (time stamp of a pyshimmer packet put ahead)",
            bytes.fromhex("00DED0B2") + word.to_bytes(2, "little"), {"eda": [[1000 / kohm]]},
            {"sensors": ["gsr"], **_PLAIN}, tolerance=1e-4,
        )
        for word, kohm in (
            (0x03E8, 86.4142), (0x0800, 20.0926), (0x4800, 143.4475), (0x8800, 499.8169), (0xC800, 1649.3958)
        )
    ),
    Golden(
        f"{_PYSHIMMER}: status", bytes.fromhex("8A7125"),
        {"docked": True, "sensing": False, "clock_set": True, "logging": False, "streaming": False, "sd_card": True},
        _PLAIN,
    ),
    Golden(f"{_PYSHIMMER}: battery", bytes.fromhex("8A942E0B80"), {"battery_V": 4.168246153846154}, _PLAIN),
)  # fmt: skip
