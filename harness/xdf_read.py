"""Reads the XDF files that harness.xdf writes, whole chunks at a time and exactly as written.

No clock synchronisation and no jitter removal: what was recorded comes back. A damaged end is left out and
measured; behind a damaged place in the middle reading goes on at the next boundary mark.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, fromstring

import numpy as np

from drivers.types import FloatArray
from harness.xdf import (
    BOUNDARY_MARK,
    CLOCK_OFFSET,
    FILE_HEADER,
    FORMATS,
    MAGIC,
    SAMPLES,
    STREAM_FOOTER,
    STREAM_HEADER,
    Channel,
    sample_row,
)

_DTYPES = {xdf: ours for ours, xdf in FORMATS.items()}
_MAX_CHANNELS = 65536
_LENGTHS = {1: "<B", 4: "<I", 8: "<Q"}


class XdfError(ValueError):
    """A file that is no XDF file, or not one that harness.xdf wrote."""


@dataclass(frozen=True, eq=False)
class XdfStream:
    """One stream of an XDF file."""

    name: str
    kind: str
    channels: tuple[Channel, ...]
    rate_hz: float | None
    dtype: str
    metadata: Mapping[str, str]
    can_drop_samples: bool
    stamps: FloatArray
    """(n,) seconds, in the order of writing."""
    values: Any
    """(n, channels) array, or n tuples of strings."""
    clock_offsets: tuple[tuple[float, float], ...]
    footer: Mapping[str, str] | None
    """None where the file was not closed."""


@dataclass(frozen=True, eq=False)
class XdfFile:
    """All streams in the order of their headers."""

    streams: tuple[XdfStream, ...]
    metadata: Mapping[str, str]
    torn_bytes: int
    """Size of a damaged end that was left out."""
    skipped_bytes: int
    """Size of damaged places before the end that were left out."""

    def by_name(self) -> dict[str, XdfStream]:
        """Name -> stream."""
        return {stream.name: stream for stream in self.streams}


@dataclass
class _Parts:
    """A stream while it is read."""

    header: Element
    channels: int
    rate_hz: float | None
    dtype: str
    stamps: list[Any] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    offsets: list[tuple[float, float]] = field(default_factory=list)
    footer: dict[str, str] | None = None


class _Damaged(Exception):  # noqa: N818 - not an error to the caller: reading goes on
    """The chunk at hand is not whole."""


def read_xdf(path: Path) -> XdfFile:
    """Every stream of a file; XdfError or OSError if it cannot be one of ours."""
    data = path.read_bytes()
    if data[:4] != MAGIC:
        raise XdfError(f"{path}: expected an XDF file, which begins with {MAGIC!r}, found {data[:4]!r}")
    parts: dict[int, _Parts] = {}
    metadata: dict[str, str] = {}
    at, skipped, torn = len(MAGIC), 0, 0
    while at < len(data):
        try:
            tag, start, end = _chunk(data, at)
            _take(data, tag, start, end, parts, metadata)
            at = end
        except _Damaged:
            mark = data.find(BOUNDARY_MARK, at)
            if mark < 0:
                torn = len(data) - at
                break
            skipped, at = skipped + mark - at, mark + len(BOUNDARY_MARK)
    return XdfFile(tuple(_finished(part) for part in parts.values()), metadata, torn, skipped)


def _chunk(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag of the chunk at an offset, and where its content starts and ends."""
    length, start = _number(data, at)
    end = start + length
    if length < 2 or end > len(data):
        raise _Damaged
    return int.from_bytes(data[start : start + 2], "little"), start + 2, end


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer and the offset behind it."""
    code = _LENGTHS.get(data[at]) if at < len(data) else None
    if code is None or at + 1 + data[at] > len(data):
        raise _Damaged
    return struct.unpack_from(code, data, at + 1)[0], at + 1 + data[at]


def _take(data: bytes, tag: int, start: int, end: int, parts: dict[int, _Parts], metadata: dict[str, str]) -> None:
    if tag == FILE_HEADER:
        metadata.update(_texts(_xml(data[start:end])))
    if tag not in (STREAM_HEADER, SAMPLES, CLOCK_OFFSET, STREAM_FOOTER):
        return
    if end - start < 4:
        raise _Damaged
    number, start = int.from_bytes(data[start : start + 4], "little"), start + 4
    if tag == STREAM_HEADER:
        parts[number] = _started(_xml(data[start:end]))
        return
    if number not in parts:
        raise _Damaged
    part = parts[number]
    if tag == SAMPLES:
        _take_samples(part, data, start, end)
    elif tag == STREAM_FOOTER:
        part.footer = _texts(_xml(data[start:end]))
    elif end - start == 16:
        part.offsets.append(struct.unpack_from("<dd", data, start))
    else:
        raise _Damaged


def _started(header: Element) -> _Parts:
    name, code = header.findtext("name", ""), header.findtext("channel_format", "")
    if code not in _DTYPES:
        raise XdfError(f"stream {name!r}: format {code!r} is none of {', '.join(_DTYPES)}; read it with pyxdf")
    try:
        channels, rate_hz = int(header.findtext("channel_count", "")), float(header.findtext("nominal_srate", ""))
    except ValueError as error:
        raise _Damaged from error
    if not 0 <= channels <= _MAX_CHANNELS or not rate_hz >= 0:
        raise _Damaged
    return _Parts(header, channels, rate_hz or None, _DTYPES[code])


def _take_samples(part: _Parts, data: bytes, start: int, end: int) -> None:
    count, start = _number(data, start)
    if part.dtype == "string":
        stamps, texts = _text_rows(data, start, end, count, part.channels)
        part.stamps.append(np.array(stamps, dtype=np.float64))
        part.values.extend(texts)
        return
    row = sample_row(part.dtype, part.channels)
    if end - start != count * row.itemsize:
        raise _Damaged
    rows = np.frombuffer(data, row, count, start)
    if not np.all(rows["size"] == 8):
        raise _Damaged
    part.stamps.append(rows["stamp"])
    part.values.append(rows["values"])


def _text_rows(data: bytes, at: int, end: int, count: int, channels: int) -> tuple[list[float], list[tuple[str, ...]]]:
    stamps, rows = [], []
    for _ in range(count):
        if at + 9 > end or data[at] != 8:
            raise _Damaged
        stamps.append(struct.unpack_from("<d", data, at + 1)[0])
        at += 9
        row = []
        for _ in range(channels):
            size, at = _number(data, at)
            if at + size > end:
                raise _Damaged
            row.append(data[at : at + size].decode(errors="replace"))
            at += size
        rows.append(tuple(row))
    if at != end:
        raise _Damaged
    return stamps, rows


def _xml(data: bytes) -> Element:
    if b"<!" in data:  # no header of ours declares a document type or an entity
        raise _Damaged
    try:
        return fromstring(data)  # noqa: S314 - cannot declare entities, see above
    except ParseError as error:
        raise _Damaged from error


def _texts(parent: Element | None) -> dict[str, str]:
    return {} if parent is None else {child.tag: child.text or "" for child in parent if not len(child)}


def _finished(part: _Parts) -> XdfStream:
    header = part.header
    described = [_texts(channel) for channel in header.iterfind("desc/channels/channel")]
    channels = tuple(Channel(d.get("label", ""), d.get("unit", ""), d.get("type", "")) for d in described)
    stamps = np.concatenate(part.stamps, dtype=np.float64) if part.stamps else np.zeros(0)
    values: Any = part.values
    if part.dtype != "string":
        empty = np.zeros((0, part.channels), dtype=part.dtype)
        values = np.concatenate([empty, *part.values], dtype=np.dtype(part.dtype))
    return XdfStream(
        name=header.findtext("name", ""),
        kind=header.findtext("type", ""),
        channels=channels,
        rate_hz=part.rate_hz,
        dtype=part.dtype,
        metadata=_texts(header.find("desc/hil")),
        can_drop_samples=header.findtext("desc/synchronization/can_drop_samples") == "true",
        stamps=stamps,
        values=values,
        clock_offsets=tuple(part.offsets),
        footer=part.footer,
    )
