"""The ring that windows are cut from."""

import numpy as np

from drivers.types import Samples, StreamSpec
from harness.track import Track

SPEC = StreamSpec("s", "raw", ("a", "b"), "1", 100.0)


def samples(first, count):
    index = np.arange(first, first + count)
    values = np.stack([index, -index], axis=1).astype(float)
    return Samples("s", values, index, index * 10_000_000 + 5), index * 10_000_000


def test_the_newest_samples_stay_and_are_in_order_however_they_were_cut():
    whole, pieces = Track(SPEC, keep_s=20), Track(SPEC, keep_s=20)
    whole.add(*samples(0, 30_000))
    cuts = np.random.default_rng(3).integers(1, 700, size=200)
    first = 0
    for cut in cuts:
        count = min(int(cut), 30_000 - first)
        pieces.add(*samples(first, count))
        first += count
    for track in (whole, pieces):
        newest = track.values[-1500:, 0]
        assert newest.tolist() == list(
            range(first - 1500 if track is pieces else 28_500, first if track is pieces else 30_000)
        )
        assert (np.diff(track.time_ns) == 10_000_000).all()
        assert (track.values[:, 0] == -track.values[:, 1]).all()


def test_memory_is_bounded():
    track = Track(SPEC, keep_s=20)
    for number in range(500):
        track.add(*samples(number * 100, 100))
    assert len(track) <= 2.5 * 20 * 100


def test_a_reordered_sample_does_not_take_the_reach_back():
    track = Track(SPEC)
    track.add(*samples(5, 1))
    track.add(*samples(3, 1))
    assert track.reach_ns == 50_000_000
    assert track.completion_ns(np.array([50_000_000])).tolist() == [50_000_005]
