"""A Shimmer3's data packets: which channels they carry in which order, their CRC, and what the numbers mean.

Sources: log-and-stream-common (shimmer_bt_uart.c, shimmer_sensing.c, shimmer_crc.c) for order and CRC; pyshimmer for
sizes and byte order; Shimmer's Java API (SensorGSR, SensorEXG) for the units.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from drivers.framing import Bytes, int24_be, to_int24_be
from drivers.types import IntArray

TICKS_PER_S = 32768
STAMP_MODULUS = 1 << 24
DATA = 0x00
_HEAD = 4
"""Packet type and three bytes of time stamp."""
_CRC_START = 0xB0CA
ADC_FULL = 4095
ADC_MV = 3000.0
BATTERY_RATIO = 1.988
"""The divider in front of the battery's input."""
_EXG_REFERENCE_MV = 2420.0
_GAINS = (6, 1, 2, 3, 4, 8, 12)
"""Gain of the ADS1292R by the code in bits 6..4 of its channel registers."""

GSR, PPG, BATTERY = 0x1C, 0x12, 0x03
EXG = {24: ((0x1E, 0x1F), (0x21, 0x22)), 16: ((0x23, 0x24), (0x25, 0x26))}
"""Bits -> channel 1 and 2 of chip 1, and of chip 2."""
ORDER: tuple[tuple[int, tuple[int, ...]], ...] = (
    (0x000080, (0x00, 0x01, 0x02)),
    (0x002000, (BATTERY,)),
    (0x000002, (0x0D,)),
    (0x000001, (0x0E,)),
    (0x000800, (0x0F,)),
    (0x000200, (0x11,)),
    (0x008000, (0x27, 0x28)),
    (0x000100, (PPG,)),
    (0x800000, (0x13,)),
    (0x000004, (GSR,)),
    (0x000400, (0x10,)),
    (0x000040, (0x0A, 0x0B, 0x0C)),
    (0x001000, (0x04, 0x05, 0x06)),
    (0x000020, (0x07, 0x08, 0x09)),
    (0x400000, (0x14, 0x15, 0x16)),
    (0x200000, (0x17, 0x18, 0x19)),
    (0x040000, (0x1A, 0x1B)),
    (0x000010, (0x1D, *EXG[24][0])),
    (0x100000, (0x1D, *EXG[16][0])),
    (0x000008, (0x20, *EXG[24][1])),
    (0x080000, (0x20, *EXG[16][1])),
)
"""Bit of the sensor field (its first byte is the lowest) and the channels that it switches on, as packets have them."""
_SIZES = {0x1B: 3, 0x1D: 1, 0x20: 1, **dict.fromkeys((*EXG[24][0], *EXG[24][1]), 3)}
_LAST_CHANNEL = 0x28


def channels_of(sensors: int) -> tuple[int, ...]:
    """Channels of a packet, in order, with this sensor field."""
    if sensors & 0x000004:
        sensors &= ~0x000400  # the skin's input is A1: with both, it is GSR
    return tuple(channel for bit, channels in ORDER if sensors & bit for channel in channels)


def size_of(channel: int) -> int | None:
    """Bytes of a channel, None for a number that is no channel's."""
    return _SIZES.get(channel, 2) if channel <= _LAST_CHANNEL else None


def offsets_of(channels: Sequence[int]) -> dict[int, int]:
    """Channel -> its first byte in the packet; 0xFF -> the packet's length without CRC."""
    found: dict[int, int] = {}
    at = _HEAD
    for channel in channels:
        found[channel] = at
        at += size_of(channel) or 0
    return {**found, 0xFF: at}


# --- CRC ----------------------------------------------------------------------------------------


def _step(crc: int, value: int) -> int:
    crc = (crc >> 8 | crc << 8) & 0xFFFF ^ value
    crc ^= (crc & 0xFF) >> 4
    crc ^= crc << 12 & 0xFFFF
    return crc ^ (crc & 0xFF) << 5


def crc16(data: bytes, start: int = _CRC_START) -> int:
    """CRC of a message as the MSP430 computes it: words of two bytes, the last filled up with zero."""
    crc = start
    for value in data + bytes(len(data) % 2):
        crc = _step(crc, value)
    return crc


def with_crc(data: bytes, size: int) -> bytes:
    """The message with ``size`` bytes of its CRC, the low one first."""
    return data + crc16(data).to_bytes(2, "little")[:size]


@cache
def _shares(length: int) -> NDArray[np.uint16]:
    """(length, 256) what each byte at each place adds to the CRC of zeros."""
    shares = np.zeros((length, 256), dtype=np.uint16)
    for place in range(length):
        for bit in range(8):
            shares[place, 1 << bit] = crc16(bytes([*bytes(place), 1 << bit, *bytes(length - place - 1)]), start=0)
        for value in range(256):  # it is linear: a byte adds what its bits add
            low = value & -value
            if value != low:
                shares[place, value] = shares[place, low] ^ shares[place, value ^ low]
    return shares


def crc16_rows(rows: Bytes) -> NDArray[np.uint16]:
    """CRC of every row of (n, length), (n,)."""
    length = rows.shape[1]
    sums = np.bitwise_xor.reduce(_shares(length)[np.arange(length), rows], axis=1)
    return np.asarray(sums ^ np.uint16(crc16(bytes(length))))


def check(packets: Bytes, crc_bytes: int) -> tuple[NDArray[np.bool_], IntArray]:
    """Of (n, length): whether packet type and CRC are right, and the time stamp in ticks."""
    good = packets[:, 0] == DATA
    if crc_bytes:
        crc = crc16_rows(packets[:, :-crc_bytes])
        good &= packets[:, -crc_bytes] == crc & 0xFF
        if crc_bytes > 1:
            good &= packets[:, -1] == crc >> 8
    return good, stamps_of(packets)


def stamps_of(packets: Bytes) -> IntArray:
    """Time stamps in ticks, 0 to 2^24 - 1, (n,)."""
    wide = packets[:, 1:4].astype(np.int64)
    return np.asarray(wide[:, 0] | wide[:, 1] << 8 | wide[:, 2] << 16)


def packets_of(stamps: IntArray, columns: dict[int, IntArray], offsets: dict[int, int], crc_bytes: int) -> Bytes:
    """(n, length) packets with these time stamps and raw numbers; channels without a column are 0."""
    length = offsets[0xFF]
    packets = np.zeros((len(stamps), length + crc_bytes), dtype=np.uint8)
    packets[:, 1:4] = (stamps % STAMP_MODULUS).astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3]
    for channel, values in columns.items():
        if channel in offsets:
            put(packets, offsets[channel], channel, values)
    if crc_bytes:
        packets[:, length:] = crc16_rows(packets[:, :length]).astype("<u2").view(np.uint8).reshape(-1, 2)[:, :crc_bytes]
    return packets


# --- numbers ------------------------------------------------------------------------------------


def exg_bits(channel: int) -> int | None:
    """Width of an ExG channel, None for any other."""
    return next((bits for bits, chips in EXG.items() if any(channel in chip for chip in chips)), None)


def take(packets: Bytes, offset: int, channel: int) -> IntArray:
    """Raw numbers of a channel, (n,): ExG is signed and big-endian, an ADC's number unsigned and little-endian."""
    piece = packets[:, offset : offset + (size_of(channel) or 0)]
    bits = exg_bits(channel)
    if bits == 24:
        return int24_be(np.ascontiguousarray(piece))[:, 0].astype(np.int64)
    return np.ascontiguousarray(piece).view(">i2" if bits else "<u2")[:, 0].astype(np.int64)


def put(packets: Bytes, offset: int, channel: int, values: IntArray) -> None:
    """The inverse of take(), into (n, length)."""
    bits = exg_bits(channel)
    if bits == 24:
        octets = to_int24_be(values[:, None].astype(np.int32))
    else:
        octets = values.astype(">i2" if bits else "<u2").view(np.uint8).reshape(-1, 2)
    packets[:, offset : offset + octets.shape[1]] = octets


def exg_mv(bits: int, gain: float) -> float:
    """Millivolts of one step of the ExG converter."""
    return _EXG_REFERENCE_MV / ((1 << bits - 1) - 1) / gain


def gain_code(gain: int) -> int:
    """Bits 6..4 of a channel register for this gain; ValueError if the chip does not have it."""
    return _GAINS.index(gain)


def gain_of(register: int) -> int:
    """Gain that a channel register sets."""
    return (*_GAINS, 6)[register >> 4 & 7]


def battery_volts(code: int) -> float:
    """Voltage of the battery from its 12-bit code."""
    return code * (ADC_MV / 1000) / ADC_FULL * BATTERY_RATIO
