"""Windows, delivery, the online scorer, and modalities on signals written out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drivers.quality import FLAGS, StreamScorer, score, score_windows, scores, shortest_s, window_s
from drivers.quality.mains import line_rms
from drivers.quality.windows import Windows, long_runs, ramp
from drivers.types import KINDS, Samples, StreamSpec

SECOND_NS = 1_000_000_000
ECG = StreamSpec("ecg", "ecg", ("II",), "mV", 250.0, lsb=0.001, low=-5.0, high=5.0)


def ecg(seconds: float, rate_hz: float = 250.0, bpm: float = 72.0, seed: int = 0) -> np.ndarray:
    """R peaks of 1 mV and 20 ms, T waves behind them, 5 uV of noise. (n, 1)"""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    beats = np.arange(0.4, seconds + 1, 60 / bpm)
    wave = sum(np.exp(-0.5 * ((t - b) / 0.01) ** 2) + 0.2 * np.exp(-0.5 * ((t - b - 0.27) / 0.05) ** 2) for b in beats)
    return np.round(wave + np.random.default_rng(seed).normal(0, 0.005, len(t)), 3)[:, None]


def even(values: np.ndarray, rate_hz: float) -> np.ndarray:
    return np.rint(np.arange(len(values)) * SECOND_NS / rate_hz).astype(np.int64)


def ends(first: int, last: int) -> np.ndarray:
    return np.arange(first, last + 1) * SECOND_NS


# --- what a window is -------------------------------------------------------------------------


def test_a_clean_ecg_is_good_in_every_window():
    values = ecg(60)
    got, flags = score_windows(values, even(values, 250.0), ECG, ends(10, 60))
    assert got.min() > 0.9
    assert set(flags) == {frozenset()}


def test_the_score_is_unknown_until_the_window_is_long_enough_and_says_so():
    values = ecg(12)
    got, flags = score_windows(values, even(values, 250.0), ECG, ends(1, 12))
    assert np.isnan(got[:3]).all()
    assert (got[3:] > 0.9).all()
    assert [f == {"unknown"} for f in flags] == [True] * 3 + [False] * 9


def test_before_the_first_sample_and_without_any_all_is_unknown():
    values = ecg(10)
    got, flags = score_windows(values, even(values, 250.0) + 100 * SECOND_NS, ECG, ends(90, 100))
    assert np.isnan(got).all()
    assert set(flags) == {frozenset({"unknown"})}
    got, flags = score_windows(np.empty((0, 1)), np.empty(0, dtype=np.int64), ECG, ends(1, 3))
    assert np.isnan(got).all()
    assert set(flags) == {frozenset({"unknown"})}


RATES = {"ecg": 250.0, "eeg": 250.0, "ppg": 64.0, "exg": 250.0, "raw": 100.0, "heart_rate": 1.0, "temperature": 4.0}


def odd(kind: str, seconds: int = 40, seed: int = 5) -> tuple[StreamSpec, np.ndarray, np.ndarray]:
    """A stream of the kind in which everything happens: pulses, noise, a flat piece, a hole, trembling stamps."""
    rate_hz, rng = RATES.get(kind, 25.0), np.random.default_rng(seed)
    count = round(seconds * rate_hz)
    wave = ecg(seconds, rate_hz)[:, 0] + np.cumsum(rng.normal(0, 0.01, count))
    wave[count // 3 : count // 2] += rng.normal(0, 0.4, count // 2 - count // 3)
    wave[count // 2 : count // 2 + count // 8] = wave[count // 2]
    values = np.stack([60 + 3 * wave, 61 + 2 * wave], axis=1)[:, : 1 if kind in ("rr", "heart_rate") else 2]
    times = np.rint((np.arange(count) + rng.normal(0, 0.02, count)) * SECOND_NS / rate_hz).astype(np.int64)
    kept = np.ones(count, dtype=bool)
    kept[int(0.7 * count) : int(0.72 * count)] = False
    spec = StreamSpec("s", kind, ("red", "infrared")[: values.shape[1]], "counts", None if kind == "rr" else rate_hz)
    return spec, values[kept], times[kept]


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_scores_the_same_to_the_last_bit_alone_among_others_and_as_it_comes(kind):
    spec, values, times = odd(kind)
    newest, period = np.searchsorted(times, ends(3, 38)) - 1, round(SECOND_NS / RATES.get(kind, 25.0))
    last = (times[newest] + period)[times[newest + 1] >= times[newest] + period]  # where the newest ends the window
    together = scores(values, times, spec, last)
    assert len(last) > 10
    for number, end in enumerate(last.tolist()):
        since = int(np.searchsorted(times, end - round(window_s(kind) * SECOND_NS)))
        upto = int(np.searchsorted(times, end))
        alone = scores(values[since:upto], times[since:upto], spec, np.array([end]), born_ns=int(times[0])).at(0)
        assert _same(alone, together.at(number))
        if kind != "rr":  # without a rate the newest sample ends the window
            scorer = StreamScorer(spec)
            index = np.arange(upto)
            for piece in np.array_split(np.arange(upto), 7):
                scorer.update(Samples("s", values[piece], index[piece], times[piece], None), times[piece])
            assert _same(scorer.score(), together.at(number))


def _same(a, b) -> bool:
    names = set(a.parts) | set(b.parts)
    pairs = [(a.parts.get(name, np.nan), b.parts.get(name, np.nan)) for name in names]
    return a.flags == b.flags and all(np.array_equal(*pair, equal_nan=True) for pair in [*pairs, (a.score, b.score)])


def test_a_window_without_a_single_sample_after_the_start_scores_zero():
    values = ecg(20)
    got, flags = score_windows(values, even(values, 250.0), ECG, ends(35, 40))
    assert (got == 0).all()
    assert all("gap" in f for f in flags)


def test_single_measurements_of_which_a_window_holds_too_few_are_unknown_and_not_bad():
    spec = StreamSpec("spo2", "spo2", ("spo2",), "%", 0.25)
    times = (np.arange(15) * 4e9).astype(np.int64)
    score_of, flags = score_windows(np.full((15, 1), 97.0), times, spec, times + 1_000_000_000)
    assert not (score_of == 0).any(), "two of two samples that were due are no bad signal"
    assert np.isnan(score_of[0]) and "unknown" in flags[0]


def test_late_frames_that_come_out_of_order_are_put_in_order():
    values = ecg(15)
    times = even(values, 250.0)
    order = np.arange(len(values))
    order[1000:1020] = np.roll(order[1000:1020], 7)
    assert np.array_equal(
        score_windows(values[order], times[order], ECG, ends(10, 15))[0],
        score_windows(values, times, ECG, ends(10, 15))[0],
    )


def test_values_that_are_no_numbers_bring_the_score_down():
    values = ecg(10)
    values[700:1400] = np.nan
    result = score(values, 250.0, ECG)
    assert result.score < 0.5
    assert "nan" in result.flags


def test_a_window_that_is_too_short_to_tell_is_unknown_however_it_is_asked_for():
    for rows in (0, 2, 990):
        alone = score(ecg(10)[:rows], 250.0, ECG)
        assert np.isnan(alone.score)
        assert alone.flags == {"unknown"}
    assert score(ecg(10)[:1000, 0], 250.0, ECG).score > 0.9
    values = ecg(10)
    assert np.isnan(scores(values, even(values, 250.0), ECG, ends(8, 10), length_s=2.0).score).all()


def test_values_and_times_that_do_not_go_together_are_refused_with_both_sizes():
    with pytest.raises(ValueError, match=r"\(2500, 1\) and 2400 times"):
        scores(ecg(10), even(ecg(10), 250.0)[:2400], ECG, ends(8, 10))
    with pytest.raises(ValueError, match=r"\(n, channels\)"):
        scores(ecg(10)[:, 0], even(ecg(10), 250.0), ECG, ends(8, 10))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_window_that_grows_from_its_shortest(kind):
    assert 2 <= shortest_s(kind) <= window_s(kind) <= 30


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("values", ["zeros", "noise", "spike", "empty"])
def test_no_signal_however_odd_makes_a_score_raise_or_leave_its_range(kind, values):
    rate = None if kind == "rr" else 30.0
    spec = StreamSpec("s", kind, ("a", "b"), "counts", rate)
    data = {
        "zeros": np.zeros((400, 2)),
        "noise": np.random.default_rng(0).normal(0, 1e6, (400, 2)),
        "spike": np.eye(400, 2) * 1e9,
        "empty": np.zeros((0, 2)),
    }[values]
    result = scores(data, even(data, 30.0), spec, ends(1, 15))
    known = result.score[~np.isnan(result.score)]
    assert ((known >= 0) & (known <= 1)).all()
    assert set(result.flags) <= set(FLAGS)


# --- delivery ---------------------------------------------------------------------------------


def without(values, lost: float, run: int, seed: int = 0):
    """Values and times with a fraction lost in runs of ``run`` samples."""
    blocks = len(values) // run
    kept = np.repeat(np.random.default_rng(seed).random(blocks) >= lost, run)
    kept[:run] = True
    return values[: len(kept)][kept], even(values, 250.0)[: len(kept)][kept]


def test_two_percent_lost_costs_nothing_and_half_lost_costs_everything():
    values = ecg(60)
    little, _ = score_windows(*without(values, 0.02, 5), ECG, ends(10, 60))
    assert little.min() > 0.8
    much, flags = score_windows(*without(values, 0.5, 10), ECG, ends(10, 60))
    assert much.max() < 0.5
    assert all("gap" in f for f in flags)


@pytest.mark.parametrize(("lost", "expected"), [(0.05, 1.0), (0.20, 0.5), (0.35, 0.0)])
def test_the_delivery_factor_falls_in_a_straight_line_with_what_is_lost(lost, expected):
    keep = np.ones(2500, dtype=bool)
    keep[:: round(1 / lost)] = False  # single samples: no gap to speak of
    values = ecg(10)
    result = scores(values[keep], even(values, 250.0)[keep], ECG, ends(10, 10))
    truth = np.interp(1 - keep.mean(), [0.05, 0.35], [1, 0])
    assert result.parts["delivery"][0] == pytest.approx(truth, abs=0.01)
    assert truth == pytest.approx(expected, abs=0.12)


@pytest.mark.parametrize(("gap_s", "expected"), [(0.25, 1.0), (1.125, 0.5), (2.0, 0.0)])
def test_the_longest_silence_counts_too(gap_s, expected):
    values = ecg(30)
    times = even(values, 250.0)
    keep = (times < 14 * SECOND_NS) | (times >= (14 + gap_s) * SECOND_NS)
    spec = StreamSpec("ecg", "ecg", ("II",), "mV", 250.0, lsb=0.001)
    result = scores(values[keep], times[keep], spec, ends(30, 30), 30.0)
    lost_factor = np.interp(gap_s / 30, [0.05, 0.35], [1, 0])
    assert result.parts["delivery"][0] == pytest.approx(expected * lost_factor, abs=0.02)


def test_a_stream_of_one_sample_a_second_has_no_gap_between_them():
    spec = StreamSpec("hr", "heart_rate", ("hr",), "bpm", 1.0)
    values = np.full((30, 1), 62.0)
    got, flags = score_windows(values, even(values, 1.0), spec, ends(5, 30))
    assert (got == 1).all()
    assert set(flags) == {frozenset()}


# --- online -----------------------------------------------------------------------------------


def feed(scorer: StreamScorer, values, times, step):
    for start in range(0, len(values), step):
        part = slice(start, start + step)
        index = np.arange(len(values))[part]
        scorer.update(Samples("ecg", values[part], index, times[part], None), times[part])


@pytest.mark.parametrize("step", [1, 25, 2500])
def test_the_online_score_is_that_of_the_newest_window_however_it_came(step):
    values = ecg(20)
    scorer = StreamScorer(ECG)
    feed(scorer, values, even(values, 250.0), step)
    assert float(scorer.result()) == score(values[-2500:], 250.0, ECG).score


def test_the_online_score_is_not_a_number_until_four_seconds_have_come():
    values = ecg(10)
    scorer = StreamScorer(ECG)
    assert np.isnan(float(scorer.result()))
    feed(scorer, values[:900], even(values, 250.0)[:900], 50)
    early = scorer.result()
    assert np.isnan(float(early))
    assert not early < 0.5
    assert early.flags["ecg"] == {"unknown"}
    feed(scorer, values[900:], even(values, 250.0)[900:], 50)
    assert float(scorer.result()) > 0.9


def test_the_online_scorer_notices_a_lead_that_falls_off_and_forgets_it_later():
    values = ecg(60)
    values[4000:6500] = 5.0
    scorer = StreamScorer(ECG)
    feed(scorer, values[:6500], even(values, 250.0)[:6500], 250)
    off = scorer.result()
    assert off < 0.5
    assert {"flat", "saturated"} <= off.flags["ecg"]
    feed(scorer, values[6500:], even(values, 250.0)[6500:], 250)
    assert scorer.result() > 0.9
    assert sum(len(block[0]) for block in scorer._blocks) <= 2500 + 2 * 250


# --- modalities by hand -----------------------------------------------------------------------


def one(kind, values, rate_hz, unit, **limits):
    values = np.asarray(values, dtype=float)
    values = values[:, None] if values.ndim == 1 else values
    channels = tuple(f"c{n}" for n in range(values.shape[1]))
    return score(values, rate_hz, StreamSpec("s", kind, channels, unit, rate_hz, **limits))


@pytest.mark.parametrize("value", [0.02, 75.0])
def test_skin_conductance_outside_of_what_skin_has_is_off_body(value):
    noise = np.random.default_rng(0).normal(0, 0.002, 80)
    assert one("eda", 4 + noise, 8.0, "uS").score > 0.9
    got = one("eda", value + noise, 8.0, "uS")
    assert got.score < 0.5
    assert "off_body" in got.flags
    nano = one("eda", (value + noise) * 1000, 8.0, "nS")
    assert "off_body" in nano.flags


@pytest.mark.parametrize(("celsius", "worn"), [(33.0, True), (22.0, False), (41.5, False)])
def test_a_thermometer_at_room_or_oven_temperature_is_not_worn(celsius, worn):
    got = one("temperature", celsius + np.random.default_rng(0).normal(0, 0.01, 40), 4.0, "C")
    assert ("off_body" not in got.flags) is worn
    assert (got.score >= 0.5) is worn


def test_gravity_must_be_there():
    noise = np.random.default_rng(0).normal(0, 0.01, (250, 3))
    assert one("acceleration", noise + np.array([0.1, 0.2, 0.97]), 25.0, "g").score > 0.9
    assert one("acceleration", (noise + np.array([0.1, 0.2, 0.97])) * 9.80665, 25.0, "m/s2").score > 0.9
    fallen = one("acceleration", noise, 25.0, "g")
    assert fallen.score < 0.5
    assert fallen.flags == {"off_body"}


@pytest.mark.parametrize(("bpm", "good"), [(62, True), (180, True), (0, False), (251, False)])
def test_a_heart_rate_must_be_one_that_hearts_have(bpm, good):
    got = one("heart_rate", np.full(10, float(bpm)), 1.0, "bpm")
    assert (got.score >= 0.5) is good
    assert ("off_body" in got.flags) is (bpm == 0)


def test_intervals_that_double_and_halve_are_missed_beats_and_not_a_rhythm():
    spec = StreamSpec("rr", "rr", ("rr",), "ms", None)
    steady = 800 + 40 * np.sin(np.arange(40))
    skipping = np.where(np.arange(40) % 2, 1650.0, 800.0)
    for intervals, good in ((steady, True), (skipping, False), (np.full(40, 180.0), False)):
        times = np.cumsum(np.rint(intervals * 1e6)).astype(np.int64)
        got, _ = score_windows(intervals[:, None], times, spec, times[[20, 39]] + 1)
        assert ((got >= 0.5) == good).all()


def test_an_affect_estimate_that_is_stuck_or_off_its_scale_is_low():
    alive = np.clip(np.random.default_rng(0).normal(0.2, 0.05, (100, 2)), -1, 1)
    assert one("affect", alive, 10.0, "1").score > 0.9
    assert one("affect", np.full((100, 2), 0.3), 10.0, "1").flags == {"flat"}
    assert one("affect", alive * 7, 10.0, "1").score < 0.5


def test_an_input_of_unknown_content_is_judged_by_rails_and_rest_alone():
    noise = np.random.default_rng(0).normal(0, 1, (2500, 1))
    assert one("exg", noise, 250.0, "uV").score == 1
    railed = one("raw", np.clip(noise * 3, -4, 4), 250.0, "uV", low=-4.0, high=4.0)
    assert railed.score < 0.5
    assert railed.flags == {"saturated"}
    humming = one("exg", noise + 5 * np.sin(2 * np.pi * 50 * np.arange(2500) / 250)[:, None], 250.0, "uV")
    assert humming.flags == {"hum"}
    assert humming.score == 1


def test_an_ecg_in_any_unit_and_upside_down_scores_the_same():
    values = ecg(10)
    reference = score(values, 250.0, ECG).score
    microvolt = StreamSpec("ecg", "ecg", ("II",), "uV", 250.0)
    assert score(-1000 * values, 250.0, microvolt).score == pytest.approx(reference, abs=0.05)
    assert score(values / 500, 250.0, microvolt).flags >= {"flat"}  # 2 nV is no heart


# --- arithmetic -------------------------------------------------------------------------------


def test_ramps_run_either_way():
    assert ramp(np.array([0.0, 0.5, 1.0, 2.0]), 0.0, 1.0).tolist() == [0, 0.5, 1, 1]
    assert ramp(np.array([0.0, 0.5, 1.0, 2.0]), 1.0, 0.0).tolist() == [1, 0.5, 0, 0]


def test_long_runs_marks_whole_runs_and_nothing_else():
    equal_to_previous = np.array([[0, 1, 1, 0, 0, 1, 0, 1, 1, 1], [0, 0, 1, 1, 1, 0, 1, 1, 0, 0]], dtype=bool)
    assert long_runs(equal_to_previous, 3).astype(int).tolist() == [
        [1, 1, 1, 0, 0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1, 1, 0, 0],
    ]  # fmt: skip


def test_what_stands_still_in_the_mains_is_measured_and_what_is_beside_it_is_not():
    time = np.arange(2500) / 250.0
    rows = np.stack([np.sin(2 * np.pi * 50 * time), np.sin(2 * np.pi * 60 * time), np.sin(2 * np.pi * 45 * time)])
    either = Windows(rows[:, :, None], 250.0, ECG)
    assert line_rms(either, rows) == pytest.approx([np.sqrt(0.5), np.sqrt(0.5), 0], abs=1e-3)
    told = Windows(rows[:, :, None], 250.0, replace(ECG, mains_hz=60.0))
    assert line_rms(told, rows) == pytest.approx([0, np.sqrt(0.5), 0], abs=1e-3)
