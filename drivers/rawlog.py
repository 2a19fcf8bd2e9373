"""Raw wire bytes with their arrival stamps in an append-only file, so that any run can be decoded again.

The file is the 8 bytes ``HILRAW1\\n`` and then records, little-endian throughout::

    u8 kind | u8 channel size | u32 chunks n | u32 data size | u32 CRC-32 of these fields and of the rest
    channel (UTF-8) | int64 at_ns (n) | u32 ends (n) | data

A record holds many chunks of one channel, so a second of wire is one record and reads back as one Batch.
A crash can tear the last record only; the reader leaves it out and says how many bytes that were.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np

from drivers.clock import Clock
from drivers.errors import LinkError
from drivers.link import Link, Sink
from drivers.types import Batch, LinkDown, LinkUp

_MAGIC = b"HILRAW1\n"
_HEAD = struct.Struct("<BBII")
_CRC = struct.Struct("<I")
_DATA, _DOWN, _UP, _VALUE, _NO_VALUE, _OPENED, _CLOSED = range(1, 8)
_MAX_RECORD_BYTES = 1 << 30  # keeps `ends` and the sizes far inside u32


class RawLogError(LinkError):
    """A file that should be a raw log is absent or is none."""


class DiskError(OSError):
    """A recording could not be written on; everything before the failed write stays readable."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The host opened the link."""

    at_ns: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The host stopped recording of its own will; a log without it was cut short."""

    at_ns: int


@dataclass(frozen=True, slots=True)
class GattValue:
    """What reading a characteristic gave; None where the device has no such characteristic."""

    channel: str
    value: bytes | None
    at_ns: int


RawItem: TypeAlias = Batch | LinkDown | LinkUp | GattValue | Opened | Closed


class AppendFile:
    """A new file that only grows, by whole writes: a write that fails leaves no part of itself behind.

    Nothing is buffered in this process, so a killed process loses nothing that was written.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, 0
        try:
            self._file = path.open("xb", buffering=0)
        except FileExistsError as error:
            raise DiskError(f"{path} exists already and is not overwritten: choose a new directory") from error
        except OSError as error:
            raise DiskError(f"{path} cannot be created: {error.strerror}; check its directory and rights") from error

    def write(self, data: bytes) -> None:
        """Append all of data, or nothing and DiskError."""
        done = 0
        try:
            while done < len(data):
                done += self._file.write(memoryview(data)[done:])
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self.size)
                self._file.seek(self.size)
            raise DiskError(
                f"{self.path}: {len(data)} bytes could not be written ({error.strerror}); the {self.size} bytes before "
                "them stay readable. Free some space or record to another disk."
            ) from error
        self.size += done

    def close(self) -> None:
        """Release the file; safe to call twice."""
        self._file.close()


# --- writing ----------------------------------------------------------------------------------


def _record(kind: int, batch: Batch) -> bytes:
    channel = batch.channel.encode()
    head = _HEAD.pack(kind, len(channel), len(batch), len(batch.data))
    body = b"".join(
        (channel, batch.at_ns.astype("<i8", copy=False).tobytes(), batch.ends.astype("<u4").tobytes(), batch.data)
    )
    return head + _CRC.pack(zlib.crc32(body, zlib.crc32(head))) + body


def _encode(item: RawItem) -> bytes:
    if isinstance(item, Batch):
        return _record(_DATA, item)
    if isinstance(item, LinkDown):
        return _record(_DOWN, Batch.single(item.reason.encode(), item.arrival_ns))
    if isinstance(item, LinkUp):
        return _record(_UP, Batch.single(b"", item.arrival_ns))
    if isinstance(item, GattValue):
        kind = _NO_VALUE if item.value is None else _VALUE
        return _record(kind, Batch.single(item.value or b"", item.at_ns, item.channel))
    return _record(_OPENED if isinstance(item, Opened) else _CLOSED, Batch.single(b"", item.at_ns))


def merged(batches: list[Batch]) -> Batch:
    """Batches of one channel as one, in the order given; at least one."""
    if len(batches) == 1:
        return batches[0]
    sizes = np.array([len(batch.data) for batch in batches])
    offsets = np.repeat(np.cumsum(sizes) - sizes, [len(batch) for batch in batches])
    return Batch(
        b"".join(batch.data for batch in batches),
        np.concatenate([batch.ends for batch in batches]) + offsets,
        np.concatenate([batch.at_ns for batch in batches]),
        batches[0].channel,
    )


class RawLogWriter:
    """Collects items in order and appends them at flush()."""

    def __init__(self, path: Path) -> None:
        self._file = AppendFile(path)
        self._file.write(_MAGIC)
        self._pending: list[RawItem] = []
        self._bytes = 0

    def put(self, item: RawItem) -> None:
        """Keep an item for the next flush."""
        self._pending.append(item)
        if isinstance(item, Batch):
            self._bytes += len(item.data)
            if self._bytes > _MAX_RECORD_BYTES:
                self.flush()

    def flush(self) -> None:
        """Append everything that was put since the last flush, in one write; DiskError if that fails."""
        if not self._pending:
            return
        pending, self._pending, self._bytes = self._pending, [], 0
        self._file.write(b"".join(_records(pending)))

    def close(self) -> None:
        """Flush and release the file; safe to call twice."""
        try:
            self.flush()
        finally:
            self._file.close()

    def abandon(self) -> None:
        """Release the file as it is, after the disk has failed; safe to call twice."""
        self._pending = []
        self._file.close()


def _records(items: list[RawItem]) -> Iterator[bytes]:
    for channel, run in groupby(items, key=lambda item: item.channel if isinstance(item, Batch) else None):
        if channel is None:
            yield from map(_encode, run)
        else:
            yield _encode(merged([item for item in run if isinstance(item, Batch)]))


# --- reading ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class RawLog:
    """What a raw log holds, in the order in which it was recorded."""

    items: tuple[RawItem, ...]
    torn_bytes: int
    """Size of an incomplete or damaged end that was left out."""


def read_raw_log(path: Path) -> RawLog:
    """Everything up to the first record that is not whole; RawLogError if there is no such log."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RawLogError(f"{path}: expected a raw log, as raw/<role>.bin of a run: {error.strerror}") from error
    if data[: len(_MAGIC)] != _MAGIC:
        raise RawLogError(f"{path}: expected a raw log that begins with {_MAGIC!r}, found {data[:8]!r}")
    items: list[RawItem] = []
    at = len(_MAGIC)
    while (found := _decode(data, at)) is not None:
        item, at = found
        items.append(item)
    return RawLog(tuple(items), len(data) - at)


def _decode(data: bytes, at: int) -> tuple[RawItem, int] | None:
    """The record at an offset and the offset behind it; None if it is not whole."""
    body = at + _HEAD.size + _CRC.size
    if body > len(data):
        return None
    kind, channel_size, chunks, data_size = _HEAD.unpack_from(data, at)
    end = body + channel_size + 12 * chunks + data_size
    if end > len(data):
        return None
    crc = zlib.crc32(memoryview(data)[body:end], zlib.crc32(data[at : at + _HEAD.size]))
    if crc != _CRC.unpack_from(data, at + _HEAD.size)[0]:
        return None
    stamps = body + channel_size
    at_ns = np.frombuffer(data, "<i8", chunks, stamps).astype(np.int64)
    ends = np.frombuffer(data, "<u4", chunks, stamps + 8 * chunks).astype(np.int64)
    batch = Batch(data[end - data_size : end], ends, at_ns, data[body:stamps].decode(errors="replace"))
    item = _item(kind, batch)
    return None if item is None else (item, end)


def _item(kind: int, batch: Batch) -> RawItem | None:
    if kind == _DATA:
        return batch
    if len(batch) != 1:
        return None
    at_ns = int(batch.at_ns[0])
    if kind in (_VALUE, _NO_VALUE):
        return GattValue(batch.channel, batch.data if kind == _VALUE else None, at_ns)
    if kind == _DOWN:
        return LinkDown(at_ns, batch.data.decode(errors="replace"))
    made: dict[int, type[LinkUp] | type[Opened] | type[Closed]] = {_UP: LinkUp, _OPENED: Opened, _CLOSED: Closed}
    return made[kind](at_ns) if kind in made else None


# --- recording what no batch shows ------------------------------------------------------------


class NotingLink:
    """A link that notes when it is opened and what GATT reads gave, which a replay needs beside the bytes.

    Batches, LinkDown and LinkUp are not noted here: their one consumer records them, in its own order.
    """

    def __init__(self, link: Link, note: Callable[[RawItem], None]) -> None:
        self._link, self._note = link, note
        self.description = link.description
        self.clock: Clock = link.clock

    def __getattr__(self, name: str) -> Any:
        """Whatever else the link can do."""
        return getattr(self._link, name)

    @property
    def quantum_ns(self) -> int:
        """The link's delivery step in virtual time; a link that has none raises AttributeError here too."""
        return cast(int, self._link.quantum_ns)  # type: ignore[attr-defined]

    @quantum_ns.setter
    def quantum_ns(self, quantum_ns: int) -> None:
        self._link.quantum_ns = quantum_ns  # type: ignore[attr-defined]

    def open(self, sink: Sink) -> None:
        """Note the moment, then open."""
        self._note(Opened(self.clock.now_ns()))
        self._link.open(sink)

    def write(self, data: bytes, channel: str = "") -> None:
        """As the link does."""
        self._link.write(data, channel)

    def subscribe(self, channel: str) -> None:
        """As the link does."""
        self._link.subscribe(channel)

    def read(self, channel: str) -> bytes | None:
        """As the link does, and note the answer."""
        value = self._link.read(channel)
        self._note(GattValue(channel, value, self.clock.now_ns()))
        return value

    def close(self) -> None:
        """As the link does."""
        self._link.close()
