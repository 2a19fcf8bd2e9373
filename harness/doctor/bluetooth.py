"""Bluetooth: adapter, radio switch, BlueZ and the D-Bus that programs reach it by."""

from __future__ import annotations

import re

from harness.doctor.machine import Fact, Machine, State
from harness.doctor.ports import contained

_SOCKET = "run/dbus/system_bus_socket"
_OLDEST = (5, 55)
"""BlueZ that bleak asks for (its documentation, "Linux backend")."""


def facts(machine: Machine, needed: bool = False) -> list[Fact]:
    """Adapter, radio switch, BlueZ, D-Bus. Where no adapter is, nothing else is missed unless it is ``needed``."""
    adapters = [name for name in machine.names("sys/class/bluetooth", "hci*") if ":" not in name]
    wanted = needed or bool(adapters)
    return [_adapter(machine, adapters, needed), *_switches(machine), _bluez(machine, wanted), _bus(machine, wanted)]


def _adapter(machine: Machine, adapters: list[str], needed: bool) -> Fact:
    if adapters:
        return Fact("Bluetooth adapter", ", ".join(adapters))
    fix = "bluetoothctl list  # after a Bluetooth LE adapter was plugged in"
    if contained(machine):
        fix = "docker run --net=host -v /run/dbus:/run/dbus ...  # a container uses the host's adapter and BlueZ"
    return Fact("Bluetooth adapter", "none", State.ATTENTION if needed else State.ABSENT, fix)


def _switches(machine: Machine) -> list[Fact]:
    """Radios that are blocked; nothing if none is."""
    found = []
    for name in machine.names("sys/class/rfkill"):
        at = f"sys/class/rfkill/{name}"
        if machine.text(f"{at}/type") != "bluetooth":
            continue
        if machine.number(f"{at}/hard"):
            fix = "rfkill list bluetooth  # after the switch or key for radios on this machine was pressed"
            found.append(Fact("Bluetooth radio", "switched off by a hardware switch", State.ATTENTION, fix))
        elif machine.number(f"{at}/soft"):
            found.append(Fact("Bluetooth radio", "switched off", State.ATTENTION, "rfkill unblock bluetooth"))
    return found


def _bluez(machine: Machine, wanted: bool) -> Fact:
    told = re.search(r"(\d+)\.(\d+)", machine.run(["bluetoothctl", "--version"]) or "")
    version = f"{told[1]}.{told[2]}" if told else ""
    running = machine.running("bluetoothd")
    missing = State.ATTENTION if wanted else State.ABSENT
    if running and told and (int(told[1]), int(told[2])) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        fix = "sudo apt-get install --only-upgrade bluez"
        return Fact("BlueZ", f"{version} runs, older than {oldest}", State.ATTENTION, fix)
    if running:
        return Fact("BlueZ", f"{version or 'bluetoothd'} runs")
    if told:
        fix = "sudo systemctl enable --now bluetooth"
        return Fact("BlueZ", f"{version} is installed and does not run", missing, fix)
    return Fact("BlueZ", "not installed", missing, "sudo apt-get install bluez")


def _bus(machine: Machine, wanted: bool) -> Fact:
    address = machine.environment.get("DBUS_SYSTEM_BUS_ADDRESS", "")
    named = re.search(r"unix:path=([^,;]+)", address)
    path = named[1] if named else f"/{_SOCKET}"
    if machine.exists(path):
        return Fact("D-Bus system bus", f"{path} is there")
    daemon = machine.which("dbus-daemon") or machine.which("dbus-broker")
    found = f"no socket at {path}" + ("" if daemon else ", and no dbus-daemon")
    fix = "sudo systemctl start dbus" if daemon else "sudo apt-get install dbus"
    if contained(machine):
        fix = "docker run -v /run/dbus:/run/dbus ...  # the host's bus, into this container"
    return Fact("D-Bus system bus", found, State.ATTENTION if wanted else State.ABSENT, fix)
