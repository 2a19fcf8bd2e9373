"""What a receiver measures in the rendered signals is what the simulated person really did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.signal import butter, find_peaks, sosfiltfilt, welch

from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec
from simulators.draws import Draws
from simulators.signals.registry import make_signal
from simulators.subject import Profile, Subject


def _spec(
    kind: str, unit: str, rate_hz: float, *channels: str, low: float | None = None, high: float | None = None
) -> StreamSpec:
    return StreamSpec(kind, kind, channels or (kind,), unit, rate_hz, low=low, high=high)


def _render(spec: StreamSpec, subject: Subject, seconds: float, **options: Any) -> tuple[FloatArray, FloatArray]:
    times_s = np.arange(round(seconds * float(spec.rate_hz or 0))) / float(spec.rate_hz or 1)
    signal = make_signal({"signal": spec.kind, **options}, subject, spec, Draws(1, "test"))
    return times_s, signal.render(0, times_s)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate_hz", [130.0, 250.0, 500.0])
def test_ecg_peaks_are_at_the_beats_within_one_sample(seed: int, rate_hz: float) -> None:
    subject = Subject(seed)
    times_s, values = _render(_spec("ecg", "mV", rate_hz), subject, 120)
    peaks, _ = find_peaks(values[:, 0], height=0.5, distance=round(0.3 * rate_hz))
    beats = subject.beats(0.05, 119.95)
    found = times_s[peaks]
    found = found[(found > 0.04) & (found < 119.96)]
    assert len(found) == len(beats)
    assert np.abs(found - beats).max() <= 1 / rate_hz


def test_an_independent_beat_detector_finds_every_beat() -> None:
    sleepecg = pytest.importorskip("sleepecg", reason="needs sleepecg: pip install sleepecg")
    subject = Subject(4, Profile(script="stress"))
    _, values = _render(_spec("ecg", "mV", 250.0), subject, 120)
    found = sleepecg.detect_heartbeats(values[:, 0], 250.0) / 250
    beats = subject.beats(2, 118)
    nearest = np.abs(found[:, None] - beats).min(axis=0)
    assert nearest.max() < 0.05
    assert abs(len(found[(found >= 1.95) & (found < 118.05)]) - len(beats)) <= 1


def test_ecg_is_a_millivolt_in_either_unit() -> None:
    _, milli = _render(_spec("ecg", "mV", 250.0), Subject(1), 10)
    _, micro = _render(_spec("ecg", "uV", 250.0), Subject(1), 10)
    assert micro == pytest.approx(1000 * milli)
    assert milli.max() == pytest.approx(1.0, abs=0.1)


def test_limb_leads_keep_einthovens_signs() -> None:
    _, values = _render(_spec("ecg", "mV", 250.0, "I", "II", "aVR"), Subject(1), 10)
    first, second, right_arm = values[int(np.argmax(values[:, 1]))].tolist()
    assert second > first > 0 > right_arm


@pytest.mark.parametrize("spo2", [70.0, 80.0, 90.0, 97.5])
def test_ratio_of_ratios_gives_the_saturation_within_half_a_percent(spo2: float) -> None:
    subject = Subject(3, Profile(spo2_percent=spo2))
    times_s, values = _render(_spec("ppg", "counts", 64.0, "red", "ir", low=0.0, high=262143.0), subject, 60)
    level = values.mean(axis=0)
    red, infrared = (values - level).T
    ratio = (red @ infrared / (infrared @ infrared)) / (level[0] / level[1])
    assert 110 - 25 * ratio == pytest.approx(subject.spo2(times_s).mean(), abs=0.5)


@pytest.mark.parametrize("heart_rate_bpm", [50.0, 65.0, 110.0])
def test_the_steepest_rise_follows_the_foot_by_the_same_time_at_any_heart_rate(heart_rate_bpm: float) -> None:
    subject = Subject(5, Profile(heart_rate_bpm=heart_rate_bpm))
    times_s, values = _render(_spec("ppg", "counts", 500.0, "ir"), subject, 120, noise_percent=0.0)
    slope = np.gradient(values[:, 0], times_s)
    steepest, _ = find_peaks(slope, height=0.5 * slope.max(), distance=130)
    at = times_s[steepest]
    feet = subject.feet(-2, 120)
    lag_ms = 1000 * (at - feet[np.searchsorted(feet, at) - 1])
    assert len(at) == pytest.approx(len(subject.feet(0, 120)), abs=2)
    assert lag_ms.std() < 4
    # The rising flank of the systolic Gaussian is steepest one standard deviation before its peak: 207 - 80 ms.
    assert lag_ms.mean() == pytest.approx(127, abs=4)


def test_pulse_height_is_the_perfusion() -> None:
    _, values = _render(
        _spec("ppg", "counts", 100.0, "ir", low=0.0, high=200_000.0), Subject(1, Profile(ppg_perfusion_percent=3.0)), 30
    )
    beats_high = [np.ptp(values[k : k + 150, 0]) / np.median(values) for k in range(0, 2800, 150)]
    assert 100 * np.median(beats_high) == pytest.approx(3.0, rel=0.15)


def test_a_pulse_can_point_down_as_light_does() -> None:
    spec = _spec("ppg", "counts", 64.0, "ir")
    _, up = _render(spec, Subject(1), 20, noise_percent=0.0)
    _, down = _render(spec, Subject(1), 20, noise_percent=0.0, upright=False)
    assert up + down == pytest.approx(2 * 50_000)


def test_skin_responses_are_found_at_their_onsets_with_their_heights() -> None:
    subject = Subject(6)
    times_s, values = _render(_spec("eda", "uS", 32.0), subject, 600, noise_us=0.0, drift_us=0.0)
    slope = np.gradient(values[:, 0], times_s)
    truth = subject.scrs(5, 580)
    alone = np.diff(np.concatenate([[-np.inf], subject.scrs(0, 590).onset_s, [np.inf]]))
    every = subject.scrs(0, 590).onset_s
    found = 0
    for onset, amplitude in zip(truth.onset_s, truth.amplitude_us, strict=True):
        here = (times_s > onset - 0.5) & (times_s < onset + 0.5)
        jump = slope[here][-1] - slope[here][0]
        assert jump > 0.1 * amplitude  # it rises from where it was
        number = int(np.flatnonzero(every == onset)[0])
        if alone[number] > 30 and alone[number + 1] > 8:  # nothing else under way
            window = (times_s >= onset) & (times_s < onset + 6)
            assert np.ptp(values[window, 0]) == pytest.approx(amplitude, rel=0.15, abs=0.08)
            found += 1
    assert found >= 2


def test_breaths_are_counted_exactly() -> None:
    subject = Subject(2)
    times_s, values = _render(_spec("respiration", "a.u.", 25.0), subject, 300)
    full, _ = find_peaks(values[:, 0], height=0.2, distance=25)
    breaths = subject.breaths(-10, 300)
    tops = breaths.onset_s + breaths.inspiration_s
    tops = tops[(tops > 0.1) & (tops < 299.9)]
    assert len(full) == len(tops)
    assert np.abs(times_s[full] - tops).max() < 0.3


def test_respiration_in_counts_stays_within_the_rails() -> None:
    _, values = _render(_spec("respiration", "", 25.0, low=0.0, high=1023.0), Subject(2), 120)
    assert 0 < values.min() < values.max() < 1023
    assert np.ptp(values) > 100


def test_the_skin_is_warm_at_rest_and_cools_under_stress() -> None:
    _, rest = _render(_spec("temperature", "C", 4.0), Subject(1), 300, drift_c=0.0)
    _, tense = _render(_spec("temperature", "C", 4.0), Subject(1, Profile(script="stress")), 300, drift_c=0.0)
    assert rest.mean() == pytest.approx(33.5, abs=0.1)
    assert 0.2 < float(rest[480, 0]) - float(tense[340:380].mean()) < 0.7
    assert np.abs(np.diff(tense[:, 0])).max() < 0.1


def test_alpha_stands_out_at_rest_and_arousal_suppresses_it() -> None:
    spec = _spec("eeg", "uV", 256.0, "Fp1", "O1")
    powers = []
    for level in (0.0, 0.9):
        _, values = _render(spec, Subject(1, Profile(script=((0.0, level, 0.0),))), 60, blinks=False)
        frequency, density = welch(values[:, 1], 256, nperseg=512)
        powers.append(density[(frequency >= 9) & (frequency <= 11)].mean())
        beside = density[(frequency >= 15) & (frequency <= 20)].mean()
        assert level > 0 or powers[0] > 5 * beside
    assert powers[1] < 0.4 * powers[0]


def test_eeg_background_falls_with_one_over_f() -> None:
    subject = Subject(1, Profile(alpha_uv=0.0))
    _, values = _render(_spec("eeg", "uV", 256.0, "Cz"), subject, 240, blinks=False, noise_uv=0.0)
    frequency, density = welch(values[:, 0], 256, nperseg=1024)
    band = (frequency >= 1) & (frequency <= 40)
    slope = np.polyfit(np.log(frequency[band]), np.log(density[band]), 1)[0]
    assert -1.5 < slope < -0.8
    assert values.std() == pytest.approx(12, rel=0.15)


def test_blinks_are_on_frontal_electrodes_where_the_subject_blinked() -> None:
    subject = Subject(1, Profile(alpha_uv=0.0))
    times_s, values = _render(_spec("eeg", "uV", 256.0, "Fp1", "O2"), subject, 60, background_uv=0.0, noise_uv=0.0)
    blinks = subject.blinks(0, 59)
    for onset, length, height in zip(blinks.onset_s, blinks.duration_s, blinks.amplitude_uv, strict=True):
        inside = (times_s >= onset) & (times_s <= onset + length)
        assert values[inside, 0].max() >= 0.98 * height
        assert values[inside, 1].max() < 0.2 * height
    assert len(blinks.onset_s) > 5


def test_exg_gives_every_input_a_biopotential_of_its_own() -> None:
    names = tuple(f"ch{n}" for n in range(1, 9))
    _, values = _render(_spec("exg", "uV", 250.0, *names), Subject(1), 20)
    assert values.shape == (5000, 8)
    assert np.all(values.std(axis=0) > 5)
    assert np.all(np.abs(np.asarray(np.corrcoef(values.T))[0, 1:]) < 0.99)


def test_gravity_is_one_g_and_breathing_is_in_it() -> None:
    subject = Subject(1)
    times_s, values = _render(_spec("acceleration", "g", 25.0, "x", "y", "z"), subject, 120)
    assert np.linalg.norm(values, axis=1).mean() == pytest.approx(1.0, abs=0.02)
    assert np.corrcoef(values[:, 2], subject.breathing(times_s))[0, 1] > 0.2
    _, metric = _render(_spec("acceleration", "m/s2", 25.0, "x", "y", "z"), subject, 5)
    assert np.linalg.norm(metric, axis=1).mean() == pytest.approx(9.81, abs=0.2)


def test_steps_are_counted() -> None:
    _, values = _render(_spec("acceleration", "g", 50.0, "x", "y", "z"), Subject(1), 60, steps_per_min=110.0)
    smooth = sosfiltfilt(butter(4, 3.0, fs=50, output="sos"), values[:, 2])
    steps, _ = find_peaks(smooth, height=1.05, distance=15)
    assert len(steps) == pytest.approx(110, abs=1)


def test_affect_is_the_subjects_by_channel_name() -> None:
    subject = Subject(1, Profile(script=((0.0, -0.4, 0.6), (60.0, 0.8, -0.5))))
    times_s, values = _render(_spec("affect", "1", 10.0, "valence", "arousal", "confidence"), subject, 60, noise=0.02)
    assert np.abs(values[:, 0] - subject.valence(times_s)).mean() < 0.03
    assert np.abs(values[:, 1] - subject.arousal(times_s)).mean() < 0.03
    assert 0 <= values[:, 2].min() <= values[:, 2].max() <= 1
    with pytest.raises(SettingError, match="no channel 'anger'"):
        _render(_spec("affect", "1", 10.0, "anger"), subject, 1)


def test_affect_lags_behind_by_its_delay() -> None:
    subject = Subject(1)
    times_s, values = _render(_spec("affect", "1", 10.0, "arousal"), subject, 20, noise=0.0, delay_s=3.0)
    assert np.array_equal(values[:, 0], subject.arousal(times_s - 3.0))


def test_the_strap_reports_the_mean_of_the_last_five_intervals() -> None:
    subject = Subject(1)
    times_s, values = _render(_spec("heart_rate", "bpm", 1.0), subject, 60)
    for at, reported in zip(times_s, values[:, 0], strict=True):
        assert reported == pytest.approx(60 / subject.rr(at - 20, at + 1e-9)[-5:].mean(), rel=1e-9)


def test_rr_events_are_the_intervals_at_the_beats() -> None:
    subject = Subject(1)
    spec = StreamSpec("rr", "rr", ("rr",), "ms", None)
    times_s, values = make_signal({"signal": "rr"}, subject, spec, Draws(0)).events(10.0, 70.0)
    beats = subject.beats(5, 70)
    assert np.array_equal(times_s, beats[beats >= 10])
    assert values[:, 0] == pytest.approx(1000 * np.diff(beats)[-len(times_s) :], abs=1e-9)
    with pytest.raises(SettingError, match="not at 4 Hz"):
        make_signal({"signal": "rr"}, subject, _spec("rr", "ms", 4.0), Draws(0))


def test_raw_waveforms_are_what_mathematics_says() -> None:
    spec = _spec("raw", "mV", 100.0, "a", "b")
    times_s, sine = _render(spec, Subject(0), 3, shape="sine", frequency_hz=2.0, amplitude=1.5, offset=0.5)
    assert np.array_equal(sine[:, 1], 0.5 + 1.5 * np.sin(2 * np.pi * (2.0 * times_s)))
    _, ramp = _render(spec, Subject(0), 1, shape="ramp", frequency_hz=1.0)
    assert ramp[:, 0] == pytest.approx(-1 + 2 * np.arange(100) / 100)
    _, constant = _render(spec, Subject(0), 1, shape="constant", offset=-2.25)
    assert np.all(constant == -2.25)


def test_raw_fills_half_of_the_rails_unless_told_otherwise() -> None:
    _, values = _render(_spec("raw", "counts", 100.0, low=0.0, high=1000.0), Subject(0), 2)
    assert (values.min(), values.max()) == pytest.approx((250, 750), abs=1)
