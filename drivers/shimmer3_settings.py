"""What may be set for a Shimmer3, and what follows from it for streams and packets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from drivers import shimmer3_gsr as gsr
from drivers import shimmer3_packet as wire
from drivers.errors import SettingError
from drivers.shimmer3_streams import SENSORS, specs_of
from drivers.types import StreamSpec

_SLOWEST_HZ, _FASTEST_HZ = 0.5, 2048.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What may be set for a Shimmer3."""

    sensors: Sequence[str] = field(
        default=("gsr", "ppg"),
        metadata={"help": f"what is measured: {', '.join(SENSORS)}. ecg and emg exclude each other"},
    )
    rate_hz: float = field(default=128.0, metadata={"help": "sampling rate: 32768 divided by a whole number"})
    gsr_range: int = field(
        default=gsr.AUTO,
        metadata={"help": "feedback resistor: 0 (40 kOhm) to 3 (3.3 MOhm), or 4 for the automatic choice"},
    )
    exg_bits: int = field(default=24, metadata={"help": "width of ECG and EMG samples: 24 or 16"})
    exg_gain: int = field(default=4, metadata={"help": "gain of ECG and EMG: 1, 2, 3, 4, 6, 8 or 12"})
    crc_bytes: int = field(
        default=2,
        metadata={"help": "bytes of CRC behind every packet: 0, 1 or 2. Without, a lost byte damages a sample unseen; "
                          "firmware that has no CRC is read without"},
    )  # fmt: skip
    firmware: str = field(default="0.16.0", metadata={"help": "simulated device: version of LogAndStream"})
    battery_v: float = field(default=4.0, metadata={"help": "simulated device: voltage of its battery"})

    def __post_init__(self) -> None:
        if isinstance(self.sensors, str) or not self.sensors:
            raise SettingError(f"sensors {self.sensors!r}: expected a list of {', '.join(SENSORS)}")
        for name in self.sensors:
            if name not in SENSORS:
                raise SettingError(f"sensor {name!r}: a Shimmer3 has {', '.join(SENSORS)}")
        if len(set(self.sensors)) < len(self.sensors):
            raise SettingError(f"sensors {list(self.sensors)}: one is named twice")
        for one, other in (("ecg", "emg"), ("gsr", "int_a1")):
            if one in self.sensors and other in self.sensors:
                raise SettingError(f"sensors {one!r} and {other!r} use the same inputs: choose one of them")
        if not _SLOWEST_HZ <= self.rate_hz <= _FASTEST_HZ:
            raise SettingError(f"rate_hz {self.rate_hz}: a Shimmer3 streams at {_SLOWEST_HZ} to {_FASTEST_HZ:.0f} Hz")
        exact_hz = wire.TICKS_PER_S / self.ticks()
        if abs(exact_hz / self.rate_hz - 1) > 1e-6:
            raise SettingError(
                f"rate_hz {self.rate_hz}: the device divides 32768 Hz by a whole number; {exact_hz:.6f} is the nearest"
            )
        if self.gsr_range not in range(gsr.AUTO + 1):
            raise SettingError(f"gsr_range {self.gsr_range!r}: expected 0, 1, 2, 3 or 4")
        if self.exg_bits not in wire.EXG:
            raise SettingError(f"exg_bits {self.exg_bits!r}: expected 24 or 16")
        if self.exg_gain not in (1, 2, 3, 4, 6, 8, 12):
            raise SettingError(f"exg_gain {self.exg_gain!r}: the chip has 1, 2, 3, 4, 6, 8 and 12")
        if self.crc_bytes not in (0, 1, 2):
            raise SettingError(f"crc_bytes {self.crc_bytes!r}: expected 0, 1 or 2")
        self.version()
        if not 3.0 <= self.battery_v <= 4.3:
            raise SettingError(f"battery_v {self.battery_v}: a lithium cell has 3.0 to 4.3 V")

    def version(self) -> tuple[int, int, int]:
        """Firmware of the simulated device."""
        numbers = re.fullmatch(r"(\d{1,4})\.(\d{1,2})\.(\d{1,2})", self.firmware)
        if numbers is None:
            raise SettingError(f"firmware {self.firmware!r}: expected three numbers, such as '0.16.0'")
        return int(numbers[1]), int(numbers[2]), int(numbers[3])

    def ticks(self) -> int:
        """Sampling period in ticks of 1/32768 s."""
        return round(wire.TICKS_PER_S / self.rate_hz)

    def field(self) -> int:
        """The sensor bits that the command 0x08 takes."""
        bits = 0
        for name in self.sensors:
            bits |= SENSORS[name].bits(self.exg_bits)
        return bits

    def specs(self) -> tuple[StreamSpec, ...]:
        """One stream for each sensor."""
        rate_hz = wire.TICKS_PER_S / self.ticks()
        return specs_of(self.sensors, rate_hz, self.gsr_range, self.exg_bits, self.exg_gain)
