"""The clock behind a link that polls: is there a poll, and what do arrivals on its grid say about the clock?"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from arrivals import MODELS, MS, SECOND, batched, ble, clock, stalled

from drivers.clock_lattice import Lattice, fit_lattice
from drivers.clock_poll import chunks, common_step, find_poll, lattice_cell

UNPOLLED = (
    "gauss1", "exp5", "stall", "uniform8", "lognormal", "gamma3", "student3", "laplace", "queue", "wifi", "tcp", "text",
)  # fmt: skip


def fit_of(arrivals, reference_ns=0.0, added_ns=0.0):
    """Lattice and, for each sample, device time in s and true (host - device) in ns as fit_lattice() counts them."""
    poll = find_poll(arrivals.arrival_ns, arrivals.device_ns)
    cell = lattice_cell(arrivals.arrival_ns, arrivals.device_ns, poll)
    at, last, _ = chunks(arrivals.arrival_ns, arrivals.device_ns)
    device = (arrivals.device_ns - arrivals.device_ns[0]).astype(np.float64)
    truth = (arrivals.host_ns - arrivals.arrival_ns[0]) - device + added_ns
    fit = fit_lattice((last - reference_ns) / SECOND, at - last + added_ns, poll, cell)
    return fit, (device - reference_ns) / SECOND, truth


def still_clock(seconds, packet_ms, poll_ms, wait_ms):
    """Packets of an exact clock and polls of an exact grid: the first packet waits so long."""
    device = np.arange(int(seconds * 1000 / packet_ms)) * packet_ms * MS
    delay = wait_ms * MS + np.ceil((device - wait_ms * MS) / (poll_ms * MS)) * poll_ms * MS - device
    return device, delay


def polls_with(rng, seconds, packet_ms, poll_ms, skew_ppm=0.0, loss=0.05):
    taken = clock(rng, seconds, packet_ms * MS)
    return batched(rng, taken, poll_ms * MS * (1 + 1e-6 * skew_ppm), loss)


@pytest.mark.parametrize(
    ("packet_ms", "poll_ms", "seconds"),
    [(40, 7.5, 10), (40, 30, 10), (40, 45, 10), (561.54, 50, 10), (561.54, 30, 15), (1000, 30, 30), (4, 16, 30),
     (52.3, 45, 10), (40, 500, 60), (700, 4000, 300), (4, 8, 30)],
)  # fmt: skip
def test_a_poll_is_found_to_a_few_ppm_of_its_length_in_host_time(packet_ms, poll_ms, seconds):
    run = polls_with(np.random.default_rng(3), seconds, packet_ms, poll_ms, skew_ppm=37.0)
    poll = find_poll(run.arrival_ns, run.device_ns)
    cycles = seconds * 1000 / poll_ms
    assert abs(poll / (poll_ms * MS * (1 + 37e-6)) - 1) < max(1e-6, 0.02 / cycles)


def test_stalls_and_lost_polls_do_not_hide_the_poll_nor_pass_a_fraction_of_it_off_as_it():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        run = stalled(rng, ble(rng, 60, interval_ms=45, period_ms=5.23, loss=0.15), per_s=0.5)
        assert find_poll(run.arrival_ns, run.device_ns) == pytest.approx(45 * MS, rel=1e-4)


@pytest.mark.parametrize("name", UNPOLLED)
@pytest.mark.parametrize("seconds", [10, 60])
def test_links_that_do_not_poll_show_no_poll(name, seconds):
    for seed in range(4):
        run = MODELS[name](np.random.default_rng([seed, 7]), seconds)
        assert find_poll(run.arrival_ns, run.device_ns) == 0.0


def test_a_devices_own_packets_are_no_poll():
    """Ten samples a packet, 40 ms apart on a clock 150 ppm fast: Bluetooth knows 40 ms, the host's clock does not."""
    device = np.repeat(np.arange(1500) * 40 * MS, 10) + np.tile(np.arange(10) * 4 * MS, 1500)
    sent = np.repeat(np.arange(1, 1501) * 40 * MS / (1 + 150e-6), 10)
    jitter = np.repeat(np.abs(np.random.default_rng(0).normal(0, 0.1 * MS, 1500)), 10)
    assert find_poll((sent + jitter).astype(np.int64), device.astype(np.int64)) == 0.0


def test_arrivals_that_bring_as_many_samples_each_and_keep_the_hosts_time_are_taken_to_be_polled():
    rng = np.random.default_rng(1)
    run = ble(rng, 30, interval_ms=40, loss=0.0)
    assert find_poll(run.arrival_ns, run.device_ns) == pytest.approx(40 * MS, rel=1e-6)
    assert lattice_cell(run.arrival_ns, run.device_ns, 40 * MS) == pytest.approx(40 * MS, rel=1e-6)


def test_too_few_arrivals_show_no_poll():
    run = ble(np.random.default_rng(1), 0.4)
    assert find_poll(run.arrival_ns, run.device_ns) == 0.0
    assert find_poll(run.arrival_ns[:0], run.device_ns[:0]) == 0.0


@pytest.mark.parametrize(("packet_ms", "poll_ms", "cell_ms"), [(40, 30, 10), (40, 7.5, 2.5), (40, 45, 5), (4, 16, 4)])
def test_the_cell_is_the_greatest_common_divisor_of_polls_and_packets(packet_ms, poll_ms, cell_ms):
    run = batched(np.random.default_rng(2), clock(np.random.default_rng(2), 60, packet_ms * MS), poll_ms * MS)
    assert lattice_cell(run.arrival_ns, run.device_ns, poll_ms * MS) == pytest.approx(cell_ms * MS, rel=1e-3)


def test_the_common_step_of_gaps_survives_losses_and_is_absent_from_heartbeats():
    rng = np.random.default_rng(4)
    assert common_step(52.3 * MS * rng.integers(1, 5, 200)) == pytest.approx(52.3 * MS, rel=1e-4)
    assert common_step(np.array([480.0, 520.0, 480.0, 520.0]) * MS) == pytest.approx(40 * MS, rel=1e-4)
    assert common_step(np.array([16.0] * 500 + [12.0]) * MS) == pytest.approx(4 * MS, rel=1e-4)
    assert common_step(rng.normal(800, 50, 300) * MS) == float("inf")


def strip(seconds, packet_ms, poll_ms, wait_ms, cell_ms) -> Lattice:
    device, delay = still_clock(seconds, packet_ms, poll_ms, wait_ms)
    fit = fit_lattice((device - device.mean()) / SECOND, delay, poll_ms * MS, cell_ms * MS)
    assert fit is not None
    return fit


@pytest.mark.parametrize("wait_ms", [0.5, 3.0, 9.0])
def test_a_clock_that_never_slides_leaves_the_strip_that_can_be_worked_out_by_hand(wait_ms):
    """Lines between two parallels of distance g over a time T: offset and slope in the middle have triangular
    densities on +-g/2 and +-g/T, whose 95 % are 1 - sqrt(0.05) of that; at the ends the offset is uniform on +-g/2."""
    cell, share = 10 * MS, 1 - np.sqrt(0.05)
    fit = strip(300, 40, 30, wait_ms, 10)
    width = fit.offset_high_ns - fit.offset_low_ns
    assert width / 2 == pytest.approx(share * cell / 2, rel=0.03)
    assert fit.slope_high_ns_per_s == pytest.approx(share * cell / 300, rel=0.03)
    assert fit.slope_low_ns_per_s == pytest.approx(-share * cell / 300, rel=0.03)
    for end in (-150.0, 150.0):
        low, _, high = fit.offset_at(end)
        assert (high - low) / 2 == pytest.approx(0.95 * cell / 2, rel=0.03)
    waits = (still_clock(300, 40, 30, wait_ms)[1] % cell).min()
    assert fit.offset_ns == pytest.approx(waits - cell / 2, abs=0.05 * MS)


def test_packets_that_always_wait_alike_leave_the_whole_poll_open():
    fit = strip(300, 40, 40, 25.0, 40)
    assert (fit.offset_high_ns - fit.offset_low_ns) / 2 == pytest.approx((1 - np.sqrt(0.05)) * 20 * MS, rel=0.03)


def test_over_a_short_time_the_slope_is_known_by_what_crystals_do():
    fit = strip(10, 40, 30, 3.0, 10)
    assert 170e3 < fit.slope_high_ns_per_s < 210e3
    assert -210e3 < fit.slope_low_ns_per_s < -170e3


@pytest.mark.parametrize("seed", range(5))
def test_clocks_that_slide_past_the_polls_are_known_to_a_fraction_of_a_ppm(seed):
    rng = np.random.default_rng(seed)
    run = ble(rng, 300, interval_ms=7.5)
    fit, at_s, truth = fit_of(run)
    assert fit is not None
    slope = float(np.polyfit(at_s, truth, 1)[0])
    if abs(run.drift_ppm) * 300e-6 < 0.005:
        pytest.skip("this clock hardly slides")
    assert abs(fit.slope_ns_per_s - slope) < 500
    assert fit.slope_high_ns_per_s - fit.slope_low_ns_per_s < 1000
    assert abs(fit.offset_at(at_s[-1])[1] - truth[-1]) < 0.1 * MS


def test_a_constant_moves_the_offset_and_another_reference_moves_nothing():
    run = ble(np.random.default_rng(8), 30)
    fit, at_s, _ = fit_of(run)
    moved, _, _ = fit_of(run, added_ns=1e9)
    later, other_s, _ = fit_of(run, reference_ns=12.5e9)
    assert fit is not None
    assert moved is not None
    assert later is not None
    assert np.array(moved.offset_at(3.0)) - 1e9 == pytest.approx(np.array(fit.offset_at(3.0)), abs=1.0)
    assert np.array(later.offset_at(other_s[-1])) == pytest.approx(np.array(fit.offset_at(at_s[-1])), abs=1e3)
    assert later.slope_ns_per_s == pytest.approx(fit.slope_ns_per_s, abs=10)


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.15, 0.3])
def test_the_share_of_lost_polls_comes_out(loss):
    run = ble(np.random.default_rng(5), 120, interval_ms=45, period_ms=5.23, loss=loss)
    fit, _, _ = fit_of(run)
    assert fit is not None
    assert fit.lost_share == pytest.approx(loss, abs=0.02)


def test_the_polls_own_period_is_told_in_host_time():
    run = polls_with(np.random.default_rng(6), 300, 40, 30, skew_ppm=-41.0)
    at, last, _ = chunks(run.arrival_ns, run.device_ns)
    fit = fit_lattice(last / SECOND, at - last, 30 * MS, 10 * MS)
    assert fit is not None
    assert fit.poll_ns / (30 * MS) - 1 == pytest.approx(-41e-6, abs=0.1e-6)


def test_no_lattice_is_fitted_where_arrivals_keep_to_no_grid():
    run = MODELS["exp5"](np.random.default_rng(1), 10)
    at, last, _ = chunks(run.arrival_ns, run.device_ns)
    assert fit_lattice(last / SECOND, at - last, 30 * MS, 10 * MS) is None
    assert fit_lattice(last[:5] / SECOND, at[:5] - last[:5], 30 * MS, 10 * MS) is None
    assert fit_lattice(last / SECOND, at - last, 0.0, 0.0) is None


def covered(name, seconds, runs, seed):
    """(4,) share of runs whose interval holds the slope and the offset at start, middle and end."""
    held = np.zeros(4)
    for number in range(runs):
        fit, at_s, truth = fit_of(MODELS[name](np.random.default_rng([seed, number, seconds]), seconds))
        assert fit is not None
        slope = float(np.polyfit(at_s, truth, 1)[0])
        held[0] += fit.slope_low_ns_per_s <= slope <= fit.slope_high_ns_per_s
        for place, sample in enumerate((0, len(at_s) // 2, -1), start=1):
            low, _, high = fit.offset_at(float(at_s[sample]))
            held[place] += low <= truth[sample] <= high
    return held / runs


@pytest.mark.parametrize("name", ["ble30", "ftdi16", "ble45", "ble30_loss15"])
def test_intervals_hold_the_truth_about_as_often_as_they_say(name):
    """Of 40 runs at 95 %, fewer than 32 happens to one honest interval in 2000."""
    assert (covered(name, 10, 40, 1) >= 0.8).all()


@pytest.mark.heavy
@pytest.mark.parametrize("seconds", [10, 60, 300])
@pytest.mark.parametrize(
    "name",
    ["ble30", "ble30_stall", "ftdi16", "ftdi8", "ble45", "polar", "ble7", "ble30_ppm", "ble30_loss1", "ble30_loss15"],
)
def test_intervals_hold_the_truth_in_nineteen_of_twenty_runs(name, seconds):
    """200 runs at 95 %: 0.91 is 2.6 standard deviations away. Over a short time the prior alone knows the slope, and
    better than that."""
    assert (covered(name, seconds, 200, 2) >= 0.905).all()
