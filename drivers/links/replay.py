"""A recorded raw log as a link: the same bytes with the same spacing, on another clock.

Stamps are the recorded ones moved so that the recorded opening of the link falls on this one, so a
start-up exchange meets the recorded answers when it waits for them.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from drivers.clock import SECOND_NS, Clock, VirtualClock
from drivers.errors import LinkLost, SettingError
from drivers.link import Sink
from drivers.rawlog import GattValue, Opened, RawItem, RawLogError, merged, read_raw_log
from drivers.types import Batch, IntArray, LinkDown, LinkItem, LinkUp

_TALK_NS = 5 * SECOND_NS  # after the host's last word its exchange is taken to be over
_POLL_NS = 50_000_000  # how soon close() stops the thread


@dataclass
class _Stretch:
    """What arrived between two changes of the link, one batch per channel, and the change that ends it."""

    batches: list[Batch]
    end: LinkDown | LinkUp
    due_ns: list[IntArray] = field(init=False)
    done: list[int] = field(init=False)
    """Chunks delivered, per channel."""

    def __post_init__(self) -> None:
        self.due_ns = [np.maximum.accumulate(batch.at_ns) for batch in self.batches]
        self.done = [0] * len(self.batches)

    def next_ns(self) -> int | None:
        """When the next chunk is due; None once all are delivered."""
        waiting = [int(due[k]) for due, k in zip(self.due_ns, self.done, strict=True) if k < len(due)]
        return min(waiting, default=None)

    def take(self, until_ns: int) -> list[Batch]:
        """Everything due by now that was not taken before, in order of each batch's first stamp."""
        taken = []
        for i, batch in enumerate(self.batches):
            first, last = self.done[i], int(np.searchsorted(self.due_ns[i], until_ns, side="right"))
            if last > first:
                start = int(batch.ends[first - 1]) if first else 0
                data = batch.data[start : int(batch.ends[last - 1])]
                taken.append(Batch(data, batch.ends[first:last] - start, batch.at_ns[first:last], batch.channel))
                self.done[i] = last
        return sorted(taken, key=lambda batch: int(batch.at_ns[0]))


class ReplayLink:
    """Plays ``path`` (raw/<role>.bin of a run) to its end, then sends LinkDown("end of recording").

    In virtual time it delivers ``quantum_ns`` at once, but each chunk at its own moment while the host
    talks; in real time a thread delivers each chunk when it is due. ``speed`` 2.0 halves every interval,
    stamps included, so all rates double; None is the recorded pace. What the host writes is swallowed;
    GATT reads give the recorded values in turn, and the last one from then on.
    """

    def __init__(self, path: str | Path, clock: Clock, speed: float | None = None, quantum_ns: int = SECOND_NS) -> None:
        if speed is not None and not 0 < speed < float("inf"):
            raise SettingError(f"replay speed: expected a positive number such as 2.0, found {speed!r}")
        self.path, self.clock, self.speed, self.quantum_ns = Path(path), clock, speed, quantum_ns
        self.description = f"replay of {path}"
        self.torn_bytes = 0
        """Size of the log's incomplete end, known once it is open."""
        self._sink: Sink | None = None
        self._up = False
        self._stretches: deque[_Stretch] = deque()
        self._values: dict[str, deque[bytes | None]] = {}
        self._talking_until_ns = 0
        self._turn = 0
        self._thread: threading.Thread | None = None

    # --- opening and closing ------------------------------------------------------------------

    def open(self, sink: Sink) -> None:
        """Play from the beginning; RawLogError (a LinkError) if there is nothing that can be played."""
        log = read_raw_log(self.path)
        if not log.items:
            raise RawLogError(f"{self.path}: the raw log is empty, there is nothing to replay")
        self.torn_bytes = log.torn_bytes
        items = _from_opening(log.items)
        self._load(items, _first_ns(items), self.clock.now_ns())
        self._sink, self._up = sink, True
        self._talking_until_ns = self.clock.now_ns() + _TALK_NS
        if isinstance(self.clock, VirtualClock):
            self._arm(self.clock)
        else:
            self._thread = threading.Thread(target=self._run, name=self.description, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Deliver nothing more; safe to call twice."""
        self._sink, self._up = None, False
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _load(self, items: tuple[RawItem, ...], opened_ns: int, now_ns: int) -> None:
        def moved(at_ns: IntArray) -> IntArray:
            since = at_ns - opened_ns
            return now_ns + (since if self.speed is None else np.rint(since / self.speed).astype(np.int64))

        self._values = defaultdict(deque)
        self._stretches.clear()
        channels: dict[str, list[Batch]] = defaultdict(list)
        last_ns, up = opened_ns, True
        for item in items:
            last_ns = max(last_ns, _last_ns(item))
            if isinstance(item, Batch) and len(item):
                channels[item.channel].append(Batch(item.data, item.ends, moved(item.at_ns), item.channel))
            elif isinstance(item, GattValue):
                self._values[item.channel].append(item.value)
            elif isinstance(item, LinkDown | LinkUp):
                at_ns, up = int(moved(np.array([item.arrival_ns]))[0]), isinstance(item, LinkUp)
                change = LinkUp(at_ns) if isinstance(item, LinkUp) else LinkDown(at_ns, item.reason)
                self._stretches.append(_Stretch([merged(batches) for batches in channels.values()], change))
                channels.clear()
        if up or channels:
            end = LinkDown(int(moved(np.array([last_ns]))[0]), "end of recording")
            self._stretches.append(_Stretch([merged(batches) for batches in channels.values()], end))

    # --- what the host does -------------------------------------------------------------------

    def write(self, data: bytes, channel: str = "") -> None:
        """Swallowed: the answer is in the recording. LinkLost while the recorded link was down."""
        self._talk()

    def subscribe(self, channel: str) -> None:
        """Nothing to do: what was notified is in the recording."""
        self._talk()

    def read(self, channel: str) -> bytes | None:
        """The next value that was recorded for this characteristic, None where there was none."""
        self._talk()
        values = self._values.get(channel)
        if not values:
            return None
        return values.popleft() if len(values) > 1 else values[0]

    def _talk(self) -> None:
        if not self._up:
            raise LinkLost(f"{self.description}: the link is down")
        self._talking_until_ns = self.clock.now_ns() + _TALK_NS
        if isinstance(self.clock, VirtualClock):
            self._arm(self.clock)

    # --- delivering ---------------------------------------------------------------------------

    def _next_ns(self) -> int | None:
        if not self._stretches:
            return None
        chunk_ns = self._stretches[0].next_ns()
        return self._stretches[0].end.arrival_ns if chunk_ns is None else chunk_ns

    def _deliver(self) -> None:
        """Hand over what is due, up to the next change of the link and including it."""
        now_ns, stretch, sink = self.clock.now_ns(), self._stretches[0], self._sink
        items: list[LinkItem] = [*stretch.take(now_ns)]
        if stretch.next_ns() is None and stretch.end.arrival_ns <= now_ns:
            items.append(self._stretches.popleft().end)
            self._up = isinstance(items[-1], LinkUp)
            self._talking_until_ns = now_ns + _TALK_NS
        for item in items:
            if sink is not None:
                sink(item)

    def _arm(self, clock: VirtualClock) -> None:
        due_ns = self._next_ns()
        if due_ns is None:
            return
        if due_ns > self._talking_until_ns and self._stretches[0].next_ns() is not None:
            due_ns = -(-due_ns // self.quantum_ns) * self.quantum_ns
        self._turn += 1  # whatever was scheduled before is void
        clock.schedule(due_ns, partial(self._on_time, clock, self._turn))

    def _on_time(self, clock: VirtualClock, turn: int) -> None:
        if turn == self._turn and self._sink is not None:
            self._deliver()
            self._arm(clock)

    def _run(self) -> None:
        while self._sink is not None and (due_ns := self._next_ns()) is not None:
            self.clock.sleep_until(min(due_ns, self.clock.now_ns() + _POLL_NS))
            if due_ns <= self.clock.now_ns():
                self._deliver()


def _last_ns(item: RawItem) -> int:
    if isinstance(item, Batch):
        return int(item.at_ns.max()) if len(item) else 0
    return item.arrival_ns if isinstance(item, LinkDown | LinkUp) else item.at_ns


def _first_ns(items: tuple[RawItem, ...]) -> int:
    """When the recorded link was opened, or the first stamp of a log that does not say."""
    first = items[0]
    return int(first.at_ns.min()) if isinstance(first, Batch) and len(first) else _last_ns(first)


def _from_opening(items: tuple[RawItem, ...]) -> tuple[RawItem, ...]:
    """From the last opening before the first bytes on."""
    first_data = next((i for i, item in enumerate(items) if isinstance(item, Batch)), len(items))
    openings = [i for i, item in enumerate(items[:first_data]) if isinstance(item, Opened)]
    return items[openings[-1] if openings else 0 :]
