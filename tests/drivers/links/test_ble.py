"""The BLE link against BlueZ's D-Bus interface, served by simulated peripherals on a private bus."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from drivers.clock import Inbox, RealClock, VirtualClock, to_ns
from drivers.discover import as_yaml, ble_candidates
from drivers.errors import AttError, HandshakeError, LinkError, LinkLost, NotConnected, SettingError
from drivers.gatt import uuid128
from drivers.link import Sink
from drivers.links import make_link
from drivers.links.ble import BleLink
from drivers.links.ble_radio import Advertiser, matcher
from drivers.types import Batch, LinkDown, LinkUp

on_air = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs dbus-daemon: apt-get install dbus")

BEAT, PLACE, CONTROL, COMMAND, MUTE = (uuid128(n) for n in (0x2A37, 0x2A38, 0x2A39, 0x2A3B, 0x2A3C))
HEART_RATE = uuid128(0x180D)
CLOCK = RealClock()
PATIENCE_NS = to_ns(20)


@dataclass
class Belt:
    """A peripheral that notifies what it is told to and refuses every control command but 1, with its number."""

    gatt: Any
    description: str = "belt"
    told: list[tuple[str, bytes]] = field(default_factory=list)
    subscribed: list[tuple[str, bool]] = field(default_factory=list)
    out: list[Batch | LinkDown | LinkUp] = field(default_factory=list)

    def advance(self, until_ns: int) -> list[Batch | LinkDown | LinkUp]:
        ready, self.out = self.out, []
        return ready

    def receive(self, data: bytes, at_ns: int, channel: str = "") -> None:
        if channel == CONTROL and data != b"\x01":
            raise AttError(data[0])
        self.told.append((channel, data))

    def read(self, channel: str) -> bytes | None:
        return {PLACE: b"\x01"}.get(channel)

    def subscribe(self, channel: str, at_ns: int, on: bool = True) -> None:
        self.subscribed.append((channel, on))

    def plugged(self, at_ns: int) -> bool:
        return True


def belt(name: str) -> Belt:
    from drivers.codec import Characteristic, Gatt, Service

    characteristics = (
        Characteristic(BEAT, ("notify",)),
        Characteristic(PLACE, ("read",)),
        Characteristic(CONTROL, ("write",)),
        Characteristic(COMMAND, ("write-without-response",)),
        Characteristic(MUTE, ("read",)),
    )
    return Belt(Gatt((Service(HEART_RATE, characteristics),), (HEART_RATE,), name))


@dataclass
class Ether:
    belts: list[Belt]
    served: list[Any]
    pacer: Any
    addresses: list[str]

    def say(self, number: int, item: bytes | LinkDown | LinkUp) -> int:
        """A belt notifies, vanishes or returns; the time at which it was told to."""

        def act(now_ns: int) -> int:
            self.belts[number].out.append(Batch.single(item, now_ns, BEAT) if isinstance(item, bytes) else item)
            return now_ns

        return int(self.pacer.submit(act).result(5))


@pytest.fixture
def ether(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ether]:
    from simulators.serve.air import Air
    from simulators.serve.bus import PrivateBus
    from simulators.serve.pacer import Pacer, Served

    bus = PrivateBus()
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    air = Air(bus.address, CLOCK)
    belts = [belt("Belt 01"), belt("Belt 02")]
    addresses = ["C0:00:00:00:00:01", "C0:00:00:00:00:02"]
    served = []
    for one, address in zip(belts, addresses, strict=True):
        outlet = air.outlet(one.gatt, address)
        served.append(Served(one.gatt.name, one, outlet, CLOCK.now_ns()))
        outlet.open(served[-1])
    pacer = Pacer(served, CLOCK)
    air.start(pacer.submit)
    thread = threading.Thread(target=pacer.run)
    thread.start()
    yield Ether(belts, served, pacer, addresses)
    pacer.stop()
    thread.join()
    air.stop()
    pacer.close()
    bus.close()


class Listening:
    """A link that is open, with its inbox."""

    def __init__(self, link: BleLink) -> None:
        self.link = link
        self.inbox: Inbox = CLOCK.inbox()
        link.open(self.sink())

    def sink(self) -> Sink:
        return lambda item: self.inbox.put("", item)

    def next(self) -> Any:
        got = self.inbox.get(CLOCK.now_ns() + PATIENCE_NS)
        assert got is not None, "nothing was delivered"
        return got[1]

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()


def listening(address: str, **options: Any) -> Listening:
    return Listening(BleLink(address, CLOCK, **options))


# --- addresses, without a radio ---------------------------------------------------------------


def heard(address: str = "C0:00:00:00:00:01", name: str = "Polar H10 A1B2C3D4", *services: int) -> Advertiser:
    return Advertiser(address, name, frozenset(map(uuid128, services)), -60, None)


@pytest.mark.parametrize(
    "address",
    ["c0:00:00:00:00:01", "Polar H10 A1B2C3D4", "polar h10", "180d", "0x180D", "service:180D", f"service:{HEART_RATE}"],
)
def test_a_peripheral_is_meant_by_address_name_beginning_of_the_name_or_service(address: str) -> None:
    assert matcher(address)(heard("C0:00:00:00:00:01", "Polar H10 A1B2C3D4", 0x180D, 0x180F))


@pytest.mark.parametrize("address", ["C0:00:00:00:00:02", "Polar H1", "180a", "service:180a"])
def test_another_peripheral_is_not_meant(address: str) -> None:
    assert not matcher(address)(heard("C0:00:00:00:00:01", "Polar H10 A1B2C3D4", 0x180D))


@pytest.mark.parametrize("address", ["", "  ", "service:", "service:heart"])
def test_an_address_that_can_mean_nothing_is_refused_before_the_radio_is_touched(address: str) -> None:
    with pytest.raises(SettingError):
        BleLink(address, CLOCK)


def test_a_virtual_clock_and_an_endless_scan_are_refused() -> None:
    with pytest.raises(SettingError, match="virtual"):
        BleLink("180d", VirtualClock())
    with pytest.raises(SettingError, match="scan_s"):
        BleLink("180d", CLOCK, scan_s=0)


def test_a_link_that_was_never_opened_says_so_and_closes_quietly() -> None:
    link = BleLink("180d", CLOCK)
    for call in (lambda: link.write(b"", "2a39"), lambda: link.subscribe("2a37"), lambda: link.read("2a38")):
        with pytest.raises(NotConnected):
            call()
    link.close()
    link.close()


def test_without_a_bus_the_error_names_the_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
    with pytest.raises(LinkError, match="no D-Bus system bus at unix:path=/nonexistent/bus"):
        BleLink("180d", CLOCK).open(print)


@on_air
def test_without_bluetoothd_the_error_says_that_it_is_not_running(monkeypatch: pytest.MonkeyPatch) -> None:
    from simulators.serve.bus import PrivateBus

    bus = PrivateBus()
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    try:
        with pytest.raises(LinkError, match="bluetoothd is not running"):
            BleLink("180d", CLOCK).open(print)
    finally:
        bus.close()


# --- on the air ---------------------------------------------------------------------------------


@on_air
@pytest.mark.parametrize("address", ["C0:00:00:00:00:02", "Belt 02"])
def test_notifications_arrive_whole_with_their_channel_and_a_stamp_after_they_were_sent(
    ether: Ether, address: str
) -> None:
    with listening(address) as ear:
        ear.link.subscribe("2A37")
        for number in range(20):
            sent_ns = ether.say(1, bytes([0x00, number]))
            batch = ear.next()
            assert (batch.data, batch.channel, len(batch)) == (bytes([0x00, number]), BEAT, 1)
            assert sent_ns < int(batch.at_ns[0]) <= CLOCK.now_ns()


@on_air
def test_two_links_to_one_service_take_two_peripherals(ether: Ether) -> None:
    with listening("service:180d") as one, listening("service:180d") as two:
        assert {one.link.description, two.link.description} == {
            "BLE service:180d (C0:00:00:00:00:01 'Belt 01')",
            "BLE service:180d (C0:00:00:00:00:02 'Belt 02')",
        }


@on_air
def test_subscribing_twice_is_subscribing_once(ether: Ether) -> None:
    with listening("Belt 01") as ear:
        ear.link.subscribe(BEAT)
        ear.link.subscribe("2a37")
        assert ether.belts[0].subscribed == [(BEAT, True)]


@on_air
def test_writes_reach_the_peripheral_with_and_without_response(ether: Ether) -> None:
    with listening("Belt 01") as ear:
        ear.link.write(b"\x01", "2a39")
        ear.link.write(b"go", "2a3b")
        ear.link.read("2a38")  # comes behind the write that nobody confirms
    assert ether.belts[0].told == [(CONTROL, b"\x01"), (COMMAND, b"go")]


@on_air
def test_reading_gives_bytes_or_none_where_there_is_no_such_characteristic(ether: Ether) -> None:
    with listening("Belt 01") as ear:
        assert ear.link.read("2a38") == b"\x01"
        assert ear.link.read("2a19") is None


@on_air
def test_refusals_come_as_att_errors_with_their_code(ether: Ether) -> None:
    with listening("Belt 01") as ear:
        for code in (0x80, 0x0D):
            with pytest.raises(AttError) as refused:
                ear.link.write(bytes([code]), CONTROL)
            assert refused.value.code == code
        with pytest.raises(AttError, match=r"[Uu]nlikely") as silent:
            ear.link.read(MUTE)
        assert silent.value.code == 0x0E


@on_air
def test_a_missing_characteristic_is_named_beside_those_there_are(ether: Ether) -> None:
    with listening("Belt 01") as ear:
        for call in (lambda: ear.link.subscribe("fb005c82"), lambda: ear.link.write(b"", "fb005c82")):
            with pytest.raises(HandshakeError, match=f"expected a characteristic {uuid128('fb005c82')}.*{BEAT}"):
                call()
        with pytest.raises(HandshakeError, match="subscription"):
            ear.link.subscribe(PLACE)  # it is there and cannot notify


@on_air
def test_what_was_heard_instead_is_listed_when_the_peripheral_is_not_there(ether: Ether) -> None:
    with pytest.raises(LinkError, match=r"not heard within 0.4 s; heard .*'Belt 0\d'.*180d.*'Belt 0\d'"):
        BleLink("Verity Sense", CLOCK, scan_s=0.4).open(print)


@on_air
def test_a_lost_peripheral_is_found_again_and_subscribed_to_as_before(ether: Ether) -> None:
    with listening("service:180d") as ear:
        number = 0 if "Belt 01" in ear.link.description else 1
        ear.link.subscribe("2a37")
        ether.say(number, LinkDown(0, "walked away"))
        down = ear.next()
        assert isinstance(down, LinkDown) and down.arrival_ns <= CLOCK.now_ns()
        for call in (lambda: ear.link.write(b"\x01", CONTROL), lambda: ear.link.read(PLACE)):
            with pytest.raises(LinkLost):
                call()
        ether.say(number, LinkUp(0))
        up = ear.next()
        assert isinstance(up, LinkUp) and up.arrival_ns > down.arrival_ns
        assert ether.belts[number].subscribed[-1] == (BEAT, True)
        ether.say(number, b"back")
        assert ear.next().data == b"back"
    assert not any(called for called in ether.belts[1 - number].subscribed), "it took another peripheral instead"


@on_air
def test_without_reconnect_a_lost_peripheral_stays_lost_until_the_link_is_opened_anew(ether: Ether) -> None:
    with listening("Belt 01", reconnect=False) as ear:
        ether.say(0, LinkDown(0, "gone"))
        assert isinstance(ear.next(), LinkDown)
        ether.say(0, LinkUp(0))
        with pytest.raises(LinkLost):
            ear.link.subscribe(BEAT)
        ear.link.close()
        ear.link.open(ear.sink())
        ear.link.subscribe(BEAT)
        ether.say(0, b"anew")
        assert ear.next().data == b"anew"


@on_air
def test_nothing_is_delivered_after_close_and_the_peripheral_is_free_again(ether: Ether) -> None:
    with listening("Belt 01") as ear:
        ear.link.subscribe(BEAT)
        ear.link.close()
        ear.link.close()
        ether.say(0, b"late")
        assert ear.inbox.depth() == 0
    with listening("Belt 01") as ear:
        assert ear.link.read(PLACE) == b"\x01"


@on_air
def test_a_connection_that_a_killed_program_left_open_is_taken_over(ether: Ether) -> None:
    program = (
        "import os\n"
        "from drivers.clock import RealClock\n"
        "from drivers.links.ble import BleLink\n"
        "BleLink('Belt 01', RealClock()).open(print)\n"
        "os._exit(3)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], env=dict(os.environ), timeout=60).returncode == 3
    with listening("Belt 01", scan_s=0.5) as ear:
        assert ear.link.read(PLACE) == b"\x01"


@on_air
def test_a_program_that_ends_without_closing_disconnects_and_warns_of_nothing(ether: Ether) -> None:
    program = (
        "from drivers.clock import RealClock\n"
        "from drivers.links.ble import BleLink\n"
        "link = BleLink('Belt 01', RealClock())\n"
        "link.open(print)\n"
        "link.subscribe('2a37')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], env=dict(os.environ), capture_output=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, b"")
    with listening("Belt 01") as ear:
        assert "C0:00:00:00:00:01" in ear.link.description


@on_air
def test_a_call_from_the_sink_is_an_error_and_no_deadlock(ether: Ether) -> None:
    caught: list[RuntimeError] = []
    done = threading.Event()
    link = BleLink("Belt 01", CLOCK)

    def sink(item: object) -> None:
        try:
            link.write(b"\x01", CONTROL)
        except RuntimeError as error:
            caught.append(error)
        done.set()

    link.open(sink)
    link.subscribe(BEAT)
    ether.say(0, b"x")
    assert done.wait(20)
    link.close()
    assert "own callback" in str(caught[0])


@on_air
def test_the_stamp_error_is_measured_while_a_link_is_open(ether: Ether) -> None:
    with listening("Belt 01") as ear:
        before = ear.link.stamp_error_ns()["n"]
        while (measured := ear.link.stamp_error_ns())["n"] < before + 2:
            ear.inbox.get(CLOCK.now_ns() + to_ns(0.05))
        assert 0 <= measured["p50"] <= measured["p99"] <= measured["max"]


@on_air
def test_advertisers_are_candidates_and_a_heart_rate_service_is_recognised(ether: Ether) -> None:
    found = ble_candidates(0.5, CLOCK)
    assert {(one.address, one.name, one.sensor) for one in found} == {
        ("C0:00:00:00:00:01", "Belt 01", "heart-rate"),
        ("C0:00:00:00:00:02", "Belt 02", "heart-rate"),
    }
    assert "address: 'C0:00:00:00:00:01'" in as_yaml(found)


def test_a_ble_sensor_gets_a_ble_link_with_its_options() -> None:
    class Sensor:
        NAME, LINK, BAUD = "heart-rate", "ble", 0

    link = make_link(Sensor, port=None, address="180d", clock=CLOCK, reconnect=False)  # type: ignore[arg-type]
    assert isinstance(link, BleLink)
    with pytest.raises(SettingError, match="address"):
        make_link(Sensor, port="/dev/ttyUSB0", address=None, clock=CLOCK)  # type: ignore[arg-type]
