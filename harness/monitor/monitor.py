"""Everything that watches a run in real time, in one thread that sleeps while all is well.

The thread wakes once a hop, when a window would be overdue; it reads resources once a second, and writes flights, only
while no window is due. The consumer tells it what it does by Heartbeat and as an Observer, and never waits for it.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from drivers.clock import Clock, to_ns
from drivers.types import Batch, IntArray
from harness.monitor.flight import FlightRecorder
from harness.monitor.gpu import GpuUse
from harness.monitor.happenings import Happening
from harness.monitor.heartbeat import NEVER, Heartbeat, quiet
from harness.monitor.journal import Journal
from harness.monitor.pauses import Pauses
from harness.monitor.process import Use
from harness.monitor.profile import ModelProfile
from harness.monitor.resources import Resources
from harness.monitor.spikes import budget_ms
from harness.monitor.watcher import Frames, Watcher
from harness.observer import Observer
from harness.rig import Rig

LATE_SHARE = 0.5
"""A window is overdue when half of its budget is gone."""
_EVERY_NS = 1_000_000_000
_PATIENCE_NS = 2_000_000_000
"""A row of resources waits no longer for a moment in which nothing is due."""
_SOON_NS = 5_000_000


class Monitor(Observer):
    """Watches one run on a real clock. ``directory`` None: nothing is written, and no flight is kept."""

    def __init__(self, rig: Rig, clock: Clock, directory: Path | None, frames: Frames | None = None) -> None:
        entry, budget_ns = rig.monitor, round(budget_ms(rig) * 1e6)
        self.beat, self.journal = Heartbeat(), Journal(directory)
        self.failure = ""
        """Traceback, if it was the watching that failed."""
        self._clock, self._hop_ns = clock, round(rig.window.hop_ms * 1e6)
        self._profile = ModelProfile(clock, rig.model.device.startswith("cuda"))
        self._pauses = Pauses(clock) if entry.stacks else None
        told = self.journal.happened if entry.stacks else _ignored
        late_ns, sample_ns = round(LATE_SHARE * budget_ns), round(entry.sample_ms * 1e6)
        self._watcher = Watcher(clock, self.beat, late_ns, sample_ns, told, frames or sys._current_frames)
        self._flight: FlightRecorder | None = None
        if entry.flight_recorder and directory is not None:
            self._flight = FlightRecorder(
                clock, self.beat, directory, self.journal, self._profile,
                budget_ns=budget_ns, keep_ns=to_ns(entry.keep_s), most=entry.most,
            )  # fmt: skip
        self._use = Use() if entry.resources else None
        self._gpu = GpuUse(_index(rig.model.device)) if entry.resources and "cuda" in rig.model.device else None
        self._read_ns = clock.now_ns() - _EVERY_NS
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    # --- the consumer's -----------------------------------------------------------------------

    def begun(self, start_ns: int, waited_for: Sequence[str]) -> None:
        """The run proper begins: watch this thread."""
        self.beat.thread = threading.get_ident()
        if self._pauses is not None:
            self._pauses.start()
        self._thread = threading.Thread(target=self._run, name="hil monitor", daemon=True)
        self._thread.start()

    def arrived(self, role: str, batch: Batch) -> None:
        """For the flight recorder."""
        if self._flight is not None:
            self._flight.arrived(role, batch)

    def windows(self, stamps_ns: IntArray, late: IntArray) -> None:
        """For the watcher, for the flight recorder, and for the profiler that it arms."""
        self.beat.judged_ns = max(self.beat.judged_ns, int(stamps_ns.max()))
        if self._flight is not None:
            self._flight.judged(stamps_ns)
            self._profile.after_window(int(stamps_ns[-1, 0]) + self._hop_ns)

    def beside(self, now_ns: int, waiting: int) -> None:
        """How many items wait."""
        self.beat.depth = max(self.beat.depth, waiting)

    def finish(self) -> None:
        """The loop is over; safe to call twice."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self.beat.due_ns, self.beat.busy = NEVER, False
        self._profile.stop()
        if self._pauses is not None:
            self._pauses.stop()
        if not self.failure:
            self._note()
            self._watcher.flush()
            if self._flight is not None:
                self._flight.close()
        if self._gpu is not None:
            self._gpu.close()
        self.journal.close()

    @property
    def resources(self) -> Resources:
        """After finish()."""
        return self.journal.resources()

    @property
    def happenings(self) -> tuple[Happening, ...]:
        """After finish(), in order."""
        return tuple(sorted(self.journal.happenings, key=lambda one: one.at_ns))

    def host(self) -> dict[str, Any]:
        """Only what went wrong with the watching itself."""
        return {"monitor": {"failure": self.failure}} if self.failure else {}

    # --- the watching thread's ----------------------------------------------------------------

    def _run(self) -> None:
        try:
            wait_ns = 0
            while not self._ended.wait(wait_ns / 1e9):
                wait_ns = self.round(self._clock.now_ns())
        except Exception:  # noqa: BLE001  the run goes on unwatched, and its report says so
            self.failure = traceback.format_exc()

    def round(self, now_ns: int) -> int:
        """Look once, and do what there is to do beside it; how many ns until the next round."""
        wait_ns = self._watcher.look(now_ns)
        self._note()
        more = self._flight is not None and self._flight.step(now_ns, self._watcher.overdue_ns)
        if self._use is not None and now_ns - self._read_ns >= _EVERY_NS:
            if quiet(self.beat, now_ns) or now_ns - self._read_ns >= _PATIENCE_NS:
                self._read(now_ns, self._use)
            else:
                more = True
        return min(wait_ns, _SOON_NS) if more else wait_ns

    def _note(self) -> None:
        """What other threads left."""
        for pause in self._pauses.taken() if self._pauses is not None else ():
            self.journal.happened(pause)
        if self._profile.happened is not None:
            self.journal.happened(self._profile.happened)
            self._profile.happened = None

    def _read(self, now_ns: int, use: Use) -> None:
        depth, self.beat.depth = max(self.beat.depth, self.beat.waiting()), 0
        self._read_ns = now_ns
        gpu = self._gpu.read() if self._gpu is not None else {}
        self.journal.used(now_ns, {**use.read(), "inbox_depth": float(depth), **gpu})


def _ignored(happening: Happening) -> None:
    """Nobody asked."""


def _index(device: str) -> int:
    """Of ``cuda:1``."""
    number = device.partition(":")[2]
    return int(number) if number.isdigit() else 0


@contextmanager
def monitoring(rig: Rig, clock: Clock, directory: Path | None) -> Iterator[Monitor | None]:
    """Watches the run of the block; None in virtual time, and where the rig wants nothing watched."""
    entry = rig.monitor
    if clock.virtual or not (entry.resources or entry.stacks or entry.flight_recorder):
        yield None
        return
    monitor = Monitor(rig, clock, directory)
    try:
        yield monitor
    finally:
        monitor.finish()
