"""Time as an object, in integer nanoseconds: real, or virtual on an event heap.

This file alone imports ``time``. A session creates one clock and hands it down; everything that
waits, waits through it, so the same code runs in real time and in virtual time.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

SECOND_NS = 1_000_000_000


def to_ns(seconds: float) -> int:
    """Seconds as integer nanoseconds."""
    return round(seconds * SECOND_NS)


def to_seconds(ns: int) -> float:
    """Nanoseconds as float seconds."""
    return ns / SECOND_NS


class Inbox(Protocol):
    """Where links put what they receive and the one consumer takes it."""

    def put(self, key: str, item: Any) -> None:
        """Add an item; any thread may."""

    def get(self, deadline_ns: int) -> tuple[str, Any] | None:
        """The next (key, item), or None once the clock has reached the deadline."""

    def depth(self) -> int:
        """Items that wait."""


class Clock(Protocol):
    """Monotonic nanoseconds, and the two ways of waiting on them."""

    virtual: bool

    def now_ns(self) -> int:
        """Now."""

    def sleep_until(self, at_ns: int) -> None:
        """Wait until the clock reads at_ns; returns at once if it already does."""

    def inbox(self) -> Inbox:
        """A new inbox whose get() waits on this clock."""

    def utc(self) -> datetime:
        """Wall time, for people."""


class RealClock:
    """CLOCK_MONOTONIC: comparable between the processes of one machine."""

    virtual = False

    def now_ns(self) -> int:
        """Host monotonic time."""
        return time.monotonic_ns()

    def sleep_until(self, at_ns: int) -> None:
        """Sleep until at_ns; wakes up to 0.1 ms late on an idle machine."""
        wait = at_ns - time.monotonic_ns()
        if wait > 0:
            time.sleep(wait / SECOND_NS)

    def inbox(self) -> Inbox:
        """A thread-safe queue."""
        return _QueueInbox()

    def utc(self) -> datetime:
        """The machine's wall clock."""
        return datetime.now(UTC)

    def cpu_ns(self) -> int:
        """CPU time of this process."""
        return time.process_time_ns()


class _QueueInbox:
    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def put(self, key: str, item: Any) -> None:
        self._queue.put((key, item))

    def get(self, deadline_ns: int) -> tuple[str, Any] | None:
        wait = deadline_ns - time.monotonic_ns()
        try:
            return self._queue.get(timeout=wait / SECOND_NS) if wait > 0 else self._queue.get_nowait()
        except queue.Empty:
            return None

    def depth(self) -> int:
        return self._queue.qsize()


class VirtualClock:
    """A heap of scheduled calls: waiting pops the earliest one and moves the clock to it."""

    virtual = True

    def __init__(self, start_ns: int = 0, start_utc: datetime | None = None) -> None:
        self._now_ns = start_ns
        self._start_ns = start_ns
        self._start_utc = start_utc or datetime(2000, 1, 1, tzinfo=UTC)
        self.checkpoint_ns: int | None = None
        """A time at which whoever delivers in larger portions must have delivered everything, such as a run's end."""
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def now_ns(self) -> int:
        """Virtual time."""
        return self._now_ns

    def schedule(self, at_ns: int, call: Callable[[], None]) -> None:
        """Call ``call()`` when the clock gets to at_ns; equal times keep the order of scheduling."""
        heapq.heappush(self._heap, (max(at_ns, self._now_ns), next(self._order), call))

    def run_until(self, deadline_ns: int, satisfied: Callable[[], bool]) -> None:
        """Pop calls in time order until ``satisfied()`` or the deadline."""
        while not satisfied():
            if not self._heap or self._heap[0][0] > deadline_ns:
                self._now_ns = max(self._now_ns, deadline_ns)
                return
            at_ns, _, call = heapq.heappop(self._heap)
            self._now_ns = max(self._now_ns, at_ns)
            call()

    def sleep_until(self, at_ns: int) -> None:
        """Run everything scheduled up to at_ns and move there."""
        self.run_until(at_ns, lambda: False)

    def inbox(self) -> Inbox:
        """A queue whose get() runs this clock."""
        return _HeapInbox(self)

    def utc(self) -> datetime:
        """A fixed start plus the virtual time that has passed."""
        return self._start_utc + timedelta(microseconds=(self._now_ns - self._start_ns) / 1000)


class _HeapInbox:
    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._items: deque[tuple[str, Any]] = deque()

    def put(self, key: str, item: Any) -> None:
        self._items.append((key, item))

    def get(self, deadline_ns: int) -> tuple[str, Any] | None:
        self._clock.run_until(deadline_ns, lambda: bool(self._items))
        return self._items.popleft() if self._items else None

    def depth(self) -> int:
        return len(self._items)
