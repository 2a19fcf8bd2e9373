"""What delay, slow_start and clock_wander do to a wire, a start and a clock."""

from dataclasses import replace

import numpy as np
import pytest

from drivers.errors import SettingError
from drivers.types import Batch
from simulators.build import SimulatedSpec, build
from simulators.device_clock import DeviceClock
from simulators.draws import Draws
from simulators.faults import Where
from simulators.faults.registry import make_fault

S = 1_000_000_000
TEXT = {
    "format": "csv", "time_column": "t", "time_unit": "ms",
    "columns": [{"name": "skin", "stream": "skin", "kind": "temperature", "unit": "degC", "rate_hz": 50, "lsb": 0.01}],
}  # fmt: skip


# --- delay ------------------------------------------------------------------------------------


def test_every_chunk_is_late_by_the_delay_and_its_growth(run_batches, frames, start_ns):
    batch = frames(2000)
    out, (truth,) = run_batches({"fault": "delay", "start_s": 3, "ms": 40, "growth_ms_per_s": 25}, batch)
    due_s = (batch.at_ns - start_ns) / 1e9
    late_ms = (np.array([at_ns for _, at_ns in out]) - batch.at_ns) / 1e6
    expected = np.where(due_s >= 3, 40 + 25 * (due_s - 3), 0.0)
    assert np.allclose(late_ms, expected, atol=1e-5)
    assert b"".join(chunk for chunk, _ in out) == batch.data
    first = batch.at_ns[np.flatnonzero(due_s >= 3)[0]]
    assert (truth.start_ns, truth.end_ns) == (first, batch.at_ns[-1])
    assert truth.detail == {"chunks": np.count_nonzero(due_s >= 3), "ms": 40.0, "growth_ms_per_s": 25.0}


def test_after_the_delay_what_is_under_way_holds_up_what_is_sent(run_batches, frames, start_ns):
    batch = frames(2000)
    out, (truth,) = run_batches({"fault": "delay", "stop_s": 2, "ms": 500, "growth_ms_per_s": 0}, batch)
    at_s = (np.array([at_ns for _, at_ns in out]) - start_ns) / 1e9
    due_s = (batch.at_ns - start_ns) / 1e9
    last = due_s[due_s < 2].max() + 0.5
    assert np.allclose(at_s, np.where(due_s < 2, due_s + 0.5, np.maximum(due_s, last)), atol=1e-8)
    assert truth.detail["chunks"] == np.count_nonzero(due_s < last)


# --- slow start -------------------------------------------------------------------------------


def times_of(spec, seconds, told=()):
    """Arrival of every chunk in s, and the truth; ``told``: (second, bytes) of what the host says."""
    sensor = build(spec, start_ns=0)
    chunks = []
    for at_s, data in told:
        chunks += sensor.advance(round(at_s * S))
        sensor.receive(data, round(at_s * S))
    chunks += sensor.advance(round(seconds * S))
    times = np.concatenate([np.empty(0), *(batch.at_ns / 1e9 for batch in chunks if isinstance(batch, Batch))])
    return times, sensor.truths


def test_a_board_that_streams_unasked_is_silent_after_it_is_switched_on():
    spec = SimulatedSpec("text-lines", TEXT)
    plain, _ = times_of(spec, 10)
    slow, (truth,) = times_of(replace(spec, faults=[{"fault": "slow_start", "seconds": 4}]), 10)
    assert plain[0] < 0.05
    assert slow[0] - plain[0] == pytest.approx(4.0, abs=0.002)  # a later first line is a byte longer
    assert (truth.start_ns, truth.end_ns, truth.detail) == (0, 4 * S, {"seconds": 4.0})


def test_a_commanded_sensor_answers_at_once_and_samples_later():
    spec = SimulatedSpec("openbci-cyton", {"streams": {"ecg": [1]}}, faults=[{"fault": "slow_start", "seconds": 3}])
    times, (truth,) = times_of(spec, 8, [(0.5, b"v"), (2.0, b"b")])
    assert times[0] < 1.1  # the banner: the board has reset itself
    assert times[times > 2][0] == pytest.approx(5.0, abs=0.01)
    assert (truth.start_ns, truth.end_ns) == (2 * S + 1, 5 * S + 1)


def test_a_slow_sensor_numbers_and_stamps_from_its_own_beginning():
    plain, slow = (
        build(SimulatedSpec("text-lines", TEXT, faults=faults)).advance(round(seconds * S))
        for faults, seconds in ([(), 1], [[{"fault": "slow_start", "seconds": 2}], 3])
    )
    stamps = [[int(line.split(b",")[0]) for line in b"".join(b.data for b in got).split()[1:]] for got in (plain, slow)]
    assert len(stamps[0]) == len(stamps[1])
    assert np.array_equal(np.array(stamps[1]) - stamps[0], np.full(len(stamps[0]), 2000))  # its clock ran all the time


def test_with_a_later_start_only_restarts_are_slow():
    outage = {"fault": "unplug", "at_s": 4, "for_s": 1}
    spec = SimulatedSpec("text-lines", TEXT, faults=[{"fault": "slow_start", "seconds": 2, "start_s": 1}, outage])
    times, truths = times_of(spec, 10)
    assert times[0] < 0.05
    assert times[times > 4][0] == pytest.approx(7.0, abs=0.05)
    assert [(t.start_ns, t.end_ns) for t in truths if t.fault == "slow_start"] == [(5 * S + 1, 7 * S + 1)]


# --- clock wander -----------------------------------------------------------------------------


def wandering(**keys):
    return make_fault({"fault": "clock_wander", **keys}).warp(DeviceClock(ppm=10))


def drift_ppm(clock, at_s):
    """By the difference quotient of the oscillator's phase."""
    near = np.array(at_s)[:, None] + np.array([-0.5, 0.5])
    return (np.diff(clock.phase(near), axis=1)[:, 0] - 1) * 1e6


def test_the_drift_grows_by_so_much_a_minute_and_ends_with_the_fault():
    clock = wandering(ppm_per_min=120, start_s=30, stop_s=90)
    assert drift_ppm(clock, [10, 60, 89, 120]) == pytest.approx([10, 70, 128, 10], abs=1e-4)
    assert clock.phase(np.array([200.0]))[0] - 200 == pytest.approx(10e-6 * 200 + 60e-6 * 60)  # the time gained stays


def test_the_drift_swings_with_its_period():
    clock = wandering(ppm_per_min=0, swing_ppm=50, period_s=40)
    assert drift_ppm(clock, [10, 20, 30, 50]) == pytest.approx([60, 10, -40, 60], abs=0.1)


def test_a_wandering_clock_can_be_turned_round():
    clock = wandering(ppm_per_min=5000, swing_ppm=300, period_s=7)
    world = np.linspace(-3, 200, 500)
    assert np.abs(clock.world(clock.phase(world)) - world).max() < 1e-12 * 200 + 1e-9


def test_the_truth_of_a_wander_is_one_spell():
    where = Where("bench", 7 * S, Draws(1), lambda truth: None)
    (truth,) = make_fault({"fault": "clock_wander", "start_s": 2, "stop_s": 9}).truths(where)
    assert (truth.start_ns, truth.end_ns) == (9 * S, 16 * S)
    assert truth.detail == {"ppm_per_min": 400.0, "swing_ppm": 0.0, "period_s": 60.0}


@pytest.mark.parametrize(
    "given",
    [
        {"fault": "delay", "ms": 0, "growth_ms_per_s": 0},
        {"fault": "clock_wander", "ppm_per_min": 0},
    ],
)
def test_a_fault_that_would_do_nothing_is_refused(given):
    with pytest.raises(SettingError, match=given["fault"] + ": .* expected"):
        make_fault(given)
