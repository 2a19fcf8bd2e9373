"""Numbers and times of samples that come in packets stamped with the device's clock, where nothing else counts them.

The clock stands in for a counter: what passed between two packets beyond the samples of the second is a loss, if
the arrivals allow it. A packet can be late but not early, so a stamp further ahead than the arrivals say is a clock
that jumped, and so is one that falls back; one packet alone is not believed about that, only the next can confirm it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

import numpy as np

from drivers.types import IntArray

_EARLY_NS = 50_000_000
_DRIFT = 5e-4
"""How far a crystal may be off: what the line of earliest arrivals may rise by, and what a silence may add to it."""
_RATE_ERROR = 0.02
"""A device's real rate is learnt within this share of the nominal one."""
_LEARN = 1 / 8
_WOBBLE = 1 / 4
"""Share of a packet's samples by which its stamp may be off without a loss: what is lost is whole packets."""
_REMEMBERED = 64

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Placed(Generic[T]):
    """A packet's samples in their stream."""

    packet: T
    index: IntArray
    """(n,)"""
    device_ns: IntArray
    """(n,) the last is the stamp itself."""
    arrival_ns: int
    segment: int


@dataclass(frozen=True, slots=True)
class Incident(Generic[T]):
    """Something other than the next packet. ``odd``: its stamp is impossible and the packet is not placed."""

    kind: Literal["lost", "repeated", "reordered", "reset", "odd"]
    packet: T
    count: int
    """Samples."""
    arrival_ns: int
    detail: str = ""


Found: TypeAlias = "Placed[T] | Incident[T]"


@dataclass(frozen=True, slots=True, eq=False)
class _Packet(Generic[T]):
    content: T
    stamp_ns: int
    count: int
    arrival_ns: int

    @property
    def delay_ns(self) -> int:
        return self.arrival_ns - self.stamp_ns


@dataclass(slots=True)
class _Hole:
    """Samples that are missing ahead of the packet with this stamp, whose last sample has this index."""

    from_ns: int
    stamp_ns: int
    last: int
    left: int


class PacketClock(Generic[T]):
    """One stream of packets. Every packet is taken on its own, so how they are batched changes no answer.

    Contents are compared: a stamp that was seen before is a repetition with the same content, and with another the
    clock was set back.

    ``even``: every packet holds as many samples as the next, so that a loss is a whole number of them.
    """

    def __init__(self, rate_hz: float, even: bool = False) -> None:
        self._nominal_ns = 1e9 / rate_hz
        self._even = even
        self._segment = -1
        self.restart()

    def restart(self) -> None:
        """Whatever comes next begins a new segment: the device was started anew."""
        self._started = False
        self._stamp_ns = self._arrival_ns = 0  # of the last packet
        self._last = -1
        self._period_ns = self._nominal_ns
        self._held: _Packet[T] | None = None
        self._holes: deque[_Hole] = deque(maxlen=_REMEMBERED)
        self._seen: deque[tuple[int, T]] = deque(maxlen=_REMEMBERED)

    def place(self, content: T, stamp_ns: int, count: int, arrival_ns: int) -> list[Found[T]]:
        """What a packet of ``count`` samples, the last taken at ``stamp_ns``, means; 1 or more of them."""
        packet = _Packet(content, stamp_ns, count, arrival_ns)
        held, self._held = self._held, None
        if held is None:
            return self._next(packet)
        if self._follows(packet, held.stamp_ns):
            return [*self._reset(held), *self._next(packet)]
        detail = "time stamp that fits neither what came before it nor what came after"
        return [Incident("odd", held.content, held.count, held.arrival_ns, detail), *self._next(packet)]

    def _excess(self, packet: _Packet[T], since_ns: int) -> float:
        """Samples between ``since_ns`` and the packet's first."""
        return (packet.stamp_ns - since_ns) / self._period_ns - packet.count

    def _follows(self, packet: _Packet[T], stamp_ns: int) -> bool:
        return abs(self._excess(packet, stamp_ns)) <= max(0.5, packet.count * _WOBBLE)

    def _next(self, packet: _Packet[T]) -> list[Found[T]]:
        if not self._started:
            return [self._begin(packet)]
        if (packet.stamp_ns, packet.content) in self._seen:
            return [Incident("repeated", packet.content, packet.count, packet.arrival_ns)]
        if self._follows(packet, self._stamp_ns):
            return [self._go_on(packet)]
        elapsed_ns = packet.stamp_ns - self._stamp_ns
        early_ns = self._floor_ns - packet.delay_ns
        if elapsed_ns < 0:
            return self._behind(packet)
        if self._excess(packet, self._stamp_ns) < 0 or early_ns > _EARLY_NS + _DRIFT * elapsed_ns:
            self._held = packet
            return []
        return self._behind_loss(packet)

    def _begin(self, packet: _Packet[T]) -> Placed[T]:
        self._started = True
        self._segment += 1
        self._last = -1
        self._floor_ns = float(packet.delay_ns)
        self._holes.clear()
        self._seen.clear()
        return self._accept(packet, self._backwards(packet))

    def _reset(self, packet: _Packet[T]) -> list[Found[T]]:
        jump_ms = (packet.stamp_ns - self._stamp_ns - (packet.arrival_ns - self._arrival_ns)) / 1e6
        detail = f"the device's clock jumped by {jump_ms:.0f} ms"
        return [
            Incident("reset", packet.content, packet.count, packet.arrival_ns, detail),
            self._begin(packet),
        ]

    def _go_on(self, packet: _Packet[T]) -> Placed[T]:
        elapsed_ns, count = packet.stamp_ns - self._stamp_ns, packet.count
        device_ns = self._stamp_ns + (np.arange(1, count + 1, dtype=np.int64) * elapsed_ns + count // 2) // count
        period_ns = self._period_ns + (elapsed_ns / count - self._period_ns) * _LEARN
        error_ns = _RATE_ERROR * self._nominal_ns
        self._period_ns = min(max(period_ns, self._nominal_ns - error_ns), self._nominal_ns + error_ns)
        return self._accept(packet, device_ns)

    def _behind_loss(self, packet: _Packet[T]) -> list[Found[T]]:
        excess = self._excess(packet, self._stamp_ns)
        lost = round(excess / packet.count) * packet.count if self._even else round(excess)
        lost = max(lost, 1)
        before_ns = self._stamp_ns
        self._last += lost
        placed = self._accept(packet, self._backwards(packet))
        self._holes.append(_Hole(before_ns, packet.stamp_ns, self._last, lost))
        return [Incident("lost", packet.content, lost, packet.arrival_ns), placed]

    def _behind(self, packet: _Packet[T]) -> list[Found[T]]:
        """A stamp behind the newest: overtaken on the way if something is missing there, or else a clock set back."""
        for hole in self._holes:
            if hole.from_ns < packet.stamp_ns < hole.stamp_ns and packet.count <= hole.left:
                hole.left -= packet.count
                self._seen.append((packet.stamp_ns, packet.content))
                last = hole.last - round((hole.stamp_ns - packet.stamp_ns) / self._period_ns)
                index = np.arange(last - packet.count + 1, last + 1, dtype=np.int64)
                placed = Placed(packet.content, index, self._backwards(packet), packet.arrival_ns, self._segment)
                return [Incident("reordered", packet.content, packet.count, packet.arrival_ns), placed]
        self._held = packet
        return []

    def _backwards(self, packet: _Packet[T]) -> IntArray:
        """Times by the sampling period, back from the stamp, (n,)."""
        back = np.arange(packet.count - 1, -1, -1) * self._period_ns
        return np.asarray(packet.stamp_ns - np.rint(back).astype(np.int64))

    def _accept(self, packet: _Packet[T], device_ns: IntArray) -> Placed[T]:
        index = np.arange(self._last + 1, self._last + 1 + packet.count, dtype=np.int64)
        self._last += packet.count
        rise_ns = _DRIFT * (packet.stamp_ns - self._stamp_ns) if self._seen else 0.0
        self._floor_ns = min(self._floor_ns + rise_ns, float(packet.delay_ns))
        self._stamp_ns, self._arrival_ns = packet.stamp_ns, packet.arrival_ns
        self._seen.append((packet.stamp_ns, packet.content))
        return Placed(packet.content, index, device_ns, packet.arrival_ns, self._segment)
