"""Polar Verity Sense armband: PPG, acceleration and pulse-to-pulse intervals, heart rate, battery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from drivers import polar_golden
from drivers import polar_pmd as pmd
from drivers.codec import Block, Golden, Steps
from drivers.polar_control import Offer
from drivers.polar_sensor import PolarDevice, PolarHost, check_simulated, check_streams
from drivers.polar_stream import MTU, Collector, Measurement, SamplePacker, Sender
from drivers.sensors import heart_rate
from drivers.types import Event, IntArray, Malformed, Notice, Samples, StreamSpec

NAME = "polar-verity"
LINK = "ble"
BAUD = 0
SOURCES = (
    "polar-ble-sdk: technical_documentation/online_measurement.pdf 1.0 and TimeSystemExplained.md, unit tests",
    "bleakheart 0.2.0 (frame of a real Verity Sense) and polar-python 1.1.1",
    *heart_rate.SOURCES,
)

PPG_HZ, PPG_BITS, PPG_CHANNELS = 55, 22, 4
ACC_HZ, ACC_BITS, ACC_RANGE_G, ACC_CHANNELS = 52, 16, 8, 3
_FACTOR = bytes.fromhex("40DA7F39")
"""What a Verity answers to a start of its acceleration: 0.000244 as float32, g per count."""
_G = pmd.factor_of(int.from_bytes(_FACTOR, "little"))
_PLAIN, _DELTA = 0, 0x80
_MOST_SAMPLES = 50
"""In one frame, as in the captured one; quiet acceleration would otherwise wait for seconds."""
_PPI_SIZE, _PPI_FRAME, _PPI_ERROR_MS = 6, 3, 10
_BLOCKED, _CONTACT, _CONTACT_KNOWN = 1, 2, 4
_CHOICE = ("heart_rate", "ppg", "accel", "ppi")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What may be set for a Verity Sense; its rates are fixed outside of its SDK mode, which is not used."""

    streams: Sequence[str] = field(
        default=_CHOICE, metadata={"help": f"what is read, of {', '.join(_CHOICE)}; ppg brings ambient light with it"}
    )
    name: str = field(default="Polar Sense 00000000", metadata={"help": "simulated band: advertised name"})
    contact: bool = field(default=True, metadata={"help": "simulated band: on the skin, as its intervals say"})
    battery_percent: int = field(default=87, metadata={"help": "simulated band: battery level 0..100"})
    mtu: int = field(default=MTU, metadata={"help": f"simulated band: ATT MTU; {MTU} gives frames of real size"})
    in_charger: bool = field(default=False, metadata={"help": "simulated band: in its charger, so that nothing starts"})
    stop_after_s: float = field(
        default=0.0, metadata={"help": "simulated band: ends ppg and accel by itself so late; 0: never"}
    )

    def __post_init__(self) -> None:
        check_streams(self.streams, _CHOICE)
        check_simulated(self.battery_percent, self.mtu, self.stop_after_s)

    def strap(self) -> heart_rate.Settings:
        """Its Heart Rate Service, which sends neither RR intervals nor skin contact."""
        return heart_rate.Settings(
            name=self.name, contact="unsupported", battery_percent=self.battery_percent, location="other"
        )


_PPG_LIMIT = float(1 << PPG_BITS - 1)
STREAMS = (
    heart_rate.STREAMS[0],
    StreamSpec(
        "ppg", "ppg", ("led1", "led2", "led3"), "counts", PPG_HZ, lsb=1.0, low=-_PPG_LIMIT, high=_PPG_LIMIT - 1,
        counted=True, timed=True,
    ),
    StreamSpec(
        "ambient", "raw", ("ambient",), "counts", PPG_HZ, lsb=1.0, low=-_PPG_LIMIT, high=_PPG_LIMIT - 1,
        counted=True, timed=True,
    ),
    StreamSpec(
        "accel", "acceleration", ("x", "y", "z"), "g", ACC_HZ, lsb=_G, low=-32768 * _G, high=32767 * _G,
        counted=True, timed=True,
    ),
    StreamSpec("ppi", "rr", ("interval",), "ms", None, lsb=1.0, low=0.0, high=65535.0),
)  # fmt: skip
SETTINGS = Settings
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = ({}, {"streams": ["ppg", "ppi"], "mtu": 100})


# --- host end ---------------------------------------------------------------------------------


def _decode_ppg(frame: pmd.Frame) -> IntArray | str:
    if frame.form == _DELTA:
        return pmd.decompress(frame.payload, PPG_CHANNELS, PPG_BITS)
    if frame.form == _PLAIN:
        return pmd.plain_samples(frame.payload, PPG_CHANNELS, 3)
    return f"PPG frame of type 0x{frame.form:02X}, expected 0x00 or 0x80 from a Verity Sense"


def _decode_acc(frame: pmd.Frame) -> IntArray | str:
    if frame.form == _DELTA:
        return pmd.decompress(frame.payload, ACC_CHANNELS, ACC_BITS)
    return f"acceleration frame of type 0x{frame.form:02X}, expected 0x80 from a Verity Sense"


class _Intervals:
    """Pulse-to-pulse intervals: no rate, and time stamps that may be 0."""

    def __init__(self) -> None:
        self._said: dict[str, float | bool] = {}
        self._taken, self._segment = 0, 0

    def restart(self) -> None:
        """The sensor was started anew."""
        self._segment += self._taken > 0
        self._said.clear()

    def take(self, frame: pmd.Frame, at_ns: int) -> list[Event]:
        """Samples, and what changed about skin and certainty."""
        if frame.form != _PLAIN or len(frame.payload) % _PPI_SIZE:
            reason = f"intervals of type 0x{frame.form:02X} in {len(frame.payload)} bytes, expected 0x00, 6 bytes each"
            return [Malformed(reason, pmd.HEADER + len(frame.payload), frame.payload[:64], at_ns)]
        rows = np.frombuffer(frame.payload, dtype=np.uint8).reshape(-1, _PPI_SIZE)
        words = np.ascontiguousarray(rows[:, 1:5]).view("<u2")
        events: list[Event] = []
        for error_ms, flags in zip(words[:, 1].tolist(), rows[:, 5].tolist(), strict=True):
            events += self._tell("ppi_error_ms", float(error_ms), at_ns)
            events += self._tell("ppi_blocked", bool(flags & _BLOCKED), at_ns)
            if flags & _CONTACT_KNOWN:
                events += self._tell("contact", bool(flags & _CONTACT), at_ns)
        index = np.arange(self._taken, self._taken + len(rows), dtype=np.int64)
        self._taken += len(rows)
        values, arrival_ns = words[:, :1].astype(np.float64), np.full(len(rows), at_ns, dtype=np.int64)
        return [*events, Samples("ppi", values, index, arrival_ns, segment=self._segment)]

    def _tell(self, name: str, value: float | bool, at_ns: int) -> list[Event]:
        if self._said.get(name) == value:
            return []
        self._said[name] = value
        return [Notice(name, value, at_ns)]


class Host(PolarHost):
    """The phone's end."""

    def __init__(self, settings: Settings) -> None:
        every = {
            "ppg": Measurement(
                pmd.PPG, PPG_HZ, {pmd.RATE: PPG_HZ, pmd.RESOLUTION: PPG_BITS, pmd.CHANNELS: PPG_CHANNELS}, _decode_ppg,
                {"ppg": slice(0, 3), "ambient": slice(3, 4)}, even=False,
            ),
            "accel": Measurement(
                pmd.ACC, ACC_HZ,
                {pmd.RATE: ACC_HZ, pmd.RESOLUTION: ACC_BITS, pmd.RANGE: ACC_RANGE_G, pmd.CHANNELS: ACC_CHANNELS},
                _decode_acc, {"accel": slice(0, 3)}, _G, even=False,
            ),
        }  # fmt: skip
        self._intervals = _Intervals()
        chosen = [every[name] for name in every if name in settings.streams]
        events = {pmd.PPI: self._intervals.take} if "ppi" in settings.streams else {}
        names = {*settings.streams} | ({"ambient"} if "ppg" in settings.streams else set())
        super().__init__(tuple(s for s in STREAMS if s.name in names), Collector(chosen, events))

    def start(self) -> Steps:
        """Battery, device information and heart rate, then the measurements."""
        self._intervals.restart()
        yield from super().start()


# --- device end -------------------------------------------------------------------------------


class _IntervalPacker:
    """Intervals, a few to a frame."""

    kind = pmd.PPI
    rate_hz = None

    def __init__(self, contact: bool) -> None:
        self._flags = _CONTACT_KNOWN | (_CONTACT if contact else 0)
        self.begin({})

    def begin(self, chosen: Mapping[int, int]) -> None:
        """Collect from now on."""
        self._waiting: list[tuple[bytes, int, int]] = []

    def due_ns(self, blocks: Mapping[str, Block]) -> IntArray:
        """(n,) of the intervals in ``blocks``."""
        return blocks["ppi"].due_ns

    def add(self, blocks: Mapping[str, Block], until: int | None) -> list[tuple[bytes, int]]:
        """Frames that these intervals complete."""
        block = blocks["ppi"]
        counts = np.rint(block.values[:, 0]).astype(np.int64).tolist()
        for ms, due_ns, device_ns in zip(counts, block.due_ns.tolist(), block.device_ns.tolist(), strict=True):
            self._waiting.append((self._row(ms), due_ns, device_ns))
        frames: list[tuple[bytes, int]] = []
        while len(self._waiting) >= _PPI_FRAME:
            rows, self._waiting = self._waiting[:_PPI_FRAME], self._waiting[_PPI_FRAME:]
            payload = b"".join(row for row, _, _ in rows)
            frames.append((pmd.write_frame(pmd.PPI, pmd.BOOT_NS + rows[-1][2], _PLAIN, payload), rows[-1][1]))
        return frames

    def _row(self, ms: int) -> bytes:
        bpm = min(255, round(60_000 / ms)) if ms else 0
        return bytes([bpm]) + ms.to_bytes(2, "little") + _PPI_ERROR_MS.to_bytes(2, "little") + bytes([self._flags])


def host(settings: Settings) -> Host:
    """The decoding end."""
    return Host(settings)


def device(settings: Settings) -> PolarDevice:
    """The encoding end."""
    acc = {pmd.RATE: (ACC_HZ,), pmd.RESOLUTION: (ACC_BITS,), pmd.RANGE: (ACC_RANGE_G,), pmd.CHANNELS: (ACC_CHANNELS,)}
    factor = bytes([pmd.FACTOR, 1]) + _FACTOR
    offers = {
        pmd.PPG: Offer({pmd.RATE: (PPG_HZ,), pmd.RESOLUTION: (PPG_BITS,), pmd.CHANNELS: (PPG_CHANNELS,)}),
        pmd.ACC: Offer(acc, factor),
        pmd.PPI: Offer({}),
    }
    packers = (
        SamplePacker(
            pmd.PPG, ("ppg", "ambient"), PPG_HZ, 1.0, 3, _DELTA, settings.mtu, bits=PPG_BITS, most=_MOST_SAMPLES
        ),
        SamplePacker(pmd.ACC, ("accel",), ACC_HZ, _G, 2, _DELTA, settings.mtu, bits=ACC_BITS, most=_MOST_SAMPLES),
        _IntervalPacker(settings.contact),
    )
    sender = Sender(offers, packers, settings.stop_after_s, settings.in_charger)
    return PolarDevice(STREAMS, heart_rate.Device(settings.strap()), sender, settings.name)


def _golden(source: str, data: bytes, expected: Mapping[str, Any], tolerance: float = 1e-9) -> Golden:
    return Golden(source, data, expected, channel=pmd.DATA, tolerance=tolerance)


def _ppg(source: str, data: bytes, rows: Sequence[Sequence[int]]) -> Golden:
    return _golden(source, data, {"ppg": [row[:3] for row in rows], "ambient": [row[3:] for row in rows]})


GOLDEN = (
    _ppg(
        "polar-ble-sdk PpgDataTest, frame type 0",
        bytes.fromhex("01009435770000000000" "010203040506FFFF7F000000" "FFFFFF0FEFEF0000800FEFEF"),
        [[197121, 394500, 8388607, 0], [-1, -1052913, -8388608, -1052913]],
    ),
    _ppg("bleakheart 0.2.0, frame of a real Verity Sense", polar_golden.REAL_PPG, polar_golden.REAL_PPG_SAMPLES),
    _ppg("polar-ble-sdk PpgDataTest, compressed", polar_golden.TEST_PPG, polar_golden.TEST_PPG_SAMPLES),
    _golden(  # the factor as the document prints it, 0.000244, is the float32 of the wire but for 5e-12
        "polar-ble-sdk AccDataTest, compressed", polar_golden.TEST_ACC,
        {"accel": [[0.000244 * count for count in row] for row in polar_golden.TEST_ACC_SAMPLES]}, tolerance=1e-6,
    ),
    _golden(
        "polar-ble-sdk PpiDataTest", bytes.fromhex("03000000000000000000" "8080808080FF" "000100010000"),
        {"ppi": [[32896.0], [1.0]], "ppi_error_ms": 1.0, "ppi_blocked": False, "contact": True},
    ),
)  # fmt: skip
