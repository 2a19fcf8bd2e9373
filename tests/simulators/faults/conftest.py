"""Ways to run a fault's stage on its own: on a stream of samples, or on a sequence of frames, cut anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest

from drivers.types import Batch, FloatArray, IntArray, StreamSpec
from simulators.draws import Draws
from simulators.faults import Fault, Where
from simulators.faults.registry import make_fault
from simulators.truth import Truth

START_NS = 7_000_000_000

SampleRun = Callable[..., tuple[FloatArray, list[Truth]]]
BatchRun = Callable[..., tuple[list[tuple[bytes, int]], list[Truth]]]


def _where(fault: Fault, told: list[Truth], **more: object) -> Where:
    return Where("bench", START_NS, Draws(3, "bench").child(fault.NAME, 0), told.append, **more)  # type: ignore[arg-type]


def _pieces(length: int, cuts: Sequence[int]) -> Iterator[tuple[int, int]]:
    yield from pairwise([0, *sorted(min(cut, length) for cut in cuts), length])


@pytest.fixture(scope="session")
def run_samples() -> SampleRun:
    """(fault as plain data, times, values, cuts=, kind=, rate_hz=, span=) -> (damaged values, truth)."""

    def run(
        given: dict[str, object],
        times_s: FloatArray,
        values: FloatArray,
        *,
        cuts: Sequence[int] = (),
        kind: str = "ecg",
        rate_hz: float = 250.0,
        span: float = 1.0,
        rails: tuple[float, float] | None = (-100.0, 100.0),
    ) -> tuple[FloatArray, list[Truth]]:
        low, high = rails or (None, None)
        names = tuple(f"c{n}" for n in range(values.shape[1]))
        spec = StreamSpec("wave", kind, names, "mV", rate_hz, low=low, high=high)
        told: list[Truth] = []
        fault = make_fault(given)
        stage = fault.bind(_where(fault, told, spec=spec, span=span))  # type: ignore[attr-defined]
        parts = [stage.apply(a, times_s[a:b], values[a:b]) for a, b in _pieces(len(values), cuts)]
        return np.concatenate(parts), told + stage.under_way()

    return run


@pytest.fixture(scope="session")
def run_batches() -> BatchRun:
    """(fault as plain data, batch, cuts=, channel=) -> ([(chunk, at_ns)], truth)."""

    def run(
        given: dict[str, object], batch: Batch, *, cuts: Sequence[int] = (), channel: str = ""
    ) -> tuple[list[tuple[bytes, int]], list[Truth]]:
        told: list[Truth] = []
        fault = make_fault(given)
        stage = fault.bind(_where(fault, told, channel=channel))  # type: ignore[attr-defined]
        out: list[tuple[bytes, int]] = []
        for a, b in _pieces(len(batch), cuts):
            out += stage.apply(batch.take(np.arange(a, b))).chunks()
        return out, told + stage.under_way()

    return run


@pytest.fixture(scope="session")
def frames() -> Callable[..., Batch]:
    """(count, period_ms=, seed=) -> frames of 2 to 40 bytes, each begins with its number; times are distinct."""

    def make(count: int, period_ms: float = 4.0, seed: int = 1) -> Batch:
        random = np.random.default_rng(seed)
        sizes = random.integers(0, 37, count)
        chunks = [number.to_bytes(3, "big") + random.bytes(int(size)) for number, size in enumerate(sizes.tolist())]
        at_ns: IntArray = START_NS + np.arange(count, dtype=np.int64) * round(period_ms * 1e6)
        return Batch.of(chunks, at_ns + random.integers(0, 100_000, count))

    return make


@pytest.fixture(scope="session")
def start_ns() -> int:
    """Host time of world second 0 in these runs."""
    return START_NS
