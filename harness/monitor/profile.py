"""torch's own profiler over a few windows, for the first one above the budget.

It has to be started and stopped in the thread that runs the model, and stopping it costs some ten ms a window: both are
done where the time until the next window allows it. The file is written after the run.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from drivers.clock import Clock
from harness.monitor.happenings import PROFILER, Happening

WINDOWS = 3
_PATIENCE = 20
"""Windows after which it is stopped, whether there is time or not: it keeps every operation in memory."""
START_NS, STOP_NS = 20_000_000, 50_000_000
"""Time until the next window that starting and stopping want; measured: 6 ms the first time, and 35 ms."""


class ModelProfile:
    """Called by the consumer's thread after each window; arm() by anybody."""

    def __init__(self, clock: Clock, cuda: bool = False) -> None:
        self._clock, self._cuda = clock, cuda
        self._armed, self._seen, self._began_ns = False, 0, 0
        self._profiler: Any = None
        self._done: Any = None
        self.happened: Happening | None = None
        """Which time it covered, once it is over."""

    def arm(self) -> None:
        """Profile the next windows. Only once in a run, and not where no torch is at work."""
        self._armed = self._armed or (self._profiler is None and self._done is None and "torch" in sys.modules)

    def after_window(self, next_due_ns: int) -> None:
        """A window was judged."""
        if self._profiler is not None:
            self._seen += 1
        if not self._armed:
            return
        now_ns = self._clock.now_ns()
        spare_ns = next_due_ns - now_ns
        if self._profiler is None and self._done is None and spare_ns > START_NS:
            self._start(now_ns)
        elif self._profiler is not None and self._seen >= WINDOWS and (spare_ns > STOP_NS or self._seen >= _PATIENCE):
            self.stop()

    def _start(self, now_ns: int) -> None:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
        # torch.profiler.profile is this one with a schedule, and its start() imports the compiler: that takes a second
        from torch.autograd.profiler import profile

        self._profiler = profile(use_kineto=True, use_device="cuda" if self._cuda else None)
        self._profiler.__enter__()
        self._began_ns = now_ns

    def stop(self) -> None:
        """End it, if it runs."""
        if self._profiler is None:
            return
        self._done, self._profiler, self._armed = self._profiler, None, False
        self._done.__exit__(None, None, None)
        for_ns = self._clock.now_ns() - self._began_ns
        text = f"{self._seen} windows ran under torch's profiler, which slows them"
        self.happened = Happening(PROFILER, self._began_ns, for_ns, text)

    def write(self, path: Path) -> bool:
        """Write what was profiled; False if nothing was, or the disk takes it not."""
        if self._done is None or self._seen == 0:
            return False
        with suppress(OSError, RuntimeError):
            self._done.export_chrome_trace(str(path))
            return True
        return False
