"""Serving an application over HTTP with uvicorn: on a socket of our own, in this thread or in another."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import h11
import psutil
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from harness.api.address import is_loopback as is_loopback_host
from harness.api.served import Limits
from harness.api.server import ModelServer
from harness.api.wire import to_body
from harness.commands import UsageError

KEEP_ALIVE_S = 30
"""A connection may idle so long between requests."""
_MOST_CONNECTIONS = 256
_BACKLOG = 128


def bind(host: str, port: int) -> socket.socket:
    """A TCP socket on host and port (0: any free one), not listening yet; UsageError where it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(f"--host: {host!r} is no address of this machine: {error.strerror}") from error
    made = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it means that a port may be taken away from who listens there
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # or a port rests for a minute after its server
        made.bind(address)
    except PermissionError as error:
        made.close()
        raise UsageError(f"--port: {port} is only for the administrator; take one from 1024 on, or 0") from error
    except OSError as error:
        made.close()
        if error.errno != errno.EADDRINUSE:
            raise UsageError(f"--port: {port} on {host} is not to be had: {error.strerror}") from error
        holder = holder_of(port)
        by = f" by {holder}" if holder else ""
        raise UsageError(
            f"--port: {port} on {host} is in use{by}: stop that, or take another port; 0 takes any free one"
        ) from error
    return made


def holder_of(port: int) -> str:
    """Which process listens on a port, as far as the system tells; "" if it does not."""
    try:
        found = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return ""
    for connection in found:
        if connection.status == psutil.CONN_LISTEN and connection.pid and connection.laddr[1:] == (port,):
            with contextlib.suppress(psutil.Error):
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""


def url_of(bound: socket.socket) -> str:
    """``http://host:port`` of a bound socket, its real port."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(bound: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    return is_loopback_host(bound.getsockname()[0].partition("%")[0])


class _Patient(H11Protocol):
    """One connection. uvicorn waits for ever for a request's head; this one for as long as ``patience_s`` says."""

    patience_s = 20.0
    _waiting: Any = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._wait()  # part of a head
        elif self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """In the form of every other refusal."""
        body = to_body({"error": f"expected HTTP/1.1 as RFC 9112 has it, found something else: {msg}"})
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        response = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(self.patience_s, self.transport.abort)


class _Server(uvicorn.Server):
    """Tells when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._ready.set()


def _server(app: ModelServer, limits: Limits, ready: threading.Event) -> _Server:
    patient = type("_PatientAsAsked", (_Patient,), {"patience_s": limits.patience_s})
    config = uvicorn.Config(
        app, http=patient, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, backlog=_BACKLOG, limit_concurrency=_MOST_CONNECTIONS, timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=1 + math.ceil(limits.timeout_ms / 1e3),
    )  # fmt: skip
    return _Server(config, ready)


@contextlib.contextmanager
def in_background(app: ModelServer, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve from another thread; gives the URL once requests are answered, and ends with the block."""
    ready = threading.Event()
    bound = bind(host, port)
    server = _server(app, app.served.limits, ready)

    def serve() -> None:
        try:
            server.run([bound])
        finally:
            ready.set()  # also where it never was: nobody must wait for ever

    thread = threading.Thread(target=serve, name="http", daemon=True)
    thread.start()
    try:
        ready.wait()
        yield url_of(bound)
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


def until_stopped(app: ModelServer, bound: socket.socket, ready: threading.Event) -> None:
    """Serve in this thread until Ctrl-C or SIGTERM; requests that are under way are answered first."""
    # uvicorn raises the signals again that ended it, to whoever had them before
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _server(app, app.served.limits, ready).run([bound])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
