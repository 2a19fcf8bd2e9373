"""What the kernel knows of this process: its use of the machine, and why one of its threads came late."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil

from drivers.clock import RealClock

_SCHEDSTAT = Path("/proc/thread-self/schedstat")
"""Linux: ns on a core, ns waiting for one, time slices."""
_HALF = 0.5


class ThreadWaits:
    """Why the thread that calls why() came late since it called mark(): no core, no interpreter, or the disk."""

    def __init__(self) -> None:
        self._clock = RealClock()
        self._core_ns = self._cpu_ns = self._faults = 0

    def mark(self) -> None:
        """From here on."""
        self._core_ns, self._cpu_ns, self._faults = _waited_for_core_ns(), self._clock.cpu_ns(), _page_faults()

    def why(self, late_ns: int) -> str:
        """A phrase for a thread that woke so much later than it asked for."""
        return phrase(
            late_ns, _waited_for_core_ns() - self._core_ns, self._clock.cpu_ns() - self._cpu_ns,
            _page_faults() - self._faults,
        )  # fmt: skip


def phrase(late_ns: int, core_ns: int, cpu_ns: int, page_faults: int) -> str:
    """What kept a thread for late_ns, of which it waited core_ns for a core while its process used cpu_ns of CPU."""
    ms = late_ns / 1e6
    if core_ns >= _HALF * late_ns:
        return f"this machine gave the process no core for {ms:.0f} ms: too much else runs on it"
    disk = f", while {page_faults} pages were read from disk" if page_faults else ""
    doing = "that computed" if cpu_ns >= _HALF * late_ns else "that waited, or the process was stopped or swapped out"
    return f"the interpreter itself was held for {ms:.0f} ms by C code {doing}{disk}"


def _waited_for_core_ns() -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(_SCHEDSTAT.read_text().split()[1])
    return 0


def _page_faults() -> int:
    """Pages of this process that had to come from disk; 0 where nobody counts them."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


class Use:
    """Reads this process and its machine. Each call tells CPU since the one before."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self.read()

    def read(self) -> dict[str, float]:
        """The columns of harness.monitor.resources but inbox_depth and the GPU's; some tenths of a ms."""
        with self._process.oneshot():
            found: dict[str, float] = {
                "rss_bytes": self._process.memory_info().rss,
                "cpu_percent": self._process.cpu_percent(None),
                "threads": self._process.num_threads(),
            }
        with suppress(psutil.Error, AttributeError):
            found["open_files"] = self._process.num_fds()
        found["system_percent"] = psutil.cpu_percent(None)
        with suppress(OSError, AttributeError):
            found["load"] = os.getloadavg()[0]
        return found
