"""Polar measurements as streams: what H10 and Verity Sense have in common beyond the control point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from drivers import polar_pmd as pmd
from drivers.codec import Block, Characteristic, Reply, Service, Steps, Write
from drivers.errors import AttError
from drivers.packet_clock import Incident, PacketClock, Placed
from drivers.polar_control import ControlPoint, Offer, begin, read_features
from drivers.types import (
    Batch,
    CounterReset,
    Event,
    FloatArray,
    IntArray,
    Lost,
    Malformed,
    Notice,
    Reordered,
    Repeated,
    Samples,
)

MTU = 232
"""With it an H10 sends 73 ECG or 36 acceleration samples in a frame."""
_ATT_HEADER = 3

SERVICE = Service(
    pmd.SERVICE,
    (Characteristic(pmd.CONTROL, ("read", "write", "indicate")), Characteristic(pmd.DATA, ("notify",))),
)

Decoder = Callable[[pmd.Frame], "IntArray | str"]


# --- host end ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measurement:
    """One measurement that comes at a rate."""

    kind: int
    rate_hz: float
    wanted: Mapping[int, int]
    """Settings to ask for."""
    decode: Decoder
    """(n, channels) of a frame, as whole numbers, or what is wrong with it."""
    streams: Mapping[str, slice]
    """Stream -> its channels."""
    scale: float = 1.0
    """Stream's unit per count, where the sensor tells no factor when it starts."""
    even: bool = True
    """Every frame holds as many samples as the next."""


@dataclass(frozen=True, slots=True)
class _Content:
    data: bytes
    counts: IntArray = field(compare=False)


class Collector:
    """The host's end of any number of measurements on one connection."""

    def __init__(
        self, measurements: Sequence[Measurement], events: Mapping[int, Callable[[pmd.Frame, int], list[Event]]]
    ) -> None:
        self._measurements = {m.kind: m for m in measurements}
        self._events = events
        self._clocks = {m.kind: PacketClock[_Content](m.rate_hz, m.even) for m in measurements}
        self._scale = {m.kind: m.scale for m in measurements}

    def start(self) -> Steps:
        """Check the features, subscribe, and start every measurement."""
        yield from read_features(frozenset(self._measurements) | frozenset(self._events))
        for clock in self._clocks.values():
            clock.restart()
        for kind, measurement in self._measurements.items():
            answer = yield from begin(kind, measurement.wanted)
            factors = pmd.parse_settings(answer.parameters)[0].get(pmd.FACTOR, ())
            self._scale[kind] = pmd.factor_of(factors[0]) if factors else measurement.scale
        for kind in self._events:
            yield from begin(kind, None)

    def stop(self) -> Steps:
        """Stop every measurement; the answers are not waited for."""
        for kind in (*self._measurements, *self._events):
            yield Write(bytes([pmd.STOP, kind]), pmd.CONTROL)

    def feed(self, batch: Batch) -> list[Event]:
        """Decode notifications of the data characteristic and indications of the control point."""
        events: list[Event] = []
        placed: dict[int, list[Placed[_Content]]] = {kind: [] for kind in self._clocks}
        for data, at_ns in batch.chunks():
            if batch.channel == pmd.CONTROL:
                events += _indicated(data, at_ns)
            else:
                events += self._frame(data, at_ns, placed)
        for kind, packets in placed.items():
            events += self._samples(kind, packets)
        return events

    def _frame(self, data: bytes, at_ns: int, placed: Mapping[int, list[Placed[_Content]]]) -> list[Event]:
        frame = pmd.parse_frame(data)
        if isinstance(frame, str):
            return [_malformed(frame, data, at_ns)]
        if (told := self._events.get(frame.kind)) is not None:
            return told(frame, at_ns)
        if frame.kind not in self._measurements:
            name = pmd.NAMES.get(frame.kind, f"type {frame.kind}")
            return [_malformed(f"frame of a measurement that was not started: {name}", data, at_ns)]
        counts = self._measurements[frame.kind].decode(frame)
        if isinstance(counts, str):
            return [_malformed(counts, data, at_ns)]
        events: list[Event] = []
        for found in self._clocks[frame.kind].place(_Content(data, counts), frame.stamp_ns, len(counts), at_ns):
            if isinstance(found, Placed):
                placed[frame.kind].append(found)
            else:
                events += self._tell(frame.kind, found)
        return events

    def _tell(self, kind: int, incident: Incident[_Content]) -> list[Event]:
        at_ns, count = incident.arrival_ns, incident.count
        names = list(self._measurements[kind].streams)
        match incident.kind:
            case "odd":
                return [_malformed(incident.detail, incident.packet.data, at_ns)]
            case "reset":
                return [CounterReset(name, at_ns, incident.detail, clock=True) for name in names]
            case "lost":
                return [Lost(name, count, at_ns) for name in names]
            case "repeated":
                return [Repeated(name, count, at_ns) for name in names]
            case "reordered":
                return [Reordered(name, count, at_ns) for name in names]

    def _samples(self, kind: int, packets: list[Placed[_Content]]) -> list[Event]:
        """One event for each stream and run of packets in one segment."""
        events: list[Event] = []
        while packets:
            segment = packets[0].segment
            run = [p for p in packets if p.segment == segment]
            packets = packets[len(run) :]
            values = np.concatenate([p.packet.counts for p in run]) * self._scale[kind]
            index = np.concatenate([p.index for p in run])
            device_ns = np.concatenate([p.device_ns for p in run])
            arrival_ns = np.repeat([p.arrival_ns for p in run], [len(p.index) for p in run])
            for name, columns in self._measurements[kind].streams.items():
                events.append(Samples(name, values[:, columns], index, arrival_ns, device_ns, segment))
        return events


def _indicated(data: bytes, at_ns: int) -> list[Event]:
    """What the control point says without being asked; answers to stop() need no telling."""
    if pmd.parse_answer(data) is not None:
        return []
    if len(data) > 1 and data[0] == pmd.STOPPED:
        names = [pmd.NAMES.get(kind & pmd.TYPE_MASK, f"type {kind}") for kind in data[1:]]
        return [Notice("measurement_stopped", name, at_ns) for name in names]
    return [_malformed("indication that is neither an answer nor the end of a measurement", data, at_ns)]


def _malformed(reason: str, data: bytes, at_ns: int) -> Malformed:
    return Malformed(reason, len(data), data[:64], at_ns)


# --- device end -------------------------------------------------------------------------------


class Packer(Protocol):
    """Collects one measurement's samples until they fill a frame."""

    kind: int

    @property
    def rate_hz(self) -> float | None:
        """Of the simulated samples."""

    def begin(self, chosen: Mapping[int, int]) -> None:
        """Collect from now on, with these settings; nothing is left of what was collected before."""

    def add(self, blocks: Mapping[str, Block], until: int | None) -> list[tuple[bytes, int]]:
        """Frames that these samples complete, each with its due time; ``until``: only so many samples more."""

    def due_ns(self, blocks: Mapping[str, Block]) -> IntArray:
        """(n,) of the samples in ``blocks`` that it packs."""


class SamplePacker:
    """Samples of one or several streams of a rate, plain (``bits`` 0) or delta-compressed."""

    def __init__(
        self, kind: int, streams: Sequence[str], rate_hz: float, scale: float, width: int, form: int, mtu: int,
        bits: int = 0, most: int = 0,
    ) -> None:  # fmt: skip
        self.kind, self.rate_hz = kind, rate_hz
        self._streams, self._scale, self._width, self._form = streams, scale, width, form
        self._room = mtu - _ATT_HEADER - pmd.HEADER
        self._bits, self._most = bits, most
        self.begin({})

    def begin(self, chosen: Mapping[int, int]) -> None:
        """Collect from now on; a lower rate than the simulated one takes every so many samples."""
        self._step = max(1, round(self.rate_hz / chosen.get(pmd.RATE, self.rate_hz)))
        self._limit = round(chosen[pmd.RANGE] / self._scale) if pmd.RANGE in chosen else None
        self._passed = 0
        self._counts: IntArray | None = None
        self._times: IntArray = np.empty((0, 2), dtype=np.int64)

    def due_ns(self, blocks: Mapping[str, Block]) -> IntArray:
        """(n,) of the samples in ``blocks``."""
        return blocks[self._streams[0]].due_ns

    def add(self, blocks: Mapping[str, Block], until: int | None) -> list[tuple[bytes, int]]:
        """Frames that these samples complete."""
        own = [blocks[name] for name in self._streams]
        values: FloatArray = np.concatenate([block.values for block in own], axis=1)[:until]
        times = np.stack([own[0].device_ns, own[0].due_ns], axis=1)[:until]
        kept = slice((-self._passed) % self._step, None, self._step)
        self._passed += len(values)
        values, times = values[kept], times[kept]
        counts = np.rint(values / self._scale).astype(np.int64)
        if self._limit is not None:
            counts = np.clip(counts, -self._limit, self._limit)
        self._counts = counts if self._counts is None else np.concatenate([self._counts, counts])
        self._times = np.concatenate([self._times, times])
        frames: list[tuple[bytes, int]] = []
        while (full := self._full(self._counts)) is not None:
            count, shown = full
            stamp_ns = pmd.BOOT_NS + int(self._times[count - 1, 0])
            data = pmd.write_frame(self.kind, stamp_ns, self._form, self._pack(self._counts[:count]))
            frames.append((data, int(self._times[shown, 1])))
            self._counts, self._times = self._counts[count:], self._times[count:]
        return frames

    def _full(self, counts: IntArray) -> tuple[int, int] | None:
        if self._bits:
            return pmd.compressed_frame(counts, self._bits, self._room, self._most)
        size = self._room // (self._width * counts.shape[1])
        return (size, size - 1) if len(counts) >= size else None

    def _pack(self, counts: IntArray) -> bytes:
        return pmd.compress(counts, self._bits) if self._bits else pmd.to_signed_le(counts, self._width)


class Sender:
    """The sensor's end: control point, and frames of what was started."""

    def __init__(self, offers: Mapping[int, Offer], packers: Sequence[Packer], stop_after_s: float, in_charger: bool):
        self._offers, self._in_charger = offers, in_charger
        self._packers = {packer.kind: packer for packer in packers}
        self._stop_after_s = stop_after_s
        self.reset()

    def reset(self) -> None:
        """Power cycle."""
        self.control = ControlPoint(self._offers, self._in_charger)
        self._subscribed: set[str] = set()
        self._taken: dict[int, int] = {}

    @property
    def streaming(self) -> bool:
        """A measurement runs and somebody is told of it."""
        return bool(self.control.running) and pmd.DATA in self._subscribed

    def receive(self, data: bytes) -> list[Reply]:
        """A write of the control point; the answer needs a subscription."""
        before = set(self.control.running)
        answer = self.control.receive(data)
        for kind in set(self.control.running) - before:
            self._packers[kind].begin(self.control.running[kind])
            self._taken[kind] = 0
        return [Reply(answer, channel=pmd.CONTROL)] if pmd.CONTROL in self._subscribed else []

    def subscribe(self, channel: str, on: bool) -> None:
        """Notifications switched on or off."""
        if channel not in (pmd.CONTROL, pmd.DATA):
            raise AttError(0x06, "this characteristic does not notify")
        (self._subscribed.add if on else self._subscribed.discard)(channel)

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        """Frames of what runs, and the word that a measurement has ended by itself."""
        frames: list[tuple[bytes, int]] = []
        ends: list[tuple[bytes, int]] = []
        for kind in [kind for kind in self._packers if kind in self.control.running]:
            packer = self._packers[kind]
            due_ns = packer.due_ns(blocks)
            left = self._left(packer)
            frames += packer.add(blocks, left)
            self._taken[kind] += len(due_ns)
            if left is not None and len(due_ns) > left:
                del self.control.running[kind]
                ends.append((bytes([pmd.STOPPED, kind]), int(due_ns[left])))
        found = {pmd.DATA: frames, pmd.CONTROL: ends}
        return [_sent(found[channel], channel) for channel in found if found[channel] and channel in self._subscribed]

    def _left(self, packer: Packer) -> int | None:
        if not self._stop_after_s or packer.rate_hz is None:
            return None
        return max(0, round(self._stop_after_s * packer.rate_hz) - self._taken[packer.kind])


def _sent(chunks: list[tuple[bytes, int]], channel: str) -> Batch:
    chunks = sorted(chunks, key=lambda chunk: chunk[1])
    return Batch.of([data for data, _ in chunks], np.array([at_ns for _, at_ns in chunks]), channel)
