"""BITalino frames as numbers: packing, CRC4, and what an ADC code means for each sensor of the board.

Sources: firmware-bitalino-revolution 5.2 (live.c, uart.c) for the frames; PLUX data sheets, timeflux_bitalino and the
scripts of revolution-sample-data for the transfer functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from drivers.framing import Bytes
from drivers.types import FloatArray, IntArray

INPUTS = 6
SIZES = (3, 4, 6, 7, 8, 8)
"""Bytes of a frame with 1 to 6 channels."""
BITS = (10, 10, 10, 10, 6, 6)
"""Resolution of the first to sixth enabled channel, whichever inputs they are."""
SEQUENCES = 16
VCC_V = 3.3
_SHIFTS = (42, 32, 22, 12, 6, 0)
_CRC_SHIFT, _DIGITAL_SHIFT, _SEQUENCE_SHIFT = 56, 52, 60
"""A frame, ahead of which zeros are put until it has eight bytes, is one little-endian number with these fields."""
_CRC4 = (0, 3, 6, 5, 12, 15, 10, 9, 11, 8, 13, 14, 7, 4, 1, 2)
"""x^4 + x + 1, a nibble at a time."""


def crc4(data: bytes) -> int:
    """CRC over the high nibble of every byte and the low one of all but the last, as state replies have it too."""
    crc = 0
    for number, value in enumerate(data):
        crc = _CRC4[crc] ^ value >> 4
        if number < len(data) - 1:
            crc = _CRC4[crc] ^ value & 15
    return _CRC4[crc]


@cache
def _shares(length: int) -> Bytes:
    """(length, 256) what each byte at each place adds to the CRC; the last byte's low nibble, the CRC itself, too."""
    shares = np.zeros((length, 256), dtype=np.uint8)
    for place in range(length):
        for value in range(256):
            frame = bytearray(length)
            frame[place] = value
            shares[place, value] = crc4(bytes(frame)) ^ (value & 15 if place == length - 1 else 0)
    return shares


def _remainder(frames: Bytes) -> Bytes:
    length = frames.shape[1]
    return np.asarray(np.bitwise_xor.reduce(_shares(length)[np.arange(length), frames], axis=1))


def check(frames: Bytes) -> tuple[NDArray[np.bool_], IntArray]:
    """Of (n, length): whether the CRC holds, and the sequence number."""
    return _remainder(frames) == 0, (frames[:, -1] >> 4).astype(np.int64)


def unpack(frames: Bytes, channels: int) -> tuple[IntArray, IntArray]:
    """ADC codes (n, channels) and the digital lines I1 I2 O1 O2 as a number 0..15, (n,)."""
    wide = np.zeros((len(frames), 8), dtype=np.uint8)
    wide[:, 8 - frames.shape[1] :] = frames
    words = wide.view("<u8")
    shifts = np.array(_SHIFTS[:channels], np.uint64)
    masks = np.array([(1 << bits) - 1 for bits in BITS[:channels]], np.uint64)
    return (words >> shifts & masks).astype(np.int64), (frames[:, -2] >> 4).astype(np.int64)


def pack(codes: IntArray, sequence: IntArray, digital: int) -> Bytes:
    """(n, length) frames of codes (n, channels), sequence numbers (n,) and digital lines."""
    channels = codes.shape[1]
    words = sequence.astype(np.uint64) << np.uint64(_SEQUENCE_SHIFT) | np.uint64(digital << _DIGITAL_SHIFT)
    for channel in range(channels):
        words |= codes[:, channel].astype(np.uint64) << np.uint64(_SHIFTS[channel])
    frames = np.ascontiguousarray(words.astype("<u8").view(np.uint8).reshape(-1, 8)[:, 8 - SIZES[channels - 1] :])
    frames[:, -1] |= _remainder(frames)
    return frames


# --- physical units -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Transfer:
    """From the share of full scale that a code stands for, 0..1, to what the sensor measures, and back."""

    kind: str
    unit: str
    slope: float
    offset: float
    inverse: bool = False
    """The value is 1 / (offset + slope * share)."""

    def value(self, share: FloatArray) -> FloatArray:
        """Physical value, same shape."""
        line = self.offset + self.slope * share
        return 1 / line if self.inverse else line

    def share(self, value: FloatArray) -> FloatArray:
        """Share of full scale, same shape; the inverse of value()."""
        return ((1 / value if self.inverse else value) - self.offset) / self.slope

    def range(self, bits: int) -> tuple[float, float, float]:
        """Lowest value, highest value and smallest step with codes of so many bits."""
        edges = self.value(np.array([0, 1, 2**bits - 1]) / 2**bits)
        return float(edges[0]), float(edges[2]), float(edges[1] - edges[0])


def biopotential(kind: str, unit: str, per_volt: float, gain: float) -> Transfer:
    """An amplifier around half of the supply."""
    full = VCC_V / gain * per_volt
    return Transfer(kind, unit, full, -full / 2)
