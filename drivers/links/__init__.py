"""Links: serial ports by URL, Bluetooth LE, memory (virtual time), replay of a recording."""

from __future__ import annotations

from drivers.clock import Clock
from drivers.codec import Sensor
from drivers.errors import SettingError
from drivers.link import Link


def make_link(sensor: Sensor, *, port: str | None, address: str | None, clock: Clock, **options: object) -> Link:
    """The link that a sensor needs: ``port`` for a serial one, ``address`` for a BLE one."""
    if sensor.LINK == "ble":
        if not address:
            raise SettingError(f"{sensor.NAME} is a BLE sensor: give its address, name or service UUID as address=")
        from drivers.links.ble import BleLink

        return BleLink(address, clock, **options)  # type: ignore[arg-type]
    if not port:
        raise SettingError(f"{sensor.NAME} is a serial sensor: give its port, such as port='/dev/ttyUSB0'")
    from drivers.links.serial import SerialLink

    return SerialLink(port, clock, baud=sensor.BAUD, **options)  # type: ignore[arg-type]
