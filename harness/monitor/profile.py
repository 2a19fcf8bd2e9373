"""torch's own profiler over a few windows, for the first one above the budget.

It has to be started in the thread that runs the model, when the time until the next window allows it. Ending it sorts
out what it kept, which takes some ten ms a window: so it is paused after its windows, and ended after the run.
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
START_NS = 20_000_000
"""Time until the next window that starting wants; measured: 6 ms the first time. Pausing takes 0.1 ms."""
_SORTS = ("CPU", "CUDA", "XPU")
"""Everything that can be paused, since torch warns of whatever is left."""


class ModelProfile:
    """Called by the consumer's thread after each window; arm() by anybody."""

    def __init__(self, clock: Clock, cuda: bool = False) -> None:
        self._clock, self._cuda = clock, cuda
        self._armed = self._asked = False
        self._seen, self._began_ns = 0, 0
        self._profiler: Any = None
        self._done = False
        self.happened: Happening | None = None
        """Which time it covered, once it is over."""

    def arm(self) -> None:
        """Profile the next windows. Only once in a run, and not where no torch is at work."""
        if not self._asked and "torch" in sys.modules:
            self._armed = self._asked = True

    def after_window(self, next_due_ns: int) -> None:
        """A window was judged."""
        if self._profiler is not None and not self._done:
            self._seen += 1
            if self._seen >= WINDOWS:
                self._pause()
        elif self._armed and self._profiler is None:
            now_ns = self._clock.now_ns()
            if next_due_ns - now_ns > START_NS:
                self._start(now_ns)

    def _start(self, now_ns: int) -> None:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
        # torch.profiler.profile is this one with a schedule, and its start() imports the compiler: that takes a second
        from torch._C._autograd import _profiler_enabled
        from torch.autograd.profiler import profile

        self._armed = False
        if _profiler_enabled():  # the model has one of its own, and there is one at a time
            return
        self._profiler = profile(use_kineto=True, use_device="cuda" if self._cuda else None)
        self._profiler.__enter__()
        self._began_ns = now_ns

    def _pause(self) -> None:
        """Keep nothing more."""
        from torch.profiler import ProfilerActivity

        sorts = [getattr(ProfilerActivity, name) for name in _SORTS if hasattr(ProfilerActivity, name)]
        self._profiler.toggle_collection_dynamic(False, sorts)
        self._done = True
        for_ns = self._clock.now_ns() - self._began_ns
        text = f"{self._seen} windows ran under torch's profiler, which slows them"
        self.happened = Happening(PROFILER, self._began_ns, for_ns, text)

    def stop(self) -> None:
        """After the loop, in the same thread: end it, if it ran."""
        if self._profiler is None:
            return
        if not self._done:
            self._pause()
        self._profiler.__exit__(None, None, None)

    def write(self, path: Path) -> bool:
        """After stop(): write what was profiled; False if nothing was, or the disk takes it not."""
        if self._profiler is None or self._seen == 0:
            return False
        with suppress(OSError, RuntimeError):
            self._profiler.export_chrome_trace(str(path))
            return True
        return False
