"""Runs an exchange's steps over a link as bytes and time arrive, without ever blocking."""

from __future__ import annotations

import re

from drivers.clock import to_ns
from drivers.codec import Expect, Pause, ReadValue, Steps, Subscribe, Write
from drivers.errors import HandshakeError
from drivers.link import Link
from drivers.types import Batch

_MAX_PENDING = 65536


class Exchange:
    """One run of Host.start() or Host.stop(): feed it what arrives, tick it as time passes.

    ``done`` tells when the last step is over; ``leftover`` is what arrived behind it.
    """

    def __init__(self, steps: Steps, link: Link, now_ns: int) -> None:
        self._steps = steps
        self._link = link
        self._pending = b""  # what arrived on the channel that is waited for, and is not used yet
        self._wait: Expect | Pause | None = None
        self.deadline_ns = now_ns
        self.done = False
        self.leftover: list[Batch] = []
        self._run(None, now_ns, first=True)

    def feed(self, batch: Batch) -> None:
        """Bytes arrived; raises HandshakeError if the exchange refuses them."""
        if self.done:
            self.leftover.append(batch)
            return
        if batch.channel != (self._wait.channel if isinstance(self._wait, Expect) else ""):
            self.leftover.append(batch)  # a notification that nobody waits for is data already
            return
        last_ns = int(batch.at_ns[-1]) if len(batch) else self.deadline_ns
        self._pending = (self._pending + batch.data)[-_MAX_PENDING:]
        self._match(last_ns)
        if self.done and self._pending:
            tail = len(self._pending)
            cut = Batch.single(self._pending, last_ns, batch.channel)
            if tail <= len(batch.data):  # keep the stamps of the chunks that the tail came in
                ends = batch.ends - (len(batch.data) - tail)
                keep = ends > 0
                cut = Batch(self._pending, ends[keep], batch.at_ns[keep], batch.channel)
            self.leftover.append(cut)
            self._pending = b""

    def tick(self, now_ns: int) -> None:
        """Time passed; raises HandshakeError when an expected answer is overdue."""
        if self.done or now_ns < self.deadline_ns:
            return
        if isinstance(self._wait, Pause):
            self._pending = b""
            self._run(None, now_ns)
        elif isinstance(self._wait, Expect):
            if not self._wait.optional:
                raise HandshakeError(self._overdue(self._wait))
            self._run(None, now_ns)

    def _overdue(self, wait: Expect) -> str:
        found = f"{len(self._pending)} bytes: {self._pending[:48]!r}" if self._pending else "silence"
        return (
            f"{self._link.description}: expected {wait.what} within {wait.timeout_s:g} s, found {found}. "
            "Check that the device is switched on and that the rig names the right sensor, port and baud rate."
        )

    def _match(self, now_ns: int) -> None:
        while isinstance(self._wait, Expect):
            found = re.search(self._wait.pattern, self._pending, re.DOTALL)
            if found is None:
                return
            text, self._pending = self._pending[: found.end()], self._pending[found.end() :]
            self._run(text, now_ns)

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
