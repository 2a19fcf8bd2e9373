"""bleak over bumble: what ``backend=`` of an unmodified BleakClient or BleakScanner takes.

    ether = Ether()
    central = Central(ether)                       # or Central(ether, transport="usb:0")
    BleakScanner(on_advertisement, backend=central.scanner)
    BleakClient(device, backend=central.client)

bumble runs on its ether's loop, bleak on whichever loop its user has.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, TypeVar

from bleak.args import SizedBuffer
from bleak.backends.characteristic import BleakGATTCharacteristic, GattCharacteristicsFlags
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakDeviceNotFoundError, BleakError, BleakGATTProtocolError

from drivers.links.bumble_stack import Ether

T = TypeVar("T")
LARGEST_MTU = 517
_INTERVAL_MS = 30.0
_SUPERVISION_MS = 4000.0


def uuid_text(short_or_long: Any) -> str:
    """A bumble UUID as a lowercase 128-bit UUID."""
    return str(uuid.UUID(bytes=short_or_long.to_bytes(force_128=True)[::-1]))


class Central:
    """A Bluetooth LE central: scans and connects over ``ether``, or over a controller at ``transport``.

    ``att_mtu`` is what it offers when it connects; 23 asks for no exchange. LinkError without a controller.
    """

    def __init__(
        self, ether: Ether, *, transport: str = "", address: str = "", att_mtu: int = LARGEST_MTU,
        connection_interval_ms: float = _INTERVAL_MS, snoop: str = "",
    ) -> None:  # fmt: skip
        self.ether, self.att_mtu, self.interval_ms = ether, att_mtu, connection_interval_ms
        self.client: type[BaseBleakClient] = type("BumbleClient", (_Client,), {"central": self})
        self.scanner: type[BaseBleakScanner] = type("BumbleScanner", (_Scanner,), {"central": self})
        self.listeners: list[Callable[[Any], None]] = []
        self.device: Any = ether.call(self._appear(address, transport, snoop))

    async def _appear(self, address: str, transport: str, snoop: str) -> Any:
        device = await self.ether.device("central", address or self.ether.free_address(), transport, snoop)
        device.on("advertisement", self._hear)
        self.connecting = asyncio.Lock()
        await self.ether.power_on(device, transport or "in this process")
        return device

    def _hear(self, advertisement: Any) -> None:
        for listener in list(self.listeners):
            listener(advertisement)

    async def listen(self, listener: Callable[[Any], None], on: bool) -> None:
        """Scan as long as anybody listens; on the ether's loop."""
        if on:
            self.listeners.append(listener)
            if len(self.listeners) == 1:
                await self.device.start_scanning()
        elif listener in self.listeners:
            self.listeners.remove(listener)
            if not self.listeners:
                await self.device.stop_scanning()

    def has(self, connection: Any) -> bool:
        """The connection is not lost yet."""
        return connection is not None and self.device.connections.get(connection.handle) is connection

    async def connect(self, address: Any, timeout_s: float) -> Any:
        """bumble's Connection, or None if the peripheral is not heard; on the ether's loop."""
        from bumble.core import BaseBumbleError
        from bumble.device import ConnectionParametersPreferences
        from bumble.hci import Phy

        wanted = ConnectionParametersPreferences()
        wanted.connection_interval_min = wanted.connection_interval_max = self.interval_ms
        wanted.supervision_timeout = int(_SUPERVISION_MS)
        try:
            async with self.connecting:
                return await self.device.connect_le(address, {Phy.LE_1M: wanted}, timeout=timeout_s)
        except (BaseBumbleError, TimeoutError):
            return None


async def on_ether(ether: Ether, work: Coroutine[Any, Any, T]) -> T:
    """Await ``work`` that runs on the ether's loop."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, ether.loop))


class _Scanner(BaseBleakScanner):
    """Advertisements that a Central hears."""

    central: ClassVar[Central]

    def __init__(
        self, detection_callback: Any, service_uuids: list[str] | None, scanning_mode: str, **options: Any
    ) -> None:
        super().__init__(detection_callback, service_uuids)

    async def start(self) -> None:
        """Listen until stop()."""
        self.seen_devices = {}
        self._loop = asyncio.get_running_loop()
        await on_ether(self.central.ether, self.central.listen(self._on_ether, True))

    async def stop(self) -> None:
        """Listen no more."""
        await on_ether(self.central.ether, self.central.listen(self._on_ether, False))

    def _on_ether(self, advertisement: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take, advertisement)

    def _take(self, advertisement: Any) -> None:
        data = _advertisement_data(advertisement)
        if not self.is_allowed_uuid(data.service_uuids):
            return
        address = advertisement.address.to_string(False)
        device = self.create_or_update_device(address, address, data.local_name, advertisement.address, data)
        self.call_detection_callbacks(device, data)


def _advertisement_data(advertisement: Any) -> AdvertisementData:
    from bumble.core import AdvertisingData

    types = AdvertisingData.Type
    every = advertisement.data
    uuids: dict[str, None] = {}
    for kind in (types.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS, types.INCOMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS,
                 types.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS,
                 types.INCOMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS):  # fmt: skip
        for found in every.get_all(kind):
            uuids.update(dict.fromkeys(uuid_text(one) for one in found))
    name = every.get(types.COMPLETE_LOCAL_NAME) or every.get(types.SHORTENED_LOCAL_NAME)
    makers = dict(every.get_all(types.MANUFACTURER_SPECIFIC_DATA))
    power = every.get(types.TX_POWER_LEVEL)
    return AdvertisementData(name, makers, {}, list(uuids), power, advertisement.rssi, (advertisement,))


class _Client(BaseBleakClient):
    """One connection of a Central. What the peripheral refuses is a BleakGATTProtocolError, all else BleakError."""

    central: ClassVar[Central]

    def __init__(
        self, address_or_ble_device: BLEDevice | str, services: set[str] | None = None, **options: Any
    ) -> None:
        known = {key: options[key] for key in ("disconnected_callback", "timeout")}
        super().__init__(address_or_ble_device, **known)
        self._wanted = services
        self._name = address_or_ble_device.name if isinstance(address_or_ble_device, BLEDevice) else None
        self._connection: Any = None
        self._peer: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._heard: dict[int, Callable[[bytes], None]] = {}

    @property
    def name(self) -> str:
        """The advertised name, else the address."""
        return self._name or self.address

    @property
    def mtu_size(self) -> int:
        """The negotiated ATT_MTU; 23 while not connected."""
        return int(self._connection.att_mtu) if self._connection is not None else 23

    @property
    def connection_interval_ms(self) -> float:
        """Of the connection as it is now; 0 while not connected."""
        return float(self._connection.parameters.connection_interval) if self._connection is not None else 0.0

    @property
    def is_connected(self) -> bool:
        """Until disconnect(), or until the peripheral is lost."""
        return self._connection is not None

    # --- connecting -----------------------------------------------------------------------------

    async def connect(self, pair: bool, **options: Any) -> None:
        """Connect, exchange the MTU, discover services, and pair if asked to."""
        self._loop = asyncio.get_running_loop()
        if self.is_connected:
            raise BleakError(f"{self.address} is connected already")
        from bumble.hci import Address

        at = Address(self.address, Address.RANDOM_DEVICE_ADDRESS)
        connection = await on_ether(self.central.ether, self.central.connect(at, self._timeout))
        if connection is None:
            raise BleakDeviceNotFoundError(
                self.address,
                f"{self.address} was not heard within {self._timeout:g} s: is it in range and advertising?",
            )
        self._connection = connection
        try:
            self.services = await self._ask(self._discover(connection))
            if pair:
                await self.pair()
        except BaseException:
            await self.disconnect()
            raise

    async def _discover(self, connection: Any) -> BleakGATTServiceCollection:
        from bumble.device import Peer

        connection.on("disconnection", lambda reason: self._to_user(self._on_lost, connection))
        if not self.central.has(connection):
            raise BleakError(f"{self.address}: the connection was lost at once")
        self._peer = peer = Peer(connection)
        if self.central.att_mtu > 23:
            await peer.request_mtu(self.central.att_mtu)
        found = BleakGATTServiceCollection()
        for service in await peer.discover_services():
            if self._wanted and uuid_text(service.uuid) not in self._wanted:
                continue
            ours = BleakGATTService(service, service.handle, uuid_text(service.uuid))
            found.add_service(ours)
            for one in await peer.discover_characteristics(service=service):
                characteristic = BleakGATTCharacteristic(
                    one, one.handle, uuid_text(one.uuid), _properties(one), lambda: self.mtu_size - 3, ours
                )
                found.add_characteristic(characteristic)
                for each in await peer.discover_descriptors(one):
                    found.add_descriptor(BleakGATTDescriptor(each, each.handle, uuid_text(each.type), characteristic))
        return found

    def _to_user(self, call: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    def _on_lost(self, connection: Any) -> None:
        if connection is not self._connection:
            return
        self._connection = self.services = None
        if self._disconnected_callback is not None:
            self._disconnected_callback()

    async def disconnect(self) -> None:
        """End the connection; nothing to do without one."""
        connection, self._connection, self.services = self._connection, None, None
        if connection is None:
            return
        await on_ether(self.central.ether, self._translated(self._end(connection), connection))
        if self._disconnected_callback is not None:
            self._disconnected_callback()

    async def _end(self, connection: Any) -> None:
        from bumble.core import BaseBumbleError

        try:
            if self.central.has(connection):
                await connection.disconnect()
        except BaseBumbleError:
            if self.central.has(connection):  # else it was lost meanwhile, which is as good
                raise

    async def pair(self, *arguments: Any, **options: Any) -> None:
        """Pair and encrypt; BleakError says why the peripheral refused."""
        await self._ask(self._here().pair())

    async def unpair(self) -> None:
        """Forget the bond, and disconnect as bleak documents."""
        await self._ask(self._forget(self._here()))
        await self.disconnect()

    async def _forget(self, connection: Any) -> None:
        await self.central.device.keystore.delete(str(connection.peer_address))

    # --- talking --------------------------------------------------------------------------------

    def _here(self) -> Any:
        if self._connection is None:
            raise BleakError(f"{self.address} is not connected")
        return self._connection

    async def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        return await on_ether(self.central.ether, self._translated(work, self._connection))

    async def _translated(self, work: Coroutine[Any, Any, T], connection: Any) -> T:
        """bumble's errors as bleak's; it cancels what waits for an answer when the connection ends."""
        from bumble.att import ATT_Error
        from bumble.core import BaseBumbleError, ProtocolError

        try:
            return await work
        except ATT_Error as refusal:
            raise BleakGATTProtocolError(int(refusal.error_code)) from refusal
        except ProtocolError as refusal:
            raise BleakError(f"{self.address} refuses: {refusal}") from refusal
        except (BaseBumbleError, TimeoutError) as trouble:
            raise BleakError(f"{self.address}: {trouble or type(trouble).__name__}") from trouble
        except asyncio.CancelledError:
            if self.central.has(connection):
                raise
            raise BleakError(f"{self.address}: the connection was lost while it was asked") from None

    async def read_gatt_char(
        self, characteristic: BleakGATTCharacteristic, *, use_cached: bool = False, **options: Any
    ) -> bytearray:
        """See bleak."""
        self._here()
        return bytearray(await self._ask(self._peer.read_value(characteristic.obj)))

    async def read_gatt_descriptor(
        self, descriptor: BleakGATTDescriptor, *, use_cached: bool = False, **options: Any
    ) -> bytearray:
        """See bleak."""
        self._here()
        return bytearray(await self._ask(self._peer.read_value(descriptor.obj)))

    async def write_gatt_char(self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool) -> None:
        """See bleak."""
        self._here()
        await self._ask(self._peer.write_value(characteristic.obj, bytes(data), with_response=response))

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
        """See bleak."""
        self._here()
        await self._ask(self._peer.write_value(descriptor.obj, bytes(data), with_response=True))

    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **options: Any
    ) -> None:
        """See bleak; notifications come in the loop that connected."""
        self._here()

        def on_value(value: bytes) -> None:
            self._to_user(callback, bytearray(value))

        self._heard[characteristic.handle] = on_value
        try:
            await self._ask(self._peer.subscribe(characteristic.obj, on_value))
        except BleakError:
            self._forget_subscriber(characteristic.handle)
            raise

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        """See bleak."""
        self._here()
        on_value = self._heard.pop(characteristic.handle, None)
        await self._ask(self._peer.unsubscribe(characteristic.obj, on_value))

    def _forget_subscriber(self, handle: int) -> None:
        del self._heard[handle]
        for subscribers in (self._peer.gatt_client.notification_subscribers,
                            self._peer.gatt_client.indication_subscribers):  # fmt: skip
            self.central.ether.soon(subscribers.pop, handle, None)


def _properties(characteristic: Any) -> list[Any]:
    bits = int(characteristic.properties)
    return [flag.name.replace("_", "-") for flag in GattCharacteristicsFlags if bits & flag.value]
