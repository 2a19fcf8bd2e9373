"""Pacing against a clock that moves only when the pacer waits: no test here takes real time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import AttError
from drivers.types import Batch, LinkDown, LinkUp
from simulators.serve.outlet import Backlog, Chunk, Lateness
from simulators.serve.pacer import QUIET_NS, STREAMING_NS, HostAction, Pacer, Served, replay

MS = 1_000_000


class SlowClock:
    """Every look at it takes 1 us; waiting takes what was asked for, plus ``oversleep_ns``."""

    def __init__(self) -> None:
        self.time_ns = 0
        self.oversleep_ns = 0

    def now_ns(self) -> int:
        self.time_ns += 1000
        return self.time_ns

    def wait(self, readers: list[int], writers: list[int], timeout_ns: int) -> bool:
        if timeout_ns:
            self.time_ns += timeout_ns + self.oversleep_ns
        return False


class Metronome:
    """Sends its tick number every ``period_ns`` once it was told ``b``, and costs ``cost_ns`` to render."""

    description = "metronome"

    def __init__(self, period_ns: int, clock: SlowClock | None = None, cost_ns: int = 0) -> None:
        self.period_ns, self.clock, self.cost_ns = period_ns, clock, cost_ns
        self.begun_ns: int | None = None
        self.done_ns = -1
        self.outages: list[LinkDown | LinkUp] = []

    def advance(self, until_ns: int) -> list[Batch | LinkDown | LinkUp]:
        if self.clock is not None:
            self.clock.time_ns += self.cost_ns
        begin, self.done_ns = self.done_ns + 1, max(until_ns, self.done_ns)
        items: list[Batch | LinkDown | LinkUp] = [o for o in self.outages if begin <= o.arrival_ns <= until_ns]
        if self.begun_ns is not None:
            first = -(-(begin - self.begun_ns) // self.period_ns)
            ticks = np.arange(max(first, 0), (until_ns - self.begun_ns) // self.period_ns + 1)
            if len(ticks):
                due = self.begun_ns + ticks * self.period_ns
                items.insert(0, Batch.of([int(tick).to_bytes(4, "big") for tick in ticks], due))
        return items

    def receive(self, data: bytes, at_ns: int, channel: str = "") -> None:
        assert at_ns >= self.done_ns, "a command cannot change what was sent already"
        self.begun_ns = at_ns + 1 if data == b"b" else None

    def read(self, channel: str) -> bytes | None:
        return channel.encode()

    def subscribe(self, channel: str, at_ns: int, on: bool = True) -> None:
        self.receive(b"b" if on else b"s", at_ns)

    def plugged(self, at_ns: int) -> bool:
        return True


class Ear:
    """An outlet that notes what it is given and when."""

    place = "ear"

    def __init__(self, clock: SlowClock) -> None:
        self.clock = clock
        self.lateness = Lateness()
        self.sent_bytes = self.dropped_bytes = self.unheard_bytes = 0
        self.heard: list[tuple[int, int, bytes]] = []
        self.writes = 0
        self.links: list[str] = []

    def open(self, served: Served) -> None:
        pass

    def readers(self) -> list[int]:
        return []

    def writers(self) -> list[int]:
        return []

    def send(self, chunks: Sequence[Chunk]) -> None:
        self.writes += 1
        now_ns = self.clock.now_ns()
        for due_ns, data, _ in chunks:
            self.heard.append((now_ns, due_ns, data))
            self.lateness.add(now_ns - due_ns)
            self.sent_bytes += len(data)

    def attend(self) -> list[bytes]:
        return []

    def unplug(self) -> None:
        self.links.append("down")

    def replug(self) -> None:
        self.links.append("up")

    def close(self) -> None:
        pass


@contextmanager
def pacing(clock: SlowClock, *sensors: Metronome) -> Iterator[tuple[Pacer, list[Served], list[Ear]]]:
    ears = [Ear(clock) for _ in sensors]
    served = [Served(str(n), sensor, ear, 0) for n, (sensor, ear) in enumerate(zip(sensors, ears, strict=True))]
    pacer = Pacer(served, clock, wait=clock.wait)
    yield pacer, served, ears
    pacer.close()


def run_to(pacer: Pacer, clock: SlowClock, until_ns: int) -> None:
    while clock.time_ns < until_ns:
        pacer.step()


def test_every_chunk_is_sent_once_in_order_and_never_early() -> None:
    clock = SlowClock()
    with pacing(clock, Metronome(4 * MS), Metronome(1 * MS)) as (pacer, served, ears):
        for one in served:
            one.act(0, "write", b"b")
        run_to(pacer, clock, 1000 * MS)
    for ear, period in zip(ears, (4 * MS, 1 * MS), strict=True):
        ticks = [int.from_bytes(data, "big") for _, _, data in ear.heard]
        assert ticks == list(range(len(ticks)))
        assert len(ticks) == 1000 * MS // period
        assert all(sent >= due for sent, due, _ in ear.heard)


def test_no_chunk_is_later_than_a_few_looks_at_the_clock_when_waiting_is_exact() -> None:
    clock = SlowClock()
    with pacing(clock, Metronome(4 * MS)) as (pacer, served, ears):
        served[0].act(0, "write", b"b")
        run_to(pacer, clock, 1000 * MS)
    assert ears[0].lateness.max_ns <= 5_000


def test_the_cost_of_rendering_is_paid_between_chunks_and_makes_none_late() -> None:
    clock = SlowClock()
    slow = Metronome(4 * MS, clock, cost_ns=300_000)
    with pacing(clock, slow, Metronome(4 * MS, clock, cost_ns=300_000)) as (pacer, served, ears):
        run_to(pacer, clock, 20 * MS)
        for one in served:
            one.act(clock.now_ns(), "write", b"b")
        run_to(pacer, clock, 1000 * MS)
    assert max(ear.lateness.max_ns for ear in ears) < 300_000


def test_oversleeping_by_less_than_the_spin_makes_nothing_late() -> None:
    clock = SlowClock()
    clock.oversleep_ns = 60_000
    with pacing(clock, Metronome(4 * MS)) as (pacer, served, ears):
        served[0].act(0, "write", b"b")
        run_to(pacer, clock, 1000 * MS)
    assert ears[0].lateness.max_ns <= 5_000


def test_a_pause_of_the_whole_machine_is_told_as_lateness_and_loses_nothing() -> None:
    clock = SlowClock()
    with pacing(clock, Metronome(4 * MS)) as (pacer, served, ears):
        served[0].act(0, "write", b"b")
        run_to(pacer, clock, 100 * MS)
        clock.time_ns += 500 * MS
        run_to(pacer, clock, 1000 * MS)
    assert [int.from_bytes(data, "big") for _, _, data in ears[0].heard] == list(range(250))
    assert 490 * MS <= ears[0].lateness.max_ns <= 501 * MS
    assert ears[0].writes < 250, "what was due together went in one write"


def test_a_command_takes_effect_within_the_look_ahead_and_never_in_the_past() -> None:
    clock = SlowClock()
    sensor = Metronome(4 * MS)
    with pacing(clock, sensor) as (pacer, served, ears):
        run_to(pacer, clock, 50 * MS)
        asked_ns = clock.now_ns()
        served[0].act(asked_ns, "write", b"b")
        assert sensor.begun_ns is not None
        assert asked_ns < sensor.begun_ns <= asked_ns + QUIET_NS + 1
        run_to(pacer, clock, 500 * MS)
        asked_ns = clock.now_ns()
        served[0].act(asked_ns, "write", b"s")
        run_to(pacer, clock, 1000 * MS)
    assert asked_ns - 5 * MS < max(due for _, due, _ in ears[0].heard) <= asked_ns + STREAMING_NS


def test_link_events_reach_the_outlet_in_their_place_between_chunks() -> None:
    clock = SlowClock()
    sensor = Metronome(4 * MS)
    sensor.outages = [LinkDown(100 * MS, "unplugged"), LinkUp(200 * MS)]
    with pacing(clock, sensor) as (pacer, served, ears):
        served[0].act(0, "write", b"b")
        run_to(pacer, clock, 150 * MS)
        assert ears[0].links == ["down"]
        run_to(pacer, clock, 250 * MS)
        assert ears[0].links == ["down", "up"]


def test_the_journal_renders_a_live_run_again_byte_for_byte() -> None:
    clock = SlowClock()
    with pacing(clock, Metronome(3 * MS)) as (pacer, served, ears):
        run_to(pacer, clock, 20 * MS)
        served[0].act(clock.now_ns(), "write", b"b")
        run_to(pacer, clock, 77 * MS)
        served[0].act(clock.now_ns(), "write", b"s")
        run_to(pacer, clock, 90 * MS)
        served[0].act(clock.now_ns(), "write", b"b")
        run_to(pacer, clock, 140 * MS)
        until_ns = served[0].ahead_ns
        run_to(pacer, clock, until_ns + 1)
    batches = [item for item in replay(Metronome(3 * MS), served[0].journal, until_ns) if isinstance(item, Batch)]
    again = [(at_ns, data) for batch in batches for data, at_ns in batch.chunks()]
    live = [(due, data) for _, due, data in ears[0].heard if due <= until_ns]
    assert again == live
    assert len(live) > 20


def test_a_write_that_the_device_refused_is_refused_again_in_a_replay() -> None:
    class Refusing(Metronome):
        def receive(self, data: bytes, at_ns: int, channel: str = "") -> None:
            raise AttError(0x80)

    clock = SlowClock()
    with pacing(clock, Refusing(4 * MS)) as (_, served, _), pytest.raises(AttError):
        served[0].act(clock.now_ns(), "write", b"x")
    assert len(served[0].journal) == 1
    assert replay(Refusing(4 * MS), served[0].journal, 10 * MS) == []


def test_calls_from_other_threads_run_in_the_pacing_thread_with_their_errors() -> None:
    clock = SlowClock()
    with pacing(clock, Metronome(4 * MS)) as (pacer, _, _):
        answer = pacer.submit(lambda now_ns: "done")
        failing = pacer.submit(lambda now_ns: 1 // 0)
        assert not answer.done()
        pacer.stop()
        pacer.run()
        assert answer.result(0) == "done"
        with pytest.raises(ZeroDivisionError):
            failing.result(0)


def test_a_watched_file_descriptor_is_served_and_stops_the_pacer() -> None:
    clock = SlowClock()
    out, into = os.pipe()
    served = Served("0", Metronome(4 * MS), Ear(clock), 0)
    pacer = Pacer([served], clock)
    pacer.watch(out, pacer.stop)
    os.write(into, b"stop")
    pacer.run()
    pacer.close()
    os.close(out)
    os.close(into)


def test_the_journal_keeps_what_the_host_did_with_the_time_at_which_it_took_effect() -> None:
    clock = SlowClock()
    with pacing(clock, Metronome(4 * MS)) as (_, served, _):
        served[0].render(10 * MS)
        served[0].act(7 * MS, "write", b"b")
        served[0].act(12 * MS, "unsubscribe", channel="2a37")
    assert served[0].journal == [
        HostAction(10 * MS, "write", b"b"),
        HostAction(12 * MS, "unsubscribe", b"", "2a37"),
    ]


# --- lateness and backlog -----------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=300), st.sampled_from([0.5, 0.99]))
def test_a_quantile_of_lateness_is_the_order_statistic_to_a_sixteenth(delays: list[int], share: float) -> None:
    lateness = Lateness()
    for delay in delays:
        lateness.add(delay)
    exact = float(np.quantile(delays, share, method="inverted_cdf"))
    found = lateness.quantile_ns(share)
    assert exact <= found <= exact * (1 + 1 / 16) + 1
    assert lateness.max_ns == max(delays)
    assert sum(count for _, count in lateness.summary()["histogram"]) == len(delays)


def test_no_chunk_at_all_gives_a_lateness_of_zero_with_n_zero() -> None:
    summary = Lateness().summary()
    assert (summary["n"], summary["p99_us"], summary["histogram"]) == (0, 0, [])


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.integers(0, 60)), max_size=60))
def test_a_backlog_keeps_order_is_bounded_and_drops_only_whole_chunks(steps: list[tuple[bytes, int]]) -> None:
    room = 0
    written = b""

    def write(data: bytes) -> int:
        nonlocal room, written
        count = min(room, len(data))
        if not count:
            raise BlockingIOError
        room -= count
        written += data[:count]
        return count

    backlog = Backlog(write, limit=100)
    kept = b""
    for data, more in steps:
        room = more
        if backlog.put(data):
            kept += data
        assert len(backlog) <= 100
    room = 10**6
    backlog.drain()
    assert written == kept
