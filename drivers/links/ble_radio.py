"""The machine's Bluetooth LE adapter: one event loop in one thread for all links, and scanning."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from drivers.clock import Clock
from drivers.errors import LinkError, SettingError
from drivers.gatt import uuid128
from drivers.links.stamp_error import PERIOD_NS, Alarm, StampError

T = TypeVar("T")
_END_TIMEOUT_S = 3.0
_EVERYWHERE = ("1800", "1801", "180a", "180f")
"""Services of practically every peripheral, by which connected ones are asked for."""


@dataclass(frozen=True)
class Advertiser:
    """A peripheral as its advertisements describe it."""

    address: str
    name: str
    services: frozenset[str]
    """Lowercase 128-bit UUIDs."""
    rssi_dbm: int
    device: Any
    """bleak's BLEDevice, by which it connects."""

    def __str__(self) -> str:
        services = ", ".join(sorted(_short(uuid) for uuid in self.services)) or "none advertised"
        return f"{self.address} {self.name!r} ({self.rssi_dbm} dBm, services {services})"


def _short(uuid: str) -> str:
    return uuid[4:8] if uuid == uuid128(uuid[4:8]) else uuid


def matcher(address: str) -> Callable[[Advertiser], bool]:
    """Tells whether a peripheral is the wanted one.

    ``address``: a Bluetooth address, an advertised name (or its beginning, up to a space), or a service
    UUID of 4, 8 or 32 digits, which ``service:180d`` says unmistakably. SettingError for an empty one.
    """
    wanted = address.strip().lower()
    if wanted.startswith("service:"):
        uuid = uuid128(wanted.removeprefix("service:"))
        return lambda seen: uuid in seen.services
    if not wanted:
        raise SettingError("a BLE link needs an address, an advertised name or a service UUID, such as 'service:180d'")
    service = ""
    with suppress(SettingError):
        service = uuid128(wanted)

    def matches(seen: Advertiser) -> bool:
        name = seen.name.lower()
        return wanted in (seen.address.lower(), name) or name.startswith(f"{wanted} ") or service in seen.services

    return matches


class Adapter(Protocol):
    """Another Bluetooth stack than the operating system's, such as a drivers.links.bumble_bleak.Central."""

    client: Any
    """For bleak's BleakClient(backend=)."""
    scanner: Any
    """For bleak's BleakScanner(backend=)."""


class Holder(Protocol):
    """A link that has a peripheral."""

    async def leave(self, on: Radio) -> None:
        """Disconnect and look for it no more."""


class Radio:
    """The event loop that all of a process's BLE links share, in a daemon thread; see radio()."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.busy = asyncio.Lock()
        """Held while scanning and connecting, which adapters do one at a time."""
        self.held: dict[str, Holder] = {}
        """Address of each peripheral that a link of this process has -> that link."""
        self.stamp_error = StampError()
        self._alarm: Alarm | None = None
        self._thread = threading.Thread(target=self._run, name="bluetooth", daemon=True)
        self._thread.start()
        atexit.register(self._end)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the loop and wait for the result; from any thread but the loop's own."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a BLE link was called from its own callback; hand the item to an inbox instead")
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def measure(self, clock: Clock) -> None:
        """Begin to measure how late this loop stamps; on the loop, any number of times."""
        if self._alarm is not None or not Alarm.offered():
            return
        self._alarm = alarm = Alarm()
        alarm.set(clock.now_ns() + PERIOD_NS)
        self.loop.add_reader(alarm.fd, lambda: self.stamp_error.add(alarm.rang(clock.now_ns())))

    def _end(self) -> None:
        """At exit: connections that were left open are closed, or the machine would keep them."""
        with suppress(TimeoutError, asyncio.CancelledError):
            asyncio.run_coroutine_threadsafe(self._leave_all(), self.loop).result(_END_TIMEOUT_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_END_TIMEOUT_S)
        if not self._thread.is_alive():
            if self._alarm is not None:
                self.loop.remove_reader(self._alarm.fd)
                self._alarm.close()
            self.loop.close()

    async def _leave_all(self) -> None:
        await asyncio.gather(*(link.leave(self) for link in self.held.values()), return_exceptions=True)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


_radio: Radio | None = None
_radio_lock = threading.Lock()


def radio() -> Radio:
    """This process's one Radio, started at the first call."""
    global _radio
    with _radio_lock:
        if _radio is None:
            _radio = Radio()
        return _radio


# --- scanning -----------------------------------------------------------------------------------


async def scan(
    seconds: float, wanted: Callable[[Advertiser], bool] | None = None, adapter: Adapter | None = None
) -> tuple[Advertiser | None, list[Advertiser]]:
    """Listen to advertisements: the wanted peripheral as soon as it is heard, or None, and all that were heard.

    A peripheral that this machine is connected to already, by another program or by one that was killed,
    does not advertise; it is looked up when the time is over. LinkError says why there is no Bluetooth.
    """
    from bleak import BleakScanner

    heard: dict[str, Advertiser] = {}
    hit: asyncio.Future[Advertiser] = asyncio.get_running_loop().create_future()

    def on_advertisement(device: Any, data: Any) -> None:
        before = heard.get(device.address)
        name = data.local_name or device.name or (before.name if before else "")
        services = frozenset(uuid.lower() for uuid in data.service_uuids) | (before.services if before else frozenset())
        seen = Advertiser(device.address, name, services, data.rssi, device)
        heard[device.address] = seen
        if wanted is not None and wanted(seen) and not hit.done():
            hit.set_result(seen)

    try:
        async with BleakScanner(on_advertisement, backend=adapter.scanner if adapter else None):
            await asyncio.wait([hit], timeout=seconds)
        found = hit.result() if hit.done() else None
        if found is None and wanted is not None and adapter is None:
            found = next((seen for seen in await _connected(heard.values()) if wanted(seen)), None)
    except troubles() as trouble:
        raise absence(trouble) from trouble
    return found, sorted(heard.values(), key=lambda seen: -seen.rssi_dbm)


async def _connected(heard: Iterable[Advertiser]) -> list[Advertiser]:
    import bleak

    adapters = getattr(bleak, "BleakAdapter", None)  # since bleak 3.1
    if adapters is None:
        return []
    services = {*_EVERYWHERE, *(uuid for seen in heard for uuid in seen.services)}
    devices = await (await adapters.get()).get_connected_devices(list(services))
    return [Advertiser(device.address, device.name or "", frozenset(_uuids(device)), 0, device) for device in devices]


def _uuids(device: Any) -> list[str]:
    """BlueZ tells a connected device's services; elsewhere only name and address are known."""
    details = device.details if isinstance(device.details, dict) else {}
    return [uuid.lower() for uuid in details.get("props", {}).get("UUIDs", [])]


def troubles() -> tuple[type[BaseException], ...]:
    """What bleak raises when the radio, the service behind it or the peripheral fails."""
    from bleak.exc import BleakError

    return (BleakError, OSError, EOFError, TimeoutError, ValueError)


def absence(trouble: BaseException) -> LinkError:
    """Why this machine has no usable Bluetooth, and what to try."""
    from bleak.exc import BleakBluetoothNotAvailableError, BleakBluetoothNotAvailableReason, BleakDBusError

    if isinstance(trouble, BleakBluetoothNotAvailableError):
        if trouble.reason is BleakBluetoothNotAvailableReason.POWERED_OFF:
            return LinkError(
                f"Bluetooth: the adapter is switched off ({trouble.args[0]}). Try `bluetoothctl power on`."
            )
        return LinkError(
            f"Bluetooth: no usable adapter: {trouble.args[0]} Plug in a Bluetooth LE adapter, and see "
            "`bluetoothctl list` and `rfkill list bluetooth`."
        )
    if isinstance(trouble, BleakDBusError):
        if trouble.dbus_error.endswith(("ServiceUnknown", "NameHasNoOwner", "Spawn.ServiceNotFound")):
            return LinkError(
                "Bluetooth: the D-Bus system bus answers, but bluetoothd is not running (nobody is org.bluez). "
                "Try `systemctl start bluetooth`, or install bluez."
            )
        return LinkError(f"Bluetooth: BlueZ refused to scan: {trouble}. Try `systemctl restart bluetooth`.")
    if isinstance(trouble, OSError | EOFError | ValueError) and not isinstance(trouble, TimeoutError):
        where = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "its usual place")
        return LinkError(
            f"Bluetooth: there is no D-Bus system bus at {where}: {trouble or type(trouble).__name__}. "
            "Start dbus and bluetooth, or, in a container, mount /run/dbus."
        )
    return LinkError(f"Bluetooth: scanning failed: {trouble or type(trouble).__name__}")
