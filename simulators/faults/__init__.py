"""Faults: one file each, or an entry point of ``hil.faults``; applied in the rig file's order.

A module's ``FAULT`` is a frozen dataclass derived from one of the classes below; its fields are the
rig file's keys (units in their names, ``key`` gives each its help, unit and range) and its docstring's
first line is shown by ``hil list faults``. ``bind`` makes the stage that does the work for one sensor
or stream. Modules whose name begins with an underscore hold what several faults share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol

from drivers.errors import SettingError
from drivers.types import Batch, FloatArray, IntArray, StreamSpec
from simulators.device_clock import DeviceClock
from simulators.draws import Draws
from simulators.truth import Truth

_LAST_S = 9e9
"""World seconds that stand for "never ends" (int64 ns hold 9.2e9 s)."""


def key(
    default: Any,
    explained: str,
    unit: str = "",
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """A fault's key: its default, help, unit and what it may be.

    ``low`` and ``high`` are included, ``above`` is not; infinity is allowed only where ``high`` is
    infinity. A default of None allows None beside a number; a tuple is a list of numbers.
    """
    limits = {"low": low, "high": high, "above": above, "choices": tuple(choices)}
    return field(default=default, metadata={"help": explained, "unit": unit, **limits})


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
    channel: str = ""
    """Frames and bytes layers: the GATT characteristic, or "" on a byte stream."""

    def host_ns(self, world_s: float) -> int:
        """Host time of a world second; "never" is 9e9 s."""
        return self.start_ns + round(min(world_s, _LAST_S) * 1e9)


class SampleStage(Protocol):
    """samples -> samples, before the ADC."""

    def apply(self, first: int, times_s: FloatArray, values: FloatArray) -> FloatArray:
        """New values (n, channels); consecutive calls, cutting changes nothing."""

    def under_way(self) -> list[Truth]:
        """What has begun and is not logged yet, as it stands."""


class BatchStage(Protocol):
    """frames -> frames, or timed bytes -> timed bytes."""

    def apply(self, batch: Batch) -> Batch:
        """Consecutive batches of one channel, cutting changes nothing. at_ns stays sorted."""

    def under_way(self) -> list[Truth]:
        """What has begun and is not logged yet, as it stands."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Common keys. Making one with a value outside a key's type or range raises SettingError."""

    NAME: ClassVar[str]
    LAYER: ClassVar[str]
    TOUCHES: ClassVar[frozenset[str]]
    """The checks that the fault, at its default level, must turn from PASS, each where it judges what is damaged."""
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset()
    """Further checks that may change with it, depending on the sensor. No others may."""
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("", ())
    """A key and its values from harmless to bold, for `hil scorecard`; none: only the fault's defaults are tried."""
    LINKS: ClassVar[frozenset[str]] = frozenset({"serial", "ble"})
    """Kinds of link on which it happens in the field; on others it can be asked for all the same."""

    start_s: float = key(0.0, "seconds into the run at which the fault begins", "s", low=0)
    stop_s: float = key(math.inf, "seconds into the run at which it ends", "s", above=0, high=math.inf)

    def __post_init__(self) -> None:
        """Check every key, and make numbers floats and lists tuples."""
        for each in fields(self):
            object.__setattr__(self, each.name, _checked(self.NAME, each.name, each.default, each.metadata, self))
        if self.start_s >= self.stop_s:
            raise SettingError(f"{self.NAME}: start_s {self.start_s:g} is not before stop_s {self.stop_s:g}")
        self.check_keys()

    def check_keys(self) -> None:
        """Conditions between keys; SettingError."""

    def must_happen(self, name: str, at_s: float) -> None:
        """SettingError for a moment outside start_s..stop_s, which would never come."""
        if not self.start_s <= at_s < self.stop_s:
            raise SettingError(
                f"{self.NAME}: {name} {at_s:g} lies outside start_s {self.start_s:g} to stop_s {self.stop_s:g}"
            )

    def check_fits(self, sensor: str, streams: Sequence[StreamSpec]) -> None:
        """SettingError if the fault could do nothing on a sensor with these streams."""

    def did(self, where: Where, start_ns: int, end_ns: int, **detail: Any) -> Truth:
        """The record of one thing done."""
        if where.channel:
            detail["channel"] = where.channel
        stream = where.spec.name if where.spec else ""
        return Truth(where.sensor, self.NAME, self.LAYER, stream, int(start_ns), int(end_ns), detail)


def _checked(fault: str, name: str, default: Any, limits: Any, holder: Any) -> Any:
    value = getattr(holder, name)
    if isinstance(default, str):
        if not isinstance(value, str) or (limits.get("choices") and value not in limits["choices"]):
            expected = " or ".join(map(repr, limits.get("choices") or ())) or "text"
            raise SettingError(f"{fault}: {name} is {value!r}; expected {expected}")
        return value
    if default is None and value is None:
        return None
    if isinstance(default, tuple):
        several = value if isinstance(value, list | tuple) else [value]
        return tuple(_number(fault, name, each, limits) for each in several)
    return _number(fault, name, value, limits)


def _number(fault: str, name: str, value: Any, limits: Any) -> float:
    low, high, above = limits.get("low"), limits.get("high"), limits.get("above")
    good = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    if good:
        good = (low is None or value >= low) and (above is None or value > above)
        good = good and (value <= high if high is not None else math.isfinite(value))
    if not good:
        ends = [f"at least {low:g}"] if low is not None else []
        ends += [f"more than {above:g}"] if above is not None else []
        ends += [f"at most {high:g}"] if high is not None else ["finite"]
        unit = f" {limits['unit']}" if limits.get("unit") else ""
        raise SettingError(f"{fault}: {name} is {value!r}; expected a number{unit}, {' and '.join(ends)}")
    return float(value)


@dataclass(frozen=True, kw_only=True)
class SampleFault(Fault):
    """Changes what a stream's ADC sees."""

    LAYER: ClassVar[str] = "samples"
    stream: str = key("", "stream to damage; empty: every stream it can apply to")
    KINDS: ClassVar[frozenset[str]]
    """Stream kinds that are damaged unless ``stream`` names one: those whose quality score can tell."""
    NAMED: ClassVar[frozenset[str]] = frozenset()
    """Further kinds that are damaged only where ``stream`` names one, and that a scorecard tries."""

    def check_fits(self, sensor: str, streams: Sequence[StreamSpec]) -> None:
        """SettingError unless a stream with a sampling rate is meant."""
        meant = [s for s in streams if (s.name == self.stream if self.stream else s.kind in self.KINDS)]
        if not any(s.rate_hz for s in meant):
            wanted = f"stream {self.stream!r}" if self.stream else f"a stream of kind {', '.join(sorted(self.KINDS))}"
            there = ", ".join(f"{s.name} ({s.kind}, {f'{s.rate_hz:g} Hz' if s.rate_hz else 'events'})" for s in streams)
            raise SettingError(f"{self.NAME} needs {wanted} with a sampling rate; {sensor} has {there}")

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

    def start_delay_s(self, asked_s: float) -> float:
        """How much later the device begins to sample than it was asked to at world second ``asked_s``."""
        return 0.0

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
    "LinkFault", "SampleFault", "SampleStage", "Truth", "Where", "key",
]  # fmt: skip
