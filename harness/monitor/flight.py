"""The flight recorder: keeps the last seconds, and writes them when a window is judged too late.

    flight/<n>.trace.json        what the consumer did, what arrived, what was in the way: Perfetto opens it
    flight/<n>.stacks.txt        Python stacks of all threads, if possible while the consumer was still kept
    flight/1.torch.trace.json    torch's profiler over the windows after the first one that was too late

Memory is bounded by ``keep_ns`` and by counts. Files are written by the watching thread in pieces, never while a window
is due; what is left then is written after the loop.
"""

from __future__ import annotations

import faulthandler
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from drivers.clock import Clock
from drivers.types import Batch, IntArray
from harness.monitor.heartbeat import Heartbeat, quiet
from harness.monitor.journal import Journal
from harness.monitor.profile import ModelProfile
from harness.monitor.trace import Arrival, Flight, trace_pieces
from harness.recording import STAGES

FOLDER = "flight"
T = TypeVar("T")
_MOST_WINDOWS = 2_000
_MOST_ARRIVALS = 20_000
AFTERMATH_NS = 500_000_000
"""So long after the violation the flight goes on."""
_DUE, _JUDGED = STAGES.index("due"), STAGES.index("judged")


class FlightRecorder:
    """``arrived`` and ``judged`` are the consumer's, ``step`` and ``close`` the watcher's."""

    def __init__(
        self, clock: Clock, beat: Heartbeat, directory: Path, journal: Journal, profile: ModelProfile,
        *, budget_ns: int, keep_ns: int, most: int,
    ) -> None:  # fmt: skip
        self._clock, self._beat, self._journal, self._profile = clock, beat, journal, profile
        self._folder, self._budget_ns, self._keep_ns, self._left = directory / FOLDER, budget_ns, keep_ns, most
        self._windows: deque[tuple[int, tuple[int, ...]]] = deque(maxlen=_MOST_WINDOWS)
        self._arrivals: deque[Arrival] = deque(maxlen=_MOST_ARRIVALS)
        self._number = self._count = 0
        self._last_ns = -(2**62)
        self._late: tuple[int, tuple[int, ...]] | None = None
        """The consumer's word that this window was too late."""
        self._cut_ns: int | None = None
        """When the flight that is under way shall end."""
        self._pieces: Iterator[bytes] | None = None

    # --- the consumer's -----------------------------------------------------------------------

    def arrived(self, role: str, batch: Batch) -> None:
        """Bytes were taken from the inbox."""
        if len(batch.at_ns):
            self._arrivals.append(Arrival(role, int(batch.at_ns[0]), self._clock.now_ns(), len(batch.data)))

    def judged(self, stamps_ns: IntArray) -> None:
        """Windows (n, 6) are over."""
        for row in stamps_ns.tolist():
            self._windows.append((self._count, tuple(row)))
            self._count += 1
            if row[_JUDGED] - row[_DUE] > self._budget_ns:
                self._late = self._windows[-1]
                self._profile.arm()

    # --- the watcher's ------------------------------------------------------------------------

    def step(self, now_ns: int, overdue_ns: int) -> bool:
        """Do a little of what there is to do; True if there is more right now. ``overdue_ns`` is the watcher's."""
        late, self._late = self._late, None
        if self._may_begin(now_ns):
            if overdue_ns > self._budget_ns:
                self._begin(now_ns, f"{overdue_ns / 1e6:.0f} ms after a window was due, which is still not judged")
            elif late is not None:
                number, stamps = late
                ms = (stamps[_JUDGED] - stamps[_DUE]) / 1e6
                self._begin(now_ns, f"after window {number} was judged, {ms:.0f} ms after it was due")
        if self._cut_ns is not None and now_ns >= self._cut_ns and not overdue_ns:
            self._pieces, self._cut_ns = self._written(self._flight(now_ns)), None
        if self._pieces is not None and quiet(self._beat, now_ns):
            self._next_piece()
        return self._pieces is not None

    def close(self) -> None:
        """After the loop: write what is left."""
        self.step(self._clock.now_ns(), 0)
        if self._cut_ns is not None:
            self._pieces, self._cut_ns = self._written(self._flight(self._clock.now_ns())), None
        while self._pieces is not None:
            self._next_piece()
        if self._number:
            self._profile.write(self._folder / "1.torch.trace.json")

    def _may_begin(self, now_ns: int) -> bool:
        under_way = self._cut_ns is not None or self._pieces is not None
        return not under_way and self._left > 0 and now_ns - self._last_ns >= self._keep_ns

    def _begin(self, now_ns: int, when: str) -> None:
        self._left, self._last_ns, self._cut_ns = self._left - 1, now_ns, now_ns + AFTERMATH_NS
        self._number += 1
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / f"{self._number}.stacks.txt").open("w") as file:
                file.write(f"Python stacks of all threads, {when}; the innermost call comes first\n\n")
                file.flush()
                faulthandler.dump_traceback(file, all_threads=True)

    def _flight(self, now_ns: int) -> Flight:
        """A copy of what is kept."""
        since = now_ns - self._keep_ns
        rows = [row for row in self._journal.rows if row[0] >= since]
        happenings = [one for one in self._journal.happenings if one.until_ns >= since]
        windows = [(number, stamps) for number, stamps in _copied(self._windows) if stamps[_DUE] >= since]
        arrivals = [one for one in _copied(self._arrivals) if one.arrival_ns >= since]
        return Flight(windows, arrivals, happenings, rows, self._budget_ns)

    def _written(self, flight: Flight) -> Iterator[bytes]:
        """Pieces of the flight, each on disk when the next is asked for; the file has its name once it is whole."""
        path = self._folder / f"{self._number}.trace.json"
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            for piece in trace_pieces(flight):
                file.write(piece)
                yield piece
        part.replace(path)

    def _next_piece(self) -> None:
        if self._pieces is None:
            return
        try:
            next(self._pieces)
        except (StopIteration, OSError):
            self._pieces = None


def _copied(kept: deque[T]) -> list[T]:
    """A copy of what another thread appends to."""
    while True:
        with suppress(RuntimeError):  # it grew meanwhile
            return list(kept)
