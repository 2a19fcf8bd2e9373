"""Nordic UART Service: a serial sensor's codec, unchanged, over Bluetooth LE.

A peripheral with this service is a serial port: what the central writes to RX it reads, what it writes comes as
notifications of TX. Notifications are pieces of a byte stream: where one ends means nothing. The names are the
peripheral's view; some old documents swap them, but 6e400002 is always written and 6e400003 always notifies.
Source: Nordic Semiconductor, nRF Connect SDK, Nordic UART Service; Zephyr, bluetooth/services/nus.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from drivers.codec import (
    Block,
    Characteristic,
    Device,
    Expect,
    Gatt,
    Host,
    KeepAlive,
    Pause,
    Reply,
    Service,
    Step,
    Steps,
    Subscribe,
    Write,
)
from drivers.errors import AttError, SettingError
from drivers.types import Batch, Event, StreamSpec

SERVICE = "6e400001-b5a3-f393-e0a9-e50e24dcca9e"
RX = "6e400002-b5a3-f393-e0a9-e50e24dcca9e"
TX = "6e400003-b5a3-f393-e0a9-e50e24dcca9e"
ATT_MTUS = (23, 517)
"""Smallest, which every link has, and largest that a Bluetooth LE link can agree on."""
USUAL_ATT_MTU = 247
"""Fits one link layer packet of 251 bytes; what phones, BlueZ and Nordic's examples agree on."""
_ATT_HEADER = 3
_NOT_PERMITTED, _NO_NOTIFICATIONS = 0x03, 0x06


def check_mtu(mtu: int) -> None:
    """SettingError for an ATT_MTU that no link has."""
    lowest, highest = ATT_MTUS
    if not lowest <= mtu <= highest:
        raise SettingError(f"mtu {mtu!r}: Bluetooth LE has {lowest} to {highest} bytes")


def _pieces(data: bytes, mtu: int) -> list[bytes]:
    size = mtu - _ATT_HEADER
    return [data[at : at + size] for at in range(0, len(data), size)]


class NusHost:
    """The central's end of a serial sensor: ``host`` decodes what comes over TX."""

    def __init__(self, host: Host, mtu: int = ATT_MTUS[0]) -> None:
        """``mtu``: a command is written in pieces that fit it; the smallest fits every link."""
        self._host, self._mtu = host, mtu
        self.streams: tuple[StreamSpec, ...] = host.streams
        word: KeepAlive | None = getattr(host, "keep_alive", None)
        self.keep_alive = replace(word, channel=RX) if word else None

    def start(self) -> Steps:
        """Subscribe, then what the serial sensor wants."""
        yield Subscribe(TX)
        yield from self._over_gatt(self._host.start())

    def stop(self) -> Steps:
        """What the serial sensor wants."""
        yield from self._over_gatt(self._host.stop())

    def _over_gatt(self, steps: Steps) -> Steps:
        result: bytes | None = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration:
                return
            result = None
            if isinstance(step, Write):
                for piece in _pieces(step.data, self._mtu):
                    yield Write(piece, RX)
            else:
                result = yield _on_tx(step)

    def feed(self, batch: Batch) -> list[Event]:
        """Decode notifications of TX; see drivers.codec.Host."""
        if batch.channel != TX:
            return []
        return self._host.feed(replace(batch, channel=""))


def _on_tx(step: Step) -> Step:
    return replace(step, channel=TX) if isinstance(step, Expect | Pause) else step


class NusDevice:
    """The peripheral's end: ``device`` speaks over TX, from the moment somebody listens.

    A real board may talk on while nobody is subscribed; nobody can tell. Each subscription starts it anew.
    """

    def __init__(self, device: Device, name: str, mtu: int = USUAL_ATT_MTU) -> None:
        self._device, self._mtu, self._listening = device, mtu, False
        self.streams: tuple[StreamSpec, ...] = device.streams
        characteristics = (
            Characteristic(RX, ("write", "write-without-response")),
            Characteristic(TX, ("notify",)),
        )
        self.gatt: Gatt | None = Gatt((Service(SERVICE, characteristics),), (SERVICE,), name)

    @property
    def streaming(self) -> bool:
        """It is subscribed to, and the serial sensor streams."""
        return self._listening and self._device.streaming

    def reset(self) -> None:
        """Power cycle."""
        self._listening = False
        self._device.reset()

    def reset_counter(self) -> None:
        """That of the serial sensor."""
        self._device.reset_counter()

    def receive(self, data: bytes, channel: str = "") -> list[Reply]:
        """A write to RX."""
        if channel != RX:
            raise AttError(_NOT_PERMITTED, "write not permitted")
        replies = self._device.receive(data)
        return [replace(each, data=part, channel=TX) for each in replies for part in _pieces(each.data, self._mtu)]

    def read(self, channel: str) -> bytes | None:
        """Nothing of it can be read."""
        return None

    def subscribe(self, channel: str, on: bool = True) -> None:
        """Notifications of TX switched on or off."""
        if channel != TX:
            raise AttError(_NO_NOTIFICATIONS, "this characteristic does not notify")
        if on and not self._listening:
            self._device.reset()
        self._listening = on

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        """The serial sensor's frames as notifications that fit the MTU; a frame begins a notification."""
        return [self._notifications(batch) for batch in self._device.encode(blocks)]

    def _notifications(self, batch: Batch) -> Batch:
        room = self._mtu - _ATT_HEADER
        starts = batch.starts()
        sizes = batch.ends - starts
        if not len(batch) or sizes.max() <= room:
            return replace(batch, channel=TX)
        count = -(-sizes // room)
        row = np.repeat(np.arange(len(batch)), count)
        piece = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        ends = np.minimum(starts[row] + (piece + 1) * room, batch.ends[row])
        return Batch(batch.data, ends, batch.at_ns[row], TX)
