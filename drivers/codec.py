"""What a sensor file holds: both ends of one wire protocol, without I/O, clock or thread.

``Host`` decodes (driver side), ``Device`` encodes (simulator side). A start-up exchange is a
generator on Host that yields steps; Device.receive answers them. See docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

from drivers.types import Batch, Event, FloatArray, IntArray, StreamSpec

# --- steps of an exchange ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Write:
    """Send bytes."""

    data: bytes
    channel: str = ""


@dataclass(frozen=True, slots=True)
class Expect:
    """Wait for bytes that match a regular expression; the step's result is everything up to its end."""

    pattern: bytes
    what: str
    """What was expected, for the error: ``the Cyton's banner ending in $$$``."""
    timeout_s: float = 3.0
    optional: bool = False
    """Go on with None instead of failing when the time is over."""
    channel: str = ""
    """GATT: the characteristic whose notification or indication is the answer."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Let time pass; what arrives meanwhile is dropped."""

    seconds: float
    channel: str = ""
    """GATT: the characteristic whose notifications are dropped."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """GATT: ask for notifications of a characteristic."""

    channel: str


@dataclass(frozen=True, slots=True)
class ReadValue:
    """GATT: read a characteristic; the result is its bytes, or None where there is none."""

    channel: str


Step: TypeAlias = Write | Expect | Pause | Subscribe | ReadValue
Steps: TypeAlias = Generator[Step, "bytes | None", None]


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """What a device must hear from time to time, or it stops."""

    data: bytes
    every_s: float
    channel: str = ""


# --- host end ---------------------------------------------------------------------------------


class Host(Protocol):
    """Decodes what the sensor sends. Nothing that arrives may make it raise after start().

    A Host may have an attribute ``keep_alive``, a KeepAlive or None: the Driver sends it while the sensor streams.
    """

    streams: tuple[StreamSpec, ...]

    def start(self) -> Steps:
        """The exchange that makes the sensor stream; raises HandshakeError for a wrong answer.

        Run again after a link came back. What arrives after its last step goes to feed().
        """

    def stop(self) -> Steps:
        """The exchange that makes it stop; may yield nothing."""

    def feed(self, batch: Batch) -> list[Event]:
        """Decode a batch. How bytes are cut into batches and chunks changes no sample.

        Arrival of a sample is the time of the chunk that holds its frame's last byte.
        """


# --- device end -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Consecutive samples of one stream as a simulated device takes them."""

    index: IntArray
    """(n,) sample number since the device began to stream."""
    due_ns: IntArray
    """(n,) world time (host clock) at which each sample was taken."""
    device_ns: IntArray
    """(n,) what the device's own clock said then, since its boot."""
    values: FloatArray
    """(n, channels), in the stream's unit, already within the rails and on the LSB grid."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes that a device sends ``delay_ns`` after what it received."""

    data: bytes
    delay_ns: int = 1_000_000
    channel: str = ""


@dataclass(frozen=True, slots=True)
class Characteristic:
    """One GATT characteristic of a simulated peripheral."""

    uuid: str
    properties: tuple[str, ...]
    """Of read, write, write-without-response, notify, indicate."""


@dataclass(frozen=True, slots=True)
class Service:
    """One GATT service; ``characteristics`` in handle order."""

    uuid: str
    characteristics: tuple[Characteristic, ...]


@dataclass(frozen=True, slots=True)
class Gatt:
    """A peripheral's description, for every depth of simulated BLE."""

    services: tuple[Service, ...]
    advertised: tuple[str, ...]
    """Service UUIDs in the advertisement."""
    name: str


class Device(Protocol):
    """Encodes what the sensor would send. Deterministic; cutting blocks differently changes no byte."""

    streams: tuple[StreamSpec, ...]
    gatt: Gatt | None
    """None on a serial sensor."""
    streaming: bool

    def receive(self, data: bytes, channel: str = "") -> list[Reply]:
        """A command arrived (any cut of bytes on a serial link, one write on GATT)."""

    def read(self, channel: str) -> bytes | None:
        """GATT: value of a readable characteristic, None if there is none."""

    def subscribe(self, channel: str, on: bool = True) -> None:
        """GATT: notifications of a characteristic switched on or off."""

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        """Frames of these samples, one chunk per frame, each at the due_ns of the sample that completed it.

        Called with consecutive blocks, all cut at the same world time; a frame that still lacks
        samples is kept for the next call.
        """

    def reset(self) -> None:
        """Power cycle: counters to their start, not streaming, not subscribed."""

    def reset_counter(self) -> None:
        """The frame counter alone falls back to its start; streaming goes on."""


@runtime_checkable
class MtuAware(Protocol):
    """A GATT Device that puts as much into a notification as the connection's ATT_MTU allows."""

    def negotiated(self, att_mtu: int) -> None:
        """ATT_MTU from now on; 23 after reset() and without a connection."""


class SerialDevice:
    """What a Device on a byte stream has no use for: derive from it and write the rest."""

    gatt: Gatt | None = None

    def read(self, channel: str) -> bytes | None:
        """There is no GATT here."""
        return None

    def subscribe(self, channel: str, on: bool = True) -> None:
        """There is no GATT here."""


# --- what the registry finds ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Golden:
    """Bytes from a vendor document or an independent implementation, beside the values they mean."""

    source: str
    data: bytes
    expected: Mapping[str, Any]
    """Stream -> list of rows in physical units, or a notice's name -> value."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    channel: str = ""
    tolerance: float = 1e-9


class Sensor(Protocol):
    """A module ``drivers/sensors/<name>.py`` (underscores for hyphens), or what an entry point of the
    group ``hil.sensors`` loads. Its docstring's first line is what ``hil list sensors`` shows."""

    NAME: ClassVar[str]
    LINK: ClassVar[str]
    """``serial`` or ``ble``; ``brainflow`` or ``lsl`` for what such a library reads, which comes as drivers.rows."""
    BAUD: ClassVar[int]
    """Line rate in bits per second (8N1); 0 on any other link."""
    SOURCES: ClassVar[tuple[str, ...]]
    """Where the protocol facts come from."""
    SETTINGS: ClassVar[type[Any]]
    """Frozen dataclass of the sensor's settings; its field names are the rig file's ``settings`` keys
    and each field's metadata["help"] explains it. __post_init__ raises SettingError."""
    GOLDEN: ClassVar[tuple[Golden, ...]]

    @staticmethod
    def host(settings: Any) -> Host:
        """The decoding end."""

    @staticmethod
    def device(settings: Any) -> Device:
        """The encoding end."""
