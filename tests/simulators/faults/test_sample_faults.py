"""What every sample fault does, measured on what comes out, and compared with what it told."""

import numpy as np
import pytest

RATE_HZ = 250.0
SPAN = 2.0


def clock(seconds: float, rate_hz: float = RATE_HZ) -> np.ndarray:
    return np.arange(round(seconds * rate_hz)) / rate_hz


def still(times: np.ndarray, channels: int = 1) -> np.ndarray:
    return np.zeros((len(times), channels))


def noisy(times: np.ndarray, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(2).standard_normal((len(times), channels))


def share_between(wave: np.ndarray, rate_hz: float, low_hz: float, high_hz: float) -> float:
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    frequency = np.fft.rfftfreq(len(wave), 1 / rate_hz)
    return float(power[(frequency >= low_hz) & (frequency <= high_hz)].sum() / power.sum())


def changed(truth) -> int:
    return sum(entry.detail["samples"] for entry in truth)


@pytest.mark.parametrize(("kind", "level"), [("ecg", 3.0), ("ppg", 8.0)])
def test_baseline_wander_is_three_tones_between_a_twentieth_and_half_a_hertz(run_samples, kind, level):
    times = clock(800, 10)
    out, truth = run_samples({"fault": "baseline_wander"}, times, still(times), kind=kind, rate_hz=10, span=SPAN)
    wave = out[:, 0]
    assert share_between(wave, 10, 0.045, 0.505) > 0.9999
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    inner = spectrum[1:-1]
    peaks = np.flatnonzero((inner > spectrum[:-2]) & (inner > spectrum[2:]) & (inner > 0.3 * spectrum.max()))
    assert len(peaks) == 3
    assert np.std(wave) == pytest.approx(level * SPAN * np.sqrt(3 / 2), rel=0.03)  # three sines of this amplitude
    assert changed(truth) == len(times)
    assert truth[0].detail["level"] == level


def test_hum_has_the_asked_amplitude_at_the_mains_frequency_and_weak_harmonics(run_samples):
    times = clock(10)
    asked = {"fault": "mains_hum", "level": 0.4}
    wave = run_samples(asked, times, still(times), span=SPAN)[0][:, 0]
    amplitude = 2 * np.abs(np.fft.rfft(wave)) / len(wave)
    assert amplitude[500] == pytest.approx(0.4 * SPAN, rel=1e-6)  # bins of 0.1 Hz
    assert amplitude[1000] == pytest.approx(0.02 * 0.4 * SPAN, rel=1e-6)
    rest = np.delete(amplitude, [500, 1000])  # 150 Hz lies beyond half of 250 Hz
    assert rest.max() < 1e-9


def test_hum_of_sixty_hertz_is_at_sixty_hertz(run_samples):
    times = clock(10)
    wave = run_samples({"fault": "mains_hum", "frequency_hz": 60}, times, still(times))[0][:, 0]
    assert np.argmax(np.abs(np.fft.rfft(wave))) == 600


def test_hum_on_a_slow_stream_is_aliased(run_samples):
    times = clock(10, 64)
    wave = run_samples({"fault": "mains_hum"}, times, still(times), rate_hz=64)[0][:, 0]
    assert np.argmax(np.abs(np.fft.rfft(wave))) == 140  # 64 - 50 Hz, bins of 0.1 Hz


def test_emg_fills_its_band_in_the_seconds_that_it_tells(run_samples):
    times = clock(400)
    out, truth = run_samples({"fault": "emg", "level": 0.35}, times, still(times, 2), span=SPAN)
    hit = (out != 0).any(axis=1)
    told = np.zeros(len(times), dtype=bool)
    for entry in truth:
        told |= (times * 1e9 + 7e9 >= entry.start_ns - 1) & (times * 1e9 + 7e9 <= entry.end_ns + 1)
    assert np.array_equal(hit, told)
    assert changed(truth) == np.count_nonzero(hit)
    busy = hit.reshape(400, 250).mean(axis=1)
    assert set(busy) <= {0.0, 1.0}
    assert busy.sum() == pytest.approx(320, abs=5 * np.sqrt(400 * 0.8 * 0.2))
    assert np.std(out[hit]) == pytest.approx(0.35 * SPAN, rel=0.03)
    assert share_between(out[hit][:, 0], RATE_HZ, 15, 120) > 0.95
    assert abs(np.corrcoef(out[hit].T)[0, 1]) < 0.02


def test_emg_keeps_below_half_the_sampling_rate_of_a_slow_stream(run_samples):
    times = clock(200, 25)
    wave = run_samples({"fault": "emg", "busy_percent": 100}, times, still(times), rate_hz=25, span=SPAN)[0][:, 0]
    assert np.std(wave) == pytest.approx(0.35 * SPAN, rel=0.05)
    assert share_between(wave, 25, 4, 12.5) > 0.9


def test_motion_is_noise_below_ten_hertz_on_a_baseline_that_steps(run_samples):
    times = clock(1000, 100)
    out, truth = run_samples({"fault": "motion", "level": 0.5}, times, still(times), rate_hz=100, span=SPAN)
    wave = out[:, 0]
    # noise and baseline are independent, each of rms level * span
    assert np.std(wave) == pytest.approx(np.sqrt(2) * 0.5 * SPAN, rel=0.1)
    assert share_between(wave, 100, 0, 14) > 0.95
    assert share_between(wave, 100, 0.5, 10) > 0.4
    assert share_between(wave, 100, 0, 0.4) > 0.1
    assert changed(truth) == len(times)


def test_the_baseline_of_motion_steps_once_in_every_two_seconds(run_samples):
    times = clock(200, 2000)
    wave = run_samples({"fault": "motion", "level": 1}, times, still(times), rate_hz=2000)[0][:, 0]
    # noise below 10 Hz moves by some 0.02 in half a millisecond; places are N(0, 1), so nine steps in ten exceed 0.18
    steps = times[1:][np.abs(np.diff(wave)) > 0.18]
    slots = np.floor(steps / 2).astype(int)
    assert len(slots) == len(set(slots)) == pytest.approx(90, abs=5 * np.sqrt(100 * 0.9 * 0.1))
    assert np.std(steps - 2 * slots) == pytest.approx(2 / np.sqrt(12), rel=0.2)  # anywhere in its two seconds


def test_every_pop_is_told_with_its_moment_and_height(run_samples):
    times = clock(100)
    out, truth = run_samples({"fault": "electrode_pop", "level": 8}, times, still(times), span=SPAN)
    decay = np.exp(-1 / RATE_HZ / 0.3)
    fresh = np.diff(out[:, 0], prepend=0) + (1 - decay) * np.concatenate([[0], out[:-1, 0]])  # tails all shrink alike
    jumps = np.flatnonzero(np.abs(fresh) > 1)
    assert len(truth) == 40  # one per 2.5 s
    assert len(jumps) == 40
    for place, entry in zip(jumps, truth, strict=True):
        at_s = (entry.start_ns - 7e9) / 1e9
        assert 0 <= times[place] - at_s < 1 / RATE_HZ + 1e-9
        expected = entry.detail["height"] * np.exp(-(times[place] - at_s) / 0.3)
        assert fresh[place] == pytest.approx(expected, rel=1e-3)
        assert abs(entry.detail["height"]) == 8 * SPAN
    slots = [int((entry.start_ns - 7e9) / 1e9 // 2.5) for entry in truth]
    assert slots == list(range(40))
    assert {np.sign(entry.detail["height"]) for entry in truth} == {-1.0, 1.0}


@pytest.mark.parametrize(("kind", "rail"), [("ecg", 5.0), ("eda", -3.0)])
def test_lead_off_sits_at_the_rail_for_the_asked_part_of_any_ten_seconds(run_samples, kind, rail):
    times = clock(60)
    out, truth = run_samples({"fault": "lead_off"}, times, noisy(times), kind=kind, rails=(-3.0, 5.0))
    off = out[:, 0] == rail
    in_ten = np.convolve(off, np.ones(2500), "valid")
    assert np.all(np.abs(in_ten - 1000) <= 1)
    assert changed(truth) == np.count_nonzero(off)
    assert np.array_equal(out[~off], noisy(times)[~off])
    for entry in truth[1:-1]:
        assert (entry.end_ns - entry.start_ns) / 1e9 == pytest.approx(4.0, abs=2 / RATE_HZ)


def test_lead_off_without_rails_leaves_the_signals_range(run_samples):
    times = clock(20)
    out, truth = run_samples({"fault": "lead_off"}, times, noisy(times), rails=None, span=SPAN)
    assert changed(truth) == np.count_nonzero(out[:, 0] > 5 * SPAN)


def test_lead_off_can_read_noise_of_the_signals_size(run_samples):
    times = clock(60)
    values = noisy(times) * 1e-3
    out, truth = run_samples({"fault": "lead_off", "reads": "noise"}, times, values, span=SPAN)
    off = out[:, 0] != values[:, 0]
    assert changed(truth) == np.count_nonzero(off)
    assert np.std(out[off]) == pytest.approx(SPAN, rel=0.05)


def test_a_flat_line_repeats_the_last_good_value_for_the_asked_part_of_the_time(run_samples):
    times = clock(60)
    values = noisy(times, 2)
    out, truth = run_samples({"fault": "flatline", "fraction": 0.3}, times, values)
    repeats = np.concatenate([[False], (np.diff(out, axis=0) == 0).all(axis=1)])
    hit = (out != values).any(axis=1)
    assert np.array_equal(repeats[1:], hit[1:])
    assert changed(truth) - np.count_nonzero(hit) in (0, 1)  # a first sample that is held is its own last good one
    assert np.all(np.abs(np.convolve(hit, np.ones(2500), "valid") - 750) <= 2)
    for entry in truth:
        first = round((entry.start_ns - 7e9) / 1e9 * RATE_HZ)
        last = round((entry.end_ns - 7e9) / 1e9 * RATE_HZ)
        assert last - first + 1 == entry.detail["samples"]
        assert np.all(out[first : last + 1] == values[max(first - 1, 0)])


def test_clipping_takes_the_asked_part_of_the_amplitude_and_leaves_flat_tops(run_samples):
    times = clock(60)
    values = 3.0 + np.sin(2 * np.pi * 1.3 * times)[:, None]  # amplitude 2 from 2 to 4
    out, truth = run_samples({"fault": "clipping", "fraction": 0.5}, times, values, span=2.0)
    late = times >= 10  # the centre has settled
    assert np.ptp(out[late & (times < 12)]) == pytest.approx(1.0, abs=1e-9)
    for start in range(10, 60, 2):  # limits hold for two seconds at a time
        piece = out[(times >= start) & (times < start + 2), 0]
        assert np.ptp(piece) == pytest.approx(1.0, abs=1e-9)
        assert np.count_nonzero(piece == piece.max()) > 100
        assert (piece.max() + piece.min()) / 2 == pytest.approx(3.0, abs=0.1)
    assert truth[0].detail["clipped"] == np.count_nonzero(out != values)
    assert changed(truth) == len(times)


@pytest.mark.parametrize("wanted", [0.1, 0.5])
def test_low_perfusion_leaves_the_asked_perfusion_index_and_the_ratio_of_ratios(run_samples, wanted):
    times = clock(60, 64)
    pulse = np.sin(2 * np.pi * 1.1 * times)
    steady = 50_000 * (1 + 0.002 * np.sin(2 * np.pi * times / 120))
    values = steady[:, None] + np.stack([300 * pulse, 600 * pulse], axis=1)  # perfusion index 1.2 and 2.4 %
    asked = {"fault": "low_perfusion", "perfusion_percent": wanted}
    out, truth = run_samples(asked, times, values, kind="ppg", rate_hz=64, span=1200.0)
    late = times > 20
    alternating = (out - steady[:, None])[late]
    tone = np.exp(-2j * np.pi * 1.1 * times[late])
    size = 4 * np.abs((alternating * tone[:, None]).mean(axis=0))  # peak to peak at the pulse's frequency
    assert 100 * size[1] / 50_000 == pytest.approx(wanted, rel=0.06)
    assert size[0] / size[1] == pytest.approx(0.5, rel=0.01)
    assert out[late].mean() == pytest.approx(50_000, rel=0.002)
    assert truth[0].detail["perfusion_percent"] == wanted


def test_low_perfusion_leaves_a_weaker_pulse_alone(run_samples):
    times = clock(30, 64)
    values = 50_000 + 10 * np.sin(2 * np.pi * 1.1 * times)[:, None]
    asked = {"fault": "low_perfusion", "perfusion_percent": 1.0}
    out, _ = run_samples(asked, times, values, kind="ppg", rate_hz=64, span=20.0)
    assert np.allclose(out, values, rtol=0, atol=1e-6)


def test_quantisation_puts_every_sample_on_the_coarse_grid_next_to_it(run_samples):
    times = clock(10)
    values = noisy(times)
    out, truth = run_samples({"fault": "quantisation", "level": 0.5}, times, values, span=SPAN)
    assert np.array_equal(out, np.round(out))  # steps of 0.5 * 2
    assert np.abs(out - values).max() <= 0.5
    assert changed(truth) == len(times)


def test_truth_names_sensor_stream_fault_and_layer(run_samples):
    times = clock(1)
    _, (entry,) = run_samples({"fault": "motion", "start_s": 0.5}, times, still(times))
    assert (entry.sensor, entry.stream, entry.fault, entry.layer) == ("bench", "wave", "motion", "samples")
    assert entry.start_ns == 7_500_000_000
    assert entry.end_ns == 7_996_000_000
