"""The exchange: steps against bytes that may be cut anywhere, early, late, overdue or somebody else's."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.clock import VirtualClock, to_ns
from drivers.codec import Expect, Pause, ReadValue, Steps, Subscribe, Write
from drivers.driver import Driver
from drivers.errors import AttError, HandshakeError, LinkLost
from drivers.exchange import Exchange
from drivers.link import Sink
from drivers.types import Batch, Event, LinkDown, LinkUp, StreamSpec

MS = 1_000_000


@dataclass
class Wire:
    """A link that writes down what it is asked for."""

    description: str = "the wire"
    clock: VirtualClock = field(default_factory=VirtualClock)
    done: list[tuple[str, str, bytes]] = field(default_factory=list)
    values: dict[str, bytes] = field(default_factory=dict)
    gone: bool = False

    def open(self, sink: Sink) -> None:
        self.sink = sink

    def write(self, data: bytes, channel: str = "") -> None:
        if self.gone:
            raise LinkLost("the wire is cut")
        self.done.append(("write", channel, data))

    def subscribe(self, channel: str) -> None:
        self.done.append(("subscribe", channel, b""))

    def read(self, channel: str) -> bytes | None:
        return self.values.get(channel)

    def close(self) -> None:
        self.done.append(("close", "", b""))


def chunks_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if b > a]


def left(exchange: Exchange) -> list[tuple[bytes, int]]:
    return [chunk for batch in exchange.leftover for chunk in batch.chunks()]


def greeting(heard: list[bytes | None]) -> Steps:
    yield Write(b"v")
    heard.append((yield Expect(rb"\$\$\$", "a banner")))
    yield Write(b"b")
    heard.append((yield Expect(rb"OK\n", "an OK")))


# --- bytes cut anywhere -----------------------------------------------------------------------------


@given(st.lists(st.integers(0, 40), max_size=12), st.lists(st.booleans(), min_size=13, max_size=13))
def test_how_the_bytes_are_cut_changes_neither_answers_nor_what_is_left(cuts: list[int], joined: list[bool]) -> None:
    heard: list[bytes | None] = []
    wire = Wire()
    exchange = Exchange(greeting(heard), wire, 0)
    parts = chunks_of(b"hello $$ there$$$junk OK\n\xa0data\xc0\xa0more", cuts)
    batches: list[list[tuple[bytes, int]]] = [[]]
    for number, part in enumerate(parts):
        batches[-1].append((part, number * MS))
        if joined[number]:
            batches.append([])
    for batch in batches:
        exchange.feed(Batch.of([p for p, _ in batch], np.array([at for _, at in batch], dtype=np.int64)))
    assert heard == [b"hello $$ there$$$", b"junk OK\n"]
    assert wire.done == [("write", "", b"v"), ("write", "", b"b")]
    assert exchange.done
    assert b"".join(data for data, _ in left(exchange)) == b"\xa0data\xc0\xa0more"


@given(st.lists(st.integers(0, 40), max_size=12))
def test_what_is_left_keeps_the_stamp_of_the_chunk_that_each_byte_came_in(cuts: list[int]) -> None:
    sent = b"$$$OK\n" + bytes(range(32))
    came: list[tuple[int, int]] = []
    exchange = Exchange(greeting([]), Wire(), 0)
    for number, part in enumerate(chunks_of(sent, cuts)):
        came += [(byte, 7 * number) for byte in part]
        exchange.feed(Batch.single(part, 7 * number))
    assert [(byte, at_ns) for data, at_ns in left(exchange) for byte in data] == came[len(b"$$$OK\n") :]


def test_an_answer_that_came_before_it_was_expected_counts() -> None:
    heard: list[bytes | None] = []
    exchange = Exchange(greeting(heard), Wire(), 0)
    exchange.feed(Batch.single(b"$$$OK\n", 5))
    assert exchange.done and heard == [b"$$$", b"OK\n"]
    assert exchange.leftover == []


def test_a_flood_that_never_answers_takes_bounded_memory() -> None:
    exchange = Exchange(greeting([]), Wire(), 0)
    for number in range(300):
        exchange.feed(Batch.single(b"x" * 1000, number))
    exchange.feed(Batch.single(b"$$$", 300))
    exchange.feed(Batch.single(b"OK\n", 301))
    assert exchange.done
    with pytest.raises(HandshakeError, match=r"found 65536 bytes: b'xxx"):
        _overdue_after(300_000)


def _overdue_after(size: int) -> None:
    exchange = Exchange(greeting([]), Wire(), 0)
    exchange.feed(Batch.single(b"x" * size, 0))
    exchange.feed(Batch.single(b"x", 0))
    exchange.tick(to_ns(3))


# --- time ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "found"), [(b"", "silence"), (b"Login: ", r"7 bytes: b'Login: '")])
def test_an_overdue_answer_names_what_was_expected_where_and_what_came_instead(said: bytes, found: str) -> None:
    exchange = Exchange(greeting([]), Wire(), 1000)
    if said:
        exchange.feed(Batch.single(said, 2000))
    exchange.tick(1000 + to_ns(3) - 1)
    with pytest.raises(HandshakeError, match=rf"the wire: expected a banner within 3 s, found {found}"):
        exchange.tick(1000 + to_ns(3))


def test_an_answer_that_is_stamped_after_its_deadline_is_overdue_even_if_nobody_looked_meanwhile() -> None:
    exchange = Exchange(greeting([]), Wire(), 0)
    with pytest.raises(HandshakeError, match="expected a banner"):
        exchange.feed(Batch.single(b"$$$", to_ns(3)), to_ns(9))


def test_an_answer_that_came_in_time_counts_even_if_it_is_looked_at_late() -> None:
    heard: list[bytes | None] = []
    exchange = Exchange(greeting(heard), Wire(), 0)
    exchange.feed(Batch.single(b"$$$", to_ns(2.9)), to_ns(9))
    exchange.tick(to_ns(9))
    assert heard == [b"$$$"]
    assert exchange.deadline_ns == to_ns(9) + to_ns(3), "the device has its full time from the next command on"


def test_an_optional_answer_that_does_not_come_is_none_and_costs_no_data() -> None:
    heard: list[bytes | None] = []

    def steps() -> Steps:
        heard.append((yield Expect(b"PROMPT", "a prompt", timeout_s=0.5, optional=True)))

    exchange = Exchange(steps(), Wire(), 0)
    exchange.feed(Batch.of([b"\xa0sam", b"ple"], np.array([100 * MS, 200 * MS])))
    exchange.tick(500 * MS)
    assert exchange.done and heard == [None]
    assert left(exchange) == [(b"\xa0sam", 100 * MS), (b"ple", 200 * MS)]


def test_what_came_during_an_optional_wait_can_answer_the_next_step() -> None:
    heard: list[bytes | None] = []

    def steps() -> Steps:
        heard.append((yield Expect(b"PROMPT", "a prompt", timeout_s=0.5, optional=True)))
        heard.append((yield Expect(b"READY", "a READY")))

    exchange = Exchange(steps(), Wire(), 0)
    exchange.feed(Batch.single(b"READY", 100 * MS))
    exchange.tick(500 * MS)
    assert exchange.done and heard == [None, b"READY"]


@given(st.lists(st.integers(0, 30), max_size=5))
def test_a_pause_drops_what_is_stamped_before_its_end_and_nothing_else_however_it_is_batched(cuts: list[int]) -> None:
    def steps() -> Steps:
        yield Pause(0.010)

    at_ns = np.arange(30, dtype=np.int64) * MS
    chunks = [bytes([k]) for k in range(30)]
    exchange = Exchange(steps(), Wire(), 0)
    edges = [0, *sorted(cuts), 30]
    for a, b in pairwise(edges):
        exchange.feed(Batch.of(chunks[a:b], at_ns[a:b]))
        exchange.tick(int(at_ns[b - 1]) if b else 0)
    assert left(exchange) == [(bytes([k]), k * MS) for k in range(10, 30)]


# --- several channels -----------------------------------------------------------------------------------


def test_a_notification_that_nobody_waits_for_is_data_with_its_channel_and_stamp() -> None:
    def steps() -> Steps:
        yield Subscribe("ecg")
        yield Subscribe("control")
        yield Write(b"start", "control")
        yield Expect(rb"\x01", "a success", channel="control")

    wire = Wire()
    exchange = Exchange(steps(), wire, 0)
    exchange.feed(Batch.single(b"\x01early", 3, "ecg"))
    assert not exchange.done
    exchange.feed(Batch.single(b"\x01", 4, "control"))
    exchange.feed(Batch.single(b"late", 5, "ecg"))
    assert exchange.done
    assert [(b.channel, b.data, b.at_ns.tolist()) for b in exchange.leftover] == [
        ("ecg", b"\x01early", [3]),
        ("ecg", b"late", [5]),
    ]
    assert [kind for kind, _, _ in wire.done] == ["subscribe", "subscribe", "write"]


def test_the_rest_of_one_channels_answer_never_answers_for_another() -> None:
    heard: list[bytes | None] = []

    def steps() -> Steps:
        heard.append((yield Expect(b"A", "an A", channel="one")))
        heard.append((yield Expect(b"B", "a B", channel="two")))

    exchange = Exchange(steps(), Wire(), 0)
    exchange.feed(Batch.single(b"A and B", 1, "one"))
    assert not exchange.done
    exchange.feed(Batch.single(b"B", 2, "two"))
    assert exchange.done and heard == [b"A", b"B"]
    assert [(b.channel, b.data) for b in exchange.leftover] == [("one", b" and B")]


def test_reading_a_value_gives_it_to_the_next_step_or_none() -> None:
    heard: list[bytes | None] = []

    def steps() -> Steps:
        heard.append((yield ReadValue("there")))
        heard.append((yield ReadValue("absent")))

    assert Exchange(steps(), Wire(values={"there": b"\x07"}), 0).done
    assert heard == [b"\x07", None]


# --- trouble ----------------------------------------------------------------------------------------------


def test_a_lost_link_and_a_refusal_reach_the_caller() -> None:
    with pytest.raises(LinkLost):
        Exchange(greeting([]), Wire(gone=True), 0)

    def refusing() -> Steps:
        answer = yield Expect(rb".", "a digit")
        raise HandshakeError(f"expected a digit, found {answer!r}")

    exchange = Exchange(refusing(), Wire(), 0)
    with pytest.raises(HandshakeError, match="found b'x'"):
        exchange.feed(Batch.single(b"x", 1))


def test_an_exchange_without_steps_is_done_and_passes_everything_on() -> None:
    def steps() -> Steps:
        yield from ()

    exchange = Exchange(steps(), Wire(), 0)
    batch = Batch.single(b"data", 1)
    exchange.feed(batch)
    exchange.tick(to_ns(99))
    assert exchange.done and exchange.leftover == [batch]


def test_an_empty_batch_is_nothing() -> None:
    exchange = Exchange(greeting([]), Wire(), 0)
    exchange.feed(Batch.of([], np.zeros(0, dtype=np.int64)))
    assert not exchange.done and exchange.leftover == []


class Echoing:
    """A Host that decodes nothing and keeps what it is fed."""

    streams: tuple[StreamSpec, ...] = ()

    def __init__(self) -> None:
        self.fed: list[Batch] = []

    def start(self) -> Steps:
        heard: list[bytes | None] = []
        yield from greeting(heard)
        if heard[0] == b"imposter$$$":
            raise HandshakeError("expected a banner, found an imposter's")

    def stop(self) -> Steps:
        yield Write(b"s")

    def feed(self, batch: Batch) -> list[Event]:
        self.fed.append(batch)
        return []


def test_a_driver_gives_its_host_what_came_behind_the_exchange_and_only_that() -> None:
    wire, host = Wire(), Echoing()
    wire.clock.schedule(10 * MS, lambda: wire.sink(Batch.single(b"banner$$$", 9 * MS)))
    wire.clock.schedule(20 * MS, lambda: wire.sink(Batch.of([b"OK\n\xa0", b"\x01"], np.array([18 * MS, 19 * MS]))))
    wire.clock.schedule(30 * MS, lambda: wire.sink(Batch.single(b"\x02", 29 * MS)))
    with Driver(host, wire) as driver:
        assert list(driver.events(40 * MS)) == []
    assert [chunk for batch in host.fed for chunk in batch.chunks()] == [
        (b"\xa0", 18 * MS), (b"\x01", 19 * MS), (b"\x02", 29 * MS),
    ]  # fmt: skip
    assert wire.done[-2:] == [("write", "", b"s"), ("close", "", b"")]


def test_a_driver_that_meets_a_wrong_answer_says_so_at_the_next_tick_and_not_while_handling() -> None:
    driver = Driver(Echoing(), Wire())
    driver.begin()
    assert driver.handle(Batch.single(b"imposter$$$OK\n", 1)) == []
    for _ in range(2):
        with pytest.raises(HandshakeError, match="imposter"):
            driver.tick()
        assert driver.handle(Batch.single(b"data", 2)) == []
        assert not driver.streaming
    driver.give_up()
    assert driver.tick() == []


def test_a_refusal_after_the_link_came_back_is_told_by_tick_and_forgotten_when_it_goes_again() -> None:
    @dataclass
    class Picky(Wire):
        refusing: bool = False

        def write(self, data: bytes, channel: str = "") -> None:
            if self.refusing:
                raise AttError(0x80, "not now")
            super().write(data, channel)

    wire = Picky()
    driver = Driver(Echoing(), wire)
    driver.begin()
    driver.handle(Batch.single(b"$$$OK\n", 1))
    assert driver.streaming
    wire.refusing = True
    for down, up in ((LinkDown(2, "gone"), LinkUp(3)), (LinkDown(4, "gone"), LinkUp(5))):
        assert driver.handle(down) == [down]
        assert driver.tick() == []
        assert driver.handle(up) == [up]
        with pytest.raises(AttError, match="not now"):
            driver.tick()
        assert not driver.streaming
    wire.refusing = False
    driver.handle(LinkDown(6, "gone"))
    driver.handle(LinkUp(7))
    driver.handle(Batch.single(b"$$$OK\n", 8))
    assert driver.streaming and driver.tick() == []
