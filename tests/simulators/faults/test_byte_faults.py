"""What every byte fault does to a stream of timed chunks."""

import numpy as np
import pytest


def joined(out) -> bytes:
    return b"".join(chunk for chunk, _ in out)


def test_every_flipped_bit_is_told_and_no_other_is_flipped(run_batches, frames):
    batch = frames(20_000)
    out, truth = run_batches({"fault": "bit_flip"}, batch)
    sent = np.frombuffer(batch.data, dtype=np.uint8)
    difference = sent ^ np.frombuffer(joined(out), dtype=np.uint8)
    bits = np.unpackbits(difference, bitorder="little")
    flipped = [(int(place) // 8, int(place) % 8) for place in np.flatnonzero(bits)]
    assert flipped == [(entry.detail["byte"], entry.detail["bit"]) for entry in truth]
    assert [at_ns for _, at_ns in out] == batch.at_ns.tolist()
    assert [entry.start_ns for entry in truth] == batch.time_of(np.array([byte for byte, _ in flipped])).tolist()


def test_bits_flip_at_the_asked_rate(run_batches, frames):
    batch = frames(50_000)
    _, truth = run_batches({"fault": "bit_flip", "per_million": 1000}, batch, cuts=range(0, 50_000, 5000))
    expected = 8 * len(batch.data) / 1000
    assert len(truth) == pytest.approx(expected, abs=5 * np.sqrt(expected))


def group(out) -> dict[int, list[bytes]]:
    chunks: dict[int, list[bytes]] = {}
    for chunk, at_ns in out:
        chunks.setdefault(at_ns, []).append(chunk)
    return chunks


@pytest.mark.parametrize(("channel", "longest"), [("", 4096), ("2a37", 244)])
def test_without_the_told_garbage_the_stream_is_what_was_sent(run_batches, frames, channel, longest):
    batch = frames(20_000)
    asked = {"fault": "garbage", "per_min": 600, "mean_bytes": 60}
    out, truth = run_batches(asked, batch, channel=channel)
    sent = {at_ns: chunk for chunk, at_ns in batch.chunks()}
    told: dict[int, list] = {}
    for entry in truth:
        told.setdefault(entry.start_ns, []).append(entry.detail)
    assert max(entry.detail["bytes"] for entry in truth) <= longest
    for at_ns, pieces in group(out).items():
        left, before = b"".join(pieces), 0
        for detail in told.get(at_ns, []):  # in order of place: cut them out one by one
            place = detail["into"]
            left = left[:place] + left[place + detail["bytes"] :]
            before += detail["bytes"]
        assert left == sent[at_ns]
        if channel and before:
            assert pieces[-1] == sent[at_ns]  # a notification stays whole
    if not channel:
        assert any(entry.detail["into"] for entry in truth)
        assert any(not entry.detail["into"] for entry in truth)


def test_garbage_comes_as_often_and_as_long_as_asked(run_batches, frames):
    seconds = 1000
    batch = frames(seconds * 20, period_ms=50)
    _, truth = run_batches({"fault": "garbage", "per_min": 60, "mean_bytes": 20}, batch)
    assert len(truth) == pytest.approx(seconds, abs=5 * np.sqrt(seconds))
    sizes = np.array([entry.detail["bytes"] for entry in truth])
    assert sizes.mean() == pytest.approx(20, abs=5 * np.sqrt(20 * 19 / len(sizes)))
    assert sizes.min() == 1


def test_garbage_bytes_are_evenly_spread(run_batches, frames):
    batch = frames(5000, period_ms=50)
    out, truth = run_batches({"fault": "garbage", "per_min": 600, "mean_bytes": 200}, batch, channel="2a37")
    noise = np.frombuffer(b"".join(c for c, at in out if len(c) > 40), dtype=np.uint8)  # frames have at most 40 bytes
    counts = np.bincount(noise, minlength=256)
    chi = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
    assert chi < 255 + 5 * np.sqrt(2 * 255)
    assert truth


def test_a_long_silence_does_not_pile_up_garbage(run_batches, frames):
    batch = frames(2, period_ms=60_000)
    out, truth = run_batches({"fault": "garbage", "per_min": 600}, batch)
    assert len(truth) < 60
    assert all((entry.start_ns in batch.at_ns.tolist()) for entry in truth)
    assert len(out) >= 2


@pytest.mark.parametrize("distribution", ["uniform", "exponential"])
def test_delays_are_as_drawn_and_order_is_kept(run_batches, frames, distribution):
    batch = frames(4000, period_ms=500)
    asked = {"fault": "jitter", "mean_ms": 80, "distribution": distribution}
    out, truth = run_batches(asked, batch)
    assert joined(out) == batch.data
    delays = np.array([at for _, at in out]) - batch.at_ns
    assert delays.min() >= 0
    # chunks are half a second apart: nearly nothing waits for the chunk before it, so delays are the draws
    sigma = 80 / np.sqrt(3) if distribution == "uniform" else 80
    assert delays.mean() / 1e6 == pytest.approx(80, abs=5 * sigma / np.sqrt(4000))
    assert np.std(delays / 1e6) == pytest.approx(sigma, rel=0.1)
    if distribution == "uniform":
        assert delays.max() <= 160e6
    assert sum(entry.detail["chunks"] for entry in truth) == np.count_nonzero(delays)


def test_each_second_of_jitter_is_told_with_its_mean_and_longest_delay(run_batches, frames, start_ns):
    batch = frames(2000)
    out, truth = run_batches({"fault": "jitter"}, batch)
    delays = np.array([at for _, at in out]) - batch.at_ns
    seconds = (batch.at_ns - start_ns) // 1_000_000_000
    assert len(truth) == 8
    for second, entry in enumerate(truth):
        these = delays[seconds == second]
        assert entry.start_ns == start_ns + second * 1_000_000_000
        assert entry.detail["chunks"] == np.count_nonzero(these)
        assert entry.detail["mean_ms"] == pytest.approx(these[these > 0].mean() / 1e6)
        assert entry.detail["max_ms"] == pytest.approx(these.max() / 1e6)


def test_a_fast_stream_still_sees_short_and_long_delays(run_batches, frames):
    batch = frames(15_000)
    out, _ = run_batches({"fault": "jitter"}, batch)
    delays = (np.array([at for _, at in out]) - batch.at_ns) / 1e6
    assert delays.min() < 5
    assert np.quantile(delays, 0.8) > 100


def test_what_is_due_in_a_stall_comes_at_its_end(run_batches, frames, start_ns):
    batch = frames(2000)
    asked = {"fault": "stall", "at_s": [2, 5.5], "for_ms": 400}
    out, truth = run_batches(asked, batch)
    assert joined(out) == batch.data
    due_s = (batch.at_ns - start_ns) / 1e9
    late = np.array([at for _, at in out]) - batch.at_ns
    for (begin, end), entry in zip([(2.0, 2.4), (5.5, 5.9)], truth, strict=True):
        held = (due_s >= begin) & (due_s < end)
        assert np.all(batch.at_ns[held] + late[held] == start_ns + round(end * 1e9))
        late[held] = 0
        sizes = np.diff(batch.ends, prepend=0)[held]
        assert entry.detail == {"chunks": np.count_nonzero(held), "bytes": sizes.sum()}
        assert (entry.start_ns, entry.end_ns) == (start_ns + round(begin * 1e9), start_ns + round(end * 1e9))
    assert not late.any()


def test_stalls_that_overlap_are_one(run_batches, frames, start_ns):
    out, truth = run_batches({"fault": "stall", "at_s": [1.0, 1.3, 4.0], "for_ms": 500}, frames(1500))
    assert [(e.start_ns - start_ns, e.end_ns - start_ns) for e in truth] == [
        (1_000_000_000, 1_800_000_000), (4_000_000_000, 4_500_000_000),
    ]  # fmt: skip
    assert len(out) == 1500


def test_a_backlog_drains_at_the_lines_rate(run_batches, frames, start_ns):
    batch = frames(2000)
    asked = {"fault": "stall", "at_s": 2, "for_ms": 400, "drain_baud": 115200}
    out, _ = run_batches(asked, batch)
    sizes = np.diff(batch.ends, prepend=0)
    busy = 0
    for (_, at_ns), due_ns, size in zip(out, batch.at_ns.tolist(), sizes.tolist(), strict=True):
        stalled = start_ns + 2_000_000_000 <= due_ns < start_ns + 2_400_000_000
        ready = start_ns + 2_400_000_000 if stalled else due_ns
        if stalled or ready < busy:
            busy = max(ready, busy) + round(size * 10e9 / 115200)
            assert at_ns == busy
        else:
            assert at_ns == due_ns
    assert busy > start_ns + 2_400_000_000


def test_stalls_come_as_often_as_asked(run_batches, frames):
    seconds = 2000
    _, truth = run_batches({"fault": "stall"}, frames(seconds * 20, period_ms=50))
    expected = seconds / 2.9  # 2.5 s between them, and each lasts 0.4 s
    assert len(truth) == pytest.approx(expected, abs=5 * np.sqrt(expected))
