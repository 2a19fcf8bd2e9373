"""R peaks against pulses: the lag put in is found to a millisecond, and a heart that hardly varies is refused."""

import numpy as np
import pytest

from harness.content import Trace, align_beats, align_pulses, pulse_rises, r_peaks

NOISY = ({"noise_uv": 150.0}, {"noise_percent": 3.5})
CLEAN: tuple[dict, dict] = ({}, {})


def trials(person, trace, travel_ms, noise, count, seconds=10.0):
    """(errors in ms of those not refused, share covered by the interval, refused) over random people and offsets."""
    errors, covered, refused = [], [], 0
    for seed in range(count):
        random = np.random.default_rng(seed)
        someone = person(seed, heart_rate_bpm=float(random.uniform(55, 85)))
        start_s, late_s = random.uniform(0, 60), random.uniform(-1.5, 1.5)
        ecg = trace(someone, "ecg", 250.0, start_s, seconds, **noise[0])
        ppg = trace(someone, "ppg", 100.0, start_s + random.uniform(0, 0.01), seconds, late_s, **noise[1])
        found = align_pulses(r_peaks(ecg), ppg)
        true_ms = 1e3 * late_s + travel_ms(someone, start_s, seconds)
        if found.refused is not None:
            refused += 1
            continue
        errors.append(found.lag_ms - true_ms)
        covered.append(found.low_ms <= true_ms <= found.high_ms)
    return np.array(errors), float(np.mean(covered)), refused


@pytest.mark.parametrize(("noise", "most_ms"), [(CLEAN, 1.5), (NOISY, 4.0)], ids=["clean", "noisy"])
def test_ten_seconds_tell_the_lag_and_never_the_wrong_beat(person, trace, travel_ms, noise, most_ms):
    errors, covered, refused = trials(person, trace, travel_ms, noise, 60)
    assert np.median(np.abs(errors)) <= most_ms
    assert np.abs(errors).max() < 150
    assert refused <= 2
    assert covered >= 0.88  # 95 % of 60, within three standard deviations


def test_r_peaks_are_found_between_samples(person, rendered):
    someone = person(3)
    values, times_s = rendered(someone, "ecg", 130.0, 10.0, 30.0)
    found = r_peaks(Trace.of(values[:, 0], times_s, 130.0))
    true_s = someone.beats(10.5, 39.5)
    nearest = np.abs(found[:, None] - true_s).min(axis=0)
    assert nearest.max() < 0.002  # a sample is 7.7 ms


def test_a_lead_that_points_down_has_the_same_peaks(person, rendered):
    values, times_s = rendered(person(3), "ecg", 250.0, 10.0, 20.0, noise_uv=0.0)
    up, down = (r_peaks(Trace.of(sign * values[:, 0], times_s, 250.0)) for sign in (1, -1))
    assert np.allclose(up, down, atol=1e-6)


def test_light_that_falls_with_blood_gives_the_same_rises(person, rendered):
    values, times_s = rendered(person(3), "ppg", 100.0, 10.0, 20.0, noise_percent=0.0)
    up, down = (pulse_rises(Trace.of(sign * values[:, 0], times_s, 100.0)) for sign in (1, -1))
    assert len(up) > 15
    assert np.allclose(up, down, atol=1e-6)


def test_an_even_heart_is_refused_with_what_to_do_about_it(person, trace):
    still = dict.fromkeys(("hrv_breath_percent", "hrv_mayer_percent", "hrv_slow_percent"), 0.0)
    refusals = []
    for seed in range(5):
        someone = person(seed, **still)
        found = align_pulses(r_peaks(trace(someone, "ecg", 250.0, 5, 10)), trace(someone, "ppg", 100.0, 5, 10, 0.7))
        assert np.isnan(found.lag_ms)
        assert found.ratio < 1.2
        refusals.append(found.refused)
    assert all("whole beats" in said and "breathe deeply" in said for said in refusals)


def test_a_heart_rhythm_of_somebody_else_matches_nowhere(person, trace):
    found = align_pulses(r_peaks(trace(person(1), "ecg", 250.0, 5, 30)), trace(person(2), "ppg", 100.0, 5, 30))
    assert found.refused is not None


def test_stale_data_is_found_by_looking_further(person, trace, travel_ms):
    someone = person(4)
    beats_s = r_peaks(trace(someone, "ecg", 250.0, 5, 60))
    ppg = trace(someone, "ppg", 100.0, 5, 60, late_s=8.0)
    assert align_pulses(beats_s, ppg).refused is not None
    assert align_pulses(beats_s, ppg, reach_s=12.0).lag_ms == pytest.approx(8000 + travel_ms(someone, 5, 60), abs=3)


def test_a_stretch_without_signal_costs_its_beats_only(person, trace, travel_ms):
    someone = person(5)
    ecg, ppg = trace(someone, "ecg", 250.0, 5, 40), trace(someone, "ppg", 100.0, 5, 40, 0.25)
    usable = (ppg.times_s < 15) | (ppg.times_s > 25)
    holed = Trace.of(ppg.values[usable], ppg.times_s[usable], 100.0)
    found = align_pulses(r_peaks(ecg), holed)
    assert found.lag_ms == pytest.approx(250 + travel_ms(someone, 5, 40), abs=3)
    assert found.n < 35


def test_a_bit_that_flipped_moves_nothing(person, rendered):
    someone = person(6)
    values, times_s = rendered(someone, "ppg", 100.0, 5, 30)
    beats_s = someone.beats(5, 35)
    wild = values[:, 0].copy()
    wild[[700, 1500, 1501, 2300]] += 2.0**17
    clean, damaged = (align_pulses(beats_s, Trace.of(each, times_s, 100.0)).lag_ms for each in (values[:, 0], wild))
    assert damaged == pytest.approx(clean, abs=1.0)


def test_two_optical_sensors_are_compared_by_their_rises(person, trace):
    someone = person(7)
    finger = trace(someone, "ppg", 100.0, 5, 30)
    ear = trace(someone, "ppg", 64.0, 5, 30, late_s=-0.4, delay_ms=-71.0)
    found = align_beats(pulse_rises(finger), pulse_rises(ear))
    assert found.lag_ms == pytest.approx(-471, abs=2)


def test_too_few_beats_are_refused():
    assert "6 are needed" in align_beats(np.array([1.0, 2.0, 3.1]), np.arange(20.0)).refused
    assert align_pulses(np.empty(0), Trace.of(np.zeros(100), np.arange(100) / 50, 50.0)).refused


def test_a_drift_within_one_window_lies_in_its_interval(person, trace):
    someone = person(8)
    beats_s = r_peaks(trace(someone, "ecg", 250.0, 5, 60))
    found = align_pulses(beats_s, trace(someone, "ppg", 100.0, 5, 60, 0.1, ppm=400))
    assert found.drift_low_ppm <= 400 <= found.drift_high_ppm
    assert found.drift_high_ppm - found.drift_low_ppm < 300


def test_beats_that_agree_in_a_part_of_the_record_only_are_refused_and_the_rest_is_named(person):
    beats_s = person(9).beats(0, 40)
    pulses_s = np.sort(beats_s + np.where((beats_s > 15) & (beats_s < 26), 0.5, 0.25))
    said = align_beats(beats_s, pulses_s).refused
    assert "does the lag change" in said
    assert align_beats(beats_s, beats_s + 0.25).refused is None
