"""Opens what pyserial can open, and says in a person's words why it could not."""

from __future__ import annotations

import errno
import getpass
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import serial
from serial.tools import list_ports

from drivers.errors import LinkError

_WRITE_TIMEOUT_S = 1.0
_NO_WRITE_TIMEOUT = ("rfc2217://", "loop://")
_BUSY = (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK)

PORT_TROUBLES: tuple[type[Exception], ...] = (OSError, ValueError)
"""What opening or using a pyserial port raises: SerialException is an OSError, a bad URL a ValueError."""
if os.name == "posix":
    import termios

    PORT_TROUBLES = (*PORT_TROUBLES, termios.error)


def open_port(name: str, baud: int, low_latency: bool = True, parity: str = "N") -> serial.Serial:
    """A device path or pyserial URL opened raw for this process alone; raises one of PORT_TROUBLES.

    8 data bits, 1 stop bit; ``parity`` N, E or O.

    ``low_latency`` asks the kernel's driver not to hold bytes back: an FTDI adapter then waits 1 ms
    for more instead of 16.
    """
    options: dict[str, Any] = {"baudrate": baud, "parity": parity, "timeout": 0.1, "do_not_open": True}
    if not name.lower().startswith(_NO_WRITE_TIMEOUT):
        options["write_timeout"] = _WRITE_TIMEOUT_S
    if os.name == "posix":
        options["exclusive"] = True  # two readers of one port would each get some of the bytes
    port = serial.serial_for_url(name, **options)
    if name.lower().startswith("rfc2217://"):
        with warnings.catch_warnings():  # pyserial 3.5 still says Thread.setDaemon
            warnings.simplefilter("ignore", DeprecationWarning)
            port.open()
    else:
        port.open()
    if low_latency and sys.platform == "linux":
        with suppress(AttributeError, NotImplementedError, ValueError):  # a pty or a socket has no such thing
            port.set_low_latency_mode(True)
    return port


def close_port(port: serial.Serial) -> None:
    """Close whatever state the port is in."""
    sock = getattr(port, "_socket", None)
    with suppress(*PORT_TROUBLES):
        port.close()
    if sock is not None:
        sock.close()  # pyserial leaves the socket open where the peer was gone before


def descriptor(port: serial.Serial) -> int | None:
    """The file descriptor to wait on, or None where only pyserial's own read can wait."""
    if os.name != "posix":
        return None
    try:
        return int(port.fileno())
    except (OSError, AttributeError):  # io.UnsupportedOperation is an OSError
        return None


def refusal(name: str, trouble: Exception) -> LinkError:
    """What was expected, what was found and what to try, for a port that would not open."""
    code = getattr(trouble, "errno", None)
    if "://" in name:
        return LinkError(f"{name}: cannot be opened: {trouble}. {_url_advice(name)}")
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO) or not Path(name).exists():
        return LinkError(f"{name}: there is no such port; {_present()}. Check cable and power, or run `hil discover`.")
    if code in (errno.EACCES, errno.EPERM):
        return LinkError(f"{name}: no permission to open it. {_permission_advice(name)}")
    if code in _BUSY:
        return LinkError(f"{name}: the port is busy: {_holder(name)}. Close that program and try again.")
    return LinkError(f"{name}: cannot be opened as a serial port: {trouble}. Is it one? On this machine, {_present()}.")


def _present() -> str:
    found = [f"{port.device} ({port.description})" for port in sorted(list_ports.comports())]
    return f"there is {', '.join(found)}" if found else "there is no serial port at all"


def _url_advice(name: str) -> str:
    scheme = name.split("://", 1)[0].lower()
    if scheme in ("socket", "rfc2217"):
        return f"Check that the server listens at that host and port and speaks {scheme}."
    if scheme == "hwgrep":
        return f"The expression is searched for in port names, descriptions and USB numbers; {_present()}."
    return "Known are socket://HOST:PORT, rfc2217://HOST:PORT, hwgrep://REGEXP and loop://."


def _permission_advice(name: str) -> str:
    if os.name != "posix":
        return "Another program may hold it."
    import grp

    gid = Path(name).stat().st_gid
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = str(gid)
    return f"It belongs to group {group}: sudo usermod -aG {group} {_user()}, then log in again."


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "$USER"


def _holder(name: str) -> str:
    """Who has the port open, as far as /proc tells."""
    wanted = os.path.realpath(name)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # other people's processes, and those that end meanwhile
            if any(os.path.realpath(link) == wanted for link in (process / "fd").iterdir()):
                found.append(f"process {process.name} ({(process / 'comm').read_text().strip()})")
    return f"{' and '.join(sorted(found))} has it open" if found else "another program has it open"
