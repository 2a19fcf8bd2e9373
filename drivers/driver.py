"""The one Driver: a sensor's codec on a link, whether the sensor is real, simulated or recorded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

import numpy as np

from drivers.clock import Clock, Inbox, to_ns
from drivers.codec import Host, KeepAlive
from drivers.errors import HandshakeError, LinkError, NotConnected, ReadTimeout, SensorError
from drivers.exchange import Exchange
from drivers.link import Link
from drivers.quality import StreamScorer
from drivers.timebase import OnlineTimebase, arrivals_tell
from drivers.types import (
    Batch,
    Event,
    FloatArray,
    IntArray,
    LinkDown,
    LinkItem,
    LinkUp,
    Quality,
    Reading,
    Samples,
    StreamSpec,
)

_POLL_NS = 100_000_000
_KEPT = 1000
"""Events that wait for the next reading at most, where one reading after the other finds no sample."""


class Driver:
    """A connected sensor. ``connect``/``read_data`` for people, ``open``/``read``/``events`` for programs.

    ``host`` decodes, ``link`` carries, ``link.clock`` tells the time. With ``inbox`` and ``key`` several
    drivers share one consumer, which calls begin() on each, handle() with each item and tick() as time
    passes; what would take from the inbox (open, read, events) is not for such drivers.
    ``mains_hz``: the mains' frequency where the sensor is used, which quality scores then need not guess.
    """

    streams: tuple[StreamSpec, ...]
    """What the sensor sends."""

    def __init__(
        self, host: Host, link: Link, *, name: str = "sensor", key: str = "", inbox: Inbox | None = None,
        mains_hz: float | None = None,
    ) -> None:  # fmt: skip
        self.streams = tuple(replace(spec, mains_hz=spec.mains_hz or mains_hz) for spec in host.streams)
        self.host, self.link, self.name, self.key = host, link, name, key or name
        self.clock: Clock = link.clock
        self._shared = inbox is not None
        self.inbox = inbox if inbox is not None else self.clock.inbox()
        self.last_error: SensorError | None = None
        self._exchange: Exchange | None = None
        self._refused: SensorError | None = None  # how the exchange failed while bytes were handled
        self._opened = False
        self._down: LinkDown | None = None  # the link is lost at present
        self._keep_alive: KeepAlive | None = getattr(host, "keep_alive", None)
        self._spoken_ns = 0  # when the sensor last heard that it is wanted
        self._early: list[Event] = []  # what has happened and is in no reading yet
        self._timebases = {s.name: OnlineTimebase(None if arrivals_tell(s) else s.rate_hz) for s in self.streams}
        self._scorers = {s.name: StreamScorer(s) for s in self.streams}

    # --- opening and closing ------------------------------------------------------------------

    def open(self) -> None:
        """Open the link and make the sensor stream; LinkError or HandshakeError otherwise."""
        self._need_own_inbox()
        if self._opened:
            return
        self.begin()
        try:
            while self._exchange is not None:
                deadline = min(self._exchange.deadline_ns, self.clock.now_ns() + _POLL_NS)
                got = self.inbox.get(deadline)
                if got is not None and isinstance(got[1], LinkDown):
                    raise HandshakeError(
                        f"{self.link.description}: the link went down while connecting: {got[1].reason}"
                    )
                if got is not None:
                    self._early.extend(self.handle(got[1]))
                self._early.extend(self.tick())
        except SensorError:
            self.close()
            raise

    def begin(self) -> None:
        """Open the link and start the exchange without waiting for it; handle() and tick() drive it."""
        self._early, self._down = [], None
        if not self._shared:
            self.inbox = self.clock.inbox()  # without what came before the last close()
        self.link.open(lambda item: self.inbox.put(self.key, item))
        self._opened = True
        try:
            self._start_exchange()
        except SensorError:
            self.close()
            raise

    def _start_exchange(self) -> None:
        self._refused = None
        self._exchange = Exchange(self.host.start(), self.link, self.clock.now_ns())
        self._finish_exchange()

    def _finish_exchange(self) -> list[Event]:
        exchange = self._exchange
        if exchange is None or not exchange.done:
            return []
        self._exchange, self._spoken_ns = None, self.clock.now_ns()
        return [event for batch in exchange.leftover for event in self._decode(batch)]

    @property
    def streaming(self) -> bool:
        """The link is open and the start-up exchange is over."""
        return self._opened and self._exchange is None and self._refused is None

    def connect(self) -> bool:
        """open() for people: False sets ``last_error``; an absent or silent device never raises."""
        try:
            self.open()
        except SensorError as error:
            self.last_error = error
            return False
        self.last_error = None
        return True

    def close(self) -> None:
        """Ask the sensor to stop and release the link; safe to call twice."""
        if not self._opened:
            return
        self._opened, self._exchange, self._refused = False, None, None
        with suppress(SensorError):  # a sensor that is gone needs no stopping
            Exchange(self.host.stop(), self.link, self.clock.now_ns())
        self.link.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- receiving ----------------------------------------------------------------------------

    def handle(self, item: LinkItem) -> list[Event]:
        """Decode one item of the inbox. A link that came back runs its exchange again on the way.

        Never raises: an exchange that fails here is told by the next tick().
        """
        if isinstance(item, Batch):
            return self._take(item)
        self._exchange = self._refused = None
        self._down = item if isinstance(item, LinkDown) else None
        if isinstance(item, LinkUp):
            try:
                self._start_exchange()
            except LinkError:
                self._exchange = None  # lost again; the link says so itself
            except SensorError as error:
                self._refused = error
        return [item]

    def _take(self, batch: Batch) -> list[Event]:
        if self._refused is not None:
            return []
        if self._exchange is None:
            return self._decode(batch)
        try:
            self._exchange.feed(batch, self.clock.now_ns())
        except SensorError as error:
            self._refused = error
            return []
        return self._finish_exchange()

    def tick(self) -> list[Event]:
        """Let the exchange notice that time has passed; HandshakeError or AttError once it has failed."""
        if self._refused is not None:
            raise self._refused
        if self._exchange is None:
            return []
        self._exchange.tick(self.clock.now_ns())
        return self._finish_exchange()

    def _decode(self, batch: Batch) -> list[Event]:
        if self._keep_alive is not None:
            self._keep_it_alive(self._keep_alive)
        return self.host.feed(batch)

    def _keep_it_alive(self, word: KeepAlive) -> None:
        """Such a sensor streams many times a second, so what it sends is the clock for what it wants to hear."""
        now_ns = self.clock.now_ns()
        if self._opened and now_ns - self._spoken_ns >= to_ns(word.every_s):
            self._spoken_ns = now_ns
            with suppress(LinkError):  # the link says itself that it is gone
                self.link.write(word.data, word.channel)

    def timestamps(self, samples: Samples) -> FloatArray:
        """Seconds on the host clock at which the samples were taken, (n,), by the best estimate so far."""
        return np.asarray(self.times_ns(samples) / 1e9, dtype=np.float64)

    def times_ns(self, samples: Samples) -> IntArray:
        """The same in ns; call once for each Samples event, in order: the estimate learns from it."""
        return self._timebases[samples.stream].update(samples)

    def score(self, samples: Samples, times_ns: IntArray) -> None:
        """Let the quality score see samples with their host times (n,)."""
        self._scorers[samples.stream].update(samples, times_ns)

    def give_up(self) -> None:
        """Forget an exchange that failed after a link came back: the sensor stays silent."""
        self._exchange = self._refused = None

    def events(self, deadline_ns: int) -> Iterator[Event]:
        """Everything that happens until the deadline, as it happens; errors as read(), but for ReadTimeout."""
        self._need_open()
        while True:
            while self._early:
                yield self._early.pop(0)  # one by one: who stops listening leaves the rest to the next reading
            more = self._wait(deadline_ns)
            if more is None:
                return
            self._early += more

    def _wait(self, deadline_ns: int) -> list[Event] | None:
        """What the next item brings, or time itself where an exchange waits for it; None at the deadline."""
        until_ns = deadline_ns if self._exchange is None else min(deadline_ns, self._exchange.deadline_ns)
        got = self.inbox.get(until_ns)
        if got is None and until_ns == deadline_ns:
            return None
        events = [] if got is None else self.handle(got[1])
        try:
            return events + self.tick()
        except SensorError:
            self._early += events
            self.give_up()
            raise

    def _take_early(self) -> list[Event]:
        early, self._early = self._early, []
        return early

    def _need_open(self) -> None:
        self._need_own_inbox()
        if not self._opened:
            raise NotConnected(f"{self.name}: call open() or connect() first")

    def _need_own_inbox(self) -> None:
        if self._shared:
            raise RuntimeError(f"{self.name} shares its inbox: use begin(), and hand what arrives to handle()")

    def read(self, deadline_ns: int) -> Reading:
        """What arrived since the last reading, as soon as there is a sample.

        ReadTimeout at the deadline; HandshakeError or AttError, once, if a sensor that came back refuses to
        stream. What else happened until then is among the next reading's events.
        """
        self._need_open()
        events = self._take_early()
        try:
            found = _has_samples(events)
            while not found:
                more = self._wait(deadline_ns)
                if more is None:
                    raise ReadTimeout(f"{self.name}: no sample from {self.link.description} in time{self._why()}")
                events += more
                found = _has_samples(more)
            while (more := self._wait(self.clock.now_ns())) is not None:
                events += more
        except SensorError:
            self._early = (events + self._early)[-_KEPT:]
            raise
        return self._reading(events)

    def _why(self) -> str:
        return f"; the link is down: {self._down.reason}" if self._down else ""

    def read_data(self, timeout: float = 5.0) -> Reading | None:
        """read() for people: waits at most ``timeout`` seconds; None and ``last_error`` if nothing came.

        It returns as soon as something is there, so the first readings are shorter than a quality score
        needs: until then their quality is NaN, "unknown", which is neither below 0.5 nor above it.
        """
        try:
            return self.read(self.clock.now_ns() + to_ns(timeout))
        except SensorError as error:
            self.last_error = error
            return None

    def _reading(self, events: list[Event]) -> Reading:
        values: dict[str, list[FloatArray]] = defaultdict(list)
        stamps: dict[str, list[FloatArray]] = defaultdict(list)
        for event in events:
            if isinstance(event, Samples):
                times_ns = self.times_ns(event)
                self.score(event, times_ns)
                values[event.stream].append(event.values)
                stamps[event.stream].append(times_ns / 1e9)
        return Reading(
            {name: _plain(np.concatenate(parts)) for name, parts in values.items()},
            {name: np.concatenate(parts) for name, parts in stamps.items()},
            self._quality(list(values)),
            tuple(event for event in events if not isinstance(event, Samples)),
        )

    def _quality(self, names: list[str]) -> Quality:
        results = {name: self._scorers[name].result() for name in names}
        scores = {name: float(result) for name, result in results.items()}
        known = [score for score in scores.values() if score == score]  # NaN: too little has come to say
        return Quality(
            min(known, default=float("nan")),
            scores,
            {name: result.parts.get(name, {}) for name, result in results.items()},
            {name: result.flags.get(name, frozenset()) for name, result in results.items()},
        )


def _has_samples(events: list[Event]) -> bool:
    return any(isinstance(event, Samples) for event in events)


def _plain(values: FloatArray) -> FloatArray:
    """One channel as (n,), several as (n, channels)."""
    return values[:, 0] if values.shape[1] == 1 else values
