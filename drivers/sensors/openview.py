"""ProtoCentral boards that speak the OpenView protocol: ADS1292R ECG and respiration, 125 packets a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from drivers.codec import Block, Expect, Golden, Reply, SerialDevice, Steps
from drivers.errors import SettingError
from drivers.frame_finder import FrameFinder, delimited
from drivers.notices import Changes
from drivers.types import Batch, Event, Samples, StreamSpec

NAME = "openview"
LINK = "serial"
BAUD = 57600
SOURCES = (
    "ProtoCentral, protocentral-ads1292r-arduino, example ads1292r_OpenView and library",
    "ProtoCentral OpenView, protocol",
    "Texas Instruments ADS1292R data sheet",
)

_PREFIX, _SUFFIX = bytes.fromhex("0A FA 08 00 02"), bytes.fromhex("00 0B")
_SIZE = len(_PREFIX) + 8 + len(_SUFFIX)
_RATE_HZ = 125.0
_VREF_UV = 2.42e6
_GAINS = (1, 2, 3, 4, 6, 8, 12)
_LOWEST, _HIGHEST = -32768, 32767


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What may be set for a board with an ADS1292R."""

    ecg_gain: int = field(
        default=12, metadata={"help": "the converter's gain for the ECG: 12 in ProtoCentral's library (CH2SET 0x60)"}
    )
    respiration_per_min: int = field(
        default=0, metadata={"help": "simulated board: breaths a minute that it says; 0: it computes none"}
    )
    baud: int = field(default=BAUD, metadata={"help": "line rate in bits per second"})

    def __post_init__(self) -> None:
        if self.ecg_gain not in _GAINS:
            raise SettingError(f"ecg_gain {self.ecg_gain!r}: an ADS1292R has {', '.join(map(str, _GAINS))}")
        if not 0 <= self.respiration_per_min <= 200:
            raise SettingError(f"respiration_per_min {self.respiration_per_min!r}: expected 0 to 200")
        if self.baud <= 0:
            raise SettingError(f"baud {self.baud}: expected a positive number of bits per second")

    def microvolts_per_count(self) -> float:
        """The firmware drops the lower 8 of the converter's 24 bits."""
        return _VREF_UV / self.ecg_gain / (2**23 - 1) * 256

    def specs(self) -> tuple[StreamSpec, ...]:
        """Respiration is in counts: what impedance they mean depends on the electrodes and on the drive."""
        lsb = self.microvolts_per_count()
        return (
            StreamSpec("ecg", "ecg", ("ecg",), "uV", _RATE_HZ, lsb=lsb, low=_LOWEST * lsb, high=_HIGHEST * lsb),
            StreamSpec(
                "respiration", "respiration", ("impedance",), "counts", _RATE_HZ, lsb=1.0, low=float(_LOWEST),
                high=float(_HIGHEST),
            ),
            StreamSpec("heart_rate", "heart_rate", ("bpm",), "bpm", _RATE_HZ, lsb=1.0, low=0.0, high=250.0),
        )  # fmt: skip


SETTINGS = Settings
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = ({}, {"ecg_gain": 6, "respiration_per_min": 15})


class Host:
    """The computer's end. Nothing counts or dates the packets, and nothing but their frame protects them.

    The heart rate is repeated in every packet; 0, which the board sends until it knows one, is NaN. Text that a
    sketch prints between packets is given up as malformed.
    """

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._scale = settings.microvolts_per_count()
        self._frames = FrameFinder(delimited(_PREFIX, _SIZE, _SUFFIX), "no OpenView packet of an ADS1292R")
        self._changes = Changes()
        self._taken, self._segment = 0, 0

    def start(self) -> Steps:
        """The board streams unasked, after up to two seconds if opening its port resets it."""
        pattern = _PREFIX + rb".{8}" + _SUFFIX
        yield Expect(pattern, "an OpenView packet 0A FA 08 00 02 .. 00 0B of an ADS1292R", 5.0)
        self._frames.restart()
        self._changes.restart()
        self._segment += self._taken > 0

    def stop(self) -> Steps:
        """Nothing: it sends as long as it has power."""
        yield from ()

    def feed(self, batch: Batch) -> list[Event]:
        """Decode packets; see drivers.codec.Host."""
        found = self._frames.feed(batch)
        events: list[Event] = list(found.malformed)
        count = len(found.starts)
        if not count:
            return events
        payload = np.ascontiguousarray(found.table(_SIZE)[:, len(_PREFIX) : -len(_SUFFIX)])
        ecg, impedance, bpm, breaths = payload.view("<i2").astype(np.float64).T
        events += self._changes.tell("respiration_per_min", breaths, found.arrival_ns, float)
        index = np.arange(self._taken, self._taken + count, dtype=np.int64)
        self._taken += count
        columns = ecg * self._scale, impedance, np.where(bpm > 0, bpm, np.nan)
        return events + [
            Samples(spec.name, values[:, None], index, found.arrival_ns, segment=self._segment)
            for spec, values in zip(self.streams, columns, strict=True)
        ]


class Device(SerialDevice):
    """The board: it sends from the moment it has power and does not listen."""

    def __init__(self, settings: Settings) -> None:
        self.streams = settings.specs()
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        """Power cycle."""
        self.streaming = True

    def reset_counter(self) -> None:
        """The protocol has no counter."""

    def receive(self, data: bytes, channel: str = "") -> list[Reply]:
        """Nothing is answered."""
        return []

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        """One packet per sample; see drivers.codec.Device."""
        first = blocks["ecg"]
        count = len(first.index)
        if not count:
            return []
        payload = np.empty((count, 4), dtype="<i2")
        payload[:, 0] = np.rint(first.values[:, 0] / self._settings.microvolts_per_count())
        payload[:, 1] = np.rint(blocks["respiration"].values[:, 0])
        payload[:, 2] = np.rint(np.nan_to_num(blocks["heart_rate"].values[:, 0], nan=0.0))
        payload[:, 3] = self._settings.respiration_per_min
        frames = np.empty((count, _SIZE), dtype=np.uint8)
        frames[:, : len(_PREFIX)] = np.frombuffer(_PREFIX, dtype=np.uint8)
        frames[:, len(_PREFIX) : -len(_SUFFIX)] = payload.view(np.uint8)
        frames[:, -len(_SUFFIX) :] = np.frombuffer(_SUFFIX, dtype=np.uint8)
        return [Batch(frames.tobytes(), np.arange(1, count + 1, dtype=np.int64) * _SIZE, first.due_ns)]


def host(settings: Settings) -> Host:
    """The decoding end."""
    return Host(settings)


def device(settings: Settings) -> Device:
    """The encoding end."""
    return Device(settings)


GOLDEN = (
    Golden(
        "laid out from protocentral-ads1292r-arduino: ECG 1000, respiration -300, 72 beats and 15 breaths a minute",
        bytes.fromhex("0A FA 08 00 02  E8 03  D4 FE  48 00  0F 00  00 0B"),
        {
            "ecg": [[1000 * 256 * 2.42e6 / 12 / (2**23 - 1)]], "respiration": [[-300.0]], "heart_rate": [[72.0]],
            "respiration_per_min": 15.0,
        },
    ),
)  # fmt: skip
