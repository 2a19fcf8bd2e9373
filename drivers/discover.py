"""Find what is plugged in and what advertises, and write it down as rig entries.

The guess at the sensor rests on a USB adapter's numbers or an advertised service and is no more than that: many
devices carry the same USB chip.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.clock import Clock
from drivers.errors import SettingError
from drivers.gatt import uuid128

_USB_GUESSES = (
    (0x0403, 0x6015, "openbci-cyton", "FTDI FT231X, as on the OpenBCI dongle"),
    (0x0403, 0x6001, "openbci-cyton", "FTDI FT232R, as on older OpenBCI dongles"),
    (0x2341, None, "text-lines", "Arduino"),
    (0x2A03, None, "text-lines", "Arduino"),
    (0x1A86, None, "text-lines", "WCH CH340, as on many Arduino-like boards"),
    (0x10C4, 0xEA60, "text-lines", "Silicon Labs CP210x, as on many ESP32 boards"),
    (0x239A, None, "text-lines", "Adafruit board"),
    (0x303A, None, "text-lines", "Espressif board"),
    (0x2E8A, None, "text-lines", "Raspberry Pi Pico"),
)
"""(vendor, product or None for any, sensor, why), from the vendors' USB descriptors."""
_SERVICE_GUESSES = ((uuid128(0x180D), "heart-rate", "advertises the Heart Rate service 180d"),)
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9/._-]*")


@dataclass(frozen=True)
class Found:
    """One thing that may be a sensor. Either ``port`` or ``address`` is set."""

    name: str
    """What it calls itself."""
    port: str | None = None
    """The most lasting way to name the port: /dev/serial/by-id, an hwgrep:// URL, or the device as it is today."""
    address: str | None = None
    sensor: str | None = None
    """A guess, or None."""
    why: str = ""
    """What the guess rests on."""
    seen: tuple[str, ...] = ()
    """Facts for a person, one each."""


def serial_candidates(ports: Iterable[Any] | None = None, by_id: Path = Path("/dev/serial/by-id")) -> list[Found]:
    """Every serial port of this machine, those that look like a sensor first.

    ``ports`` are pyserial's ListPortInfo objects; this machine's by default.
    """
    if ports is None:
        from serial.tools import list_ports

        ports = list_ports.comports()
    links = {link.resolve(): link for link in sorted(by_id.iterdir())} if by_id.is_dir() else {}
    found = [_serial(port, links) for port in sorted(ports, key=lambda port: str(port.device))]
    return sorted(found, key=lambda one: (one.sensor is None, one.port or ""))


def _serial(port: Any, links: dict[Path, Path]) -> Found:
    usb = port.vid is not None
    facts = [f"now {port.device}"]
    if usb:
        facts.append(f"USB {port.vid:04x}:{port.pid:04x}")
    if port.serial_number:
        facts.append(f"serial number {port.serial_number}")
    name = " ".join(str(part) for part in (port.manufacturer, port.product) if part) or str(port.description)
    sensor, why = _usb_guess(port.vid, port.pid) if usb else (None, "")
    return Found(name, port=_lasting(port, links), sensor=sensor, why=why, seen=tuple(facts))


def _lasting(port: Any, links: dict[Path, Path]) -> str:
    """A name that survives replugging, from the best to what there is."""
    link = links.get(Path(port.device).resolve())
    if link is not None:
        return str(link)
    number = str(port.serial_number or "")
    if number and "&" not in number:  # an hwgrep URL's options begin there
        return rf"hwgrep://SER={re.escape(number)}\b"
    return str(port.device)


def _usb_guess(vendor: int, product: int) -> tuple[str | None, str]:
    for wanted, only, sensor, why in _USB_GUESSES:
        if vendor == wanted and only in (None, product):
            return sensor, why
    return None, ""


def ble_candidates(seconds: float, clock: Clock) -> list[Found]:
    """Everything that advertises within ``seconds``, what looks like a sensor first, then the strongest.

    LinkError says why there is no Bluetooth.
    """
    from drivers.links.ble_radio import radio, scan

    if clock.virtual:
        raise SettingError("scanning lives in real time; give it a RealClock")
    _, heard = radio().call(scan(seconds))
    found = []
    for seen in heard:
        guess = next(((sensor, why) for uuid, sensor, why in _SERVICE_GUESSES if uuid in seen.services), (None, ""))
        facts = [f"{seen.rssi_dbm} dBm", *(f"service {uuid}" for uuid in sorted(seen.services))]
        found.append(Found(seen.name, address=seen.address, sensor=guess[0], why=guess[1], seen=tuple(facts)))
    return sorted(found, key=lambda one: one.sensor is None)


def as_yaml(found: Sequence[Found]) -> str:
    """Entries to paste under a rig's ``sensors:``, with what was seen as comments.

    What could not be guessed is there too, commented out, since a rig must name its sensor.
    """
    if not found:
        return "sensors: {}  # nothing was found\n"
    lines = [
        "sensors:" if any(one.sensor for one in found) else "sensors: {}  # nothing that was found is known; see below"
    ]
    for number, one in enumerate(found, 1):
        lines += _entry(number, one)
    return "\n".join(lines) + "\n"


def _entry(number: int, one: Found) -> list[str]:
    about = [_comment(text) for text in (one.name or "(no name)", *one.seen)]
    lines = [f"  # {'; '.join(about)}"]
    if one.why:
        lines.append(f"  # a guess: {_comment(one.why)}")
    off = "" if one.sensor else "# "
    where = f"port: {_scalar(one.port)}" if one.port else f"address: {_scalar(one.address or '')}"
    lines += [
        f"  {off}sensor{number}:",
        f"  {off}  sensor: {one.sensor or 'NAME-IT (see `hil list sensors`)'}",
        f"  {off}  {where}",
    ]
    return lines


def _comment(text: str) -> str:
    """Names come from devices: keep what cannot end a comment."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _scalar(text: str) -> str:
    """A YAML string: plain where that is safe, else in single quotes."""
    safe = _comment(text)
    return safe if _PLAIN.fullmatch(safe) else "'" + safe.replace("'", "''") + "'"
