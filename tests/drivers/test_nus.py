import numpy as np
import pytest

from drivers import nus
from drivers.codec import Block, Expect, KeepAlive, Pause, Subscribe, Write
from drivers.errors import AttError, SettingError
from drivers.exchange import Exchange
from drivers.sensors import chords, framed_records, text_lines
from drivers.types import Batch, Malformed, Samples

ECG = {"name": "ecg", "stream": "ecg", "kind": "ecg", "unit": "mV", "rate_hz": 100, "lsb": 0.001}


def block(count: int, rate_hz: float = 100.0) -> Block:
    due_ns = np.arange(count, dtype=np.int64) * round(1e9 / rate_hz)
    return Block(np.arange(count, dtype=np.int64), due_ns, due_ns, (np.arange(count) % 1000)[:, None] * 0.001)


def values(events: list) -> list:
    return [v for e in events if isinstance(e, Samples) for v in e.values[:, 0].tolist()]


@pytest.mark.parametrize("mtu", [23, 40, 247])
def test_lines_survive_any_notification_size(mtu: int) -> None:
    settings = text_lines.Settings(columns=[ECG], time_column="milliseconds_since_boot", format="label")
    device = nus.NusDevice(text_lines.device(settings), "board", mtu)
    device.subscribe(nus.TX)
    (sent,) = device.encode({"ecg": block(300)})
    assert sent.channel == nus.TX
    assert np.diff(sent.ends, prepend=0).max() <= mtu - 3
    host = nus.NusHost(text_lines.host(settings))
    events = host.feed(Batch.of([b"rest\n"], np.array([0]), nus.TX)) + host.feed(sent)
    assert values(events) == pytest.approx(block(300).values[:, 0], abs=1e-9)
    assert not [e for e in events if isinstance(e, Malformed)]


def test_records_survive_the_smallest_notifications_and_merged_ones() -> None:
    five = {"name": "ecg", "type": "f64", "count": 5, "stream": "ecg", "kind": "ecg", "unit": "mV", "rate_hz": 100}
    settings = framed_records.Settings(fields=[{"name": "n", "type": "u8"}, five])
    device = nus.NusDevice(framed_records.device(settings), "board", 23)
    device.subscribe(nus.TX)
    (sent,) = device.encode({"ecg": block(200)})
    assert len(sent) == 40 * 3  # 43 bytes in pieces of 20
    host = nus.NusHost(framed_records.host(settings))
    assert values(host.feed(sent)) == block(200).values[:, 0].tolist()
    merged = Batch.single(sent.data, 5, nus.TX)
    assert values(nus.NusHost(framed_records.host(settings)).feed(merged)) == block(200).values[:, 0].tolist()


def test_a_notification_that_ends_in_a_record_has_the_times_of_both() -> None:
    settings = framed_records.Settings()
    host = nus.NusHost(framed_records.host(settings))
    sent, ends = framed_records.frame("cobs", np.array([[1, 5, 0], [2, 6, 0]], dtype=np.uint8))
    events = host.feed(Batch.of([sent[:7], sent[7:]], np.array([100, 200]), nus.TX))
    assert ends.tolist() == [5, 10]
    assert [e.arrival_ns.tolist() for e in events if isinstance(e, Samples)] == [[100, 200]]


def test_what_comes_on_another_characteristic_is_not_for_the_serial_sensor() -> None:
    host = nus.NusHost(text_lines.host(text_lines.Settings(columns=[ECG])))
    assert host.feed(Batch.single(b"1\n2\n3\n", 0, nus.RX)) == []


def test_steps_of_the_serial_exchange_go_over_rx_and_tx() -> None:
    class Talker:
        streams = ()
        keep_alive = KeepAlive(b"\xaf", 5.0)

        def start(self):
            yield Write(b"x" * 45)
            yield Pause(0.1)
            assert (yield Expect(b"ok", "ok")) == b"ok"

        def stop(self):
            yield Write(b"s")

    host = nus.NusHost(Talker())
    steps = host.start()
    assert next(steps) == Subscribe(nus.TX)
    assert [next(steps) for _ in range(3)] == [Write(b"x" * size, nus.RX) for size in (20, 20, 5)]
    assert next(steps) == Pause(0.1, nus.TX)
    assert next(steps) == Expect(b"ok", "ok", channel=nus.TX)
    with pytest.raises(StopIteration):
        steps.send(b"ok")
    assert list(host.stop()) == [Write(b"s", nus.RX)]
    assert host.keep_alive == KeepAlive(b"\xaf", 5.0, nus.RX)


def test_a_sensor_with_commands_starts_over_it_too() -> None:
    """Chords over Nordic UART: what came before the pause ends is dropped, the answer is found, the packets come."""
    settings = chords.Settings(streams={"exg": [0]})
    host, device = nus.NusHost(chords.host(settings)), nus.NusDevice(chords.device(settings), "board", 23)

    class Air:
        description = "a test connection"

        def __init__(self) -> None:
            self.replies: list = []

        def subscribe(self, channel: str) -> None:
            device.subscribe(channel)

        def write(self, data: bytes, channel: str) -> None:
            self.replies += device.receive(data, channel)

    air = Air()
    exchange = Exchange(host.start(), air, 0)
    exchange.feed(Batch.single(b"\xc7\x7crubbish UNO", 1, nus.TX), 1)
    exchange.tick(300_000_000)
    assert [(r.data, r.channel) for r in air.replies] == [(b"UNO-R3\r\n", nus.TX)]
    exchange.feed(Batch.single(air.replies[0].data, 301_000_000, nus.TX), 301_000_000)
    assert exchange.done
    assert exchange.leftover == []
    assert device.streaming


def test_a_subscription_starts_the_board_anew() -> None:
    settings = framed_records.Settings()
    device = nus.NusDevice(framed_records.device(settings), "board")
    assert not device.streaming
    device.subscribe(nus.TX)
    first = device.encode({"ecg": block(3)})[0].data
    device.subscribe(nus.TX, False)
    assert not device.streaming
    device.subscribe(nus.TX)
    assert device.encode({"ecg": block(3)})[0].data == first


def test_what_the_service_does_not_allow_is_an_att_error() -> None:
    device = nus.NusDevice(framed_records.device(framed_records.Settings()), "board")
    with pytest.raises(AttError, match="0x03"):
        device.receive(b"x", nus.TX)
    with pytest.raises(AttError, match="0x06"):
        device.subscribe(nus.RX)


@pytest.mark.parametrize("mtu", [22, 518])
def test_an_mtu_that_no_link_has_is_refused(mtu: int) -> None:
    with pytest.raises(SettingError, match="23 to 517"):
        nus.check_mtu(mtu)
