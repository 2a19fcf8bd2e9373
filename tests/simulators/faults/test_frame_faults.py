"""What every frame fault does to a sequence of frames, counted on what comes out."""

import numpy as np
import pytest


def numbers(out) -> list[int]:
    return [int.from_bytes(chunk[:3], "big") for chunk, _ in out]


def test_lost_frames_are_told_burst_by_burst(run_batches, frames):
    batch = frames(5000)
    out, truth = run_batches({"fault": "dropout"}, batch)
    lost = np.ones(5000, dtype=bool)
    lost[numbers(out)] = False
    assert sum(entry.detail["frames"] for entry in truth) == np.count_nonzero(lost)
    bursts = np.split(np.flatnonzero(lost), np.flatnonzero(np.diff(np.flatnonzero(lost)) > 1) + 1)
    assert len(bursts) == len(truth)
    for burst, entry in zip(bursts, truth, strict=True):
        assert entry.detail["frames"] == len(burst)
        assert (entry.start_ns, entry.end_ns) == (batch.at_ns[burst[0]], batch.at_ns[burst[-1]])
    want = [chunk for chunk, gone in zip(batch.chunks(), lost, strict=True) if not gone]
    assert out == want


@pytest.mark.parametrize(("percent", "burst"), [(10.0, 5.0), (2.0, 1.0), (40.0, 1.0), (30.0, 20.0)])
def test_loss_and_burst_length_are_as_asked_in_the_long_run(run_batches, frames, percent, burst):
    count = 60_000
    asked = {"fault": "dropout", "mean_lost_percent": percent, "mean_burst_frames": burst}
    _, truth = run_batches(asked, frames(count), cuts=range(0, count, 5000))
    sizes = np.array([entry.detail["frames"] for entry in truth])
    share = percent / 100
    leave_bad = 1 / burst
    leave_good = share / (1 - share) / burst
    memory = 1 - leave_bad - leave_good  # correlation of neighbouring frames of a two-state chain
    sigma = np.sqrt(share * (1 - share) * (1 + memory) / (1 - memory) / count)
    assert sizes.sum() / count == pytest.approx(share, abs=5 * sigma)
    length_sigma = np.sqrt(burst * (burst - 1) / len(sizes))
    assert sizes.mean() == pytest.approx(burst, abs=5 * length_sigma + 1e-12)


def test_the_same_frames_are_lost_whenever_the_fault_begins(run_batches, frames):
    batch = frames(2000)
    always = set(numbers(run_batches({"fault": "dropout"}, batch)[0]))
    later = set(numbers(run_batches({"fault": "dropout", "start_s": 4}, batch)[0]))
    assert {n for n in always if n > 1000} == {n for n in later if n > 1000}
    assert {n for n in later if n < 1000} == set(range(1000))


def test_a_duplicate_follows_its_frame_at_the_same_time_and_is_told(run_batches, frames):
    batch = frames(20_000)
    out, truth = run_batches({"fault": "duplicate", "probability_percent": 5}, batch)
    sent = numbers(out)
    repeats = [n for n, previous in zip(sent[1:], sent, strict=False) if n == previous]
    assert len(out) == 20_000 + len(repeats)
    assert sorted(set(sent)) == list(range(20_000))
    assert [entry.start_ns for entry in truth] == batch.at_ns[repeats].tolist()
    assert len(repeats) == pytest.approx(1000, abs=5 * np.sqrt(20_000 * 0.05 * 0.95))
    originals = list(batch.chunks())
    assert all(chunk == originals[n] for chunk, n in zip(out, sent, strict=True))


def test_a_frame_changes_places_with_the_next_and_comes_when_that_one_is_due(run_batches, frames):
    batch = frames(20_000)
    out, truth = run_batches({"fault": "reorder", "probability_percent": 5}, batch)
    sent = numbers(out)
    moved = [place for place, n in enumerate(sent) if n > place]
    assert len(sent) == len(set(sent))
    for place in moved:
        assert (sent[place], sent[place + 1]) == (place + 1, place)
        assert out[place][1] == out[place + 1][1] == batch.at_ns[place + 1]
    assert all(n == place for place, n in enumerate(sent) if place not in moved and place - 1 not in moved)
    assert [(entry.start_ns, entry.end_ns) for entry in truth] == [
        (batch.at_ns[place], batch.at_ns[place + 1]) for place in moved
    ]
    # a swap needs a frame that has not just moved up: p / (1 + p) of all frames
    assert len(moved) == pytest.approx(20_000 * 0.05 / 1.05, abs=5 * np.sqrt(20_000 * 0.05))


def test_with_certainty_every_second_frame_changes_places(run_batches, frames):
    out, _ = run_batches({"fault": "reorder", "probability_percent": 100}, frames(10))
    assert numbers(out) == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8]


def test_a_truncated_frame_lacks_the_told_bytes_on_the_told_side(run_batches, frames):
    batch = frames(20_000)
    out, truth = run_batches({"fault": "truncate", "probability_percent": 5}, batch)
    originals = list(batch.chunks())
    cut = [n for n, (new, old) in enumerate(zip(out, originals, strict=True)) if new != old]
    assert len(cut) == len(truth) == pytest.approx(1000, abs=5 * np.sqrt(20_000 * 0.05 * 0.95))
    for n, entry in zip(cut, truth, strict=True):
        (new, at_ns), (old, due_ns) = out[n], originals[n]
        missing = entry.detail["bytes"]
        assert at_ns == due_ns == entry.start_ns
        assert 1 <= missing < len(old) == entry.detail["of"]
        assert new == (old[missing:] if entry.detail["side"] == "start" else old[:-missing])
    at_end = sum(entry.detail["side"] == "end" for entry in truth)
    assert at_end == pytest.approx(len(cut) / 2, abs=5 * np.sqrt(len(cut)) / 2)


@pytest.mark.parametrize("side", ["start", "end"])
def test_truncation_can_be_kept_to_one_side(run_batches, frames, side):
    _, truth = run_batches({"fault": "truncate", "side": side, "probability_percent": 50}, frames(200))
    assert {entry.detail["side"] for entry in truth} == {side}


def test_a_characteristic_is_named_in_the_truth(run_batches, frames):
    _, truth = run_batches({"fault": "dropout"}, frames(500), channel="2a37")
    assert {entry.detail["channel"] for entry in truth} == {"2a37"}
