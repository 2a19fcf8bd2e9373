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
