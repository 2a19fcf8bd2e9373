"""The truth of every case is injected: what the clock was, and how long each chunk was under way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drivers.clock_steps import smallest_visible_ms
from drivers.timebase import OnlineTimebase, arrivals_tell, find_steps, fit_clock
from drivers.types import Samples, StreamSpec

RATE_HZ = 250.0
HOST0_NS = 5_000_000_000_000


def carried(kind: str, seconds: float, drift_ppm: float, seed: int, rate_hz: float = RATE_HZ):
    """(device_ns, arrival_ns, host_ns) of a stream whose link behaves as ``kind`` says."""
    rng = np.random.default_rng(seed)
    per_chunk = 10 if kind == "ble" else 1
    n = int(seconds * rate_hz) // per_chunk * per_chunk
    device = np.arange(n) / rate_hz
    host = device / (1 + drift_ppm * 1e-6)
    sent = host[per_chunk - 1 :: per_chunk]
    os_noise = np.abs(rng.normal(0, 1e-4, len(sent)))
    if kind == "gaussian":
        arrival = sent + rng.normal(0, 1e-3, len(sent)) + 4e-3
    elif kind == "exponential":
        arrival = sent + rng.exponential(5e-3, len(sent)) + os_noise
    elif kind == "stalls":
        arrival = sent + rng.exponential(1e-3, len(sent)) + os_noise
        for at in rng.uniform(0, seconds, rng.poisson(0.25 * seconds)):
            end = at + rng.uniform(0.1, 0.5)
            arrival = np.where((arrival >= at) & (arrival < end), end, arrival)
    elif kind == "usb":
        phase = rng.uniform()
        arrival = (np.ceil(sent / 0.016 + phase) - phase) * 0.016 + os_noise
    elif kind == "ble":
        phase = rng.uniform()
        lost = rng.random(len(sent)) < 0.05
        arrival = (np.ceil(sent / 0.030 + phase) - phase + lost) * 0.030 + os_noise
    else:
        arrival = sent
    arrival = np.repeat(np.maximum.accumulate(arrival), per_chunk)
    ns = [np.rint(x * 1e9).astype(np.int64) for x in (device, arrival, host)]
    return ns[0], ns[1] + HOST0_NS, ns[2] + HOST0_NS


def chunked(device, arrival, rate_hz=RATE_HZ, by_index=False, segment=0):
    """One Samples of everything."""
    index = np.rint(device * rate_hz / 1e9).astype(np.int64)
    values = np.zeros((len(device), 1))
    return Samples("ecg", values, index, arrival, None if by_index else device, segment)


def split(samples: Samples, cuts):
    for a, b in zip([0, *cuts], [*cuts, len(samples.index)], strict=True):
        part = slice(a, b)
        device = None if samples.device_ns is None else samples.device_ns[part]
        yield Samples(
            "ecg", samples.values[part], samples.index[part], samples.arrival_ns[part], device, samples.segment
        )


# --- online -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "within_ms"), [("exponential", 0.3), ("stalls", 0.3), ("usb", 5), ("ble", 11)])
@pytest.mark.parametrize("drift_ppm", [-150.0, 60.0])
def test_the_online_clock_follows_the_earliest_arrivals_not_the_mean(kind, within_ms, drift_ppm):
    device, arrival, host = carried(kind, 120, drift_ppm, seed=3)
    times = OnlineTimebase(RATE_HZ).update(chunked(device, arrival))
    settled = device > 30e9
    assert np.abs(times - host)[settled].max() < within_ms * 1e6
    if kind in ("exponential", "stalls"):
        assert np.mean(arrival - host) > 5 * within_ms * 1e6 or kind == "stalls"


def test_the_cut_into_batches_changes_no_time():
    device, arrival, _ = carried("exponential", 40, 80, seed=1)
    whole = OnlineTimebase(RATE_HZ).update(chunked(device, arrival))
    for step in (1, 37, 250):
        cuts = [c for c in range(step, len(device), step) if arrival[c] != arrival[c - 1]]
        online = OnlineTimebase(RATE_HZ)
        parts = [online.update(part) for part in split(chunked(device, arrival), cuts)]
        assert np.abs(np.concatenate(parts) - whole).max() <= 2


def test_index_and_rate_serve_where_the_wire_carries_no_time():
    device, arrival, host = carried("stalls", 60, -40, seed=4)
    by_index = OnlineTimebase(RATE_HZ).update(chunked(device, arrival, by_index=True))
    assert np.abs(by_index - host)[5000:].max() < 0.5e6


def test_lost_samples_leave_the_times_of_the_others_alone():
    device, arrival, host = carried("exponential", 60, 100, seed=5)
    kept = (device < 20e9) | (device > 22e9)
    times = OnlineTimebase(RATE_HZ).update(chunked(device[kept], arrival[kept], by_index=True))
    assert np.abs(times - host[kept])[device[kept] > 15e9].max() < 0.5e6


def test_without_device_time_and_rate_the_arrival_is_all_there_is():
    arrival = np.array([5, 9, 30])
    samples = Samples("rr", np.zeros((3, 1)), np.arange(3), arrival, None)
    assert OnlineTimebase(None).update(samples).tolist() == [5, 9, 30]


def test_the_arrivals_of_slow_samples_that_nothing_counts_are_their_times():
    slow = StreamSpec("heart_rate", "heart_rate", ("bpm",), "bpm", 1.0)
    assert arrivals_tell(slow)
    assert not arrivals_tell(replace(slow, rate_hz=250.0))
    assert not arrivals_tell(replace(slow, counted=True))
    assert not arrivals_tell(replace(slow, timed=True))


def test_times_never_turn_back_nor_jump_by_more_than_half_a_sample():
    for kind in ("gaussian", "exponential", "stalls", "usb", "ble"):
        device, arrival, _ = carried(kind, 60, 120, seed=6)
        steps = np.diff(OnlineTimebase(RATE_HZ).update(chunked(device, arrival))) * RATE_HZ / 1e9
        assert steps.min() > 0.49
        assert steps.max() < 1.51


def test_a_new_segment_starts_a_new_line():
    device, arrival, host = carried("exponential", 20, 0, seed=7)
    online = OnlineTimebase(RATE_HZ)
    online.update(chunked(device, arrival))
    restarted = chunked(device, arrival + 60_000_000_000, segment=1)
    times = online.update(restarted)
    assert np.abs(times - host - 60_000_000_000)[3000:].max() < 0.5e6


@pytest.mark.parametrize("jump_s", [0.5, -0.5])
def test_a_clock_step_that_no_codec_saw_is_followed_within_a_few_seconds(jump_s):
    device, arrival, host = carried("exponential", 60, 30, seed=8)
    stepped = device + np.where(device > 30e9, round(jump_s * 1e9), 0)
    times = OnlineTimebase(RATE_HZ).update(chunked(stepped, arrival))
    assert np.abs(times - host)[device > 36e9].max() < 1e6


def test_memory_stays_bounded():
    online = OnlineTimebase(10.0)
    for start in range(0, 40_000, 4_000):
        index = np.arange(start, start + 4_000)
        online.update(Samples("affect", np.zeros((4_000, 1)), index, index * 100_000_000, None))
    assert online._points.size == 240


# --- after the run ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gaussian", "exponential", "stalls", "usb", "ble"])
def test_the_stated_intervals_contain_the_truth_in_nine_of_ten_runs(kind):
    runs, drift_hits, offset_hits = 60, 0, 0
    for seed in range(runs):
        drift_ppm = float(np.random.default_rng(1000 + seed).uniform(-200, 200))
        device, arrival, host = carried(kind, 30, drift_ppm, seed)
        fit = fit_clock(device, arrival, np.zeros(len(device), dtype=np.int64))[0]
        constant = 4e6 if kind == "gaussian" else 0
        truth = float(np.interp(fit.reference_ns, device, host - device)) + constant
        drift_hits += fit.drift_low_ppm <= drift_ppm <= fit.drift_high_ppm
        offset_hits += fit.offset_low_ns <= truth <= fit.offset_high_ns
        if kind in ("usb", "ble"):
            assert fit.drift_high_ppm - fit.drift_low_ppm >= 2e6 * (0.0039 if kind == "usb" else 0.0098) / 30
    assert drift_hits >= 0.9 * runs
    assert offset_hits >= 0.9 * runs


def test_a_batched_link_shows_its_cell_and_a_plain_one_shows_none():
    for kind, cell_ms in (("usb", 4), ("ble", 10), ("exponential", 0), ("stalls", 0), ("gaussian", 0)):
        device, arrival, _ = carried(kind, 60, 40, seed=2)
        fit = fit_clock(device, arrival, np.zeros(len(device), dtype=np.int64))[0]
        assert fit.cell_ns / 1e6 == pytest.approx(cell_ms, abs=0.2)


def test_an_exact_link_gives_the_drift_exactly():
    device, arrival, host = carried("exact", 60, 500, seed=0)
    fit = fit_clock(device, arrival, np.zeros(len(device), dtype=np.int64))[0]
    assert fit.drift_ppm == pytest.approx(500, abs=0.01)
    assert np.abs(fit.host_ns(device) - host).max() < 1000
    assert fit.delay_ns[3] < 1000


def test_the_delay_over_the_floor_is_the_one_injected():
    device, arrival, _ = carried("exact", 60, 50, seed=0)
    late = np.random.default_rng(0).random(len(device)) < 0.1
    fit = fit_clock(device, np.maximum.accumulate(arrival + 3_000_000 * late), np.zeros(len(device), dtype=np.int64))[0]
    assert fit.delay_ns[0] == pytest.approx(0, abs=1e4)
    assert fit.delay_ns[3] == pytest.approx(3e6, abs=1e4)


def test_each_segment_has_its_own_line():
    device, arrival, _ = carried("exponential", 60, 90, seed=1)
    segment = (device > 25e9).astype(np.int64)
    first, second = fit_clock(device - segment * 3_000_000_000, arrival, segment)
    assert (first.segment, second.segment, second.start, first.n) == (0, 1, first.n, 6251)
    assert second.offset_ns - first.offset_ns == pytest.approx(3e9, abs=5e6)
    for fit in (first, second):
        assert fit.drift_low_ppm < 90 < fit.drift_high_ppm


def test_too_few_chunks_give_an_infinite_interval():
    device = np.array([0, 4_000_000, 8_000_000])
    for n in (1, 3):
        fit = fit_clock(device[:n], device[:n] + 7, np.zeros(n, dtype=np.int64))[0]
        assert np.isinf(fit.drift_high_ppm)
        assert fit.offset_low_ns <= 7 <= fit.offset_high_ns
    assert fit_clock(device[:0], device[:0], device[:0]) == []


# --- steps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gaussian", "exponential", "stalls", "usb", "ble"])
@pytest.mark.parametrize("jump_ms", [-500, -60, 60, 500])
def test_a_step_is_found_once_with_its_size_and_time(kind, jump_ms):
    for seed in range(3):
        device, arrival, host = carried(kind, 60, 100, seed)
        at_ns = 33_300_000_000
        stepped = device + np.where(device >= at_ns, jump_ms * 1_000_000, 0)
        (step,) = find_steps(stepped, arrival)
        assert not step.segmented
        assert step.size_ns / 1e6 == pytest.approx(jump_ms, abs=10.5 if kind == "ble" else 8)
        truth_ns = host[np.searchsorted(device, at_ns)]
        assert abs(step.at_ns - truth_ns) < 0.6e9


@pytest.mark.parametrize("kind", ["gaussian", "exponential", "stalls", "usb", "ble"])
def test_clean_links_stalls_and_drift_show_no_step(kind):
    for seed in range(6):
        device, arrival, _ = carried(kind, 120, (-1) ** seed * 200, seed)
        assert find_steps(device, arrival) == []


def test_an_outage_is_no_step():
    device, arrival, _ = carried("exponential", 400, 200, seed=1)
    kept = (device < 40e9) | (device > 340e9)
    assert find_steps(device[kept], arrival[kept]) == []


def test_a_queue_that_drains_slowly_is_no_step():
    device, arrival, host = carried("exponential", 60, 0, seed=1)
    delay = np.interp((host - HOST0_NS) / 1e9, [30, 30.001, 32.5], [0, 0.5, 0]) * 1e9
    assert find_steps(device, np.maximum.accumulate(arrival + delay.astype(np.int64))) == []


def test_a_step_that_the_codec_segmented_is_reported_too():
    device, arrival, _ = carried("exponential", 60, 0, seed=1)
    after = device > 30e9
    (step,) = find_steps(device + after * 400_000_000, arrival, after.astype(np.int64))
    assert step.segmented
    assert step.index == np.argmax(after)
    assert step.size_ns / 1e6 == pytest.approx(400, abs=2)
    assert find_steps(device, arrival, after.astype(np.int64)) == []


def jittered(rate_hz: float, seed: int, seconds: float = 30.0, hold_s: float = 0.25, most_s: float = 0.16):
    """Delays uniform in 0..most_s, drawn anew every hold_s, order kept: whole seconds are late by chance."""
    device = np.arange(int(seconds * rate_hz)) / rate_hz
    delays = np.random.default_rng(seed).uniform(0, most_s, int(seconds / hold_s) + 2)
    arrival = np.maximum.accumulate(device + delays[(device / hold_s).astype(np.int64)])
    return (device * 1e9).astype(np.int64), (arrival * 1e9).astype(np.int64) + HOST0_NS


@pytest.mark.parametrize("rate_hz", [4, 10, 64, 250])
def test_jitter_is_no_step(rate_hz):
    for seed in range(40):
        assert find_steps(*jittered(rate_hz, seed)) == []


@pytest.mark.parametrize("rate_hz", [10, 250])
@pytest.mark.parametrize("jump_ms", [-500, 500])
@pytest.mark.parametrize("at_s", [10, 28.5])
def test_a_step_is_found_once_through_jitter(rate_hz, jump_ms, at_s):
    for seed in range(20):
        device, arrival = jittered(rate_hz, seed)
        found = find_steps(device + np.where(device >= at_s * 1e9, jump_ms * 1_000_000, 0), arrival)
        if at_s < 20 or found:  # a step back cannot be told from a stall in the last moments of a run
            (step,) = found
            assert step.size_ns / 1e6 == pytest.approx(jump_ms, abs=160)


def test_what_hides_in_the_delays_is_said():
    exact = np.arange(7500, dtype=np.int64) * 4_000_000
    one = np.zeros(7500, dtype=np.int64)
    assert smallest_visible_ms(exact, exact + HOST0_NS, one) == 0
    device, arrival, _ = carried("exponential", 30, 50, seed=1)
    assert smallest_visible_ms(device, arrival, one) < 5
    assert smallest_visible_ms(*jittered(250, 1), one) > 50
    stepped = device + np.where(device > 15e9, 500_000_000, 0)
    assert smallest_visible_ms(stepped, arrival, one) < 5


@pytest.mark.parametrize("drift_ppm", [-90, -12, 0, 12, 90])
@pytest.mark.parametrize("seconds", [15, 30, 120])
def test_a_poll_that_is_a_whole_number_of_samples_does_not_make_a_drift_certain(drift_ppm, seconds):
    device, arrival, _ = carried("exact", seconds, drift_ppm, seed=0)
    polled = -(-arrival // 16_000_000) * 16_000_000
    (fit,) = fit_clock(device, polled, np.zeros(len(device), dtype=np.int64))
    assert fit.drift_low_ppm <= drift_ppm <= fit.drift_high_ppm


@pytest.mark.parametrize("seconds", [15, 33, 123])
@pytest.mark.parametrize("rate_hz", [10, 64])
def test_a_line_that_grows_with_its_numbers_does_not_pass_for_drift(seconds, rate_hz):
    """A digit more from 10 s on, and another from 100 s on, at 115200 baud."""
    device = np.arange(seconds * rate_hz) * (1_000_000_000 // rate_hz)
    arrival = HOST0_NS + device + 86_806 * ((device >= 10e9).astype(np.int64) + (device >= 100e9))
    (fit,) = fit_clock(device, arrival, np.zeros(len(device), dtype=np.int64))
    assert fit.drift_low_ppm <= 0 <= fit.drift_high_ppm


@pytest.mark.parametrize("rate_hz", [10, 64])
@pytest.mark.parametrize("wrong_ms", [-49, -40, 40, 49])
def test_a_single_wrong_stamp_is_no_step(rate_hz, wrong_ms):
    device, arrival, _ = carried("exponential", 30, 20, seed=2, rate_hz=rate_hz)
    for at in (0, 9, 40, len(device) - 1):
        wrong = device.copy()
        wrong[at] += wrong_ms * 1_000_000
        assert find_steps(wrong, arrival) == []
