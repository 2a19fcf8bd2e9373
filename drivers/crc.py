"""Checksums that framed records carry, over one message or over every row of a table."""

from __future__ import annotations

import binascii
from functools import cache

import numpy as np

from drivers.framing import Bytes


@cache
def crc8_table(polynomial: int) -> Bytes:
    """What a byte becomes in eight steps of a CRC-8 with this polynomial, most significant bit first, (256,)."""
    table = np.arange(256, dtype=np.int64)
    for _ in range(8):
        table = np.where(table & 0x80, (table << 1) ^ polynomial, table << 1) & 0xFF
    return table.astype(np.uint8)


def crc8_rows(rows: Bytes, polynomial: int) -> Bytes:
    """CRC-8 of every row of (n, length), start value 0, not reflected, (n,)."""
    table = crc8_table(polynomial)
    value = np.zeros(len(rows), dtype=np.uint8)
    for column in rows.T:
        value = table[value ^ column]
    return value


def crc16_rows(rows: Bytes) -> np.typing.NDArray[np.uint16]:
    """CRC-16/CCITT-FALSE (polynomial 0x1021, start 0xFFFF) of every row of (n, length), (n,)."""
    return np.array([binascii.crc_hqx(row.tobytes(), 0xFFFF) for row in rows], dtype=np.uint16)


def crc32_rows(rows: Bytes) -> np.typing.NDArray[np.uint32]:
    """CRC-32 as in Ethernet and zlib of every row of (n, length), (n,)."""
    return np.array([binascii.crc32(row.tobytes()) for row in rows], dtype=np.uint32)
