"""Writes XDF 1.0 (Extensible Data Format), append only: a killed process loses nothing that was written.

Specification: https://github.com/sccn/xdf/wiki/Specifications. A file is ``XDF:`` and then chunks,
``[size of length][length][u16 tag][content]``, little-endian. Each chunk goes out in one unbuffered write.

Stamps are seconds on the recorder's own clock. Readers sharpen them unless they are told not to: pyxdf fits a line
through every regular stream, which bends it wherever a sample was lost. ``can_drop_samples`` (in the header's
desc/synchronization, where pyxdf and load_xdf.m look) switches that off in pyxdf. load_xdf.m then snaps stamps to the
nominal frame grid; give it ``'HandleJitterRemoval', false`` to have them as written.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
from numpy.typing import NDArray

from drivers.rawlog import AppendFile

MAGIC = b"XDF:"
FILE_HEADER, STREAM_HEADER, SAMPLES, CLOCK_OFFSET, BOUNDARY, STREAM_FOOTER = range(1, 7)
BOUNDARY_MARK = bytes.fromhex("43a546dccbf5410fb30ed5467383cbe4")
"""The specification's UUID, for which readers look behind a damaged place."""
FORMATS = {"float64": "double64", "float32": "float32", "int64": "int64", "string": "string"}
"""Our name of a sample format -> XDF's."""
_UNWRITABLE = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot hold


@dataclass(frozen=True, slots=True)
class Channel:
    """What one column of a stream is."""

    label: str
    unit: str = ""
    kind: str = ""


@dataclass
class _Open:
    """A stream that is being written."""

    name: str
    channels: int
    row: np.dtype[Any] | None
    """One sample on disk: 8 (size of the stamp), stamp, values; None for strings."""
    first: float | None = None
    last: float | None = None
    count: int = 0


def sample_row(dtype: str, channels: int) -> np.dtype[Any]:
    """Layout of one numeric sample that carries its own stamp."""
    value = np.dtype(dtype).newbyteorder("<")
    return np.dtype([("size", "u1"), ("stamp", "<f8"), ("values", value, (channels,))])


class XdfWriter:
    """One XDF file. DiskError (an OSError) if it exists already or cannot be written on."""

    def __init__(self, path: Path, metadata: Mapping[str, str] | None = None) -> None:
        self._file = AppendFile(path)
        self._streams: dict[int, _Open] = {}
        info = Element("info")
        _leaves(info, {"version": "1.0", **(metadata or {})})
        self._file.write(MAGIC)
        self._chunk(FILE_HEADER, b'<?xml version="1.0"?>' + tostring(info))

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._file.size

    def stream(
        self,
        name: str,
        kind: str,
        channels: Sequence[Channel],
        rate_hz: float | None,
        dtype: str,
        metadata: Mapping[str, str] | None = None,
        *,
        can_drop_samples: bool = False,
        created_at: float = 0.0,
    ) -> int:
        """Begin a stream and return its id.

        ``kind`` is XDF's content type (``EEG``, ``Markers``); ``rate_hz`` None means irregular; ``dtype`` is a key of
        FORMATS; ``metadata`` goes to desc/hil.
        """
        if dtype not in FORMATS:
            raise ValueError(f"stream {name!r}: dtype is one of {', '.join(FORMATS)}, found {dtype!r}")
        info = Element("info")
        _leaves(info, {"name": name, "type": kind, "channel_count": str(len(channels))})
        _leaves(info, {"nominal_srate": repr(float(rate_hz or 0)), "channel_format": FORMATS[dtype]})
        _leaves(info, {"created_at": repr(float(created_at))})
        desc = SubElement(info, "desc")
        listed = SubElement(desc, "channels")
        for channel in channels:
            _leaves(SubElement(listed, "channel"), {"label": channel.label, "unit": channel.unit, "type": channel.kind})
        if can_drop_samples:
            _leaves(SubElement(desc, "synchronization"), {"can_drop_samples": "true"})
        _leaves(SubElement(desc, "hil"), metadata or {})
        number = len(self._streams) + 1
        self._chunk(STREAM_HEADER, struct.pack("<I", number) + b'<?xml version="1.0"?>' + tostring(info))
        row = None if dtype == "string" else sample_row(dtype, len(channels))
        self._streams[number] = _Open(name, len(channels), row)
        return number

    def samples(self, stream: int, stamps: NDArray[np.float64], values: NDArray[Any] | Sequence[Sequence[str]]) -> None:
        """Append samples: stamps in seconds, float64 (n,); values (n, channels), or n rows of strings."""
        target, n = self._streams[stream], len(stamps)
        shape = np.shape(values) if n else (0, target.channels)
        if shape != (n, target.channels):
            raise ValueError(f"stream {target.name!r}: expected values of shape {(n, target.channels)}, found {shape}")
        if n == 0:
            return
        if target.row is None:
            body = _text_rows(np.asarray(stamps, dtype="<f8"), values)
        else:
            rows = np.empty(n, dtype=target.row)
            rows["size"], rows["stamp"], rows["values"] = 8, stamps, values
            body = rows.tobytes()
        self._chunk(SAMPLES, struct.pack("<IBI", stream, 4, n) + body)
        target.first = float(stamps[0]) if target.first is None else target.first
        target.last, target.count = float(stamps[-1]), target.count + n

    def clock_offset(self, stream: int, at: float, offset: float) -> None:
        """Say that at ``at`` seconds of the stream's clock, ``offset`` seconds lead to the recorder's clock."""
        self._chunk(CLOCK_OFFSET, struct.pack("<Idd", stream, at, offset))

    def boundary(self) -> None:
        """A mark at which a reader resumes behind a damaged place; worth one every second or so."""
        self._chunk(BOUNDARY, BOUNDARY_MARK)

    def close(self) -> None:
        """Write every stream's footer and release the file; safe to call twice."""
        streams, self._streams = self._streams, {}
        try:
            for number, stream in streams.items():
                info = Element("info")
                if stream.first is not None and stream.last is not None:
                    _leaves(info, {"first_timestamp": repr(stream.first), "last_timestamp": repr(stream.last)})
                _leaves(info, {"sample_count": str(stream.count)})
                self._chunk(STREAM_FOOTER, struct.pack("<I", number) + b'<?xml version="1.0"?>' + tostring(info))
        finally:
            self._file.close()

    def abandon(self) -> None:
        """Release the file as it is, without footers, after a write has failed."""
        self._streams = {}
        self._file.close()

    def _chunk(self, tag: int, content: bytes) -> None:
        size = len(content) + 2
        length = struct.pack("<BI", 4, size) if size < 1 << 32 else struct.pack("<BQ", 8, size)
        self._file.write(length + tag.to_bytes(2, "little") + content)


def _leaves(parent: Element, texts: Mapping[str, str]) -> None:
    """Add an element per text; ASCII only on disk, since some readers take XML byte by byte."""
    for name, text in texts.items():
        bad = _UNWRITABLE.search(text)
        if bad:
            raise ValueError(f"<{name}>: the character {bad.group()!r} in {text!r} cannot be written to an XDF header")
        SubElement(parent, name).text = text


def _text_rows(stamps: NDArray[np.float64], rows: Any) -> bytes:
    parts: list[bytes] = []
    for stamp, row in zip(stamps.tolist(), rows, strict=True):
        parts.append(struct.pack("<Bd", 8, stamp))
        for text in row:
            data = text.encode()
            parts += (struct.pack("<BI", 4, len(data)), data)
    return b"".join(parts)
