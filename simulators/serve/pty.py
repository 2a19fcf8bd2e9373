"""A simulated sensor behind a pseudo-terminal that any program opens like a serial port.

The path that is given stays the same over unplugging; it is a symbolic link to the terminal of the moment.
A pty takes any baud rate and parity and ignores it: the pace comes from the sender alone.
"""

from __future__ import annotations

import ctypes
import os
import sys
import termios
import tty
from collections.abc import Sequence
from pathlib import Path

from drivers.errors import SettingError
from simulators.serve.outlet import Backlog, Chunk, Lateness, Ticks
from simulators.serve.pacer import Served

_IN_OPEN, _IN_CLOSE = 0x20, 0x18


class PtyOutlet:
    """Serves one sensor at ``path``.

    What is sent while nobody has the port open is lost, as on a real port (``unheard_bytes``). A client
    that does not read is given about 36 kB of patience (20 kB in the kernel, 16 kB here), then whole
    chunks are dropped and counted; pacing never waits for it.
    """

    def __init__(self, path: str | Path, clock: Ticks) -> None:
        self.path, self._clock = Path(path), clock
        self.place = str(self.path)
        self.lateness = Lateness()
        self.sent_bytes = self.dropped_bytes = self.unheard_bytes = 0
        self._pair: _Pair | None = None
        self._backlog = Backlog(self._write)

    def open(self, served: Served) -> None:
        """Create the terminal and the link; SettingError if something else is at the path."""
        if self.path.exists() and not self.path.is_symlink():
            raise SettingError(f"{self.path} exists and is no symbolic link: give another path for the simulated port")
        self.replug()

    def replug(self) -> None:
        """A new terminal under the same path."""
        if self._pair is None:
            self._pair = _Pair()
            beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            beside.unlink(missing_ok=True)
            beside.symlink_to(self._pair.name)
            beside.replace(self.path)

    def unplug(self) -> None:
        """Both ends are closed and the link is removed: a reader gets EIO or an end of file."""
        if self._pair is None:
            return
        if self.path.is_symlink() and str(self.path.readlink()) == self._pair.name:
            self.path.unlink()
        self.dropped_bytes += self._backlog.clear()
        self._pair.close()
        self._pair = None

    def close(self) -> None:
        """Unplug for good."""
        self.unplug()

    def readers(self) -> list[int]:
        """The terminal, and the notices of who opens it."""
        return self._pair.fds() if self._pair else []

    def writers(self) -> list[int]:
        """The terminal, while something waits."""
        return [self._pair.master] if self._pair and self._backlog else []

    def _write(self, data: bytes) -> int:
        assert self._pair is not None
        return os.write(self._pair.master, data)

    def send(self, chunks: Sequence[Chunk]) -> None:
        """Write them in one call."""
        data = b"".join(chunk[1] for chunk in chunks)
        if self._pair is None or not self._pair.attended():
            self.unheard_bytes += len(data)
            return
        if self._backlog.put(data):
            self.sent_bytes += len(data)
        else:
            self.dropped_bytes += len(data)
        now_ns = self._clock.now_ns()
        for due_ns, _, _ in chunks:
            self.lateness.add(now_ns - due_ns)

    def attend(self) -> list[bytes]:
        """Write what waits, and read commands."""
        if self._pair is None:
            return []
        if not self._pair.attended():
            self._backlog.clear()
        self._backlog.drain()
        try:
            data = os.read(self._pair.master, 65536)
        except BlockingIOError:
            return []
        return [data] if data else []


class _Pair:
    """A raw pty whose client end stays open here too: else Linux would fall back to echo and line editing
    as soon as a client closes it, and reading would fail while there is none."""

    def __init__(self) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.name = os.ttyname(self._slave)
        self._watch = _watch(self.name)
        self._clients = 0

    def fds(self) -> list[int]:
        """What to watch for reading."""
        return [self.master] if self._watch is None else [self.master, self._watch]

    def attended(self) -> bool:
        """Some client has it open (always True where the system cannot tell)."""
        if self._watch is None:
            return True
        try:
            notices = os.read(self._watch, 65536)
        except BlockingIOError:
            return self._clients > 0
        for at in range(0, len(notices), 16):  # struct inotify_event without a name is 16 bytes
            mask = int.from_bytes(notices[at + 4 : at + 8], sys.byteorder)
            self._clients += bool(mask & _IN_OPEN) - bool(mask & _IN_CLOSE)
        if self._clients <= 0:  # what the last client left unread is not for the next one
            termios.tcflush(self._slave, termios.TCIFLUSH)
        return self._clients > 0

    def close(self) -> None:
        """Both ends."""
        for fd in (self.master, self._slave, self._watch):
            if fd is not None:
                os.close(fd)


def _watch(path: str) -> int | None:
    """A file descriptor that tells when ``path`` is opened and closed; None where there is no inotify."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd >= 0 and libc.inotify_add_watch(fd, path.encode(), _IN_OPEN | _IN_CLOSE) < 0:
        os.close(fd)
        fd = -1
    return fd if fd >= 0 else None
