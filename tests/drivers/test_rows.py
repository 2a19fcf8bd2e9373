"""Rows as bytes: against struct and zlib, and what damage, cuts and odd clocks do."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from drivers.rows import RowFrames, RowHost, RowLayout, read_rows, write_rows
from drivers.types import Batch, CounterReset, Malformed, Notice, Samples, StreamSpec

PERIOD_NS = 10_000_000


def packed(*numbers: float) -> bytes:
    """One frame by the standard library alone."""
    text = b"\xf6ROW" + struct.pack(f"<{len(numbers)}d", *numbers)
    return text + struct.pack("<I", zlib.crc32(text))


def stream_layout(counter: bool = False) -> RowLayout:
    spec = StreamSpec("raw", "raw", ("a",), "1", 100.0, counted=counter, timed=True, numbered=counter)
    return RowLayout((spec,), {"raw": (1,)}, 4, 0, 2 if counter else None, 256, {"battery": 3})


def fed(host: RowHost, rows: list[tuple[float, ...]], first: int = 0) -> list:
    at_ns = (first + np.arange(len(rows))) * PERIOD_NS
    return host.feed(Batch.of([packed(*row) for row in rows], at_ns))


def test_rows_are_written_as_the_standard_library_writes_them() -> None:
    rows = np.array([[1.5, -2.25, np.pi], [0.0, 1e300, -1e-300]])
    assert write_rows(rows) == packed(1.5, -2.25, np.pi) + packed(0.0, 1e300, -1e-300)


def test_a_flipped_bit_anywhere_costs_that_row_and_no_other() -> None:
    text = [packed(k, k + 0.5) for k in range(5)]
    for bit in range(len(text[2]) * 8):
        broken = bytearray(text[2])
        broken[bit // 8] ^= 1 << bit % 8
        frames = RowFrames(2)
        found, _, _ = frames.feed(Batch.single(b"".join([*text[:2], bytes(broken), *text[3:]]), 1))
        assert read_rows(found)[:, 0].tolist() == [0, 1, 3, 4]


def test_what_was_given_up_is_told_to_the_byte() -> None:
    found, _, told = RowFrames(1).feed(Batch.single(b"noise" + packed(1.0) + b"\xf6RO" + packed(2.0), 7))
    assert read_rows(found).tolist() == [[1.0], [2.0]]
    assert [(event.size, event.excerpt) for event in told] == [(5, b"noise"), (3, b"\xf6RO")]


def test_a_row_that_has_no_time_is_malformed_and_the_next_is_read() -> None:
    events = fed(RowHost(stream_layout(), "x"), [(float("nan"), 1, 0, 0), (float("inf"), 2, 0, 0), (1.0, 3, 0, 0)])
    assert sum(isinstance(event, Malformed) for event in events) == 2
    assert [event.values.tolist() for event in events if isinstance(event, Samples)] == [[[3.0]]]


@pytest.mark.parametrize("counter", [-1.0, 256.0, 0.5, float("nan")])
def test_a_counter_that_cannot_be_one_is_malformed(counter: float) -> None:
    events = fed(RowHost(stream_layout(counter=True), "x"), [(0.0, 1, counter, 0), (0.01, 2, 1, 0)])
    assert any(isinstance(event, Malformed) for event in events)


def test_unix_time_keeps_its_microseconds() -> None:
    """float64 resolves 0.24 us there; a product with 1e9 would not be exact."""
    (samples,) = [
        e for e in fed(RowHost(stream_layout(), "x"), [(1_700_000_000.25, 1, 0, 0)]) if isinstance(e, Samples)
    ]
    assert samples.device_ns is not None
    assert samples.device_ns.tolist() == [1_700_000_000_250_000_000]


@pytest.mark.parametrize("counter", [False, True])
def test_a_clock_that_is_set_back_starts_a_segment_and_is_told(counter: bool) -> None:
    host = RowHost(stream_layout(counter), "the board")
    rows = [(10 + k / 100 - (5 if k >= 30 else 0), k, k, 0) for k in range(60)]
    events = fed(host, rows)
    segments = [(e.segment, len(e.index)) for e in events if isinstance(e, Samples)]
    assert [count for _, count in segments] == [30, 30]
    assert segments[1][0] == segments[0][0] + 1
    (reset,) = [e for e in events if isinstance(e, CounterReset)]
    assert reset.clock
    assert "went back by 4990 ms" in reset.detail


def test_stamps_that_jitter_by_less_than_50_ms_start_no_segment() -> None:
    """Host stamps, such as BrainFlow's, come in blocks and not in perfect order."""
    rng = np.random.default_rng(1)
    jitter = rng.uniform(-0.02, 0.02, 200)
    events = fed(RowHost(stream_layout(), "x"), [(k / 100 + jitter[k], k, 0, 0) for k in range(200)])
    assert {e.segment for e in events if isinstance(e, Samples)} == {0}
    assert not [e for e in events if isinstance(e, CounterReset)]


def test_a_notice_is_told_when_its_number_changes_and_only_then() -> None:
    host = RowHost(stream_layout(), "x")
    nan = float("nan")
    numbers = [nan, 5.0, 5.0, nan, 5.0, 6.0]
    events = fed(host, [(k / 100, 0, 0, n) for k, n in enumerate(numbers)])
    events += fed(host, [(0.06, 0, 0, 6.0), (0.07, 0, 0, 5.0)], first=6)
    assert [e.value for e in events if isinstance(e, Notice)] == [5.0, 6.0, 5.0]
