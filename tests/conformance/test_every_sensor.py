"""What every sensor must satisfy. A new file in drivers/sensors is picked up without an edit here."""

from __future__ import annotations

import tracemalloc
from dataclasses import fields
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.errors import MissingExtra
from drivers.registry import load_sensor, make_settings, sensor_names
from drivers.types import Batch, Lost, Malformed, Notice, Reordered, Repeated, Samples

FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SECONDS = 5.0


def same(a, b) -> None:
    """Two Decoded hold the same samples: numbers, values, times."""
    for stream in a.values:
        assert a.index[stream].tolist() == b.index[stream].tolist(), stream
        assert np.array_equal(a.values[stream], b.values[stream], equal_nan=True), stream
        assert a.arrival_ns[stream].tolist() == b.arrival_ns[stream].tolist(), stream
        assert a.device_ns[stream].tolist() == b.device_ns[stream].tolist(), stream


def frames_of(batches: list[Batch]) -> list[tuple[int, bytes, str]]:
    """Every chunk as (time, bytes, channel), in the order in which they are sent."""
    chunks = [(at_ns, k, chunk, b.channel) for b in batches for k, (chunk, at_ns) in enumerate(b.chunks())]
    return [(at_ns, chunk, channel) for at_ns, _, chunk, channel in sorted(chunks, key=lambda c: c[:2])]


def by_arrival(decoded, stream: str) -> dict[int, str]:
    """Arrival -> the samples that came then, as text."""
    found: dict[int, str] = {}
    for at_ns, row in zip(decoded.arrival_ns[stream].tolist(), decoded.values[stream].tolist(), strict=True):
        found[at_ns] = found.get(at_ns, "") + repr(row)
    return found


def sent(frames: list[tuple[int, bytes, str]]) -> list[Batch]:
    """Each frame as a batch of its own."""
    return [Batch.single(chunk, at_ns, channel) for at_ns, chunk, channel in frames]


def together(frames: list[tuple[int, bytes, str]]) -> list[Batch]:
    """Neighbours on one channel as one batch."""
    runs = [list(run) for _, run in groupby(frames, key=lambda f: f[2])]
    return [Batch.of([f[1] for f in run], np.array([f[0] for f in run]), run[0][2]) for run in runs]


# --- golden frames ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "golden"),
    [pytest.param(s, g, id=f"{s}-{n}") for s in sensor_names() for n, g in enumerate(load_sensor(s).GOLDEN)],
)
def test_golden_frames_mean_what_their_source_says(name: str, golden) -> None:
    sensor = load_sensor(name)
    try:
        host = sensor.host(make_settings(sensor, golden.settings))
    except MissingExtra as missing:
        pytest.skip(f"{name}: {missing}")
    events = host.feed(Batch.single(golden.data, 1_000, golden.channel))
    assert [e for e in events if isinstance(e, Malformed)] == []
    notices = {e.name: e.value for e in events if isinstance(e, Notice)}
    streams = {s.name for s in host.streams}
    assert golden.expected, "a golden frame that expects nothing proves nothing"
    for key, expected in golden.expected.items():
        if key in streams:
            rows = [row for e in events if isinstance(e, Samples) and e.stream == key for row in e.values.tolist()]
            assert np.shape(rows)[:1] == np.shape(expected)[:1], (key, rows)
            if len(rows):
                np.testing.assert_allclose(rows, expected, rtol=0, atol=golden.tolerance)
        else:
            assert notices.get(key) == expected, f"the notice {key!r} (None: it is not given)"


def test_every_sensor_has_golden_frames_sources_and_documented_settings() -> None:
    assert sensor_names()
    for name in sensor_names():
        sensor = load_sensor(name)
        assert name == sensor.NAME
        assert sensor.LINK in ("serial", "ble", "brainflow", "lsl")
        assert (sensor.BAUD > 0) == (sensor.LINK == "serial")
        assert sensor.GOLDEN, f"{name} has no golden frames"
        assert all(g.source for g in sensor.GOLDEN)
        assert sensor.SOURCES
        assert (sensor.__doc__ or "").strip()
        for setting in fields(sensor.SETTINGS):
            assert setting.metadata.get("help"), f"{name}: setting {setting.name} has no help"


# --- round trip -------------------------------------------------------------------------------


def test_what_is_encoded_is_decoded_within_half_a_step_with_the_right_numbers(bench) -> None:
    blocks, _, decoded = bench.stream(SECONDS)
    assert decoded.malformed() == 0
    assert not [e for e in decoded.events if isinstance(e, Lost | Repeated | Reordered)]
    for spec in bench.host().streams:
        block, index = blocks[spec.name], decoded.index[spec.name]
        missing = len(block.index) - len(index)
        assert 0 <= missing <= max(2, 1.5 * (spec.rate_hz or 1)), f"{spec.name}: {missing} of {len(block.index)}"
        first = int(index[0])
        assert index.tolist() == list(range(first, first + len(index))), spec.name
        skipped = first if spec.counted else 0
        error = np.abs(decoded.values[spec.name] - block.values[skipped : skipped + len(index)])
        assert np.all(error <= (spec.lsb or 2e-3) * 0.500001), f"{spec.name}: off by up to {error.max()} {spec.unit}"


def test_the_declared_rate_is_the_encoded_rate(bench) -> None:
    blocks, _, decoded = bench.stream(10.0)
    for spec in bench.host().streams:
        if spec.rate_hz is None:
            assert len(decoded.index[spec.name]) >= len(blocks[spec.name].index) - 2
            continue
        arrival_s = (decoded.arrival_ns[spec.name] - bench.now_ns) / 1e9
        late_s = arrival_s - (decoded.index[spec.name] - decoded.index[spec.name][0]) / spec.rate_hz
        spread_s = float(np.ptp(late_s))
        assert spread_s < 1.6, f"{spec.name}: at its declared rate, samples wait up to {spread_s:.3f} s"
        early, late = np.array_split(late_s, 2)
        assert abs(early.min() - late.min()) < max(0.05, 1.1 / spec.rate_hz), f"{spec.name}: another rate"


def test_counters_wrap_without_a_seam(bench) -> None:
    _, _, decoded = bench.stream(20.0, seed=3)
    for spec in bench.host().streams:
        assert set(np.diff(decoded.index[spec.name]).tolist()) <= {1}, spec.name
        assert set(decoded.segment[spec.name].tolist()) <= {decoded.segment[spec.name][0]}, spec.name


def test_device_time_goes_with_the_sample_numbers(bench) -> None:
    _, _, decoded = bench.stream(SECONDS)
    for spec in bench.host().streams:
        stamps = decoded.device_ns[spec.name]
        assert bool(len(stamps)) == spec.timed, spec.name
        if spec.timed and spec.rate_hz:
            expected_ns = decoded.index[spec.name] * (1e9 / spec.rate_hz)
            error_ns = stamps - stamps[0] - (expected_ns - expected_ns[0])
            assert np.abs(error_ns).max() <= max(2.1e6, 1.01e9 / spec.rate_hz), spec.name


# --- cutting ----------------------------------------------------------------------------------


def test_bytes_one_at_a_time_change_nothing(bench) -> None:
    if bench.sensor.LINK == "ble":
        pytest.skip("a notification is one frame and is never cut")
    _, batches, whole = bench.stream(1.5)
    bytewise = [
        Batch.single(chunk[k : k + 1], at_ns) for at_ns, chunk, _ in frames_of(batches) for k in range(len(chunk))
    ]
    same(whole, bench.again(bytewise))


def test_one_frame_at_a_time_and_all_at_once_are_the_same(bench) -> None:
    _, batches, whole = bench.stream(SECONDS)
    same(whole, bench.again(sent(frames_of(batches))))


@FEW
@given(data=st.data())
def test_where_reads_are_cut_changes_no_sample(bench, data) -> None:
    _, batches, _ = bench.stream(1.5)
    frames = frames_of(batches)
    if bench.sensor.LINK == "ble":
        groups = data.draw(st.lists(st.integers(0, len(frames)), max_size=8))
        edges = sorted({0, len(frames), *groups})
        cut = []
        for a, b in pairwise(edges):
            for channel in dict.fromkeys(f[2] for f in frames[a:b]):
                own = [f for f in frames[a:b] if f[2] == channel]
                cut.append(Batch.of([f[1] for f in own], np.array([f[0] for f in own]), channel))
        same(bench.again(sent(frames)), bench.again(cut))
        return
    text = b"".join(f[1] for f in frames)
    cuts = sorted(set(data.draw(st.lists(st.integers(1, len(text) - 1), max_size=60))))
    pieces = [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]
    ends_ns = frames[0][0] + np.arange(len(pieces)) * 5_000_000
    reads = Batch.of(pieces, ends_ns)
    split = data.draw(st.integers(0, len(pieces)))
    parts = [reads.take(np.arange(len(pieces)) < split), reads.take(np.arange(len(pieces)) >= split)]
    same(bench.again([reads]), bench.again([p for p in parts if len(p)]))


@FEW
@given(data=st.data())
def test_where_samples_are_cut_changes_no_byte(bench, data) -> None:
    blocks = bench.blocks(2.0)
    cuts = data.draw(st.lists(st.integers(0, 2_000_000_000), max_size=12))
    whole = bench.connect(blocks)[1]
    device = bench.connected_device()
    parts = [b for piece in bench.cut(blocks, [bench.now_ns + c for c in cuts]) for b in device.encode(piece) if len(b)]
    assert frames_of(parts) == frames_of(whole)


# --- damage -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_arbitrary_bytes_never_raise(bench, data) -> None:
    channels = bench.channels()
    host = bench.connect()[0] if data.draw(st.booleans()) else bench.host()
    for k, noise in enumerate(data.draw(st.lists(st.binary(max_size=300), max_size=8))):
        channel = data.draw(st.sampled_from(channels))
        for event in host.feed(Batch.single(noise, bench.now_ns + k * 1_000_000, channel)):
            if isinstance(event, Samples):
                assert event.values.shape == (len(event.index), len(bench.spec(event.stream).channels))
                assert len(event.arrival_ns) == len(event.index)


def test_damaged_frames_never_raise(bench) -> None:
    """Closer to the real thing than noise: true frames with flipped, cut and doubled bytes."""
    rng = np.random.default_rng(11)
    frames = frames_of(bench.stream(2.0)[1])
    host = bench.connect()[0]
    for at_ns, chunk, channel in frames * 3:
        broken = bytearray(chunk)
        for _ in range(int(rng.integers(0, 4))):
            broken[int(rng.integers(len(broken)))] = int(rng.integers(256))
        broken = broken[: int(rng.integers(1, len(broken) + 1))] if rng.random() < 0.3 else broken
        host.feed(Batch.single(bytes(broken), at_ns, channel))


def test_memory_stays_bounded_under_garbage(bench) -> None:
    rng = np.random.default_rng(5)
    host, channels = bench.connect()[0], bench.channels()
    noise = [rng.integers(0, 256, 4096, dtype=np.uint8).tobytes() for _ in range(8)]
    noise += [bytes([b]) * 4096 for b in (0x00, 0x41, 0xA0, 0xFF)]

    def flood(rounds: int) -> None:
        for k in range(rounds):
            host.feed(Batch.single(noise[k % len(noise)], bench.now_ns + k * 1_000_000, channels[k % len(channels)]))

    flood(30)
    tracemalloc.start()
    try:
        flood(10)
        before = tracemalloc.get_traced_memory()[0]
        flood(150)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 100_000, f"{grown} bytes more are held after 600 kB of garbage"


def test_garbage_between_frames_costs_at_most_the_frame_it_touches(bench) -> None:
    if bench.sensor.LINK == "ble":
        pytest.skip("a notification is one frame: there is nothing between two")
    _, batches, whole = bench.stream(SECONDS)
    frames = frames_of(batches)
    rng = np.random.default_rng(17)
    places = np.linspace(len(frames) // 4, len(frames) * 3 // 4, 12).astype(int).tolist()
    dirty = list(frames)
    for at in reversed(places):
        garbage = rng.integers(0, 256, int(rng.integers(1, 200)), dtype=np.uint8).tobytes()
        dirty.insert(at + 1, (frames[at][0], garbage, ""))
    decoded = bench.again(sent(dirty))
    touched = {frames[at + k][0] for at in places for k in (0, 1)}
    for stream in whole.values:
        expected, got = by_arrival(whole, stream), by_arrival(decoded, stream)
        wrong = [a for a in expected if a not in touched and got.get(a) != expected[a]]
        assert not wrong, f"{stream}: {len(wrong)} frames that no garbage touched are lost or wrong"
    assert decoded.malformed() > 0


def test_a_stream_joined_in_the_middle_of_a_frame_begins_with_the_next(bench) -> None:
    _, batches, whole = bench.stream(SECONDS)
    frames = frames_of(batches)
    at = len(frames) // 3
    cut_ns, chunk, channel = frames[at]
    tail = [(cut_ns, chunk[len(chunk) // 2 :], channel)] if bench.sensor.LINK != "ble" else []
    decoded = bench.again(sent(tail + frames[at + 1 :]))
    for stream, arrival_ns in whole.arrival_ns.items():
        later, joined = arrival_ns > frames[at + 1][0], decoded.arrival_ns[stream] > frames[at + 1][0]
        expected, got = whole.values[stream][later], decoded.values[stream][joined]
        missing = len(expected) - len(got)
        assert 0 <= missing <= 1, f"{stream}: {missing} samples missing behind the first whole frame"
        assert np.array_equal(expected[missing:], got, equal_nan=True), stream


# --- counting ---------------------------------------------------------------------------------


def counted(bench) -> list[str]:
    names = [spec.name for spec in bench.host().streams if spec.counted]
    if not names:
        pytest.skip("the wire carries no counter and no time, so a loss cannot be seen")
    return names


@pytest.mark.parametrize("seed", range(3))
def test_lost_frames_are_counted_exactly(bench, seed: int) -> None:
    streams = counted(bench)
    _, batches, whole = bench.stream(20.0, seed)
    frames = frames_of(batches)
    rng = np.random.default_rng(seed)
    keep = np.ones(len(frames), dtype=bool)
    keep[rng.choice(np.arange(20, len(frames) - 20), len(frames) // 40 + 1, replace=False)] = False
    start = int(rng.integers(len(frames) // 3, len(frames) // 2))
    keep[start : start + len(frames) // 10] = False
    keep[-len(frames) // 8 :] = True
    decoded = bench.again(together([f for f, k in zip(frames, keep, strict=True) if k]))
    for stream in streams:
        missing = len(whole.index[stream]) - len(decoded.index[stream])
        assert missing > 0
        assert decoded.total(Lost, stream) == missing, stream
        assert set(decoded.index[stream].tolist()) <= set(whole.index[stream].tolist())
        shown = np.isin(whole.index[stream], decoded.index[stream])
        assert np.array_equal(whole.values[stream][shown], decoded.values[stream]), stream
        assert not decoded.total(Reordered, stream) + decoded.total(Repeated, stream)


def test_repeated_frames_are_told_and_left_out(bench) -> None:
    streams = counted(bench)
    _, batches, whole = bench.stream(SECONDS)
    frames = frames_of(batches)
    doubled = [f for k, f in enumerate(frames) for _ in range(2 if k % 7 == 3 else 1)]
    decoded = bench.again(together(doubled))
    for stream in streams:
        assert decoded.index[stream].tolist() == whole.index[stream].tolist(), stream
        assert np.array_equal(decoded.values[stream], whole.values[stream]), stream
        assert decoded.total(Lost, stream) == 0
    assert sum(decoded.total(Repeated, stream) for stream in streams) > 0


def test_a_counter_that_falls_back_starts_a_segment_and_no_loss(bench) -> None:
    streams = counted(bench)
    blocks = bench.blocks(4.0)
    host, device = bench.connect()[0], bench.connected_device()
    pieces = bench.cut(blocks, [bench.now_ns + 2_100_000_000])
    batches = [b for b in device.encode(pieces[0]) if len(b)]
    device.reset_counter()
    batches += [b for b in device.encode(pieces[1]) if len(b)]
    decoded = bench.decode(host, batches)
    for stream in streams:
        assert decoded.total(Lost, stream) <= 2, f"{stream}: a reset counter is no loss"
        assert len(decoded.index[stream]) >= len(blocks[stream].index) - max(3, 1.5 * (bench.spec(stream).rate_hz or 1))
