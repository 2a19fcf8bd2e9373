"""One tree of errors, each naming what was expected, what was found and what to try."""

from __future__ import annotations


class SensorError(Exception):
    """Root of everything that drivers raise."""


class LinkError(SensorError, ConnectionError):
    """The link could not be opened: absent port, busy, no permission, no adapter."""


class LinkLost(LinkError):
    """The link was open and is gone."""


class HandshakeError(SensorError):
    """The device answered not at all, or not as its protocol says."""


class ReadTimeout(SensorError, TimeoutError):
    """Nothing arrived before the deadline."""


class NotConnected(SensorError):
    """read or write before open()."""


class UnknownSensor(SensorError, LookupError):
    """No sensor of that name; the message lists near names."""


class SettingError(SensorError, ValueError):
    """A setting of a sensor, link, signal or fault has no meaning there."""


class AttError(SensorError):
    """A GATT peripheral refuses a read, a write or a subscription, with this ATT error code
    (Bluetooth Core Specification, vol. 3, part F, 3.4.1.1; 0x80 to 0x9f are the profile's own)."""

    def __init__(self, code: int, what: str = "") -> None:
        super().__init__(f"ATT error 0x{code:02x}{': ' if what else ''}{what}")
        self.code = code


class MissingExtra(LinkError, SettingError):
    """A sensor needs a package that is not installed: an optional extra of this one."""

    def __init__(self, extra: str, why: object) -> None:
        super().__init__(f"the package that reads this is not there ({why}): pip install 'spiral-hil[{extra}]'")
