"""Lags of many windows make a drift: to within 5 ppm over ten minutes, with an interval that holds it."""

import numpy as np
import pytest

from harness.content import Alignment, align_beats, over_windows, pulse_rises, r_peaks
from harness.content.alignment import line, location, refuse


@pytest.mark.parametrize("ppm", [0.0, 50.0, 200.0, 1000.0])
def test_ten_minutes_tell_a_drift_to_five_ppm(person, trace, ppm):
    someone = person(round(ppm), heart_rate_bpm=72)
    beats_s = r_peaks(trace(someone, "ecg", 250.0, 5, 600))
    rises_s = pulse_rises(trace(someone, "ppg", 100.0, 5, 600, 0.3, ppm))

    def align(start_s: float, stop_s: float) -> Alignment:
        mine = [times_s[(times_s >= start_s) & (times_s < stop_s)] for times_s in (beats_s, rises_s)]
        return align_beats(*mine)

    found = over_windows(align, 5.0, 605.0)
    assert found.drift_ppm == pytest.approx(ppm, abs=5)
    assert found.drift_low_ppm - 2 <= ppm <= found.drift_high_ppm + 2


def an_alignment(lag_ms: float) -> Alignment:
    return Alignment(lag_ms, lag_ms - 1, lag_ms + 1, 30, 2.0)


def test_windows_that_were_refused_are_left_out():
    def align(start_s: float, stop_s: float) -> Alignment:
        return refuse("ambiguous") if 100 < start_s < 150 else an_alignment(0.05 * (start_s + stop_s) / 2)

    found = over_windows(align, 0.0, 300.0)
    assert found.drift_ppm == pytest.approx(50, abs=0.01)
    assert found.lag_ms == pytest.approx(7.5, abs=0.01)


def test_one_window_that_is_wrong_by_a_beat_does_not_turn_the_line():
    found = over_windows(lambda a, b: an_alignment(900.0 if a == 30 else 12.0 + 0.01 * a), 0.0, 300.0)
    assert found.drift_ppm == pytest.approx(10, abs=3)


def test_the_whole_is_refused_when_most_windows_are():
    found = over_windows(lambda a, b: refuse("too even") if a > 60 else an_alignment(1.0), 0.0, 300.0)
    assert "7 of 10 windows" in found.refused
    assert "too even" in found.refused


@pytest.mark.parametrize("n", [8, 12, 33])
def test_intervals_of_location_and_slope_hold_as_often_as_they_say(n):
    random = np.random.default_rng(n)
    held = np.zeros(2)
    for _ in range(1000):
        values, away = random.standard_normal(n), np.sort(random.uniform(-5, 5, n))
        centre, half = location(values)
        slope, tilt = line(away - away.mean(), values)
        held += [abs(centre) <= half, abs(slope) <= tilt]
    assert (held >= 925).all()
    assert (held <= 975).all()


def test_a_tenth_of_strays_hardly_moves_a_location():
    values = np.concatenate([np.random.default_rng(1).normal(5, 1, 90), np.full(10, 40.0)])
    centre, half = location(values)
    assert abs(centre - 5) < 0.5
    assert half < 0.5


def test_a_window_that_lags_is_named_as_a_part():
    found = over_windows(lambda a, b: an_alignment(250.0 if 95 < a < 125 else 3.0), 0.0, 300.0)
    (part,) = found.parts
    assert (part.start_s, part.stop_s, part.lag_ms) == pytest.approx((120, 150, 250))
    assert found.lag_ms == pytest.approx(3, abs=0.1)


def test_a_lag_that_jumps_has_no_drift():
    found = over_windows(lambda a, b: an_alignment(25.0 if a > 140 else 0.0), 0.0, 300.0)
    assert np.isinf(found.drift_high_ppm)


def test_a_long_record_is_looked_at_from_end_to_end():
    asked = []

    def align(start_s: float, stop_s: float) -> Alignment:
        asked.append((start_s, stop_s))
        return an_alignment(1.0)

    over_windows(align, 0.0, 3600.0, 20.0, most=6)
    assert len(asked) == 6
    assert asked[0] == pytest.approx((0, 20))
    assert asked[-1] == pytest.approx((3580, 3600))
