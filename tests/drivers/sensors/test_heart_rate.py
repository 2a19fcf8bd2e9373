import numpy as np
import pytest

from drivers.codec import Block
from drivers.errors import AttError, SettingError
from drivers.exchange import Exchange
from drivers.gatt import uuid128
from drivers.sensors.heart_rate import Device, Host, Settings
from drivers.types import Batch, Malformed, Notice, Samples

MEASUREMENT = uuid128(0x2A37)


def feed(host: Host, text: str, at_ns: int = 0) -> list:
    return host.feed(Batch.single(bytes.fromhex(text), at_ns, MEASUREMENT))


def block(times_s: list[float], values: list[float]) -> Block:
    due = np.rint(np.array(times_s) * 1e9).astype(np.int64)
    return Block(np.arange(len(due)), due, due, np.array(values, dtype=float).reshape(-1, 1))


def notifications(device: Device, rates: Block, beats: Block) -> list[bytes]:
    return [chunk for batch in device.encode({"heart_rate": rates, "rr": beats}) for chunk, _ in batch.chunks()]


class Air:
    description = "a test connection"

    def __init__(self, device: Device) -> None:
        self.device = device

    def read(self, channel: str) -> bytes | None:
        return self.device.read(channel)

    def subscribe(self, channel: str) -> None:
        self.device.subscribe(channel)


UNFIT = ["", "00", "01", "0150", "0800", "080010", "10500F", "1050FF", "0050FF", "0850102030", "1050", "18501020"]


@pytest.mark.parametrize("text", UNFIT)
def test_a_notification_that_does_not_fit_its_flags_is_malformed(text: str) -> None:
    assert [type(e) for e in feed(Host(Settings()), text)] == [Malformed]


def test_losing_contact_is_told_once_and_so_is_its_return() -> None:
    host = Host(Settings())
    events = [e for k, text in enumerate(["0650", "0650", "0450", "0450", "0650"]) for e in feed(host, text, k)]
    assert [(e.value, e.arrival_ns) for e in events if isinstance(e, Notice)] == [(True, 0), (False, 2), (True, 4)]


def test_what_the_strap_says_about_itself_is_told_with_the_first_notification() -> None:
    host, device = Host(Settings()), Device(Settings(battery_percent=55, location="wrist"))
    exchange = Exchange(host.start(), Air(device), 0)
    assert exchange.done
    assert device.streaming
    notices = {e.name: e.value for e in feed(host, "0650", 7) if isinstance(e, Notice)}
    assert notices == {
        "manufacturer": "spiral-hil", "model": "Simulated strap", "firmware": "1.0",
        "location": "wrist", "battery_percent": 55.0, "contact": True,
    }  # fmt: skip


def test_heart_rates_and_intervals_are_numbered_as_they_come() -> None:
    host = Host(Settings())
    events = feed(host, "165A0004D003", 1) + feed(host, "165B0004", 2)
    rr = [e for e in events if isinstance(e, Samples) and e.stream == "rr"]
    assert [e.index.tolist() for e in rr] == [[0, 1], [2]]
    assert rr[0].device_ns is None


def test_a_connection_made_again_begins_a_segment() -> None:
    host = Host(Settings())
    first = feed(host, "0050")[-1].segment
    Exchange(host.start(), Air(Device(Settings())), 0)
    assert feed(host, "0050")[-1].segment == first + 1


def test_the_first_second_at_75_bpm_is_encoded_as_the_specification_lays_it_out() -> None:
    """HR 75 with contact, one RR of 800 ms = 819 / 1024 s = 0x0333."""
    device = Device(Settings())
    assert notifications(device, block([1.0], [75]), block([0.8, 1.6], [819 * 1000 / 1024] * 2)) == [
        bytes.fromhex("164B3303")
    ]
    assert notifications(device, block([2.0], [75]), block([], [])) == [bytes.fromhex("164B3303")]


def test_at_most_nine_intervals_fit_and_the_rest_follows() -> None:
    device = Device(Settings())
    beats = block(np.linspace(0.1, 0.9, 12).tolist(), [1000.0] * 12)
    first, second = notifications(device, block([1.0, 2.0], [75, 75]), beats)
    assert (len(first), len(second)) == (2 + 9 * 2, 2 + 3 * 2)


def test_at_most_eight_intervals_fit_beside_the_energy() -> None:
    device = Device(Settings(energy=True))
    (first,) = notifications(device, block([1.0], [75]), block(np.linspace(0.1, 0.9, 12).tolist(), [1000.0] * 12))
    assert len(first) == 4 + 8 * 2


def test_energy_grows_stops_at_its_ceiling_and_is_reset_by_the_control_point() -> None:
    device, host = Device(Settings(energy=True)), Host(Settings())
    device._energy_kj = 65534.0

    def energy() -> float:
        (data,) = notifications(device, block([1.0], [60_000]), block([], []))
        notices = [e for e in feed(Host(Settings()), data.hex()) if isinstance(e, Notice)]
        return next(e.value for e in notices if e.name == "energy_kj")

    assert [energy(), energy()] == [65535.0, 65535.0]
    assert device.receive(b"\x01", uuid128(0x2A39)) == []
    assert energy() < 100
    assert host.streams == device.streams


def test_other_control_point_values_are_refused_with_the_profiles_error() -> None:
    with pytest.raises(AttError) as refused:
        Device(Settings(energy=True)).receive(b"\x02", uuid128(0x2A39))
    assert refused.value.code == 0x80
    with pytest.raises(AttError):
        Device(Settings()).receive(b"\x01", uuid128(0x2A39))


def test_nothing_streams_before_notifications_are_asked_for() -> None:
    device = Device(Settings())
    assert not device.streaming
    device.subscribe(uuid128(0x2A19))
    assert not device.streaming
    device.subscribe(MEASUREMENT)
    assert device.streaming
    device.reset()
    assert not device.streaming


@pytest.mark.parametrize("bad", [{"contact": "maybe"}, {"battery_percent": 101}, {"location": "nose"}])
def test_settings_without_meaning_are_refused(bad: dict) -> None:
    with pytest.raises(SettingError):
        Settings(**bad)
