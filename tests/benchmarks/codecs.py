"""Prints how fast codecs encode and decode: ``python tests/benchmarks/codecs.py [sensor ...]``.

Each line: bytes and samples (of the fastest stream) a second, with all frames of 60 s in one batch
and with one frame a batch, and the CPU that one second of the sensor costs when it comes in batches
of 20 ms. BrainFlow 5.23 decodes a Cyton at 251 000 frames/s, 4.0 us each, in C++ from a pty.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from drivers.clock import RealClock
from drivers.codec import Block
from drivers.registry import load_sensor, make_settings, sensor_names
from drivers.types import Batch

SECONDS = 60.0
CLOCK = RealClock()


def best_s(call: Callable[[], object], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = CLOCK.cpu_ns()
        call()
        times.append((CLOCK.cpu_ns() - start) / 1e9)
    return min(times)


def block(spec, rng: np.random.Generator) -> Block:
    rate_hz = spec.rate_hz or 1.2
    index = np.arange(int(SECONDS * rate_hz))
    due_ns = np.rint(index / rate_hz * 1e9).astype(np.int64)
    step = spec.lsb or 1e-3
    low, high = max(spec.low or 0, -1000 * step), min(spec.high or 1000 * step, 1000 * step)
    values = np.rint(rng.uniform(low, high, (len(index), len(spec.channels))) / step) * step
    return Block(index, due_ns, due_ns, values)


def streaming(sensor, settings):
    """A Device that was told to stream, as far as that needs no dialogue."""
    device = sensor.device(settings)
    if device.gatt is not None:
        for service in device.gatt.services:
            for c in service.characteristics:
                if {"notify", "indicate"} & set(c.properties):
                    device.subscribe(c.uuid)
    elif not device.streaming:
        device.receive(b"b")
    return device


def measure(name: str, given: dict) -> None:
    sensor = load_sensor(name)
    settings = make_settings(sensor, given)
    device = streaming(sensor, settings)
    rng = np.random.default_rng(0)
    blocks = {spec.name: block(spec, rng) for spec in device.streams}
    batches = [b for b in device.encode(blocks) if len(b)]
    size, count = sum(len(b.data) for b in batches), max(len(b.index) for b in blocks.values())
    singles = [Batch.single(chunk, at_ns, b.channel) for b in batches for chunk, at_ns in b.chunks()]
    slices = [b.take(b.at_ns // 20_000_000 == k) for b in batches for k in np.unique(b.at_ns // 20_000_000)]

    def decode(parts: list[Batch]) -> Callable[[], None]:
        def run() -> None:
            host = sensor.host(settings)
            for part in parts:
                host.feed(part)

        return run

    encode_s = best_s(lambda: streaming(sensor, settings).encode(blocks))
    whole_s, single_s, slice_s = (best_s(decode(parts)) for parts in (batches, singles, slices))
    print(
        f"{name:14} {str(given)[:44]:44} encode {count / encode_s / 1e3:8.0f} k samples/s"
        f" | decode whole {size / whole_s / 1e6:7.1f} MB/s {count / whole_s / 1e3:8.0f} k samples/s"
        f" | single {single_s / len(singles) * 1e6:6.1f} us/frame {size / single_s / 1e6:5.2f} MB/s"
        f" | 20 ms batches {slice_s / SECONDS * 1e3:5.2f} ms CPU/s"
    )


def main() -> None:
    for name in sys.argv[1:] or sensor_names():
        for given in getattr(load_sensor(name), "CONFORMANCE_SETTINGS", ({},)):
            measure(name, given)


if __name__ == "__main__":
    main()
