"""The lag fault shows what was there before, and stamps, counts and arrivals are as without it."""

import numpy as np
import pytest

from drivers.errors import SettingError
from drivers.types import StreamSpec
from simulators import simulated
from simulators.faults.registry import make_fault

RATE_HZ = 250.0
TEXT = {
    "format": "csv",
    "columns": [
        {"name": "ppg", "stream": "ppg", "kind": "ppg", "unit": "counts", "rate_hz": 100, "lsb": 1, "high": 1e6}
    ],
}


def ramp(seconds=6.0, start_s=-1.0):
    """A straight line, in which a lag of t s shows as a value that is t smaller, and a curve."""
    times_s = start_s + np.arange(0, seconds, 1 / RATE_HZ)
    return times_s, np.stack([times_s, np.sin(times_s)], axis=1)


@pytest.mark.parametrize("ms", [2.0, 8.0, 250.0, 333.3])
def test_every_sample_is_the_one_of_so_many_milliseconds_ago(run_samples, ms):
    times_s, values = ramp()
    out, _ = run_samples({"fault": "lag", "ms": ms, "start_s": 1.0}, times_s, values)
    late = times_s >= 1.0
    assert np.array_equal(out[~late], values[~late])
    assert np.allclose(out[late, 0], times_s[late] - ms / 1000, atol=1e-9)
    assert np.allclose(out[late, 1], np.sin(times_s[late] - ms / 1000), atol=(1 / RATE_HZ) ** 2 / 8 + 1e-9)


def test_before_its_first_sample_a_stream_is_held(run_samples):
    times_s, values = ramp(start_s=0.0)
    out, _ = run_samples({"fault": "lag", "ms": 500}, times_s, values)
    assert np.array_equal(out[times_s < 0.5], np.repeat(values[:1], int((times_s < 0.5).sum()), axis=0))
    assert np.allclose(out[times_s > 0.5, 0], times_s[times_s > 0.5] - 0.5, atol=1e-9)


def test_afterwards_the_stream_is_in_time_again(run_samples):
    times_s, values = ramp()
    out, truth = run_samples({"fault": "lag", "ms": 250, "start_s": 1, "stop_s": 3}, times_s, values)
    assert np.array_equal(out[times_s >= 3], values[times_s >= 3])
    (told,) = truth
    assert (told.fault, told.layer, told.detail["ms"]) == ("lag", "samples", 250.0)
    assert told.detail["samples"] == int(((times_s >= 1) & (times_s < 3)).sum())
    assert told.end_ns - told.start_ns == pytest.approx(2e9 - 1e9 / RATE_HZ, abs=1)


@pytest.mark.parametrize("cuts", [(1, 7, 64, 333), tuple(range(0, 1500, 11)), (250, 251, 252)])
def test_cutting_changes_no_bit(run_samples, cuts):
    times_s, values = ramp()
    given = {"fault": "lag", "ms": 123.4, "start_s": 0.5}
    assert np.array_equal(run_samples(given, times_s, values, cuts=cuts)[0], run_samples(given, times_s, values)[0])


def test_a_lagging_sensor_sends_the_samples_of_another_one_25_samples_later():
    sent = []
    for faults in ((), ({"fault": "lag", "ms": 250},)):
        driver = simulated("text-lines", seed=4, faults=faults, **TEXT)
        assert driver.connect()
        sent.append(np.concatenate([driver.read_data().physiological["ppg"] for _ in range(200)])[:200])
        driver.close()
    in_time, late = sent
    assert np.ptp(in_time) > 100
    assert np.abs(late[25:] - in_time[:-25]).max() <= 1  # the ADC's step


@pytest.mark.parametrize("ms", [0, -5, 70000])
def test_a_lag_that_is_none_is_refused(ms):
    with pytest.raises(SettingError, match="ms"):
        make_fault({"fault": "lag", "ms": ms})


def test_a_stream_whose_content_cannot_tell_is_refused_unless_it_is_named():
    skin = StreamSpec("skin", "temperature", ("skin",), "C", 4.0)
    with pytest.raises(SettingError, match="lag needs a stream of kind"):
        make_fault({"fault": "lag"}).check_fits("wrist", (skin,))
    make_fault({"fault": "lag", "stream": "skin"}).check_fits("wrist", (skin,))
