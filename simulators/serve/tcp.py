"""A simulated sensor behind a TCP port, one client at a time like a serial-to-network server.

pyserial opens it as ``socket://127.0.0.1:PORT``, or, served with ``rfc2217=True``, as ``rfc2217://127.0.0.1:PORT``.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from drivers.errors import SettingError
from simulators.serve.outlet import Backlog, Chunk, Lateness, Ticks
from simulators.serve.pacer import Served


class TcpOutlet:
    """Serves one sensor on 127.0.0.1; ``port`` 0 lets the system choose.

    A second client is turned away. Unplugging closes the connection, and connections are refused until
    replugging. What a client does not read in time is dropped in whole chunks and counted.
    """

    def __init__(self, port: int, clock: Ticks, *, rfc2217: bool = False) -> None:
        self._port, self._clock, self._rfc2217 = port, clock, rfc2217
        self.place = ""
        self.lateness = Lateness()
        self.sent_bytes = self.dropped_bytes = self.unheard_bytes = 0
        self._listener: socket.socket | None = None
        self._client: socket.socket | None = None
        self._telnet: Any = None
        self._backlog = Backlog(self._write)

    def open(self, served: Served) -> None:
        """Listen; SettingError if the port is taken, or is none."""
        if not 0 <= self._port <= 65535:
            raise SettingError(
                f"cannot listen on 127.0.0.1:{self._port}: expected a port from 0 (any free one) to 65535"
            )
        try:
            self.replug()
        except OSError as error:
            place = f"127.0.0.1:{self._port}"
            raise SettingError(f"cannot listen on {place}: {error.strerror}; give another port") from error

    def replug(self) -> None:
        """Listen on the same port as before."""
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self._port), backlog=1)
            self._listener.setblocking(False)
            self._port = self._listener.getsockname()[1]
            self.place = f"{'rfc2217' if self._rfc2217 else 'socket'}://127.0.0.1:{self._port}"

    def unplug(self) -> None:
        """Hang up and stop listening."""
        self._hang_up()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        """Unplug for good."""
        self.unplug()

    def _hang_up(self) -> None:
        self.dropped_bytes += self._backlog.clear()
        if self._client is not None:
            self._client.close()
            self._client = self._telnet = None

    def readers(self) -> list[int]:
        """The listener and the client."""
        return [end.fileno() for end in (self._listener, self._client) if end is not None]

    def writers(self) -> list[int]:
        """The client, while something waits."""
        return [self._client.fileno()] if self._client is not None and self._backlog else []

    def _write(self, data: bytes) -> int:
        if self._client is None:
            return len(data)
        try:
            return self._client.send(data)
        except BlockingIOError:
            raise
        except OSError:  # the client is gone; attend() will see that too
            return len(data)

    def write(self, data: bytes) -> None:
        """Telnet's own words, for pyserial's PortManager."""
        self._backlog.put(data)

    def send(self, chunks: Sequence[Chunk]) -> None:
        """Write them in one call."""
        data = b"".join(chunk[1] for chunk in chunks)
        if self._client is None:
            self.unheard_bytes += len(data)
            return
        if self._backlog.put(data if self._telnet is None else b"".join(self._telnet.escape(data))):
            self.sent_bytes += len(data)
        else:
            self.dropped_bytes += len(data)
        now_ns = self._clock.now_ns()
        for due_ns, _, _ in chunks:
            self.lateness.add(now_ns - due_ns)

    def attend(self) -> list[bytes]:
        """Take or turn away a client, write what waits, read commands."""
        self._accept()
        self._backlog.drain()
        if self._client is None:
            return []
        try:
            data = self._client.recv(65536)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self._hang_up()
            return []
        if self._telnet is not None:
            data = b"".join(self._telnet.filter(data))
        return [data] if data else []

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        if self._client is not None:
            client.close()
            return
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client = client
        if self._rfc2217:
            import serial
            from serial import rfc2217

            manager: Any = rfc2217.PortManager
            # a loop port holds the baud rate and the modem lines that the client sets and asks for
            self._telnet = manager(serial.serial_for_url("loop://"), self)
