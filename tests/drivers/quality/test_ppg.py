"""The score of light on signals written out by hand: which wavelength counts, which rhythm, which light."""

import numpy as np
import pytest

from drivers.quality import score, scores
from drivers.quality.ppg import Pulses
from drivers.quality.pulse_band import BAND_RATE_HZ, PulseBand
from drivers.types import StreamSpec

RATE_HZ = 64.0
BOTH = StreamSpec("ppg", "ppg", ("red", "infrared"), "counts", RATE_HZ, lsb=1.0, low=0.0, high=262143.0)
ONE = StreamSpec("ppg", "ppg", ("infrared",), "counts", RATE_HZ, lsb=1.0, low=0.0, high=262143.0)
CAMERA = StreamSpec("ppg", "ppg", ("red", "green", "blue"), "counts", 30.0, low=0.0, high=255.0)


def pulse_train(beats_s: np.ndarray, heights: np.ndarray, seconds: float, rate_hz: float = RATE_HZ) -> np.ndarray:
    """A systolic wave and a dicrotic one for each beat, 1 high."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = np.zeros(len(t))
    for beat, height in zip(beats_s, heights, strict=True):
        wave += height * np.exp(-0.5 * ((t - beat - 0.2) / 0.08) ** 2)
        wave += 0.2 * height * np.exp(-0.5 * ((t - beat - 0.5) / 0.13) ** 2)
    return wave


def regular(seconds: float = 10.0, bpm: float = 70.0, rate_hz: float = RATE_HZ) -> np.ndarray:
    beats = np.arange(-2.0, seconds + 1, 60 / bpm)
    return pulse_train(beats, np.ones(len(beats)), seconds, rate_hz)


def light(wave: np.ndarray, steady: float = 100_000.0, perfusion_percent: float = 2.0, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.005 * perfusion_percent / 100 * steady, len(wave))
    return np.rint(steady * (1 + perfusion_percent / 100 * wave) + noise)


def noise_alone(count: int, seed: int = 0) -> np.ndarray:
    return np.rint(100_000 + np.random.default_rng(seed).normal(0, 500, count))


# --- which light ----------------------------------------------------------------------------------------------------


def test_the_worst_of_two_wavelengths_counts_since_saturation_needs_both():
    good, bad = light(regular()), noise_alone(640)
    assert score(np.stack([good, good], axis=1), RATE_HZ, BOTH).score > 0.9
    assert score(np.stack([good, bad], axis=1), RATE_HZ, BOTH).score < 0.5
    assert score(np.stack([bad, good], axis=1), RATE_HZ, BOTH).score < 0.5


def test_one_dead_light_is_flat_though_the_other_moves():
    found = score(np.stack([np.full(640, 5000.0), light(regular())], axis=1), RATE_HZ, BOTH)
    assert found.score < 0.5
    assert "flat" in found.flags


def test_the_best_wavelength_tells_the_perfusion_since_red_has_half_the_pulse():
    values = np.stack([light(regular(), perfusion_percent=0.25), light(regular(), perfusion_percent=0.5)], axis=1)
    found = score(values, RATE_HZ, BOTH)
    assert found.score > 0.5
    assert "low_perfusion" not in found.flags


def test_of_a_camera_the_best_colour_counts_since_only_the_pulse_is_wanted():
    """Behind a lit fingertip green and blue may be black."""
    red = 240 - 2 * regular(rate_hz=30.0) + np.random.default_rng(1).normal(0, 0.02, 300)
    values = np.stack([red, np.zeros(300), np.random.default_rng(2).normal(12, 0.3, 300)], axis=1)
    found = score(values, 30.0, CAMERA)
    assert found.score > 0.9
    assert not found.flags
    assert score(values[:, [1, 1, 2]], 30.0, CAMERA).score < 0.5


def test_light_that_falls_with_blood_scores_as_light_that_rises_with_it():
    up, down = light(regular()), 200_000 - light(regular())
    ends = np.array([10_000_000_000])
    times_ns = np.rint(np.arange(640) * 1e9 / RATE_HZ).astype(np.int64)
    assert scores(down[:, None], times_ns, ONE, ends).score == pytest.approx(
        scores(up[:, None], times_ns, ONE, ends).score, abs=1e-3
    )


def test_an_input_without_steady_light_is_not_judged_by_perfusion():
    """A wristband's blood volume pulse is about zero."""
    spec = StreamSpec("bvp", "ppg", ("bvp",), "a.u.", RATE_HZ)
    values = 50 * (regular() - 0.3) + np.random.default_rng(0).normal(0, 0.3, 640)
    found = score(values[:, None], RATE_HZ, spec)
    assert found.score > 0.9
    assert found.parts["perfusion"] == 1.0


# --- which rhythm ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bpm", [40, 60, 90, 120, 150])
def test_any_heart_rate_at_rest_or_at_work_is_good(bpm):
    values = light(regular(bpm=bpm))
    assert score(values[:, None], RATE_HZ, ONE).score > 0.7
    assert Pulses.of(PulseBand.of(values[None, :], RATE_HZ)).rate[0] == pytest.approx(bpm, abs=1.0)


@pytest.mark.parametrize("bpm", [170, 200, 220])
def test_a_heart_at_its_fastest_is_not_taken_for_one_of_half_the_rate(bpm):
    t = np.arange(640) / RATE_HZ
    values = light(sum(np.exp(-0.5 * ((t - beat - 0.1) / 0.05) ** 2) for beat in np.arange(-1.0, 11.0, 60 / bpm)))
    assert score(values[:, None], RATE_HZ, ONE).score > 0.7
    assert Pulses.of(PulseBand.of(values[None, :], RATE_HZ)).rate[0] == pytest.approx(bpm, abs=1.0)


@pytest.mark.parametrize("seed", range(8))
def test_an_irregular_heart_is_no_fault_of_the_light(seed):
    """Atrial fibrillation: intervals without order, and each pulse as high as the pause before it lets it be."""
    random = np.random.default_rng(seed)
    intervals = 0.75 * np.clip(np.exp(random.normal(0, 0.2, 40)), 0.6, 1.8)
    heights = np.clip(0.35 + 0.65 * np.roll(intervals, 1) / 0.75, 0.3, 1.3)
    values = light(pulse_train(np.cumsum(intervals) - 1, heights, 10.0))
    found = score(values[:, None], RATE_HZ, ONE)
    assert found.score >= 0.5
    assert not found.flags


def test_pulses_of_which_half_are_missed_or_doubled_are_not_usable():
    """An echo nearly as high as the pulse: whether it is one, nobody can tell."""
    beats = np.arange(-2.0, 11, 0.95)
    echo = beats + 0.42 + np.random.default_rng(3).normal(0, 0.05, len(beats))
    heights = np.random.default_rng(4).uniform(0.3, 0.8, len(beats))
    values = light(pulse_train(np.concatenate([beats, echo]), np.concatenate([np.ones(len(beats)), heights]), 10.0))
    found = score(values[:, None], RATE_HZ, ONE)
    assert found.score < 0.5
    assert "motion" in found.flags


def test_noise_that_has_no_pulse_at_all_is_low():
    for seed in range(10):
        assert score(noise_alone(640, seed)[:, None], RATE_HZ, ONE).score < 0.3


# --- what is in the way ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [
    np.full(640, 262143.0),  # transmission: nothing in between
    np.rint(60 + np.random.default_rng(0).normal(0, 3, 640)),  # reflection: nothing sends light back
    np.rint(100_000 + np.random.default_rng(0).normal(0, 1.2, 640)),  # steady light that no blood moves
])  # fmt: skip
def test_light_without_a_finger_is_off_the_body(values):
    found = score(values[:, None], RATE_HZ, ONE)
    assert found.score < 0.5
    assert "off_body" in found.flags


def test_a_dark_sensor_with_a_fine_pulse_is_on_the_body():
    found = score(light(regular(), steady=2000.0, perfusion_percent=5.0)[:, None], RATE_HZ, ONE)
    assert found.score > 0.5
    assert "off_body" not in found.flags


def test_two_mediocre_windows_do_not_tie():
    """A ranking of windows by score is of use only where they differ."""
    random = np.random.default_rng(0)
    wave = light(regular(400.0))
    values = wave + 20_00 * 0.12 * random.normal(size=len(wave)) * np.linspace(0.5, 2, len(wave))
    times_ns = np.rint(np.arange(len(values)) * 1e9 / RATE_HZ).astype(np.int64)
    found = scores(values[:, None], times_ns, ONE, np.arange(10, 401) * 1_000_000_000)
    assert len(np.unique(found.score)) == len(found.score)


# --- bands ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [25.0, 64.0, 1000.0])
def test_a_band_is_what_a_zero_phase_filter_leaves_at_whatever_rate(rate_hz):
    """Against scipy's sosfiltfilt of the first-order band, whose gain forwards and back is the same."""
    t = np.arange(round(20 * rate_hz)) / rate_hz
    tones = 3.0 + 0.5 * t + sum(np.sin(2 * np.pi * hz * t + hz) for hz in (0.2, 1.1, 2.2, 6.0))
    found = PulseBand.of(tones[None, :], rate_hz).bands((0.5, 8.0))[0][0]
    at = (np.arange(len(found)) + 0.5) / BAND_RATE_HZ - 0.5 / rate_hz
    gain = {hz: 1 / ((1 + (0.5 / hz) ** 4) * (1 + (hz / 8.0) ** 4)) for hz in (0.2, 1.1, 2.2, 6.0)}
    expected = sum(gain[hz] * np.sin(2 * np.pi * hz * at + hz) for hz in gain)
    inner = slice(int(4 * BAND_RATE_HZ), -int(4 * BAND_RATE_HZ))
    assert np.abs(found - expected)[inner].max() < 0.02


def test_levels_add_up_to_the_rms_of_the_whole():
    values = np.random.default_rng(0).normal(0, 2.0, (3, 1000))
    band = PulseBand.of(values, 100.0)
    straight = values[:, :1] + (values[:, -1:] - values[:, :1]) / 999 * np.arange(1000)
    whole = np.sqrt(np.mean((values - straight) ** 2, axis=1))
    parts = np.sqrt(band.rms(0, 5) ** 2 + band.rms(5, 20) ** 2 + band.rms(20, 60) ** 2)
    assert parts == pytest.approx(whole, rel=2e-3)
