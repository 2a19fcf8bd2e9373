import struct
import zlib

import numpy as np
import pytest

from drivers import cobs, serial_transfer, slip
from drivers.errors import HandshakeError, SettingError
from drivers.exchange import Exchange
from drivers.sensors.framed_records import Host, Settings
from drivers.types import Batch, CounterReset, Lost, Malformed, Repeated, Samples

ECG = {"name": "ecg", "type": "i16", "stream": "ecg", "kind": "ecg", "unit": "mV", "rate_hz": 250, "scale": 0.001}
COUNT, TIME = {"name": "n", "type": "u8"}, {"name": "t", "type": "u32"}
PERIOD = 4_000_000


def sent(framing: str, record: bytes) -> bytes:
    if framing == "cobs":
        return cobs.encode(record) + b"\x00"
    if framing == "slip":
        return b"\xc0" + slip.encode(record) + b"\xc0"
    return serial_transfer.encode_rows(np.frombuffer(record, dtype=np.uint8)[None, :]).tobytes()


def feed(host: Host, *frames: bytes, at_ns: int = 0) -> list:
    return host.feed(Batch.of(list(frames), at_ns + np.arange(len(frames)) * PERIOD))


def samples(events: list, stream: str = "ecg") -> list[Samples]:
    return [e for e in events if isinstance(e, Samples) and e.stream == stream]


def numbers(events: list, stream: str = "ecg") -> list[int]:
    return [k for e in samples(events, stream) for k in e.index.tolist()]


@pytest.mark.parametrize("framing", ["cobs", "slip", "serial-transfer"])
def test_a_struct_is_read_from_every_framing(framing: str) -> None:
    host = Host(Settings(framing=framing, fields=[TIME, COUNT, ECG], time_field="t", check="crc32"))
    frames = []
    for k in range(5):
        body = struct.pack("<IBh", 192 + 4 * k, 0xC0 + k, -1000 + k)
        frames.append(sent(framing, body + struct.pack("<I", zlib.crc32(body))))
    events = feed(host, *frames)
    (ecg,) = samples(events)
    assert ecg.values[:, 0].tolist() == pytest.approx([-1.0, -0.999, -0.998, -0.997, -0.996])
    assert ecg.device_ns.tolist() == [(192 + 4 * k) * 1_000_000 for k in range(5)]
    assert not [e for e in events if isinstance(e, Malformed)]


@pytest.mark.parametrize("framing", ["cobs", "slip", "serial-transfer"])
def test_a_damaged_record_costs_itself_only(framing: str) -> None:
    host = Host(Settings(framing=framing, fields=[COUNT, ECG], check="crc16"))
    layout = host._layout
    frames = [
        sent(framing, layout.pack({"n": np.array([[k]]), "ecg": np.array([[7 * k]])}).tobytes()) for k in range(1, 7)
    ]
    bad = bytearray(frames[3])
    bad[-4] ^= 0x01
    frames[3] = bytes(bad)
    events = feed(host, *frames)
    assert numbers(events) == [1, 2, 3, 5, 6]
    assert [e.count for e in events if isinstance(e, Lost)] == [1]
    assert len([e for e in events if isinstance(e, Malformed)]) == 1


def test_a_wrong_record_check_is_noticed_where_the_framing_has_none() -> None:
    host = Host(Settings(fields=[ECG], counter_field="", check="crc8"))
    good, bad = host._layout.pack({"ecg": np.array([[1]])}).tobytes(), b"\x01\x00\x55"
    events = feed(host, sent("cobs", good), sent("cobs", bad), sent("cobs", good))
    assert numbers(events) == [0, 1]
    assert len([e for e in events if isinstance(e, Malformed)]) == 1


def test_the_rest_of_a_packet_at_the_beginning_is_dropped_without_a_word() -> None:
    host = Host(Settings(fields=[ECG], counter_field=""))
    good = sent("cobs", b"\x01\x00")
    assert [type(e) for e in feed(host, b"\x09\x00", good)] == [Samples]
    assert [type(e) for e in feed(host, b"\x09\x00", good)] == [Malformed, Samples]


def test_several_samples_in_a_record_are_numbered_and_dated_one_by_one() -> None:
    """Four samples at 250 Hz: the clock is read with the last, and the one at 62.5 Hz is as old as the first."""
    fields = [TIME, COUNT, {**ECG, "count": 4}, {**ECG, "name": "s", "stream": "skin", "kind": "raw", "rate_hz": 62.5}]
    host = Host(Settings(fields=fields, time_field="t", time_unit="us"))
    record = struct.pack("<IB5h", 1_000_000, 3, 1, 2, 3, 4, 9)
    events = feed(host, sent("cobs", record))
    (ecg,), (skin,) = samples(events), samples(events, "skin")
    assert ecg.index.tolist() == [12, 13, 14, 15]
    assert ecg.values[:, 0].tolist() == pytest.approx([0.001, 0.002, 0.003, 0.004])
    assert ecg.device_ns.tolist() == [988_000_000, 992_000_000, 996_000_000, 1_000_000_000]
    assert skin.index.tolist() == [3]
    assert skin.device_ns.tolist() == [988_000_000]


def test_a_lost_record_is_a_loss_of_all_its_samples() -> None:
    host = Host(Settings(fields=[COUNT, {**ECG, "count": 4}]))
    frames = [sent("cobs", struct.pack("<B4h", k, 1, 2, 3, 4)) for k in (0, 1, 3)]
    events = host.feed(Batch.of(frames, np.array([0, 16, 48]) * 1_000_000))
    assert [e.count for e in events if isinstance(e, Lost)] == [4]
    assert numbers(events) == [*range(8), *range(12, 16)]


def test_a_repeated_record_is_told_with_all_its_samples_and_left_out() -> None:
    host = Host(Settings(fields=[COUNT, {**ECG, "count": 4}]))
    frames = [sent("cobs", struct.pack("<B4h", k, 1, 2, 3, 4)) for k in (0, 1, 1, 2)]
    events = host.feed(Batch.of(frames, np.array([0, 16, 17, 32]) * 1_000_000))
    assert [e.count for e in events if isinstance(e, Repeated)] == [4]
    assert numbers(events) == list(range(12))


def test_a_clock_of_32_bits_wraps_without_a_seam() -> None:
    host = Host(Settings(fields=[TIME, ECG], counter_field="", time_field="t"))
    ticks = [(2**32 - 8 + 4 * k) % 2**32 for k in range(6)]
    events = feed(host, *(sent("cobs", struct.pack("<Ih", t, 5)) for t in ticks))
    (ecg,) = samples(events)
    assert np.diff(ecg.device_ns).tolist() == [PERIOD] * 5
    assert np.diff(ecg.index).tolist() == [1] * 5


def test_a_clock_that_jumps_while_the_counter_goes_on_starts_a_segment_and_no_loss() -> None:
    host = Host(Settings(fields=[TIME, COUNT, ECG], time_field="t"))
    ticks = [100 + 4 * k + (500 if k >= 5 else 0) for k in range(10)]
    events = feed(host, *(sent("cobs", struct.pack("<IBh", t, k, 5)) for k, t in enumerate(ticks)))
    resets = [e for e in events if isinstance(e, CounterReset)]
    assert [(e.clock, "500 ms" in e.detail) for e in resets] == [(True, True)]
    assert [len(e.index) for e in samples(events)] == [5, 5]
    assert samples(events)[1].segment == samples(events)[0].segment + 1
    assert not [e for e in events if isinstance(e, Lost)]


def test_big_endian_structs_and_scales_with_an_offset_are_physical_units() -> None:
    """A TMP117-like reading: 0.01 degrees a count from -40 degrees on."""
    skin = {**ECG, "type": "u16", "stream": "t", "kind": "temperature", "unit": "degC", "scale": 0.01, "offset": -40.0}
    host = Host(Settings(fields=[skin], counter_field="", byte_order="big"))
    assert samples(feed(host, sent("cobs", b"\x1d\xd8")), "t")[0].values[0, 0] == pytest.approx(0x1DD8 * 0.01 - 40)


def test_packets_longer_than_a_cobs_block_are_read_too() -> None:
    host = Host(Settings(fields=[COUNT, {**ECG, "count": 200, "rate_hz": 1000}]))
    record = struct.pack("<B200h", 1, *range(-100, 100))
    (ecg,) = samples(feed(host, sent("cobs", record)))
    assert (ecg.values[:, 0] * 1000).round().tolist() == list(range(-100, 100))


def test_an_endless_packet_is_given_up_in_pieces_and_ends_with_its_delimiter() -> None:
    host = Host(Settings(fields=[COUNT, ECG]))
    good = [sent("cobs", struct.pack("<Bh", k, 5)) for k in range(3)]
    events = feed(host, good[0], b"\x11" * 3000, b"\x11" * 3000, b"\x11" * 10 + b"\x00", good[1], good[2])
    assert numbers(events) == [0, 1, 2]
    assert sum(e.size for e in events if isinstance(e, Malformed)) == 6011


def test_boot_messages_are_waited_out_and_another_board_is_refused() -> None:
    class Port:
        description = "a test port"

    exchange = Exchange(Host(Settings()).start(), Port(), 0)
    exchange.feed(Batch.single(b"ets Jun  8 2016 00:22:57\r\nrst:0x1\r\n\x00", 1))
    assert not exchange.done
    exchange.feed(Batch.single(sent("cobs", struct.pack("<Bh", 1, 5)), 2))
    assert exchange.done
    other = Exchange(Host(Settings()).start(), Port(), 0)
    with pytest.raises(HandshakeError, match="found 400 others, the last 11 22 33 44 55 00"):
        other.feed(Batch.single(b"\x11\x22\x33\x44\x55\x00" * 500, 1))
    silent = Exchange(Host(Settings()).start(), Port(), 0)
    with pytest.raises(HandshakeError, match="a cobs frame with a record of 3 bytes"):
        silent.tick(20_000_000_000)


FEW = [COUNT, ECG]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"framing": "cob"}, "cobs"),
        ({"fields": []}, "list"),
        ({"fields": [COUNT]}, "at least one with a stream"),
        ({"fields": [COUNT, COUNT, ECG]}, "twice"),
        ({"fields": [{"name": "n", "type": "float"}, ECG]}, "'f32'"),
        ({"fields": [ECG]}, "not among the fields"),
        ({"fields": [{"name": "n", "type": "f32"}, ECG]}, "u8 or u16 or u32"),
        ({"fields": FEW, "time_field": "n"}, "u32 or u64"),
        ({"fields": [*FEW, {**ECG, "name": "b", "rate_hz": 100}]}, "differ in rate_hz"),
        ({"fields": [*FEW, {**ECG, "name": "b", "stream": "b", "rate_hz": 100}]}, "rate_hz / count"),
        ({"fields": [COUNT, {**ECG, "count": 0}]}, "count"),
        ({"fields": [COUNT, {**ECG, "scale": 0}]}, "scale"),
        ({"fields": [COUNT, {**ECG, "kind": "ekg"}]}, "'ecg'"),
        ({"fields": [COUNT, {**ECG, "colour": 1}]}, "mapping of"),
        ({"fields": [COUNT, {"name": "e", "type": "u8", "stream": "e"}]}, "lacks kind, rate_hz, unit"),
        ({"fields": [COUNT, {**ECG, "count": 200}], "framing": "serial-transfer"}, "at most 254"),
        ({"fields": [TIME, {**ECG, "rate_hz": 2000}], "counter_field": "", "time_field": "t"}, "cannot tell"),
        ({"check": "md5"}, "'crc16'"),
        ({"packet_id": 126}, "0 to 125"),
        ({"baud": 0}, "baud"),
    ],
)
def test_a_setting_without_meaning_is_refused_with_what_would_do(wrong: dict, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Settings(**wrong)
