"""Runs an exchange's steps over a link as bytes and time arrive, without ever blocking."""

from __future__ import annotations

import re

import numpy as np

from drivers.clock import to_ns
from drivers.codec import Expect, Pause, ReadValue, Steps, Subscribe, Write
from drivers.errors import HandshakeError
from drivers.link import Link
from drivers.types import Batch

_MAX_PENDING = 65536
_NOTHING = Batch.of([], np.zeros(0, dtype=np.int64))


class Exchange:
    """One run of Host.start() or Host.stop(): feed it what arrives, tick it as time passes.

    ``done`` tells when the last step is over; ``leftover`` is what arrived behind it, or on a channel that
    was not waited for, with its stamps. A step's end follows from the stamps, so that bytes which come
    late to this object, many at once, have the effect that they would have had one by one.
    """

    def __init__(self, steps: Steps, link: Link, now_ns: int) -> None:
        self._steps = steps
        self._link = link
        self._pending = _NOTHING  # what arrived on the channel that is waited for, and is not used yet
        self._wait: Expect | Pause | None = None
        self.deadline_ns = now_ns
        self.done = False
        self.leftover: list[Batch] = []
        self._run(None, now_ns, first=True)

    def feed(self, batch: Batch, now_ns: int | None = None) -> None:
        """Bytes arrived; raises HandshakeError if the exchange refuses them, or if they are overdue.

        ``now_ns`` is the time now, from which the next step's time counts; by default that of the last chunk.
        """
        rest = batch
        while len(rest):
            if self.done or rest.channel != self._channel():
                self.leftover.append(rest)  # a notification that nobody waits for is data already
                return
            in_time = int(np.searchsorted(rest.at_ns, self.deadline_ns))
            if not in_time:
                self._overtime(int(rest.at_ns[0]), now_ns)
                continue
            cut = int(rest.ends[in_time - 1])
            self._take(Batch(rest.data[:cut], rest.ends[:in_time], rest.at_ns[:in_time], rest.channel), now_ns)
            rest = _behind(rest, cut)

    def tick(self, now_ns: int) -> None:
        """Time passed; raises HandshakeError when an expected answer is overdue."""
        if not self.done and now_ns >= self.deadline_ns:
            self._overtime(now_ns, None)

    def _channel(self) -> str:
        """Where the bytes come from that this step waits for; or that a pause passes over."""
        return self._wait.channel if isinstance(self._wait, Expect | Pause) else ""

    def _take(self, batch: Batch, now_ns: int | None) -> None:
        """Bytes on the right channel, in time."""
        if isinstance(self._wait, Pause):
            return
        self._pending = _joined(self._pending, batch)
        self._match(max(int(batch.at_ns[-1]), now_ns or 0))

    def _overtime(self, at_ns: int, now_ns: int | None) -> None:
        """The step's time was over at at_ns."""
        if isinstance(self._wait, Expect) and not self._wait.optional:
            raise HandshakeError(self._overdue(self._wait))
        if isinstance(self._wait, Pause):
            self._pending = _NOTHING
        self._run(None, max(at_ns, now_ns or 0))
        self._match(max(at_ns, now_ns or 0))

    def _overdue(self, wait: Expect) -> str:
        got = self._pending.data
        found = f"{len(got)} bytes: {got[:48]!r}" if got else "silence"
        return (
            f"{self._link.description}: expected {wait.what} within {wait.timeout_s:g} s, found {found}. "
            "Check that the device is switched on and that the rig names the right sensor, port and baud rate."
        )

    def _match(self, now_ns: int) -> None:
        """Go on as long as the bytes that are there answer what is expected; what is left over is data."""
        while isinstance(self._wait, Expect) and self._pending.channel == self._wait.channel:
            found = re.search(self._wait.pattern, self._pending.data, re.DOTALL)
            if found is None:
                return
            text, self._pending = self._pending.data[: found.end()], _behind(self._pending, found.end())
            self._run(text, now_ns)
        if not isinstance(self._wait, Pause) and len(self._pending):
            self.leftover.append(self._pending)
            self._pending = _NOTHING

    def _run(self, result: bytes | None, now_ns: int, first: bool = False) -> None:
        self._wait = None
        try:
            step = next(self._steps) if first else self._steps.send(result)
            while True:
                if isinstance(step, Expect | Pause):
                    seconds = step.timeout_s if isinstance(step, Expect) else step.seconds
                    self._wait, self.deadline_ns = step, now_ns + to_ns(seconds)
                    return
                step = self._steps.send(self._perform(step))
        except StopIteration:
            self.done = True

    def _perform(self, step: Write | Subscribe | ReadValue) -> bytes | None:
        if isinstance(step, Write):
            self._link.write(step.data, step.channel)
        elif isinstance(step, Subscribe):
            self._link.subscribe(step.channel)
        else:
            return self._link.read(step.channel)
        return None


def _joined(first: Batch, second: Batch) -> Batch:
    """One batch of both, the newest _MAX_PENDING bytes of it."""
    if not len(first):
        return second
    ends = np.concatenate([first.ends, second.ends + len(first.data)])
    both = Batch(first.data + second.data, ends, np.concatenate([first.at_ns, second.at_ns]), second.channel)
    return _behind(both, max(len(both.data) - _MAX_PENDING, 0))


def _behind(batch: Batch, cut: int) -> Batch:
    """What is left of the batch behind its first ``cut`` bytes, each chunk with its stamp."""
    ends = batch.ends - cut
    keep = ends > 0
    return Batch(batch.data[cut:], ends[keep], batch.at_ns[keep], batch.channel)
