import numpy as np
import pytest

from drivers.codec import Block
from drivers.errors import SettingError
from drivers.sensors.nonin import GOLDEN, Device, Host, Settings
from drivers.types import Batch, Malformed, Notice, Samples

PACKET = GOLDEN[0].data
PERIOD = 13_333_333


def feed(host: Host, data: bytes, size: int = 5, at_ns: int = 0) -> list:
    chunks = [data[k : k + size] for k in range(0, len(data), size)]
    return host.feed(Batch.of(chunks, at_ns + np.arange(len(chunks)) * PERIOD))


def values(events: list, stream: str) -> list:
    return [v for e in events if isinstance(e, Samples) and e.stream == stream for v in e.values[:, 0].tolist()]


def notices(events: list, name: str) -> list:
    return [e.value for e in events if isinstance(e, Notice) and e.name == name]


def frame(status: int, pleth: int, value: int) -> bytes:
    return bytes([1, status, pleth, value, (1 + status + pleth + value) & 0xFF])


def packet(rate: int, spo2: int) -> bytes:
    floats = [rate >> 7, rate & 0x7F, spo2, 48] + [0] * 21
    return b"".join(frame(0x81 if k == 0 else 0x80, k, value) for k, value in enumerate(floats))


def test_rate_and_saturation_come_with_the_last_frame_of_their_packet() -> None:
    host = Host(Settings(format="DF2"))
    assert values(feed(host, PACKET[:-5]), "heart_rate") == []
    events = feed(host, PACKET[-5:], at_ns=24 * PERIOD)
    assert [e.arrival_ns.tolist() for e in events if isinstance(e, Samples) and e.stream == "spo2"] == [[24 * PERIOD]]


def test_the_pleth_does_not_wait_for_the_packet() -> None:
    assert values(feed(Host(Settings(format="DF2")), PACKET[:15]), "ppg") == [1.0] * 3


def test_a_packet_in_which_a_frame_is_missing_is_left_out_and_told() -> None:
    """Without the second frame its saturation would be read as a rate."""
    good = packet(72, 97)
    events = feed(Host(Settings(format="DF2")), good + good[:5] + good[10:] + good)
    assert values(events, "heart_rate") == [72.0, 72.0]
    assert values(events, "spo2") == [97.0, 97.0]
    assert notices(events, "packet_incomplete") == [1.0]
    assert len(values(events, "ppg")) == 74


def test_the_rest_of_a_packet_at_the_beginning_is_no_incomplete_one() -> None:
    events = feed(Host(Settings(format="DF2")), packet(72, 97)[50:] + packet(70, 98))
    assert values(events, "heart_rate") == [70.0]
    assert notices(events, "packet_incomplete") == []


def test_511_and_127_are_nan() -> None:
    events = feed(Host(Settings(format="DF2")), packet(511, 127) + packet(60, 99))
    assert np.isnan(values(events, "heart_rate")).tolist() == [True, False]
    assert np.isnan(values(events, "spo2")).tolist() == [True, False]
    df8 = feed(Host(Settings(format="DF8")), bytes.fromhex("83 7F 7F 08"), 4)
    assert np.isnan(values(df8, "heart_rate") + values(df8, "spo2")).all()
    assert notices(df8, "sensor_alarm") == [True]


def test_a_rate_above_255_needs_both_its_bytes() -> None:
    assert values(feed(Host(Settings(format="DF2")), packet(300, 97)), "heart_rate") == [300.0]
    assert values(feed(Host(Settings(format="DF8")), bytes.fromhex("82 2C 61 00"), 4), "heart_rate") == [300.0]


def test_a_damaged_sum_costs_one_frame_of_the_pleth() -> None:
    data = bytearray(packet(72, 97) * 2)
    data[5 * 5 + 2] ^= 0x40
    events = feed(Host(Settings(format="DF2")), bytes(data))
    assert len(values(events, "ppg")) == 49
    assert sum(e.size for e in events if isinstance(e, Malformed)) == 5


def test_undefined_floats_are_not_looked_at() -> None:
    data = packet(72, 97)[: 24 * 5] + frame(0x80, 24, 0xEE)
    assert values(feed(Host(Settings(format="DF2")), data), "heart_rate") == [72.0]


@pytest.mark.parametrize("place", range(22))
def test_a_spot_check_with_any_damaged_byte_is_malformed(place: int) -> None:
    good = next(g for g in GOLDEN if g.settings.get("format") == "DF13").data
    bad = bytearray(good)
    bad[place] ^= 0x40
    events = Host(Settings(format="DF13")).feed(Batch.single(bytes(bad) + good, 5))
    assert values(events, "heart_rate") == [72.0]
    assert sum(e.size for e in events if isinstance(e, Malformed)) == 22


def test_a_longer_spot_check_is_read_too() -> None:
    body = bytes.fromhex("2026051714301500 0000 0048 00 61 AABB")
    data = bytes.fromhex("0002000D0010") + body + bytes([sum(body) & 0xFF, 3])
    events = Host(Settings(format="DF13")).feed(Batch.single(data, 5))
    assert values(events, "spo2") == [97.0]
    assert notices(events, "smartpoint") == [False]


def test_the_simulated_oximeter_sends_the_published_packet() -> None:
    """Frame by frame it is the one of the Java and C++ readers' tests, with revision 48 and the same averages."""

    def block(count: int, rate_hz: float, value: float) -> Block:
        due_ns = np.rint(np.arange(count) / rate_hz * 1e9).astype(np.int64)
        return Block(np.arange(count), due_ns, due_ns, np.full((count, 1), value))

    device = Device(Settings(format="DF2"))
    blocks = {"ppg": block(25, 75.0, 1.0), "heart_rate": block(1, 3.0, 72.0), "spo2": block(1, 3.0, 97.0)}
    (sent,) = device.encode(blocks)
    assert sent.data == PACKET


@pytest.mark.parametrize("wrong", [{"format": "DF5"}, {"spot_every_s": 0}, {"baud": 0}])
def test_a_setting_without_meaning_is_refused(wrong: dict) -> None:
    with pytest.raises(SettingError):
        Settings(**wrong)
