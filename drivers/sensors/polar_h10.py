"""Polar H10 chest strap: ECG and acceleration, heart rate and RR intervals, battery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drivers import polar_golden
from drivers import polar_pmd as pmd
from drivers.codec import Golden
from drivers.errors import SettingError
from drivers.polar_control import Offer
from drivers.polar_sensor import PolarDevice, PolarHost, check_simulated, check_streams
from drivers.polar_stream import MTU, Collector, Measurement, SamplePacker, Sender
from drivers.sensors import heart_rate
from drivers.types import IntArray, StreamSpec

NAME = "polar-h10"
LINK = "ble"
BAUD = 0
SOURCES = (
    "polar-ble-sdk: technical_documentation/online_measurement.pdf 1.0 and TimeSystemExplained.md, unit tests",
    "bleakheart 0.2.0 and polar-python 1.1.1",
    *heart_rate.SOURCES,
)

RATE_HZ, ECG_BITS, ACC_BITS = 130, 14, 16
ACC_RATES_HZ, ACC_RANGES_G = (25, 50, 100, 200), (2, 4, 8)
_G = 0.001
"""One count of acceleration."""
_PLAIN_ECG, _PLAIN_ACC = 0, 1
"""Frame types that an H10 sends."""
_STARTED = b"\x01"
"""What an H10 puts behind the answer to a start, for no documented reason."""
_CHOICE = ("heart_rate", "ecg", "accel")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What may be set for an H10."""

    streams: Sequence[str] = field(
        default=_CHOICE, metadata={"help": f"what is read, of {', '.join(_CHOICE)}; heart_rate brings rr with it"}
    )
    accel_rate_hz: int = field(default=200, metadata={"help": "acceleration: 25, 50, 100 or 200 samples per second"})
    accel_range_g: int = field(default=4, metadata={"help": "acceleration: full scale 2, 4 or 8 g"})
    name: str = field(default="Polar H10 00000000", metadata={"help": "simulated strap: advertised name"})
    contact: str = field(default="on", metadata={"help": "simulated strap: skin contact on, off or unsupported"})
    battery_percent: int = field(default=87, metadata={"help": "simulated strap: battery level 0..100"})
    mtu: int = field(default=MTU, metadata={"help": f"simulated strap: ATT MTU; {MTU} gives frames of real size"})
    stop_after_s: float = field(
        default=0.0, metadata={"help": "simulated strap: ends its measurements by itself so late; 0: never"}
    )

    def __post_init__(self) -> None:
        check_streams(self.streams, _CHOICE)
        if self.accel_rate_hz not in ACC_RATES_HZ:
            raise SettingError(f"accel_rate_hz {self.accel_rate_hz}: expected one of {ACC_RATES_HZ}")
        if self.accel_range_g not in ACC_RANGES_G:
            raise SettingError(f"accel_range_g {self.accel_range_g}: expected one of {ACC_RANGES_G}")
        check_simulated(self.battery_percent, self.mtu, self.stop_after_s)
        self.strap()

    def strap(self) -> heart_rate.Settings:
        """Its Heart Rate Service."""
        return heart_rate.Settings(name=self.name, contact=self.contact, battery_percent=self.battery_percent)

    def specs(self) -> tuple[StreamSpec, ...]:
        """Every stream that the strap has."""
        span = float(self.accel_range_g)
        return (
            *heart_rate.STREAMS,
            StreamSpec(
                "ecg", "ecg", ("ecg",), "uV", RATE_HZ, lsb=1.0, low=-float(1 << 23), high=float((1 << 23) - 1),
                counted=True, timed=True,
            ),
            StreamSpec(
                "accel", "acceleration", ("x", "y", "z"), "g", self.accel_rate_hz, lsb=_G, low=-span, high=span,
                counted=True, timed=True,
            ),
        )  # fmt: skip


SETTINGS = Settings
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = (
    {},
    {"streams": ["ecg"], "mtu": 60},
    {"streams": ["accel", "heart_rate"], "accel_rate_hz": 100, "accel_range_g": 8},
)


def _decode_ecg(frame: pmd.Frame) -> IntArray | str:
    if frame.form != _PLAIN_ECG:
        return f"ECG frame of type 0x{frame.form:02X}, expected 0x{_PLAIN_ECG:02X} from an H10"
    return pmd.plain_samples(frame.payload, 1, 3)


def _decode_acc(frame: pmd.Frame) -> IntArray | str:
    if frame.form != _PLAIN_ACC:
        return f"acceleration frame of type 0x{frame.form:02X}, expected 0x{_PLAIN_ACC:02X} from an H10"
    return pmd.plain_samples(frame.payload, 3, 2)


def host(settings: Settings) -> PolarHost:
    """The decoding end."""
    accel = {pmd.RATE: settings.accel_rate_hz, pmd.RESOLUTION: ACC_BITS, pmd.RANGE: settings.accel_range_g}
    every = {
        "ecg": Measurement(
            pmd.ECG, RATE_HZ, {pmd.RATE: RATE_HZ, pmd.RESOLUTION: ECG_BITS}, _decode_ecg, {"ecg": slice(0, 1)}
        ),
        "accel": Measurement(pmd.ACC, settings.accel_rate_hz, accel, _decode_acc, {"accel": slice(0, 3)}, _G),
    }
    chosen = [every[name] for name in every if name in settings.streams]
    names = {"heart_rate", "rr"} if "heart_rate" in settings.streams else set()
    streams = tuple(s for s in settings.specs() if s.name in names | set(settings.streams))
    return PolarHost(streams, Collector(chosen, {}))


def device(settings: Settings) -> PolarDevice:
    """The encoding end."""
    offers = {
        pmd.ECG: Offer({pmd.RATE: (RATE_HZ,), pmd.RESOLUTION: (ECG_BITS,)}, _STARTED),
        pmd.ACC: Offer(
            {pmd.RATE: ACC_RATES_HZ, pmd.RESOLUTION: (ACC_BITS,), pmd.RANGE: ACC_RANGES_G}, _STARTED,
            fastest_hz=settings.accel_rate_hz,
        ),
    }  # fmt: skip
    packers = (
        SamplePacker(pmd.ECG, ("ecg",), RATE_HZ, 1.0, 3, _PLAIN_ECG, settings.mtu),
        SamplePacker(pmd.ACC, ("accel",), settings.accel_rate_hz, _G, 2, _PLAIN_ACC, settings.mtu),
    )
    sender = Sender(offers, packers, settings.stop_after_s, in_charger=False)
    return PolarDevice(settings.specs(), heart_rate.Device(settings.strap()), sender, settings.name)


def _golden(source: str, text: str, expected: Mapping[str, Any], channel: str = pmd.DATA) -> Golden:
    return Golden(source, bytes.fromhex(text), expected, channel=channel)


_PDF = "polar-ble-sdk, online_measurement.pdf"
GOLDEN = (
    _golden(
        "polar-ble-sdk EcgDataTest, frame type 0", "00009435770000000000" "0280FF028000",
        {"ecg": [[-32766.0], [32770.0]]},
    ),
    _golden(
        f"{_PDF}: a real H10's acceleration (its text misprints -184)", "02EA54A2428B45520801" "45FFE4FFB503",
        {"accel": [[-0.187, -0.028, 0.949]]},
    ),
    _golden(
        "polar-ble-sdk AccDataTest, frame type 1", polar_golden.PLAIN_ACC.hex(),
        {"accel": [[count / 1000 for count in row] for row in polar_golden.PLAIN_ACC_SAMPLES]},
    ),
    _golden("polar-ble-sdk: end of a measurement that nobody asked for", "010102", {"measurement_stopped": "ACC"},
            pmd.CONTROL),
    _golden(
        "decoded alike by labmcp-ble-health and Wireshark", "165A0004D003",
        {"heart_rate": [[90.0]], "rr": [[1000.0], [953.125]], "contact": True}, heart_rate.MEASUREMENT,
    ),
)  # fmt: skip
