"""The truth of every case is injected: what the clock was, and how long each chunk was under way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drivers.timebase import OnlineTimebase, arrivals_tell
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
    assert online._points.size == 480


@pytest.mark.parametrize(("drift_ppm", "from_ms"), [(10, 1.0), (80, 3.7)])
def test_packets_that_just_miss_or_make_a_poll_now_and_then_are_no_jitter_both_ways(drift_ppm, from_ms):
    """A USB timer of 16 ms, 4 ms samples: for seconds the last sample of some transfers just makes it, and the delay is
    4 ms less to one side only. The stamps stay with those earliest arrivals, where the median is 3.5 ms late."""
    device_ns = np.arange(15_000) * 4_000_000
    taken = from_ms * 1e6 + device_ns / (1 + drift_ppm * 1e-6)
    polls = np.arange(4_000) * 16e6 + np.random.default_rng(0).uniform(0, 1e6, 4_000)
    arrival_ns = np.ceil(polls[np.searchsorted(polls, taken)]).astype(np.int64)
    timebase, stamps = OnlineTimebase(250.0), []
    for start in range(0, 15_000, 250):
        part = slice(start, start + 250)
        index, values = np.arange(15_000)[part], np.zeros((250, 1))
        stamps.append(timebase.update(Samples("x", values, index, arrival_ns[part], device_ns[part])))
    assert np.median(np.abs(np.concatenate(stamps)[5_000:] - taken[5_000:])) < 0.6e6
