"""Links: serial ports by URL, Bluetooth LE, BrainFlow, LSL, memory (virtual time), replay of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivers.errors import SettingError

if TYPE_CHECKING:  # the reader process runs in this package and starts in 0.1 s without numpy
    from drivers.clock import Clock
    from drivers.codec import Sensor
    from drivers.link import Link


def make_link(
    sensor: Sensor, *, port: str | None, address: str | None, clock: Clock, settings: Any = None, **options: Any
) -> Link:
    """The link that a sensor needs: ``port`` for a serial one, ``address`` for a BLE one or an LSL stream.

    ``settings`` are the sensor's, which BrainFlow and LSL need. ``options`` are those of SerialLink (``baud``, by
    default the sensor's, ``reader``, ``reconnect``, ``low_latency``, ``parity``), of BleLink (``reconnect``,
    ``scan_s``, ``adapter``), or ``reconnect``.
    """
    if sensor.LINK == "brainflow":
        from drivers.links.brainflow import BrainFlowLink

        return BrainFlowLink(settings, clock, port=port, **options)
    if sensor.LINK == "lsl":
        if not address:
            raise SettingError(f"{sensor.NAME} is an LSL stream: give its name, type or source_id as address=")
        from drivers.links.lsl import LslLink

        return LslLink(settings, address, clock, **options)
    if sensor.LINK == "ble":
        if not address:
            raise SettingError(f"{sensor.NAME} is a BLE sensor: give its address, name or service UUID as address=")
        from drivers.links.ble import BleLink

        return BleLink(address, clock, **options)
    if not port:
        raise SettingError(f"{sensor.NAME} is a serial sensor: give its port, such as port='/dev/ttyUSB0'")
    from drivers.links.serial import SerialLink

    return SerialLink(port, clock, **{"baud": sensor.BAUD, **options})


def settle(sensor: Sensor, settings: Any, address: str | None) -> Any:
    """The settings with what they leave to the sensor itself to say: an LSL stream's channels and rate.

    LinkError if the stream is not there.
    """
    if sensor.LINK != "lsl" or not address:
        return settings
    from drivers.lsl_stream import settled

    return settled(settings, address)
