"""White noise, spikes, held packets and bias, measured on what comes out, and compared with what they told."""

import numpy as np
import pytest

from drivers.errors import SettingError
from drivers.types import StreamSpec
from simulators.build import SimulatedSpec, build
from simulators.faults.registry import make_fault

RATE_HZ = 250.0
SPAN = 2.0
START_NS = 7_000_000_000


def clock(seconds: float, rate_hz: float = RATE_HZ) -> np.ndarray:
    return np.arange(round(seconds * rate_hz)) / rate_hz


def samples_of(truth) -> int:
    return sum(entry.detail["samples"] for entry in truth)


def test_white_noise_is_gaussian_of_the_asked_rms_and_equally_strong_in_every_octave_per_hertz(run_samples):
    times = clock(400)
    out, (truth,) = run_samples({"fault": "white_noise", "level": 0.7}, times, np.zeros((len(times), 2)), span=SPAN)
    count = len(times)
    assert np.std(out, axis=0) == pytest.approx([1.4, 1.4], rel=5 / np.sqrt(2 * count))
    assert np.mean((out / 1.4) ** 4) == pytest.approx(3, abs=5 * np.sqrt(96 / (2 * count)))  # a Gaussian's kurtosis
    power = np.abs(np.fft.rfft(out[:, 0])) ** 2
    tenths = np.array([part.mean() for part in np.array_split(power[1:], 10)])
    assert tenths / tenths.mean() == pytest.approx(np.ones(10), abs=5 / np.sqrt(count / 20))
    assert abs(np.corrcoef(out.T)[0, 1]) < 5 / np.sqrt(count)
    assert (truth.detail["samples"], truth.detail["level"]) == (count, 0.7)


def test_white_noise_lies_on_top_of_the_signal(run_samples):
    times = clock(10)
    wave = 50 + np.sin(times)[:, None]
    asked = {"fault": "white_noise", "level": 0.1}
    assert run_samples(asked, times, wave)[0] - wave == pytest.approx(
        run_samples(asked, times, np.zeros_like(wave))[0], abs=1e-12
    )


def test_every_spike_is_told_with_place_height_and_width_and_nothing_else_changes(run_samples):
    times = clock(100)
    values = np.random.default_rng(1).standard_normal((len(times), 2))
    out, truth = run_samples({"fault": "spikes", "level": 4}, times, values, span=SPAN)
    expected = np.zeros(len(times))
    for entry in truth:
        place = round((entry.start_ns - START_NS) * RATE_HZ / 1e9)
        assert entry.end_ns - entry.start_ns == (entry.detail["samples"] - 1) * 4_000_000
        expected[place : place + entry.detail["samples"]] += entry.detail["height"]
    assert out - values == pytest.approx(np.stack([expected, expected], axis=1), abs=1e-12)
    assert len(truth) == 80  # one in every 1.25 s
    assert {abs(entry.detail["height"]) for entry in truth} == {8.0}
    assert {np.sign(entry.detail["height"]) for entry in truth} == {-1.0, 1.0}
    assert {entry.detail["samples"] for entry in truth} == {1, 2}
    slots = [int((entry.start_ns - START_NS) / 1.25e9) for entry in truth]
    assert slots == list(range(80))


def test_the_rate_of_spikes_is_what_was_asked_for(run_samples):
    times = clock(20)
    _, truth = run_samples({"fault": "spikes", "per_s": 5}, times, np.zeros((len(times), 1)))
    assert len(truth) == 100


def test_held_packets_repeat_the_last_value_and_are_as_many_as_were_asked_for(run_samples):
    times = clock(400)
    values = np.random.default_rng(2).standard_normal((len(times), 2))
    out, truth = run_samples({"fault": "hold", "fraction": 0.7}, times, values)
    packets = (out != values).any(axis=1).reshape(-1, 25)  # 100 ms
    assert set(packets[1:].mean(axis=1)) == {0.0, 1.0}
    assert packets.mean() == pytest.approx(0.7, abs=5 * np.sqrt(0.7 * 0.3 / 4000))
    lost = np.repeat(packets[:, 5], 25)
    for place in np.flatnonzero(np.diff(lost.astype(int)) == 1).tolist():
        after = place + 1 + int(np.argmin(lost[place + 1 :])) if not lost[place + 1 :].all() else len(lost)
        assert np.all(out[place + 1 : after] == values[place])
    first = 25 * int(packets[0, 1])  # a packet that is lost before anything came repeats its own first sample
    assert samples_of(truth) - np.count_nonzero(lost) in (0, first)


def test_which_packets_are_lost_is_drawn_for_each_by_itself(run_samples):
    times = clock(1000, 100)
    values = np.random.default_rng(3).standard_normal((len(times), 1))
    out, _ = run_samples({"fault": "hold", "fraction": 0.5}, times, values, rate_hz=100)
    lost = (out != values).reshape(-1, 10)[:, 5].astype(float)
    assert abs(np.corrcoef(lost[1:], lost[:-1])[0, 1]) < 5 / np.sqrt(len(lost))


def test_bias_multiplies_and_moves_every_value_and_says_by_how_much(run_samples):
    times = clock(60, 1.0)
    values = 60 + np.random.default_rng(4).standard_normal((60, 1))
    asked = {"fault": "bias", "gain": 1.1, "offset": -3}
    out, (truth,) = run_samples(asked, times, values, kind="heart_rate", rate_hz=1.0)
    assert out == pytest.approx(1.1 * values - 3)
    assert truth.detail == {"samples": 60, "gain": 1.1, "offset": -3.0}


RATE = StreamSpec("heart_rate", "heart_rate", ("heart_rate",), "bpm", 1.0)
INTERVALS = StreamSpec("rr", "rr", ("rr",), "ms", None)
ECG = StreamSpec("ecg", "ecg", ("ecg",), "mV", 250.0)


def test_bias_takes_events_only_where_they_are_named():
    make_fault({"fault": "bias"}).check_fits("strap", (RATE, INTERVALS))
    make_fault({"fault": "bias", "stream": "rr"}).check_fits("strap", (RATE, INTERVALS))
    make_fault({"fault": "bias", "stream": "ecg"}).check_fits("chest", (ECG,))
    with pytest.raises(SettingError, match=r"bias needs a stream of kind heart_rate, spo2.*chest has ecg"):
        make_fault({"fault": "bias"}).check_fits("chest", (ECG,))
    with pytest.raises(SettingError, match=r"bias needs stream 'hr'"):
        make_fault({"fault": "bias", "stream": "hr"}).check_fits("strap", (RATE, INTERVALS))


def measured(faults: list, quantum_s: float = 1.0) -> tuple[list[tuple[bytes, int]], list]:
    sensor = build(SimulatedSpec("heart-rate", seed=3, faults=faults), start_ns=START_NS)
    for channel in sensor._channels:
        sensor.subscribe(channel, START_NS - 1)
    chunks = []
    for step in range(1, round(20 / quantum_s) + 1):
        for item in sensor.advance(START_NS + round(step * quantum_s * 1e9)):
            chunks += list(item.chunks())
    return chunks, sensor.truths


def rate_and_intervals(chunks: list[tuple[bytes, int]]) -> tuple[list[int], list[int]]:
    """Heart Rate Measurement (GATT 0x2A37): flags, rate as uint8, RR intervals in 1/1024 s behind it."""
    rates, intervals = [], []
    for data, _ in chunks:
        assert data[0] & 0x01 == 0
        rates.append(data[1])
        if data[0] & 0x10:
            behind = data[4:] if data[0] & 0x08 else data[2:]
            intervals += np.frombuffer(behind, "<u2").tolist()
    return rates, intervals


def test_a_strap_with_a_bias_sends_a_heart_rate_that_is_wrong_by_it_and_the_true_intervals():
    rates, intervals = rate_and_intervals(measured([])[0])
    wrong, same = rate_and_intervals(measured([{"fault": "bias", "gain": 1.2}])[0])
    assert same == intervals
    assert len(wrong) == len(rates) > 10
    assert np.array(wrong) == pytest.approx(1.2 * np.array(rates), abs=1.2)


def test_a_bias_on_the_intervals_of_a_strap_is_on_the_wire_and_told_however_time_passes():
    _, intervals = rate_and_intervals(measured([])[0])
    asked = {"fault": "bias", "stream": "rr", "gain": 0.9, "start_s": 5, "stop_s": 15}
    chunks, truth = measured([asked])
    again, truth_again = measured([asked], quantum_s=0.125)
    assert again == chunks
    assert str(truth_again) == str(truth)
    _, wrong = rate_and_intervals(chunks)
    factor = np.array(wrong) / np.array(intervals)
    assert set(np.round(factor, 2)) == {0.9, 1.0}
    assert sum(entry.detail["samples"] for entry in truth) == np.count_nonzero(factor < 0.95)
