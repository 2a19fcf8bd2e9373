"""A Shimmer3's sensors as streams: which channels each one takes, and values to raw numbers and back.

Sources: Shimmer's Java API (SensorGSR, SensorPPG, SensorEXG with its register presets), log-and-stream-common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from drivers import shimmer3_gsr as gsr
from drivers import shimmer3_packet as wire
from drivers.framing import Bytes
from drivers.types import FloatArray, IntArray, StreamSpec

_ADC_STEP_MV = wire.ADC_MV / wire.ADC_FULL
_EXG_RATES_HZ = (125, 250, 500, 1000, 2000, 4000)
"""Of the ADS1292R, by the code in bits 2..0 of its first register."""
_EXG_PRESETS = {
    "ecg": (bytes.fromhex("02A0104040 2D00000203"), bytes.fromhex("02A0104047 0000000201")),
    "emg": (bytes.fromhex("02A0106960 2000000203"), bytes.fromhex("02A0108181 0000000201")),
}
_OFF = 0x80


@dataclass(frozen=True)
class Sensor:
    """One thing that a Shimmer3 measures."""

    stream: str
    kind: str
    unit: str
    bit: int
    """In the sensor field, with ExG samples of 24 bits."""
    bit16: int = 0
    """The same with ExG samples of 16 bits."""
    channel: int = 0
    """Its one channel, if it is no ExG sensor."""
    exg: tuple[tuple[int, int], ...] = ()
    """Chip and input of each ExG channel."""
    labels: tuple[str, ...] = ()
    scale: float = _ADC_STEP_MV
    """Unit per code of a plain ADC channel."""

    def bits(self, exg_bits: int) -> int:
        """In the sensor field."""
        return self.bit16 if self.exg and exg_bits == 16 else self.bit

    def channels(self, exg_bits: int) -> list[int]:
        """That carry its values, in the stream's order."""
        return [wire.EXG[exg_bits][chip][pin] for chip, pin in self.exg] or [self.channel]


SENSORS: Mapping[str, Sensor] = {
    "gsr": Sensor("eda", "eda", "uS", 0x000004, channel=wire.GSR, labels=("gsr",)),
    "ppg": Sensor("ppg", "ppg", "mV", 0x000100, channel=wire.PPG, labels=("ppg",)),
    "ecg": Sensor(
        "ecg", "ecg", "mV", 0x000018, 0x180000, exg=((0, 0), (0, 1), (1, 1)), labels=("LL-RA", "LA-RA", "Vx-RL")
    ),
    "emg": Sensor("emg", "exg", "mV", 0x000010, 0x100000, exg=((0, 0), (0, 1)), labels=("ch1", "ch2")),
    "battery": Sensor(
        "battery", "raw", "V", 0x002000, channel=wire.BATTERY, labels=("battery",),
        scale=_ADC_STEP_MV / 1000 * wire.BATTERY_RATIO,
    ),
    "ext_a7": Sensor("ext_a7", "raw", "mV", 0x000002, channel=0x0D, labels=("A7",)),
    "ext_a6": Sensor("ext_a6", "raw", "mV", 0x000001, channel=0x0E, labels=("A6",)),
    "ext_a15": Sensor("ext_a15", "raw", "mV", 0x000800, channel=0x0F, labels=("A15",)),
    "int_a12": Sensor("int_a12", "raw", "mV", 0x000200, channel=0x11, labels=("A12",)),
    "int_a14": Sensor("int_a14", "raw", "mV", 0x800000, channel=0x13, labels=("A14",)),
    "int_a1": Sensor("int_a1", "raw", "mV", 0x000400, channel=0x10, labels=("A1",)),
}  # fmt: skip


def registers_for(name: str, rate_hz: float, gain: int) -> tuple[bytes, ...]:
    """The ten registers of both ExG chips, or nothing for a sensor that needs none."""
    made = []
    for preset in _EXG_PRESETS.get(name, ()):
        registers = bytearray(preset)
        registers[0] = next((code for code, most in enumerate(_EXG_RATES_HZ) if most >= rate_hz), 5)
        registers[3:5] = [r if r & _OFF else r & 0x0F | wire.gain_code(gain) << 4 for r in preset[3:5]]
        made.append(bytes(registers))
    return tuple(made)


def specs_of(
    names: Sequence[str], rate_hz: float, gsr_range: int, exg_bits: int, exg_gain: int
) -> tuple[StreamSpec, ...]:
    """One stream per sensor. With the automatic GSR range, the step is that of the finest range."""
    specs = []
    for name in names:
        sensor = SENSORS[name]
        if name == "gsr":
            (low, high), lsb = gsr.limits_us(gsr_range), gsr.step_us(min(gsr_range, 3))
        elif sensor.exg:
            lsb = wire.exg_mv(exg_bits, exg_gain)
            low, high = -(2 ** (exg_bits - 1)) * lsb, (2 ** (exg_bits - 1) - 1) * lsb
        else:
            lsb, low, high = sensor.scale, 0.0, wire.ADC_FULL * sensor.scale
        specs.append(StreamSpec(
            sensor.stream, sensor.kind, sensor.labels, sensor.unit, rate_hz,
            lsb=lsb, low=low, high=high, counted=True, timed=True,
        ))  # fmt: skip
    return tuple(specs)


def decode(
    packets: Bytes, offsets: Mapping[int, int], name: str, gsr_range: int, exg_bits: int, exg_gain: int
) -> FloatArray:
    """Values of one sensor in packets (n, length), (n, channels)."""
    sensor = SENSORS[name]
    columns = [wire.take(packets, offsets[channel], channel) for channel in sensor.channels(exg_bits)]
    if name == "gsr":
        return gsr.conductance(columns[0], gsr_range)[:, None]
    scale = wire.exg_mv(exg_bits, exg_gain) if sensor.exg else sensor.scale
    return np.multiply(np.stack(columns, axis=1), scale, dtype=np.float64)


def encode(name: str, values: FloatArray, registers: Sequence[bytes | bytearray]) -> dict[int, IntArray]:
    """Raw numbers of values (n, channels) by channel; for ExG at either width, as the packet carries one of them."""
    sensor = SENSORS[name]
    if not sensor.exg:
        codes = np.clip(np.rint(values[:, 0] / sensor.scale), 0, wire.ADC_FULL)
        return {sensor.channel: codes.astype(np.int64)}
    found = {}
    for bits in wire.EXG:
        for (chip, pin), channel, column in zip(sensor.exg, sensor.channels(bits), values.T, strict=True):
            register = registers[chip][3 + pin]
            raw = np.rint(column / wire.exg_mv(bits, wire.gain_of(register))) * (not register & _OFF)
            found[channel] = np.clip(raw, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1).astype(np.int64)
    return found
