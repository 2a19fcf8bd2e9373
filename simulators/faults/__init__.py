"""Faults: one file each, or an entry point of ``hil.faults``; applied in the rig file's order.

A module's ``FAULT`` is a frozen dataclass derived from one of the classes below; its fields are the
rig file's keys (units in their names, metadata["help"] explains each) and its docstring's first line
is shown by ``hil list faults``. ``bind`` makes the stage that does the work for one sensor or stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from drivers.types import Batch, FloatArray, IntArray, StreamSpec
from simulators.device_clock import DeviceClock
from simulators.draws import Draws
from simulators.truth import Truth


@dataclass(frozen=True, slots=True)
class Where:
    """The place at which a fault is bound."""

    sensor: str
    start_ns: int
    """Host time of world second 0."""
    draws: Draws
    """Keyed by seed, sensor and fault already (and stream, in the samples layer)."""
    log: Callable[[Truth], None]
    spec: StreamSpec | None = None
    """Samples layer: the stream."""
    span: float = 1.0
    """Samples layer: clean 1..99 % amplitude of the stream's signal, in its unit."""

    def host_ns(self, world_s: float) -> int:
        """Host time of a world second."""
        return self.start_ns + round(world_s * 1e9)


class SampleStage(Protocol):
    """samples -> samples, before the ADC."""

    def apply(self, first: int, times_s: FloatArray, values: FloatArray) -> FloatArray:
        """New values (n, channels); consecutive calls, cutting changes nothing."""


class BatchStage(Protocol):
    """frames -> frames, or timed bytes -> timed bytes."""

    def apply(self, batch: Batch) -> Batch:
        """Consecutive batches of one channel, cutting changes nothing. at_ns stays sorted."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Common keys."""

    NAME: ClassVar[str]
    LAYER: ClassVar[str]
    TOUCHES: ClassVar[frozenset[str]]
    """The checks that the fault, at its default level, must turn from PASS: no others may change."""

    start_s: float = field(default=0.0, metadata={"help": "seconds into the run at which the fault begins"})
    stop_s: float = field(default=float("inf"), metadata={"help": "seconds into the run at which it ends"})


@dataclass(frozen=True, kw_only=True)
class SampleFault(Fault):
    """Changes what a stream's ADC sees."""

    LAYER: ClassVar[str] = "samples"
    stream: str = field(default="", metadata={"help": "stream to damage; empty: every stream it can apply to"})
    KINDS: ClassVar[frozenset[str]]
    """Stream kinds that it makes sense on."""

    def bind(self, where: Where) -> SampleStage:
        """The stage for one stream."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class FrameFault(Fault):
    """Changes the sequence of whole frames that the device sends."""

    LAYER: ClassVar[str] = "frames"

    def bind(self, where: Where) -> BatchStage:
        """The stage for one channel of one sensor."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ByteFault(Fault):
    """Changes the bytes on the wire or the times at which they get through."""

    LAYER: ClassVar[str] = "bytes"

    def bind(self, where: Where) -> BatchStage:
        """The stage for one channel of one sensor."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class DeviceFault(Fault):
    """Changes the device itself: its clock, or its counter."""

    LAYER: ClassVar[str] = "device"

    def warp(self, clock: DeviceClock) -> DeviceClock:
        """The clock with the fault in it."""
        return clock

    def counter_resets_s(self) -> tuple[float, ...]:
        """World seconds at which the frame counter falls back to its start."""
        return ()

    def truths(self, where: Where) -> list[Truth]:
        """What it does, known before it happens."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class LinkFault(Fault):
    """Takes the link away."""

    LAYER: ClassVar[str] = "link"

    def outages_s(self) -> tuple[tuple[float, float], ...]:
        """(unplugged, plugged in again) in world seconds; inf for never."""
        raise NotImplementedError

    def truths(self, where: Where) -> list[Truth]:
        """What it does, known before it happens."""
        raise NotImplementedError


__all__ = [
    "Batch", "BatchStage", "ByteFault", "DeviceFault", "Fault", "FloatArray", "FrameFault", "IntArray",
    "LinkFault", "SampleFault", "SampleStage", "Truth", "Where",
]  # fmt: skip
