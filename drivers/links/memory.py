"""A link to a simulated sensor in the same process, in virtual time."""

from __future__ import annotations

from typing import Protocol

from drivers.clock import VirtualClock
from drivers.errors import LinkError, LinkLost
from drivers.link import Sink
from drivers.types import Batch, LinkDown, LinkUp

_FINE_NS = 20_000_000
_TALK_NS = 1_000_000_000


class Peer(Protocol):
    """The other side: what simulators.sensor.SimulatedSensor is."""

    description: str

    def advance(self, until_ns: int) -> list[Batch | LinkDown | LinkUp]:
        """Everything that gets through up to and including until_ns, in time order."""

    def receive(self, data: bytes, at_ns: int, channel: str = "") -> None:
        """Bytes from the host."""

    def read(self, channel: str) -> bytes | None:
        """GATT value."""

    def subscribe(self, channel: str, at_ns: int, on: bool = True) -> None:
        """GATT notifications."""

    def plugged(self, at_ns: int) -> bool:
        """The link can be opened at this time."""

    def next_change_ns(self) -> int | None:
        """When the link goes down or comes back next, if it ever does."""


class MemoryLink:
    """Delivers what the peer sends, every ``quantum_ns`` of virtual time, with exact stamps.

    A longer quantum is faster and changes no stamp; only what the host sends in answer would come later.
    So for a second after the host's last word, and after the link came back, delivery is every 20 ms.
    """

    def __init__(self, peer: Peer, clock: VirtualClock, quantum_ns: int = _FINE_NS) -> None:
        self.peer, self.clock, self.quantum_ns = peer, clock, quantum_ns
        self.description = peer.description
        self._sink: Sink | None = None
        self._talking_until_ns = 0

    def open(self, sink: Sink) -> None:
        """Start delivering; LinkError while the simulated device is unplugged."""
        if not self.peer.plugged(self.clock.now_ns()):
            raise LinkError(f"{self.description}: no such device (the simulated sensor is unplugged)")
        self._sink = sink
        self.peer.advance(self.clock.now_ns())  # what it said before anybody listened
        self._talk()
        self._schedule()

    def _talk(self) -> None:
        self._talking_until_ns = self.clock.now_ns() + _TALK_NS

    def _schedule(self) -> None:
        now_ns = self.clock.now_ns()
        step = min(_FINE_NS, self.quantum_ns) if now_ns < self._talking_until_ns else self.quantum_ns
        at_ns = (now_ns // step + 1) * step
        for early_ns in (self.peer.next_change_ns(), self.clock.checkpoint_ns):
            if early_ns is not None and early_ns > now_ns:
                at_ns = min(at_ns, early_ns)
        self.clock.schedule(at_ns, self._deliver)

    def _deliver(self) -> None:
        if self._sink is None:
            return
        for item in self.peer.advance(self.clock.now_ns()):
            if isinstance(item, LinkUp):
                self._talk()
            self._sink(item)
        self._schedule()

    def write(self, data: bytes, channel: str = "") -> None:
        """The peer has it at once."""
        if self._sink is None or not self.peer.plugged(self.clock.now_ns()):
            raise LinkLost(f"{self.description}: the link is down")
        self._talk()
        self.peer.receive(data, self.clock.now_ns(), channel)

    def subscribe(self, channel: str) -> None:
        """The peer notifies from now on."""
        self._talk()
        self.peer.subscribe(channel, self.clock.now_ns())

    def read(self, channel: str) -> bytes | None:
        """The peer's value now."""
        return self.peer.read(channel)

    def close(self) -> None:
        """Deliver nothing more."""
        self._sink = None
