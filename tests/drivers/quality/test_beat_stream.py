"""Beats as the samples come: the same however they are cut, soon after they happened, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import SettingError
from drivers.quality.beat_stream import BeatStream
from drivers.quality.beats import ecg_beats, ppg_pulses

BEATS_S = 0.4 + np.cumsum(0.8 + 0.1 * np.sin(np.arange(150)))


def wave(kind, rate_hz, seconds, noise=0.02, seed=0):
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    shapes = {"ecg": ((1.0, 0.0, 0.01), (0.25, 0.27, 0.05)), "ppg": ((1.0, 0.15, 0.07), (0.25, 0.45, 0.09))}[kind]
    values = sum(h * np.exp(-0.5 * ((t[:, None] - BEATS_S - at) / w) ** 2).sum(axis=1) for h, at, w in shapes)
    return 300 + values + np.random.default_rng(seed).normal(0, noise, len(t))


def told(values, rate_hz, kind, sizes):
    """All beats, with the chunks' sizes in turn."""
    stream, found, at, turn = BeatStream(rate_hz, kind), [], 0, 0
    while at < len(values):
        size = sizes[turn % len(sizes)]
        found.append(stream.update(values[at : at + size]))
        at, turn = at + size, turn + 1
    return np.concatenate([*found, stream.finish()])


@pytest.mark.parametrize(("kind", "rate_hz"), [("ecg", 250.0), ("ecg", 130.0), ("ppg", 100.0), ("ppg", 28.0)])
@pytest.mark.parametrize("size", [1, 7, 64, 333])
def test_how_the_samples_are_cut_changes_no_bit(kind, rate_hz, size):
    values = wave(kind, rate_hz, 40)
    values[round(10 * rate_hz) : round(10.05 * rate_hz)] = np.nan
    values[round(20 * rate_hz) : round(22 * rate_hz)] = np.nan
    whole = told(values, rate_hz, kind, [len(values)])
    assert len(whole) > 40
    assert np.array_equal(whole, told(values, rate_hz, kind, [size]))


@pytest.mark.parametrize("kind", ["ecg", "ppg"])
@pytest.mark.parametrize("size", [3, 50])
def test_a_change_of_mind_comes_at_the_same_sample_however_they_are_cut(kind, size):
    """A movement while it learns, a gain that grows 15-fold and then falls to a fifth, and four seconds of nothing."""
    values = wave(kind, 125.0, 60, noise=0.002) - 300
    values[2500:] *= 15
    values[4500:] /= 5
    values[6000:6500] = values[6000]
    values += 10 * np.exp(-0.5 * ((np.arange(len(values)) / 125 - 1.5) / 0.1) ** 2)
    whole = told(values, 125.0, kind, [len(values)])
    assert len(whole) > 55
    assert np.array_equal(whole, told(values, 125.0, kind, [size]))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 900), min_size=1, max_size=6),
    st.sampled_from(["ecg", "ppg"]),
    st.lists(st.tuples(st.integers(0, 4900), st.integers(1, 400)), max_size=4),
    st.floats(0.0, 0.6),
)
def test_no_cut_and_no_hole_makes_a_difference_between_online_and_whole(sizes, kind, holes, noise):
    values = wave(kind, 125.0, 40, noise)
    for at, count in holes:
        values[at : at + count] = np.nan
    assert np.array_equal(told(values, 125.0, kind, [len(values)]), told(values, 125.0, kind, sizes))


@pytest.mark.parametrize(("kind", "late_s"), [("ecg", 0.0), ("ppg", 0.08)])
def test_beats_are_where_they_were_put(kind, late_s):
    found = told(wave(kind, 250.0, 60), 250.0, kind, [25]) / 250
    true = BEATS_S[BEATS_S + late_s < 59.9] + late_s
    assert len(found) == len(true)
    assert np.abs(found - true).max() < 0.02


@pytest.mark.parametrize("kind", ["ecg", "ppg"])
def test_a_beat_is_told_within_the_delay(kind):
    rate_hz, stream = 250.0, BeatStream(250.0, kind)
    values, latest = wave(kind, rate_hz, 60), 0.0
    for stop in range(5, len(values) + 1, 5):
        for place in stream.update(values[stop - 5 : stop]):
            if stop > 6 * rate_hz:
                latest = max(latest, (stop - place) / rate_hz)
    assert 0.5 < latest <= stream.delay_s + 0.1  # a beat lies within 0.08 s of where it was first seen
    assert stream.delay_s <= 1.2


def test_a_gap_is_the_same_as_missing_samples():
    values = wave("ecg", 250.0, 40)
    holed, stream = values.copy(), BeatStream(250.0)
    holed[2500:4000] = np.nan
    parts = [stream.update(values[:2500]), stream.gap(1500), stream.update(values[4000:]), stream.finish()]
    assert np.array_equal(np.concatenate(parts), told(holed, 250.0, "ecg", [len(holed)]))


def test_a_gap_costs_its_beats_only():
    rate_hz, stream = 250.0, BeatStream(250.0)
    values = wave("ecg", rate_hz, 60)
    parts = [stream.update(values[:5000]), stream.gap(2500), stream.update(values[7500:]), stream.finish()]
    found = np.concatenate(parts) / rate_hz
    true = BEATS_S[(BEATS_S < 59.9) & ((BEATS_S < 19.95) | (BEATS_S > 30.05))]
    assert len(found) == len(true)
    assert np.abs(found - true).max() < 0.02


def test_holes_of_a_few_samples_cost_no_beat():
    values = wave("ecg", 250.0, 60)
    for beat in BEATS_S[BEATS_S < 59]:
        values[round((beat + 0.3) * 250) :][:20] = np.nan
    found = ecg_beats(values, 250.0) / 250
    true = BEATS_S[BEATS_S < 59.9]
    assert len(found) == len(true)
    assert np.median(np.abs(found - true)) < 0.005


def test_memory_does_not_grow():
    stream, values = BeatStream(250.0), wave("ecg", 250.0, 100)

    def held():
        run = stream._run
        tracks = (run._samples, run._grid, run._levels)
        return sum(track.values.size for track in tracks) + sum(
            map(len, (stream._waiting, stream._seen, stream._chooser._open))
        )

    sizes = []
    for _ in range(6):
        for part in np.array_split(values, 100):
            stream.update(part)
            sizes.append(held())
    assert max(sizes) < 10_000  # of 150,000 samples


def test_a_flat_line_grows_no_memory_and_shows_no_beat():
    stream = BeatStream(250.0)
    found = [stream.update(np.full(2500, 7.0)) for _ in range(30)]
    assert sum(map(len, found)) == 0
    assert stream._run._samples.values.size < 10_000


def test_a_lost_heart_is_found_again():
    """A lead whose gain falls to a thirtieth, as after another range is chosen."""
    values = wave("ecg", 250.0, 100, noise=0.002) - 300
    values[10_000:] /= 30
    found = ecg_beats(values, 250.0) / 250
    assert len(found[found > 65]) == pytest.approx((BEATS_S[BEATS_S < 100] > 65).sum(), abs=1)


def test_whole_recordings_are_one_update():
    ecg, ppg = wave("ecg", 250.0, 30), wave("ppg", 100.0, 30)
    assert np.array_equal(ecg_beats(ecg, 250.0), np.rint(told(ecg, 250.0, "ecg", [25])))
    assert np.allclose(ppg_pulses(ppg, 100.0, upright=True), told(ppg, 100.0, "ppg", [10]))


def test_a_kind_without_beats_is_refused():
    with pytest.raises(SettingError, match="ecg or ppg, not in 'eda'"):
        BeatStream(100.0, "eda")


def test_two_channels_at_once_are_refused():
    with pytest.raises(ValueError, match=r"one channel \(n,\)"):
        BeatStream(100.0).update(np.zeros((10, 2)))
