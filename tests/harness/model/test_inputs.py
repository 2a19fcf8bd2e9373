"""Windows cut from streams: the grid, what is held, what is covered, what had not arrived."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.model.errors import WiringError
from harness.model.inputs import INPUTS, InputSpec, cut_windows, input_specs, make_spec, unit_scale

MS = 1_000_000
START = 50_000_000_000_000
GRID = InputSpec("ecg", 1, 0.8, 25.0)  # 20 points, 40 ms apart


def stream(rate_hz: float, seconds: float, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Samples of a straight line: value = seconds since START, plus 10 for each channel."""
    index = np.arange(round(rate_hz * seconds))
    values = (index / rate_hz)[:, None] + 10.0 * np.arange(channels)
    return START + np.rint(index * 1e9 / rate_hz).astype(np.int64), values


def due(*seconds: float) -> np.ndarray:
    return START + np.rint(np.array(seconds) * 1e9).astype(np.int64)


@pytest.mark.parametrize("rate_hz", [25.0, 31.0, 50.0, 130.0, 1000.0])
def test_a_straight_line_stays_one_on_the_windows_grid(rate_hz: float) -> None:
    times, values = stream(rate_hz, 10.0, channels=2)
    windows, coverage = cut_windows(InputSpec("ppg", 2, 0.8, 25.0), times, values, due(5.0, 5.5, 7.03), rate_hz=rate_hz)
    grid = np.array([5.0, 5.5, 7.03])[:, None] - np.arange(19, -1, -1) / 25.0
    np.testing.assert_allclose(windows[:, 0], grid, atol=1e-5)
    np.testing.assert_allclose(windows[:, 1], grid + 10, atol=1e-5)
    assert windows.dtype == np.float32
    assert coverage.tolist() == [1.0, 1.0, 1.0]


def test_windows_on_one_grid_equal_windows_cut_one_by_one_to_the_bit() -> None:
    draw = np.random.default_rng(5)
    times, _ = stream(52.0, 20.0)
    keep = draw.random(len(times)) > 0.2
    times, values = times[keep], draw.normal(size=(int(keep.sum()), 3))
    spec = INPUTS["acceleration"]
    moments = START + 8_000_000_000 + 80 * MS * np.arange(50)
    arrival, closed = times + 30 * MS, moments + 20 * MS
    together = cut_windows(spec, times, values, moments, rate_hz=52.0, arrival_ns=arrival, closed_ns=closed)
    for row in range(len(moments)):
        alone = cut_windows(
            spec, times, values, moments[row : row + 1], rate_hz=52.0,
            arrival_ns=arrival, closed_ns=closed[row : row + 1],
        )  # fmt: skip
        assert np.array_equal(alone[0][0], together[0][row])
        assert alone[1][0] == together[1][row]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_window_is_the_same_whether_later_samples_are_there_or_not(data: st.DataObject) -> None:
    rate = data.draw(st.sampled_from([10.0, 25.0, 130.0]))
    times, values = stream(rate, 6.0)
    values = np.random.default_rng(1).normal(size=values.shape)
    arrival = times + np.cumsum(data.draw(st.lists(st.integers(0, 3 * MS), min_size=len(times), max_size=len(times))))
    moment = due(data.draw(st.floats(0.5, 5.5)))
    closed = moment + data.draw(st.integers(0, 100)) * MS
    everything = cut_windows(GRID, times, values, moment, rate_hz=rate, arrival_ns=arrival, closed_ns=closed)
    count = int(np.searchsorted(arrival, closed[0], side="right"))
    then = cut_windows(GRID, times[:count], values[:count], moment, rate_hz=rate)
    np.testing.assert_array_equal(everything[0], then[0])
    np.testing.assert_array_equal(everything[1], then[1])


def test_a_gap_is_held_and_takes_its_share_of_the_coverage() -> None:
    times, values = stream(25.0, 4.0)
    gone = (times > START + 1_400 * MS) & (times < START + 1_800 * MS)  # 9 samples, 400 ms from 1.4 to 1.8
    windows, coverage = cut_windows(GRID, times[~gone], values[~gone], due(2.0), rate_hz=25.0)
    grid = np.round(2.0 - np.arange(19, -1, -1) / 25.0, 2)
    expected = np.where((grid > 1.4) & (grid < 1.8), 1.4, grid)
    np.testing.assert_allclose(windows[0, 0], expected, atol=1e-5)
    # 1.44 lies within 1.5 periods of the last sample; 1.48 .. 1.76 lie near none: 8 of 20 points
    assert coverage[0] == pytest.approx(12 / 20)


def test_one_lost_sample_is_bridged() -> None:
    times, values = stream(25.0, 4.0)
    keep = np.arange(len(times)) != 45
    windows, coverage = cut_windows(GRID, times[keep], values[keep], due(2.0), rate_hz=25.0)
    np.testing.assert_allclose(windows[0, 0], 2.0 - np.arange(19, -1, -1) / 25.0, atol=1e-5)
    assert coverage[0] == 1.0


def test_a_stream_that_stopped_is_held_and_covers_less_and_less() -> None:
    times, values = stream(25.0, 2.0)  # newest at 1.96
    windows, coverage = cut_windows(GRID, times, values, due(2.0, 2.4, 2.8, 9.0), rate_hz=25.0)
    assert coverage.tolist() == pytest.approx([1.0, 10 / 20, 0.0, 0.0])
    np.testing.assert_allclose(windows[1, 0, 10:], 1.96, atol=1e-5)
    np.testing.assert_allclose(windows[3], 1.96, atol=1e-5)


def test_a_slow_stream_covers_its_window_while_it_is_on_time() -> None:
    times, values = stream(1.0, 60.0)
    _, coverage = cut_windows(INPUTS["heart_rate"], times, values, due(30.0, 30.4, 30.99), rate_hz=1.0)
    assert coverage.tolist() == [1.0, 1.0, 1.0]


def test_before_the_first_sample_nothing_is_covered() -> None:
    times, values = stream(25.0, 4.0)
    windows, coverage = cut_windows(GRID, times, values + 7.0, due(0.4), rate_hz=25.0)
    assert coverage[0] == pytest.approx(11 / 20)
    np.testing.assert_allclose(windows[0, 0, :10], 7.0, atol=1e-5)


def test_no_sample_gives_zeros_and_no_coverage() -> None:
    nothing = np.empty(0, dtype=np.int64), np.empty((0, 1))
    for spec in (GRID, INPUTS["rr"]):
        windows, coverage = cut_windows(spec, *nothing, due(1.0, 2.0), rate_hz=25.0)
        assert windows.shape == (2, 1, spec.length)
        assert not windows.any()
        assert coverage.tolist() == [0.0, 0.0]
    times, values = stream(25.0, 4.0)
    late = cut_windows(GRID, times, values, due(2.0), rate_hz=25.0, arrival_ns=times + 10**10, closed_ns=due(2.05))
    assert not late[0].any()
    assert late[1].tolist() == [0.0]


def test_samples_out_of_order_and_nan_are_put_right() -> None:
    times, values = stream(25.0, 4.0)
    order = np.arange(len(times))
    order[[40, 41]] = order[[41, 40]]
    expected = cut_windows(GRID, times, values, due(2.0), rate_hz=25.0)
    found = cut_windows(GRID, times[order], values[order], due(2.0), rate_hz=25.0)
    np.testing.assert_array_equal(found[0], expected[0])
    values[45] = np.nan
    found = cut_windows(GRID, times, values, due(2.0), rate_hz=25.0)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)


def test_channels_are_repeated_or_left_out_and_scaled() -> None:
    times, values = stream(25.0, 4.0, channels=2)
    wide = cut_windows(InputSpec("x", 3, 0.8, 25.0), times, values, due(2.0), rate_hz=25.0, scale=1000.0)[0]
    np.testing.assert_array_equal(wide[:, 0], wide[:, 2])
    np.testing.assert_allclose(wide[0, 1, -1], 12_000.0, rtol=1e-6)
    flat = cut_windows(GRID, times, values[:, 0], due(2.0), rate_hz=25.0)[0]
    np.testing.assert_array_equal(flat, cut_windows(GRID, times, values, due(2.0), rate_hz=25.0)[0])


def test_the_newest_events_come_oldest_first() -> None:
    spec = InputSpec("rr", 1, 6.0, None, events=4)
    times = due(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    windows, coverage = cut_windows(spec, times, np.arange(1.0, 7.0), due(2.5, 5.0, 11.5))
    assert windows[:, 0].tolist() == [[1.0, 1.0, 1.0, 2.0], [2.0, 3.0, 4.0, 5.0], [3.0, 4.0, 5.0, 6.0]]
    assert coverage.tolist() == [0.5, 1.0, 0.25]  # two events; four; one that is not older than 6 s


def test_the_fast_grids_fit_the_usual_hop() -> None:
    for name in ("ecg", "ppg", "eeg", "acceleration", "eda", "respiration"):
        assert (0.080 * float(INPUTS[name].rate_hz or 0)).is_integer(), name
        assert INPUTS[name].seconds <= 8.0


@pytest.mark.parametrize(
    ("found", "wanted", "scale"),
    [
        ("uV", "mV", 1e-3), ("µV", "mV", 1e-3), ("m/s2", "g", 1 / 9.80665), ("s", "ms", 1e3),
        ("counts", "mV", 1.0), ("nA", "", 1.0),
    ],
)  # fmt: skip
def test_units_are_converted(found: str, wanted: str, scale: float) -> None:
    assert unit_scale(found, wanted) == pytest.approx(scale)


def test_a_unit_of_another_quantity_is_refused() -> None:
    with pytest.raises(WiringError, match="wants mV and the stream is in 'degC'"):
        unit_scale("degC", "mV")


def test_overrides_change_a_window_and_wrong_ones_are_named() -> None:
    assert input_specs({"ecg": {"seconds": 2, "rate_hz": 250.0}})["ecg"].length == 500
    assert input_specs({"ecg": {"stream": "chest/ecg"}})["ecg"] == INPUTS["ecg"]
    for overrides, text in (
        ({"emg": {}}, "'emg' is no input"),
        ({"ecg": {"seconds": 0}}, r"ecg\.seconds: expected a number above 0, found 0"),
        ({"ecg": {"rate_hz": True}}, r"ecg\.rate_hz"),
        ({"rr": {"rate_hz": 4.0}}, "list of events"),
    ):
        with pytest.raises(WiringError, match=text):
            input_specs(overrides)


def test_a_modules_own_inputs_are_read_and_wrong_ones_named() -> None:
    assert make_spec("emg", {"channels": 4, "seconds": 1.0, "rate_hz": 500.0}).length == 500
    assert make_spec("ecg", {"channels": 3}).seconds == INPUTS["ecg"].seconds
    for name, declared, text in (
        ("emg", {"channels": 1}, "needs seconds and rate_hz"),
        ("ecg", {"channel": 1}, "expected channels, seconds and rate_hz"),
        ("ecg", {"channels": 0}, "whole number above 0"),
    ):
        with pytest.raises(WiringError, match=text):
            make_spec(name, declared)


def test_cutting_windows_and_reading_rigs_needs_no_torch() -> None:
    code = "import sys, harness.rig, harness.model.inputs, harness.model.errors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
