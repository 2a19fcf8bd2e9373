"""A received waveform against what was rendered: absolute lags of every kind that moves, and refusals of the rest."""

import numpy as np
import pytest
from scipy.signal import lfilter

from harness.content import Template, align_template
from harness.content.rendered import without_noise


def against(person, rendered, kind, rate_hz, seconds, late_s, start_s=7.0, keep=None, **options):
    values, times_s = rendered(person, kind, rate_hz, start_s, seconds, **options)
    clean = {**without_noise({"signal": kind}, kind)}
    clean.pop("signal")
    truth, truth_s = rendered(person, kind, 1000.0, start_s - 4, seconds + 8, **{**options, **clean})
    part = slice(None) if keep is None else keep(times_s)
    return align_template(values[part], times_s[part] + late_s, Template(float(truth_s[0]), 1000.0, truth))


@pytest.mark.parametrize(
    ("kind", "rate_hz", "seconds", "within_ms"),
    [("ecg", 250.0, 10, 0.1), ("ppg", 100.0, 10, 0.5), ("ppg", 64.0, 10, 0.5), ("respiration", 25.0, 30, 2),
     ("acceleration", 50.0, 30, 15), ("eeg", 256.0, 30, 2), ("eda", 16.0, 90, 15)],
)  # fmt: skip
@pytest.mark.parametrize("late_s", [0.0, 0.2517, -1.4])
def test_what_moves_tells_an_absolute_lag(person, kind, rate_hz, seconds, within_ms, late_s, rendered):
    found = against(person(11), rendered, kind, rate_hz, seconds, late_s)
    assert found.refused is None
    assert found.lag_ms == pytest.approx(1e3 * late_s, abs=within_ms)


def test_intervals_hold_the_lag_as_often_as_they_say(person, rendered):
    held = [
        found.low_ms <= 300 <= found.high_ms
        for seed in range(40)
        for found in [against(person(seed), rendered, "ppg", 100.0, 10, 0.3, noise_percent=3.5)]
    ]
    assert sum(held) >= 34  # 95 % of 40, within three standard deviations


def test_affect_tells_when_feelings_change_and_not_at_rest(person, rendered):
    begins_s, moods = (0, 11, 19, 27, 35, 46, 58), (-0.5, 0.8, -0.2, 0.7, -0.6, 0.8, 0.0)
    script = [[at_s + held_s, mood, -mood / 2] for at_s, mood in zip(begins_s, moods, strict=True) for held_s in (0, 5)]
    changing = person(1, script=script)
    assert against(changing, rendered, "affect", 10.0, 60, 0.5).lag_ms == pytest.approx(500, abs=60)
    assert against(person(1), rendered, "affect", 10.0, 60, 0.5).refused


def test_a_temperature_says_why_it_cannot_tell(person, rendered):
    said = [against(person(seed), rendered, "temperature", 4.0, 60, 0.3).refused for seed in range(5)]
    assert all(said)
    assert any("moves too little" in each for each in said)


def test_drift_is_found_with_the_lag(person, rendered):
    values, times_s = rendered(person(2), "ppg", 100.0, 7, 60)
    truth, truth_s = rendered(person(2), "ppg", 1000.0, 3, 68, noise_percent=0.0)
    stamps_s = times_s + 0.1 + 300e-6 * (times_s - 37)
    found = align_template(values, stamps_s, Template(float(truth_s[0]), 1000.0, truth))
    assert found.drift_ppm == pytest.approx(300, abs=10)
    assert found.drift_low_ppm <= 300 <= found.drift_high_ppm


def test_holes_leave_the_lag_where_it_is(person, rendered):
    found = against(
        person(3), rendered, "ecg", 250.0, 30, 0.15, keep=lambda t: (t < 15) | ((t > 19) & (t < 28)) | (t > 30)
    )
    assert found.lag_ms == pytest.approx(150, abs=0.2)


def test_another_gain_and_level_do_not_matter(person, rendered):
    truth, truth_s = rendered(person(4), "ppg", 500.0, 3, 30, noise_percent=0.0)
    template = Template(float(truth_s[0]), 500.0, truth)
    times_s = np.arange(8, 28, 0.02)
    received = -3.5 * template.at(times_s) + 1000
    assert align_template(received, times_s + 0.05, template).refused  # upside down is not the same
    assert align_template(-received, times_s + 0.05, template).lag_ms == pytest.approx(50, abs=0.1)


@pytest.mark.parametrize("shape", ["sine", "flat"])
def test_what_repeats_itself_or_stands_still_is_refused(shape):
    times_s = np.arange(0, 40, 0.01)
    wave = np.sin(2 * np.pi * times_s) if shape == "sine" else np.ones(len(times_s))
    said = align_template(wave[500:-500, None], times_s[500:-500], Template(0.0, 100.0, wave[:, None])).refused
    assert ("ambiguous" if shape == "sine" else "does not move") in said


def test_a_signal_of_somebody_else_is_refused(person, rendered):
    values, times_s = rendered(person(5), "ppg", 100.0, 7, 20)
    truth, truth_s = rendered(person(6, heart_rate_bpm=85), "ppg", 500.0, 3, 28)
    assert align_template(values, times_s, Template(float(truth_s[0]), 500.0, truth)).refused


def swaying(values, seed, rate_hz, tau_s, share):
    """With noise added that hangs together over tau_s, as of movement."""
    keep = np.exp(-1 / (rate_hz * tau_s))
    white = np.random.default_rng([seed, 8]).standard_normal((len(values) + round(10 * tau_s * rate_hz), 1))
    noise = lfilter([np.sqrt(1 - keep**2)], [1.0, -keep], white, axis=0)[-len(values) :]
    return values + share * np.ptp(values, axis=0) * noise


@pytest.mark.parametrize(
    ("kind", "rate_hz", "seconds"), [("ppg", 64.0, 20), ("respiration", 25.0, 40), ("eda", 8.0, 90)]
)
@pytest.mark.parametrize("tau_s", [0.02, 0.5, 2.0])
@pytest.mark.parametrize("ppm", [300.0])
def test_intervals_hold_under_noise_that_hangs_together(person, rendered, kind, rate_hz, seconds, tau_s, ppm):
    held, drifts, stated = 0, 0, 0
    for seed in range(25):
        values, times_s = rendered(person(seed), kind, rate_hz, 7, seconds)
        clean = without_noise({}, kind)
        clean.pop("signal")
        truth, truth_s = rendered(person(seed), kind, 100.0, 3, seconds + 8, **clean)
        stamps_s = times_s + 0.05 + ppm * 1e-6 * (times_s - (times_s[0] + times_s[-1]) / 2)
        received = swaying(values, seed, rate_hz, tau_s, 0.03)
        found = align_template(received, stamps_s, Template(float(truth_s[0]), 100.0, truth))
        if found.refused is None:
            stated += 1
            slack_ms = ppm * 1e-3 * seconds / 8  # it is the lag where most moves, and not that of the middle
            held += found.low_ms - slack_ms <= 50 <= found.high_ms + slack_ms
            drifts += found.drift_low_ppm <= ppm <= found.drift_high_ppm
    assert held >= stated * 0.95 - 3 * np.sqrt(stated * 0.05 * 0.95)
    assert drifts >= stated * 0.95 - 3 * np.sqrt(stated * 0.05 * 0.95)


def test_one_response_of_the_skin_does_not_tell_a_drift(person, rendered):
    """It tells one moment; what the rest of the record says of a drift is noise."""
    times_s = np.arange(0, 30, 0.125)
    wave = np.maximum(times_s - 12, 0) * np.exp(-np.maximum(times_s - 12, 0) / 2)
    truth_s = np.arange(-4, 34, 0.02)
    truth = np.maximum(truth_s - 12, 0) * np.exp(-np.maximum(truth_s - 12, 0) / 2)
    for seed in range(10):
        received = swaying(wave[:, None], seed, 8.0, 1.0, 0.02)
        found = align_template(received, times_s, Template(-4.0, 50.0, truth[:, None]))
        assert found.refused is not None or found.drift_high_ppm - found.drift_low_ppm > 2000


@pytest.mark.parametrize("step_ms", [5.0, 8.0, 25.0])
def test_a_jump_of_the_stamps_is_no_drift(person, rendered, step_ms):
    values, times_s = rendered(person(2), "ppg", 64.0, 7, 30)
    truth, truth_s = rendered(person(2), "ppg", 250.0, 3, 38, noise_percent=0.0)
    jumped = times_s + np.where(times_s > 17, step_ms / 1e3, 0.0)
    found = align_template(values, jumped, Template(float(truth_s[0]), 250.0, truth))
    assert found.refused is None
    assert np.isinf(found.drift_high_ppm)


@pytest.mark.parametrize(("kind", "rate_hz"), [("ecg", 250.0), ("ppg", 64.0)])
@pytest.mark.parametrize("late_s", [0.12, 0.25])
def test_a_part_that_lags_is_named(person, rendered, kind, rate_hz, late_s):
    """Ten of forty seconds show what was there before."""
    (before, _), (values, times_s) = (rendered(person(3), kind, rate_hz, 7 - away_s, 40) for away_s in (late_s, 0))
    late = (times_s >= 20) & (times_s < 30)
    clean = without_noise({}, kind)
    clean.pop("signal")
    truth, truth_s = rendered(person(3), kind, 500.0, 3, 48, **clean)
    template = Template(float(truth_s[0]), 500.0, truth)
    found = align_template(np.where(late[:, None], before, values), times_s, template)
    if found.refused is None:
        (part,) = found.parts
        assert part.start_s == pytest.approx(20, abs=2.6)
        assert part.stop_s == pytest.approx(30, abs=2.6)
        assert part.lag_ms == pytest.approx(1e3 * late_s, abs=5)
    assert not align_template(values, times_s, template).parts
