"""RR intervals as a strap reports them: the delay of the earliest report is found, whatever was lost or doubled."""

import numpy as np
import pytest

from harness.content import align_intervals

LSB_MS = 1000 / 1024


def reports(someone, start_s, seconds, late_s):
    """(intervals, stamps) as once a second a report carries what ended since the last one."""
    beats = someone.beat_events(start_s, start_s + seconds)
    rr_ms = np.rint(1e3 * beats.rr_s / LSB_MS) * LSB_MS
    return rr_ms, np.ceil(beats.r_s) + late_s


@pytest.mark.parametrize("late_s", [0.0, 0.04, 1.3, -2.0])
def test_the_earliest_report_tells_how_late_reports_are(person, late_s):
    someone = person(1)
    rr_ms, stamps_s = reports(someone, 10, 60, late_s)
    found = align_intervals(someone.beats(5, 75), rr_ms, stamps_s)
    assert found.low_ms <= 1e3 * late_s <= found.high_ms
    assert found.high_ms - found.low_ms < 100


def test_the_interval_holds_the_delay_for_most_people(person):
    held = 0
    for seed in range(40):
        someone = person(seed, heart_rate_bpm=55 + seed)
        rr_ms, stamps_s = reports(someone, 10, 30, 0.2)
        found = align_intervals(someone.beats(5, 45), rr_ms, stamps_s)
        held += found.refused is None and found.low_ms <= 200 <= found.high_ms
    assert held >= 34  # 95 % of 40, within three standard deviations


@pytest.mark.parametrize("damage", ["lost", "doubled", "both"])
def test_lost_and_doubled_reports_do_not_shift_the_rest(person, damage):
    someone = person(2)
    rr_ms, stamps_s = reports(someone, 10, 60, 0.1)
    order = np.arange(len(rr_ms))
    if damage in ("doubled", "both"):
        order = np.sort(np.concatenate([order, [12, 31]]))
    if damage in ("lost", "both"):
        order = np.delete(order, [20, 21, 45])
    found = align_intervals(someone.beats(5, 75), rr_ms[order], stamps_s[order])
    assert found.low_ms <= 100 <= found.high_ms
    assert found.high_ms - found.low_ms < 150


def test_an_even_heart_is_refused(person):
    someone = person(3, hrv_breath_percent=0.0, hrv_mayer_percent=0.0, hrv_slow_percent=0.0)
    rr_ms, stamps_s = reports(someone, 10, 30, 0.1)
    assert "whole beats" in align_intervals(someone.beats(5, 45), rr_ms, stamps_s).refused


def test_intervals_of_somebody_else_fit_nowhere(person):
    rr_ms, stamps_s = reports(person(4, heart_rate_bpm=60), 10, 30, 0.1)
    assert align_intervals(person(5, heart_rate_bpm=80).beats(5, 45), rr_ms, stamps_s).refused


def test_a_few_intervals_are_too_few(person):
    someone = person(1)
    rr_ms, stamps_s = reports(someone, 10, 5, 0.0)
    assert "8 are needed" in align_intervals(someone.beats(5, 75), rr_ms, stamps_s).refused
    assert align_intervals(np.empty(0), rr_ms, stamps_s).refused


def test_a_heart_in_step_with_the_reports_leaves_open_what_it_must(person):
    """Near 60 beats a minute all reports may come half a second after their beat: no delay of the link shows."""
    held, halves = 0, []
    for seed in range(40):
        someone = person(seed, heart_rate_bpm=60.0 + 0.05 * (seed - 20))
        rr_ms, stamps_s = reports(someone, 10, 30, 0.0)
        found = align_intervals(someone.beats(5, 45), rr_ms, stamps_s)
        held += found.refused is not None or found.low_ms <= 0 <= found.high_ms
        halves.append(found.half_ms)
    assert held >= 39
    assert np.median(halves) > 50  # at 75 beats a minute it is some 25


def test_reports_that_could_not_all_be_right_are_refused(person):
    """Half of the intervals were cut on their way, and the rest was put where it happens to fit."""
    someone = person(4)
    rr_ms, stamps_s = reports(someone, 10, 30, 0.1)
    late_s = np.where(np.arange(len(stamps_s)) % 3 == 0, 1.6, 0.0)
    assert "held up" in align_intervals(someone.beats(5, 45), rr_ms, stamps_s + late_s).refused


def test_many_wrong_intervals_are_refused(person):
    someone = person(4)
    rr_ms, stamps_s = reports(someone, 10, 30, 0.1)
    wrong = np.arange(len(rr_ms)) % 5 < 2
    rr_ms = np.where(wrong, 300.0, rr_ms)
    said = align_intervals(someone.beats(5, 45), rr_ms, stamps_s).refused
    assert said is not None


def test_intervals_that_do_not_add_up_to_the_time_are_refused(person):
    someone = person(4)
    rr_ms, stamps_s = reports(someone, 10, 30, 0.1)
    there = np.arange(len(rr_ms)) % 5 < 3
    assert "add up to 6" in align_intervals(someone.beats(5, 45), rr_ms[there], stamps_s[there]).refused


def test_reports_every_two_seconds_are_understood(person):
    someone = person(5, heart_rate_bpm=72.0)
    beats = someone.beat_events(10, 70)
    stamps_s = 2 * np.ceil(beats.r_s / 2) + 0.05
    found = align_intervals(someone.beats(5, 75), 1e3 * beats.rr_s, stamps_s)
    assert found.low_ms <= 50 <= found.high_ms
    assert found.half_ms < 150


def test_reports_that_their_last_beat_sends_tell_the_delay(person):
    """As of an armband that collects three intervals: no report is late by chance."""
    someone = person(6)
    beats = someone.beat_events(10, 50)
    last = np.minimum(3 * (np.arange(len(beats.r_s)) // 3) + 2, len(beats.r_s) - 1)
    found = align_intervals(someone.beats(5, 55), 1e3 * beats.rr_s, beats.r_s[last] + 0.02)
    assert found.low_ms <= 20 <= found.high_ms
    assert found.half_ms < 50
