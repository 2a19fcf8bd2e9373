import numpy as np
import pytest

from drivers.errors import HandshakeError, SettingError
from drivers.exchange import Exchange
from drivers.sensors.chords import BOARDS, Device, Host, Settings
from drivers.types import Batch, Lost, Malformed, Samples


class Wire:
    description = "a test port"

    def __init__(self, device: Device) -> None:
        self.device, self.replies = device, b""

    def write(self, data: bytes, channel: str) -> None:
        self.replies += b"".join(reply.data for reply in self.device.receive(data))


def packet(counter: int, count: int = 512) -> bytes:
    return bytes([0xC7, 0x7C, counter % 256]) + count.to_bytes(2, "big") * 6 + b"\x01"


def feed(host: Host, *packets: bytes) -> list:
    return host.feed(Batch.of(list(packets), np.arange(len(packets)) * 4_000_000))


def numbers(events: list) -> list[int]:
    return [k for e in events if isinstance(e, Samples) for k in e.index.tolist()]


def connect(board: str, expected: str = "UNO-R3") -> Exchange:
    wire = Wire(Device(Settings(board=board)))
    exchange = Exchange(Host(Settings(board=expected)).start(), wire, 0)
    exchange.tick(300_000_000)
    exchange.feed(Batch.single(wire.replies, 310_000_000), 310_000_000)
    assert wire.device.streaming
    return exchange


def test_the_board_is_asked_who_it_is_and_started() -> None:
    assert connect("UNO-R3").done


def test_another_board_is_refused_by_its_name() -> None:
    with pytest.raises(HandshakeError, match="expected a UNO-R3, found 'UNO-R4': set board to that"):
        connect("UNO-R4")


def test_a_board_that_resets_when_its_port_is_opened_is_asked_again() -> None:
    wire = Wire(Device(Settings()))
    exchange = Exchange(Host(Settings()).start(), wire, 0)
    exchange.tick(300_000_000)
    wire.replies = b""  # its boot loader has it
    exchange.tick(1_400_000_000)
    exchange.feed(Batch.single(wire.replies, 1_410_000_000), 1_410_000_000)
    assert exchange.done


def test_counts_are_microvolts_before_the_amplifier() -> None:
    """10 bits for 5 V: 4.8828 mV a count; through a gain of 1000, 4.8828 uV."""
    events = feed(Host(Settings(gain=1000)), packet(0, 513))
    assert events[0].values[0, 0] == pytest.approx(5e6 / 1024 / 1000)


def test_lost_packets_are_counted_across_the_wrap_of_the_counter() -> None:
    host = Host(Settings())
    came = [k for k in range(250, 270) if k not in (255, 256, 257)]
    events = host.feed(Batch.of([packet(k) for k in came], np.array(came) * 4_000_000))
    assert [e.count for e in events if isinstance(e, Lost)] == [3]
    assert numbers(events) == came


def test_a_packet_cut_short_costs_itself_only() -> None:
    events = feed(Host(Settings()), packet(1), packet(2)[:9], packet(3), packet(4))
    assert numbers(events) == [1, 3, 4]
    assert [e.size for e in events if isinstance(e, Malformed)] == [9]
    assert [e.count for e in events if isinstance(e, Lost)] == [1]


def test_every_board_has_the_packet_length_of_the_reference_reader() -> None:
    """chords_serial.py: two bytes a channel, a header of 3 and an end of 1."""
    for name, board in BOARDS.items():
        host = Host(Settings(board=name))
        data = b"\xc7\x7c\x05" + bytes(2 * board.channels) + b"\x01"
        assert numbers(host.feed(Batch.single(data, 0))) == [5]


@pytest.mark.parametrize(
    "wrong",
    [{"board": "UNO"}, {"gain": 0}, {"baud": -1}, {"streams": {"ecg": [6]}}, {"streams": {"ecg": []}},
     {"streams": {"ecg": [0], "eeg": [0]}}],
)  # fmt: skip
def test_a_setting_without_meaning_is_refused(wrong: dict) -> None:
    with pytest.raises(SettingError):
        Settings(**wrong)
