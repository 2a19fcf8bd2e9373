"""Unmodified bleak against the simulated BlueZ: everything a client does, and everything that goes wrong."""

from __future__ import annotations

import asyncio
import queue
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from bleak import BleakClient, BleakScanner
from bleak.exc import BleakDBusError, BleakDeviceNotFoundError, BleakError, BleakGATTProtocolError
from dbus_fast import BusType, Message, Variant
from dbus_fast.aio import MessageBus

from drivers.clock import RealClock
from drivers.codec import Characteristic, Gatt, Service
from drivers.errors import AttError, LinkError
from drivers.gatt import uuid128
from drivers.types import Batch, LinkDown, LinkUp
from simulators.serve.pacer import Pacer, Served

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs dbus-daemon: apt-get install dbus")

MEASUREMENT, LOCATION, CONTROL, SILENT = (uuid128(n) for n in (0x2A37, 0x2A38, 0x2A39, 0x2A3A))
HEART_RATE = uuid128(0x180D)
PROPERTIES = "org.freedesktop.DBus.Properties"


@dataclass
class Strap:
    """A heart rate strap that notifies what it is told to, and refuses all but 1 at its control point."""

    gatt: Gatt
    description: str = "strap"
    told: list[tuple[str, bytes]] = field(default_factory=list)
    subscribed: list[tuple[str, bool]] = field(default_factory=list)
    subscriptions: queue.SimpleQueue[bool] = field(default_factory=queue.SimpleQueue)
    out: list[Batch | LinkDown | LinkUp] = field(default_factory=list)

    def advance(self, until_ns: int) -> list[Batch | LinkDown | LinkUp]:
        ready, self.out = self.out, []
        return ready

    def receive(self, data: bytes, at_ns: int, channel: str = "") -> None:
        if data != b"\x01":
            raise AttError(int(data[0]))
        self.told.append((channel, data))

    def read(self, channel: str) -> bytes | None:
        return {LOCATION: b"\x01"}.get(channel)

    def subscribe(self, channel: str, at_ns: int, on: bool = True) -> None:
        self.subscribed.append((channel, on))
        self.subscriptions.put(on)

    def plugged(self, at_ns: int) -> bool:
        return True


def strap(name: str = "Strap 01") -> Strap:
    characteristics = (
        Characteristic(MEASUREMENT, ("notify",)),
        Characteristic(LOCATION, ("read",)),
        Characteristic(CONTROL, ("write", "write-without-response")),
        Characteristic(SILENT, ("read",)),
    )
    return Strap(Gatt((Service(HEART_RATE, characteristics),), (HEART_RATE,), name))


@dataclass
class World:
    """Straps on the air, with a pacer that runs."""

    straps: list[Strap]
    served: list[Served]
    pacer: Pacer
    addresses: list[str]

    def emit(self, number: int, item: bytes | LinkDown | LinkUp) -> None:
        """Have a strap notify, or go out of or come into range, now; returns when that has happened."""

        def act(now_ns: int) -> None:
            self.straps[number].out.append(Batch.single(item, now_ns, MEASUREMENT) if isinstance(item, bytes) else item)

        outlet = self.served[number].outlet
        before = outlet.sent_bytes + outlet.unheard_bytes
        self.pacer.submit(act).result(5)

        def noticed() -> bool:
            if isinstance(item, bytes):
                return outlet.sent_bytes + outlet.unheard_bytes > before
            return outlet.in_range is isinstance(item, LinkUp)

        while not noticed():
            self.pacer.submit(lambda now_ns: None).result(5)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    from simulators.serve.air import Air
    from simulators.serve.bus import PrivateBus
    from simulators.serve.peripheral import random_address

    bus = PrivateBus()
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    clock = RealClock()
    air = Air(bus.address, clock)
    straps = [strap("Strap 01"), strap("Strap 02")]
    served = []
    for number, one in enumerate(straps):
        outlet = air.outlet(one.gatt, random_address(7, f"strap{number}"))
        served.append(Served(f"strap{number}", one, outlet, clock.now_ns()))
        outlet.open(served[-1])
    pacer = Pacer(served, clock)
    air.start(pacer.submit)
    thread = threading.Thread(target=pacer.run)
    thread.start()
    yield World(straps, served, pacer, [one.outlet.place for one in served])
    pacer.stop()
    thread.join()
    air.stop()
    pacer.close()
    bus.close()


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 30))


@asynccontextmanager
async def connected(world: World, number: int = 0, lost: asyncio.Event | None = None) -> AsyncIterator[BleakClient]:
    device = await BleakScanner.find_device_by_address(world.addresses[number], timeout=5)
    assert device is not None
    async with BleakClient(device, lambda client: lost.set() if lost else None) as client:
        yield client


def test_scanning_finds_every_peripheral_with_name_address_services_and_signal_strength(world: World) -> None:
    async def work() -> None:
        found = await BleakScanner.discover(timeout=0.5, return_adv=True)
        assert {a: d.name for a, (d, _) in found.items()} == dict(
            zip(world.addresses, ("Strap 01", "Strap 02"), strict=True)
        )
        for _, advertisement in found.values():
            assert advertisement.service_uuids == [HEART_RATE]
            assert -90 < advertisement.rssi < -30

    run(work)


def test_a_peripheral_is_found_by_name_and_by_service_and_not_by_another_service(world: World) -> None:
    async def work() -> None:
        device = await BleakScanner.find_device_by_name("Strap 02", timeout=5)
        assert device is not None and device.address == world.addresses[1]
        found = await BleakScanner.discover(timeout=0.3, service_uuids=[HEART_RATE])
        assert len(found) == 2
        assert await BleakScanner.discover(timeout=0.3, service_uuids=[uuid128(0x181D)]) == []

    run(work)


def test_addresses_follow_from_seed_and_role_and_are_static_random_ones() -> None:
    from simulators.serve.peripheral import random_address

    assert random_address(7, "chest") == random_address(7, "chest")
    assert len({random_address(seed, role) for seed in range(20) for role in "ab"}) == 40
    # Bluetooth Core Specification, vol. 6, part B, 1.3.2.1: the two most significant bits are 1
    assert all(int(random_address(seed, "chest")[:2], 16) >> 6 == 3 for seed in range(20))


def test_a_client_sees_the_described_services_and_properties(world: World) -> None:
    async def work() -> None:
        async with connected(world) as client:
            (service,) = client.services
            assert service.uuid == HEART_RATE
            seen = {c.uuid: tuple(c.properties) for c in service.characteristics}
            assert seen == {c.uuid: c.properties for c in world.straps[0].gatt.services[0].characteristics}

    run(work)


def test_notifications_arrive_byte_for_byte_in_order_and_end_when_stopped(world: World) -> None:
    async def work() -> None:
        sent = [bytes([0, number]) for number in range(50)]
        got: list[bytes] = []
        complete = asyncio.Event()

        def take(characteristic: object, data: bytearray) -> None:
            got.append(bytes(data))
            if len(got) == len(sent):
                complete.set()

        async with connected(world) as client:
            await client.start_notify(MEASUREMENT, take)
            for data in sent:
                world.emit(0, data)
            await asyncio.wait_for(complete.wait(), 5)
            await client.stop_notify(MEASUREMENT)
            world.emit(0, b"unheard")
        assert got == sent
        assert world.served[0].outlet.unheard_bytes == len(b"unheard")
        assert world.straps[0].subscribed == [(MEASUREMENT, True), (MEASUREMENT, False)]
        assert world.served[0].outlet.lateness.count == 50

    run(work)


def test_only_the_peripheral_that_was_subscribed_is_told(world: World) -> None:
    async def work() -> None:
        async with connected(world, 0) as first, connected(world, 1) as second:
            got: asyncio.Queue[bytes] = asyncio.Queue()
            await first.start_notify(MEASUREMENT, lambda c, data: got.put_nowait(bytes(data)))
            await second.read_gatt_char(LOCATION)
            world.emit(1, b"other")
            world.emit(0, b"mine")
            assert await asyncio.wait_for(got.get(), 5) == b"mine"
            assert got.empty()

    run(work)


def test_a_write_reaches_the_device_with_and_without_response(world: World) -> None:
    async def work() -> None:
        async with connected(world) as client:
            await client.write_gatt_char(CONTROL, b"\x01", response=True)
            await client.write_gatt_char(CONTROL, b"\x01", response=False)
        assert world.straps[0].told == [(CONTROL, b"\x01")] * 2

    run(work)


@pytest.mark.parametrize("code", [0x03, 0x06, 0x08, 0x0D, 0x11, 0x80, 0xFE])
def test_a_refused_write_gives_the_client_the_att_error_of_the_device(world: World, code: int) -> None:
    """bleak turns BlueZ's error names back into ATT error codes; what comes out must be what the device said."""

    async def work() -> None:
        async with connected(world) as client:
            with pytest.raises(BleakGATTProtocolError) as caught:
                await client.write_gatt_char(CONTROL, bytes([code]), response=True)
            assert int(caught.value.code) == code
            await client.write_gatt_char(CONTROL, bytes([code]), response=False)  # has no response to carry an error

    run(work)


def test_reading_what_cannot_be_read_is_refused_as_bluez_does(world: World) -> None:
    async def work() -> None:
        async with connected(world) as client:
            for uuid, code in ((MEASUREMENT, 0x02), (SILENT, 0x0E)):
                with pytest.raises(BleakGATTProtocolError) as caught:
                    await client.read_gatt_char(uuid)
                assert int(caught.value.code) == code

    run(work)


def test_going_out_of_range_ends_the_connection_and_the_device_is_no_longer_found(world: World) -> None:
    async def work() -> None:
        lost = asyncio.Event()
        device = await BleakScanner.find_device_by_address(world.addresses[0], timeout=5)
        assert device is not None
        client = BleakClient(device, lambda client: lost.set())
        await client.connect()
        world.emit(0, LinkDown(0, "out of range"))
        await asyncio.wait_for(lost.wait(), 5)
        assert not client.is_connected
        with pytest.raises(BleakError):
            await client.read_gatt_char(LOCATION)
        await client.disconnect()
        found = await BleakScanner.discover(timeout=0.3)
        assert [d.address for d in found] == [world.addresses[1]]
        with pytest.raises(BleakDeviceNotFoundError):
            await BleakClient(device.address, timeout=0.3).connect()

    run(work)


def test_coming_back_into_range_it_advertises_and_connects_again(world: World) -> None:
    async def work() -> None:
        async with connected(world):
            pass
        world.emit(0, LinkDown(0, "out of range"))
        world.emit(0, LinkUp(0))
        async with connected(world) as client:
            assert await client.read_gatt_char(LOCATION) == b"\x01"

    run(work)


def test_leaving_and_coming_back_while_a_client_connects_fails_that_connection_and_hurts_nothing(
    world: World,
) -> None:
    async def work() -> None:
        device = await BleakScanner.find_device_by_address(world.addresses[0], timeout=5)
        assert device is not None
        async with another_program() as call:
            connecting = asyncio.ensure_future(call(world.served[0].outlet.path, "org.bluez.Device1", "Connect"))
            while not world.served[0].outlet.connecting:
                await asyncio.sleep(0)
            world.emit(0, LinkDown(0, "out of range"))
            world.emit(0, LinkUp(0))
            reply = await connecting
        assert (reply.error_name, reply.body) == ("org.bluez.Error.Failed", ["le-connection-timeout"])
        async with connected(world) as client:
            assert await client.read_gatt_char(LOCATION) == b"\x01"

    run(work)


def test_a_connected_peripheral_does_not_advertise(world: World) -> None:
    async def work() -> None:
        async with connected(world, 0):
            found = await BleakScanner.discover(timeout=0.3)
            assert [d.address for d in found] == [world.addresses[1]]

    run(work)


def test_disconnecting_unsubscribes_and_the_next_connection_starts_afresh(world: World) -> None:
    async def work() -> None:
        got: asyncio.Queue[bytes] = asyncio.Queue()
        async with connected(world) as client:
            await client.start_notify(MEASUREMENT, lambda c, data: None)
        async with connected(world) as client:
            world.emit(0, b"nobody subscribed")
            await client.start_notify(MEASUREMENT, lambda c, data: got.put_nowait(bytes(data)))
            world.emit(0, b"heard")
            assert await asyncio.wait_for(got.get(), 5) == b"heard"
        assert world.straps[0].subscribed == [(MEASUREMENT, True), (MEASUREMENT, False)] * 2

    run(work)


@asynccontextmanager
async def another_program() -> AsyncIterator[Callable[..., Awaitable[Message]]]:
    """A client of its own on the bus, which speaks D-Bus without any library's idea of Bluetooth."""
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()

    async def call(path: str, interface: str, member: str, signature: str = "", *body: object) -> Message:
        message = Message("org.bluez", path, interface, member, signature=signature, body=list(body))
        reply = await bus.call(message)
        assert reply is not None
        return reply

    yield call
    bus.disconnect()
    await bus.wait_for_disconnect()


def test_a_program_that_dies_leaves_neither_scan_nor_notifications_behind(world: World) -> None:
    async def work() -> None:
        device, adapter = world.served[0].outlet.path, "/org/bluez/hci0"
        async with connected(world) as client:
            path = client.services.get_characteristic(MEASUREMENT).obj[0]
            async with another_program() as call:
                assert (await call(path, "org.bluez.GattCharacteristic1", "StartNotify")).error_name is None
                assert (await call(adapter, "org.bluez.Adapter1", "StartDiscovery")).error_name is None
            strap = world.straps[0]
            assert await asyncio.to_thread(strap.subscriptions.get, timeout=5) is True
            assert await asyncio.to_thread(strap.subscriptions.get, timeout=5) is False
            async with another_program() as call:
                get = (PROPERTIES, "Get", "ss", "org.bluez.Adapter1", "Discovering")
                assert (await call(adapter, *get)).body[0].value is False
                get = (PROPERTIES, "Get", "ss", "org.bluez.Device1", "Connected")
                assert (await call(device, *get)).body[0].value is True, "connections stay, as with BlueZ"

    run(work)


def test_calls_that_make_no_sense_get_the_errors_that_bluez_gives(world: World) -> None:
    async def work() -> None:
        adapter = "/org/bluez/hci0"
        async with another_program() as call:
            answers = {
                "stop": await call(adapter, "org.bluez.Adapter1", "StopDiscovery"),
                "method": await call(adapter, "org.bluez.Adapter1", "Explode"),
                "object": await call(f"{adapter}/dev_00_11_22_33_44_55", "org.bluez.Device1", "Connect"),
                "property": await call(adapter, PROPERTIES, "Get", "ss", "org.bluez.Adapter1", "Mood"),
                "set": await call(adapter, PROPERTIES, "Set", "ssv", "org.bluez.Adapter1", "Name", Variant("s", "x")),
            }
        assert {name: (reply.error_name or "").rpartition(".")[2] for name, reply in answers.items()} == {
            "stop": "Failed", "method": "UnknownMethod", "object": "UnknownObject", "property": "InvalidArgs",
            "set": "PropertyReadOnly",
        }  # fmt: skip

    run(work)


def test_a_defect_in_the_device_is_told_to_the_client_and_does_not_hang_it(world: World) -> None:
    """An empty write makes this strap raise an IndexError, which no peripheral could answer with."""

    async def work() -> None:
        async with connected(world) as client:
            with pytest.raises(BleakDBusError, match="simulator: IndexError"):
                await client.write_gatt_char(CONTROL, b"", response=True)
            assert await client.read_gatt_char(LOCATION) == b"\x01"

    run(work)


def test_without_dbus_daemon_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from simulators.serve.bus import PrivateBus

    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(LinkError, match="apt-get install dbus"):
        PrivateBus()
