"""The noise of an input is measured in its own unit beside a signal, and what is no noise of the input is kept apart.

White noise of a known rms is added to signals without noise; its rms is the expected value, and of its peak-to-peak the
expectation for normal noise (Tippett's table: 3.078 standard deviations of 10 draws, 5.015 of 100, 6.483 of 1000).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drivers.types import StreamSpec
from harness.checks.noise_floor import LIMITS, check
from harness.floor import range_of
from harness.recording import StreamData
from harness.verdict import Outcome
from simulators.draws import Draws
from simulators.faults import Where
from simulators.faults.registry import make_fault
from simulators.signals.registry import load_signal
from simulators.subject import Subject, make_profile

S = 1_000_000_000
CLEAN = {
    "ecg": "noise_uv",
    "ppg": "noise_percent",
    "eda": "noise_us",
    "temperature": "noise_c",
    "acceleration": "noise_g",
}


def spec_of(kind, unit, rate_hz, channels=("x",), **changes):
    return StreamSpec(kind, kind, channels, unit, rate_hz, counted=True, **changes)


def rendered(spec, seconds=60.0, bpm=66, **options):
    """A signal without noise, (n, channels)."""
    made = load_signal(spec.kind)
    subject = Subject(3, make_profile({"heart_rate_bpm": bpm}))
    options = {CLEAN[spec.kind]: 0.0, **options} if spec.kind in CLEAN else options
    times_s = np.arange(round(seconds * spec.rate_hz)) / spec.rate_hz + 5
    return made.signal(subject, spec, Draws(3, spec.name), made.OPTIONS(**options)).render(0, times_s)


def noisy(values, rms, seed=0):
    return values + rms * np.random.default_rng(seed).standard_normal(values.shape)


def rounded(values, lsb):
    return np.rint(values / lsb) * lsb


def data(spec, values, keep=slice(None)):
    index = np.arange(len(values))[keep]
    time_ns = np.rint(index * 1e9 / spec.rate_hz).astype(np.int64) + 100 * S
    return StreamData("chest", spec, values[keep], index, np.zeros(len(index), np.int64), time_ns, time_ns, None)


def judged(a_recording, stream, seconds=60.0, **limits):
    (verdict,) = check(a_recording([stream], stop_ns=round((100 + seconds) * S)), LIMITS(**limits))
    return verdict


INPUTS = [
    ("ecg", "uV", 250.0, 20.0), ("ecg", "mV", 130.0, 0.02), ("ecg", "uV", 1000.0, 20.0), ("ppg", "counts", 64.0, 500.0),
    ("ppg", "counts", 25.0, 500.0), ("acceleration", "g", 50.0, 0.05), ("eda", "uS", 8.0, 0.1),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "unit", "rate_hz", "rms"), INPUTS)
def test_white_noise_beside_a_signal_is_measured_within_a_tenth(a_recording, kind, unit, rate_hz, rms):
    rails = {"low": 0.0, "high": 262143.0} if kind == "ppg" else {}
    spec = spec_of(kind, unit, rate_hz, **rails)
    clean = rendered(spec)
    verdict = judged(a_recording, data(spec, noisy(clean, rms)))
    expected = {"ecg": 20.0 * range_of(round(10 * rate_hz)), "acceleration": 50.0, "eda": 0.1}.get(kind)
    if kind == "ppg":
        expected = 100 * rms / float(np.median(clean))
    assert verdict.value == pytest.approx(expected, rel=0.1)
    assert verdict.low < verdict.value < verdict.high
    assert verdict.outcome is Outcome.FAIL


@pytest.mark.parametrize("rms", [0.03, 0.3])
def test_the_noise_of_a_slow_thermometer_is_measured_with_the_interval_that_it_says(a_recording, rms):
    spec = spec_of("temperature", "degC", 4.0)
    found = [judged(a_recording, data(spec, noisy(rendered(spec), rms, seed))) for seed in range(20)]
    assert np.median([v.value for v in found]) == pytest.approx(rms, rel=0.1)
    assert sum(v.low <= rms <= v.high for v in found) >= 18  # 19 are to be expected, and 17 or fewer in 1 of 13 times


@pytest.mark.parametrize("bpm", [45, 66, 150])
@pytest.mark.parametrize(("kind", "unit", "rate_hz"), [each[:3] for each in INPUTS])
def test_a_simulated_signal_as_it_is_stays_below_the_limits(a_recording, kind, unit, rate_hz, bpm):
    rails = {"low": 0.0, "high": 262143.0} if kind == "ppg" else {}
    spec = spec_of(kind, unit, rate_hz, **rails)
    made = load_signal(kind)
    usual = {CLEAN[kind]: getattr(made.OPTIONS(), CLEAN[kind])}
    verdict = judged(a_recording, data(spec, rendered(spec, bpm=bpm, **usual)))
    assert verdict.outcome is Outcome.PASS, verdict


def test_the_expected_range_of_normal_noise_is_tippetts():
    for count, expected in ((10, 3.078), (100, 5.015), (1000, 6.483)):
        assert range_of(count) == pytest.approx(expected, rel=0.01)


def test_with_shorted_inputs_the_peak_to_peak_is_read_off(a_recording):
    spec = spec_of("ecg", "uV", 250.0)
    values = noisy(np.zeros((15000, 1)), 2.0)
    verdict = judged(a_recording, data(spec, values))
    most = max(float(np.ptp(values[k * 250 : k * 250 + 2500])) for k in range(51))
    assert verdict.value == pytest.approx(most)
    assert verdict.outcome is Outcome.PASS
    assert "nothing else on the input" in verdict.reason


def test_a_short_knock_on_shorted_inputs_counts(a_recording):
    """It is not beside a signal: in ten seconds of a shorted input nothing may exceed the limit."""
    spec = spec_of("ecg", "uV", 250.0)
    values = noisy(np.zeros((15000, 1)), 2.0)
    values[7000:7003] += 120
    verdict = judged(a_recording, data(spec, values))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value > 110


def test_hum_is_not_the_floor_and_is_named(a_recording):
    spec = spec_of("ecg", "uV", 250.0)
    time_s = np.arange(15000) / 250
    hum = 300 * np.sin(2 * np.pi * 50 * time_s) + 60 * np.sin(2 * np.pi * 100 * time_s)
    verdict = judged(a_recording, data(spec, noisy(rendered(spec), 4.0) + hum[:, None]))
    assert verdict.outcome is Outcome.PASS, verdict
    told = float(verdict.reason.split("the mains' ")[1].split(" ")[0])
    assert told == pytest.approx(np.sqrt((300**2 + 60**2) / 2), rel=0.1)


def damaged(spec, values, fault):
    where = Where(
        "chest", 0, Draws(5, "fault"), lambda truth: None, spec, float(np.ptp(np.quantile(values, (0.01, 0.99))))
    )
    return make_fault(fault).bind(where).apply(0, np.arange(len(values)) / spec.rate_hz, values)


@pytest.mark.parametrize("level", [0.1, 0.35, 1.5])
def test_muscle_that_rests_now_and_then_is_not_the_floor(a_recording, level):
    spec = spec_of("ecg", "uV", 250.0)
    values = damaged(spec, noisy(rendered(spec), 4.0), {"fault": "emg", "level": level})
    verdict = judged(a_recording, data(spec, values))
    assert verdict.outcome is Outcome.PASS, verdict
    assert "as with muscle or a loose contact" in verdict.reason


@pytest.mark.parametrize("fault", ["baseline_wander", "electrode_pop", "flatline", "lead_off", "spikes", "mains_hum"])
def test_what_is_no_noise_moves_the_floor_by_less_than_a_fifth(a_recording, fault):
    spec = spec_of("ecg", "uV", 250.0, low=-187500.0, high=187500.0)
    values = noisy(rendered(spec), 4.0)
    before = judged(a_recording, data(spec, values))
    after = judged(a_recording, data(spec, damaged(spec, values, {"fault": fault})))
    assert after.value == pytest.approx(before.value, rel=0.2)
    assert after.outcome is Outcome.PASS


def test_movement_is_told_by_its_colour_and_fails_nothing(a_recording):
    spec = spec_of("ecg", "uV", 250.0)
    values = damaged(spec, noisy(rendered(spec), 4.0), {"fault": "motion", "level": 0.5})
    verdict = judged(a_recording, data(spec, values))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "octave below" in verdict.reason


def test_noise_below_the_converters_step_is_at_most_the_step(a_recording):
    spec = spec_of("eda", "uS", 8.0, lsb=0.05)
    values = rounded(noisy(rendered(spec), 0.001), 0.05)
    verdict = judged(a_recording, data(spec, values))
    assert verdict.value == pytest.approx(0.05 / np.sqrt(12))
    assert verdict.outcome is Outcome.PASS
    verdict = judged(a_recording, data(spec, values), max_eda_us=0.01)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "too coarse for this limit" in verdict.reason


def test_a_step_that_does_not_hide_the_noise_adds_its_own(a_recording):
    spec = spec_of("eda", "uS", 8.0, lsb=0.05)
    verdict = judged(a_recording, data(spec, rounded(noisy(rendered(spec), 0.05), 0.05)))
    assert verdict.value == pytest.approx(np.sqrt(0.05**2 + 0.05**2 / 12), rel=0.1)
    assert verdict.outcome is Outcome.FAIL


def test_a_loss_does_not_look_like_silence_of_the_input(a_recording):
    """Bridged samples are straight lines, and a floor that counted them would be too low."""
    spec = spec_of("ecg", "uV", 250.0)
    keep = (np.arange(15000) // 250) % 2 == 0
    verdict = judged(a_recording, data(spec, noisy(rendered(spec), 20.0), keep))
    assert verdict.value == pytest.approx(20 * range_of(2500), rel=0.1)


def test_the_worst_channel_counts_and_is_named(a_recording):
    spec = spec_of("ecg", "uV", 250.0, channels=("i", "ii"))
    values = rendered(spec)
    values[:, 1] = noisy(values[:, 1], 30.0)
    verdict = judged(a_recording, data(spec, values))
    assert verdict.value == pytest.approx(30 * range_of(2500), rel=0.1)
    assert "on ii" in verdict.reason


def test_a_pleth_without_its_steady_light_is_held_to_its_pulse(a_recording):
    spec = spec_of("ppg", "counts", 75.0, lsb=1.0, low=0.0, high=65535.0)
    light = rendered(replace(spec, low=0.0, high=262143.0))
    pulse = light - light.min() + 100.0
    height = float(np.ptp(np.quantile(pulse, (0.02, 0.98))))
    verdict = judged(a_recording, data(spec, noisy(pulse, 0.08 * height)))
    assert verdict.value == pytest.approx(8.0, rel=0.15)  # its height with the noise on it is a little more
    assert verdict.unit == "% of the pulse"
    assert verdict.outcome is Outcome.FAIL


def test_a_unit_that_is_none_of_the_limits_is_said(a_recording):
    spec = spec_of("eda", "counts", 8.0)
    verdict = judged(a_recording, data(spec, noisy(np.full((480, 1), 300.0), 1.0)))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "'counts'" in verdict.reason


def test_a_dead_input_and_an_empty_stream_are_no_pass(a_recording):
    spec = spec_of("ecg", "uV", 250.0)
    stepped = replace(spec, lsb=0.02)
    assert judged(a_recording, data(spec, np.zeros((15000, 1)))).outcome is Outcome.INCONCLUSIVE
    assert judged(a_recording, data(stepped, np.zeros((15000, 1)))).outcome is Outcome.INCONCLUSIVE
    assert judged(a_recording, data(spec, np.zeros((0, 1)))).outcome is Outcome.INCONCLUSIVE


def test_a_rig_of_numbers_has_no_noise_to_judge(a_recording):
    spec = spec_of("heart_rate", "bpm", 1.0)
    assert judged(a_recording, data(spec, np.full((60, 1), 66.0))).outcome is Outcome.NOT_RUN


@pytest.mark.parametrize("limit", ["max_ecg_uv_pp", "max_eeg_uv_rms", "max_ppg_percent", "max_eda_us"])
def test_a_limit_of_nothing_is_refused(limit):
    with pytest.raises(ValueError, match=limit):
        LIMITS(**{limit: 0.0})
