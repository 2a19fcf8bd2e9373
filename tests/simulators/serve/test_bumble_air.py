"""Unmodified bleak against simulated peripherals on bumble's stack, down to the HCI packets."""

from __future__ import annotations

import asyncio
import queue
import socket
import struct
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bumble", reason="needs bumble: pip install 'spiral-hil[bumble]'")

from bleak import BleakClient, BleakScanner
from bleak.exc import BleakDeviceNotFoundError, BleakError, BleakGATTProtocolError

from drivers.clock import RealClock
from drivers.codec import Characteristic, Gatt, Service
from drivers.errors import AttError, LinkError, SettingError
from drivers.gatt import uuid128
from drivers.links.bumble_bleak import Central
from drivers.links.bumble_stack import Ether
from drivers.sensors import heart_rate
from drivers.types import Batch, LinkDown, LinkUp
from simulators.device_clock import DeviceClock
from simulators.line import ConnectionEvents
from simulators.sensor import Channel, SimulatedSensor, StreamSource
from simulators.serve.bumble_air import BumbleOutlet, RadioSettings, advertisement, radio_settings
from simulators.serve.pacer import Pacer, Served

MEASUREMENT, LOCATION, CONTROL, SILENT, HIDDEN = (uuid128(n) for n in (0x2A37, 0x2A38, 0x2A39, 0x2A3A, 0x2A3B))
POLAR_CONTROL = "fb005c81-02e7-f387-1cad-8acd2d8df0c8"
HEART_RATE = uuid128(0x180D)
ADDRESS = "C8:00:5E:00:53:07"
CLOCK = RealClock()


@dataclass
class Strap:
    """A heart rate strap that notifies what it is told to, and refuses all but 1 at its control point."""

    gatt: Gatt
    description: str = "strap"
    told: list[tuple[str, bytes]] = field(default_factory=list)
    mtus: list[int] = field(default_factory=list)
    subscriptions: queue.SimpleQueue[tuple[str, bool]] = field(default_factory=queue.SimpleQueue)
    out: list[Batch | LinkDown | LinkUp] = field(default_factory=list)

    def advance(self, until_ns: int) -> list[Batch | LinkDown | LinkUp]:
        ready, self.out = self.out, []
        return ready

    def receive(self, data: bytes, at_ns: int, channel: str = "") -> None:
        if data != b"\x01":
            raise AttError(int(data[0]))
        self.told.append((channel, data))

    def read(self, channel: str) -> bytes | None:
        return {LOCATION: bytes(range(256))}.get(channel)

    def subscribe(self, channel: str, at_ns: int, on: bool = True) -> None:
        if channel == HIDDEN:
            raise AttError(0x81)
        self.subscriptions.put((channel, on))

    def negotiated(self, att_mtu: int, at_ns: int) -> None:
        self.mtus.append(att_mtu)

    def plugged(self, at_ns: int) -> bool:
        return True

    def next_change_ns(self) -> int | None:
        return None


def strap(name: str = "Strap 01") -> Strap:
    characteristics = (
        Characteristic(MEASUREMENT, ("notify",)),
        Characteristic(LOCATION, ("read",)),
        Characteristic(CONTROL, ("write", "write-without-response")),
        Characteristic(SILENT, ("read",)),
        Characteristic(HIDDEN, ("notify",)),
        Characteristic(POLAR_CONTROL, ("write", "indicate")),
    )
    return Strap(Gatt((Service(HEART_RATE, characteristics),), (HEART_RATE,), name))


@dataclass
class World:
    """A strap on bumble's stack, a pacer that runs, and a central that hears it."""

    strap: Any
    served: Served
    pacer: Pacer
    central: Central
    ether: Ether

    @property
    def outlet(self) -> BumbleOutlet:
        outlet = self.served.outlet
        assert isinstance(outlet, BumbleOutlet)
        return outlet

    def emit(self, item: bytes | LinkDown | LinkUp, channel: str = MEASUREMENT) -> None:
        """Have the strap notify, or go out of or come into range, now."""

        def act(now_ns: int) -> None:
            self.strap.out.append(Batch.single(item, now_ns, channel) if isinstance(item, bytes) else item)

        self.pacer.submit(act).result(5)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Let the pacer go on until something is so."""
        while not is_so():
            await asyncio.wrap_future(self.pacer.submit(lambda now_ns: None))


@contextmanager
def world_of(sensor: Any, gatt: Gatt, central: dict[str, Any] | None = None, **radio: Any) -> Iterator[World]:
    ether = Ether()
    ends: list[Callable[[], object]] = [ether.close]
    try:
        pacer = Pacer(served_list := [], CLOCK)
        ends.append(pacer.close)
        outlet = BumbleOutlet(ether, gatt, ADDRESS, CLOCK, pacer.submit, RadioSettings(**radio))
        served_list.append(served := Served("strap", sensor, outlet, CLOCK.now_ns()))
        outlet.open(served)
        thread = threading.Thread(target=pacer.run)
        thread.start()
        ends += [thread.join, pacer.stop]
        yield World(sensor, served, pacer, Central(ether, **(central or {})), ether)
    finally:
        for end in reversed(ends):
            end()


@contextmanager
def strap_world(central: dict[str, Any] | None = None, **radio: Any) -> Iterator[World]:
    one = strap()
    with world_of(one, one.gatt, central, **radio) as world:
        yield world


@pytest.fixture
def world() -> Iterator[World]:
    with strap_world() as world:
        yield world


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 20))


@asynccontextmanager
async def connected(world: World, lost: asyncio.Event | None = None) -> AsyncIterator[BleakClient]:
    on_lost = None if lost is None else lambda client: lost.set()
    async with BleakClient(ADDRESS, on_lost, backend=world.central.client, timeout=5) as client:
        yield client


async def take(heard: asyncio.Queue[bytes], count: int) -> list[bytes]:
    return [await asyncio.wait_for(heard.get(), 10) for _ in range(count)]


async def heard_from(client: BleakClient, characteristic: str = MEASUREMENT) -> asyncio.Queue[bytes]:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    await client.start_notify(characteristic, lambda _, data: heard.put_nowait(bytes(data)))
    return heard


# --- advertising -------------------------------------------------------------------------------


def test_scanning_finds_name_address_services_and_signal_strength(world: World) -> None:
    async def work() -> None:
        found = await BleakScanner.find_device_by_name("Strap 01", timeout=5, backend=world.central.scanner)
        assert found is not None and found.address == ADDRESS
        both = await BleakScanner.discover(timeout=0.2, return_adv=True, backend=world.central.scanner)
        ((_, data),) = both.values()
        assert data.service_uuids == [HEART_RATE] and -90 < data.rssi < -30

    run(work)


def test_a_scan_for_another_service_finds_nothing(world: World) -> None:
    async def work() -> None:
        options: dict[str, Any] = {"timeout": 0.2, "backend": world.central.scanner}
        assert len(await BleakScanner.discover(service_uuids=[HEART_RATE], **options)) == 1
        assert await BleakScanner.discover(service_uuids=[uuid128(0x181D)], **options) == []

    run(work)


def test_advertising_data_are_flags_services_and_name_in_31_bytes() -> None:
    # Core Specification Supplement, part A: length, type, value; 0x03 16-bit services, 0x09 name
    assert advertisement(strap().gatt) == (bytes.fromhex("020106 03030D18") + b"\x09\x09Strap 01", b"")
    long = replace(strap().gatt, name="A heart rate strap with a long name")
    data, response = advertisement(long)
    assert data == bytes.fromhex("020106 03030D18") + bytes([23, 0x08]) + b"A heart rate strap wit"
    assert response == bytes([30, 0x09]) + b"A heart rate strap with a lon"
    own = replace(strap().gatt, advertised=(POLAR_CONTROL,), name="P")
    assert advertisement(own)[0][3:21] == b"\x11\x07" + bytes.fromhex(POLAR_CONTROL.replace("-", ""))[::-1]


def test_more_services_than_an_advertisement_holds_are_refused() -> None:
    with pytest.raises(SettingError, match="do not fit an advertisement"):
        advertisement(replace(strap().gatt, advertised=(POLAR_CONTROL, POLAR_CONTROL)))


@pytest.mark.parametrize(
    ("given", "wrong"),
    [({"att_mtu": 22}, "expected 23 to 517"), ({"att_mtu": "large"}, "expected a whole number"),
     ({"advertising_interval_ms": 10.0}, "expected 20 to 10240 ms"), ({"pairing": "never"}, "expected one of optional"),
     ({"snop": "x"}, "radio has no 'snop'; it has transport, snoop")],
)  # fmt: skip
def test_radio_settings_that_no_peripheral_has_are_named(given: dict[str, Any], wrong: str) -> None:
    with pytest.raises(SettingError, match=wrong):
        radio_settings(given)


# --- reading, writing, subscribing -------------------------------------------------------------


def test_a_client_sees_the_described_services_and_properties(world: World) -> None:
    async def work() -> None:
        async with connected(world) as client:
            service = client.services.get_service(HEART_RATE)
            assert service is not None
            seen = {c.uuid: set(c.properties) for c in service.characteristics}
            assert seen == {c.uuid: set(c.properties) for c in world.strap.gatt.services[0].characteristics}

    run(work)


def test_a_long_value_is_read_whole_and_an_absent_one_is_an_att_error(world: World) -> None:
    async def work() -> None:
        async with connected(world) as client:
            assert await client.read_gatt_char(LOCATION) == bytes(range(256))
            with pytest.raises(BleakGATTProtocolError) as refusal:
                await client.read_gatt_char(SILENT)
            assert refusal.value.code == 0x0E  # unlikely error

    run(work)


@pytest.mark.parametrize("code", [0x80, 0x03, 0x0D])
def test_what_the_device_refuses_is_an_att_error_with_its_code(world: World, code: int) -> None:
    async def work() -> None:
        async with connected(world) as client:
            with pytest.raises(BleakGATTProtocolError) as refusal:
                await client.write_gatt_char(CONTROL, bytes([code]), response=True)
            assert refusal.value.code == code
            await client.write_gatt_char(CONTROL, b"\x01", response=True)
            await client.write_gatt_char(CONTROL, b"\x01", response=False)
            await world.until(lambda: len(world.strap.told) == 2)

    run(work)


def test_notifications_arrive_byte_for_byte_in_order_and_end_when_stopped(world: World) -> None:
    async def work() -> None:
        async with connected(world) as client:
            heard = await heard_from(client)
            sent = [bytes([0, number]) for number in range(50)]
            for data in sent:
                world.emit(data)
            assert await take(heard, 50) == sent
            await client.stop_notify(MEASUREMENT)
            world.emit(b"\x00\xff")
            await world.until(lambda: world.outlet.unheard_bytes == 2)
            assert heard.empty() and world.outlet.sent_bytes == 100
            assert world.outlet.lateness.count == 50

    run(work)


def test_indications_arrive_in_order_each_after_the_confirmation_of_the_one_before(world: World) -> None:
    async def work() -> None:
        async with connected(world) as client:
            heard = await heard_from(client, POLAR_CONTROL)
            for number in range(5):
                world.emit(bytes([0xF0, number]), POLAR_CONTROL)
            assert await take(heard, 5) == [bytes([0xF0, number]) for number in range(5)]

    run(work)


def test_a_refused_subscription_is_an_att_error_and_nothing_is_notified(world: World) -> None:
    async def work() -> None:
        async with connected(world) as client:
            with pytest.raises(BleakGATTProtocolError) as refusal:
                await client.start_notify(HIDDEN, lambda _, data: None)
            assert refusal.value.code == 0x81
            world.emit(b"\x01", HIDDEN)
            await world.until(lambda: world.outlet.unheard_bytes == 1)

    run(work)


def test_who_disconnects_is_unsubscribed_and_the_next_client_starts_anew(world: World) -> None:
    async def work() -> None:
        async with connected(world) as client:
            await heard_from(client)
        assert [world.strap.subscriptions.get(timeout=5) for _ in range(2)] == [
            (MEASUREMENT, True), (MEASUREMENT, False),
        ]  # fmt: skip
        await world.until(lambda: world.strap.mtus == [247, 23])
        async with connected(world) as client:
            assert client.mtu_size == 247

    run(work)


# --- the MTU -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("att_mtu", "room"), [(23, 20), (100, 97), (247, 244)])
def test_a_notification_is_cut_to_the_mtu_less_three_and_the_rest_is_counted(att_mtu: int, room: int) -> None:
    async def work() -> None:
        async with connected(world) as client:
            assert client.mtu_size == att_mtu
            heard = await heard_from(client)
            world.emit(bytes(250))
            assert await take(heard, 1) == [bytes(room)]
            assert world.outlet.dropped_bytes == 250 - room

    with strap_world(att_mtu=att_mtu) as world:
        run(work)


class Rapid:
    """160 beats a second, so that a notification every 0.1 s has 16 RR intervals to tell."""

    span = 1.0

    def render(self, first: int, times_s: Any) -> Any:
        return np.full((len(times_s), 1), 200.0)

    def events(self, start_s: float, stop_s: float) -> tuple[Any, Any]:
        numbers = np.arange(np.ceil(start_s * 160), np.ceil(stop_s * 160))
        return numbers / 160, np.full((len(numbers), 1), 62.5)


def rapid_strap() -> SimulatedSensor:
    specs = [replace(spec, rate_hz=spec.rate_hz and 10.0) for spec in heart_rate.STREAMS]
    channels = {uuid: Channel([], ConnectionEvents(0.0), []) for uuid in (heart_rate.MEASUREMENT, heart_rate.BATTERY)}
    device = heart_rate.device(heart_rate.Settings())
    sources = [StreamSource(spec, Rapid()) for spec in specs]
    return SimulatedSensor("rapid", device, sources, DeviceClock(), channels, start_ns=CLOCK.now_ns())


@pytest.mark.parametrize(("att_mtu", "intervals"), [(23, 9), (247, 16)])
def test_a_heart_rate_notification_holds_as_many_rr_intervals_as_the_mtu_allows(att_mtu: int, intervals: int) -> None:
    # Heart Rate Service 1.0, 3.1.1.4: 9 intervals at the default MTU without energy and with a rate of one byte
    async def work() -> None:
        async with connected(world) as client:
            heard = await heard_from(client, heart_rate.MEASUREMENT)
            later = (await take(heard, 4))[1:]
            assert {len(data) for data in later} == {2 + 2 * intervals}
            assert {struct.unpack_from("<H", data, 2)[0] for data in later} == {64}

    sensor = rapid_strap()
    assert sensor.device.gatt is not None
    with world_of(sensor, sensor.device.gatt, att_mtu=att_mtu) as world:
        run(work)


# --- the link ----------------------------------------------------------------------------------


def test_a_lost_peripheral_is_told_and_comes_back_with_replug(world: World) -> None:
    async def work() -> None:
        lost = asyncio.Event()
        async with connected(world, lost) as client:
            await heard_from(client)
            world.emit(LinkDown(CLOCK.now_ns(), "unplugged"))
            await asyncio.wait_for(lost.wait(), 5)
            assert not client.is_connected
            with pytest.raises(BleakError):
                await client.read_gatt_char(LOCATION)
        assert await BleakScanner.discover(timeout=0.2, backend=world.central.scanner) == []
        world.emit(LinkUp(CLOCK.now_ns()))
        async with connected(world) as client:
            heard = await heard_from(client)
            world.emit(b"\x00\x3c")
            assert await take(heard, 1) == [b"\x00\x3c"]

    run(work)


def test_who_waits_for_an_answer_when_the_link_is_lost_gets_an_error_at_once(world: World) -> None:
    async def work() -> None:
        async with connected(world) as client:
            world.strap.read = lambda channel: world.strap.out.append(LinkDown(CLOCK.now_ns(), "unplugged"))
            world.outlet._answer = lambda asked: asyncio.sleep(3600)  # a device that never answers
            with pytest.raises(BleakError, match="the connection was lost"):
                await client.read_gatt_char(SILENT)

    run(work)


def test_a_peripheral_that_is_not_there_is_not_found(world: World) -> None:
    async def work() -> None:
        client = BleakClient("C0:00:00:00:00:01", backend=world.central.client, timeout=0.2)
        with pytest.raises(BleakDeviceNotFoundError, match="not heard within"):
            await client.connect()

    run(work)


def test_both_ends_report_the_connection_interval_that_the_peripheral_asked_for(world: World) -> None:
    async def work() -> None:
        async with connected(world) as client:
            asked = {"att_mtu": 247, "connection_interval_ms": 30.0}
            await world.until(lambda: world.outlet.connection_report() == asked)
            assert client._backend.connection_interval_ms == 30.0  # type: ignore[attr-defined]

    run(work)


# --- pairing -----------------------------------------------------------------------------------


def test_a_refused_pairing_is_an_error_that_says_so_and_everything_stays_closed() -> None:
    async def work() -> None:
        async with connected(world) as client:
            with pytest.raises(BleakError, match=r"refuses.*PAIRING_NOT_SUPPORTED"):
                await client.pair()
            for ask in (client.read_gatt_char(LOCATION), client.start_notify(MEASUREMENT, lambda _, data: None)):
                with pytest.raises(BleakGATTProtocolError) as refusal:
                    await ask
                assert refusal.value.code == 0x0F  # insufficient encryption

    with strap_world(pairing="refused") as world:
        run(work)


def test_a_required_pairing_opens_what_was_closed() -> None:
    async def work() -> None:
        async with connected(world) as client:
            with pytest.raises(BleakGATTProtocolError):
                await client.read_gatt_char(LOCATION)
            await client.pair()
            assert (await client.read_gatt_char(LOCATION))[:2] == b"\x00\x01"

    with strap_world(pairing="required") as world:
        run(work)


# --- captures ----------------------------------------------------------------------------------


def btsnoop(path: Path) -> list[tuple[bool, bytes]]:
    """(towards the host, H4 packet) of a capture: RFC 1761 with the magic and the data link of btsnoop."""
    data = path.read_bytes()
    assert struct.unpack_from(">8sII", data) == (b"btsnoop\0", 1, 1002)  # version 1, H4
    packets, at = [], 16
    while at < len(data):
        original, included, flags, drops, _ = struct.unpack_from(">IIIIQ", data, at)
        assert original == included and drops == 0
        packets.append((bool(flags & 1), data[at + 24 : at + 24 + included]))
        at += 24 + included
    return packets


def test_a_capture_holds_the_notifications_sent_and_the_advertising_interval(tmp_path: Path) -> None:
    async def work() -> None:
        async with connected(world) as client:
            heard = await heard_from(client)
            for data in sent:
                world.emit(data)
            assert await take(heard, 3) == sent

    sent = [b"\x00\x3c", b"\x10\x3d\x00\x04", b"\x06\x3e"]
    path = tmp_path / "strap.btsnoop"
    with strap_world(snoop=str(path), advertising_interval_ms=500.0) as world:
        run(work)
    packets = btsnoop(path)
    # H4 type 2; handle, length; L2CAP length, channel 4 (ATT); opcode 0x1B: Core Specification, vol. 4, part E, 5.4.2
    acl = [packet for to_host, packet in packets if not to_host and packet[0] == 2]
    assert [packet[12:] for packet in acl if packet[7:10] == b"\x04\x00\x1b"] == sent
    # opcode 0x2036, LE Set Extended Advertising Parameters, interval of three bytes in 0.625 ms; or 0x2006, of two
    commands = {packet[1:3]: packet for _, packet in packets if packet[0] == 1}
    if b"\x36\x20" in commands:
        assert commands[b"\x36\x20"][7:10] == (800).to_bytes(3, "little")
    else:
        assert commands[b"\x06\x20"][4:6] == (800).to_bytes(2, "little")


def test_a_capture_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    with (
        pytest.raises(LinkError, match=r"nowhere.*cannot be written"),
        strap_world(snoop=str(tmp_path / "nowhere" / "x")),
    ):
        raise AssertionError("unreachable")


# --- controllers elsewhere ---------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def controllers(ports: list[int], ready: threading.Event, end: asyncio.Event) -> None:
    """Two virtual controllers within range of each other, each behind a TCP port, as bumble.apps.controllers."""
    from bumble.controller import Controller
    from bumble.link import LocalLink
    from bumble.transport import open_transport

    link = LocalLink()
    transports = [await open_transport(f"tcp-server:127.0.0.1:{port}") for port in ports]
    for number, one in enumerate(transports):
        Controller(f"C{number}", host_source=one.source, host_sink=one.sink, link=link)
    ready.set()
    await end.wait()
    for one in transports:
        one.server.close()
        if one.sink.transport is not None:
            one.sink.transport.close()


def test_a_central_elsewhere_reads_the_sensor_through_two_controllers_on_tcp() -> None:
    async def work() -> None:
        async with connected(world) as client:
            heard = await heard_from(client)
            world.emit(b"\x00\x48")
            assert await take(heard, 1) == [b"\x00\x48"]

    ports, ready, end, loop = [free_port(), free_port()], threading.Event(), asyncio.Event(), asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(controllers(ports, ready, end)))
    thread.start()
    try:
        assert ready.wait(10)
        here, there = (f"tcp-client:127.0.0.1:{port}" for port in ports)
        with strap_world({"transport": there}, transport=here) as world:
            run(work)
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        with suppress(RuntimeError):
            loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_a_controller_that_is_not_there_is_an_error_that_says_what_to_try() -> None:
    with (
        pytest.raises(LinkError, match=r"tcp-client:127.0.0.1:\d+: it could not be opened.*usb:0"),
        strap_world(transport=f"tcp-client:127.0.0.1:{free_port()}"),
    ):
        raise AssertionError("unreachable")


def test_without_bumble_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bumble.device", None)
    with pytest.raises(LinkError, match=r"pip install 'spiral-hil\[bumble\]'"):
        Ether()
