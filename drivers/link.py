"""What a link is: it carries bytes both ways and stamps what arrives, and knows no protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from drivers.clock import Clock
from drivers.types import LinkItem

Sink = Callable[[LinkItem], None]
"""Takes what arrives; safe to call from the link's own thread."""


class Link(Protocol):
    """A byte stream (one channel, "") or a GATT connection (a channel per characteristic UUID)."""

    description: str
    """What a person calls it: ``/dev/ttyUSB0 at 115200 baud``."""

    @property
    def clock(self) -> Clock:
        """What its stamps are taken from."""

    def open(self, sink: Sink) -> None:
        """Open and deliver to ``sink`` until close(); LinkError says what was expected, found and to try.

        After a loss the link sends LinkDown, keeps trying to reopen if it was asked to, and sends
        LinkUp. A stamp is taken as soon as the bytes are in this process.
        """

    def write(self, data: bytes, channel: str = "") -> None:
        """Send; LinkLost if the link is down."""

    def subscribe(self, channel: str) -> None:
        """GATT: ask for notifications. On a byte stream: nothing to do."""

    def read(self, channel: str) -> bytes | None:
        """GATT: a characteristic's value, None where the device has no such characteristic."""

    def close(self) -> None:
        """Stop delivering and release the port; safe to call twice."""
