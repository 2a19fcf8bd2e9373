"""Finds binary records of one size in a byte stream that is framed with COBS, SLIP or SerialTransfer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from drivers import cobs, serial_transfer, slip
from drivers.frame_finder import FrameFinder, apart
from drivers.framing import Bytes, GivenUp, StampedBuffer
from drivers.types import Batch, IntArray, Malformed

Valid = Callable[[Bytes], NDArray[np.bool_]]
FRAMINGS = ("cobs", "slip", "serial-transfer")


class RecordFinder(Protocol):
    """Cuts records out of what arrives."""

    def restart(self) -> None:
        """Forget all."""

    def feed(self, batch: Batch) -> tuple[Bytes, IntArray, list[Malformed]]:
        """Records (n, size), the arrival of each one's last byte (n,), and what was given up."""


def record_finder(framing: str, size: int, valid: Valid) -> RecordFinder:
    """For records of ``size`` bytes of which ``valid`` says whether they are undamaged: (n, size) -> (n,)."""
    if framing == "serial-transfer":
        return TransferFinder(size, valid)
    return PacketFinder(framing, size, valid)


def frame(framing: str, rows: Bytes, packet_id: int = 0) -> tuple[bytes, IntArray]:
    """Records (n, size) as they are sent, in one string, and where each ends, (n,)."""
    if framing == "cobs":
        return cobs.encode_rows(rows)
    if framing == "slip":
        parts = [slip.encode(row.tobytes()) + b"\xc0" for row in rows]
        return b"".join(parts), np.cumsum([len(part) for part in parts], dtype=np.int64)
    frames = serial_transfer.encode_rows(rows, packet_id)
    return frames.tobytes(), np.arange(1, len(frames) + 1, dtype=np.int64) * frames.shape[1]


class TransferFinder:
    """SerialTransfer: marks, length and CRC-8 tell a frame, whatever stands before it."""

    def __init__(self, size: int, valid: Valid) -> None:
        self._size, self._valid = size, valid
        self._length = size + serial_transfer.HEADER + serial_transfer.TAIL
        self._finder = FrameFinder(self._rule, f"no SerialTransfer frame with an undamaged record of {size} bytes")

    def restart(self) -> None:
        """Forget all."""
        self._finder.restart()

    def _rule(self, data: Bytes) -> tuple[IntArray, IntArray, int]:
        length = self._length
        heads = np.flatnonzero(data == serial_transfer.START)
        sized = heads[heads + 3 < len(data)]
        possible = np.concatenate([sized[data[sized + 3] == self._size], heads[len(sized) :]])
        whole = possible[possible + length <= len(data)]
        frames = data[whole[:, None] + np.arange(length)]
        payloads, good = serial_transfer.decode_rows(frames)
        good[good] = self._valid(payloads[good])
        starts = apart(whole[good], length)
        used = int(starts[-1]) + length if len(starts) else 0
        waiting = possible[(possible >= used) & (possible + length > len(data))]
        kept = int(waiting[0]) if len(waiting) else len(data)
        return starts, np.full(len(starts), length, dtype=np.int64), kept

    def feed(self, batch: Batch) -> tuple[Bytes, IntArray, list[Malformed]]:
        """See RecordFinder."""
        found = self._finder.feed(batch)
        payloads, _ = serial_transfer.decode_rows(found.table(self._length))
        return payloads, found.arrival_ns, found.malformed


class PacketFinder:
    """COBS or SLIP: packets between delimiters; empty ones are nothing, as SLIP senders may put an END in front too.

    The first packet after a start is the rest of one as a rule: if it is no record, nothing is said about it.
    """

    def __init__(self, framing: str, size: int, valid: Valid) -> None:
        self._is_cobs, self._size, self._valid = framing == "cobs", size, valid
        self._delimiter = cobs.DELIMITER if self._is_cobs else slip.END
        self._longest = cobs.longest(size) if self._is_cobs else slip.longest(size)
        self._buffer = StampedBuffer()
        self._given_up = GivenUp(f"no {framing.upper()} packet with an undamaged record of {size} bytes")
        self.restart()

    def restart(self) -> None:
        """Forget all."""
        self._buffer.clear()
        self._given_up.clear()
        self._joining, self._endless = True, False

    def feed(self, batch: Batch) -> tuple[Bytes, IntArray, list[Malformed]]:
        """See RecordFinder."""
        joined = self._buffer.join(batch)
        data = np.frombuffer(joined.data, dtype=np.uint8)
        ends = np.flatnonzero(data == self._delimiter)
        used = int(ends[-1]) + 1 if len(ends) else 0
        events: list[Malformed] = []
        begins = np.concatenate([np.zeros(1, dtype=np.int64), ends + 1])[: len(ends)]
        sizes = ends - begins
        rows, good = self._decode(joined.data, data, begins, sizes)
        if self._endless and len(ends):  # the end of a packet that was too long already
            good[0], self._endless, sizes[0] = False, False, sizes[0] + 1
        if not good.all():
            events = self._give_up(joined, begins, ends, sizes, good)
        elif len(ends):
            self._joining = False
            events = self._given_up.tell()
        if self._endless or len(data) - used > self._longest:
            self._endless = True
            events += self._given_up.add(joined.data[used:], int(joined.at_ns[-1]))
        else:
            self._buffer.keep(joined, used)
        return rows[good], joined.time_of(ends[good]), events

    def _decode(self, text: bytes, data: Bytes, begins: IntArray, sizes: IntArray) -> tuple[Bytes, NDArray[np.bool_]]:
        """A row for each packet, (n, size), and which of them are undamaged records."""
        if self._is_cobs and self._longest <= 254:
            right = sizes == self._longest
            rows = np.zeros((len(begins), self._size), dtype=np.uint8)
            decoded, good = cobs.decode_rows(data[begins[right][:, None] + np.arange(self._longest)])
            rows[right], right[right] = decoded, good
        else:
            rows, right = self._decode_each(text, begins, sizes)
        right[right] = self._valid(rows[right])
        return rows, right

    def _decode_each(self, text: bytes, begins: IntArray, sizes: IntArray) -> tuple[Bytes, NDArray[np.bool_]]:
        decode = cobs.decode if self._is_cobs else slip.decode
        right = (sizes >= self._size) & (sizes <= self._longest)
        nothing = bytes(self._size)
        parts: list[bytes] = []
        for k, (begin, size) in enumerate(zip(begins.tolist(), sizes.tolist(), strict=True)):
            part = nothing
            if right[k]:
                try:
                    part = decode(text[begin : begin + size])
                except ValueError:
                    part = b""
                if len(part) != self._size:
                    part, right[k] = nothing, False
            parts.append(part)
        return np.frombuffer(b"".join(parts), dtype=np.uint8).reshape(len(parts), self._size), right

    def _give_up(
        self, joined: Batch, begins: IntArray, ends: IntArray, sizes: IntArray, good: NDArray[np.bool_]
    ) -> list[Malformed]:
        """Packets that are no records, neighbours as one event; empty ones are nothing."""
        events: list[Malformed] = []
        at_ns = joined.time_of(ends)
        for k in np.flatnonzero(sizes > 0).tolist():
            if good[k]:
                events += self._given_up.tell()
            elif not self._joining:
                events += self._given_up.add(joined.data[begins[k] : ends[k] + 1], int(at_ns[k]))
            self._joining = False
        return events
