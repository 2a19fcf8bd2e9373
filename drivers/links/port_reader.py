"""Reads one port until it is told to stop, stamps, and reopens a port that was lost.

No numpy here: the same code runs in a thread of the session and alone in a small reader process.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

import serial

from drivers.errors import LinkLost
from drivers.links.port import PORT_TROUBLES, close_port, descriptor, open_port, refusal
from drivers.links.stamp_error import PERIOD_NS, Alarm

BYTES, DOWN, UP, LATE = range(4)
Emit = Callable[[int, int, bytes], None]
"""(kind, ns, data): BYTES with their stamp; DOWN with its time and reason (UTF-8); UP with its time;
LATE with a measured delay of the stamps in ns."""

RETRY_S = 0.25
_READ_SIZE = 65536
_GONE = 0x38
"""POLLERR, POLLHUP, POLLNVAL, which only POSIX systems name."""
_URL_WAIT_NS = 100_000_000


class PortReader:
    """open(), then run() on a thread of its own; write() and stop() from any thread."""

    def __init__(
        self, name: str, baud: int, now_ns: Callable[[], int], emit: Emit, *, reconnect: bool, low_latency: bool,
        parity: str = "N",
    ) -> None:  # fmt: skip
        self._name, self._baud, self._low_latency, self._parity = name, baud, low_latency, parity
        self._now_ns, self._emit, self._reconnect = now_ns, emit, reconnect
        self._port: serial.Serial | None = None
        self._lock = threading.Lock()  # the port may go while somebody writes to it
        self._stop = threading.Event()
        self._wake: tuple[int, int] | None = None

    def open(self) -> None:
        """Open the port; LinkError says what is wrong with it."""
        try:
            self._port = open_port(self._name, self._baud, self._low_latency, self._parity)
        except PORT_TROUBLES as trouble:
            raise refusal(self._name, trouble) from trouble
        self._wake = os.pipe()

    def run(self) -> None:
        """Read until stop(), or until the port is lost where it is not to be reopened."""
        try:
            while True:
                reason = self._listen()
                if self._stop.is_set():
                    return
                down_ns = self._now_ns()
                self._drop()
                self._emit(DOWN, down_ns, reason.encode())
                if not self._reconnect or not self._regain():
                    return
        finally:
            self._release()

    def stop(self) -> None:
        """Make run() return at once; safe to call twice and from any thread."""
        self._stop.set()
        with self._lock:
            if self._wake is not None:
                os.write(self._wake[1], b"!")

    def write(self, data: bytes) -> None:
        """Send all of it; LinkLost if the port is gone or takes nothing for a second."""
        with self._lock:
            if self._port is None:
                raise LinkLost(f"{self._name}: the port is lost, nothing can be sent")
            try:
                self._port.write(data)
            except PORT_TROUBLES as trouble:
                raise LinkLost(f"{self._name}: could not send {len(data)} bytes: {trouble}") from trouble

    # --- reading ------------------------------------------------------------------------------

    def _listen(self) -> str:
        """Deliver what arrives; the reason once nothing more can."""
        assert self._port is not None
        fd = descriptor(self._port)
        try:
            if fd is None:
                return self._listen_by_pyserial(self._port)
            return self._listen_on(fd)
        except PORT_TROUBLES as trouble:
            return f"reading failed: {trouble}"

    def _listen_on(self, fd: int) -> str:
        """Wait in the kernel for bytes, the wake-up of stop() and the alarm alike."""
        assert self._wake is not None
        poll, now_ns, emit = select.poll(), self._now_ns, self._emit
        poll.register(fd, select.POLLIN)
        poll.register(self._wake[0], select.POLLIN)
        alarm = Alarm() if Alarm.offered() else None
        if alarm is not None:
            poll.register(alarm.fd, select.POLLIN)
            alarm.set(now_ns() + PERIOD_NS)
        try:
            while not self._stop.is_set():
                for ready, state in poll.poll():
                    if ready == fd:
                        data = _read(fd)
                        at_ns = now_ns()
                        if data:
                            emit(BYTES, at_ns, data)
                        elif data == b"" or state & _GONE:
                            return "the other end hung up or was unplugged"
                    elif alarm is not None and ready == alarm.fd:
                        emit(LATE, alarm.rang(now_ns()), b"")
            return "stopped"
        finally:
            if alarm is not None:
                alarm.close()

    def _listen_by_pyserial(self, port: serial.Serial) -> str:
        """Where there is no descriptor to wait on. A wait that runs out tells how late waking is."""
        while not self._stop.is_set():
            due_ns = self._now_ns() + _URL_WAIT_NS
            data = port.read(1)
            if data:
                data += port.read(port.in_waiting)
            at_ns = self._now_ns()
            if data:
                self._emit(BYTES, at_ns, data)
            elif at_ns >= due_ns:
                self._emit(LATE, at_ns - due_ns, b"")
        return "stopped"

    # --- losing and finding again -------------------------------------------------------------

    def _drop(self) -> None:
        with self._lock:
            port, self._port = self._port, None
        if port is not None:
            close_port(port)

    def _regain(self) -> bool:
        """Try the same name every quarter of a second, whatever it points at by now; False once stopped."""
        while not self._stop.wait(RETRY_S):
            try:
                port = open_port(self._name, self._baud, self._low_latency, self._parity)
            except PORT_TROUBLES:
                continue
            with self._lock:
                self._port = port
            self._emit(UP, self._now_ns(), b"")
            return True
        return False

    def _release(self) -> None:
        self._drop()
        with self._lock:
            wake, self._wake = self._wake, None
        for fd in wake or ():
            os.close(fd)


def _read(fd: int) -> bytes | None:
    """What is there; b"" after a hang-up, None if another reader of the port was faster."""
    try:
        return os.read(fd, _READ_SIZE)
    except BlockingIOError:
        return None
