"""Connections that are over by a deadline, whatever the other side does.

The timeouts of HTTP libraries are for each read, so that a server that sends a byte now and then would be waited for
for ever. Needs httpcore, which comes with httpx.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

from drivers.clock import Clock

_IDLE_S = 2.0
"""Servers close a connection that is idle for a few seconds; one that may be about to be closed is not used again."""


class Deadline:
    """When the current call has to be over, whatever it is doing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.at_ns = 0

    def left_s(self) -> float:
        """Seconds; never zero, which sockets take for non-blocking."""
        return max((self.at_ns - self._clock.now_ns()) / 1e9, 1e-6)


class _Stream(httpcore.NetworkStream):
    """A connection whose every step has what is left of the call's time, whatever the library asks for."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner, self._deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.left_s())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.left_s())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, self._deadline.left_s()), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:  # fmt: skip
        made = super().connect_tcp(host, port, self._deadline.left_s(), local_address, socket_options)
        return _Stream(made, self._deadline)


def bounded_pool(deadline: Deadline) -> httpcore.ConnectionPool:
    """One connection that is kept between calls. Nothing is retried: that would hide how long a call took."""
    return httpcore.ConnectionPool(
        max_connections=1, keepalive_expiry=_IDLE_S, retries=0, network_backend=_Backend(deadline)
    )
