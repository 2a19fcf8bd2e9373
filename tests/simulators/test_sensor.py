"""The pipeline of a simulated sensor, with the plainest device there can be: one frame per sample."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivers.codec import Block, Gatt, Reply
from drivers.types import Batch, FloatArray, LinkDown, LinkUp, StreamSpec
from simulators.device_clock import DeviceClock, Step
from simulators.draws import Draws
from simulators.line import ConnectionEvents, Line, SerialLine
from simulators.sensor import Channel, SimulatedSensor, StreamSource, digitise
from simulators.signals.registry import make_signal
from simulators.subject import Subject

_S = 1_000_000_000
_FRAME = struct.Struct("<cBqqqd")
_ECG = StreamSpec("ecg", "ecg", ("ecg",), "mV", 250.0, lsb=0.001, low=-3.0, high=3.0)
_RR = StreamSpec("rr", "rr", ("rr",), "ms", None)


class PlainDevice:
    """Frames carry all there is to know: stream, restarts of the counter, index, device time, value."""

    gatt: Gatt | None = None

    def __init__(self, waits_for_start: bool = False, channel: str = "") -> None:
        self.streams: tuple[StreamSpec, ...] = (_ECG, _RR)
        self._waits, self._channel = waits_for_start, channel
        self.streaming = not waits_for_start
        self._counter = 0
        self._boots = 0

    def receive(self, data: bytes, channel: str = "") -> list[Reply]:
        if data == b"start":
            self.streaming = True
        return [Reply(b"ok:" + data, delay_ns=2_000_000, channel=self._channel)]

    def read(self, channel: str) -> bytes | None:
        return b"battery" if channel == "2a19" else None

    def subscribe(self, channel: str, on: bool = True) -> None:
        self.streaming = on

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        rows = []
        for name, block in blocks.items():
            for index, due, device, value in zip(
                block.index.tolist(), block.due_ns.tolist(), block.device_ns.tolist(), block.values[:, 0], strict=True
            ):
                rows.append((due, name[:1].encode(), index, device, value))
        rows.sort(key=lambda row: row[:2])
        chunks = []
        for _, letter, index, device, value in rows:
            chunks.append(_FRAME.pack(letter, self._boots % 256, self._counter, index, device, value))
            self._counter += 1
        return [Batch.of(chunks, np.array([row[0] for row in rows], dtype=np.int64), self._channel)] if rows else []

    def reset(self) -> None:
        self.streaming = not self._waits
        self._counter, self._boots = 0, self._boots + 1

    def reset_counter(self) -> None:
        self._counter = 0


def _sensor(
    device: PlainDevice | None = None,
    line: Line | None = None,
    channel: str = "",
    clock: DeviceClock | None = None,
    **given: Any,
) -> SimulatedSensor:
    subject = Subject(7)
    signals = [make_signal({"signal": spec.kind}, subject, spec, Draws(7, spec.name)) for spec in (_ECG, _RR)]
    sources = [StreamSource(spec, signal) for spec, signal in zip((_ECG, _RR), signals, strict=True)]
    channels = {channel: Channel([], line or SerialLine(10**9), [])}
    return SimulatedSensor("plain", device or PlainDevice(), sources, clock or DeviceClock(), channels, **given)


Items: TypeAlias = list[Batch | LinkDown | LinkUp]
Row: TypeAlias = tuple[int, bytes | str]


def _rows(items: Items) -> list[Row]:
    """Every delivered chunk in order, with its time; and the link's own news."""
    rows: list[Row] = []
    for item in items:
        if isinstance(item, Batch):
            rows += [(at, data) for data, at in item.chunks()]
        else:
            rows.append((item.arrival_ns, type(item).__name__))
    return rows


class Frame(NamedTuple):
    delivered: int
    stream: bytes
    boot: int
    counter: int
    number: int
    device_ns: int
    value: float


def _frames(items: Items, stream: bytes = b"e") -> list[Frame]:
    every = [(at, data) for at, data in _rows(items) if isinstance(data, bytes) and len(data) == _FRAME.size]
    frames = [Frame(at, *_FRAME.unpack(data)) for at, data in every]
    return [frame for frame in frames if frame.stream == stream]


def _cut_run(sensor: SimulatedSensor, stops_ns: list[int]) -> list[Row]:
    rows: list[Row] = []
    for stop in stops_ns:
        rows += _rows(sensor.advance(stop))
    return rows


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 12 * _S), max_size=25), slow=st.booleans())
def test_bytes_and_their_times_do_not_depend_on_how_time_is_cut(cuts: list[int], slow: bool) -> None:
    def run(stops: list[int]) -> list[Row]:
        sensor = _sensor(
            line=SerialLine(115_200 if slow else 10**7, usb_latency_ms=16),
            clock=DeviceClock(offset_s=3.0, ppm=80.0, ppm_per_min=3.0, steps=(Step(1.0, 5.0),)),
            counter_resets_s=(3.0, 3.0, 8.1234),
            outages_s=((4.0, 5.5), (5.0, 6.0), (9.0, 9.5)),
        )
        return _cut_run(sensor, stops)

    assert run([*sorted(cuts), 12 * _S]) == run([12 * _S])


_BEATS_NS = np.rint(Subject(7).beats(0, 20) * 1e9).astype(np.int64)


@settings(max_examples=15, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 20 * _S), max_size=30),
    around=st.lists(st.tuples(st.integers(0, len(_BEATS_NS) - 1), st.integers(-2, 2))),
)
@example(cuts=[], around=[(n, by) for n in range(len(_BEATS_NS)) for by in (-1, 0, 1)])
def test_no_beat_is_lost_or_doubled_at_a_cut(cuts: list[int], around: list[tuple[int, int]]) -> None:
    stops = [*sorted([*cuts, *(int(_BEATS_NS[n]) + by for n, by in around)]), 20 * _S]
    sensor = _sensor()
    items = [item for stop in stops for item in sensor.advance(stop)]
    # The truth is the subject's own beats; a frame's device time is the beat's time with a perfect clock.
    frames = _frames(items, b"r")
    assert [frame.number for frame in frames] == list(range(len(_BEATS_NS)))
    assert [frame.device_ns for frame in frames] == _BEATS_NS.tolist()


@pytest.mark.parametrize("ppm", [-500.0, 0.0, 37.0, 1000.0])
def test_a_fast_crystal_takes_its_samples_early_by_its_ppm(ppm: float) -> None:
    sensor = _sensor(clock=DeviceClock(ppm=ppm))
    frames = _frames(sensor.advance(60 * _S + 1000))
    due = np.array([frame.delivered for frame in frames]) - _FRAME.size * 10  # the line takes 10 ns a byte
    expected = np.arange(len(frames)) / 250 / (1 + ppm * 1e-6) * 1e9
    assert np.abs(due - expected).max() <= 20 * _FRAME.size  # a beat's frame may be on the line before it
    assert len(frames) == int(60 * 250 * (1 + ppm * 1e-6) + 1e-6) + 1
    # What the device says is its own count: exactly 4 ms from sample to sample.
    assert np.abs(np.array([frame.device_ns for frame in frames]) - np.arange(len(frames)) * 4_000_000).max() <= 1


def test_samples_are_the_signal_at_the_sample_times() -> None:
    frames = _frames(_sensor(clock=DeviceClock(ppm=200.0)).advance(5 * _S))
    signal = make_signal({"signal": "ecg"}, Subject(7), _ECG, Draws(7, "ecg"))
    times_s = np.arange(len(frames)) / 250 / (1 + 200e-6)
    expected = digitise(signal.render(0, times_s), _ECG)[:, 0]
    seen = np.array([frame.value for frame in frames])
    assert np.abs(seen - expected).max() <= 0.001 + 1e-12  # a rounding may tip one LSB


def test_an_outage_loses_what_it_covers_and_the_device_starts_anew() -> None:
    sensor = _sensor(outages_s=((2.0, 3.0),))
    rows = _rows(sensor.advance(5 * _S))
    assert [(row[0], row[1]) for row in rows if isinstance(row[1], str)] == [(2 * _S, "LinkDown"), (3 * _S, "LinkUp")]
    assert not any(2 * _S < row[0] <= 3 * _S for row in rows if isinstance(row[1], bytes))
    again = _frames(_sensor(outages_s=((2.0, 3.0),)).advance(5 * _S))
    first = next(frame for frame in again if frame.delivered > 3 * _S)
    assert first.boot > 0
    assert (first.counter, first.number) == (0, 0)
    assert first.delivered <= 3 * _S + 1000
    assert sensor.plugged(2 * _S - 1)
    assert not sensor.plugged(2 * _S)
    assert sensor.plugged(3 * _S)


def test_outages_that_overlap_are_one() -> None:
    sensor = _sensor(outages_s=((2.0, 3.0), (2.5, 4.0), (4.0, 4.5)))
    rows = _rows(sensor.advance(6 * _S))
    assert [row for row in rows if isinstance(row[1], str)] == [(2 * _S, "LinkDown"), (4_500_000_000, "LinkUp")]


def test_an_outage_without_end_has_none() -> None:
    rows = _rows(_sensor(outages_s=((1.0, float("inf")),)).advance(100 * _S))
    assert [row for row in rows if isinstance(row[1], str)] == [(_S, "LinkDown")]


def test_delivery_is_in_time_order_with_the_link_news_in_its_place() -> None:
    rows = _rows(_sensor(outages_s=((1.0, 1.5), (2.0, 2.25))).advance(4 * _S))
    at = [row[0] for row in rows]
    assert at == sorted(at)
    down = next(n for n, row in enumerate(rows) if row[1] == "LinkDown")
    assert all(row[0] > _S for row in rows[down + 1 :])


def test_a_saturated_line_has_an_empty_queue_after_a_replug() -> None:
    # 34 bytes x 250 a second need 85 kbit/s: at 9600 the line falls 8 s behind each second.
    sensor = _sensor(line=SerialLine(9600), outages_s=((2.0, 3.0),))
    first = next(frame for frame in _frames(sensor.advance(4 * _S)) if frame.delivered > 3 * _S)
    assert first.number == 0
    assert first.delivered == pytest.approx(3 * _S + _FRAME.size * 10e9 / 9600, abs=100)


def test_a_counter_reset_leaves_the_samples_alone() -> None:
    plain, reset = _sensor().advance(5 * _S), _sensor(counter_resets_s=(2.5,)).advance(5 * _S)
    assert [frame[4:] for frame in _frames(plain)] == [frame[4:] for frame in _frames(reset)]
    counters = np.array([frame.counter for frame in _frames(reset)])
    falls = np.flatnonzero(np.diff(counters) < 0)
    assert len(falls) == 1
    before, after = _frames(reset)[falls[0]], _frames(reset)[falls[0] + 1]
    assert before.device_ns <= 2_500_000_000 < after.device_ns


def test_streaming_begins_a_nanosecond_after_the_command() -> None:
    sensor = _sensor(PlainDevice(waits_for_start=True))
    assert sensor.advance(_S) == []
    sensor.receive(b"start", 1_500_000_000)
    items = sensor.advance(2 * _S)
    assert _rows(items)[0] == (1_502_000_000 + 8 * 10, b"ok:start")
    assert _frames(items)[0].number == 0
    assert _frames(items)[0].device_ns == 1_500_000_001  # its clock has counted since it booted


def test_a_notification_waits_for_its_connection_event() -> None:
    sensor = _sensor(PlainDevice(waits_for_start=True, channel="2a37"), ConnectionEvents(30), channel="2a37")
    sensor.subscribe("2a37", 0)
    rows = _rows(sensor.advance(3 * _S))
    assert rows
    assert all(at % 30_000_000 == 0 for at, _ in rows)
    assert sensor.read("2a19") == b"battery"
    assert sensor.read("2a00") is None


def test_boot_before_the_run_moves_the_start_and_not_the_fault_times() -> None:
    sensor = _sensor(start_ns=10 * _S, boot_ns=8 * _S, outages_s=((1.0, 2.0),), clock=DeviceClock(ppm=100.0))
    rows = _rows(sensor.advance(14 * _S))
    assert 8 * _S <= rows[0][0] < 8 * _S + 1000
    assert [row for row in rows if isinstance(row[1], str)] == [(11 * _S, "LinkDown"), (12 * _S, "LinkUp")]


def test_the_adc_clips_to_the_rails_and_rounds_to_the_lsb() -> None:
    spec = StreamSpec("x", "raw", ("x",), "mV", 1.0, lsb=0.25, low=-1.0, high=1.0)
    given_values: FloatArray = np.array([[-7.0], [-0.13], [0.12], [0.13], [9.0]])
    assert digitise(given_values, spec)[:, 0].tolist() == [-1.0, -0.25, 0.0, 0.25, 1.0]
