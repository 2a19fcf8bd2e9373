"""What an outlet is: where a simulated sensor's bytes leave the process, and what is counted there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from simulators.serve.pacer import Served

Chunk: TypeAlias = tuple[int, bytes, str]
"""(due_ns, bytes, channel)"""


class Ticks(Protocol):
    """The part of a Clock that pacing needs."""

    def now_ns(self) -> int:
        """Now."""


class Lateness:
    """Histogram of delays with a resolution of 1/16, in bounded memory."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.max_ns = 0

    def add(self, late_ns: int) -> None:
        """One delay; a negative one counts as 0."""
        late_ns = max(late_ns, 0)
        shift = max(late_ns.bit_length() - 5, 0)
        key = (shift << 5) + (late_ns >> shift)
        self._counts[key] = self._counts.get(key, 0) + 1
        self.count += 1
        self.max_ns = max(self.max_ns, late_ns)

    @staticmethod
    def _upper_ns(key: int) -> int:
        shift, mantissa = key >> 5, key & 31
        return ((mantissa + 1) << shift) - 1

    def quantile_ns(self, share: float) -> int:
        """The delay that ``share`` (0..1) of all do not exceed, rounded up to the bin's edge; 0 if there is none."""
        seen = 0
        for key in sorted(self._counts):
            seen += self._counts[key]
            if seen >= share * self.count:
                return min(self._upper_ns(key), self.max_ns)
        return 0

    def summary(self) -> dict[str, Any]:
        """n, p50_us, p99_us, max_us and ``histogram``: [upper edge in us, count] in order."""
        return {
            "n": self.count,
            "p50_us": self.quantile_ns(0.50) / 1000,
            "p99_us": self.quantile_ns(0.99) / 1000,
            "max_us": self.max_ns / 1000,
            "histogram": [[self._upper_ns(key) / 1000, self._counts[key]] for key in sorted(self._counts)],
        }


class Outlet(Protocol):
    """Where a served sensor's bytes leave this process and commands come in."""

    place: str
    """What a client is given to open: a path, a URL, a BLE address."""
    lateness: Lateness
    """From the time at which a chunk was due to the return of the call that sent it."""
    sent_bytes: int
    dropped_bytes: int
    """A client was there and did not read fast enough."""
    unheard_bytes: int
    """Nobody had the port open."""

    def open(self, served: Served) -> None:
        """Appear."""

    def readers(self) -> list[int]:
        """File descriptors to watch for reading."""

    def writers(self) -> list[int]:
        """File descriptors on which bytes wait to be written."""

    def send(self, chunks: Sequence[Chunk]) -> None:
        """Send chunks that are due, now; never blocks."""

    def attend(self) -> list[bytes]:
        """Do what the file descriptors ask for and return the commands that came."""

    def unplug(self) -> None:
        """The link is gone for the client."""

    def replug(self) -> None:
        """It can be opened again, at the same place."""

    def close(self) -> None:
        """Disappear for good; safe to call twice."""


class Backlog:
    """Bytes that a client has not taken yet, bounded: what does not fit is dropped in whole chunks."""

    def __init__(self, write: Callable[[bytes], int], limit: int = 16384) -> None:
        self._write, self._limit = write, limit
        self._waiting = b""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, data: bytes) -> bool:
        """Write as much as goes; keep the rest if it fits (True), else drop all of ``data`` (False)."""
        if self._waiting and len(self._waiting) + len(data) > self._limit:
            self.drain()
            if len(self._waiting) + len(data) > self._limit:
                return False
        self._waiting += data
        self.drain()
        return True

    def drain(self) -> None:
        """Write what waits as far as it goes."""
        while self._waiting:
            try:
                count = self._write(self._waiting)
            except BlockingIOError:
                return
            self._waiting = self._waiting[count:]

    def clear(self) -> int:
        """Forget what waits; how many bytes that was."""
        count, self._waiting = len(self._waiting), b""
        return count
