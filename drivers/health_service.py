"""What health devices over Bluetooth LE have in common: battery, device information, and dates (Bluetooth SIG)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from drivers.codec import Characteristic, ReadValue, Service, Steps, Subscribe
from drivers.gatt import uuid128
from drivers.types import Event, Malformed, Notice

BATTERY = uuid128(0x2A19)
_STRINGS = {"manufacturer": uuid128(0x2A29), "model": uuid128(0x2A24), "firmware": uuid128(0x2A26)}
SERVICES = (
    Service(uuid128(0x180F), (Characteristic(BATTERY, ("read", "notify")),)),
    Service(uuid128(0x180A), tuple(Characteristic(uuid, ("read",)) for uuid in _STRINGS.values())),
)
DATE_BYTES = 7
_CLOCK_ZERO = datetime(2000, 1, 1, tzinfo=UTC)


class Reader:
    """The host's end: reads once, is told of the battery, and tells each thing at first and when it changes."""

    def __init__(self) -> None:
        self._said: dict[str, str | float | bool] = {}
        self._read: dict[str, str | float] = {}  # by start(), told with what arrives first

    def start(self) -> Steps:
        """Read what the device says about itself; it may have none of it."""
        self._said.clear()
        for name, uuid in _STRINGS.items():
            text = yield ReadValue(uuid)
            if text:
                self._read[name] = text.decode("utf-8", "replace")
        level = yield ReadValue(BATTERY)
        if level:
            self._read["battery_percent"] = float(level[0])
            yield Subscribe(BATTERY)

    def expect(self, name: str, value: str | float) -> None:
        """Tell this too with what arrives first."""
        self._read[name] = value

    def take_read(self, at_ns: int) -> list[Event]:
        """Notices of what was read, once."""
        events: list[Event] = []
        while self._read:
            events += self.tell(*self._read.popitem(), at_ns)
        return events

    def battery(self, data: bytes, at_ns: int) -> list[Event]:
        """A notification of the battery level."""
        if len(data) == 1 and data[0] <= 100:
            return self.tell("battery_percent", float(data[0]), at_ns)
        return [Malformed("battery level that is not one byte 0..100", len(data), data[:64], at_ns)]

    def tell(self, name: str, value: str | float | bool, at_ns: int) -> list[Event]:
        """A notice at the first time and at every change; to say nothing is no change at first."""
        if self._said.get(name, "") == value:
            return []
        self._said[name] = value
        return [Notice(name, value, at_ns)]


def read_about(channel: str, model: str, battery_percent: int) -> bytes | None:
    """The device's end: what a simulated device says about itself; None for any other characteristic."""
    texts = {"manufacturer": "spiral-hil", "model": model, "firmware": "1.0"}
    values = {_STRINGS[name]: text.encode() for name, text in texts.items()}
    values[BATTERY] = bytes([battery_percent])
    return values.get(channel)


def parse_date(data: bytes) -> str | None:
    """ISO 8601 without a zone, of a Date Time (0x2A08); "unknown" without a year, month or day; None if it is none."""
    year, (month, day, hour, minute, second) = int.from_bytes(data[:2], "little"), data[2:DATE_BYTES]
    if month > 12 or day > 31 or hour > 23 or minute > 59 or second > 59 or (year and not 1582 <= year <= 9999):
        return None
    if not (year and month and day):
        return "unknown"
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"


def write_date(device_ns: int) -> bytes:
    """Date Time of a device whose clock began at 2000-01-01 because nobody has set it."""
    at = _CLOCK_ZERO + timedelta(seconds=device_ns // 1_000_000_000)
    return at.year.to_bytes(2, "little") + bytes([at.month, at.day, at.hour, at.minute, at.second])
