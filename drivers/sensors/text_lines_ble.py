"""Anything that prints numbers over the Nordic UART Service: text-lines by Bluetooth LE, the same formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drivers import nus, text_settings
from drivers.codec import Golden
from drivers.errors import SettingError
from drivers.sensors import text_lines

NAME = "text-lines-ble"
LINK = "ble"
BAUD = 0
SOURCES = (*text_lines.SOURCES, "Nordic Semiconductor, Nordic UART Service; Zephyr, nus.h")


@dataclass(frozen=True, kw_only=True)
class Settings(text_settings.Settings):
    """What the peripheral prints."""

    name: str = field(default="UART board", metadata={"help": "simulated board: advertised name"})
    mtu: int = field(
        default=nus.USUAL_ATT_MTU,
        metadata={"help": "simulated board: ATT_MTU of the link; a notification carries 3 bytes less"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        nus.check_mtu(self.mtu)
        if self.baud != text_lines.BAUD:
            raise SettingError("baud: Bluetooth LE has no line rate; leave it away")


SETTINGS = Settings
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = text_lines.CONFORMANCE_SETTINGS[1:4:2]


def host(settings: Settings) -> nus.NusHost:
    """The decoding end."""
    return nus.NusHost(text_lines.host(settings))


def device(settings: Settings) -> nus.NusDevice:
    """The encoding end."""
    return nus.NusDevice(text_lines.device(settings), settings.name, settings.mtu)


GOLDEN = tuple(Golden(g.source, g.data, g.expected, g.settings, nus.TX, g.tolerance) for g in text_lines.GOLDEN)
