"""Pairs of packets are samples of sixteen channels. The packets here are laid out by hand, as the firmware writes them:
0xA0, counter, eight 24-bit numbers, six more bytes and 0xC0; odd counters are the board's, even ones the Daisy's."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.codec import Block, Reply
from drivers.cyton_board import CytonBoard
from drivers.errors import HandshakeError, SettingError
from drivers.exchange import Exchange
from drivers.sensors.openbci_cyton import Device, Host, Settings
from drivers.types import Batch, CounterReset, Event, Lost, Malformed, Reordered, Repeated, Samples

UV_PER_COUNT = 4.5 / 24 / (2**23 - 1) * 1e6
DAISY = Settings(daisy=True)


def count_of(number: int, channel: int) -> int:
    """What the ADC says in packet ``number``: any numbers will do that differ."""
    return number * 100 + channel - 50_000


def packet(number: int) -> bytes:
    channels = range(1, 9) if number % 2 else range(9, 17)
    octets = b"".join(count_of(number, c).to_bytes(3, "big", signed=True) for c in channels)
    return bytes([0xA0, number % 256]) + octets + bytes(6) + b"\xc0"


def sample(number: int) -> list[float]:
    """Sample 0 is in packets 0 and 1, the Daisy's channels in packet 0."""
    return [count_of(2 * number + (c <= 8), c) * UV_PER_COUNT for c in range(1, 17)]


def heard(numbers: list[int], host: Host | None = None, each: bool = False) -> list[Event]:
    host = host or Host(DAISY)
    pieces = [packet(n) for n in numbers]
    at_ns = np.maximum.accumulate(np.array(numbers, dtype=np.int64) * 4_000_000 + 10**9)
    if each:
        return [e for p, t in zip(pieces, at_ns.tolist(), strict=True) for e in host.feed(Batch.single(p, t))]
    return host.feed(Batch.of(pieces, at_ns))


def numbers_of(events: list[Event]) -> list[int]:
    return [n for e in events if isinstance(e, Samples) and e.stream == "exg" for n in e.index.tolist()]


def total(events: list[Event], kind: type[Lost | Reordered | Repeated]) -> int:
    return sum(e.count for e in events if isinstance(e, kind) and e.stream == "exg")


def samples_of(events: list[Event]) -> Samples:
    (found,) = [e for e in events if isinstance(e, Samples) and e.stream == "exg"]
    return found


def blocks_of(device: Device, count: int) -> dict[str, Block]:
    rng, blocks = np.random.default_rng(2), {}
    for spec in device.streams:
        n = count if spec.name != "accel" else -(-count // 5)
        due = np.rint(np.arange(n) * (1e9 / spec.rate_hz)).astype(np.int64)
        blocks[spec.name] = Block(np.arange(n), due, due, rng.integers(1, 30_000, (n, len(spec.channels))) * spec.lsb)
    return blocks


# --- pairs ------------------------------------------------------------------------------------


def test_an_even_packet_and_the_odd_one_behind_it_are_one_sample_of_sixteen_channels() -> None:
    found = samples_of(heard(list(range(7))))
    assert found.index.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.values, [sample(n) for n in range(3)], rtol=1e-12)
    assert found.arrival_ns.tolist() == [10**9 + 4_000_000 * n for n in (1, 3, 5)], "those of the odd packets"


def test_pairs_go_on_through_the_counters_wrap() -> None:
    found = samples_of(heard(list(range(1000))))
    assert found.index.tolist() == list(range(500))
    np.testing.assert_allclose(found.values, [sample(n) for n in range(500)], rtol=1e-12)


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize(
    ("gone", "lost"),
    [({50}, [25]), ({51}, [25]), ({50, 51}, [25]), ({51, 52}, [25, 26]), ({49, 50, 51, 52}, [24, 25, 26]),
     ({51, 56, 61}, [25, 28, 30]), (set(range(39, 640)), list(range(19, 320)))],
)  # fmt: skip
def test_a_lost_half_loses_its_sample_and_the_count_is_exact(gone: set[int], lost: list[int], each: bool) -> None:
    events = heard([n for n in range(800) if n not in gone], each=each)
    assert sorted(set(range(400)) - set(numbers_of(events))) == lost
    assert total(events, Lost) == len(lost)
    assert not total(events, Reordered) + total(events, Repeated)


@pytest.mark.parametrize(("first", "number"), [(0, 0), (1, 1), (2, 1), (3, 2)])
def test_a_half_whose_other_half_went_before_anybody_listened_is_no_loss(first: int, number: int) -> None:
    events = heard(list(range(first, 20)))
    assert numbers_of(events)[0] == number
    assert total(events, Lost) == 0


def test_the_very_first_sample_is_counted_when_its_second_half_is_lost() -> None:
    events = heard([4, 6, 7, 8, 9])
    assert numbers_of(events) == [3, 4]
    assert total(events, Lost) == 1


@pytest.mark.parametrize("each", [False, True])
def test_halves_that_overtake_one_another_are_put_together(each: bool) -> None:
    order = [*range(20), 20, 22, 21, 23, 25, 24, *range(26, 40)]  # two pairs interlocked, one turned round
    events = heard(order, each=each)
    assert numbers_of(events) == list(range(20))
    rows = np.concatenate([e.values for e in events if isinstance(e, Samples)])
    np.testing.assert_allclose(rows, [sample(n) for n in range(20)], rtol=1e-12)
    assert total(events, Lost) == total(events, Reordered)


def test_a_sample_that_comes_whole_only_behind_a_later_one_takes_its_loss_back() -> None:
    events = heard([*range(21), 22, 23, 21, *range(24, 40)])
    assert sorted(numbers_of(events)) == list(range(20))
    assert (total(events, Lost), total(events, Reordered)) == (1, 1)


def test_a_repeated_packet_makes_no_second_sample() -> None:
    events = heard([0, 1, 1, 2, 2, 3, 4, 5])
    assert numbers_of(events) == [0, 1, 2]
    assert total(events, Repeated) == 2
    assert total(events, Lost) == 0


def test_a_restarted_counter_begins_a_segment_and_takes_no_half_along() -> None:
    host = Host(DAISY)
    events = host.feed(Batch.of([packet(n) for n in range(100)], np.arange(100) * 4_000_000))
    events += host.feed(Batch.of([packet(n) for n in range(20)], (np.arange(20) + 100) * 4_000_000))
    assert [e.stream for e in events if isinstance(e, CounterReset)] == ["exg", "accel"]
    assert numbers_of(events) == [*range(50), *range(10)]
    assert total(events, Lost) == 0


def test_a_jump_of_the_boards_clock_between_two_halves_loses_no_sample() -> None:
    stamped = [packet(n)[:28] + (1000 + 4 * n + 500 * (n >= 11)).to_bytes(4, "big") + b"\xc4" for n in range(20)]
    events = Host(Settings(daisy=True, timestamps=True)).feed(Batch.single(b"".join(stamped), 5))
    assert numbers_of(events) == list(range(10))
    found = [e for e in events if isinstance(e, Samples)]
    assert [e.segment for e in found] == [0, 1]
    assert found[0].device_ns.tolist() == [(1004 + 8 * n) * 1_000_000 for n in range(5)], "that of the odd packet"


# --- the board --------------------------------------------------------------------------------


def test_the_simulated_board_sends_the_packets_that_the_firmware_lays_out() -> None:
    device = Device(DAISY)
    device.receive(b"b")
    counts = np.array([[count_of(2 * n + (c <= 8), c) for c in range(1, 17)] for n in range(200)])
    blocks = blocks_of(device, 200)
    due_ns = blocks["exg"].due_ns
    blocks["exg"] = Block(np.arange(200), due_ns, due_ns, counts * UV_PER_COUNT)
    (batch,) = device.encode(blocks)
    frames = [batch.data[33 * k : 33 * k + 33] for k in range(400)]
    assert [f[:26] for f in frames] == [packet(n)[:26] for n in range(400)]


def test_stamps_are_four_milliseconds_apart_as_packets_are() -> None:
    device = Device(Settings(daisy=True, timestamps=True))
    device.receive(b"<b")
    blocks = {name: Block(b.index, b.due_ns, b.due_ns + 10**9, b.values) for name, b in blocks_of(device, 50).items()}
    (batch,) = device.encode(blocks)
    frames = np.frombuffer(batch.data, np.uint8).reshape(-1, 33)
    assert frames[:3, 32].tolist() == [0xC3, 0xC4, 0xC4]
    assert set(np.diff(np.ascontiguousarray(frames[:, 28:32]).view(">u4")[:, 0].astype(int))) == {4}


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"C", b"16$$$"),
        (b"c", b"daisy removed$$$"),
        (b"cc", b"daisy removed$$$"),
        (b"cC", b"daisy removed$$$daisy attached16$$$"),
        (b"qwertyuiQWERTYUI", b""),
        (b"xQ060110X", b"Success: Channel set for 9$$$"),
        (b"xI060110X", b"Success: Channel set for 16$$$"),
        (b"zW10Z", b"Success: Lead off set for 10$$$"),
    ],
)
def test_the_daisys_commands_are_answered_as_the_firmware_does(command: bytes, reply: bytes) -> None:
    assert b"".join(r.data for r in CytonBoard(daisy=True).receive(command)) == reply


def test_the_banner_names_the_daisy() -> None:
    (reply,) = Device(DAISY).receive(b"v")
    assert reply.data.split(b"\r\n")[1:3] == [b"On Board ADS1299 Device ID: 0x3E", b"On Daisy ADS1299 Device ID: 0x3E"]


def test_a_daisy_channel_is_switched_off_and_its_gain_is_set() -> None:
    device = Device(DAISY)
    device.receive(b"wxQ050110Xb")  # channel 10 off, gain 12 on channel 9
    (batch,) = device.encode(blocks_of(device, 20))
    values, sent = samples_of(Host(DAISY).feed(batch)).values, blocks_of(device, 20)["exg"].values
    np.testing.assert_allclose(values[:, 8], sent[:, 8] / 2, atol=UV_PER_COUNT)
    assert not values[:, 9].any()
    np.testing.assert_allclose(np.delete(values, [8, 9], 1), np.delete(sent, [8, 9], 1), atol=1e-9)


def test_the_internal_test_signal_keeps_its_frequency_at_125_samples_a_second() -> None:
    """ADS1299: 1.875 mV either side at fclk / 2^21 = 0.977 Hz."""
    device = Device(DAISY)
    device.receive(b"-b")
    (batch,) = device.encode(blocks_of(device, 1250))
    wave = samples_of(Host(DAISY).feed(batch)).values[:, 12]
    assert set(np.round(np.abs(wave), 0)) == {1875.0}
    assert abs(np.count_nonzero(np.diff(np.sign(wave))) / 2 / 10 - 2.048e6 / 2**21) < 0.06


def test_a_board_without_its_daisy_sends_the_boards_channels_in_every_packet() -> None:
    device = Device(DAISY)
    device.receive(b"cb")
    (batch,) = device.encode(blocks_of(device, 10))
    values = samples_of(Host(DAISY).feed(batch)).values
    np.testing.assert_array_equal(values[:, 8:], values[:, :8])


# --- start ------------------------------------------------------------------------------------


class Line:
    description = "a test line"

    def __init__(self, device: Device) -> None:
        self.device, self.replies, self.written = device, list[Reply](), b""

    def write(self, data: bytes, channel: str = "") -> None:
        self.written += data
        self.replies += self.device.receive(data)


def started(host: Host, device: Device) -> bytes:
    """What the host wrote to get the device going."""
    line = Line(device)
    exchange, now_ns = Exchange(host.start(), line, 0), 0
    while not exchange.done:
        now_ns += 100_000_000
        replies, line.replies = line.replies, []
        for reply in replies:
            exchange.feed(Batch.single(reply.data, now_ns))
        exchange.tick(now_ns)
    return line.written


def test_the_host_asks_for_the_daisy_and_sets_the_gain_of_sixteen_channels() -> None:
    settings = Settings(daisy=True, gain=12)
    device = Device(settings)
    written = started(Host(settings), device)
    assert written.startswith(b"svCx1050110Xx2050110X")
    assert written.endswith(b"xU050110XxI050110Xb")
    assert device.streaming


def test_a_board_that_has_no_daisy_is_refused_with_what_to_do() -> None:
    with pytest.raises(HandshakeError, match=r"no daisy to attach!8.*daisy: true"):
        started(Host(DAISY), Device(Settings()))


def test_a_daisy_that_nobody_asked_for_is_taken_off() -> None:
    device = Device(DAISY)
    assert started(Host(Settings()), device) == b"svcb"


@pytest.mark.parametrize(
    ("bad", "message"),
    [({"streams": {"eeg": [9]}}, r"not one of 1..8.*daisy: true"),
     ({"streams": {"eeg": [17]}, "daisy": True}, r"not one of 1..16$")],
)  # fmt: skip
def test_channels_that_are_not_there_are_refused(bad: dict, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Settings(**bad)


def test_damage_between_two_halves_costs_only_what_it_touches() -> None:
    pieces = [packet(n) for n in range(200)]
    pieces[101] = pieces[101][:20]
    events = Host(DAISY).feed(Batch.of(pieces, np.arange(200) * 4_000_000))
    assert sorted(set(range(100)) - set(numbers_of(events))) == [50]
    assert total(events, Lost) == 1
    assert [e for e in events if isinstance(e, Malformed)]
