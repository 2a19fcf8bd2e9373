"""The simulated arrivals that clock estimators are judged by tell the truth about themselves."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

pytest.importorskip("pyxdf", reason="needs pyxdf, which clocks are compared with: pip install pyxdf")


def _load(name: str):
    path = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


arrivals = _load("arrivals")
peers = _load("peers")
estimators = _load("clock_estimators")
coverage = _load("clock_coverage")
ALL = [*arrivals.TUNED, *arrivals.UNTUNED]
SECONDS = 30.0


def _run(name, seed=0, seconds=SECONDS):
    return arrivals.MODELS[name](np.random.default_rng(seed), seconds)


@pytest.mark.parametrize("name", ALL)
def test_samples_arrive_in_the_order_they_were_taken(name):
    run = _run(name)
    assert np.all(np.diff(run.arrival_ns) >= 0)
    assert np.all(np.diff(run.counter) >= 1)
    assert np.all(np.diff(run.sampled_ns) > 0)
    assert run.device_ns.dtype == run.arrival_ns.dtype == run.counter.dtype == run.segment.dtype == np.int64


@pytest.mark.parametrize("name", ALL)
def test_nothing_arrives_before_it_was_taken_unless_the_jitter_is_symmetric(name):
    delay = _run(name).arrival_ns - _run(name).host_ns
    if _run(name).symmetric:
        assert abs(np.mean(delay)) < 5 * np.std(delay) / np.sqrt(len(delay))
        assert delay.min() < 0
    else:
        assert delay.min() >= -1.0


@pytest.mark.parametrize("name", ALL)
def test_the_stated_drift_is_the_slope_of_the_truth(name):
    run = _run(name, seed=3)
    device, host = run.device_ns.astype(float), run.sampled_ns
    if run.step_at >= 0:
        device[run.step_at :] -= run.step_ns
    assert 1e6 * ((device[-1] - device[0]) / (host[-1] - host[0]) - 1) == pytest.approx(run.drift_ppm, abs=1e-3)
    assert 4.0 < abs(run.drift_end_ppm) < 202.0


@pytest.mark.parametrize("name", ALL)
def test_a_model_is_the_same_for_the_same_seed_and_another_for_another(name):
    assert np.array_equal(_run(name, seed=5).arrival_ns, _run(name, seed=5).arrival_ns)
    assert not np.array_equal(_run(name, seed=5).device_ns[:5], _run(name, seed=6).device_ns[:5])


def test_a_drifting_clock_s_drift_moves_by_two_ppm_a_minute():
    run = _run("drifting_exp5", seconds=300.0)
    device_s, host_s = (run.device_ns - run.device_ns[0]) / 1e9, (run.sampled_ns - run.sampled_ns[0]) / 1e9
    offset_curve = np.polyfit(device_s, (host_s - device_s) * 1e6, 2)  # us; the drift is minus its derivative
    assert -2 * offset_curve[0] * 60 == pytest.approx(run.drift_change_ppm_per_min, rel=1e-3)
    assert abs(run.drift_change_ppm_per_min) == pytest.approx(2.0)
    assert run.drift_end_ppm - run.drift_ppm == pytest.approx(run.drift_change_ppm_per_min * 2.5, rel=1e-3)


def test_a_packet_arrives_whole_and_at_a_connection_event():
    run = _run("ble30")
    packets = run.arrival_ns.reshape(-1, run.packet)
    assert np.all(packets == packets[:, :1])
    apart = np.diff(np.unique(packets[:, 0])) / run.poll_ns
    assert np.abs(apart - np.round(apart)).max() * run.poll_ns < 6 * arrivals.OS_FLOOR_NS


def test_a_usb_bridge_holds_samples_for_at_most_its_timer_and_a_frame():
    run = _run("ftdi16")
    delay = run.arrival_ns - run.sampled_ns
    assert delay.max() < 17e6 + 6 * arrivals.OS_FLOOR_NS
    assert delay.max() > 14e6


def test_a_stall_holds_everything_back_until_its_end():
    free, held = (arrivals.exp1(np.random.default_rng(1), 60.0) for _ in range(2))
    held = arrivals.stalled(np.random.default_rng(2), held)
    extra = held.arrival_ns - free.arrival_ns
    assert 100e6 < extra.max() < 500e6
    assert 0.03 < np.mean(extra > 0) < 0.15  # 0.25 stalls a second of 300 ms on average hit 7.5 % of the time


def test_a_step_moves_the_device_s_clock_alone_and_a_gap_takes_samples_alone():
    stepped, gapped = _run("step"), _run("gap")
    jumps = np.diff(stepped.device_ns) - round(stepped.period_ns)
    assert np.flatnonzero(jumps).tolist() == [stepped.step_at - 1]
    assert abs(jumps[stepped.step_at - 1]) == 500_000_000
    assert np.all(np.diff(stepped.counter) == 1)
    assert np.diff(gapped.counter).max() == 491
    assert np.array_equal(np.diff(gapped.device_ns), np.diff(gapped.counter) * 4_000_000)


@pytest.mark.parametrize("method", ["OLS", "LSL dejitter", "pyxdf dejitter", "pyxdf clock_sync", "hull"])
@pytest.mark.parametrize("packet", [1, 10])
def test_every_peer_finds_the_clock_of_a_link_without_delay(method, packet):
    run = arrivals.clock(np.random.default_rng(4), 20.0, packet=packet)
    run = dataclasses.replace(run, arrival_ns=np.repeat(run.arrival_ns[packet - 1 :: packet], packet))
    got = peers.PEERS[method](run)
    period_error = 10 * run.period_ns * 200e-6  # a packet's stamps are spread by the nominal period
    assert got.newest_ns + run.arrival_ns[0] == pytest.approx(run.sampled_ns[-1], abs=period_error)
    assert got.drift_ppm == pytest.approx(run.drift_ppm, abs=2.0 if packet > 1 else 0.01)


def test_the_hull_keeps_the_corners_that_an_exact_search_finds():
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.random(60)), rng.random(60)
    at, level = peers.lower_hull(x, y)
    below = [
        (x[i], x[j])
        for i in range(60)
        for j in range(i + 1, 60)
        if np.all(y - (y[i] + (y[j] - y[i]) * (x - x[i]) / (x[j] - x[i])) >= -1e-12)
    ]
    assert list(itertools.pairwise(at)) == below
    assert np.array_equal(level, y[np.searchsorted(x, at)])


def test_lsl_s_dejitter_is_recursive_least_squares_with_forgetting():
    rng, rate = np.random.default_rng(1), 100.0
    stamps = 50.3 + np.arange(600) / 101.0 + rng.exponential(0.005, 600)
    forget = 2 ** (-1 / (rate * 90.0))
    line, spread = np.array([0.0, 1 / rate]), np.diag([1e10, 1e10])
    for number, stamp in enumerate(stamps):
        row = np.array([1.0, number])
        gain = spread @ row / (forget + row @ spread @ row)
        line = line + gain * (stamp - 50.0 - row @ line)
        spread = (spread - np.outer(gain, row @ spread)) / forget
    level, period = peers.lsl_line(stamps, rate)
    assert level == pytest.approx(50.0 + line @ [1.0, 599.0], abs=1e-9)
    assert period == pytest.approx(line[1], rel=1e-9)


def test_a_peer_that_is_better_beyond_luck_is_named_and_an_equal_one_is_not():
    rng = np.random.default_rng(2)
    names = list(estimators.METHODS)
    errors = np.abs(rng.normal(0, 1, (60, len(names), 3)))
    assert list(estimators.better_peers(errors)) == []
    errors[:, names.index("hull"), 0] *= 0.3
    named = {(metric, label, peer) for metric, label, peer, *_ in estimators.better_peers(errors)}
    assert named == {("drift ppm", "median", "hull"), ("drift ppm", "95 %", "hull")}


def test_a_peer_that_says_nothing_is_not_better():
    errors = np.ones((40, len(estimators.METHODS), 3))
    errors[:, 0] = np.inf
    assert list(estimators.better_peers(errors)) == []


def test_shares_are_marked_only_beyond_luck():
    for held in (0, 90, 190, 200):
        exact = binomtest(held, 200).proportion_ci(0.95, method="wilson")
        assert coverage.wilson(held, 200) == pytest.approx((exact.low, exact.high), abs=1e-4)
    assert [coverage.mark(held, 200) for held in (170, 182, 190, 198, 200)] == ["TOO NARROW", "", "", "", "TOO WIDE"]


def test_the_mean_drift_of_a_part_is_that_part_s():
    run = _run("drifting_exp5", seconds=300.0)
    middle = len(run.counter) // 2
    early, late = coverage.mean_drift_ppm(run, 0, middle), coverage.mean_drift_ppm(run, middle, len(run.counter) - 1)
    assert late - early == pytest.approx(run.drift_change_ppm_per_min * 2.5, rel=1e-3)
    assert coverage.mean_drift_ppm(_run("step"), 0, 100) == pytest.approx(_run("step").drift_ppm, abs=1e-3)


def test_bursts_last_as_long_as_they_should_and_fill_every_run():
    busy = np.array([np.mean(arrivals._two_states(np.random.default_rng(k), 15_000, 750, 125)) for k in range(300)])
    assert np.mean(busy) == pytest.approx(1 / 7, abs=0.01)
