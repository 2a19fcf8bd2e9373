"""Losses, gaps and damage against what was left out."""

from dataclasses import replace

import numpy as np
import pytest

from drivers.types import CounterReset, LinkDown, LinkUp, Lost, Malformed, Notice, Reordered, Repeated
from harness.checks.delivery import LIMITS, check
from harness.delivery import outages_ns
from harness.verdict import Outcome

S = 1_000_000_000


def by_measure(verdicts):
    return {(v.subject, v.measure): v for v in verdicts}


def test_a_perfect_run_passes_everywhere(a_recording):
    assert {v.outcome for v in check(a_recording(), LIMITS())} == {Outcome.PASS}


def test_the_lost_share_is_the_injected_one(a_recording, a_stream):
    stream = a_stream(keep=lambda i: i % 50 != 7)  # 2 %
    lost = [("chest", Lost("ecg", 1, 101 * S + k)) for k in range(150)]
    verdict = by_measure(check(a_recording([stream], events=lost), LIMITS()))["chest/ecg", "lost"]
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(2.0)
    assert verdict.low < 2.0 < verdict.high


def test_losses_below_the_limit_pass(a_recording, a_stream):
    stream = a_stream(keep=lambda i: i % 200 != 7)  # 0.5 %
    lost = [("chest", Lost("ecg", 1, 101 * S + k)) for k in range(37)]
    verdict = by_measure(check(a_recording([stream], events=lost), LIMITS()))["chest/ecg", "lost"]
    assert verdict.outcome is Outcome.PASS


def test_a_loss_of_ambiguous_size_is_not_passed_over(a_recording):
    events = [("chest", Notice("loss_ambiguous", "950 ms of silence", 110 * S))]
    verdict = by_measure(check(a_recording(events=events), LIMITS()))["chest/ecg", "lost"]
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "unsure 1 times" in verdict.reason
    other = [("strap", Notice("loss_ambiguous", "950 ms of silence", 110 * S))]
    assert by_measure(check(a_recording(events=other), LIMITS()))["chest/ecg", "lost"].outcome is Outcome.PASS


def test_losses_while_connecting_are_not_the_runs(a_recording):
    lost = [("chest", Lost("ecg", 500, 99 * S))]
    verdict = by_measure(check(a_recording(events=lost), LIMITS()))["chest/ecg", "lost"]
    assert verdict.value == 0


def test_what_came_late_after_all_is_not_lost(a_recording):
    """One gap of three is filled, one of two is filled by half, and a third is left as it is."""
    told = [Lost("ecg", 3, 101 * S), Reordered("ecg", 3, 101 * S + 1), Lost("ecg", 4, 102 * S), Lost("ecg", 2, 103 * S)]
    told += [Reordered("ecg", 1, 103 * S + 1), Reordered("other", 1, 103 * S + 2)]
    events = [("chest", event) for event in told]
    verdict = by_measure(check(a_recording(events=events), LIMITS()))["chest/ecg", "lost"]
    assert verdict.reason.startswith("5 of ")
    assert "in 2 incidents" in verdict.reason


@pytest.mark.parametrize(("gap_s", "outcome"), [(0.4, Outcome.PASS), (0.6, Outcome.FAIL)])
def test_the_longest_gap_is_found_with_its_place(a_recording, a_stream, gap_s, outcome):
    stream = a_stream(keep=lambda i: (i < 2500) | (i >= 2500 + gap_s * 250))
    verdict = by_measure(check(a_recording([stream]), LIMITS()))["chest/ecg", "longest gap"]
    assert verdict.outcome is outcome
    assert verdict.value == pytest.approx(1000 * gap_s, abs=0.01)
    assert "at 10.00 s" in verdict.reason


def test_a_sensor_that_goes_silent_before_the_end_loses_what_should_have_come(a_recording, a_stream):
    stream = a_stream(keep=lambda i: i < 2500)
    found = by_measure(check(a_recording([stream]), LIMITS()))
    assert found["chest/ecg", "lost"].outcome is Outcome.FAIL
    assert found["chest/ecg", "longest gap"].value == pytest.approx(20_000, abs=10)


def test_a_stream_that_delivered_nothing_fails(a_recording, a_stream):
    stream = a_stream(keep=lambda i: i < 0)
    assert by_measure(check(a_recording([stream]), LIMITS()))["chest/ecg", "lost"].outcome is Outcome.FAIL


def test_without_a_counter_losses_show_against_the_nominal_rate(a_recording, a_stream):
    stream = a_stream(rate_hz=10.0, counted=False, keep=lambda i: i % 10 != 3)
    verdict = by_measure(check(a_recording([stream]), LIMITS()))["chest/ecg", "lost"]
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(10.0, abs=0.5)


@pytest.mark.parametrize(
    ("event", "word"),
    [
        (Malformed("bad stop byte", 33, b"\xa0", 101 * S), "malformed"),
        (Repeated("ecg", 1, 101 * S), "repeated"),
        (Reordered("ecg", 1, 101 * S), "reordered"),
        (CounterReset("ecg", 101 * S, "fell to 0"), "counter resets"),
        (LinkDown(101 * S, "unplugged"), "link losses"),
    ],
)
def test_each_kind_of_damage_is_named(a_recording, event, word):
    verdict = by_measure(check(a_recording(events=[("chest", event)]), LIMITS()))["chest", "damaged frames"]
    assert verdict.outcome is Outcome.FAIL
    assert word in verdict.reason
    assert by_measure(check(a_recording(), LIMITS()))["chest", "damaged frames"].outcome is Outcome.PASS


def test_the_time_without_a_link_is_told(a_recording):
    events = [("chest", LinkDown(110 * S, "unplugged")), ("chest", LinkUp(112 * S))]
    verdict = by_measure(check(a_recording(events=events), LIMITS()))["chest", "damaged frames"]
    assert "2.0 s down" in verdict.reason


def test_a_frame_that_carries_two_streams_is_counted_once(a_recording, a_stream):
    streams = [a_stream(), a_stream(name="eeg", kind="eeg")]
    events = [("chest", Repeated("ecg", 1, 101 * S)), ("chest", Repeated("eeg", 1, 101 * S))]
    verdict = by_measure(check(a_recording(streams, events=events), LIMITS()))["chest", "damaged frames"]
    assert verdict.value == 1


def test_events_without_a_rate_are_counted_but_not_judged_for_loss(a_recording, a_stream):
    stream = a_stream(name="rr", kind="rr", rate_hz=None, counted=False)
    verdict = by_measure(check(a_recording([stream]), LIMITS()))["chest/rr", "received"]
    assert verdict.outcome is Outcome.PASS
    assert verdict.n == np.count_nonzero(stream.arrival_ns <= 130 * S)


@pytest.mark.parametrize("lost", [1, 2, 5])
@pytest.mark.parametrize("rate_hz", [1.0, 10.0, 250.0])
def test_every_sample_without_a_number_that_is_lost_on_the_way_is_counted(a_recording, a_stream, lost, rate_hz):
    stream = a_stream(rate_hz=rate_hz, counted=False, keep=lambda i: (i < 9) | (i >= 9 + lost))
    verdict = by_measure(check(a_recording([stream]), LIMITS()))["chest/ecg", "lost"]
    assert verdict.value == pytest.approx(100 * lost / (30 * rate_hz))


@pytest.mark.parametrize("held_s", [(0.0, 0.4), (12.0, 12.4), (29.5, 29.9)])
def test_samples_without_a_number_that_were_held_up_are_not_lost(a_recording, a_stream, held_s):
    stream = a_stream(rate_hz=250.0, counted=False)
    begin, end = (100 * S + round(at * S) for at in held_s)
    held = (stream.arrival_ns >= begin) & (stream.arrival_ns < end)
    stream = replace(stream, arrival_ns=np.where(held, end, stream.arrival_ns))
    assert by_measure(check(a_recording([stream]), LIMITS()))["chest/ecg", "lost"].value == 0


def test_what_an_outage_cost_is_counted_even_if_the_device_counts_anew(a_recording, a_stream):
    stream = a_stream(keep=lambda i: (i < 2500) | (i >= 3500))  # 10 s to 14 s
    events = [("chest", LinkDown(110 * S, "unplugged")), ("chest", LinkUp(112 * S))]
    verdict = by_measure(check(a_recording([stream], events=events), LIMITS()))["chest/ecg", "lost"]
    assert verdict.value == pytest.approx(100 * 1000 / 7500)


def test_an_outage_lasts_until_the_first_sample_behind_it(a_recording, a_stream):
    stream = a_stream(keep=lambda i: (i < 2500) | (i >= 3500))
    events = [("chest", LinkDown(110 * S, "unplugged")), ("chest", LinkUp(112 * S)), ("chest", LinkDown(125 * S, ""))]
    recording = a_recording([stream], events=events)
    assert outages_ns(recording, "chest") == [(110 * S, 114 * S + 3_000_000), (125 * S, 130 * S)]
    assert outages_ns(recording, "strap") == []


def test_the_last_sample_that_nothing_counts_is_looked_for_by_its_arrival(a_recording, a_stream):
    """After losses the stamps that count gives run behind; the samples that did come are not lost twice."""
    stream = a_stream(rate_hz=250.0, counted=False, keep=lambda i: (i < 2500) | (i >= 5000))
    behind = replace(stream, time_ns=stream.time_ns - 10 * S * (np.arange(len(stream.time_ns)) >= 2500))
    found = by_measure(check(a_recording([behind]), LIMITS()))
    assert found["chest/ecg", "lost"].value == pytest.approx(100 / 3)
    assert found["chest/ecg", "longest gap"].value == pytest.approx(10_000, abs=1)
