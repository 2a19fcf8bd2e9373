"""Nonin's serial data formats 2, 7, 8 and 13 as columns of numbers, read and written.

Formats 2 and 7: 75 frames of 5 bytes a second with a checksum, of which 25, from the one with the SYNC bit on, are a
packet: each frame carries the pleth, and one byte of what the packet says (the "float"). Format 8: 4 bytes a second
without a checksum; bit 7 is set in the first byte only. Format 13: one dated frame per spot check.
Source: Nonin, 9560 technical specification and OEM III serial data formats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.framing import Bytes
from drivers.types import FloatArray, IntArray

PACKET = 25
DISCONNECTED, ARTIFACT, OUT_OF_TRACK, ALARM, RED, GREEN, SYNC = 0x40, 0x20, 0x10, 0x08, 0x04, 0x02, 0x01
LOW_PERFUSION, MARGINAL = 0x10, 0x08
"""Of format 8's status, where out of track is 0x20 and artifact 0x04."""
SMARTPOINT, LOW_BATTERY, ALARM8 = 0x20, 0x01, 0x08
SMARTPOINT13 = 0x0200
NO_RATE, NO_SPO2 = 511, 127
_START2 = 0x01
_FLOAT = {"rate": (0, 13, 19, 21), "spo2": (2, 8, 9, 10, 15, 16)}
"""Places in a packet, from 0: of the rate's two bytes (as HR, E-HR, HR-D, E-HR-D) and of the saturation's one."""
REVISION, STATUS2 = 3, 7


def known(values: NDArray[np.integer[np.typing.NBitBase]], none: int) -> FloatArray:
    """As numbers, NaN where the oximeter has no value."""
    return np.where(values == none, np.nan, values.astype(np.float64))


# --- formats 2 and 7 --------------------------------------------------------------------------


def is_frame2(rows: Bytes) -> NDArray[np.bool_]:
    """Which rows (n, 5) are frames of format 2."""
    return np.asarray((rows[:, 0] == _START2) & (rows[:, 1] >= 0x80) & _summed(rows))


def is_frame7(rows: Bytes) -> NDArray[np.bool_]:
    """Which rows (n, 5) are frames of format 7."""
    return (rows[:, 0] >= 0x80) & _summed(rows)


def _summed(rows: Bytes) -> NDArray[np.bool_]:
    return np.asarray(rows[:, :4].sum(axis=1, dtype=np.uint8) == rows[:, 4])


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """What n frames of format 2 or 7 say, (n,) each."""

    status: Bytes
    pleth: FloatArray
    float_byte: Bytes


def read2(rows: Bytes) -> Frames:
    """Frames of format 2, (n, 5)."""
    return Frames(rows[:, 1], rows[:, 2].astype(np.float64), rows[:, 3])


def read7(rows: Bytes) -> Frames:
    """Frames of format 7, (n, 5)."""
    return Frames(rows[:, 0], rows[:, 1].astype(np.float64) * 256 + rows[:, 2], rows[:, 3])


def write2(status: IntArray, pleth: IntArray, float_byte: IntArray) -> Bytes:
    """Columns (n,) as frames (n, 5) of format 2."""
    return _with_sum([np.full(len(pleth), _START2), status, pleth, float_byte])


def write7(status: IntArray, pleth: IntArray, float_byte: IntArray) -> Bytes:
    """Columns (n,) as frames (n, 5) of format 7."""
    return _with_sum([status, pleth >> 8, pleth & 0xFF, float_byte])


def _with_sum(columns: list[IntArray]) -> Bytes:
    rows = np.stack([*columns, sum(columns)], axis=1)
    return rows.astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Packets:
    """What n packets say, (n,) each."""

    last: IntArray
    """Row of the frame that completes each."""
    rate: FloatArray
    spo2: FloatArray
    revision: Bytes
    status2: Bytes


class PacketReader:
    """Puts packets together from frames; one of which a frame is missing is left out, since nothing says which."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """The next packet begins with a SYNC."""
        self._begun = np.empty(0, dtype=np.uint8)
        """Float bytes since the last SYNC."""
        self._aligned = False

    def update(self, frames: Frames) -> tuple[Packets, list[tuple[int, int]]]:
        """Packets that frames (n,) complete, and for every SYNC that came too soon its row and the frames missing."""
        kept = len(self._begun)
        floats = np.concatenate([self._begun, frames.float_byte])
        syncs = np.flatnonzero(frames.status & SYNC) + kept
        starts = np.concatenate([[0], syncs]) if self._aligned else syncs
        room = np.diff(starts, append=len(floats))
        short = [(int(start + size) - kept, PACKET - int(size)) for start, size in zip(starts[:-1], room, strict=False)
                 if 0 < size < PACKET]  # fmt: skip
        whole = starts[room >= PACKET]
        whole = whole[whole + PACKET > kept]  # completed by one of the new frames
        self._aligned = len(starts) > 0
        self._begun = floats[int(starts[-1]) :][:PACKET] if self._aligned else floats[:0]
        table = floats[whole[:, None] + np.arange(PACKET)]
        high, low = table[:, _FLOAT["rate"][0]], table[:, _FLOAT["rate"][0] + 1]
        rate = (high.astype(np.int64) & 3) << 7 | low & 0x7F
        spo2 = table[:, _FLOAT["spo2"][0]] & 0x7F
        last = whole + PACKET - 1 - kept
        packets = Packets(last, known(rate, NO_RATE), known(spo2, NO_SPO2), table[:, REVISION], table[:, STATUS2])
        return packets, short


def packet_floats(rate: IntArray, spo2: IntArray, revision: int) -> Bytes:
    """Float bytes (n, 25) of packets that say beats a minute (n,) and percent (n,), NO_RATE and NO_SPO2 for none.

    The averages over four beats, eight beats and for display are alike here.
    """
    floats = np.zeros((len(rate), PACKET), dtype=np.uint8)
    for place in _FLOAT["rate"]:
        floats[:, place], floats[:, place + 1] = rate >> 7, rate & 0x7F
    for place in _FLOAT["spo2"]:
        floats[:, place] = spo2
    floats[:, REVISION] = revision
    return floats


# --- format 8 ---------------------------------------------------------------------------------


def write8(rate: IntArray, spo2: IntArray) -> Bytes:
    """Columns (n,) as frames (n, 4) of format 8."""
    return np.stack([0x80 | rate >> 7, rate & 0x7F, spo2, np.zeros(len(rate), np.int64)], axis=1).astype(np.uint8)


# --- format 13 --------------------------------------------------------------------------------

HEAD13 = bytes.fromhex("0002 000D")
_SHORTEST13, _LONGEST13 = 14, 64


def find13(data: Bytes) -> tuple[IntArray, IntArray, int]:
    """Rule (see drivers.frame_finder) for format 13: length, checksum over the data and an end byte."""
    text = data.tobytes()
    starts: list[int] = []
    sizes: list[int] = []
    at = text.find(HEAD13)
    while at >= 0:
        size = int.from_bytes(text[at + 4 : at + 6], "big")
        if len(text) < at + 6:
            break
        if _SHORTEST13 <= size <= _LONGEST13:
            if len(text) < at + size + 8:
                break
            body, check, end = text[at + 6 : at + 6 + size], text[at + 6 + size], text[at + 7 + size]
            if sum(body) & 0xFF == check and end == 0x03:
                starts.append(at)
                sizes.append(size + 8)
                at = text.find(HEAD13, at + size + 8)
                continue
        at = text.find(HEAD13, at + 1)
    if at < 0:
        done = starts[-1] + sizes[-1] if starts else 0
        at = len(text) - next((k for k in (3, 2, 1) if text[done:].endswith(HEAD13[:k])), 0)
    return np.array(starts, dtype=np.int64), np.array(sizes, dtype=np.int64), at


@dataclass(frozen=True, slots=True)
class SpotCheck:
    """One measurement of format 13."""

    measured_at: str
    """The device's own date and time, ISO 8601 without a zone, or "" if it is none."""
    smartpoint: bool
    rate: int
    spo2: int


def read13(frame: bytes) -> SpotCheck:
    """A frame that find13 has found."""
    date, body = frame[6:14].hex(), frame[6:-2]
    at = f"{date[:4]}-{date[4:6]}-{date[6:8]}T{date[8:10]}:{date[10:12]}:{date[12:14]}.{date[14:]}"
    return SpotCheck(
        at if date.isdigit() else "",
        bool(int.from_bytes(body[8:10], "big") & SMARTPOINT13), int.from_bytes(body[10:12], "big"), body[13],
    )  # fmt: skip


def write13(date: str, rate: int, spo2: int) -> bytes:
    """A frame; ``date`` as sixteen digits, YYYYMMDDhhmmss and hundredths."""
    body = bytes.fromhex(date) + SMARTPOINT13.to_bytes(2, "big") + rate.to_bytes(2, "big") + bytes([0, spo2])
    return HEAD13 + len(body).to_bytes(2, "big") + body + bytes([sum(body) & 0xFF, 0x03])
