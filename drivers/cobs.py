"""Consistent overhead byte stuffing (Cheshire and Baker 1999): packets without a zero byte, so that zero ends them.

A block is a code byte n and n - 1 bytes that are not zero; but for code 255 and the last block, a zero follows it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivers.framing import Bytes

DELIMITER = 0


def encode(packet: bytes) -> bytes:
    """The packet without zeros and without a delimiter."""
    out = bytearray()
    pieces = packet.split(b"\x00")
    for number, piece in enumerate(pieces):
        while len(piece) >= 254:
            out += b"\xff" + piece[:254]
            piece = piece[254:]
            if not piece and number == len(pieces) - 1:
                return bytes(out)  # a full block that ends the packet needs no empty one behind it
        out.append(len(piece) + 1)
        out += piece
    return bytes(out)


def decode(data: bytes) -> bytes:
    """The packet; ValueError for a zero byte, no byte at all or a block that is cut off."""
    if not data:
        raise ValueError("no byte at all: even an empty packet has a code byte")
    if 0 in data:
        raise ValueError("a zero byte inside a packet")
    parts: list[bytes] = []
    at, size = 0, len(data)
    while True:
        code = data[at]
        end = at + code
        if end > size:
            raise ValueError(f"a block of {code - 1} bytes with {size - at - 1} left")
        parts.append(data[at + 1 : end])
        at = end
        if at == size:
            return b"".join(parts)
        if code < 255:
            parts.append(b"\x00")


def longest(size: int) -> int:
    """Bytes that a packet of ``size`` bytes takes at most, without its delimiter."""
    return size + size // 254 + 1


def decode_rows(rows: Bytes) -> tuple[Bytes, NDArray[np.bool_]]:
    """Packets of one encoded length up to 255 bytes, (n, length), as (n, length - 1), and which of them are valid.

    Bytes of a packet that is not valid mean nothing.
    """
    count, length = rows.shape
    if length > 255:
        raise ValueError(f"{length} bytes: only packets of one block's length and less can be decoded side by side")
    if not count:
        return rows[:, 1:], np.zeros(0, dtype=bool)
    decoded = rows.copy()
    place = np.zeros(count, dtype=np.intp)
    going = np.arange(count)
    for _ in range(length):
        code = rows[going, place].astype(np.intp)
        decoded[going, place] = 0
        place = place + np.maximum(code, 1)
        more = place < length
        if more.all():
            continue
        over = going[place > length]
        decoded[over, 0] = 1  # marks a chain that leads beyond the end
        going, place = going[more], place[more]
        if not len(going):
            break
    return decoded[:, 1:], (rows != 0).all(axis=1) & (decoded[:, 0] == 0)


def encode_rows(rows: Bytes) -> tuple[bytes, NDArray[np.int64]]:
    """Every row of (n, length) encoded and followed by its delimiter, in one string, and where each ends, (n,)."""
    count, length = rows.shape
    if length > 253:
        parts = [encode(row.tobytes()) + b"\x00" for row in rows]
        return b"".join(parts), np.cumsum([len(part) for part in parts], dtype=np.int64)
    framed = np.zeros((count, length + 2), dtype=np.uint8)  # code byte, packet, delimiter
    framed[:, 1:-1] = rows
    flat = framed.reshape(-1)
    zeros = np.flatnonzero(flat == 0)
    distance = np.diff(zeros, append=len(flat))
    is_delimiter = zeros % (length + 2) == length + 1
    flat[zeros] = np.where(is_delimiter, 0, distance)
    return flat.tobytes(), np.arange(1, count + 1, dtype=np.int64) * (length + 2)
