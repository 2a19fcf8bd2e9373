"""Polar's measurement data service (PMD): what its messages and frames are made of, in both directions.

Layouts after Polar's online_measurement.pdf and the unit tests of polar-ble-sdk. A data frame is a type, the
time of its *last* sample in ns since 2000-01-01T00:00:00Z, a frame type whose bit 7 says "compressed", and samples.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from drivers.framing import Bytes
from drivers.types import FloatArray, IntArray

_BASE = "fb005c{}-02e7-f387-1cad-8acd2d8df0c8"
SERVICE, CONTROL, DATA = (_BASE.format(n) for n in ("80", "81", "82"))

ECG, PPG, ACC, PPI = 0, 1, 2, 3
NAMES = {
    0: "ECG", 1: "PPG", 2: "ACC", 3: "PPI", 5: "gyroscope", 6: "magnetometer", 7: "skin temperature", 9: "SDK mode",
    10: "location", 11: "pressure", 12: "temperature", 13: "offline recording", 14: "offline heart rate",
}  # fmt: skip
"""Measurement types; a byte's upper two bits say where the measurement goes and are no part of it."""
TYPE_MASK = 0x3F

BOOT_NS = 599_616_000_000_000_000
"""2019-01-01 in ns since 2000: where a clock begins that nobody has set since the device was reset."""

GET, START, STOP = 1, 2, 3
ANSWER, FEATURES, STOPPED = 0xF0, 0x0F, 0x01
"""First byte of an answer, of what the control point reads as, and of a measurement's end that nobody asked for."""
STATUS = (
    "success", "invalid op code", "invalid measurement type", "not supported", "invalid length",
    "invalid parameter", "already in state", "invalid resolution", "invalid sample rate", "invalid range",
    "invalid MTU", "invalid number of channels", "invalid state", "device in charger", "disk full",
)  # fmt: skip
(
    OK, BAD_OP, BAD_TYPE, NOT_SUPPORTED, BAD_LENGTH, BAD_PARAMETER, ALREADY, BAD_RESOLUTION, BAD_RATE, BAD_RANGE,
    BAD_MTU, BAD_CHANNELS, BAD_STATE, IN_CHARGER, DISK_FULL,
) = range(len(STATUS))  # fmt: skip

RATE, RESOLUTION, RANGE, RANGE_MILLI, CHANNELS, FACTOR, SECURITY = range(7)
SETTING_NAMES = ("rate", "resolution", "range", "range in milliunits", "channels", "factor", "security")
_WIDTH = (2, 2, 2, 4, 1, 4, 16)

HEADER = 10
"""Bytes of a data frame ahead of its samples."""
_LONGEST_DELTA = 32


# --- control point ----------------------------------------------------------------------------


def parse_settings(data: bytes) -> tuple[dict[int, tuple[int, ...]], bytes]:
    """Setting -> values, from type-count-values triplets in any order, and what is left behind the last whole one."""
    found: dict[int, tuple[int, ...]] = {}
    at = 0
    while at + 2 <= len(data) and data[at] < len(_WIDTH):
        kind, count = data[at], data[at + 1]
        width = _WIDTH[kind]
        end = at + 2 + count * width
        if end > len(data):
            break
        found[kind] = tuple(int.from_bytes(data[k : k + width], "little") for k in range(at + 2, end, width))
        at = end
    return found, data[at:]


def write_settings(settings: Mapping[int, Sequence[int]]) -> bytes:
    """The triplets of ``settings``, in its order."""
    return b"".join(
        bytes([kind, len(values)]) + b"".join(value.to_bytes(_WIDTH[kind], "little") for value in values)
        for kind, values in settings.items()
    )


def factor_of(raw: int) -> float:
    """A factor's four bytes as the float32 that they are."""
    return float(struct.unpack("<f", raw.to_bytes(4, "little"))[0])


@dataclass(frozen=True, slots=True)
class Answer:
    """What the control point indicates after a request."""

    op: int
    kind: int
    status: int
    more: bool
    """The parameters go on in another indication."""
    parameters: bytes

    @property
    def meaning(self) -> str:
        """The status in words."""
        return STATUS[self.status] if self.status < len(STATUS) else f"status {self.status}"


def parse_answer(data: bytes) -> Answer | None:
    """None for what is no answer; a refusal may end with its status."""
    if len(data) < 4 or data[0] != ANSWER:
        return None
    return Answer(data[1], data[2], data[3], bool(data[4:5].strip(b"\0")), data[5:])


# --- data frames ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """One notification of the data characteristic."""

    kind: int
    stamp_ns: int
    """Since 2000, of the last sample."""
    form: int
    """Frame type with its compression bit."""
    payload: bytes


def parse_frame(data: bytes) -> Frame | str:
    """The frame, or what is wrong with it."""
    if len(data) <= HEADER:
        return f"measurement frame of {len(data)} bytes: its header alone has {HEADER}"
    stamp_ns = int.from_bytes(data[1:9], "little")
    if stamp_ns >= 1 << 63:
        return f"measurement frame with the time {stamp_ns} ns: no device has run for 292 years"
    return Frame(data[0], stamp_ns, data[9], data[HEADER:])


def write_frame(kind: int, stamp_ns: int, form: int, payload: bytes) -> bytes:
    """The inverse of parse_frame."""
    return bytes([kind]) + stamp_ns.to_bytes(8, "little") + bytes([form]) + payload


def signed_le(data: bytes, width: int) -> IntArray:
    """Little-endian two's complement numbers of ``width`` bytes, (n,)."""
    wide = np.zeros((len(data) // width, 8), dtype=np.uint8)
    wide[:, 8 - width :] = np.frombuffer(data, dtype=np.uint8).reshape(-1, width)
    return np.asarray(wide.view("<i8")[:, 0].astype(np.int64) >> (64 - 8 * width))


def to_signed_le(values: IntArray, width: int) -> bytes:
    """The inverse of signed_le, for values (any shape) in row order."""
    wide: Bytes = values.astype("<i8").reshape(-1, 1).view(np.uint8)
    return np.ascontiguousarray(wide[:, :width]).tobytes()


def plain_samples(payload: bytes, channels: int, width: int) -> IntArray | str:
    """(n, channels) of an uncompressed frame, or what is wrong with it."""
    if len(payload) % (channels * width):
        return f"{len(payload)} bytes of samples that have {channels * width} bytes each"
    return signed_le(payload, width).reshape(-1, channels)


# --- delta compression ------------------------------------------------------------------------


def decompress(payload: bytes, channels: int, bits: int) -> IntArray | str:
    """(n, channels) of a compressed frame of ``bits`` a value, or what is wrong with it.

    A reference sample in whole bytes, then blocks: bits per delta, count, deltas packed from the lowest bit up.
    """
    width = -(-bits // 8)
    at = channels * width
    if len(payload) < at:
        return f"compressed frame of {len(payload)} bytes: its first sample alone has {at}"
    rows = [signed_le(payload[:at], width).reshape(1, channels)]
    while at < len(payload):
        size, count = payload[at], payload[at + 1] if at + 1 < len(payload) else 0
        end = at + 2 + -(-size * count * channels // 8)
        if not 0 < size <= _LONGEST_DELTA:
            return f"block of deltas with {size} bits each, expected 1 to {_LONGEST_DELTA}"
        if end > len(payload):
            return f"block of {count} deltas with {size} bits that ends {end - len(payload)} bytes behind its frame"
        rows.append(_unpack(payload[at + 2 : end], size, count * channels).reshape(count, channels))
        at = end
    return np.asarray(np.cumsum(np.concatenate(rows), axis=0))


def _unpack(data: bytes, size: int, count: int) -> IntArray:
    packed = np.frombuffer(data, dtype=np.uint8)
    digits = np.unpackbits(packed, count=size * count, bitorder="little").reshape(count, size)
    weights = 1 << np.arange(size, dtype=np.int64)
    weights[-1] = -weights[-1]  # two's complement
    return np.asarray((digits * weights).sum(axis=1))


def compress(values: IntArray, bits: int) -> bytes:
    """A frame's payload for values (n, channels) of ``bits`` each: the first as it is, one block with the others."""
    first = to_signed_le(values[0], -(-bits // 8))
    if len(values) == 1:
        return first
    deltas = np.diff(values, axis=0)
    size = int(_delta_bits(deltas).max())
    digits = (deltas.reshape(-1, 1) >> np.arange(size)) & 1
    return first + bytes([size, len(deltas)]) + np.packbits(digits.astype(np.uint8), bitorder="little").tobytes()


def _delta_bits(deltas: IntArray) -> IntArray:
    """(n,) bits that the widest of each row of deltas (n, channels) needs with its sign."""
    magnitude: FloatArray = (deltas ^ (deltas >> 63)).astype(np.float64)
    return np.asarray(np.frexp(magnitude.max(axis=1))[1] + 1, dtype=np.int64)


def compressed_frame(values: IntArray, bits: int, room: int, most: int) -> tuple[int, int] | None:
    """How many of values (n, channels) the next compressed frame of at most ``room`` bytes takes, ``most`` at most,
    and which of them (its number) shows that it is full; None as long as more would fit."""
    channels = values.shape[1]
    deltas = np.diff(values[:most], axis=0)
    if len(deltas):
        sizes = np.maximum.accumulate(_delta_bits(deltas)) * np.arange(1, len(deltas) + 1) * channels
        over = np.flatnonzero(channels * -(-bits // 8) + 2 - (-sizes // 8) > room)
        if len(over):
            return int(over[0]) + 1, int(over[0]) + 1
    return (most, most - 1) if len(values) >= most else None
