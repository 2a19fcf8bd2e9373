"""A bench in memory: a sensor's Host and Device joined by a perfect wire, with a clock in plain integers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from drivers.codec import Block, Device, Host
from drivers.errors import AttError, MissingExtra
from drivers.exchange import Exchange
from drivers.registry import load_sensor, make_settings, sensor_names
from drivers.types import Batch, Event, Lost, Malformed, Reordered, Repeated, Samples, StreamSpec

START_NS = 1_000_000_000_000
STEP_NS = 50_000_000


def cases() -> list[Any]:
    """Every sensor that the registry finds, with each of its CONFORMANCE_SETTINGS."""
    found = []
    for name in sensor_names():
        given = getattr(load_sensor(name), "CONFORMANCE_SETTINGS", ({},))
        found += [pytest.param((name, settings), id=f"{name}-{n}") for n, settings in enumerate(given)]
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "bench" in metafunc.fixturenames:
        metafunc.parametrize("bench", cases(), indirect=True)


@dataclass
class Decoded:
    """What a Host made of some bytes, by stream."""

    values: dict[str, np.ndarray]
    index: dict[str, np.ndarray]
    arrival_ns: dict[str, np.ndarray]
    device_ns: dict[str, np.ndarray]
    segment: dict[str, np.ndarray]
    events: list[Event]

    @classmethod
    def of(cls, specs: Iterable[StreamSpec], events: list[Event]) -> Decoded:
        names = ("values", "index", "arrival_ns", "device_ns", "segment")
        columns: dict[str, dict[str, np.ndarray]] = {name: {} for name in names}
        for spec in specs:
            parts = [e for e in events if isinstance(e, Samples) and e.stream == spec.name]
            none = np.empty(0, np.int64)
            no_values = np.empty((0, len(spec.channels)))
            columns["values"][spec.name] = np.concatenate([no_values, *(p.values for p in parts)])
            columns["index"][spec.name] = np.concatenate([none, *(p.index for p in parts)])
            columns["arrival_ns"][spec.name] = np.concatenate([none, *(p.arrival_ns for p in parts)])
            stamped = [p.device_ns for p in parts if p.device_ns is not None]
            columns["device_ns"][spec.name] = np.concatenate([none, *stamped])
            columns["segment"][spec.name] = np.concatenate([none, *(np.full(len(p.index), p.segment) for p in parts)])
        return cls(**columns, events=events)

    def total(self, kind: type[Lost | Repeated | Reordered], stream: str) -> int:
        return sum(e.count for e in self.events if isinstance(e, kind) and e.stream == stream)

    def malformed(self) -> int:
        return sum(e.size for e in self.events if isinstance(e, Malformed))


@dataclass
class Bench:
    """One sensor with one set of settings."""

    name: str
    settings: Mapping[str, Any]
    sensor: Any = field(init=False)
    now_ns: int = START_NS

    def __post_init__(self) -> None:
        self.sensor = load_sensor(self.name)
        self.made = make_settings(self.sensor, self.settings)

    def host(self) -> Host:
        return self.sensor.host(self.made)

    def device(self) -> Device:
        return self.sensor.device(self.made)

    # --- samples --------------------------------------------------------------------------------

    def blocks(self, seconds: float, seed: int = 0, start_ns: int = START_NS) -> dict[str, Block]:
        """Random samples on every stream's grid, due from start_ns on."""
        rng = np.random.default_rng(seed)
        return {spec.name: self._block(spec, seconds, rng, start_ns) for spec in self.device().streams}

    def _block(self, spec: StreamSpec, seconds: float, rng: np.random.Generator, start_ns: int) -> Block:
        if spec.rate_hz is None:
            times_s = np.cumsum(rng.uniform(0.5, 1.3, int(seconds * 2) + 1))
            times_s = times_s[times_s < seconds]
        else:
            times_s = np.arange(int(np.ceil(seconds * spec.rate_hz - 1e-9))) / spec.rate_hz
        passed_ns = np.rint(times_s * 1e9).astype(np.int64)
        step = spec.lsb or 1e-3
        low = step * 2 if spec.low is None else max(spec.low, -30_000 * step)
        high = step * 10_000 if spec.high is None else min(spec.high, 30_000 * step)
        shape = len(times_s), len(spec.channels)
        counts = rng.integers(np.ceil(low / step), np.floor(high / step), shape, endpoint=True)
        counts[counts == 0] = 1  # some devices say "nothing new" with zeros
        index = np.arange(len(times_s), dtype=np.int64)
        return Block(index, start_ns + passed_ns, passed_ns, counts * step)

    @staticmethod
    def cut(blocks: Mapping[str, Block], at_ns: Iterable[int]) -> list[dict[str, Block]]:
        """The same samples in consecutive pieces, all cut at the same times."""
        pieces: list[dict[str, Block]] = []
        edges = [-(2**62), *sorted(at_ns), 2**62]
        for a, b in pairwise(edges):
            piece = {}
            for name, block in blocks.items():
                keep = (block.due_ns >= a) & (block.due_ns < b)
                piece[name] = Block(block.index[keep], block.due_ns[keep], block.device_ns[keep], block.values[keep])
            pieces.append(piece)
        return pieces

    def spec(self, stream: str) -> StreamSpec:
        return next(s for s in self.host().streams if s.name == stream)

    def channels(self) -> list[str]:
        """What can arrive on: "" or the characteristics that notify."""
        gatt = self.device().gatt
        every = [c for service in gatt.services for c in service.characteristics] if gatt else []
        return [c.uuid for c in every if {"notify", "indicate"} & set(c.properties)] or [""]

    # --- the wire -------------------------------------------------------------------------------

    def reconnect(self, host: Host) -> Device:
        """Run host.start() against a new Device; the Device as it is when it begins to stream."""
        device = self.device()
        wire = Wire(device)
        exchange = Exchange(host.start(), wire, self.now_ns)
        if not exchange.done and device.streaming and not wire.written:  # it streams without being asked
            for batch in device.encode(self.blocks(1.0, seed=99)):
                for chunk, at_ns in batch.chunks():
                    exchange.feed(Batch.single(chunk, at_ns, batch.channel))
            device = self.device()  # so that the caller's samples begin at number 0
            Wire(device).subscribe_all()
        now_ns = self.now_ns
        for _ in range(400):
            if exchange.done:
                break
            now_ns += STEP_NS
            for batch in wire.deliver():
                exchange.feed(batch)
            exchange.tick(now_ns)
        assert exchange.done, "the exchange did not come to an end"
        assert device.streaming, "the exchange is over and the device does not stream"
        return device

    def connected_device(self) -> Device:
        """A Device that streams."""
        return self.reconnect(self.host())

    def connect(self, blocks: Mapping[str, Block] | None = None) -> tuple[Host, list[Batch]]:
        """A Host that is ready, and the frames of ``blocks``."""
        host = self.host()
        device = self.reconnect(host)
        return host, [b for b in device.encode(blocks) if len(b)] if blocks is not None else []

    def finish(self, host: Host) -> None:
        """Run host.stop()."""
        Exchange(host.stop(), Wire(self.device()), self.now_ns)

    def decode(self, host: Host, batches: Iterable[Batch]) -> Decoded:
        """Feed batches in time order of their first chunk."""
        events = [event for batch in sorted(batches, key=lambda b: int(b.at_ns[0])) for event in host.feed(batch)]
        return Decoded.of(host.streams, events)

    def stream(self, seconds: float, seed: int = 0) -> tuple[dict[str, Block], list[Batch], Decoded]:
        """Samples, the frames made of them, and what the host made of those."""
        blocks = self.blocks(seconds, seed)
        host, batches = self.connect(blocks)
        return blocks, batches, self.decode(host, batches)

    def again(self, batches: Iterable[Batch]) -> Decoded:
        """Decode frames on a Host that is just connected."""
        return self.decode(self.connect()[0], batches)


class Wire:
    """A Link onto a Device: what is written is answered when deliver() is called."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.description = "a wire in memory"
        self.clock: Any = None
        self._replies: list[Batch] = []
        self.written = False

    def write(self, data: bytes, channel: str = "") -> None:
        self.written = True
        for k in range(len(data) if not channel else 1):  # a serial device gets its commands byte by byte
            piece = data if channel else data[k : k + 1]
            self._replies += [Batch.single(r.data, START_NS, r.channel) for r in self.device.receive(piece, channel)]

    def subscribe(self, channel: str) -> None:
        self.device.subscribe(channel)

    def subscribe_all(self) -> None:
        for service in self.device.gatt.services if self.device.gatt else ():
            for characteristic in service.characteristics:
                if {"notify", "indicate"} & set(characteristic.properties):
                    self.device.subscribe(characteristic.uuid)

    def read(self, channel: str) -> bytes | None:
        try:
            return self.device.read(channel)
        except AttError:
            return None

    def deliver(self) -> list[Batch]:
        replies, self._replies = self._replies, []
        return replies

    def open(self, sink: Any) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Bench:
    name, settings = request.param
    try:
        return Bench(name, settings)
    except MissingExtra as missing:
        pytest.skip(f"{name}: {missing}")
