"""Calls a rig's endpoints beside a run, without keeping a window waiting.

In real time a thread of its own makes the calls, spread evenly over the run from its first window on. The session hands
each window's inputs over by a queue, as references: encoding and sending happen in that thread. In virtual time the
calls are made after the run, in order, with the last windows that it cut: nothing that a service takes can move
virtual time, and nothing of its speed enters a verdict.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

from drivers.clock import RealClock, to_ns
from drivers.rawlog import AppendFile, DiskError
from harness.api.endpoints import Windows, api_client, call_endpoint, window_of
from harness.api.record import CALLS, ApiCall, line_of
from harness.rig import ApiEntry, EndpointEntry, Rig

MOST_WINDOWS = 100
"""Different live payloads in virtual time; calls beyond begin again with the first."""
_TICK_NS = 200_000_000
_SPARE_S = 1.0
"""So long after the last call's timeout a thread that has not ended is given up."""


class RunCalls:
    """The calls of one run. ``directory`` None keeps them in memory.

    offer() every window, finish() once. Making one raises SettingError where the API cannot be called at all.
    """

    def __init__(self, api: ApiEntry, rig: Rig, directory: Path | None, *, virtual: bool) -> None:
        self._api, self._virtual = api, virtual
        self._client = api_client(api)
        self._directory = directory
        self._file: AppendFile | None = None
        self._calls: list[ApiCall] = []
        self._rounds = max(endpoint.repeat for endpoint in api.endpoints.values())
        self._kept: deque[Windows] = deque(maxlen=min(self._rounds, MOST_WINDOWS))
        self._inbox = RealClock().inbox()
        self._thread: Thread | None = None
        self._over = False
        spare_s = rig.window.fill_s + (rig.window.wait_ms + rig.window.grace_ms) / 1000
        self._span_ns = to_ns(max(0.0, rig.duration_s - spare_s))
        self.failure = ""
        """Why calls are missing that is no fault of the service's."""

    def offer(self, windows: Windows) -> None:
        """Inputs {modality: (w, C, T)} with their quality {modality: (w,)}, the newest last; returns at once."""
        if self._virtual:
            count = len(next(iter(windows[1].values())))
            self._kept.extend(window_of(windows, row) for row in range(max(0, count - MOST_WINDOWS), count))
            return
        if self._thread is None:
            self._thread = Thread(target=self._guarded, args=(self._serve,), name="api calls", daemon=True)
            self._thread.start()
        self._inbox.put("window", windows)

    def finish(self, at_ns: int, going: Callable[[], bool] = lambda: True) -> tuple[ApiCall, ...]:
        """End the calls, in virtual time make them as of ``at_ns``, and return them; ``going`` is asked before each."""
        if self._virtual:
            self._guarded(lambda: self._afterwards(at_ns, going))
        elif self._thread is not None:
            self._guarded(self._join)
        if self._thread is None or not self._thread.is_alive():
            self._client.close()
            if self._file is not None:
                self._file.close()
        return tuple(self._calls)

    def _join(self) -> None:
        """The call that is under way is over by its timeout."""
        self._over = True
        self._inbox.put("end", None)
        if self._thread is not None:
            self._thread.join(self._api.timeout_ms / 1000 + _SPARE_S)
            if self._thread.is_alive():
                self.failure = "the thread that calls the API did not end"

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except KeyboardInterrupt:
            self.failure = "interrupted by the user while the API was called"
        except Exception as error:  # noqa: BLE001  a fault of the harness must end the run as INVALID, not be silent
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.lineno}"
            self.failure = f"calling the API failed in the harness itself: {type(error).__name__} at {place}: {error}"

    # --- real time ----------------------------------------------------------------------------

    def _serve(self) -> None:
        """Round after round, each at its time, with the newest window of that moment."""
        clock = RealClock()
        newest: Windows | None = None
        while newest is None and not self._over:
            newest = self._next_window(None, clock.now_ns() + _TICK_NS)
        first_ns = clock.now_ns()
        for number in range(self._rounds):
            due_ns = first_ns + self._span_ns * number // self._rounds
            while not self._over and (clock.now_ns() < due_ns or self._inbox.depth()):
                newest = self._next_window(newest, min(due_ns, clock.now_ns() + _TICK_NS))
            for endpoint in self._of_round(number):
                if self._over:
                    return
                self._call(endpoint, newest, clock.now_ns())

    def _next_window(self, newest: Windows | None, deadline_ns: int) -> Windows | None:
        got = self._inbox.get(deadline_ns)
        item: Any = None if got is None else got[1]
        return newest if item is None else window_of(item, len(next(iter(item[1].values()))) - 1)

    def _of_round(self, number: int) -> list[EndpointEntry]:
        """Whose turn it is: fewer calls than rounds are spread over them."""
        return [
            endpoint
            for endpoint in self._api.endpoints.values()
            if (number + 1) * endpoint.repeat // self._rounds > number * endpoint.repeat // self._rounds
        ]

    # --- virtual time -------------------------------------------------------------------------

    def _afterwards(self, at_ns: int, going: Callable[[], bool]) -> None:
        if not self._kept:
            return
        for number in range(self._rounds):
            windows = self._kept[number % len(self._kept)]
            for endpoint in self._of_round(number):
                if not going():
                    return
                self._call(endpoint, windows, at_ns)

    # --- both ---------------------------------------------------------------------------------

    def _call(self, endpoint: EndpointEntry, windows: Windows | None, at_ns: int) -> None:
        call = call_endpoint(self._client, endpoint, windows, at_ns)
        self._calls.append(call)
        if self._directory is None:
            return
        try:
            if self._file is None:
                self._file = AppendFile(self._directory / CALLS)
            self._file.write(line_of(call))
        except DiskError as error:
            self.failure = str(error)
