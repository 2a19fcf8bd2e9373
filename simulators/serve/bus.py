"""A private D-Bus daemon, so that a simulated Bluetooth stack needs neither radio nor root nor the system's bus."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from drivers.errors import LinkError

_START_TIMEOUT_S = 10.0

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"""

_DIE_WITH_PARENT = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 15)\n"  # PR_SET_PDEATHSIG, SIGTERM: survives the exec
    "if os.getppid() == int(sys.argv[1]): os.execv(sys.argv[2], sys.argv[2:])\n"
)


class PrivateBus:
    """A running dbus-daemon with its socket in a directory of its own; ``address`` is for DBUS_SYSTEM_BUS_ADDRESS.

    On Linux it ends with the thread that started it, and so with its process even if that is killed.
    """

    def __init__(self) -> None:
        daemon = shutil.which("dbus-daemon")
        if daemon is None:
            raise LinkError("simulated Bluetooth needs dbus-daemon, which is not installed: apt-get install dbus")
        self._folder = Path(tempfile.mkdtemp(prefix="hil-bus-"))
        config = self._folder / "bus.conf"
        config.write_text(_CONFIG.format(socket=self._folder / "socket"))
        command = [daemon, f"--config-file={config}", "--nofork", "--nopidfile", "--print-address=1"]
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]
        with (self._folder / "log").open("wb") as log:
            self._daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        self.address = self._await_address()

    def _await_address(self) -> str:
        assert self._daemon.stdout is not None
        ready, _, _ = select.select([self._daemon.stdout], [], [], _START_TIMEOUT_S)
        address = self._daemon.stdout.readline().decode().strip() if ready else ""
        if not address:
            log = (self._folder / "log").read_text(errors="replace").strip()
            self.close()
            raise LinkError(f"dbus-daemon gave no address within {_START_TIMEOUT_S:g} s; it said: {log or 'nothing'}")
        return address

    def close(self) -> None:
        """End the daemon and remove its directory; safe to call twice."""
        if self._daemon.poll() is None:
            self._daemon.terminate()
            self._daemon.wait()
        if self._daemon.stdout is not None:
            self._daemon.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)
