"""Numbers the frames of a device that counts them, and says what its counter says besides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drivers.counter import CounterUnwrapper
from drivers.framing import Bytes
from drivers.types import CounterReset, Event, IntArray, Lost, Malformed, Notice, Reordered, Repeated

_EXCERPT = 64


@dataclass(frozen=True, slots=True, eq=False)
class Numbered:
    """Frames that are to be decoded."""

    frames: Bytes
    """(n, length)"""
    arrival_ns: IntArray
    index: IntArray
    segment: IntArray
    """(n,) each."""
    device_ns: IntArray | None
    """(n,)"""
    events: list[Event]


class FrameNumbers:
    """Unwraps the counters of whole frames; a frame that is not understood yet waits for the next one.

    ``streams``: name and samples that each frame carries of it, for the events. ``clock``: what is handed in as
    counters comes from the device's clock.
    """

    def __init__(
        self, modulus: int, period_ns: float, streams: Sequence[tuple[str, int]], *, clock: bool = False
    ) -> None:
        self._unwrap = CounterUnwrapper(modulus, period_ns)
        self._streams, self._clock = streams, clock
        self.restart()

    def restart(self) -> None:
        """The device was started anew."""
        self._unwrap.restart()
        self._held: tuple[Bytes, IntArray, IntArray, IntArray] | None = None

    def update(
        self, frames: Bytes, counters: IntArray, arrival_ns: IntArray, device_ns: IntArray | None = None
    ) -> Numbered:
        """Number frames (n, length) with counters (n,) and device times (n,), in the order in which they arrived."""
        timed = device_ns is not None
        times = counters if device_ns is None else device_ns
        if self._held is not None:
            frames = np.concatenate([self._held[0], frames])
            counters = np.concatenate([self._held[1], counters])
            times = np.concatenate([self._held[3], times])
            arrival_ns, self._held = np.concatenate([self._held[2], arrival_ns]), None
        unwrapped = self._unwrap.update(counters, arrival_ns)
        if unwrapped.undecided:
            self._held = frames[-1:], counters[-1:], arrival_ns[-1:], times[-1:]
            frames, arrival_ns, times = frames[:-1], arrival_ns[:-1], times[:-1]
        index, segment = unwrapped.index, unwrapped.segment
        if not unwrapped.incidents:
            return Numbered(frames, arrival_ns, index, segment, times if timed else None, [])
        events: list[Event] = []
        for incident in unwrapped.incidents:
            at_ns, detail = int(arrival_ns[incident.position]), incident.detail
            events += self._tell(incident.kind, incident.count, detail, frames[incident.position], at_ns)
        keep = unwrapped.kept()
        times = times[keep]
        return Numbered(frames[keep], arrival_ns[keep], index[keep], segment[keep], times if timed else None, events)

    def _tell(self, kind: str, count: int, detail: str, frame: Bytes, at_ns: int) -> list[Event]:
        match kind:
            case "lost":
                return [Lost(name, count * each, at_ns) for name, each in self._streams]
            case "repeated":
                return [Repeated(name, each, at_ns) for name, each in self._streams]
            case "reordered":
                return [Reordered(name, each, at_ns) for name, each in self._streams]
            case "reset":
                return [CounterReset(name, at_ns, detail, self._clock) for name, _ in self._streams]
            case "odd":
                return [Malformed(detail, len(frame), frame.tobytes()[:_EXCERPT], at_ns)]
            case _:
                return [Notice("loss_ambiguous", detail, at_ns)]
