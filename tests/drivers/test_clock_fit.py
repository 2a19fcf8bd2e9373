"""The truth of every case is injected: what the clock was, and how long each chunk was under way.

Offsets are judged where arrivals can show them: delays that only add by delay zero, jitter by its middle, delays with a
smooth lower tail by the least that occurred. Seeds are fixed, so a figure fails only when the estimator changes.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from drivers.clock_fit import fit_clock


def _arrival_models():
    path = Path(__file__).parents[1] / "benchmarks" / "arrivals.py"
    spec = importlib.util.spec_from_file_location("arrivals", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["arrivals"] = module
    spec.loader.exec_module(module)
    return module


ARRIVALS = _arrival_models()
HOST0_NS = 5_000_000_000_000
ONE_SIDED = ("exp5", "stall", "uniform8", "queue", "wifi", "tcp")
SMOOTH = ("gamma3", "lognormal", "text")
JITTER = ("gauss1", "student3", "laplace")
BATCHED = ("ble30", "ftdi16", "polar", "ble45")


def run_of(model, seconds, seed):
    return ARRIVALS.MODELS[model](np.random.default_rng([seed, int(seconds)]), seconds)


def fit_of(run):
    return fit_clock(run.device_ns, run.arrival_ns, run.segment)[-1]


def errors(model, seconds, seeds):
    """(runs, 2): absolute error of the drift (ppm; where it moves, at the end) and of the newest offset (ms)."""
    found = []
    for seed in seeds:
        run = run_of(model, seconds, seed)
        fit, newest = fit_of(run), int(run.device_ns[-1])
        moving = run.drift_change_ppm_per_min != 0
        drift = fit.drift_at(newest) - run.drift_end_ppm if moving else fit.drift_ppm - run.drift_ppm
        found.append((abs(drift), abs(float(fit.offset_at(newest)) - (run.host_ns[-1] - newest)) / 1e6))
    return np.array(found)


@pytest.mark.parametrize(
    ("model", "seconds", "ppm", "offset_ms"),
    [
        ("stall", 60, 0.15, 0.02),
        ("exp5", 60, 0.40, 0.03),
        ("gauss1", 60, 0.47, 0.02),
        ("gap", 60, 0.15, 0.02),
        ("step", 60, 0.40, 0.02),
        ("drifting_exp5", 300, 0.2, 0.04),
        ("drifting_gauss1", 300, 0.2, 0.04),
    ],
)
def test_the_median_error_is_near_what_the_delays_allow(model, seconds, ppm, offset_ms):
    """Gaussian 1 ms: 0.67 of the Cramer-Rao bound is 0.32 ppm and 0.011 ms at 60 s, the median of 24 runs 1.4 of it."""
    median = np.median(errors(model, seconds, range(24 if seconds < 100 else 12)), axis=0)
    assert median[0] < ppm
    assert median[1] < offset_ms


def held(model, seconds, runs):
    """How often of ``runs`` the intervals of drift, newest offset and middle offset hold the truth."""
    count = np.zeros(3)
    for seed in range(runs):
        run = run_of(model, seconds, 1000 + seed)
        fit = fit_of(run)
        part = slice(fit.start, fit.start + fit.n)
        device, offset = run.device_ns[part], (run.host_ns - run.device_ns)[part]
        drift_ppm = 1e6 * (np.ptp(run.counter[part]) * run.period_ns / np.ptp(run.sampled_ns[part]) - 1)
        count[0] += fit.drift_low_ppm <= drift_ppm <= fit.drift_high_ppm
        for place, at in ((1, int(device[-1])), (2, fit.reference_ns)):
            low, high = fit.offset_interval_ns(at)
            count[place] += low <= np.interp(at, device, offset) <= high
    return count


@pytest.mark.parametrize("model", [*ONE_SIDED, *SMOOTH, *JITTER, *BATCHED])
def test_intervals_hold_the_truth(model):
    """19 of 20 at 95 % would be missed by 16 or fewer once in 400 runs."""
    assert (held(model, 20, 20) >= 16).all()


@pytest.mark.heavy
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seconds", [10, 30, 60])
@pytest.mark.parametrize("model", [*ONE_SIDED, *SMOOTH, *JITTER, "step", "gap", "exp20"])
def test_intervals_hold_the_truth_in_95_of_100_runs(model, seconds):
    """A share of 300 has a standard error of 1.3 %: 93 to 97 % and two of these to either side. Known to be off:
    offsets where delays thin out smoothly, which hold more often, and exp20 in 10 s (docs/clocks.md)."""
    share = held(model, seconds, 300) / 300
    assert (share > (0.86 if (model, seconds) == ("exp20", 10) else 0.905)).all()
    assert share[0] < 0.995
    assert (share < 0.995).all() or model in (*SMOOTH, "text")


@pytest.mark.parametrize(
    ("models", "kind"), [(ONE_SIDED, "floor"), (SMOOTH, "floor"), (JITTER, "centre"), (BATCHED, "lattice")]
)
def test_the_kind_says_what_the_delays_are_like(models, kind):
    for model in models:
        for seed in range(5):
            assert fit_of(run_of(model, 20, seed)).kind == kind, model


def test_stalls_among_jitter_both_ways_pull_at_nothing():
    run = run_of("gauss1", 60, 1)
    held_back = ARRIVALS.stalled(np.random.default_rng(2), run)
    fit, plain, newest = fit_of(held_back), fit_of(run), int(run.device_ns[-1])
    assert fit.kind == "centre"
    assert fit.drift_ppm == pytest.approx(run.drift_ppm, abs=2.0)
    assert float(fit.offset_at(newest) - plain.offset_at(newest)) / 1e6 == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("model", ["drifting_exp5", "drifting_gauss1"])
def test_a_drift_that_moves_is_followed_and_its_change_told(model):
    for seed in range(4):
        run = run_of(model, 300, seed)
        fit = fit_of(run)
        change = run.drift_change_ppm_per_min
        assert fit.drift_change_ppm_per_min == pytest.approx(change, abs=0.4)
        assert fit.drift_change_low_ppm_per_min < fit.drift_change_ppm_per_min < fit.drift_change_high_ppm_per_min
        early = float(fit.drift_at(int(run.device_ns[0])))
        assert early == pytest.approx(run.drift_end_ppm - 5 * change, abs=1.5)


def test_a_steady_drift_shows_no_change_and_says_how_little_it_could_be():
    for model in ("exp5", "gauss1", "stall"):
        fit = fit_of(run_of(model, 120, 3))
        assert fit.drift_change_ppm_per_min == 0
        assert -2.5 < fit.drift_change_low_ppm_per_min <= 0 <= fit.drift_change_high_ppm_per_min < 2.5


def test_a_step_parts_a_segment_where_it_happens():
    run = run_of("step", 60, 4)
    first, second = fit_clock(run.device_ns, run.arrival_ns, run.segment)
    assert (first.start, first.segment, second.segment) == (0, 0, 0)
    assert first.n == second.start == pytest.approx(run.step_at, abs=150)
    assert first.n + second.n == len(run.device_ns)
    newest = int(run.device_ns[-1])
    assert abs(float(second.offset_at(newest)) - (run.host_ns[-1] - newest)) < 50_000


def test_a_gap_bends_nothing():
    """1.96 s lost, exponential 1 ms: 997 ms by tools that count samples."""
    errors_ms = []
    for seed in range(8):
        run = run_of("gap", 60, seed)
        fit = fit_of(run)
        errors_ms.append(np.abs(fit.host_ns(run.device_ns) - run.host_ns).max() / 1e6)
    assert max(errors_ms) < 0.05


@pytest.mark.parametrize("rate_off", [0.98, 1.005, 1.4])
@pytest.mark.parametrize("rate_hz", [1.0, 50.0])
def test_a_wrong_sampling_rate_is_a_drift_and_no_step(rate_off, rate_hz):
    nominal = np.rint(np.arange(60 * rate_hz) / rate_hz * 1e9).astype(np.int64)
    rng = np.random.default_rng(5)
    arrival = np.rint(nominal / rate_off + rng.exponential(1e6, len(nominal))).astype(np.int64) + HOST0_NS
    (fit,) = fit_clock(nominal, arrival, np.zeros(len(nominal), dtype=np.int64))
    assert fit.drift_ppm == pytest.approx((rate_off - 1) * 1e6, rel=1e-3)
    assert fit.drift_low_ppm < (rate_off - 1) * 1e6 < fit.drift_high_ppm


def exact(seconds, drift_ppm, rate_hz=250):
    """(device_ns, host_ns) of a link without any delay."""
    device_s = np.arange(int(seconds * rate_hz)) / rate_hz
    host = np.rint(device_s / (1 + drift_ppm * 1e-6) * 1e9).astype(np.int64) + HOST0_NS
    return np.rint(device_s * 1e9).astype(np.int64), host


def one_segment(device):
    return np.zeros(len(device), dtype=np.int64)


def test_an_exact_link_gives_the_drift_exactly():
    device, host = exact(60, 500)
    (fit,) = fit_clock(device, host, one_segment(device))
    assert fit.drift_ppm == pytest.approx(500, abs=0.01)
    assert np.abs(fit.host_ns(device) - host).max() < 1000
    assert fit.delay_ns[3] < 1000


def test_the_delay_over_the_floor_is_the_one_injected():
    device, host = exact(60, 50)
    late = np.random.default_rng(0).random(len(device)) < 0.1
    (fit,) = fit_clock(device, np.maximum.accumulate(host + 3_000_000 * late), one_segment(device))
    assert fit.delay_ns[0] == pytest.approx(0, abs=1e4)
    assert fit.delay_ns[3] == pytest.approx(3e6, abs=1e4)


def test_the_quantiles_of_the_delay_are_those_of_its_distribution():
    run = run_of("uniform8", 60, 0)
    true_ms = np.quantile(run.arrival_ns - run.sampled_ns, [0.5, 0.95, 0.99]) / 1e6
    assert np.array(fit_of(run).delay_ns[:3]) / 1e6 == pytest.approx(true_ms, rel=0.05)


def test_the_jitter_is_the_standard_deviation_of_a_normal_one():
    inside = 0
    for seed in range(20):
        fit = fit_of(run_of("gauss1", 20, seed))
        assert fit.jitter_ns == pytest.approx(1e6, rel=0.1)
        inside += fit.jitter_low_ns <= 1e6 <= fit.jitter_high_ns
    assert inside >= 17


def test_the_interval_of_an_offset_grows_beyond_the_data_as_the_drift_says():
    fit = fit_of(run_of("exp5", 20, 6))
    newest = fit.reference_ns + round(fit.duration_s * 5e8)
    widths = [high - low for low, high in (fit.offset_interval_ns(newest + s * 10**9) for s in (0, 10, 20))]
    spread = (fit.drift_high_ppm - fit.drift_low_ppm) * 1e3 * 10
    assert widths[1] - widths[0] == pytest.approx(spread, rel=0.01)
    assert widths[2] - widths[1] == pytest.approx(spread, rel=0.01)
    assert fit.offset_interval_ns(fit.reference_ns) == pytest.approx((fit.offset_low_ns, fit.offset_high_ns))


def test_each_segment_has_its_own_line():
    run = run_of("exp5", 60, 1)
    segment = (np.arange(len(run.device_ns)) > 6250).astype(np.int64)
    first, second = fit_clock(run.device_ns - segment * 3_000_000_000, run.arrival_ns, segment)
    assert (first.segment, second.segment, second.start, first.n) == (0, 1, first.n, 6251)
    assert second.offset_ns - first.offset_ns == pytest.approx(3e9, abs=8e6)
    for fit in (first, second):
        assert fit.drift_low_ppm < run.drift_ppm < fit.drift_high_ppm


def test_too_few_chunks_give_an_infinite_interval():
    device = np.array([0, 4_000_000, 8_000_000])
    for n in (1, 3):
        (fit,) = fit_clock(device[:n], device[:n] + 7, one_segment(device[:n]))
        assert np.isinf(fit.drift_high_ppm)
        assert np.isinf(fit.drift_change_high_ppm_per_min)
        assert fit.offset_low_ns <= 7 <= fit.offset_high_ns
    assert fit_clock(device[:0], device[:0], device[:0]) == []


@pytest.mark.parametrize("drift_ppm", [-90, -12, 0, 12, 90])
@pytest.mark.parametrize("seconds", [15, 30, 120])
def test_a_poll_that_is_a_whole_number_of_samples_does_not_make_a_drift_certain(drift_ppm, seconds):
    device, host = exact(seconds, drift_ppm)
    polled = -(-(host - 5_300_000) // 16_000_000) * 16_000_000 + 5_300_000
    (fit,) = fit_clock(device, polled, one_segment(device))
    assert fit.drift_low_ppm <= drift_ppm <= fit.drift_high_ppm


@pytest.mark.parametrize("seconds", [15, 33, 123])
@pytest.mark.parametrize("rate_hz", [10, 64])
def test_a_line_that_grows_with_its_numbers_does_not_pass_for_drift(seconds, rate_hz):
    """A digit more from 10 s on, and another from 100 s on, at 115200 baud."""
    device, host = exact(seconds, 0, rate_hz)
    arrival = host + 86_806 * ((device >= 10e9).astype(np.int64) + (device >= 100e9))
    (fit,) = fit_clock(device, arrival, one_segment(device))
    assert fit.drift_low_ppm <= 0 <= fit.drift_high_ppm


def test_a_batched_link_shows_its_cell_and_a_plain_one_shows_none():
    for model, cell_ms in (("ftdi16", 4), ("exp5", 0), ("stall", 0), ("gauss1", 0)):
        assert fit_of(run_of(model, 60, 2)).cell_ns / 1e6 == pytest.approx(cell_ms, abs=0.2)


def test_the_cell_that_a_caller_knows_is_taken_where_no_poll_shows():
    run = run_of("exp5", 30, 2)
    (fit,) = fit_clock(run.device_ns, run.arrival_ns, run.segment, cell_ns=4e6)
    assert fit.cell_ns == 4e6
    assert fit.drift_high_ppm - fit.drift_low_ppm >= 4e6 / 30e3
    assert fit.offset_high_ns - fit.offset_low_ns >= 4e6


def behind_polls(rng, seconds, period_ms, poll_ms, drift_ppm, play_ns=None, loss=0.0):
    """(device_ns, arrival_ns, segment) of packets that wait for polls, ready later by ``play_ns`` (at s)."""
    at_s = np.arange(int(seconds * 1000 / period_ms)) * period_ms / 1e3
    host = at_s / (1 + drift_ppm * 1e-6) * 1e9
    ready = host + (0.0 if play_ns is None else play_ns(at_s))
    polls = float(rng.uniform(0, poll_ms * 1e6)) + np.arange(int(seconds * 1000 / poll_ms) + 40) * poll_ms * 1e6
    polls = polls[rng.random(len(polls)) >= loss]
    at = (polls + np.abs(rng.normal(0, 1e5, len(polls))))[np.searchsorted(polls, ready)]
    arrival = np.ceil(np.maximum.accumulate(at)).astype(np.int64)
    return np.rint(at_s * 1e9).astype(np.int64), arrival, np.zeros(len(at_s), dtype=np.int64)


@pytest.mark.parametrize(("period_ms", "poll_ms", "loss"), [(100, 16, 0.0), (40, 30, 0.05)])
def test_a_line_of_text_that_gains_a_digit_is_no_slip_of_the_clock(period_ms, poll_ms, loss):
    """Its packets are ready 0.35 ms later from some moment on, which here and there is after the poll. Of 20 runs at
    95 %, fewer than 16 happen to one honest interval in 400."""
    held = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        from_s = rng.uniform(30, 90)
        columns = behind_polls(rng, 120, period_ms, poll_ms, 0.0, lambda at_s, s=from_s: 0.35e6 * (at_s > s), loss)
        (fit,) = fit_clock(*columns, play_ns=0.4e6, radio=poll_ms == 30)
        assert fit.kind == "lattice"
        held += fit.drift_low_ppm <= 0 <= fit.drift_high_ppm
    assert held >= 16


def test_packets_of_a_serial_line_show_their_clock_where_on_a_radio_they_might_be_polled():
    """40 ms is a connection interval, too; nothing but a radio polls that slowly."""
    device = np.repeat(np.arange(750) * 40_000_000, 10)
    sent = np.repeat(np.arange(750) * 40e6 / (1 + 15e-6), 10)
    arrival = sent.astype(np.int64)
    zeros = np.zeros(len(device), dtype=np.int64)
    (serial,) = fit_clock(device, arrival, zeros, radio=False)
    (radio,) = fit_clock(device, arrival, zeros)
    assert serial.kind == "floor"
    assert serial.drift_low_ppm <= 15 <= serial.drift_high_ppm < serial.drift_low_ppm + 0.1
    assert radio.kind == "lattice"
    assert radio.drift_high_ppm - radio.drift_low_ppm > 300


def test_time_stamps_in_whole_milliseconds_show_no_packets_each_millisecond():
    """64 packets a second behind polls each 16 ms, 20 ppm slow."""
    device, arrival, zeros = behind_polls(np.random.default_rng(4), 120, 15.625, 16, -20.0)
    (fit,) = fit_clock(device // 1_000_000 * 1_000_000, arrival, zeros, radio=False)
    assert fit.drift_low_ppm <= -20 <= fit.drift_high_ppm


def test_coarse_stamps_of_regular_packets_are_no_poll():
    device = np.arange(1500) * 15_625_000
    arrival = (device / (1 - 20e-6)).astype(np.int64)
    (fit,) = fit_clock(device // 1_000_000 * 1_000_000, arrival, np.zeros(1500, dtype=np.int64), radio=False)
    assert fit.kind != "lattice"
    assert fit.drift_low_ppm <= -20 <= fit.drift_high_ppm


def test_the_drift_before_a_step_counts_after_it():
    """Ten seconds after a step of a clock that was watched for 200 s know its drift ten times better than by
    themselves."""
    rng = np.random.default_rng(5)
    device = np.arange(21_000) * 10_000_000
    arrival = np.maximum.accumulate(np.rint(device / (1 + 30e-6) + rng.exponential(2e6, len(device))).astype(np.int64))
    device[20_000:] += 500_000_000
    zeros = np.zeros(len(device), dtype=np.int64)
    alone = fit_clock(device[20_000:], arrival[20_000:], zeros[20_000:])[-1]
    after = fit_clock(device, arrival, zeros)[-1]
    assert after.n == alone.n
    assert after.drift_low_ppm <= 30 <= after.drift_high_ppm
    assert after.drift_high_ppm - after.drift_low_ppm < 0.1 * (alone.drift_high_ppm - alone.drift_low_ppm)


def test_jitter_behind_polls_is_about_the_polls_whatever_packets_wait():
    """Half-normal of 0.1 ms: the median distance from its median is 0.0399 ms by quadrature, times 1.4826."""
    for seed in range(5):
        (fit,) = fit_clock(*behind_polls(np.random.default_rng(seed), 60, 40, 30, 10.0))
        spare = 0.3 * (fit.jitter_high_ns - fit.jitter_low_ns)
        assert fit.jitter_low_ns - spare <= 1.4826 * 0.0399e6 <= fit.jitter_high_ns + spare
        assert fit.jitter_high_ns < 0.08e6


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("count", "share", "late_ms"), [(300, 0.4, 5), (600, 0.45, 50), (1200, 0.45, 50)])
def test_a_link_that_is_exact_but_for_long_stalls_is_fitted_without_a_number_that_overflows(count, share, late_ms):
    """Where half of the delays are one number, the scatter of the rest is as good as unknown."""
    device = np.arange(count, dtype=np.int64) * 10_000_000
    wait = np.zeros(count)
    third, held = count // 3, int(count // 3 * share)
    for part in range(3):
        wait[part * third : part * third + held] = (part + 1) * late_ms * 1e6 * np.linspace(1, 0, held)
    arrival = np.maximum.accumulate(device + wait.astype(np.int64)) + 7_000_000_000
    fits = fit_clock(device, arrival, np.zeros(count, dtype=np.int64))
    assert sum(fit.n for fit in fits) == count
    assert not any(np.isnan(fit.jitter_ns) for fit in fits)
