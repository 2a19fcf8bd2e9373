"""Frames of the two Contec CMS50 protocols as columns of numbers, and the commands of the newer one.

5-byte: bit 7 is set in a frame's first byte only. V7: a packet is a type (bit 7 clear), a byte with the data bytes'
top bits, and the data bytes with bit 7 set. Source: Contec's protocol documents V5.0A and V7.0 (2010-07-08).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.frame_finder import marked
from drivers.framing import Bytes
from drivers.types import FloatArray, IntArray

LIVE, REFUSED, DISCONNECTED = 0x01, 0x0B, 0x0D
COMMAND, COMMAND_LENGTH = 0x7D, 9
START, STOP, KEEP_ALIVE = 0xA1, 0xA2, 0xAF
STOPPED = b"\x0c\x80"
UNKNOWN_COMMAND = 0x05
LENGTHS = {
    LIVE: 9, 0x04: 9, 0x05: 9, 0x07: 8, 0x08: 8, 0x09: 6, 0x0A: 4, REFUSED: 4, 0x0C: 2, DISCONNECTED: 3,
    0x0E: 3, 0x0F: 8, 0x12: 8,
}  # fmt: skip
"""Type -> bytes of a packet that the oximeter sends."""
RULE5 = marked(dict.fromkeys(range(128, 256), 5), bit7=True)
RULE7 = marked(LENGTHS, bit7=False)

_NO_SPO2, _NO_RATE, _NO_PERFUSION = 0x7F, 0xFF, 0xFFFF
_GOOD_SIGNAL, _BAR = 7, 15
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """What n frames say, (n,) each."""

    pleth: FloatArray
    rate: FloatArray
    """Beats a minute, NaN where unknown."""
    spo2: FloatArray
    """Percent, NaN where unknown."""
    signal: IntArray
    """Strength 0..15."""
    finger_out: Flags
    """It has searched for too long."""
    searching: Flags
    probe_error: Flags
    spo2_dropping: Flags
    perfusion: IntArray
    """Hundredths of a percent, -1 where there is none."""


def percent(hundredths: int) -> float | str:
    """The perfusion index as a person reads it."""
    return "none" if hundredths < 0 else hundredths / 100


def _known(values: NDArray[Any], none: int) -> FloatArray:
    """NaN for what the device marks as unknown: all ones, or 0, which no heart and no blood has."""
    return np.where((values == none) | (values == 0), np.nan, values.astype(np.float64))


def counts(values: FloatArray) -> IntArray:
    """Whole numbers (n,), -1 for NaN."""
    return np.rint(np.nan_to_num(values, nan=-1.0)).astype(np.int64)


# --- 5-byte -----------------------------------------------------------------------------------


def read5(frames: Bytes) -> Frames:
    """Frames (n, 5)."""
    head, pleth, bar, low, spo2 = frames.T.astype(np.int64)
    return Frames(
        pleth.astype(np.float64), _known((bar & 0x40) << 1 | low, _NO_RATE), _known(spo2, _NO_SPO2), head & 15,
        (head & 0x10) > 0, (bar & 0x20) > 0, (bar & 0x10) > 0, (head & 0x20) > 0, np.full(len(frames), -1),
    )  # fmt: skip


def write5(pleth: IntArray, rate: IntArray, spo2: IntArray) -> Bytes:
    """Frames (n, 5) of counts (n,), beats a minute and percent, less than 0 where unknown."""
    rate, spo2 = np.where(rate < 0, _NO_RATE, rate), np.where(spo2 < 0, _NO_SPO2, spo2)
    bar = pleth * _BAR // 127 | (rate & 0x80) >> 1
    return np.stack([np.full(len(pleth), 0x80 | _GOOD_SIGNAL), pleth, bar, rate & 0x7F, spo2], axis=1).astype(np.uint8)


# --- V7 ---------------------------------------------------------------------------------------


def read7(frames: Bytes) -> Frames:
    """Real-time packets (n, 9)."""
    data = (frames[:, 2:] & 0x7F) | ((frames[:, 1:2] >> np.arange(7, dtype=np.uint8)) & 1) << 7
    first, second, third, rate, spo2, low, high = data.T.astype(np.int64)
    perfusion = high << 8 | low
    none = (third & 0x10 > 0) | (perfusion == _NO_PERFUSION)
    return Frames(
        (second & 0x7F).astype(np.float64), _known(rate, _NO_RATE), _known(spo2, _NO_SPO2), first & 15,
        (first & 0x10) > 0, (second & 0x80) > 0, (first & 0x80) > 0, (first & 0x20) > 0,
        np.where(none, -1, perfusion),
    )  # fmt: skip


def write7(pleth: IntArray, rate: IntArray, spo2: IntArray, perfusion: int) -> Bytes:
    """Real-time packets (n, 9) of counts (n,), beats a minute and percent, less than 0 where unknown.

    ``perfusion`` in hundredths of a percent, 0 where the oximeter has no such figure.
    """
    none = perfusion == 0
    rate, spo2 = np.where(rate < 0, _NO_RATE, rate), np.where(spo2 < 0, _NO_SPO2, spo2)
    bar = pleth * _BAR // 127 | (0x10 if none else 0)
    low, high = divmod(_NO_PERFUSION if none else perfusion, 256)[::-1]
    columns = [np.full(len(pleth), _GOOD_SIGNAL), pleth, bar, rate, spo2]
    data = np.stack([*columns, np.full(len(pleth), low), np.full(len(pleth), high)], axis=1)
    tops = ((data >> 7) << np.arange(7)).sum(axis=1) | 0x80
    head = np.stack([np.full(len(pleth), LIVE), tops], axis=1)
    return np.concatenate([head, data | 0x80], axis=1).astype(np.uint8)


def packet(kind: int, values: Sequence[int]) -> bytes:
    """A packet of up to seven data bytes."""
    tops = sum((value >> 7) << k for k, value in enumerate(values))
    return bytes([kind, 0x80 | tops, *(0x80 | value for value in values)])


def data_bytes(frame: bytes) -> list[int]:
    """The data bytes of a packet, the inverse of packet()."""
    return [value & 0x7F | (frame[1] >> k & 1) << 7 for k, value in enumerate(frame[2:])]


def command(code: int) -> bytes:
    """A command to the oximeter, such as START."""
    return bytes([COMMAND, 0x81, code]).ljust(COMMAND_LENGTH, b"\x80")
