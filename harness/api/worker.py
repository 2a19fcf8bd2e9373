"""One thread that runs one call at a time, and a queue with a bound before it: how a server runs its model.

A call that hangs cannot be ended. The worker says for how long it has been in one (``busy_ms``), so that its owner can
refuse what would only wait behind it, and goes on with the next call when it comes back after all.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from drivers.clock import Clock, RealClock

_T = TypeVar("_T")


class QueueFullError(Exception):
    """As many calls wait as may; the message says how many."""


class Worker:
    """Runs calls in the order in which they were submitted. Any thread may submit; ``stop`` ends it."""

    def __init__(self, most_waiting: int, clock: Clock | None = None, name: str = "model") -> None:
        self._clock = clock or RealClock()
        self._most = most_waiting
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: set[Future[Any]] = set()
        self._since_ns: int | None = None
        # a daemon: a call that hangs must not keep the process from ending
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], _T]) -> Future[_T]:
        """Its result, when it has been run. Cancelling the future takes the call out of the queue, if it still waits.

        QueueFullError where ``most_waiting`` calls wait already, beside the one that runs.
        """
        future: Future[_T] = Future()
        with self._lock:
            # one that nothing keeps from running at once does not wait
            if len(self._waiting) >= self._most + (self._since_ns is None):
                raise QueueFullError(f"{len(self._waiting)} calls wait already")
            self._waiting.add(future)
        future.add_done_callback(self._forget)  # also when it is cancelled
        self._jobs.put((future, call))
        return future

    @property
    def waiting(self) -> int:
        """Calls that wait for the one that runs."""
        with self._lock:
            return len(self._waiting)

    @property
    def busy_ms(self) -> float | None:
        """For how long the call that runs has been running; None if none does."""
        with self._lock:
            since_ns = self._since_ns
        return None if since_ns is None else (self._clock.now_ns() - since_ns) / 1e6

    def stop(self, timeout_s: float = 0.0) -> bool:
        """Take nothing more; wait that long for what was submitted. False if a call still runs."""
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _forget(self, future: Future[Any]) -> None:
        with self._lock:
            self._waiting.discard(future)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if not future.set_running_or_notify_cancel():
                continue
            with self._lock:
                self._waiting.discard(future)
                self._since_ns = self._clock.now_ns()
            result, error = None, None
            try:
                result = call()
            except Exception as raised:  # noqa: BLE001 - the call's own; whoever waits for the result gets it
                error = raised
            except BaseException as raised:  # noqa: BLE001 - such as SystemExit: it must not end the server
                error = RuntimeError(f"{type(raised).__name__}: {raised}")
            with self._lock:
                self._since_ns = None
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
            del job, future, call, result, error  # or the last call's arrays live until the next one
