"""The reader process: reads and stamps a port where no model holds the interpreter lock.

It runs as ``python -m drivers.links.reader_process PORT BAUD RECONNECT LOW_LATENCY PARITY``. Its standard output
carries records to the session, its standard input records from it; it ends when its input ends, so it
never outlives the session. A record is ``u8 kind | u32 size | i64 ns`` (little-endian) and size bytes.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
import threading

from drivers.clock import RealClock
from drivers.errors import LinkError
from drivers.links.port_reader import PortReader

OPENED, REFUSED, WRITTEN, UNWRITTEN = range(16, 20)
"""Answers, among the records of port_reader's kinds. REFUSED and UNWRITTEN carry the reason; the latter two
carry the number of the request in the place of ns."""
_HEADER = struct.Struct("<BIq")


def pack(kind: int, ns: int, data: bytes) -> bytes:
    """One record."""
    return _HEADER.pack(kind, len(data), ns) + data


class Unpacker:
    """Cuts a byte stream back into records."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """(kind, ns, data) of every record that is complete by now."""
        self._rest += data
        records, at = [], 0
        while len(self._rest) - at >= _HEADER.size:
            kind, size, ns = _HEADER.unpack_from(self._rest, at)
            end = at + _HEADER.size + size
            if end > len(self._rest):
                break
            records.append((kind, ns, self._rest[at + _HEADER.size : end]))
            at = end
        self._rest = self._rest[at:]
        return records


def write_all(fd: int, data: bytes) -> None:
    """Write to a pipe until everything is in it."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _obey(reader: PortReader, answer: int, answering: threading.Lock) -> None:
    """Send what the session sends, and stop with it."""
    unpacker = Unpacker()
    while data := os.read(0, 65536):
        for _, number, content in unpacker.feed(data):
            try:
                reader.write(content)
                reply = pack(WRITTEN, number, b"")
            except LinkError as error:
                reply = pack(UNWRITTEN, number, str(error).encode())
            with answering:
                write_all(answer, reply)
    reader.stop()


def main(name: str, baud: str, reconnect: str, low_latency: str, parity: str) -> int:
    """Read until standard input ends; 0 in the end, 1 if the port could not be opened."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the session, which then ends this process
    out, answering = 1, threading.Lock()

    def emit(kind: int, ns: int, data: bytes) -> None:
        with answering:
            write_all(out, pack(kind, ns, data))

    reader = PortReader(
        name, int(baud), RealClock().now_ns, emit, reconnect=reconnect == "1",
        low_latency=low_latency == "1", parity=parity,
    )  # fmt: skip
    try:
        reader.open()
    except LinkError as error:
        emit(REFUSED, 0, str(error).encode())
        return 1
    emit(OPENED, 0, b"")
    obeying = threading.Thread(target=_obey, args=(reader, out, answering), name="obey")
    obeying.start()
    try:
        reader.run()
    except BrokenPipeError:
        return 0  # the session is gone
    obeying.join()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
