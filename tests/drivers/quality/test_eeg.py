"""EEG: dose and effect on simulated heads, electrodes written out by hand, and a real head that blinks and clenches."""

from __future__ import annotations

import io
import lzma
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from drivers.quality import FLAGS, StreamScorer, score, scores
from drivers.types import Samples, StreamSpec
from simulators.draws import Draws
from simulators.faults import Where
from simulators.faults.registry import make_fault
from simulators.sensor import digitise
from simulators.signals.registry import make_signal
from simulators.subject import Subject

CYTON = {"lsb": 0.02235, "low": -187500.0, "high": 187500.0}
TWO = StreamSpec("eeg", "eeg", ("Fp1", "O1"), "uV", 250.0, **CYTON)
SITES = ("Fp1", "Fp2", "C3", "C4", "P7", "P8", "O1", "O2")
EIGHT = StreamSpec("eeg", "eeg", SITES, "uV", 250.0, **CYTON)
ONE = StreamSpec("eeg", "eeg", ("Cz",), "uV", 250.0, **CYTON)
SLOW = StreamSpec("eeg", "eeg", ("Fp1", "O1"), "uV", 128.0, lsb=0.5, low=-4000.0, high=4000.0)
SECONDS = 40
ENDS_NS = np.arange(10, SECONDS + 1) * 1_000_000_000
PEOPLE = range(6)


@cache
def clean_head(spec: StreamSpec, seed: int):
    times_s = np.arange(int(SECONDS * spec.rate_hz)) / spec.rate_hz
    signal = make_signal({}, Subject(seed), spec, Draws(seed, "bench", "eeg"))
    return times_s, signal.render(0, times_s), signal.span


def low_share(dosed, spec: StreamSpec, **fault) -> float:
    return float(np.mean([dosed(spec, seed, **fault).score < 0.5 for seed in PEOPLE]))


def pink(seconds: float, channels: int = 1, rate_hz: float = 250.0, rms_uv: float = 12.0, seed: int = 0) -> np.ndarray:
    """Noise whose power falls with 1/f, as that of a head at rest. (n, channels)"""
    count = round(seconds * rate_hz)
    white = np.fft.rfft(np.random.default_rng(seed).standard_normal((count, channels)), axis=0)
    hz = np.fft.rfftfreq(count, 1 / rate_hz)
    wave = np.fft.irfft(white / np.sqrt(np.maximum(hz, 0.5))[:, None], count, axis=0)
    return wave * rms_uv / wave.std(axis=0)


# --- dose and effect --------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [TWO, EIGHT, SLOW], ids=["2", "8", "128 Hz"])
def test_clean_heads_of_twenty_people_stay_good_and_only_their_blinks_are_named(spec, dosed):
    for seed in range(20):
        result = dosed(spec, seed)
        assert result.score.min() >= 0.5
        assert {name for name, raised in result.flags.items() if raised.any()} <= {"blink"}


@pytest.mark.parametrize("fault", [
    {"fault": "white_noise", "level": 0.1},
    {"fault": "spikes", "level": 0.2},
    {"fault": "emg", "level": 0.1},
    {"fault": "motion", "level": 0.1},
    {"fault": "electrode_pop", "level": 0.4},
    {"fault": "baseline_wander", "level": 0.5},
    {"fault": "mains_hum", "level": 0.3},
    {"fault": "mains_hum", "level": 3.0, "frequency_hz": 60.0},
], ids=str)  # fmt: skip
def test_a_disturbance_that_hurts_no_brain_wave_leaves_the_score_good(fault, dosed):
    assert low_share(dosed, TWO, **fault) <= 0.02


@pytest.mark.parametrize(("flag", "fault"), [
    ("noise", {"fault": "white_noise", "level": 0.7}),
    ("noise", {"fault": "emg", "level": 0.8}),
    ("pop", {"fault": "spikes", "level": 4.0}),
    ("pop", {"fault": "electrode_pop", "level": 8.0}),
    ("motion", {"fault": "motion", "level": 2.0}),
    ("baseline", {"fault": "baseline_wander", "level": 6.0}),
    ("saturated", {"fault": "clipping", "fraction": 0.8}),
    ("flat", {"fault": "hold", "fraction": 0.7}),
    ("flat", {"fault": "flatline", "fraction": 1.0}),
    ("saturated", {"fault": "lead_off", "fraction": 1.0}),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("spec", [TWO, EIGHT, SLOW], ids=["2", "8", "128 Hz"])
def test_a_disturbance_that_ruins_the_waves_is_scored_low_and_named(spec, flag, fault, dosed):
    results = [dosed(spec, seed, **fault) for seed in PEOPLE]
    assert np.mean([result.score < 0.5 for result in results]) >= 0.95
    assert np.mean([result.flags[flag] for result in results]) >= 0.8


@pytest.mark.parametrize(("name", "levels"), [
    ("white_noise", (0.05, 0.2, 0.3, 0.4, 0.7)),
    ("emg", (0.05, 0.15, 0.25, 0.5)),
    ("baseline_wander", (0.5, 1.0, 2.0, 6.0)),
    ("motion", (0.1, 1.0, 1.5, 3.0)),
])  # fmt: skip
def test_more_of_it_never_makes_an_eeg_better(name, levels, dosed):
    medians = [np.median([dosed(TWO, seed, fault=name, level=level).score for seed in PEOPLE]) for level in levels]
    assert medians == sorted(medians, reverse=True)
    assert medians[0] > 0.9
    assert medians[-1] < 0.2


@pytest.mark.parametrize("fault", ["white_noise", "emg", "motion", "spikes", "electrode_pop", "hold", "clipping"])
def test_every_low_score_is_explained_by_a_part_and_a_flag(fault, dosed):
    for seed in PEOPLE:
        result = dosed(EIGHT, seed, fault=fault)
        low = result.score < 0.5
        assert np.all(np.min(list(result.parts.values()), axis=0)[low] < 0.5)
        assert np.all(np.any(list(result.flags.values()), axis=0)[low])
        assert set(result.flags) <= set(FLAGS)


# --- by hand ----------------------------------------------------------------------------------


def one_eeg(values: np.ndarray, spec: StreamSpec = ONE):
    return score(np.round(values / 0.02235) * 0.02235, spec.rate_hz, spec)


@pytest.mark.parametrize("mains_hz", [None, 60.0])
@pytest.mark.parametrize("off_hz", [0.0, 0.09, -0.15])
def test_mains_thirty_times_as_strong_as_the_brain_are_named_and_cost_nothing_even_off_their_frequency(
    mains_hz, off_hz
):
    spec = StreamSpec("eeg", "eeg", ("Cz",), "uV", 250.0, mains_hz=mains_hz, **CYTON)
    t = np.arange(1000)[:, None] / 250
    hum = 500 * np.sin(2 * np.pi * (60 + off_hz) * t + 0.3) * (1 + 0.02 * t)
    clean = pink(4)
    plain, humming = one_eeg(clean, spec), one_eeg(clean + hum, spec)
    assert humming.flags == {"hum"}
    assert plain.flags == frozenset()
    assert humming.score == pytest.approx(plain.score, abs=0.1)


def test_mains_that_swell_and_fade_faster_than_a_notch_follows_are_held_against_it():
    t = np.arange(1000)[:, None] / 250
    throbbing = 100 * (1 + np.sin(2 * np.pi * 1.5 * t)) * np.sin(2 * np.pi * 50 * t)
    found = one_eeg(pink(4) + throbbing)
    assert found.score < 0.5
    assert found.parts["mains"] < 0.5
    assert "hum" in found.flags


def test_mains_that_drive_the_amplifier_into_its_rails_are_saturation():
    spec = StreamSpec("eeg", "eeg", ("A1",), "uV", 250.0, lsb=0.08, low=-40.0, high=40.0)
    t = np.arange(1000)[:, None] / 250
    found = one_eeg(np.clip(pink(4, rms_uv=8) + 80 * np.sin(2 * np.pi * 50 * t), -40, 40), spec)
    assert found.score < 0.5
    assert "saturated" in found.flags


@pytest.mark.parametrize("height_uv", [100.0, 200.0, -150.0])
def test_a_blink_is_named_and_no_fault(height_uv):
    values = pink(4)
    values[500:575, 0] += height_uv * np.sin(np.pi * np.arange(75) / 75) ** 2
    found = one_eeg(values)
    assert "blink" in found.flags
    assert 0.5 <= found.score < one_eeg(pink(4)).score
    assert "blink" not in one_eeg(pink(4)).flags


def test_five_hard_blinks_in_a_row_still_leave_the_electrode_good():
    values = pink(4)
    for begin in range(250, 750, 100):
        values[begin : begin + 75, 0] += 250 * np.sin(np.pi * np.arange(75) / 75) ** 2
    found = one_eeg(values)
    assert found.score >= 0.5
    assert found.flags == {"blink"}


def heads(seed: int = 1) -> np.ndarray:
    """Eight electrodes that see one common brain and a little of their own, as through a skull. (1000, 8)"""
    return pink(4, seed=seed) + pink(4, channels=8, rms_uv=6, seed=seed + 100)


def test_an_electrode_that_sees_nothing_of_what_all_others_see_has_no_contact():
    good = one_eeg(heads(), EIGHT)
    assert good.score > 0.9
    alone = heads()
    alone[:, 3] = pink(4, rms_uv=13, seed=77)[:, 0]
    found = one_eeg(alone, EIGHT)
    assert found.score < 0.5
    assert found.parts["contact"] < 0.5
    assert "off_body" in found.flags


def test_electrodes_that_all_see_something_else_are_not_called_loose():
    found = one_eeg(pink(4, channels=8), EIGHT)
    assert found.parts["contact"] > 0.9


def test_one_stuck_electrode_among_many_is_found():
    values = heads()
    values[:, 5] = 12.0
    found = one_eeg(values, EIGHT)
    assert found.score == 0
    assert "flat" in found.flags


def test_a_dead_input_that_is_only_noise_of_its_amplifier_is_flat():
    found = one_eeg(np.random.default_rng(0).normal(0, 0.3, (1000, 1)))
    assert found.score < 0.5
    assert "flat" in found.flags


def test_a_unit_without_volts_is_judged_by_proportions():
    counts = StreamSpec("eeg", "eeg", ("Cz",), "counts", 250.0, lsb=1.0)
    wave = np.round(pink(4) * 900)
    assert score(wave, 250.0, counts).score > 0.9
    spiky = wave.copy()
    spiky[300] += 400 * 900
    assert "pop" in score(spiky, 250.0, counts).flags
    noisy = wave + np.round(np.random.default_rng(1).normal(0, 25 * 900, wave.shape))
    assert "noise" in score(noisy, 250.0, counts).flags


@pytest.mark.parametrize("rate_hz", [1.0, 5.0, 33.0, 99.0, 121.0, 4000.0])
@pytest.mark.parametrize("unit", ["uV", "V", "counts"])
@pytest.mark.parametrize("size", [0.0, 1e-12, 30.0, 1e12])
def test_no_rate_unit_or_size_makes_a_score_raise_or_leave_its_range(rate_hz, unit, size):
    spec = StreamSpec("eeg", "eeg", SITES[:5], unit, rate_hz)
    values = size * np.random.default_rng(0).standard_normal((max(3, round(4 * rate_hz)), 5))
    assert 0 <= score(values, rate_hz, spec).score <= 1


@pytest.mark.parametrize("seconds", [2, 3])
def test_the_first_seconds_are_judged_as_later_ones_are(seconds):
    count = seconds * 250
    for seed in PEOPLE:
        _, values, span = clean_head(TWO, seed)
        for begin in range(0, len(values) - count, count):
            part = digitise(values[begin : begin + count], TWO)
            assert score(part, 250.0, TWO).score >= 0.5
            loud = part + np.random.default_rng(begin).normal(0, 0.7 * span, part.shape)
            assert score(digitise(loud, TWO), 250.0, TWO).score < 0.5


@pytest.mark.parametrize("spec", [TWO, EIGHT, SLOW], ids=["2", "8", "128 Hz"])
def test_a_window_scores_the_same_to_the_last_bit_alone_among_others_and_as_it_comes(spec):
    times_s, values, span = clean_head(spec, 3)
    values = values.copy()
    where = Where("bench", 0, Draws(3, "fault"), lambda truth: None, spec, span)
    values = make_fault({"fault": "emg", "level": 0.25}).bind(where).apply(0, times_s, values)
    values = digitise(values + 40 * np.sin(2 * np.pi * 50.03 * times_s)[:, None], spec)
    times = np.rint(times_s * 1e9).astype(np.int64)
    together = scores(values, times, spec, ENDS_NS)
    count = round(4 * spec.rate_hz)
    online = StreamScorer(spec)
    for number, end_ns in enumerate(ENDS_NS.tolist()):
        stop = round(end_ns * spec.rate_hz / 1e9)
        alone = score(values[stop - count : stop], spec.rate_hz, spec)
        assert {**alone.parts} == {name: part[number] for name, part in together.parts.items()}
        assert alone.flags == together.at(number).flags
    online.update(Samples("eeg", values, np.arange(len(values)), times, None), times)
    assert online.score().parts == together.at(len(ENDS_NS) - 1).parts


# --- a real head ------------------------------------------------------------------------------


@cache
def cyton_recording(folder: Path) -> np.ndarray:
    path = folder / "openbci_eeg_blinks_jaw_alpha.npz.xz"
    if not path.exists():
        pytest.skip(f"needs {path.name}, a recording that is not part of the project: pytest --data DIR")
    return np.load(io.BytesIO(lzma.decompress(path.read_bytes())))["x"].astype(np.float64)


def judged_recording(pytestconfig: pytest.Config, channel: int, ends_s: list[int]):
    wave = cyton_recording(pytestconfig.getoption("--data"))[:, [channel]]
    times = np.rint(np.arange(len(wave)) * 4e6).astype(np.int64)
    return scores(wave, times, ONE, np.array(ends_s) * 1_000_000_000)


@pytest.mark.parametrize("channel", range(8))
def test_a_real_head_at_rest_with_closed_eyes_is_good_under_its_heavy_hum(pytestconfig, channel):
    result = judged_recording(pytestconfig, channel, list(range(30, 76)))
    assert result.score.min() >= 0.5
    assert result.flags["hum"].all()
    assert not result.flags["noise"].any()


@pytest.mark.parametrize(("channel", "ends_s"), [(2, [10, 11, 12, 13, 84, 85]), (5, [12, 13, 14, 15, 85, 86])])
def test_a_clenched_jaw_is_noise(pytestconfig, channel, ends_s):
    result = judged_recording(pytestconfig, channel, ends_s)
    assert result.score.max() < 0.5
    assert result.flags["noise"].all()


@pytest.mark.parametrize("channel", [0, 1])
def test_real_blinks_are_named_over_the_eyes_and_leave_them_good(pytestconfig, channel):
    result = judged_recording(pytestconfig, channel, [8, 17, 18])
    assert result.flags["blink"].all()
    assert result.score.min() >= 0.5
