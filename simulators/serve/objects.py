"""A tree of D-Bus objects that are plain data, with the ObjectManager and Properties interfaces over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from dbus_fast import DBusError, Message, Variant
from dbus_fast.aio import MessageBus

OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
PROPERTIES = "org.freedesktop.DBus.Properties"

Interfaces: TypeAlias = dict[str, dict[str, Variant]]
"""Interface -> property -> value."""


class ObjectTree:
    """Objects by path. Every change is announced on the bus as BlueZ announces it."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self._objects: dict[str, Interfaces] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._objects

    def add(self, path: str, interfaces: Interfaces) -> None:
        """A new object; InterfacesAdded."""
        self._objects[path] = interfaces
        self._signal("/", OBJECT_MANAGER, "InterfacesAdded", "oa{sa{sv}}", [path, interfaces])

    def remove(self, path: str) -> None:
        """The object and all below it, children first; InterfacesRemoved for each."""
        below = [other for other in self._objects if other.startswith(f"{path}/")]
        for gone in (*reversed(below), *([path] if path in self._objects else [])):
            interfaces = list(self._objects.pop(gone))
            self._signal("/", OBJECT_MANAGER, "InterfacesRemoved", "oas", [gone, interfaces])

    def change(
        self, path: str, interface: str, changed: Mapping[str, Variant], invalidated: Sequence[str] = ()
    ) -> None:
        """New property values, and properties that are gone; PropertiesChanged."""
        properties = self._objects[path][interface]
        properties.update(changed)
        for name in invalidated:
            properties.pop(name, None)
        self._signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, dict(changed), list(invalidated)])

    def answer(self, call: Message) -> Message | None:
        """The reply to a call of the two interfaces; None if it is a call of another."""
        if call.interface == OBJECT_MANAGER and call.member == "GetManagedObjects" and call.path == "/":
            return Message.new_method_return(call, "a{oa{sa{sv}}}", [self._objects])
        if call.interface != PROPERTIES:
            return None
        interface, *rest = call.body
        properties = self._objects.get(call.path or "", {}).get(interface)
        if properties is None:
            raise DBusError("org.freedesktop.DBus.Error.UnknownObject", f"{call.path} has no interface {interface}")
        if call.member == "GetAll":
            return Message.new_method_return(call, "a{sv}", [properties])
        if rest[0] not in properties:
            raise DBusError("org.freedesktop.DBus.Error.InvalidArgs", f"No such property '{rest[0]}'")
        if call.member == "Get":
            return Message.new_method_return(call, "v", [properties[rest[0]]])
        raise DBusError("org.freedesktop.DBus.Error.PropertyReadOnly", f"Property '{rest[0]}' is not writable")

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[object]) -> None:
        self._bus.send(Message.new_signal(path, interface, member, signature, body))
