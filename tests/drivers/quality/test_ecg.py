"""The ECG score on leads written out by hand: shapes and rhythms that are good, and what spoils a lead, by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.quality import score, scores
from drivers.quality.ecg import assess
from drivers.quality.windows import Windows
from drivers.types import StreamSpec

RATE_HZ = 250.0
ECG = StreamSpec("ecg", "ecg", ("II",), "mV", RATE_HZ, lsb=0.001, low=-5.0, high=5.0)
NORMAL = ((0.12, -0.16, 0.022), (-0.1, -0.03, 0.009), (1.0, 0.0, 0.011), (-0.2, 0.03, 0.01), (0.3, 0.26, 0.05))
"""Height in mV, time from the R peak in s, width in s of the waves of a beat."""
VENTRICULAR = ((1.4, 0.0, 0.035), (-0.9, 0.12, 0.05), (-0.4, 0.32, 0.08))
SHAPES = {
    "normal": NORMAL,
    "upside down": tuple((-h, at, w) for h, at, w in NORMAL),
    "small R, deep S": ((0.05, -0.16, 0.022), (0.2, 0.0, 0.01), (-0.9, 0.035, 0.014), (0.2, 0.26, 0.05)),
    "tenth of a millivolt": tuple((0.1 * h, at, w) for h, at, w in NORMAL),
    "T higher than R": ((0.1, -0.16, 0.022), (0.5, 0.0, 0.011), (-0.15, 0.03, 0.01), (0.65, 0.28, 0.06)),
    "R and S alike": ((0.08, -0.16, 0.022), (0.4, 0.0, 0.011), (-0.4, 0.03, 0.012), (-0.1, 0.26, 0.05)),
    "bundle branch block": ((0.1, -0.18, 0.022), (0.6, -0.01, 0.02), (0.8, 0.05, 0.025), (-0.4, 0.33, 0.07)),
}


def lead(beats_s, shape=NORMAL, seconds=10.0, rate_hz=RATE_HZ, noise_mv=0.004, other=VENTRICULAR, odd=(), seed=0):
    """Beats at ``beats_s``, those numbered in ``odd`` of the other shape, in mV, rounded to 1 uV. (n, 1)"""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = np.random.default_rng(seed).normal(0, noise_mv, len(t))
    for number, r_s in enumerate(beats_s):
        for height, at_s, width_s in other if number in odd else shape:
            wave += height * np.exp(-0.5 * ((t - r_s - at_s) / width_s) ** 2)
    return np.round(wave, 3)[:, None]


def every(rr_s: float, seconds=10.0) -> np.ndarray:
    return np.arange(0.35, seconds + 1, rr_s)


def noise(rms: float, count=2500, seed=1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, rms, (count, 1))


# --- what is good -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_beats_of_any_usual_shape_are_good(shape):
    got = score(lead(every(0.82), SHAPES[shape]), RATE_HZ, ECG)
    assert got.score > 0.8
    assert not got.flags


@pytest.mark.parametrize("bpm", [36, 45, 60, 90, 130, 180])
def test_slow_and_fast_hearts_are_good(bpm):
    narrow = tuple((h, at * min(1.0, 75 / bpm), w * min(1.0, 100 / bpm) ** 0.5) for h, at, w in NORMAL)
    got = score(lead(every(60 / bpm), narrow), RATE_HZ, ECG)
    assert got.score > 0.6
    assert not got.flags


def test_an_irregular_rhythm_is_no_fault_of_the_lead():
    for seed in range(8):
        beats = 0.3 + np.cumsum(np.random.default_rng(seed).uniform(0.45, 1.15, 14))
        got = score(lead(beats, NORMAL[1:]), RATE_HZ, ECG)  # no P waves: atrial fibrillation
        assert got.score > 0.7
        assert not got.flags


@pytest.mark.parametrize("odd", [(5,), (3, 9), (2, 5, 8, 11), (1, 3, 5, 7, 9, 11)])
def test_premature_ventricular_beats_do_not_make_a_lead_bad(odd):
    beats = every(0.8)
    beats[[n for n in odd if n < len(beats)]] -= 0.25
    got = score(lead(beats, odd=odd), RATE_HZ, ECG)
    assert got.score > 0.6
    assert not got.flags


@pytest.mark.parametrize("before_s", [(0.02,), (0.02, 0.17)])
def test_a_pacemakers_spikes_belong_to_the_ecg(before_s):
    beats = every(0.86)
    values = lead(beats, SHAPES["bundle branch block"])
    for ahead_s in before_s:
        places = np.rint((beats - ahead_s) * RATE_HZ).astype(int)
        values[places[(places > 0) & (places < 2500)]] += 3.5
    got = score(values, RATE_HZ, ECG)
    assert got.score > 0.6
    assert not got.flags


@pytest.mark.parametrize("rate_hz", [100.0, 125.0, 130.0, 250.0, 360.0, 500.0, 1000.0])
@pytest.mark.parametrize("seconds", [4.0, 7.3, 10.0])
def test_it_works_at_any_rate_and_from_four_seconds_on(rate_hz, seconds):
    spec = StreamSpec("ecg", "ecg", ("II",), "mV", rate_hz, lsb=0.001, low=-5.0, high=5.0)
    for rr_s in (0.6, 0.85, 1.1):
        good = lead(every(rr_s, seconds), seconds=seconds, rate_hz=rate_hz)
        assert score(good, rate_hz, spec).score > 0.7
        bad = good + 0.7 * np.random.default_rng(0).normal(size=good.shape)
        assert score(bad, rate_hz, spec).score < 0.5


@pytest.mark.parametrize(("unit", "per_mv"), [("V", 1e-3), ("uV", 1e3), ("nV", 1e6), ("counts", 335.0)])
def test_the_unit_changes_nothing(unit, per_mv):
    for values in (
        lead(every(0.8)),
        lead(every(0.8)) + noise(0.25),
        lead(every(0.8)) + 0.2 * noise(1.0).cumsum(axis=0),
    ):
        spec = StreamSpec("ecg", "ecg", ("II",), unit, RATE_HZ, 0.001 * per_mv, -5.0 * per_mv, 5.0 * per_mv)
        got, reference = score(values * per_mv, RATE_HZ, spec), score(values, RATE_HZ, ECG)
        assert got.score == pytest.approx(reference.score, abs=1e-6)
        assert got.flags == reference.flags


def test_the_level_of_the_electrode_changes_nothing():
    values = lead(every(0.8))
    assert score(values + 3.0, RATE_HZ, ECG).score == pytest.approx(score(values, RATE_HZ, ECG).score, abs=1e-6)


# --- what is not, and by which name -----------------------------------------------------------


def spoilt() -> dict[str, tuple[np.ndarray, set[str]]]:
    t = np.arange(2500)[:, None] / RATE_HZ
    good = lead(every(0.8))
    cut, off, held, pops, one, spiked = (good.copy() for _ in range(6))
    off[1200:] = 20.0
    held[800:2000] = held[800]
    one[1000:] = one[1000]
    pops += 12 * sum(np.where(t >= at, np.exp(-(t - at) / 0.3), 0) for at in (1.3, 3.6, 6.1, 8.2))
    spiked[[160, 475, 790, 1105, 1350, 1733, 1999, 2301]] += [[5], [-5], [5], [5], [-5], [5], [-5], [5]]
    return {
        "nothing but noise": (noise(0.3), {"motion", "noise"}),
        "a constant": (np.full((2500, 1), 0.4), {"flat"}),
        "an amplifier's own noise": (np.round(noise(0.0008), 4), {"flat"}),
        "stuck for half the time": (held, {"flat"}),
        "stuck at the end": (one, {"flat"}),
        "at the rail": (off, {"saturated"}),
        "cut off above": (np.minimum(cut, 0.35), {"saturated"}),
        "cut off below": (np.maximum(-cut, -0.35), {"saturated"}),
        "mains at 50 Hz": (good + 0.35 * np.sin(2 * np.pi * 50 * t), {"hum"}),
        "mains at 60 Hz": (good + 0.35 * np.sin(2 * np.pi * 60 * t), {"hum"}),
        "muscle": (good + 0.35 * noise(1.0), {"noise"}),
        "a baseline like waves": (good + 5 * np.sin(2 * np.pi * 0.3 * t), {"baseline"}),
        "an electrode that lets go": (pops, {"pop"}),
        "sparks": (spiked, {"pop"}),
        "missing bits": (np.round(good / 0.5) * 0.5, {"coarse"}),
        "beats that differ": (np.convolve(noise(1.0)[:, 0], np.hanning(25) / 6, "same")[:, None], {"motion"}),
    }


@pytest.mark.parametrize("name", spoilt())
def test_what_spoils_a_lead_makes_it_low_and_is_named(name):
    values, flags = spoilt()[name]
    got = score(values, RATE_HZ, StreamSpec("ecg", "ecg", ("II",), "mV", RATE_HZ, None, -20.0, 20.0))
    assert got.score < 0.5
    assert got.flags & flags


def test_one_bad_lead_of_two_makes_the_stream_bad_and_a_part_says_why():
    pair = StreamSpec("ecg", "ecg", ("I", "II"), "mV", RATE_HZ, 0.001, -5.0, 5.0)
    good = lead(every(0.8))
    assert score(np.hstack([good, -0.6 * good]), RATE_HZ, pair).score > 0.8
    got = score(np.hstack([good, np.full_like(good, 0.2)]), RATE_HZ, pair)
    assert got.score == 0
    assert got.flags == {"flat"}


def test_mains_are_looked_for_where_the_profile_says_they_are():
    t = np.arange(2500)[:, None] / RATE_HZ
    humming = lead(every(0.8)) + 0.35 * np.sin(2 * np.pi * 50 * t)
    named = {
        hz: score(humming, RATE_HZ, StreamSpec("ecg", "ecg", ("II",), "mV", RATE_HZ, mains_hz=hz)).flags
        for hz in (None, 50.0, 60.0)
    }
    assert "hum" in named[None] & named[50.0]
    assert "hum" not in named[60.0]


def test_a_rail_is_only_where_the_profile_says_one_is():
    values = np.minimum(lead(every(0.8)), 5.0)
    values[:600] = 5.0
    assert "saturated" in score(values, RATE_HZ, ECG).flags
    assert "saturated" not in score(values, RATE_HZ, StreamSpec("ecg", "ecg", ("II",), "mV", RATE_HZ)).flags


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["noise", "steps", "spikes", "mixed", "held"]), st.floats(0.01, 20))
def test_every_low_score_has_a_low_part_and_a_flag(seed, how, amount):
    rng = np.random.default_rng(seed)
    values = lead(every(rng.uniform(0.4, 1.4)), list(SHAPES.values())[seed % len(SHAPES)], seed=seed)
    if how in ("noise", "mixed"):
        values = values + amount * 0.1 * np.convolve(rng.normal(size=2500), np.ones(seed % 20 + 1), "same")[:, None]
    if how in ("steps", "mixed"):
        values = values + amount * np.repeat(rng.normal(size=10), 250)[:, None]
    if how == "spikes":
        values[rng.integers(0, 2500, 12)] += amount
    if how == "held":
        values = np.repeat(values[::50], 50, axis=0)
    got = score(values, RATE_HZ, ECG)
    assert 0 <= got.score <= 1
    if got.score < 0.5:
        assert got.flags
        assert min(got.parts.values()) < 0.5
    else:
        assert not got.flags


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([125.0, 250.0, 360.0, 500.0]), st.floats(4.0, 11.0))
def test_a_window_scores_the_same_to_the_last_bit_alone_and_among_others(seed, rate_hz, seconds):
    rng = np.random.default_rng(seed)
    rows = [lead(every(rng.uniform(0.35, 1.5), seconds), seconds=seconds, rate_hz=rate_hz, seed=n) for n in range(9)]
    rows[1] = rows[1] + rng.normal(0, 0.5, rows[1].shape)
    rows[2][:] = rows[2][0]
    rows[3][len(rows[3]) // 2 :] = 5.0
    rows[4] = np.round(rows[4] / 0.3) * 0.3
    rows[5][rng.integers(0, len(rows[5]), 8)] += 6.0
    rows[6] = np.minimum(rows[6], 0.3)
    rows[7] = np.repeat(rows[7][::40], 40, axis=0)[: len(rows[7])]
    matrix = np.stack([row[: min(map(len, rows))] for row in rows])
    order = rng.permutation(len(rows))
    together = assess(Windows(matrix[order], rate_hz, ECG))
    for at, number in enumerate(order.tolist()):
        alone = assess(Windows(matrix[number : number + 1].copy(), rate_hz, ECG))
        assert {name: part[at] for name, part in together.parts.items()} == {n: p[0] for n, p in alone.parts.items()}
        assert {name: flag[at] for name, flag in together.flags.items()} == {n: f[0] for n, f in alone.flags.items()}


def test_sliding_windows_score_as_each_does_alone():
    values = lead(every(0.8, 30), seconds=30)
    values[3000:4000] += noise(0.4, 1000)
    times = np.rint(np.arange(len(values)) * 1e9 / RATE_HZ).astype(np.int64)
    together = scores(values, times, ECG, np.arange(10, 31) * 1_000_000_000).score
    alone = [score(values[(end - 10) * 250 : end * 250], RATE_HZ, ECG).score for end in range(10, 31)]
    assert together.tolist() == alone
