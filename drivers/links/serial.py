"""A serial port, or whatever pyserial opens by URL, read by a thread or by a process of its own."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from drivers.clock import Clock
from drivers.errors import LinkError, LinkLost, NotConnected, SettingError
from drivers.link import Sink
from drivers.links.port_reader import BYTES, DOWN, LATE, UP, PortReader
from drivers.links.reader_process import OPENED, REFUSED, UNWRITTEN, WRITTEN, Unpacker, pack, write_all
from drivers.links.stamp_error import StampError
from drivers.types import Batch, LinkDown, LinkUp

Record = tuple[int, int, bytes]
"""(kind, ns, data) as in port_reader."""
_START_TIMEOUT_S = 20.0
_WRITE_TIMEOUT_S = 5.0
_END_TIMEOUT_S = 3.0
_PIPE_SIZE = 1 << 20
_F_SETPIPE_SZ = 1031


class SerialLink:
    """Bytes of ``port``: a device path, ``socket://``, ``rfc2217://``, ``hwgrep://`` or ``loop://`` URL.

    ``reader="thread"`` stamps in this process; ``"process"`` in a small process of its own, whose stamps
    stay right while a model here holds the interpreter lock. Both stamp with CLOCK_MONOTONIC.
    With ``reconnect`` a lost port is opened again by its name, every 0.25 s. ``low_latency`` makes an FTDI
    adapter pass on bytes after 1 ms instead of 16 (Linux).
    """

    def __init__(
        self,
        port: str,
        clock: Clock,
        *,
        baud: int = 115200,
        reader: str = "thread",
        reconnect: bool = True,
        low_latency: bool = True,
        parity: str = "N",
    ) -> None:
        if clock.virtual:
            raise SettingError(f"{port}: a serial port lives in real time and cannot be read on a virtual clock")
        if reader not in ("thread", "process"):
            raise SettingError(f"{port}: reader is {reader!r}; it can be 'thread' or 'process'")
        if reader == "process" and os.name != "posix":
            raise SettingError(f"{port}: reader 'process' needs a POSIX system; use 'thread'")
        if baud <= 0:
            raise SettingError(f"{port}: baud is {baud}; it must be a positive number of bits per second")
        if parity not in ("N", "E", "O"):
            raise SettingError(f"{port}: parity is {parity!r}; it can be 'N' (none), 'E' (even) or 'O' (odd)")
        self.clock = clock
        self.description = f"{port} at {baud} baud"
        self._make = _ThreadReader if reader == "thread" else _ProcessReader
        self._options = _Options(port, baud, reconnect, low_latency, parity)
        self._reader: _Reader | None = None
        self._lock = threading.Lock()
        self._stamp_error = StampError()

    def open(self, sink: Sink) -> None:
        """Open the port and deliver until close(); LinkError says what is wrong with the port."""
        with self._lock:
            if self._reader is not None:
                raise LinkError(f"{self.description}: this link is open already")
            delivery = _Delivery(sink, self._stamp_error)
            self._reader = self._make(self._options, self.clock.now_ns, delivery.put)

    def write(self, data: bytes, channel: str = "") -> None:
        """Send all of data; LinkLost while the port is gone."""
        self._opened().write(data)

    def subscribe(self, channel: str) -> None:
        """A byte stream has nothing to subscribe to; SettingError for a GATT channel."""
        if channel:
            raise SettingError(f"{self.description}: a serial link has no channel {channel!r}")

    def read(self, channel: str) -> bytes | None:
        """None: a byte stream has no values to read."""
        return None

    def close(self) -> None:
        """Stop delivering and release the port; safe to call twice and from any thread."""
        with self._lock:
            reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def stamp_error_ns(self) -> dict[str, int]:
        """How late stamps are, measured: ``n``, and where n > 0 ``p50``, ``p99`` and ``max`` in ns.

        About five times a second the kernel rings an alarm in the very poll in which the reader waits
        for bytes; the delay from the ring to the stamp has the scheduler and the interpreter lock in it, as
        a byte's stamp has. (A port without a descriptor, such as rfc2217://, is measured by how late its
        waits run out, in silence only.) What the adapter, USB and the kernel's tty layer add is not in it.
        """
        return self._stamp_error.summary()

    def _opened(self) -> _Reader:
        with self._lock:
            if self._reader is None:
                raise NotConnected(f"{self.description}: open the link before writing to it")
            return self._reader


class _Options:
    def __init__(self, port: str, baud: int, reconnect: bool, low_latency: bool, parity: str) -> None:
        self.port, self.baud, self.reconnect, self.low_latency, self.parity = port, baud, reconnect, low_latency, parity


class _Reader(Protocol):
    """Opened when made; LinkError otherwise."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class _Delivery:
    """Turns records into link items. Silent once its link is closed, because its reader has ended then."""

    def __init__(self, sink: Sink, stamp_error: StampError) -> None:
        self._sink, self._stamp_error = sink, stamp_error

    def put(self, records: list[Record]) -> None:
        """Deliver in order; reads that came together become one Batch with a stamp for each."""
        reads: list[Record] = []
        for record in records:
            if record[0] == BYTES:
                reads.append(record)
                continue
            self._flush(reads)
            self._tell(record)
        self._flush(reads)

    def _flush(self, reads: list[Record]) -> None:
        if len(reads) == 1:
            self._sink(Batch.single(reads[0][2], reads[0][1]))
        elif reads:
            self._sink(Batch.of([data for _, _, data in reads], np.array([ns for _, ns, _ in reads])))
        reads.clear()

    def _tell(self, record: Record) -> None:
        kind, ns, data = record
        if kind == LATE:
            self._stamp_error.add(ns)
        elif kind == DOWN:
            self._sink(LinkDown(ns, data.decode(errors="replace")))
        elif kind == UP:
            self._sink(LinkUp(ns))


Put = Callable[[list[Record]], None]


class _ThreadReader:
    """Reads in a thread of this process."""

    def __init__(self, options: _Options, now_ns: Callable[[], int], put: Put) -> None:
        self._reader = PortReader(
            options.port, options.baud, now_ns, lambda kind, ns, data: put([(kind, ns, data)]),
            reconnect=options.reconnect, low_latency=options.low_latency, parity=options.parity,
        )  # fmt: skip
        self._reader.open()
        self._thread = threading.Thread(target=self._reader.run, name=f"read {options.port}", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        self._reader.write(data)

    def close(self) -> None:
        self._reader.stop()
        if threading.current_thread() is not self._thread:
            self._thread.join()


class _ProcessReader:
    """Reads in a child process; a thread here takes what it ships."""

    def __init__(self, options: _Options, now_ns: Callable[[], int], put: Put) -> None:
        self._port, self._now_ns, self._put = options.port, now_ns, put
        self._answers: queue.SimpleQueue[Record] = queue.SimpleQueue()
        self._writing = threading.Lock()
        self._lost, self._closing, self._sent = True, False, 0
        self._child = self._spawn(options)
        self._thread = threading.Thread(target=self._receive, name=f"unpack {options.port}", daemon=True)
        self._thread.start()
        try:
            self._await_opened()
        except LinkError:
            self.close()
            raise

    def _spawn(self, options: _Options) -> subprocess.Popen[bytes]:
        root = str(Path(__file__).parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        flags = [*(str(int(flag)) for flag in (options.reconnect, options.low_latency)), options.parity]
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "drivers.links.reader_process", options.port, str(options.baud), *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            bufsize=0,
        )
        if sys.platform == "linux" and child.stdout is not None:
            import fcntl

            with suppress(OSError):  # room for what arrives while the model holds the lock here
                fcntl.fcntl(child.stdout, _F_SETPIPE_SZ, _PIPE_SIZE)
        return child

    def _await_opened(self) -> None:
        answer = self._answer(0, _START_TIMEOUT_S)
        if answer is None:
            raise LinkError(f"{self._port}: the reader process said nothing within {_START_TIMEOUT_S:g} s")
        if answer[0] != OPENED:
            raise LinkError(answer[2].decode())

    def _answer(self, number: int, timeout_s: float) -> Record | None:
        """The answer to that request, or what the child said last; None if it is overdue."""
        try:
            while True:
                answer = self._answers.get(timeout=timeout_s)
                if answer[1] == number or answer[0] == REFUSED:
                    return answer
        except queue.Empty:
            return None

    def _receive(self) -> None:
        """Unpack until the child's output ends."""
        assert self._child.stdout is not None
        with self._child.stdout as stdout:
            self._unpack(stdout.fileno())
        if not self._closing:
            self._ended()

    def _unpack(self, fd: int) -> None:
        unpacker = Unpacker()
        while data := os.read(fd, 1 << 16):
            items: list[Record] = []
            for record in unpacker.feed(data):
                if record[0] in (OPENED, DOWN, UP):
                    self._lost = record[0] == DOWN
                if record[0] in (OPENED, REFUSED, WRITTEN, UNWRITTEN):
                    self._answers.put(record)
                else:
                    items.append(record)
            if not self._closing:
                self._put(items)

    def _ended(self) -> None:
        """The child died of itself: the port is lost for good."""
        reason = f"the reader process ended with code {self._child.wait()}"
        self._answers.put((REFUSED, 0, f"{self._port}: {reason}".encode()))
        if not self._lost:
            self._lost = True
            self._put([(DOWN, self._now_ns(), reason.encode())])

    def write(self, data: bytes) -> None:
        with self._writing:
            if self._lost:
                raise LinkLost(f"{self._port}: the port is lost, nothing can be sent")
            assert self._child.stdin is not None
            self._sent += 1
            try:
                write_all(self._child.stdin.fileno(), pack(BYTES, self._sent, data))
            except (OSError, ValueError) as trouble:
                raise LinkLost(f"{self._port}: the reader process takes nothing more: {trouble}") from trouble
            answer = self._answer(self._sent, _WRITE_TIMEOUT_S)
        if answer is None:
            raise LinkLost(f"{self._port}: the reader process did not confirm {len(data)} bytes")
        if answer[0] != WRITTEN:
            raise LinkLost(answer[2].decode())

    def close(self) -> None:
        self._closing = True
        assert self._child.stdin is not None
        with self._writing, suppress(OSError):
            self._child.stdin.close()
        try:
            self._child.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if threading.current_thread() is not self._thread:
            self._thread.join()
