"""The oscillator and what it counts, against arithmetic on paper."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.device_clock import DeviceClock, Drift, Step


@pytest.mark.parametrize("ppm", [-1000.0, -50.0, 0.0, 50.0, 1000.0])
def test_an_hour_of_a_crystal_gains_its_ppm(ppm: float) -> None:
    gained = DeviceClock(ppm=ppm).phase(np.array([3600.0])) - 3600
    assert gained[0] == pytest.approx(3600 * ppm * 1e-6, abs=1e-9)


def test_a_drift_of_the_drift_gains_half_the_square() -> None:
    # 6 ppm per minute for 10 minutes: 60 ppm at the end, 30 on average over 600 s.
    assert DeviceClock(ppm_per_min=6.0).phase(np.array([600.0]))[0] - 600 == pytest.approx(30e-6 * 600, abs=1e-9)


def test_a_drift_lasts_from_its_start_to_its_stop() -> None:
    clock = DeviceClock(drifts=(Drift(100.0, 10.0, 30.0),))
    gained = clock.phase(np.array([5.0, 10.0, 20.0, 30.0, 99.0])) - [5.0, 10.0, 20.0, 30.0, 99.0]
    assert gained == pytest.approx([0, 0, 1e-3, 2e-3, 2e-3], abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(ppm=st.floats(-2000, 2000), per_min=st.floats(-5, 5), drift=st.floats(-2000, 2000), at=st.floats(-10, 1e5))
def test_world_undoes_phase(ppm: float, per_min: float, drift: float, at: float) -> None:
    clock = DeviceClock(ppm=ppm, ppm_per_min=per_min, drifts=(Drift(drift, 100.0, 200.0),))
    assert clock.world(clock.phase(np.array([at])))[0] == pytest.approx(at, abs=1e-9)


def test_the_reading_has_the_offset_and_every_step_so_far() -> None:
    clock = DeviceClock(offset_s=5.0, steps=(Step(2.0, 10.0), Step(-0.5, 20.0)))
    world = np.array([0.0, 9.999, 10.0, 20.0])
    assert clock.reading(clock.phase(world), world) == pytest.approx([5.0, 14.999, 17.0, 26.5])


def test_a_step_does_not_move_the_oscillator() -> None:
    world = np.array([0.0, 10.0, 20.0])
    assert np.array_equal(DeviceClock(steps=(Step(2.0, 10.0),)).phase(world), world)
