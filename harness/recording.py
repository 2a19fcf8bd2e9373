"""What a run leaves: everything that checks need, in memory and on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drivers.types import Event, FloatArray, IntArray, StreamSpec
from harness.api.record import ApiCall
from harness.monitor.happenings import Happening
from harness.monitor.resources import Resources
from harness.rig import Rig


@dataclass(frozen=True, eq=False)
class StreamData:
    """Everything that one stream delivered, in order of arrival."""

    role: str
    spec: StreamSpec
    values: FloatArray
    """(n, channels)"""
    index: IntArray
    segment: IntArray
    arrival_ns: IntArray
    time_ns: IntArray
    """(n,) host time at which each sample was taken, by the estimate made during the run."""
    device_ns: IntArray | None
    sensor: str = ""
    """Name of the sensor that it comes from; empty: not known."""

    @property
    def key(self) -> str:
        """``role/stream``."""
        return f"{self.role}/{self.spec.name}"


STAGES = ("due", "arrived", "decoded", "windowed", "inferred", "judged")


@dataclass(frozen=True, eq=False)
class Windows:
    """One row per window that was due; -1 in a stage that it never reached."""

    stamps_ns: IntArray
    """(n, 6): host time of each of STAGES."""
    waited_for: tuple[str, ...]
    """``role/stream`` of the streams that windows wait for."""
    late: IntArray
    """(n, len(waited_for)) 1 where the stream's newest samples were not there when the window closed."""
    outputs: FloatArray
    """(n, outputs); NaN rows for windows that were not inferred."""
    errors: tuple[str, ...] = ()
    """What the model raised, once per kind."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One run. Checks are pure functions of it."""

    rig: Rig
    start_ns: int
    stop_ns: int
    """Host time of the run's first and last moment; sensors were connected throughout unless events say else."""
    streams: Mapping[str, StreamData]
    """``role/stream`` -> data; a stream that delivered nothing is there, empty."""
    events: tuple[tuple[str, Event], ...]
    """(role, event) for everything but Samples, in order of arrival."""
    windows: Windows
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Facts that follow from rig and seed alone: model hash, parameters, simulated or real, virtual or not."""
    host: Mapping[str, Any] = field(default_factory=dict)
    """Facts of this machine and moment: versions, UTC, measured model time, stamp error, paths."""
    interrupted: str = ""
    """Why the run ended before its time, if it did."""
    resources: Resources = field(default_factory=Resources)
    """What this process used, about once a second; empty in virtual time."""
    happenings: tuple[Happening, ...] = ()
    """What kept the consumer from its windows, in order; empty in virtual time."""
    calls: tuple[ApiCall, ...] = ()
    """Calls of the rig's API, in order."""
