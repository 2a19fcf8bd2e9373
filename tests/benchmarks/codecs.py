"""Prints how fast codecs encode and decode: ``python tests/benchmarks/codecs.py [sensor ...]``.

Each sensor is started by its own exchange, as the conformance suite starts it, and samples are counted as they
are decoded. A line: MB and samples (of all streams) a second with all frames of a minute in one batch and with one
frame a batch, and the CPU that one second of the sensor costs when it comes in batches of 20 ms.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from drivers.clock import RealClock
from drivers.errors import MissingExtra
from drivers.registry import load_sensor, sensor_names
from drivers.types import Batch, Samples

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))
from conftest import Bench  # the suite's own start-up and samples

SECONDS = 60.0
CLOCK = RealClock()


def best_s(call: Callable[[], object], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = CLOCK.cpu_ns()
        call()
        times.append((CLOCK.cpu_ns() - start) / 1e9)
    return min(times)


def measure(name: str, given: dict) -> None:
    bench = Bench(name, given)
    blocks = bench.blocks(SECONDS)
    device = bench.connected_device()
    host, batches = bench.connect(blocks)
    batches = [b for b in batches if len(b)]
    size = sum(len(b.data) for b in batches)
    singles = [Batch.single(chunk, at_ns, b.channel) for b in batches for chunk, at_ns in b.chunks()]
    slices = [b.take(b.at_ns // 20_000_000 == k) for b in batches for k in np.unique(b.at_ns // 20_000_000)]

    def decode(parts: list[Batch]) -> tuple[float, int]:
        """Seconds, the copying of the host left out, and the samples that came out."""
        fresh, taken = copy.deepcopy(host), 0
        copying_s = best_s(lambda: copy.deepcopy(host))
        for part in parts:
            taken += sum(e.values.size for e in fresh.feed(part) if isinstance(e, Samples))

        def run() -> None:
            again = copy.deepcopy(host)
            for part in parts:
                again.feed(part)

        return max(best_s(run) - copying_s, 1e-9), taken

    (whole_s, count), (single_s, _), (slice_s, _) = (decode(parts) for parts in (batches, singles, slices))
    copying_s = best_s(lambda: copy.deepcopy(device))
    encode_s = max(best_s(lambda: copy.deepcopy(device).encode(blocks)) - copying_s, 1e-9)
    print(
        f"{name:19} {str(given)[:36]:36} encode {size / encode_s / 1e6:6.1f} MB/s"
        f" | decode whole {size / whole_s / 1e6:6.1f} MB/s {count / whole_s / 1e3:7.0f} k samples/s"
        f" | single {single_s / len(singles) * 1e6:6.1f} us/frame {size / single_s / 1e6:5.2f} MB/s"
        f" | 20 ms batches {slice_s / SECONDS * 1e3:5.2f} ms CPU/s",
        flush=True,
    )


def main() -> None:
    for name in sys.argv[1:] or sensor_names():
        for given in getattr(load_sensor(name), "CONFORMANCE_SETTINGS", ({},)):
            try:
                measure(name, given)
            except MissingExtra as missing:
                print(f"{name:19} not run: {missing}")


if __name__ == "__main__":
    main()
