"""Garbage collections that took time, as Python itself tells them."""

from __future__ import annotations

import gc
from collections import deque
from typing import Any

from drivers.clock import Clock
from harness.monitor.happenings import COLLECTION, Happening

LEAST_NS = 2_000_000
"""Shorter ones are not told: there may be hundreds a second."""
_MOST = 1000


class Pauses:
    """Notes collections between start() and stop(). They run in any thread and stop all of them."""

    def __init__(self, clock: Clock, least_ns: int = LEAST_NS) -> None:
        self._clock, self._least_ns, self._began_ns = clock, least_ns, 0
        self._found: deque[tuple[int, int, int, int]] = deque(maxlen=_MOST)

    def start(self) -> None:
        """Listen."""
        gc.callbacks.append(self.noted)

    def stop(self) -> None:
        """Listen no more."""
        if self.noted in gc.callbacks:
            gc.callbacks.remove(self.noted)

    def noted(self, phase: str, info: dict[str, Any]) -> None:
        """What Python calls before and after each collection."""
        if phase == "start":
            self._began_ns = self._clock.now_ns()
            return
        spent_ns = self._clock.now_ns() - self._began_ns
        if spent_ns >= self._least_ns:
            self._found.append((self._began_ns, spent_ns, info.get("generation", 0), info.get("collected", 0)))

    def taken(self) -> list[Happening]:
        """Those since the last call."""
        found: list[Happening] = []
        while self._found:
            at_ns, for_ns, generation, collected = self._found.popleft()
            what = f"garbage collection of generation {generation}, {collected} objects freed"
            found.append(Happening(COLLECTION, at_ns, for_ns, what))
        return found
