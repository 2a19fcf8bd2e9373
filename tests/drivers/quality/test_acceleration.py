"""Acceleration: simulated people at rest and walking, axes written out by hand, and a wristband's recording."""

from __future__ import annotations

import io
import lzma
from functools import cache

import numpy as np
import pytest

from drivers.quality import FLAGS, score, scores
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.faults import Where
from simulators.faults.registry import make_fault
from simulators.sensor import digitise
from simulators.signals.registry import make_signal
from simulators.subject import Subject

SPECS = {
    rate_hz: StreamSpec("acc", "acceleration", ("x", "y", "z"), "g", rate_hz, lsb=1 / 2048, low=-4.0, high=4.0)
    for rate_hz in (25.0, 50.0, 200.0)
}
G = SPECS[25.0]
SECONDS = 40
ENDS_NS = np.arange(10, SECONDS + 1) * 1_000_000_000
PEOPLE = range(6)
WALKING = {"steps_per_min": 110}


@cache
def clean_body(spec: StreamSpec, seed: int, walking: bool):
    times_s = np.arange(int(SECONDS * spec.rate_hz)) / spec.rate_hz
    options = {"signal": "acceleration", **(WALKING if walking else {})}
    signal = make_signal(options, Subject(seed), spec, Draws(seed, "bench", "acceleration"))
    return times_s, signal.render(0, times_s), signal.span


def judged_body(spec: StreamSpec, seed: int, walking: bool = False, **fault):
    times_s, values, span = clean_body(spec, seed, walking)
    if fault:
        where = Where("bench", 0, Draws(seed, "fault"), lambda truth: None, spec, span)
        values = make_fault(fault).bind(where).apply(0, times_s, values)
    return scores(digitise(values, spec), np.rint(times_s * 1e9).astype(np.int64), spec, ENDS_NS)


def at_rest(seconds: float = 10.0, noise_g: float = 0.01, rate_hz: float = 25.0) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, noise_g, (round(seconds * rate_hz), 3))
    return noise + np.array([0.1, 0.2, 0.97])


@pytest.mark.parametrize("walking", [False, True], ids=["rest", "walk"])
@pytest.mark.parametrize("rate_hz", SPECS)
def test_clean_movement_of_twenty_people_stays_good_and_without_flags(rate_hz, walking):
    for seed in range(20):
        result = judged_body(SPECS[rate_hz], seed, walking)
        assert result.score.min() >= 0.9
        assert not any(raised.any() for raised in result.flags.values())


@pytest.mark.parametrize("rate_hz", SPECS)
@pytest.mark.parametrize(("flag", "fault"), [
    ("flat", {"fault": "flatline", "fraction": 0.5}),
    ("noise", {"fault": "white_noise", "level": 2.0}),
    ("saturated", {"fault": "lead_off", "fraction": 0.4, "stream": "acc"}),
], ids=str)  # fmt: skip
def test_what_ruins_an_acceleration_is_scored_low_and_named(rate_hz, flag, fault):
    results = [judged_body(SPECS[rate_hz], seed, **fault) for seed in PEOPLE]
    assert np.mean([result.score < 0.5 for result in results]) >= 0.95
    assert np.mean([result.flags[flag] for result in results]) >= 0.95


def test_more_noise_never_makes_an_acceleration_better():
    levels = (0.1, 0.5, 0.8, 1.0, 2.0)
    medians = [np.median(judged_body(G, 1, fault="white_noise", level=level).score) for level in levels]
    assert medians == sorted(medians, reverse=True)
    assert medians[0] > 0.9 > 0.5 > medians[-1]


@pytest.mark.parametrize("fault", ["white_noise", "flatline"])
def test_every_low_score_of_an_acceleration_is_explained(fault):
    for seed in PEOPLE:
        result = judged_body(G, seed, fault=fault)
        low = result.score < 0.5
        told = {name: part for name, part in result.parts.items() if name != "worn"}
        assert np.all(np.min(list(told.values()), axis=0)[low] < 0.5)
        assert np.all(np.any(list(result.flags.values()), axis=0)[low])
        assert set(result.flags) <= set(FLAGS)


@pytest.mark.parametrize(("unit", "per_g"), [("g", 1.0), ("mg", 1000.0), ("m/s2", 9.80665)])
def test_gravity_is_known_in_every_unit_and_its_absence_is_no_body(unit, per_g):
    spec = StreamSpec("acc", "acceleration", ("x", "y", "z"), unit, 25.0)
    assert score(at_rest() * per_g, 25.0, spec).score > 0.9
    fallen = score((at_rest() - np.array([0.1, 0.2, 0.97])) * per_g, 25.0, spec)
    assert fallen.score < 0.5
    assert "off_body" in fallen.flags


def test_an_axis_that_is_stuck_while_the_others_move_is_found():
    values = at_rest(noise_g=0.05)
    values[:, 1] = 0.2
    found = score(values, 25.0, G)
    assert found.score < 0.5
    assert "flat" in found.flags


def test_a_coarse_axis_that_rests_is_not_called_stuck():
    coarse = StreamSpec("acc", "acceleration", ("x", "y", "z"), "g", 32.0, lsb=1 / 64, low=-2.0, high=2.0)
    values = np.round(at_rest(noise_g=0.008, rate_hz=32.0) * 64) / 64
    values[:, 0] = 6 / 64
    assert score(values, 32.0, coarse).score > 0.9


def test_a_sensor_on_a_table_is_no_bad_sensor_but_not_said_to_be_worn():
    table = score(at_rest(noise_g=0.001), 25.0, G)
    assert table.score > 0.9
    assert table.parts["worn"] == 0
    moved = at_rest(noise_g=0.001)
    moved[:, :2] += 0.03 * np.sin(2 * np.pi * 0.8 * np.arange(250) / 25)[:, None]
    assert score(moved, 25.0, G).parts["worn"] == 1


def test_one_axis_alone_and_counts_without_a_unit_are_judged_too():
    one_axis = StreamSpec("acc", "acceleration", ("x",), "g", 25.0)
    assert score(at_rest()[:, :1], 25.0, one_axis).score > 0.9
    counts = StreamSpec("acc", "acceleration", ("x", "y", "z"), "counts", 25.0, lsb=1.0, low=0.0, high=1023.0)
    assert score(np.round(300 * at_rest() + 400), 25.0, counts).score > 0.9
    assert score(np.full((250, 3), 1023.0), 25.0, counts).flags >= {"flat", "saturated"}


def test_a_window_of_movement_scores_the_same_to_the_last_bit_alone_and_among_others():
    times_s, values, _ = clean_body(G, 2, True)
    values = digitise(values, G)
    together = scores(values, np.rint(times_s * 1e9).astype(np.int64), G, ENDS_NS)
    for number in range(len(ENDS_NS)):
        alone = score(values[25 * number : 25 * number + 250], 25.0, G)
        assert alone.parts == {name: part[number] for name, part in together.parts.items()}
        assert alone.flags == together.at(number).flags


def test_a_real_wristband_is_good_and_worn_four_fifths_of_the_time(pytestconfig):
    path = pytestconfig.getoption("--data") / "empatica_e4_flirt.npz.xz"
    if not path.exists():
        pytest.skip(f"needs {path.name}, a recording that is not part of the project: pytest --data DIR")
    values = np.load(io.BytesIO(lzma.decompress(path.read_bytes())))["ACC"] / 64.0
    spec = StreamSpec("acc", "acceleration", ("x", "y", "z"), "g", 32.0, lsb=1 / 64, low=-2.0, high=127 / 64)
    times = np.rint(np.arange(len(values)) / 32 * 1e9).astype(np.int64)
    result = scores(values.astype(np.float64), times, spec, np.arange(10, len(values) // 32) * 1_000_000_000)
    assert result.score.min() >= 0.5
    assert np.mean(result.parts["worn"] == 1) == pytest.approx(0.8, abs=0.05)
