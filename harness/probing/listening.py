"""Connects to one sensor and listens: what came, when, how old it was, and what happened beside."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from drivers.clock import Clock, RealClock
from drivers.driver import Driver
from drivers.errors import SensorError
from drivers.link import Link, Sink
from drivers.types import Batch, Event, FloatArray, LinkItem, Samples, StreamSpec
from harness.probing.readings import MissingKeyError, Plain, WrongShapeError, plain

_BREATH_NS = 1_000_000
"""A driver of unknown make that returns at once is asked again no sooner: it may return at once for ever."""
_FEWEST_READINGS = 5
"""Fewer do not show how unevenly readings come."""
_SAME_CLOCK_S = 3600.0
"""Timestamps further from a clock than this are not of that clock."""


class Interface(Protocol):
    """What can be probed: our Driver, or any object of this shape."""

    def connect(self) -> bool:
        """Whether the sensor is there."""

    def read_data(self, timeout: float = 5.0) -> Any:
        """A mapping with physiological, timestamps and quality_metrics; None if nothing came in time."""


@dataclass
class Heard:
    """What one stream delivered while it was probed."""

    values: list[FloatArray] = field(default_factory=list)
    """(n, channels) each."""
    ages_ms: list[float] = field(default_factory=list)
    """Age of the newest sample of each reading, at the moment when it was read."""
    read: list[tuple[float, int]] = field(default_factory=list)
    """When each reading came, s, and how many samples had come by then."""
    score: float = float("nan")
    flags: frozenset[str] = frozenset()
    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Samples."""
        return sum(len(part) for part in self.values)

    @property
    def no_numbers(self) -> float:
        """Share of the values that are NaN or infinite."""
        of = sum(part.size for part in self.values)
        return sum(int((~np.isfinite(part)).sum()) for part in self.values) / of if of else 0.0


@dataclass
class Listened:
    """One probe, before anything is judged."""

    name: str
    where: str
    seconds: float
    """For how long was to be listened."""
    streams: dict[str, Heard] = field(default_factory=dict)
    specs: tuple[StreamSpec, ...] = ()
    """Of those streams whose rate and kind are known; a driver of unknown make may declare none."""
    events: list[Event] = field(default_factory=list)
    connected: bool = False
    connect_ms: float = float("nan")
    first_ms: float | None = None
    """From the call of connect() to the first reading; None where none came, or only empty ones of unknown streams."""
    elapsed_s: float = 0.0
    """From the end of connect()."""
    received_bytes: int | None = None
    """On the link, since it was opened; None where that is not ours to see."""
    connect_bytes: int = 0
    """Of these, those that came until connect() was over."""
    stamp_error_ns: Mapping[str, int] = field(default_factory=dict)
    """How late the link stamps what arrives, measured: n, p50, p99, max; empty where the link cannot tell."""
    error: BaseException | None = None
    """What connect() said or raised, or what ended the listening."""
    error_step: str = ""
    raised: bool = False
    """The error came out of the driver as an exception, in that step."""
    missing_key: str = ""
    wrong_shape: str = ""

    @property
    def count(self) -> int:
        """Samples of all streams."""
        return sum(stream.count for stream in self.streams.values())


class _MeteredLink:
    """A link that counts the bytes that come over it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.received = 0

    def __getattr__(self, name: str) -> Any:
        """Whatever the link can do."""
        return getattr(self._link, name)

    def open(self, sink: Sink) -> None:
        """As the link does."""

        def counted(item: LinkItem) -> None:
            if isinstance(item, Batch):
                self.received += len(item.data)
            sink(item)

        self._link.open(counted)


def declared(driver: Interface) -> tuple[StreamSpec, ...]:
    """What a driver says of its streams; nothing where it says nothing, or says it in another way."""
    streams = getattr(driver, "streams", ())
    return tuple(s for s in streams if isinstance(s, StreamSpec)) if isinstance(streams, tuple | list) else ()


def listen(driver: Interface, seconds: float, clock: Clock | None = None) -> Listened:
    """Connect, read until ``seconds`` are over, close; nothing that the driver raises comes out of here."""
    clock = clock or getattr(driver, "clock", None) or RealClock()
    link = getattr(driver, "link", None)
    heard = Listened(
        str(getattr(driver, "name", "") or type(driver).__name__), str(getattr(link, "description", "")), seconds,
        specs=declared(driver),
    )  # fmt: skip
    heard.streams = {spec.name: Heard() for spec in heard.specs}
    meter = _MeteredLink(link) if isinstance(driver, Driver) and link is not None else None
    if meter is not None:
        driver.link = meter  # type: ignore[attr-defined]
    try:
        _probe(driver, heard, clock)
    finally:
        tell = getattr(link, "stamp_error_ns", None)
        heard.stamp_error_ns = tell() if tell is not None and heard.connected else {}
        if meter is not None:
            driver.link, heard.received_bytes = link, meter.received  # type: ignore[attr-defined]
    return heard


def _probe(driver: Interface, heard: Listened, clock: Clock) -> None:
    started_ns = clock.now_ns()
    heard.error_step = "connect"
    try:
        heard.connected = bool(driver.connect())
        heard.connect_ms = (clock.now_ns() - started_ns) / 1e6
        if not heard.connected:
            heard.error = getattr(driver, "last_error", None)
            return
        link = getattr(driver, "link", None)
        heard.connect_bytes = link.received if isinstance(link, _MeteredLink) else 0
        heard.error_step = "acquire"
        _acquire(driver, heard, clock, started_ns)
    except Exception as error:  # noqa: BLE001  a driver of unknown make may raise anything; it is what is probed here
        heard.error, heard.raised = error, True
    finally:
        _close(driver, heard)


def _close(driver: Interface, heard: Listened) -> None:
    """What a driver offers to end with, close() or disconnect(), if it was there at all."""
    close = getattr(driver, "close", None) or getattr(driver, "disconnect", None)
    if not heard.connected or close is None:
        return
    try:
        close()
    except Exception as error:  # noqa: BLE001  as above
        if heard.error is None:
            heard.error, heard.error_step, heard.raised = error, "close", True


def _acquire(driver: Interface, heard: Listened, clock: Clock, started_ns: int) -> None:
    begun_ns = clock.now_ns()
    try:
        _read(driver, heard, clock, started_ns)
    finally:
        heard.elapsed_s = (clock.now_ns() - begun_ns) / 1e9


def _read(driver: Interface, heard: Listened, clock: Clock, started_ns: int) -> None:
    end_ns = clock.now_ns() + round(heard.seconds * 1e9)
    own = isinstance(driver, Driver)
    while clock.now_ns() < end_ns and not (heard.missing_key or heard.wrong_shape):
        reading = driver.read_data(timeout=(end_ns - clock.now_ns()) / 1e9)
        if reading is not None:
            came_ms = (clock.now_ns() - started_ns) / 1e6
            _note(reading, heard, clock)
            if heard.first_ms is None and (heard.count or heard.specs or heard.missing_key or heard.wrong_shape):
                heard.first_ms = came_ms
        if not own:
            clock.sleep_until(clock.now_ns() + _BREATH_NS)
    if own:
        with suppress(SensorError):  # what it refused with has been told
            heard.events += [e for e in driver.events(clock.now_ns()) if not isinstance(e, Samples)]  # type: ignore[attr-defined]


def _note(reading: Any, heard: Listened, clock: Clock) -> None:
    try:
        found = plain(reading, heard.specs)
    except MissingKeyError as missing:
        heard.missing_key = str(missing)
        return
    except WrongShapeError as wrong:
        heard.wrong_shape = str(wrong)
        return
    heard.events += getattr(reading, "events", ())
    for name, values in found.values.items():
        stream = heard.streams.setdefault(name, Heard())
        _take(stream, values, found.times_s[name], clock)
        _score(stream, name, found)


def _take(stream: Heard, values: FloatArray, times_s: FloatArray, clock: Clock) -> None:
    stream.values.append(values)
    now_s = clock.now_ns() / 1e9
    if len(values):
        stream.read.append((now_s, stream.count))
        age_s = _age_s(float(times_s.max()), now_s, clock)
        if age_s is not None:
            stream.ages_ms.append(1e3 * age_s)


def _age_s(stamp_s: float, now_s: float, clock: Clock) -> float | None:
    """Age on the clock that the stamp is of, ours or the wall's; None if it is of neither."""
    for now in (now_s, clock.utc().timestamp()):
        if abs(now - stamp_s) < _SAME_CLOCK_S:
            return now - stamp_s
    return None


def _score(stream: Heard, name: str, found: Plain) -> None:
    quality = found.quality
    if quality.streams:
        stream.score = quality.streams.get(name, float("nan"))
        stream.flags, stream.parts = quality.flags.get(name, frozenset()), quality.parts.get(name, {})
    else:  # one number for all that it reads
        stream.score = float(quality)


@dataclass(frozen=True, slots=True)
class Rate:
    """Samples per second that came, between the first and the last reading."""

    value: float
    low: float
    high: float
    """It lies within, if no reading was later than another by more than those that were seen."""
    n: int


def rate_of(stream: Heard, lost: int = 0) -> Rate | None:
    """The rate at which samples were taken: those that came and those that are known to be lost; None of few readings.

    The first reading holds what has waited in some buffer, so counting begins after it. How unevenly readings came
    shows in how far they lie off the line of their counts; a line's ends may be wrong by so much, and no more.
    """
    if len(stream.read) < _FEWEST_READINGS:
        return None
    at_s, count = (np.array(column, dtype=np.float64) for column in zip(*stream.read, strict=True))
    spent, came = float(at_s[-1] - at_s[0]), float(count[-1] - count[0])
    if spent <= 0 or came <= 0:
        return None
    late = at_s - at_s[0] - (count - count[0]) * (spent / came)
    share = min(float(np.ptp(late)) / spent, 0.999)
    value = (came + lost) / spent
    return Rate(value, value / (1 + share), value / (1 - share), int(came))
