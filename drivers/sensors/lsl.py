"""A stream of the Lab Streaming Layer (LSL), found in the network by its name, type or source_id."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from drivers.codec import Device, Golden, Host
from drivers.errors import SettingError
from drivers.rows import MAGIC, RowDevice, RowHost, RowLayout
from drivers.types import KINDS, StreamSpec

NAME = "lsl"
LINK = "lsl"
BAUD = 0
SOURCES = (
    "liblsl documentation: stream info, stream inlet, time synchronisation",
    "XDF wiki: stream meta-data",
)

TIME, CORRECTION, FIRST = 0, 1, 2
"""Columns of a row: the sample's LSL time stamp and the clock correction known then, seconds; then the channels."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the stream carries. Left out, it is what the stream says, but for a rig and a simulation."""

    channels: Sequence[str] | None = field(
        default=None, metadata={"help": "names of the channels. If absent, as the stream says; in a rig: one, ch1"}
    )
    rate_hz: float | None = field(
        default=None, metadata={"help": "nominal rate, 0 for samples as they happen. If absent, as the stream says; "
                                "in a rig: 100"},
    )  # fmt: skip
    kind: str | None = field(
        default=None, metadata={"help": f"{', '.join(KINDS)}. If absent, from the stream's type; in a rig: raw"}
    )
    unit: str | None = field(
        default=None, metadata={"help": "unit of the values. If absent, as the stream says; in a rig: 1"}
    )
    stream: str = field(default="", metadata={"help": "what the stream is called here; if empty, its kind"})
    timeout_s: float = field(default=5.0, metadata={"help": "how long the stream is looked for"})

    def __post_init__(self) -> None:
        names = self.channels
        if names is not None and (isinstance(names, str) or not names or len(set(names)) < len(names)):
            raise SettingError(f"channels {names!r}: expected a list of different names, such as [C3, C4]")
        if self.rate_hz is not None and not 0 <= self.rate_hz < 1e6:
            raise SettingError(f"rate_hz {self.rate_hz!r}: expected samples per second, or 0 for none")
        if self.kind is not None and self.kind not in KINDS:
            raise SettingError(f"kind {self.kind!r}: expected one of {', '.join(KINDS)}")
        if self.unit == "":
            raise SettingError("unit '': expected a unit, such as uV, or 1")
        if not self.timeout_s > 0:
            raise SettingError(f"timeout_s {self.timeout_s!r}: expected more than 0 seconds")

    def spec(self) -> StreamSpec:
        """The stream. Nothing on LSL's wire counts samples; it loses none as long as it is connected."""
        kind = self.kind or "raw"
        rate_hz = 100.0 if self.rate_hz is None else self.rate_hz
        names = ("ch1",) if self.channels is None else tuple(self.channels)
        return StreamSpec(self.stream or kind, kind, names, self.unit or "1", rate_hz or None, timed=True)

    def layout(self) -> RowLayout:
        """Its rows."""
        spec = self.spec()
        columns = tuple(range(FIRST, FIRST + len(spec.channels)))
        notices = {"clock_correction_s": CORRECTION}
        return RowLayout((spec,), {spec.name: columns}, FIRST + len(columns), TIME, notices=notices)


SETTINGS = Settings
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = (
    {},
    {"channels": ["C3", "C4"], "rate_hz": 256, "kind": "eeg", "unit": "uV"},
    {"channels": ["RR"], "rate_hz": 0, "kind": "rr", "unit": "ms", "stream": "beats"},
)


def host(settings: Settings) -> Host:
    """The decoding end."""
    return RowHost(settings.layout(), "the LSL stream")


def device(settings: Settings) -> Device:
    """The encoding end: such rows as the stream would give."""
    return RowDevice(settings.layout())


def _row(*numbers: float) -> bytes:
    """A frame, by the standard library."""
    text = MAGIC + struct.pack(f"<{len(numbers)}d", *numbers)
    return text + struct.pack("<I", zlib.crc32(text))


GOLDEN = (
    Golden(
        "this file's columns, packed by the standard library's struct and zlib",
        _row(1234.5, -0.25, 1.5, -2.5),
        {"eeg": [[1.5, -2.5]], "clock_correction_s": -0.25},
        {"channels": ["C3", "C4"], "rate_hz": 256, "kind": "eeg", "unit": "uV"},
    ),
)
