"""Health of a run in real time: latency, misses, queue, memory and quality as they come, and alerts on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from drivers.clock import Clock, to_ns
from drivers.quality import Scores
from drivers.types import IntArray
from harness.monitor.health import Crossing, HealthMonitor
from harness.monitor.run_log import latency_limit_ms, window_latencies_ms
from harness.monitor.run_metrics import INBOX, LATENCY, MEMORY, MISSES, MISSES_LIMIT, QUALITY
from harness.observer import Observer
from harness.rig import Rig

_EVERY_NS = to_ns(1.0)


def thresholds_of(rig: Rig) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Limits from above and from below. Unless the rig says else, the latency's is that of its check, and no window
    may stay without an answer in time."""
    checked = {LATENCY: latency_limit_ms(rig)} if "latency" in rig.limits else {}
    return {**checked, MISSES: MISSES_LIMIT, **rig.health.above}, dict(rig.health.below)


class RunHealth(Observer):
    """Feeds a HealthMonitor. In virtual time, where nothing is the host's, it stays empty."""

    def __init__(self, rig: Rig, on_crossing: Callable[[Crossing], None] = lambda crossing: None) -> None:
        self._rig, self._on_crossing = rig, on_crossing
        self._above, self._below = thresholds_of(rig)
        self._limit_ms = latency_limit_ms(rig)
        self._waited: tuple[str, ...] = ()
        self._checked_ns = self._misses = self._windows = self._missed = 0
        self._memory: Callable[[], float] = lambda: float("nan")
        self.monitor: HealthMonitor | None = None

    def opened(self, clock: Clock) -> None:
        """Begin, unless time is virtual."""
        if clock.virtual:
            return
        import psutil

        process = psutil.Process()
        self._memory = lambda: process.memory_info().rss / 1e6
        self.monitor = HealthMonitor(clock, on_crossing=self._on_crossing)
        self._checked_ns = clock.now_ns()

    def begun(self, start_ns: int, waited_for: Sequence[str]) -> None:
        """From here on windows are due."""
        self._waited = tuple(waited_for)

    def windows(self, stamps_ns: IntArray, late: IntArray) -> None:
        """Latency of each window that was answered; the others are misses."""
        if self.monitor is None:
            return
        spent = window_latencies_ms(self._rig, stamps_ns, self._waited)
        missed = int(np.count_nonzero(~(spent <= self._limit_ms)))
        self._misses += missed
        self._missed += missed
        self._windows += len(spent)
        for latency_ms in spent[np.isfinite(spent)].tolist():
            self.monitor.record_metric(LATENCY, latency_ms)

    def scored(self, stream: str, ends_ns: IntArray, found: Scores) -> None:
        """Quality, once it is known."""
        if self.monitor is not None:
            for score in found.score[~np.isnan(found.score)].tolist():
                self.monitor.record_metric(QUALITY + stream, score)

    def beside(self, now_ns: int, waiting: int) -> None:
        """Once a second: what the host says, and the thresholds."""
        if self.monitor is not None and now_ns - self._checked_ns >= _EVERY_NS:
            self._checked_ns = now_ns
            self.monitor.record_metric(INBOX, waiting)
            self.monitor.record_metric(MEMORY, self._memory())
            self._check()

    def _check(self) -> None:
        if self.monitor is not None:
            self.monitor.record_metric(MISSES, self._misses)
            self._misses = 0
            self.monitor.check_thresholds(self._above, self._below)

    def host(self) -> dict[str, Any]:
        """``health``: the report, how many windows there were and were missed in all, the thresholds, and those whose
        metric never came."""
        if self.monitor is None:
            return {}
        self._check()
        report = self.monitor.get_health_report()
        silent = [name for name in (*self._above, *self._below) if name not in report["metrics"]]
        thresholds = {"above": dict(self._above), "below": dict(self._below), "never_recorded": silent}
        totals = {"windows": self._windows, "missed": self._missed}
        return {"health": {"status": self.monitor.status, **report, **totals, "thresholds": thresholds}}
