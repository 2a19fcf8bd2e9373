"""One simulated Bluetooth LE peripheral as BlueZ shows it: a Device1 with its services and characteristics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

from dbus_fast import Variant

from drivers.codec import Characteristic, Gatt
from simulators.draws import Draws
from simulators.serve.objects import Interfaces, ObjectTree
from simulators.serve.outlet import Chunk, Lateness, Ticks
from simulators.serve.pacer import Served

ADAPTER = "/org/bluez/hci0"
DEVICE1, SERVICE1, CHARACTERISTIC1 = "org.bluez.Device1", "org.bluez.GattService1", "org.bluez.GattCharacteristic1"
ATT_MTU = 247


class Surroundings(Protocol):
    """What a peripheral needs of the Air that it is in."""

    tree: ObjectTree

    def call(self, call: Callable[..., None], *arguments: object) -> None:
        """Run on the event loop, soon and in order."""

    def lose(self, outlet: AirOutlet) -> None:
        """The peripheral went out of range."""


def random_address(seed: int, role: str) -> str:
    """A static random address (its two top bits are set) that follows from seed and role."""
    octets = bytearray(hashlib.blake2b(f"{seed}\x1f{role}".encode(), digest_size=6).digest())
    octets[0] |= 0xC0
    return ":".join(f"{octet:02X}" for octet in octets)


class AirOutlet:
    """One peripheral. Its methods are called by the pacing thread and act on the event loop."""

    def __init__(self, air: Surroundings, gatt: Gatt, address: str, clock: Ticks) -> None:
        self.air, self.gatt, self.place, self._clock = air, gatt, address, clock
        self.lateness = Lateness()
        self.sent_bytes = self.dropped_bytes = self.unheard_bytes = 0
        self.path = f"{ADAPTER}/dev_{address.replace(':', '_')}"
        self.served: Served | None = None
        self.in_range = self.connecting = self.connected = False
        self.notifying: dict[str, set[str]] = {}
        """Characteristic -> bus names that asked for notifications."""
        self.paths: dict[str, str] = {}
        self.rssi = Draws(0, "rssi", address)
        self.advertised = 0

    def open(self, served: Served) -> None:
        """Come into range."""
        self.served = served
        self.replug()

    def replug(self) -> None:
        """Come into range: advertise, once somebody scans."""
        self.air.call(self._in_range, True)

    def unplug(self) -> None:
        """Go out of range: the connection is lost and the device disappears."""
        self.air.call(self._in_range, False)

    def _in_range(self, is_here: bool) -> None:
        self.in_range = is_here
        if not is_here:
            self.air.lose(self)

    def close(self) -> None:
        """Nothing of its own to release; Air.stop() ends all."""

    def readers(self) -> list[int]:
        """None: commands come in as submitted calls."""
        return []

    def writers(self) -> list[int]:
        """None."""
        return []

    def attend(self) -> list[bytes]:
        """Nothing comes this way."""
        return []

    def send(self, chunks: Sequence[Chunk]) -> None:
        """One notification per chunk, to those who subscribed."""
        self.air.call(self._notify, chunks)

    def _notify(self, chunks: Sequence[Chunk]) -> None:
        for due_ns, data, uuid in chunks:
            if not self.notifying.get(uuid):
                self.unheard_bytes += len(data)
                continue
            self.air.tree.change(self.paths[uuid], CHARACTERISTIC1, {"Value": Variant("ay", data)})
            self.sent_bytes += len(data)
            self.lateness.add(self._clock.now_ns() - due_ns)

    def characteristic(self, uuid: str) -> Characteristic:
        """Its description."""
        return next(c for service in self.gatt.services for c in service.characteristics if c.uuid == uuid)

    def advertisement(self) -> Variant:
        """The next RSSI, in dBm."""
        self.advertised += 1
        return Variant("n", round(-58 + 3 * float(self.rssi.normal(self.advertised, 1)[0])))

    def device_properties(self) -> Interfaces:
        """Device1 as BlueZ shows it when the first advertisement has come."""
        properties = {
            "Address": Variant("s", self.place),
            "AddressType": Variant("s", "random"),
            "Name": Variant("s", self.gatt.name),
            "Alias": Variant("s", self.gatt.name),
            "Adapter": Variant("o", ADAPTER),
            "UUIDs": Variant("as", list(self.gatt.advertised)),
            "RSSI": self.advertisement(),
        }
        flags = ("Paired", "Bonded", "Trusted", "Blocked", "LegacyPairing", "Connected", "ServicesResolved")
        return {DEVICE1: {**properties, **{flag: Variant("b", False) for flag in flags}}}

    def gatt_objects(self) -> list[tuple[str, Interfaces]]:
        """Services and characteristics with paths by handle; fills ``paths``."""
        objects: list[tuple[str, Interfaces]] = []
        handle = 0x000A
        for service in self.gatt.services:
            service_path = f"{self.path}/service{handle:04x}"
            about = {"UUID": Variant("s", service.uuid), "Device": Variant("o", self.path)}
            objects.append((service_path, {SERVICE1: {**about, "Primary": Variant("b", True)}}))
            for characteristic in service.characteristics:
                path = f"{service_path}/char{handle + 1:04x}"
                self.paths[characteristic.uuid] = path
                objects.append((path, {CHARACTERISTIC1: _characteristic_properties(characteristic, service_path)}))
                handle += 3  # declaration, value, configuration descriptor
            handle += 1
        return objects


def _characteristic_properties(characteristic: Characteristic, service_path: str) -> dict[str, Variant]:
    return {
        "UUID": Variant("s", characteristic.uuid),
        "Service": Variant("o", service_path),
        "Value": Variant("ay", b""),
        "Flags": Variant("as", list(characteristic.properties)),
        "Notifying": Variant("b", False),
        "MTU": Variant("q", ATT_MTU),
    }


def adapter_properties() -> dict[str, Variant]:
    """Adapter1: one powered adapter that can be a central."""
    return {
        "Address": Variant("s", "00:00:5E:00:53:00"),  # documentation range of RFC 7042
        "AddressType": Variant("s", "public"),
        "Name": Variant("s", "simulated"),
        "Alias": Variant("s", "simulated"),
        "Class": Variant("u", 0),
        "Powered": Variant("b", True),
        "Discoverable": Variant("b", False),
        "DiscoverableTimeout": Variant("u", 0),
        "Pairable": Variant("b", False),
        "PairableTimeout": Variant("u", 0),
        "Discovering": Variant("b", False),
        "UUIDs": Variant("as", []),
        "Modalias": Variant("s", "usb:v1D6Bp0246d0542"),
        "Roles": Variant("as", ["central"]),
    }
