"""Whatever the cut of the work, every fault does the same to the last bit and tells the same."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.faults import ByteFault, FrameFault, SampleFault
from simulators.faults.registry import fault_names, load_fault

OF_SAMPLES = [name for name in fault_names() if issubclass(load_fault(name), SampleFault)]
OF_BATCHES = [name for name in fault_names() if issubclass(load_fault(name), FrameFault | ByteFault)]
EXTREME = {
    "bit_flip": {"per_million": 3000},
    "garbage": {"per_min": 2000},
    "stall": {"every_s": 0.3, "drain_baud": 60000},
    "jitter": {"distribution": "exponential"},
    "delay": {"ms": 900, "growth_ms_per_s": 500},
    "lead_off": {"reads": "noise"},
    "spikes": {"per_s": 100},
    "hold": {"packet_ms": 16},
}
RATE_HZ = 130.0
N = 1200

places = st.lists(st.integers(0, N), max_size=12)
begins = st.floats(0, 6)
lengths = st.one_of(st.just(math.inf), st.floats(0.05, 6))


def wave() -> tuple[np.ndarray, np.ndarray]:
    times = np.arange(N) / RATE_HZ - 1.0
    beats = np.sin(2 * np.pi * 1.2 * times)[:, None] * [1.0, 0.6] + [200.0, 150.0]
    return times, beats + 0.05 * np.random.default_rng(5).standard_normal((N, 2))


def asked_for(name: str, harder: bool, start_s: float, length_s: float) -> dict:
    extreme = EXTREME.get(name, {}) if harder else {}
    return {"fault": name, "start_s": start_s, "stop_s": start_s + length_s, **extreme}


@pytest.mark.parametrize("harder", [False, True])
@pytest.mark.parametrize("name", OF_SAMPLES)
@settings(max_examples=15, deadline=None)
@given(cuts=places, start_s=begins, length_s=lengths)
def test_cutting_samples_changes_no_bit_and_no_truth(run_samples, name, harder, cuts, start_s, length_s):
    kind = "ppg" if "ppg" in load_fault(name).KINDS else "ecg"
    asked = asked_for(name, harder, start_s, length_s)
    times, values = wave()
    whole, whole_truth = run_samples(asked, times, values, kind=kind, rate_hz=RATE_HZ)
    parts, parts_truth = run_samples(asked, times, values, cuts=cuts, kind=kind, rate_hz=RATE_HZ)
    assert np.array_equal(whole, parts)
    assert whole_truth == parts_truth


@pytest.mark.parametrize("harder", [False, True])
@pytest.mark.parametrize("name", OF_BATCHES)
@settings(max_examples=15, deadline=None)
@given(cuts=places, start_s=begins, length_s=lengths)
def test_cutting_frames_and_bytes_changes_no_bit_and_no_truth(
    run_batches, frames, name, harder, cuts, start_s, length_s
):
    asked = asked_for(name, harder, start_s, length_s)
    batch = frames(N, period_ms=7)
    whole, whole_truth = run_batches(asked, batch)
    parts, parts_truth = run_batches(asked, batch, cuts=cuts)
    assert whole == parts
    assert whole_truth == parts_truth
    times = [at_ns for _, at_ns in whole]
    assert times == sorted(times)


@pytest.mark.parametrize("name", OF_SAMPLES)
def test_sample_by_sample_is_the_same_as_at_once(run_samples, name):
    kind = "ppg" if "ppg" in load_fault(name).KINDS else "ecg"
    times, values = wave()
    whole = run_samples({"fault": name, "start_s": 1}, times, values, kind=kind, rate_hz=RATE_HZ)
    single = run_samples({"fault": name, "start_s": 1}, times, values, cuts=range(N), kind=kind, rate_hz=RATE_HZ)
    assert np.array_equal(whole[0], single[0])
    assert whole[1] == single[1]


@pytest.mark.parametrize("name", OF_BATCHES)
def test_frame_by_frame_is_the_same_as_at_once(run_batches, frames, name):
    batch = frames(N)
    asked = {"fault": name, "start_s": 1, **EXTREME.get(name, {})}
    assert run_batches(asked, batch) == run_batches(asked, batch, cuts=range(N))


@pytest.mark.parametrize("name", OF_SAMPLES)
def test_samples_outside_start_and_stop_are_untouched(run_samples, name):
    kind = "ppg" if "ppg" in load_fault(name).KINDS else "ecg"
    times, values = wave()
    asked = {"fault": name, "start_s": 2, "stop_s": 6}
    if name in ("lead_off", "flatline"):
        asked["fraction"] = 1.0
    out, truth = run_samples(asked, times, values, kind=kind, rate_hz=RATE_HZ)
    outside = (times < 2) | (times >= 6)
    assert np.array_equal(out[outside], values[outside])
    assert not np.array_equal(out[~outside], values[~outside])
    assert truth


@pytest.mark.parametrize("name", OF_BATCHES)
def test_frames_outside_start_and_stop_are_untouched(run_batches, frames, start_ns, name):
    batch = frames(N)
    asked = {"fault": name, "start_s": 1, "stop_s": 3, **EXTREME.get(name, {}), "drain_baud": 0}
    if name != "stall":
        del asked["drain_baud"]
    out, truth = run_batches(asked, batch)
    # behind a delayed chunk, order holds the next ones up for a while
    late_ns = {"jitter": 2_000_000_000, "delay": 2_000_000_000}.get(name, 0)
    before, after = start_ns + 1_000_000_000, start_ns + 3_000_000_000 + late_ns
    want = list(batch.chunks())
    assert [c for c in out if c[1] < before] == [c for c in want if c[1] < before]
    assert [c for c in out if c[1] > after + 5_000_000] == [c for c in want if c[1] > after + 5_000_000]
    assert out != want
    assert truth


@pytest.mark.parametrize("name", OF_SAMPLES)
def test_a_call_outside_the_faults_time_returns_the_same_samples_object(run_samples, name):
    from simulators.draws import Draws
    from simulators.faults import StreamSpec, Where
    from simulators.faults.registry import make_fault

    spec = StreamSpec("wave", "ppg", ("c",), "mV", 100.0)
    stage = make_fault({"fault": name, "start_s": 50}).bind(Where("bench", 0, Draws(1), lambda truth: None, spec))
    times = np.arange(100) / 100
    values = np.ones((100, 1))
    assert stage.apply(0, times, values) is values


@pytest.mark.parametrize("name", OF_BATCHES)
def test_a_call_outside_the_faults_time_returns_the_same_batch(frames, name):
    from simulators.draws import Draws
    from simulators.faults import Where
    from simulators.faults.registry import make_fault

    stage = make_fault({"fault": name, "start_s": 500}).bind(Where("bench", 0, Draws(1), lambda truth: None))
    batch = frames(100)
    assert stage.apply(batch) is batch
