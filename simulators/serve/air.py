"""Bluetooth LE without a radio: BlueZ's D-Bus interface (``org.bluez``) over simulated peripherals.

Any program that speaks to BlueZ, with whatever library, scans, connects, reads, writes and subscribes
once DBUS_SYSTEM_BUS_ADDRESS names the private bus. What is sent follows BlueZ 5.66's documents
(doc/adapter-api.txt, device-api.txt, gatt-api.txt) and its error replies (src/gatt-client.c).
The D-Bus side runs on an event loop in a thread of its own; sensors are touched by the pacing thread only.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeAlias

from dbus_fast import DBusError, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from drivers.codec import Gatt
from drivers.errors import AttError
from simulators.serve.objects import ObjectTree
from simulators.serve.outlet import Ticks
from simulators.serve.pacer import Served
from simulators.serve.peripheral import ADAPTER, CHARACTERISTIC1, DEVICE1, SERVICE1, AirOutlet, adapter_properties

ADVERTISING_S = 0.1
"""Between two advertisements."""
CONNECT_S = 0.05
"""From Connect() to the connection, and again to the resolved services."""

_ADAPTER1 = "org.bluez.Adapter1"
_ATT_ERRORS = {
    0x02: ("NotPermitted", "Read not permitted"),
    0x03: ("NotPermitted", "Write not permitted"),
    0x05: ("NotPermitted", "Not paired"),
    0x06: ("NotSupported", "Operation is not supported"),
    0x07: ("InvalidArguments", "Invalid offset"),
    0x08: ("NotAuthorized", "Operation Not Authorized"),
    0x0C: ("NotPermitted", "Not paired"),
    0x0D: ("InvalidArguments", "Invalid Length"),
    0x0F: ("NotPermitted", "Not paired"),
}
"""ATT error -> what BlueZ makes of it (create_gatt_dbus_error); every other one is Failed with its number."""

Submit: TypeAlias = Callable[[Callable[[int], Any]], "Future[Any]"]
Answer: TypeAlias = tuple[str, list[Any]]
"""Signature and body of a method's reply."""
Method: TypeAlias = Callable[..., Awaitable[Answer]]


def bluez_error(name: str, text: str) -> DBusError:
    """``org.bluez.Error.<name>``."""
    return DBusError(f"org.bluez.Error.{name}", text)


def att_error(code: int) -> DBusError:
    """BlueZ's D-Bus error for an ATT error of the peripheral."""
    return bluez_error(*_ATT_ERRORS.get(code, ("Failed", f"Operation failed with ATT error: 0x{code:02x}")))


class Air:
    """One adapter, /org/bluez/hci0, and any number of peripherals within its range."""

    tree: ObjectTree

    def __init__(self, bus_address: str, clock: Ticks) -> None:
        self.bus_address, self._clock = bus_address, clock
        self.outlets: list[AirOutlet] = []
        self._discovering: dict[str, frozenset[str]] = {}
        """Bus name -> service UUIDs that it wants to see, empty for all."""
        self._filters: dict[str, frozenset[str]] = {}
        self._advertising = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._submit: Submit | None = None

    def outlet(self, gatt: Gatt, address: str) -> AirOutlet:
        """A peripheral; before start()."""
        self.outlets.append(AirOutlet(self, gatt, address, self._clock))
        return self.outlets[-1]

    def start(self, submit: Submit) -> None:
        """Appear on the bus. ``submit`` has the pacing thread run a call (Pacer.submit)."""
        self._submit = submit
        try:
            self._loop.run_until_complete(self._appear())
        except BaseException:
            self._loop.close()
            raise
        self._thread = threading.Thread(target=self._loop.run_forever, name="org.bluez", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Vanish from the bus, as if bluetoothd ended; safe to call twice."""
        if self._loop.is_closed():
            return
        try:
            if self._thread is not None:
                self.call(self._loop.stop)
                self._thread.join()
                self._loop.run_until_complete(self._vanish())
        finally:
            self._loop.close()

    def call(self, call: Callable[..., None], *arguments: Any) -> None:
        """Run ``call(*arguments)`` on the event loop, soon and in order."""
        self._loop.call_soon_threadsafe(call, *arguments)

    async def _appear(self) -> None:
        self._bus = await MessageBus(bus_address=self.bus_address).connect()
        self.tree = ObjectTree(self._bus)
        self.tree.add("/org/bluez", {"org.bluez.AgentManager1": {}})
        self.tree.add(ADAPTER, {_ADAPTER1: adapter_properties()})
        self._bus.add_message_handler(self._on_message)
        watch = Message(
            destination="org.freedesktop.DBus", path="/org/freedesktop/DBus", interface="org.freedesktop.DBus",
            member="AddMatch", signature="s", body=["type='signal',member='NameOwnerChanged'"],
        )  # fmt: skip
        await self._bus.call(watch)
        await self._bus.request_name("org.bluez")

    async def _vanish(self) -> None:
        for outlet in self.outlets:
            self.lose(outlet)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._bus.disconnect()
        await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    def _task(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- calls --------------------------------------------------------------------------------

    def _on_message(self, message: Message) -> Message | bool | None:
        if message.message_type is MessageType.SIGNAL and message.member == "NameOwnerChanged":
            name, _, owner = message.body
            if not owner:
                self._client_gone(name)
            return None
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        if (found := self.tree.answer(message)) is not None:
            return found
        path = message.path or ""
        if path.startswith("/org/bluez/") and path not in self.tree:
            return Message.new_error(message, "org.freedesktop.DBus.Error.UnknownObject", f"There is no {path}")
        method = self._method(message)
        if method is None:
            return None  # dbus-fast answers UnknownMethod, or what every object must answer (Ping, Introspect)
        self._task(self._reply(message, method))
        return True

    def _method(self, call: Message) -> Callable[[], Awaitable[Answer]] | None:
        path, sender = call.path or "", call.sender or ""
        outlet = next((o for o in self.outlets if path == o.path or path.startswith(f"{o.path}/")), None)
        if path == ADAPTER and call.interface == _ADAPTER1:
            adapter = self._adapter_methods().get(call.member or "")
            return (lambda: adapter(sender, *call.body)) if adapter else None
        if outlet is None:
            return None
        if path == outlet.path and call.interface == DEVICE1:
            device = {"Connect": self._connect, "Disconnect": self._disconnect}.get(call.member or "")
            return (lambda: device(outlet)) if device else None
        uuid = next((u for u, p in outlet.paths.items() if p == path), None)
        if uuid is None or call.interface != CHARACTERISTIC1:
            return None
        operation = self._gatt_methods().get(call.member or "")
        return (lambda: operation(outlet, uuid, sender, *call.body)) if operation else None

    def _adapter_methods(self) -> dict[str, Method]:
        return {
            "SetDiscoveryFilter": self._set_filter,
            "GetDiscoveryFilters": self._filters_known,
            "StartDiscovery": self._start_discovery,
            "StopDiscovery": self._stop_discovery,
        }

    def _gatt_methods(self) -> dict[str, Method]:
        return {
            "ReadValue": self._read,
            "WriteValue": self._write,
            "StartNotify": self._start_notify,
            "StopNotify": self._stop_notify,
        }

    async def _reply(self, call: Message, method: Callable[[], Awaitable[Answer]]) -> None:
        try:
            signature, body = await method()
            self._bus.send(Message.new_method_return(call, signature, body))
        except DBusError as error:
            self._bus.send(Message.new_error(call, error.type, error.text))
        except AttError as error:
            refused = att_error(error.code)
            self._bus.send(Message.new_error(call, refused.type, refused.text))
        except Exception as error:
            self._bus.send(Message.new_error(call, "org.bluez.Error.Failed", f"simulator: {error!r}"))
            raise  # a defect of ours, and so for stderr too

    async def _device(self, outlet: AirOutlet, call: Callable[[Served, int], Any]) -> Any:
        """Run ``call(served, now_ns)`` in the pacing thread and return what it returns."""
        assert self._submit is not None and outlet.served is not None
        served = outlet.served
        return await asyncio.wrap_future(self._submit(lambda now_ns: call(served, now_ns)))

    # --- Adapter1 -----------------------------------------------------------------------------

    async def _set_filter(self, sender: str, wanted: dict[str, Variant]) -> Answer:
        uuids = wanted["UUIDs"].value if "UUIDs" in wanted else []
        self._filters[sender] = frozenset(uuid.lower() for uuid in uuids)
        return "", []

    async def _filters_known(self, sender: str) -> Answer:
        return "as", [["UUIDs", "RSSI", "Pathloss", "Transport", "DuplicateData", "Discoverable", "Pattern"]]

    async def _start_discovery(self, sender: str) -> Answer:
        if sender in self._discovering:
            raise bluez_error("InProgress", "Operation already in progress")
        if not self._discovering:
            self.tree.change(ADAPTER, _ADAPTER1, {"Discovering": Variant("b", True)})
        self._discovering[sender] = self._filters.get(sender, frozenset())
        if not self._advertising:
            self._advertising = True
            self._task(self._advertise())
        return "", []

    async def _stop_discovery(self, sender: str) -> Answer:
        if sender not in self._discovering:
            raise bluez_error("Failed", "No discovery started")
        self._discovery_ended(sender)
        return "", []

    def _discovery_ended(self, sender: str) -> None:
        del self._discovering[sender]
        if self._discovering:
            return
        for outlet in self.outlets:
            if outlet.path in self.tree:
                self.tree.change(outlet.path, DEVICE1, {}, ["RSSI"])
        self.tree.change(ADAPTER, _ADAPTER1, {"Discovering": Variant("b", False)})

    async def _advertise(self) -> None:
        """Everybody in range and not connected advertises as long as somebody scans: scanners take only
        advertisements that come after they began, so one is never enough."""
        while self._discovering:
            for outlet in self.outlets:
                if not outlet.in_range or outlet.connected or not self._wanted(outlet.gatt):
                    continue
                if outlet.path in self.tree:
                    self.tree.change(outlet.path, DEVICE1, {"RSSI": outlet.advertisement()})
                else:
                    self.tree.add(outlet.path, outlet.device_properties())
            await asyncio.sleep(ADVERTISING_S)
        self._advertising = False

    def _wanted(self, gatt: Gatt) -> bool:
        advertised = {uuid.lower() for uuid in gatt.advertised}
        return any(not uuids or uuids & advertised for uuids in self._discovering.values())

    # --- Device1 ------------------------------------------------------------------------------

    async def _connect(self, outlet: AirOutlet) -> Answer:
        if outlet.connected:
            return "", []
        if outlet.connecting:
            raise bluez_error("InProgress", "In Progress")
        outlet.connecting = True
        try:
            await self._establish(outlet)
        finally:
            outlet.connecting = False
        return "", []

    async def _establish(self, outlet: AirOutlet) -> None:
        await asyncio.sleep(CONNECT_S)
        if outlet.path not in self.tree:  # it left meanwhile, and may even be back, to be discovered anew
            raise bluez_error("Failed", "le-connection-timeout")
        outlet.connected = True
        self.tree.change(outlet.path, DEVICE1, {"Connected": Variant("b", True)})
        await asyncio.sleep(CONNECT_S)
        if not outlet.connected:
            raise bluez_error("Failed", "le-connection-gatt-browsing")
        for path, interfaces in outlet.gatt_objects():
            self.tree.add(path, interfaces)
        every = [service.uuid for service in outlet.gatt.services]
        resolved = {"UUIDs": Variant("as", every), "ServicesResolved": Variant("b", True)}
        self.tree.change(outlet.path, DEVICE1, resolved)

    async def _disconnect(self, outlet: AirOutlet) -> Answer:
        if not outlet.connected:
            raise bluez_error("NotConnected", "Not Connected")
        subscribed = [uuid for uuid, names in outlet.notifying.items() if names]
        self._connection_ended(outlet)
        for uuid in subscribed:
            await self._device(outlet, _subscription(uuid, False))
        return "", []

    def _connection_ended(self, outlet: AirOutlet) -> None:
        outlet.connected = False
        outlet.notifying.clear()
        down = {"ServicesResolved": Variant("b", False), "Connected": Variant("b", False)}
        self.tree.change(outlet.path, DEVICE1, down)
        for path in [path for path, interfaces in outlet.gatt_objects() if SERVICE1 in interfaces]:
            self.tree.remove(path)

    def lose(self, outlet: AirOutlet) -> None:
        """The peripheral is out of range. (It was reset by what took it away, so nothing is unsubscribed.)"""
        if outlet.connected:
            self._connection_ended(outlet)
        self.tree.remove(outlet.path)

    # --- GattCharacteristic1 ------------------------------------------------------------------

    async def _read(self, outlet: AirOutlet, uuid: str, sender: str, options: dict[str, Variant]) -> Answer:
        if "read" not in outlet.characteristic(uuid).properties:
            raise att_error(0x02)
        value = await self._device(outlet, lambda served, now_ns: served.sensor.read(uuid))
        if value is None:
            raise att_error(0x0E)  # unlikely error: what a peripheral says that has no value to give
        if outlet.paths[uuid] in self.tree:  # BlueZ announces what was read like a notification
            self.tree.change(outlet.paths[uuid], CHARACTERISTIC1, {"Value": Variant("ay", value)})
        offset = options["offset"].value if "offset" in options else 0
        return "ay", [value[offset:]]

    async def _write(
        self, outlet: AirOutlet, uuid: str, sender: str, data: bytes, options: dict[str, Variant]
    ) -> Answer:
        flags = outlet.characteristic(uuid).properties
        if "type" in options:
            kind = options["type"].value
        else:
            kind = "command" if "write-without-response" in flags else "request"
        if ("write-without-response" if kind == "command" else "write") not in flags:
            raise bluez_error("NotSupported", "Operation is not supported")
        try:
            await self._device(outlet, lambda served, now_ns: served.act(now_ns, "write", bytes(data), uuid))
        except AttError:
            if kind != "command":  # a command has no response that could carry the error
                raise
        return "", []

    async def _start_notify(self, outlet: AirOutlet, uuid: str, sender: str) -> Answer:
        if not {"notify", "indicate"} & set(outlet.characteristic(uuid).properties):
            raise bluez_error("NotSupported", "Operation is not supported")
        names = outlet.notifying.setdefault(uuid, set())
        names.add(sender)
        if len(names) == 1:
            try:
                await self._device(outlet, _subscription(uuid, True))
            except AttError:
                names.discard(sender)
                raise
            if outlet.connected:
                self.tree.change(outlet.paths[uuid], CHARACTERISTIC1, {"Notifying": Variant("b", True)})
        return "", []

    async def _stop_notify(self, outlet: AirOutlet, uuid: str, sender: str) -> Answer:
        if sender not in outlet.notifying.get(uuid, set()):
            raise bluez_error("Failed", "No notify session started")
        await self._notify_ended(outlet, uuid, sender)
        return "", []

    async def _notify_ended(self, outlet: AirOutlet, uuid: str, sender: str) -> None:
        names = outlet.notifying.get(uuid, set())
        if sender not in names:
            return
        names.discard(sender)
        if not names:
            self.tree.change(outlet.paths[uuid], CHARACTERISTIC1, {"Notifying": Variant("b", False)})
            await self._device(outlet, _subscription(uuid, False))

    def _client_gone(self, name: str) -> None:
        """A program left the bus: its scan and its notifications end, its connections stay, as with BlueZ."""
        self._filters.pop(name, None)
        if name in self._discovering:
            self._discovery_ended(name)
        for outlet in self.outlets:
            for uuid in [uuid for uuid, names in outlet.notifying.items() if name in names]:
                self._task(self._notify_ended(outlet, uuid, name))


def _subscription(uuid: str, on: bool) -> Callable[[Served, int], None]:
    kind = "subscribe" if on else "unsubscribe"
    return lambda served, now_ns: served.act(now_ns, kind, channel=uuid)
