"""The real-time scheduler of a simulator process: every chunk leaves when it is due, and how late it left is counted.

One thread serves all sensors. Each is asked for what gets through in the next few milliseconds, which
waits here until its time: so the cost of rendering is paid in the gaps between chunks and makes none late.
The price is that a command takes effect that much later: at most QUIET_NS for a device that says nothing,
as during a start-up exchange, and STREAMING_NS for one that streams. That is about what a USB bridge
(16 ms) or a BLE connection interval (30 ms) adds; a shorter look ahead costs CPU time, since rendering
1 ms costs nearly as much as rendering 20 ms.

What the host did is kept in a journal with the times at which it took effect. Spec, start and journal
determine every byte, so that replay() renders a live run again, elsewhere and at any speed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from drivers.clock import SECOND_NS, to_ns
from drivers.errors import AttError
from drivers.links.memory import Peer
from drivers.types import Batch, LinkDown, LinkUp
from simulators.serve.outlet import Chunk, Outlet, Ticks

QUIET_NS = 5_000_000
STREAMING_NS = 20_000_000
"""How far ahead of the clock a sensor is rendered. When a quarter of it is left, there is a refill."""
ROOM_NS = 400_000
"""Rendering starts only where no chunk is due so soon, unless it cannot wait any longer."""
SPIN_NS = 70_000
"""select() is told to wake this much early; the rest is spun, so that wake-up latency makes no chunk late."""
JOURNAL_LIMIT = 200_000

T = TypeVar("T")


class SimulatedPeer(Peer, Protocol):
    """A Peer whose notifications can also be switched off."""

    def subscribe(self, channel: str, at_ns: int, on: bool = True) -> None:
        """GATT notifications."""

    def negotiated(self, att_mtu: int, at_ns: int) -> None:
        """GATT: the connection's ATT_MTU."""


@dataclass(frozen=True, slots=True)
class HostAction:
    """What a client did, and the world time at which the simulated device noticed."""

    at_ns: int
    kind: str
    """``write``, ``subscribe``, ``unsubscribe`` or ``mtu`` (``data`` is the ATT_MTU, two bytes little-endian)."""
    data: bytes = b""
    channel: str = ""

    def apply(self, sensor: SimulatedPeer) -> None:
        """Do it to a sensor."""
        if self.kind == "write":
            sensor.receive(self.data, self.at_ns, self.channel)
        elif self.kind == "mtu":
            sensor.negotiated(int.from_bytes(self.data, "little"), self.at_ns)
        else:
            sensor.subscribe(self.channel, self.at_ns, self.kind == "subscribe")


def replay(sensor: SimulatedPeer, journal: Sequence[HostAction], until_ns: int) -> list[Batch | LinkDown | LinkUp]:
    """What a live sensor sent until ``until_ns``, rendered again from a fresh sensor of the same spec and start."""
    items: list[Batch | LinkDown | LinkUp] = []
    for action in journal:
        if action.at_ns > until_ns:
            break
        items += sensor.advance(action.at_ns)
        with contextlib.suppress(AttError):  # what the device refused then, it refuses now
            action.apply(sensor)
    return items + sensor.advance(until_ns)


class Served:
    """One sensor at its outlet: what is rendered, what waits for its time, what the host did."""

    def __init__(self, role: str, sensor: SimulatedPeer, outlet: Outlet, start_ns: int) -> None:
        self.role, self.sensor, self.outlet = role, sensor, outlet
        self.ahead_ns = start_ns - 1
        """Rendered up to here."""
        self.journal: list[HostAction] = []
        self._spoke_ns = start_ns - 2 * SECOND_NS
        self._due: deque[tuple[int, Chunk | LinkDown | LinkUp]] = deque()

    @property
    def next_due_ns(self) -> int | None:
        """When the next chunk or link event is due, as far as rendered."""
        return self._due[0][0] if self._due else None

    def horizon_ns(self) -> int:
        """How far ahead to render: far once the device talks."""
        return STREAMING_NS if self.ahead_ns - self._spoke_ns < SECOND_NS else QUIET_NS

    @property
    def refill_ns(self) -> int:
        """When to render on."""
        return self.ahead_ns - self.horizon_ns() // 4

    def render(self, until_ns: int) -> None:
        """Have everything that gets through up to until_ns wait here."""
        if until_ns <= self.ahead_ns:
            return
        found: list[tuple[int, Chunk | LinkDown | LinkUp]] = []
        for item in self.sensor.advance(until_ns):
            if isinstance(item, Batch):
                found += [(at_ns, (at_ns, data, item.channel)) for data, at_ns in item.chunks()]
            else:
                found.append((item.arrival_ns, item))
        if found:
            found.sort(key=lambda entry: entry[0])
            self._spoke_ns = until_ns
        self._due.extend(found)
        self.ahead_ns = until_ns

    def send_due(self, now_ns: int) -> None:
        """Send what is due, in order; chunks that are due together go in one write."""
        chunks: list[Chunk] = []
        while self._due and self._due[0][0] <= now_ns:
            _, item = self._due.popleft()
            if not isinstance(item, LinkDown | LinkUp):
                chunks.append(item)
                continue
            self._flush(chunks)
            chunks = []
            if isinstance(item, LinkDown):
                self.outlet.unplug()
            else:
                self.outlet.replug()
        self._flush(chunks)

    def _flush(self, chunks: list[Chunk]) -> None:
        if chunks:
            self.outlet.send(chunks)

    def act(self, now_ns: int, kind: str, data: bytes = b"", channel: str = "") -> None:
        """A client's write or subscription reaches the device; whatever the device raises is raised here."""
        action = HostAction(max(now_ns, self.ahead_ns), kind, data, channel)
        if len(self.journal) < JOURNAL_LIMIT:
            self.journal.append(action)
        action.apply(self.sensor)

    def report(self) -> dict[str, Any]:
        """Sender lateness and byte counts."""
        outlet = self.outlet
        return {
            "lateness": outlet.lateness.summary(),
            "sent_bytes": outlet.sent_bytes,
            "dropped_bytes": outlet.dropped_bytes,
            "unheard_bytes": outlet.unheard_bytes,
        }


class Pacer:
    """Runs served sensors against the clock until stop().

    ``wait(readers, writers, timeout_ns)`` blocks until one of the file descriptors is ready or the time
    is over and returns whether one is ready; the default is select(). ``tick`` is called about once a second.
    """

    def __init__(
        self,
        served: Sequence[Served],
        clock: Ticks,
        *,
        tick: Callable[[int], None] | None = None,
        wait: Callable[[list[int], list[int], int], bool] | None = None,
    ) -> None:
        self.served, self.clock = served, clock
        self._tick, self._wait = tick, wait or _select
        self._next_tick_ns = clock.now_ns() + SECOND_NS
        self._stopped = self._closed = False
        self._calls: deque[tuple[Callable[[int], Any], Future[Any]]] = deque()
        self._bell_out, self._bell_in = os.pipe()
        os.set_blocking(self._bell_in, False)
        os.set_blocking(self._bell_out, False)
        self._watched: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, call: Callable[[], None]) -> None:
        """Call ``call()`` in the pacing thread whenever ``fd`` is readable."""
        self._watched[fd] = call

    def submit(self, call: Callable[[int], T]) -> Future[T]:
        """Have the pacing thread run ``call(now_ns)``; sensors are touched by that thread alone."""
        future: Future[T] = Future()
        self._calls.append((call, future))
        self._ring()
        return future

    def stop(self) -> None:
        """Make run() return; any thread or signal handler may."""
        self._stopped = True
        self._ring()

    def _ring(self) -> None:
        if self._closed:
            return
        with contextlib.suppress(BlockingIOError):  # a full pipe is ringing already
            os.write(self._bell_in, b"!")

    def run(self) -> None:
        """Pace until stop()."""
        _sharpen_timers()
        while not self._stopped:
            self.step()
        self._run_calls()

    def close(self) -> None:
        """Release the bell; calls that were never run are cancelled. Safe to call twice."""
        for _, future in self._calls:
            future.cancel()
        if not self._closed:
            self._closed = True
            os.close(self._bell_in)
            os.close(self._bell_out)

    def step(self) -> None:
        """Send what is due, then render one sensor further if there is time, else wait for what comes next."""
        now_ns = self.clock.now_ns()
        for served in self.served:
            served.send_due(now_ns)
        now_ns = self.clock.now_ns()
        poorest = min(self.served, key=lambda served: served.refill_ns)
        due_ns = min((s.next_due_ns for s in self.served if s.next_due_ns is not None), default=poorest.ahead_ns)
        if poorest.refill_ns <= now_ns and (due_ns > now_ns + ROOM_NS or poorest.ahead_ns <= now_ns):
            poorest.render(now_ns + poorest.horizon_ns())
            self._attend(0)
            return
        wake_ns = min(due_ns, poorest.refill_ns) if poorest.refill_ns > now_ns else due_ns
        ready = self._attend(max(wake_ns - now_ns - SPIN_NS, 0))
        while not ready and wake_ns - SPIN_NS <= self.clock.now_ns() < wake_ns:
            pass
        if self._tick and now_ns >= self._next_tick_ns:
            self._next_tick_ns = now_ns + SECOND_NS
            self._tick(now_ns)

    def _attend(self, timeout_ns: int) -> bool:
        """Wait for the file descriptors at most so long and serve them; True if any was ready."""
        readers = [self._bell_out, *self._watched]
        writers: list[int] = []
        for served in self.served:
            readers += served.outlet.readers()
            writers += served.outlet.writers()
        if not self._wait(readers, writers, timeout_ns):
            return False
        self._run_calls()
        for fd, call in self._watched.items():
            if self._wait([fd], [], 0):
                call()
        for served in self.served:
            for data in served.outlet.attend():
                served.act(self.clock.now_ns(), "write", data)
        return True

    def _run_calls(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._bell_out, 4096)
        while self._calls:
            call, future = self._calls.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call(self.clock.now_ns()))
            except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
                future.set_exception(error)


def _select(readers: list[int], writers: list[int], timeout_ns: int) -> bool:
    # select() takes microseconds; epoll, as Python wraps it, rounds up to whole milliseconds
    ready = select.select(readers, writers, [], timeout_ns / SECOND_NS)
    return bool(ready[0] or ready[1])


def _sharpen_timers() -> None:
    """Ask Linux to wake this thread without its usual 50 us of slack."""
    if sys.platform == "linux":
        set_timer_slack = 29
        ctypes.CDLL(None).prctl(set_timer_slack, to_ns(1e-6), 0, 0, 0)
