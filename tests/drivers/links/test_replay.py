"""A recorded link: same bytes, same spacing, same answers to the same exchange."""

import threading
from pathlib import Path

import numpy as np
import pytest

from drivers.clock import SECOND_NS, Clock, RealClock, VirtualClock
from drivers.codec import Expect, Pause, ReadValue, Steps, Subscribe, Write
from drivers.errors import HandshakeError, LinkError, LinkLost, SettingError
from drivers.exchange import Exchange
from drivers.links.replay import ReplayLink
from drivers.rawlog import Closed, GattValue, Opened, RawLogWriter
from drivers.types import Batch, LinkDown, LinkItem, LinkUp

MS = 1_000_000
RECORDED_NS = 7_000_000_000_000  # when the recorded link was opened


def recorded(path: Path, *items: object) -> Path:
    log = RawLogWriter(path)
    for item in items:
        log.put(item)  # type: ignore[arg-type]
    log.close()
    return path


def frames(count: int, every_ns: int, first_ns: int, channel: str = "") -> Batch:
    parts = [b"%06d" % k for k in range(count)]
    return Batch.of(parts, RECORDED_NS + first_ns + every_ns * np.arange(count), channel)


def played(link: ReplayLink, clock: Clock, until_ns: int) -> list[tuple[LinkItem, int]]:
    """Everything that comes until a time, with the moment at which it came."""
    inbox = clock.inbox()
    link.open(lambda item: inbox.put("", item))
    got = []
    while (item := inbox.get(until_ns)) is not None:
        got.append((item[1], clock.now_ns()))
    return got


def test_bytes_come_back_with_their_stamps_moved_to_the_new_clock(tmp_path: Path) -> None:
    sent = frames(5000, 4 * MS, 100 * MS)
    path = recorded(tmp_path / "a.bin", Opened(RECORDED_NS), sent, Closed(RECORDED_NS + 25 * SECOND_NS))
    clock = VirtualClock(11 * SECOND_NS + 5)
    got = played(ReplayLink(path, clock), clock, 60 * SECOND_NS)
    batches = [item for item, _ in got if isinstance(item, Batch)]
    assert b"".join(batch.data for batch in batches) == sent.data
    stamps = np.concatenate([batch.at_ns for batch in batches])
    assert np.array_equal(stamps, sent.at_ns - RECORDED_NS + 11 * SECOND_NS + 5)
    assert [size for batch in batches for size in np.diff(batch.ends, prepend=0)] == [6] * 5000
    assert all(batch.at_ns[-1] <= now for batch, now in got if isinstance(batch, Batch))


def test_the_end_of_the_recording_is_a_lost_link_at_the_recorded_end(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.bin", Opened(RECORDED_NS), frames(3, MS, MS), Closed(RECORDED_NS + 9 * SECOND_NS))
    clock = VirtualClock()
    link = ReplayLink(path, clock)
    got = played(link, clock, 60 * SECOND_NS)
    assert got[-1] == (LinkDown(9 * SECOND_NS, "end of recording"), 9 * SECOND_NS)
    with pytest.raises(LinkLost, match=r"a\.bin"):
        link.write(b"s")


def test_streaming_comes_by_the_second_and_an_exchange_chunk_by_chunk(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.bin", Opened(RECORDED_NS), frames(5000, 4 * MS, 4 * MS))
    clock = VirtualClock()
    moments = [now for item, now in played(ReplayLink(path, clock), clock, 30 * SECOND_NS) if isinstance(item, Batch)]
    early, late = [t for t in moments if t <= 5 * SECOND_NS], [t for t in moments if t > 5 * SECOND_NS]
    assert early == [4 * MS * k for k in range(1, 1251)]
    assert late == [SECOND_NS * k for k in range(6, 21)]


def run_exchange(steps: Steps, link: ReplayLink, clock: VirtualClock) -> Exchange:
    inbox = clock.inbox()
    link.open(lambda item: inbox.put("", item))
    exchange = Exchange(steps, link, clock.now_ns())
    while not exchange.done:
        got = inbox.get(min(exchange.deadline_ns, clock.now_ns() + 100 * MS))
        if got is not None:
            assert isinstance(got[1], Batch)
            exchange.feed(got[1])
        exchange.tick(clock.now_ns())
    return exchange


def test_a_start_up_exchange_meets_the_recorded_answers(tmp_path: Path) -> None:
    answers: list[bytes | None] = []

    def steps() -> Steps:
        yield Write(b"v")
        answers.append((yield Expect(rb"\$\$\$", "the banner")))
        yield Pause(0.5)
        yield Write(b"b")
        answers.append((yield Expect(rb"OK", "the acknowledgement")))

    path = recorded(
        tmp_path / "a.bin",
        Opened(RECORDED_NS),
        Batch.single(b"OpenBCI V3 $$$", RECORDED_NS + 80 * MS),
        Batch.single(b"stale", RECORDED_NS + 300 * MS),
        Batch.of([b"OK", b"\xa0data"], RECORDED_NS + np.array([700, 704]) * MS),
    )
    clock = VirtualClock(3 * SECOND_NS)
    run_exchange(steps(), ReplayLink(path, clock), clock)
    assert answers == [b"OpenBCI V3 $$$", b"OK"]
    assert clock.now_ns() == 3 * SECOND_NS + 700 * MS


def test_a_silent_recording_fails_the_exchange_as_the_silent_device_did(tmp_path: Path) -> None:
    def steps() -> Steps:
        yield Expect(rb"\$\$\$", "the banner", timeout_s=1.0)

    path = recorded(tmp_path / "a.bin", Opened(RECORDED_NS), Closed(RECORDED_NS + 10 * SECOND_NS))
    clock = VirtualClock()
    with pytest.raises(HandshakeError, match="the banner"):
        run_exchange(steps(), ReplayLink(path, clock), clock)


def test_gatt_reads_give_the_recorded_values_in_turn(tmp_path: Path) -> None:
    read: list[bytes | None] = []

    def steps() -> Steps:
        yield Subscribe("data")
        read.append((yield ReadValue("battery")))
        read.append((yield ReadValue("battery")))
        read.append((yield ReadValue("battery")))
        read.append((yield ReadValue("location")))
        read.append((yield ReadValue("never read then")))

    at = RECORDED_NS
    path = recorded(
        tmp_path / "a.bin",
        Opened(at),
        GattValue("battery", b"\x64", at),
        GattValue("location", None, at),
        GattValue("battery", b"\x63", at + SECOND_NS),
    )
    clock = VirtualClock()
    run_exchange(steps(), ReplayLink(path, clock), clock)
    assert read == [b"\x64", b"\x63", b"\x63", None, None]


def test_a_recorded_loss_of_the_link_comes_in_its_place_and_blocks_writing(tmp_path: Path) -> None:
    path = recorded(
        tmp_path / "a.bin",
        Opened(RECORDED_NS),
        frames(10, MS, 0),
        LinkDown(RECORDED_NS + SECOND_NS, "unplugged"),
        LinkUp(RECORDED_NS + 3 * SECOND_NS),
        frames(10, MS, 3 * SECOND_NS + MS),
    )
    clock = VirtualClock()
    link = ReplayLink(path, clock)
    got = [item for item, _ in played(link, clock, 2 * SECOND_NS)]
    assert got[-1] == LinkDown(SECOND_NS, "unplugged")
    with pytest.raises(LinkLost, match="down"):
        link.write(b"b")
    clock.sleep_until(3 * SECOND_NS)
    link.write(b"b")
    items = [item for item, _ in played(link, clock, 90 * SECOND_NS) if not isinstance(item, Batch)]
    assert [type(item) for item in items] == [LinkDown, LinkUp, LinkDown]


def test_a_recording_that_ends_unplugged_says_so_once(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.bin", Opened(RECORDED_NS), frames(2, MS, 0), LinkDown(RECORDED_NS + 5 * MS, "gone"))
    clock = VirtualClock()
    got = [item for item, _ in played(ReplayLink(path, clock), clock, 10 * SECOND_NS)]
    assert [item for item in got if isinstance(item, LinkDown)] == [LinkDown(5 * MS, "gone")]


def test_channels_keep_apart_and_in_step(tmp_path: Path) -> None:
    path = recorded(
        tmp_path / "a.bin", Opened(RECORDED_NS), frames(900, 10 * MS, 0, "ecg"), frames(300, 30 * MS, 0, "acc")
    )
    clock = VirtualClock()
    got = [item for item, _ in played(ReplayLink(path, clock), clock, 30 * SECOND_NS) if isinstance(item, Batch)]
    for channel, count in (("ecg", 900), ("acc", 300)):
        data = b"".join(batch.data for batch in got if batch.channel == channel)
        assert data == frames(count, 1, 0).data
    ends = [int(batch.at_ns[-1]) for batch in got]
    starts = [int(batch.at_ns[0]) for batch in got]
    assert all(later >= earlier - SECOND_NS for earlier, later in zip(ends, starts[1:], strict=False))


def test_double_speed_halves_every_interval(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.bin", Opened(RECORDED_NS), frames(100, 20 * MS, 0))
    clock = VirtualClock(SECOND_NS)
    got = [item for item, _ in played(ReplayLink(path, clock, speed=2.0), clock, 9 * SECOND_NS)]
    stamps = np.concatenate([item.at_ns for item in got if isinstance(item, Batch)])
    assert np.array_equal(stamps, SECOND_NS + 10 * MS * np.arange(100))


def test_real_time_is_paced_on_a_thread_and_ends_by_itself(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.bin", Opened(RECORDED_NS), frames(20, 5 * MS, 0))
    clock = RealClock()
    ended, got = threading.Event(), []

    def sink(item: LinkItem) -> None:
        got.append((item, clock.now_ns()))
        if isinstance(item, LinkDown):
            ended.set()

    link = ReplayLink(path, clock)
    opened_ns = clock.now_ns()
    link.open(sink)
    assert ended.wait(30)
    link.close()
    batches = [(item, now) for item, now in got if isinstance(item, Batch)]
    assert b"".join(item.data for item, _ in batches) == frames(20, 1, 0).data
    assert all(int(item.at_ns[-1]) <= now for item, now in batches)
    stamps = np.concatenate([item.at_ns for item, _ in batches])
    assert stamps[0] >= opened_ns and np.all(np.diff(stamps) == 5 * MS)


def test_closing_stops_a_real_replay_and_may_be_done_twice(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.bin", Opened(RECORDED_NS), frames(2, 3600 * SECOND_NS, 0))
    got: list[LinkItem] = []
    link = ReplayLink(path, RealClock())
    link.open(got.append)
    link.close()
    link.close()
    assert len(got) <= 1
    assert not any(thread.name == link.description for thread in threading.enumerate())


def test_a_torn_log_plays_what_it_has_and_says_what_it_lacks(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.bin", Opened(RECORDED_NS), frames(4, MS, 0))
    path.write_bytes(path.read_bytes() + b"\x01half a record")
    clock = VirtualClock()
    link = ReplayLink(path, clock)
    got = [item for item, _ in played(link, clock, SECOND_NS) if isinstance(item, Batch)]
    assert b"".join(item.data for item in got) == frames(4, 1, 0).data
    assert link.torn_bytes == 14


def test_it_can_be_opened_again_from_the_start(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.bin", Opened(RECORDED_NS), frames(4, MS, MS))
    clock = VirtualClock()
    link = ReplayLink(path, clock)
    for _ in range(2):
        got = [item for item, _ in played(link, clock, clock.now_ns() + SECOND_NS)]
        assert b"".join(item.data for item in got if isinstance(item, Batch)) == frames(4, 1, 0).data
        link.close()


def test_an_empty_or_absent_log_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match=r"absent\.bin"):
        ReplayLink(tmp_path / "absent.bin", VirtualClock()).open(lambda item: None)
    with pytest.raises(LinkError, match="empty"):
        ReplayLink(recorded(tmp_path / "a.bin"), VirtualClock()).open(lambda item: None)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_a_speed_without_meaning_is_refused(speed: float) -> None:
    with pytest.raises(SettingError, match="speed"):
        ReplayLink("a.bin", VirtualClock(), speed=speed)
