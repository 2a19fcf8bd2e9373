"""Unmodified BrainFlow reads sixteen channels from the simulated Cyton with its Daisy: what it puts together from two
packets are the simulated values."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import numpy as np
import pytest

from drivers.clock import RealClock, to_ns
from drivers.types import FloatArray
from simulators.build import SimulatedSpec, build
from simulators.draws import Draws
from simulators.sensor import digitise
from simulators.serve.process import SimulatorProcess
from simulators.signals.registry import make_signal
from simulators.subject import Subject

pytest.importorskip("brainflow", reason="needs brainflow: pip install brainflow")
if sys.version_info < (3, 12) and importlib.util.find_spec("pkg_resources") is None:
    pytest.skip("brainflow needs pkg_resources below Python 3.12: pip install 'setuptools<81'", allow_module_level=True)
from brainflow.board_shim import BoardIds, BoardShim, BrainFlowInputParams

pytestmark = pytest.mark.filterwarnings("ignore:pkg_resources is deprecated")  # how BrainFlow finds its library

LEAD_S = 6.0
"""The board boots so long before world second 0: BrainFlow takes 2.5 s to connect."""
SPEC = SimulatedSpec("openbci-cyton", seed=13, name="cap", settings={"daisy": True})
CYTON_DAISY = BoardIds.CYTON_DAISY_BOARD.value
UV_PER_COUNT = 4.5 / 24 / (2**23 - 1) * 1e6  # OpenBCI documentation, Cyton Data Format: gain 24


@pytest.fixture(scope="module")
def streamed() -> tuple[Any, int, int]:
    """What BrainFlow collected, (rows, n); when it said b, and when the board booted, both in ns."""
    BoardShim.disable_board_logger()
    parameters, clock = BrainFlowInputParams(), RealClock()
    with SimulatorProcess([SPEC], seed=SPEC.seed, lead_s=LEAD_S) as process:
        parameters.serial_port = process.ports["cap"]
        board = BoardShim(CYTON_DAISY, parameters)
        board.prepare_session()
        board.start_stream()
        deadline_ns = clock.now_ns() + to_ns(20)
        while board.get_board_data_count() < 260:  # further than the packets' counter goes
            assert clock.now_ns() < deadline_ns, "260 samples from BrainFlow did not come"
            clock.sleep_until(clock.now_ns() + to_ns(0.02))
        data = board.get_board_data()
        board.stop_stream()
        board.release_session()
        process.check()
        boot_ns = process.start_ns - to_ns(LEAD_S)
        (told_ns,) = [action.at_ns for action in process.stop().journals["cap"] if action.data == b"b"]
    return data, told_ns, boot_ns


def test_brainflow_makes_a_sample_of_every_two_packets_and_misses_none(streamed: tuple[Any, int, int]) -> None:
    """It takes the number of the even packet, with which a sample begins."""
    counter = streamed[0][BoardShim.get_package_num_channel(CYTON_DAISY)].astype(int)
    assert len(counter) >= 260
    assert counter[0] == 0
    assert set(np.diff(counter) % 256) == {2}


def test_brainflows_sixteen_channels_are_the_signal_rendered_from_the_same_seed(
    streamed: tuple[Any, int, int],
) -> None:
    """The signal is rendered here without encoder, line or port; one step of the ADC is what rounding may differ by."""
    data, told_ns, boot_ns = streamed
    found: FloatArray = data[BoardShim.get_exg_channels(CYTON_DAISY)].T
    assert found.shape[1] == 16
    stream = next(spec for spec in build(SPEC).device.streams if spec.name == "exg")
    draws = Draws(SPEC.seed, "cap").child("signal", "exg")
    signal = make_signal({"signal": "exg"}, Subject(SPEC.seed), stream, draws)
    times_s = (told_ns + 1 - boot_ns) / 1e9 + np.arange(len(found)) / 125  # it begins right after the command
    expected = digitise(signal.render(0, times_s), stream)
    assert np.ptp(found, axis=0).min() > 5, "all sixteen channels carry a signal"
    np.testing.assert_allclose(found, expected, atol=1.01 * UV_PER_COUNT)
    assert np.mean(np.abs(found - expected) < 1e-6) > 0.99


def test_brainflow_sees_125_samples_a_second(streamed: tuple[Any, int, int]) -> None:
    stamps_s = streamed[0][BoardShim.get_timestamp_channel(CYTON_DAISY)]
    rate_hz = (len(stamps_s) - 1) / (stamps_s[-1] - stamps_s[0])
    assert rate_hz == pytest.approx(125, rel=0.05)
