"""Anything that sends C structs over the Nordic UART Service: framed-records by Bluetooth LE, the same framings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drivers import nus
from drivers.codec import Golden
from drivers.record_settings import RecordSettings
from drivers.sensors import framed_records

NAME = "framed-records-ble"
LINK = "ble"
BAUD = 0
SOURCES = (*framed_records.SOURCES, "Nordic Semiconductor, Nordic UART Service; Zephyr, nus.h")


@dataclass(frozen=True, kw_only=True)
class Settings(RecordSettings):
    """What the peripheral sends."""

    name: str = field(default="UART board", metadata={"help": "simulated board: advertised name"})
    mtu: int = field(
        default=nus.USUAL_ATT_MTU,
        metadata={"help": "simulated board: ATT_MTU of the link; a notification carries 3 bytes less"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        nus.check_mtu(self.mtu)


SETTINGS = Settings
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = framed_records.CONFORMANCE_SETTINGS[1:4]


def host(settings: Settings) -> nus.NusHost:
    """The decoding end."""
    return nus.NusHost(framed_records.host(settings))


def device(settings: Settings) -> nus.NusDevice:
    """The encoding end."""
    return nus.NusDevice(framed_records.device(settings), settings.name, settings.mtu)


GOLDEN = tuple(Golden(g.source, g.data, g.expected, g.settings, nus.TX, g.tolerance) for g in framed_records.GOLDEN)
