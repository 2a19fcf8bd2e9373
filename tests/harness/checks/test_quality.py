"""The share of good windows, the longest low stretch, what made windows low, and how much could be judged."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from drivers.types import LinkDown, LinkUp, StreamSpec
from harness.checks.quality import LIMITS, check
from harness.quality import scores_of
from harness.recording import StreamData
from harness.verdict import Outcome
from simulators.draws import Draws
from simulators.signals.registry import load_signal
from simulators.subject import Subject

S = 1_000_000_000
ECG = StreamSpec("ecg", "ecg", ("x",), "uV", 250.0, lsb=0.1, low=-187500.0, high=187500.0, counted=True)


def signal(spec=ECG, seconds=30.0, lead_s=5.0):
    """From ``lead_s`` before the run's start on."""
    made = load_signal(spec.kind)
    times_s = np.arange(round((seconds + lead_s) * spec.rate_hz)) / spec.rate_hz
    return made.signal(Subject(3), spec, Draws(3, spec.name), made.OPTIONS()).render(0, times_s).copy()


def data(values, spec=ECG, keep=None, lead_s=5.0):
    index = np.arange(len(values))
    index = index if keep is None else index[keep]
    time_ns = np.rint(index * 1e9 / spec.rate_hz).astype(np.int64) + round((100 - lead_s) * S)
    return StreamData("chest", spec, values[index], index, np.zeros(len(index), np.int64), time_ns, time_ns, None)


def at(begin_s, end_s, lead_s=5.0, rate_hz=250.0):
    """Samples between two seconds of the run."""
    return slice(round((begin_s + lead_s) * rate_hz), round((end_s + lead_s) * rate_hz))


def judged(a_recording, stream, seconds=30.0, events=(), **limits):
    return check(a_recording([stream], stop_ns=round((100 + seconds) * S), events=events), LIMITS(**limits))


def flat_from(begin_s, end_s, seconds=30.0):
    values = signal(seconds=seconds)
    values[at(begin_s, end_s)] = values[at(begin_s, end_s)][0]
    return values


def test_a_clean_run_of_30_s_passes_by_its_fact_and_says_how_little_that_proves(a_recording):
    (verdict,) = judged(a_recording, data(signal()))
    assert (verdict.outcome, verdict.value, verdict.n) == (Outcome.PASS, 100.0, 30)
    assert verdict.low == pytest.approx(100 * 0.025 ** (1 / 3))  # Clopper-Pearson of 3 of 3, closed form
    assert verdict.high == 100.0


def test_windows_that_overlap_are_not_counted_as_independent(a_recording):
    """300 s hold 30 windows of 10 s that do not overlap: the interval of a share among 30, not among 300."""
    (verdict,) = judged(a_recording, data(flat_from(100, 190, 300), ECG), seconds=300)
    share = verdict.value / 100
    low, high = (
        stats.beta.ppf(0.025, 30 * share, 31 - 30 * share),
        stats.beta.ppf(0.975, 30 * share + 1, 30 - 30 * share),
    )
    assert (verdict.low, verdict.high) == (pytest.approx(100 * low), pytest.approx(100 * high))
    assert verdict.n == 300


def test_a_flat_line_fails_names_the_flag_with_its_share_and_the_longest_stretch(a_recording):
    share, longest = judged(a_recording, data(flat_from(20, 60, 100)), seconds=100, max_low_s=30)
    assert (share.outcome, longest.outcome) == (Outcome.FAIL, Outcome.FAIL)
    # Low while more than a quarter or so of the ten seconds is flat: some seconds longer than the flat line itself
    assert 37 <= longest.value <= 50
    assert share.value == pytest.approx(100 - longest.value)
    flat = int(share.reason.split("flat in ")[1].split(" ")[0])
    assert flat == pytest.approx(longest.value, abs=2)
    assert f"flat in {flat} ({flat} %)" in share.reason  # of 100 windows
    assert f"low by the signal in {longest.value:.0f}, at most {longest.value:.0f} s at a stretch" in share.reason


def test_the_longest_stretch_is_judged_only_where_a_limit_is_given(a_recording):
    assert len(judged(a_recording, data(signal()))) == 1
    share, longest = judged(a_recording, data(signal()), max_low_s=5)
    assert (longest.measure, longest.value, longest.outcome) == ("longest low stretch", 0.0, Outcome.PASS)
    assert share.measure == "good windows"


def test_two_stretches_are_not_added_up_to_one(a_recording):
    values = signal(seconds=100)
    for begin_s in (20, 60):
        values[at(begin_s, begin_s + 10)] = values[at(begin_s, begin_s + 1)][0]
    share, longest = judged(a_recording, data(values), seconds=100, max_low_s=60)
    assert longest.value == pytest.approx((100 - share.value) / 2, abs=1.5)


def test_one_bad_moment_in_a_short_run_is_undecided_and_in_a_long_one_within_the_limit(a_recording):
    (short,) = judged(a_recording, data(flat_from(12, 17, 30)))
    assert short.outcome is Outcome.INCONCLUSIVE
    assert "run longer than 100 s" in short.reason  # ten seconds are a tenth of that
    (long,) = judged(a_recording, data(flat_from(12, 17, 110)), seconds=110)
    assert long.outcome is Outcome.PASS


def test_two_bad_moments_in_a_short_run_are_no_accident(a_recording):
    values = flat_from(2, 7, 30)
    values[at(21, 26)] = values[at(21, 22)][0]
    (verdict,) = judged(a_recording, data(values))
    assert verdict.outcome is Outcome.FAIL


def test_a_run_that_is_mostly_low_fails_however_short_it_is(a_recording):
    (verdict,) = judged(a_recording, data(flat_from(-5, 12, 12)), seconds=12)
    assert (verdict.outcome, verdict.value) == (Outcome.FAIL, 0.0)


# --- what made it low -------------------------------------------------------------------------


def in_bursts(count, every=50, lost=25):
    """Of every fifth of a second the second half is missing: 50 %, in gaps of 0.1 s."""
    return np.flatnonzero(np.arange(count) % every < every - lost)


def test_a_loss_that_the_waveform_hides_is_low_by_delivery_and_says_so(a_recording):
    """What is there is as good as ever; half of it never came."""
    values = signal(StreamSpec("eda", "eda", ("x",), "uS", 50.0, counted=True))
    spec = StreamSpec("eda", "eda", ("x",), "uS", 50.0, counted=True)
    stream = data(values, spec, in_bursts(len(values), 10, 5))
    _, table = scores_of(a_recording([stream]), stream)
    assert np.all(table.parts["delivery"] < 0.5)
    (verdict,) = judged(a_recording, stream)
    assert verdict.outcome is Outcome.FAIL
    assert "low by lost samples in 30" in verdict.reason
    assert "gap in 30 (100 %)" in verdict.reason
    assert "the signal" not in verdict.reason


def test_a_poor_signal_with_losses_is_low_by_both(a_recording):
    values = flat_from(-5, 30)
    (verdict,) = judged(a_recording, data(values, ECG, in_bursts(len(values), 50, 12)))
    assert verdict.outcome is Outcome.FAIL
    assert "low by both in 30" in verdict.reason


def test_a_loss_of_a_twentieth_costs_nothing(a_recording):
    values = signal()
    (verdict,) = judged(a_recording, data(values, ECG, in_bursts(len(values), 50, 2)))
    assert verdict.outcome is Outcome.PASS
    assert "gap" not in verdict.reason


# --- what could not be judged -----------------------------------------------------------------


def test_silence_is_for_delivery_and_is_counted_as_not_judged(a_recording):
    values = signal(seconds=60)
    keep = np.flatnonzero((np.arange(len(values)) < 25 * 250) | (np.arange(len(values)) >= 45 * 250))
    (verdict,) = judged(a_recording, data(values, ECG, keep), seconds=60)
    assert "silent" in verdict.reason
    # Windows of which a part is missing are low by what is lost of them; those of which nothing is there are not judged
    silent = int(verdict.reason.split(" silent")[0].split("(")[-1].split(", ")[-1])
    assert silent in (10, 11)
    assert verdict.n == 60 - silent
    assert f"{100 * verdict.n / 60:.0f} % of the run judged" in verdict.reason


def test_a_time_without_a_link_is_for_delivery_alone(a_recording):
    values = signal(seconds=60)
    keep = np.flatnonzero((np.arange(len(values)) < 25 * 250) | (np.arange(len(values)) >= 30 * 250))
    events = [("chest", LinkDown(120 * S, "unplugged")), ("chest", LinkUp(125 * S))]
    (verdict,) = judged(a_recording, data(values, ECG, keep), seconds=60, events=events)
    assert verdict.outcome is Outcome.PASS
    assert "link gone" in verdict.reason


def test_a_stretch_is_not_broken_by_what_cannot_be_judged(a_recording):
    """Low before the link went and low when it came back: nobody saw it good."""
    values = flat_from(-5, 60, 60)
    keep = np.flatnonzero((np.arange(len(values)) < 25 * 250) | (np.arange(len(values)) >= 30 * 250))
    events = [("chest", LinkDown(120 * S, "unplugged")), ("chest", LinkUp(125 * S))]
    _, longest = judged(a_recording, data(values, ECG, keep), seconds=60, events=events, max_low_s=50)
    assert longest.value == 60.0


def test_a_run_too_short_to_score_is_inconclusive_and_says_what_it_takes(a_recording):
    stream = data(signal(seconds=5, lead_s=0), lead_s=0)
    (verdict,) = judged(a_recording, stream, seconds=5)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "at least 7 s of signal are needed" in verdict.reason


@pytest.mark.parametrize("given", [{"min_score": 0}, {"min_good_percent": 0}, {"max_low_s": 0}])
def test_limits_that_make_no_sense_are_refused(given):
    with pytest.raises(ValueError, match="quality"):
        LIMITS(**given)


# --- the table --------------------------------------------------------------------------------


def test_scores_are_worked_out_once_for_all_who_ask(a_recording):
    stream = data(signal())
    recording = a_recording([stream])
    assert scores_of(recording, stream)[1] is scores_of(recording, stream)[1]
    shorter = a_recording([stream], stop_ns=120 * S)
    assert len(scores_of(shorter, stream)[0]) == 20
    assert len(scores_of(recording, stream)[0]) == 30
