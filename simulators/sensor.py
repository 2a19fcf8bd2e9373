"""One simulated sensor: physiology -> samples -> ADC -> frames -> bytes, each on its own time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from drivers.codec import Block, Device, MtuAware
from drivers.types import Batch, FloatArray, IntArray, LinkDown, LinkUp, StreamSpec
from simulators.device_clock import DeviceClock
from simulators.faults import BatchStage, SampleStage
from simulators.line import Line
from simulators.signals import Signal
from simulators.truth import Truth

_NS = 1e9
_MARGIN = 2
"""Samples computed beyond the estimated end, so that rounding never leaves one out."""


@dataclass(slots=True)
class StreamSource:
    """What one stream of the device measures, and the damage to it."""

    spec: StreamSpec
    signal: Signal
    stages: Sequence[SampleStage] = ()
    next_index: int = 0
    """Samples taken since the signal began: signals and sample faults count on through restarts."""


@dataclass(slots=True)
class Channel:
    """What happens to the frames of one channel on their way."""

    frame_stages: Sequence[BatchStage]
    line: Line
    byte_stages: Sequence[BatchStage]
    queue: list[Batch] = field(default_factory=list)
    """Due chunks that have not got through yet, in time order."""

    def put(self, frames: Batch, is_reply: bool = False) -> None:
        """Send frames down; a reply to a command is no data frame, so frame faults leave it alone."""
        for stage in () if is_reply else self.frame_stages:
            frames = stage.apply(frames)
        frames = self.line.carry(frames)
        for stage in self.byte_stages:
            frames = stage.apply(frames)
        if len(frames):
            self.queue.append(frames)

    def take(self, until_ns: int) -> list[Batch]:
        """What has got through by until_ns."""
        ready: list[Batch] = []
        while self.queue and self.queue[0].at_ns[0] <= until_ns:
            batch = self.queue.pop(0)
            count = int(np.searchsorted(batch.at_ns, until_ns, side="right"))
            if count == len(batch):
                ready.append(batch)
                continue
            cut = int(batch.ends[count - 1])
            ready.append(Batch(batch.data[:cut], batch.ends[:count], batch.at_ns[:count], batch.channel))
            rest = Batch(batch.data[cut:], batch.ends[count:] - cut, batch.at_ns[count:], batch.channel)
            self.queue.insert(0, rest)
        return ready


class SimulatedSensor:
    """Advances in world time (the host's clock, ns) and is a peer for MemoryLink and for servers."""

    def __init__(
        self,
        name: str,
        device: Device,
        sources: Sequence[StreamSource],
        clock: DeviceClock,
        channels: Mapping[str, Channel],
        *,
        start_ns: int = 0,
        boot_ns: int | None = None,
        counter_resets_s: Sequence[float] = (),
        outages_s: Sequence[tuple[float, float]] = (),
        truths: list[Truth] | None = None,
        start_delay_ns: Callable[[int], int] = lambda asked_ns: 0,
    ) -> None:
        self.name, self.device, self.clock = name, device, clock
        self.description = f"simulated {name}"
        self._truths = truths if truths is not None else []
        self._sources, self._channels, self._start_ns = sources, channels, start_ns
        self._boot_ns = boot_ns = start_ns if boot_ns is None else boot_ns
        self._boot_s = (boot_ns - start_ns) / _NS  # the subject's second 0, and zero or less in world time
        self._resets_ns = sorted(self._host_ns(t) for t in counter_resets_s)
        self._outages_ns = _merged((self._host_ns(a), self._host_ns(b)) for a, b in outages_s)
        self._link_events = [ns for outage in self._outages_ns for ns in outage]
        self._done_ns = boot_ns - 1
        self._out: list[LinkDown | LinkUp] = []
        self._start_delay_ns = start_delay_ns
        self._anchor()

    def _host_ns(self, world_s: float) -> int:
        """Nothing happens to a device before it boots."""
        return max(self._boot_ns, self._start_ns + round(min(world_s, 9e9) * _NS))

    def _world_s(self, host_ns: int) -> float:
        return (host_ns - self._start_ns) / _NS

    def _anchor(self) -> None:
        """Streaming begins: sample 0 of every stream is taken in the next nanosecond, or later if it starts slowly."""
        asked_ns = self._done_ns + 1
        asked = self.device.streaming and self.plugged(asked_ns)  # what is switched off is asked for nothing
        self._begin_ns = asked_ns + (self._start_delay_ns(asked_ns) if asked else 0)
        begin_s = self._world_s(self._begin_ns)
        self._phase0 = float(self.clock.phase(np.array([begin_s]))[0])
        self._taken = [0] * len(self._sources)
        self._base = [source.next_index for source in self._sources]
        self._events_from_ns = self._begin_ns

    @property
    def truths(self) -> list[Truth]:
        """What the faults have done up to now, by start; a spell that is still going on ends now."""
        stages: list[SampleStage | BatchStage] = [stage for source in self._sources for stage in source.stages]
        stages += [s for channel in self._channels.values() for s in (*channel.frame_stages, *channel.byte_stages)]
        every = self._truths + [truth for stage in stages for truth in stage.under_way()]
        begun = [truth for truth in every if truth.start_ns <= self._done_ns]
        ended = [replace(truth, end_ns=min(truth.end_ns, self._done_ns)) for truth in begun]
        return sorted(ended, key=lambda truth: truth.start_ns)

    # --- what the host does -------------------------------------------------------------------

    def plugged(self, at_ns: int) -> bool:
        """No outage at this time."""
        return not any(down <= at_ns < up for down, up in self._outages_ns)

    def next_change_ns(self) -> int | None:
        """When it is unplugged or plugged in next, None if that is over."""
        return self._link_events[0] if self._link_events else None

    def receive(self, data: bytes, at_ns: int, channel: str = "") -> None:
        """A command; what the device sends from at_ns on follows from it."""
        self._generate(at_ns)
        was = self.device.streaming
        for reply in self.device.receive(data, channel):
            self._send(Batch.single(reply.data, at_ns + reply.delay_ns, reply.channel), is_reply=True)
        if self.device.streaming and not was:
            self._anchor()

    def read(self, channel: str) -> bytes | None:
        """GATT value."""
        return self.device.read(channel)

    def subscribe(self, channel: str, at_ns: int, on: bool = True) -> None:
        """GATT notifications."""
        self._generate(at_ns)
        was = self.device.streaming
        self.device.subscribe(channel, on)
        if self.device.streaming and not was:
            self._anchor()

    def negotiated(self, att_mtu: int, at_ns: int) -> None:
        """GATT: the connection's ATT_MTU from at_ns on."""
        self._generate(at_ns)
        if isinstance(self.device, MtuAware):
            self.device.negotiated(att_mtu)

    # --- what time does -----------------------------------------------------------------------

    def advance(self, until_ns: int) -> list[Batch | LinkDown | LinkUp]:
        """Everything that gets through up to and including until_ns, in time order."""
        self._generate(until_ns)
        items: list[Batch | LinkDown | LinkUp] = list(self._out)
        self._out.clear()
        for channel in self._channels.values():
            items += channel.take(until_ns)
        items.sort(key=_when)
        return items

    def _generate(self, until_ns: int) -> None:
        """Take and send every sample up to until_ns, stopping at each device and link event."""
        while self._done_ns < until_ns:
            stop_ns = until_ns
            for event_ns in (*self._link_events[:1], *self._resets_ns[:1]):
                stop_ns = min(stop_ns, event_ns)
            if self.device.streaming and stop_ns >= self._begin_ns and self.plugged(self._done_ns + 1):
                self._sample(stop_ns)
            self._done_ns = stop_ns
            if self._resets_ns and self._resets_ns[0] == stop_ns:
                self._resets_ns.pop(0)
                self.device.reset_counter()
            if self._link_events and self._link_events[0] == stop_ns:
                self._link_events.pop(0)
                self._switch(stop_ns)

    def _switch(self, at_ns: int) -> None:
        """The plug goes out or in. What was under way is lost, and the device starts anew."""
        down = any(at_ns == outage[0] for outage in self._outages_ns)
        if down:
            for channel in self._channels.values():
                done = channel.take(at_ns)
                channel.queue = done
                channel.line.clear()
        self._out.append(LinkDown(at_ns, "unplugged") if down else LinkUp(at_ns))
        self.device.reset()
        if self.device.streaming:
            self._anchor()

    def _sample(self, until_ns: int) -> None:
        blocks: dict[str, Block] = {}
        for number, source in enumerate(self._sources):
            take = self._events if source.spec.rate_hz is None else self._block
            blocks[source.spec.name] = take(number, until_ns)
        self._events_from_ns = until_ns + 1
        for frames in self.device.encode(blocks):
            self._send(frames)

    def _send(self, frames: Batch, is_reply: bool = False) -> None:
        if len(frames):
            self._channels[frames.channel].put(frames, is_reply)

    def _block(self, number: int, until_ns: int) -> Block:
        source = self._sources[number]
        rate = float(source.spec.rate_hz or 0)
        taken = self._taken[number]
        phase_end = float(self.clock.phase(np.array([self._world_s(until_ns)]))[0])
        guess = int((phase_end - self._phase0) * rate) + _MARGIN - taken
        index = np.arange(taken, taken + max(guess, 0), dtype=np.int64)
        phase = self._phase0 + index / rate
        world = self.clock.world(phase)
        due_ns = self._start_ns + np.rint(world * _NS).astype(np.int64)
        count = int(np.searchsorted(due_ns, until_ns, side="right"))
        index, phase, world, due_ns = index[:count], phase[:count], world[:count], due_ns[:count]
        values = self._measure(source, self._base[number] + taken, world)
        self._taken[number] = taken + count
        source.next_index = self._base[number] + taken + count
        return Block(index, due_ns, self._device_ns(phase, world), values)

    def _events(self, number: int, until_ns: int) -> Block:
        source = self._sources[number]
        # A nanosecond more on either side: which call an event belongs to is decided on its rounded time.
        begin_s, end_s = self._world_s(self._events_from_ns - 1), self._world_s(until_ns + 2)
        times, values = source.signal.events(begin_s - self._boot_s, end_s - self._boot_s)
        world = times + self._boot_s
        due_ns = self._start_ns + np.rint(world * _NS).astype(np.int64)
        mine = (due_ns >= self._events_from_ns) & (due_ns <= until_ns)
        world, values, due_ns = world[mine], values[mine], due_ns[mine]
        index = self._taken[number] + np.arange(len(world), dtype=np.int64)
        for stage in source.stages:
            values = stage.apply(self._base[number] + self._taken[number], world, values)
        self._taken[number] += len(world)
        source.next_index = self._base[number] + self._taken[number]
        return Block(index, due_ns, self._device_ns(self.clock.phase(world), world), digitise(values, source.spec))

    def _measure(self, source: StreamSource, first: int, world: FloatArray) -> FloatArray:
        if not len(world):
            return np.empty((0, len(source.spec.channels)))
        values = source.signal.render(first, world - self._boot_s)
        for stage in source.stages:
            values = stage.apply(first, world, values)
        return digitise(values, source.spec)

    def _device_ns(self, phase: FloatArray, world: FloatArray) -> IntArray:
        since_boot = phase - self.clock.phase(np.array([self._boot_s]))[0]
        return np.rint(self.clock.reading(since_boot, world) * _NS).astype(np.int64)


def _merged(outages: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted, with those that touch made one: a plug that is out cannot go out again."""
    merged: list[tuple[int, int]] = []
    for down, up in sorted(outages):
        if merged and down <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(up, merged[-1][1]))
        elif up > down:
            merged.append((down, up))
    return merged


def _when(item: Batch | LinkDown | LinkUp) -> tuple[int, bool]:
    """Order of delivery: bytes that got through in the very nanosecond in which the plug went out are before it."""
    return (int(item.at_ns[0]), False) if isinstance(item, Batch) else (item.arrival_ns, True)


def digitise(values: FloatArray, spec: StreamSpec) -> FloatArray:
    """The ADC: clip to the rails, round to the LSB. Shape kept."""
    if spec.low is not None or spec.high is not None:
        values = np.clip(values, spec.low, spec.high)
    if spec.lsb:
        values = np.rint(values / spec.lsb) * spec.lsb
    return values
