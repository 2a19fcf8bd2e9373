"""The interface that the system under test relies on: its debugging checks, run on every kind of driver.

The first half holds the contract in words of our own. The second takes the functions themselves out of the
debugging guide (``pytest --guide PATH``) and runs them as they are printed; test_guide.py does so with the rest of it.
"""

from __future__ import annotations

import math
import os
import re
import unittest
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from drivers.clock import VirtualClock, to_ns
from drivers.driver import Driver
from drivers.registry import open_driver
from drivers.types import Reading
from simulators import simulated
from simulators.build import SimulatedSpec

AFFECT = [
    {"name": name, "stream": "affect", "kind": "affect", "unit": "1", "rate_hz": 10, "lsb": 0.001, "low": -1, "high": 1}
    for name in ("valence", "arousal")
]
KEYS = ("physiological", "timestamps", "quality_metrics")
SIMULATED: dict[str, Callable[..., Driver]] = {
    "openbci-cyton": lambda **more: simulated("openbci-cyton", seed=7, **more),
    "text-lines": lambda **more: simulated("text-lines", seed=7, format="label", columns=AFFECT, **more),
    "heart-rate": lambda **more: simulated("heart-rate", seed=7, **more),
}
FOR_EVER = {"fault": "unplug", "at_s": 0.0, "for_s": 9e8}


@pytest.fixture(params=sorted(SIMULATED))
def device(request: pytest.FixtureRequest) -> Iterator[Driver]:
    driver = SIMULATED[request.param]()
    yield driver
    driver.close()


@pytest.fixture(scope="module")
def cyton_port() -> Iterator[str]:
    """A simulated Cyton on a pseudo terminal, in a process of its own."""
    from simulators.serve.process import SimulatorProcess

    with SimulatorProcess([SimulatedSpec("openbci-cyton", seed=7, name="chest")], seed=7) as process:
        yield process.ports["chest"]


@pytest.fixture
def silent_port() -> Iterator[str]:
    """A serial port at whose other end nobody speaks."""
    master, slave = os.openpty()
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


def check_hardware(interface: Any) -> tuple[bool, str]:
    """Whether a sensor can be used, and what was noticed. Nothing that the interface does may raise here."""
    if not interface.connect():
        return False, f"no connection: {interface.last_error}"
    data = interface.read_data(timeout=5.0)
    if data is None:
        return False, f"no data: {interface.last_error}"
    lacking = [key for key in KEYS if key not in data]
    if lacking:
        return False, f"lacks {lacking}"
    return True, "quality low" if data["quality_metrics"] < 0.5 else ""


def time_apart(physiological: Any, emotional: Any) -> np.ndarray:
    """For each physiological sample, seconds to the nearest emotional one (n,)."""
    a, b = np.array(list(physiological["timestamps"])), np.array(list(emotional["timestamps"]))
    return np.abs(a[:, None] - b[None, :]).min(axis=1)


# --- the hardware check -------------------------------------------------------------------------


def test_every_simulated_sensor_passes_the_hardware_check(device: Driver) -> None:
    assert check_hardware(device) == (True, "")


def test_a_cyton_behind_a_real_file_descriptor_passes_it_too(cyton_port: str) -> None:
    driver = open_driver("openbci-cyton", port=cyton_port)
    try:
        assert check_hardware(driver) == (True, "")
    finally:
        driver.close()


@pytest.mark.parametrize("sensor", sorted(SIMULATED))
def test_an_absent_sensor_fails_the_hardware_check_and_is_named(sensor: str) -> None:
    good, why = check_hardware(SIMULATED[sensor](faults=[FOR_EVER]))
    assert not good
    assert "no connection" in why
    assert sensor in why


def test_an_absent_port_fails_the_hardware_check_and_is_named() -> None:
    good, why = check_hardware(open_driver("openbci-cyton", port="/dev/nothing-here"))
    assert not good
    assert "/dev/nothing-here" in why


def test_a_silent_port_fails_the_hardware_check(silent_port: str) -> None:
    good, why = check_hardware(open_driver("openbci-cyton", port=silent_port))
    assert not good
    assert "silence" in why


def test_a_sensor_that_falls_silent_while_it_streams_fails_the_hardware_check() -> None:
    driver = simulated("openbci-cyton", seed=7, faults=[{"fault": "stall", "at_s": [1.0], "for_ms": 600_000}])
    assert check_hardware(driver) == (True, "")
    driver.clock.sleep_until(to_ns(1.5))
    assert check_hardware(driver)[0], "what came before the silence is still there"
    good, why = check_hardware(driver)
    assert not good
    assert "no data" in why


def test_low_quality_is_seen_as_soon_as_it_can_be_known() -> None:
    with simulated("openbci-cyton", seed=7, streams={"ecg": [1]}, faults=[{"fault": "lead_off"}]) as driver:
        assert math.isnan(driver.read_data(timeout=5.0)["quality_metrics"]), "after one reading nobody can know"
        driver.clock.sleep_until(to_ns(15))
        assert check_hardware(driver) == (True, "quality low")


# --- the sync check -----------------------------------------------------------------------------


def two_modalities(seconds: float, columns: Any = AFFECT, **affect: Any) -> tuple[Reading, Reading]:
    """ECG and affect of two sensors on one clock, both read at second ``seconds``."""
    clock = VirtualClock()
    chest = simulated("openbci-cyton", seed=7, clock=clock, streams={"ecg": [1]})
    mood = simulated("text-lines", seed=7, clock=clock, format="label", columns=columns, **affect)
    with chest as a, mood as b:
        clock.sleep_until(to_ns(1.06))
        a.read_data(), b.read_data()
        clock.sleep_until(to_ns(seconds))
        first, second = a.read_data(timeout=5.0), b.read_data(timeout=5.0)
    assert first is not None
    assert second is not None
    return first, second


def test_modalities_of_two_sensors_are_in_step_within_half_the_slower_ones_period() -> None:
    a, b = two_modalities(8.05)
    apart_s = time_apart(a.select("ecg"), b.select("affect"))
    assert len(apart_s) > 1700
    assert 0.045 < apart_s.max() < 0.06, "10 Hz: at most 50 ms to the nearest, and some ms of line time"
    assert apart_s.mean() == pytest.approx(0.025, abs=0.003)


def test_a_modality_that_was_away_is_out_of_step() -> None:
    a, b = two_modalities(8.05, faults=[{"fault": "unplug", "at_s": 4.05, "for_s": 2.0}])
    apart_s = time_apart(a.select("ecg"), b.select("affect"))
    assert 1.0 < apart_s.max() < 1.15, "in the middle of two seconds without any, and a line that is lost at either end"


# --- the guide's own functions --------------------------------------------------------------------


def test_the_guides_hardware_check_passes_on_every_simulated_sensor(
    device: Driver, printed: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed("debug_hardware_interface")(device) is True
    assert capsys.readouterr().out == "Hardware interface test passed\n", "and it has nothing to warn of"


def test_the_guides_hardware_check_passes_on_a_real_file_descriptor(
    cyton_port: str, printed: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    driver = open_driver("openbci-cyton", port=cyton_port)
    try:
        assert printed("debug_hardware_interface")(driver) is True
    finally:
        driver.close()
    assert capsys.readouterr().out == "Hardware interface test passed\n"


def test_the_guides_hardware_check_fails_on_what_is_absent_or_silent(
    silent_port: str, printed: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    check = printed("debug_hardware_interface")
    assert check(open_driver("openbci-cyton", port="/dev/nothing-here")) is False
    assert check(open_driver("openbci-cyton", port=silent_port)) is False
    assert check(simulated("heart-rate", faults=[FOR_EVER])) is False
    assert capsys.readouterr().out == "ERROR: Failed to connect to hardware\n" * 3


def test_the_guides_hardware_check_warns_of_low_quality(
    printed: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with simulated("openbci-cyton", seed=7, streams={"ecg": [1]}, faults=[{"fault": "lead_off"}]) as driver:
        driver.read_data()
        driver.clock.sleep_until(to_ns(15))
        assert printed("debug_hardware_interface")(driver) is True
    assert re.match(r"WARNING: Low data quality: 0\.[0-4]", capsys.readouterr().out)


def test_the_guides_sync_check_tells_sensors_in_step_from_one_that_was_away(
    printed: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    check = printed("check_modality_sync")
    a, b = two_modalities(8.05)
    assert check(a.select("ecg"), b.select("affect")) is True
    assert "WARNING" not in capsys.readouterr().out
    a, b = two_modalities(8.05, faults=[{"fault": "unplug", "at_s": 4.05, "for_s": 2.0}])
    assert check(a.select("ecg"), b.select("affect")) is False
    assert "Max time difference: 1.0" in capsys.readouterr().out


def test_the_guides_sync_check_takes_an_emotion_that_is_a_stream_of_its_own(
    printed: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = two_modalities(8.05, columns=[{**column, "stream": column["name"]} for column in AFFECT])
    assert printed("check_modality_sync")(a.select("ecg"), b.select("valence")) is True
    assert "WARNING" not in capsys.readouterr().out


def test_the_guides_unit_tests_of_gradients_and_shapes_pass_on_the_reference_model(printed: Callable[..., Any]) -> None:
    from harness.model import create_model

    case = printed("TestModelDebugging", create_model=create_model)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert result.testsRun == 2
    assert not [text for _, text in (*result.failures, *result.errors)]


def test_the_guides_gradient_analysis_finds_neither_vanishing_nor_exploding_gradients(
    printed: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from harness.model import create_model

    model = create_model()
    model({name: torch.randn(2, spec.channels, spec.length) for name, spec in model.inputs.items()}).sum().backward()
    norms, means, deviations = printed("analyze_gradients")(model)
    assert set(norms) == set(means) == set(deviations) == {name for name, _ in model.named_parameters()}
    assert "WARNING" not in capsys.readouterr().out


def test_the_guides_activation_analysis_reads_every_layer_that_the_reference_model_calls(
    printed: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from torch import nn

    from harness.model import create_model

    model = create_model()
    found = printed("analyze_activations", torch=torch)(model, torch.randn(4, 10))
    layers = {name for name, layer in model.named_modules() if name and not isinstance(layer, nn.ModuleDict)}
    assert set(found) == layers
    assert all(isinstance(activation, torch.Tensor) and activation.isfinite().all() for activation in found.values())
    assert "not found" not in capsys.readouterr().out


def test_the_guides_fusion_check_passes_on_what_sensors_deliver_and_fails_on_nothing(
    printed: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from harness.model import create_model

    check, model = printed("debug_fusion_layer", torch=torch), create_model()
    a, b = two_modalities(8.05)
    modalities = {
        name: torch.tensor(np.atleast_2d(reading.select(name)["physiological"].T)[None])
        for name, reading in {"ecg": a, "affect": b}.items()
    }
    assert check(model, modalities) is True
    said = capsys.readouterr().out
    assert "Fusion successful" in said
    assert "Attention weights" in said
    assert "WARNING" not in said
    assert check(model, {}) is False
    assert "Fusion failed" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:CUDA is not available")  # the guide asks for it whether it is there or not
def test_the_guides_profiler_shows_the_reference_models_inference(
    printed: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from harness.model import create_model

    printed("profile_model", torch=torch)(create_model(), torch.randn(1, 10))
    assert "model_inference" in capsys.readouterr().out
