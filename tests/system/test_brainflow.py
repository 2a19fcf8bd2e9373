"""Unmodified BrainFlow reads the simulated Cyton: its values are the simulated ones, at the simulated times."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import serial

from drivers.clock import RealClock, to_ns
from drivers.types import Batch, FloatArray
from simulators.build import SimulatedSpec, build
from simulators.draws import Draws
from simulators.sensor import digitise
from simulators.serve.pacer import replay
from simulators.serve.process import Ended, SimulatorProcess
from simulators.signals.registry import make_signal
from simulators.subject import Subject

pytest.importorskip("brainflow", reason="needs brainflow: pip install brainflow")
if sys.version_info < (3, 12) and importlib.util.find_spec("pkg_resources") is None:
    pytest.skip("brainflow needs pkg_resources below Python 3.12: pip install 'setuptools<81'", allow_module_level=True)
from brainflow.board_shim import BoardIds, BoardShim, BrainFlowError, BrainFlowInputParams

pytestmark = pytest.mark.filterwarnings("ignore:pkg_resources is deprecated")  # how BrainFlow finds its library

LEAD_S = 6.0
"""The board boots so long before world second 0, at which it is unplugged: BrainFlow takes 2.5 s to connect."""
SPEC = SimulatedSpec("openbci-cyton", seed=11, name="chest", faults=[{"fault": "unplug", "at_s": 0.0, "for_s": 0.3}])
CYTON = BoardIds.CYTON_BOARD.value
UV_PER_COUNT = 4.5 / 24 / (2**23 - 1) * 1e6  # OpenBCI documentation, Cyton Data Format: gain 24


def wait_for(condition: Callable[[], bool], what: str) -> None:
    clock = RealClock()
    deadline_ns = clock.now_ns() + to_ns(20)
    while not condition():
        assert clock.now_ns() < deadline_ns, f"{what} did not happen"
        clock.sleep_until(clock.now_ns() + to_ns(0.02))


@dataclass
class Session:
    """One run: BrainFlow streams, is unplugged while it streams, and somebody else opens the port again."""

    data: Any
    """What BrainFlow collected before, (rows, n)."""
    stop_error: BrainFlowError | None
    banner: bytes
    """What the board said afterwards."""
    start_ns: int
    ended: Ended

    @property
    def boot_ns(self) -> int:
        return self.start_ns - to_ns(LEAD_S)


@pytest.fixture(scope="module")
def session() -> Session:
    BoardShim.disable_board_logger()
    parameters = BrainFlowInputParams()
    clock = RealClock()
    with SimulatorProcess([SPEC], seed=SPEC.seed, lead_s=LEAD_S) as process:
        parameters.serial_port = process.ports["chest"]
        board = BoardShim(CYTON, parameters)
        board.prepare_session()
        board.start_stream()
        wait_for(lambda: board.get_board_data_count() >= 500, "500 samples from BrainFlow")
        data = board.get_board_data()
        clock.sleep_until(process.start_ns + to_ns(0.1))
        stop_error = None
        try:  # BrainFlow does not notice that its port is gone before it is told to stop
            board.stop_stream()
        except BrainFlowError as error:
            stop_error = error
        board.release_session()
        clock.sleep_until(process.start_ns + to_ns(0.5))
        process.check()
        with serial.Serial(process.ports["chest"], 115200, timeout=5) as port:
            port.write(b"v")
            banner = port.read_until(b"$$$")
        return Session(data, stop_error, banner, process.start_ns, process.stop())


def test_brainflow_misses_and_repeats_no_packet(session: Session) -> None:
    counter = session.data[BoardShim.get_package_num_channel(CYTON)].astype(int)
    assert len(counter) >= 500
    assert counter[0] == 0
    assert set(np.diff(counter) % 256) == {1}


def test_brainflows_microvolts_are_the_signal_rendered_from_the_same_seed(session: Session) -> None:
    """The signal is rendered here without encoder, line or port; one step of the ADC is what rounding may differ by."""
    found: FloatArray = session.data[BoardShim.get_exg_channels(CYTON)].T
    device = build(SPEC).device
    stream = next(spec for spec in device.streams if spec.name == "exg")
    draws = Draws(SPEC.seed, "chest").child("signal", "exg")
    signal = make_signal({"signal": "exg"}, Subject(SPEC.seed), stream, draws)
    (told_ns,) = [action.at_ns for action in session.ended.journals["chest"] if action.data == b"b"]
    times_s = (told_ns + 1 - session.boot_ns) / 1e9 + np.arange(len(found)) / 250  # it begins right after the command
    expected = digitise(signal.render(0, times_s), stream)
    assert np.ptp(found, axis=0).min() > 5, "all eight channels carry a signal"
    np.testing.assert_allclose(found, expected, atol=1.01 * UV_PER_COUNT)
    assert np.mean(np.abs(found - expected) < 1e-6) > 0.99


def test_every_byte_that_brainflow_decoded_is_rendered_again_from_the_journal(session: Session) -> None:
    data = session.data
    sensor = build(SPEC, Subject(SPEC.seed), session.start_ns, session.boot_ns)
    items = replay(sensor, session.ended.journals["chest"], session.start_ns - 1)
    sent = b"".join(item.data for item in items if isinstance(item, Batch))
    frames = np.frombuffer(sent[sent.rindex(b"$$$") + 3 :], dtype=np.uint8).reshape(-1, 33)
    assert len(frames) >= data.shape[1]
    octets = frames[: data.shape[1], 2:26].reshape(-1, 8, 3).astype(np.int64)
    counts = octets[..., 0] << 16 | octets[..., 1] << 8 | octets[..., 2]
    counts -= (counts >> 23) << 24
    np.testing.assert_allclose(data[BoardShim.get_exg_channels(CYTON)].T, counts * UV_PER_COUNT, rtol=1e-9)
    np.testing.assert_array_equal(data[BoardShim.get_package_num_channel(CYTON)], frames[: data.shape[1], 1])


def test_brainflow_sees_250_samples_a_second(session: Session) -> None:
    stamps_s = session.data[BoardShim.get_timestamp_channel(CYTON)]
    rate_hz = (len(stamps_s) - 1) / (stamps_s[-1] - stamps_s[0])
    assert rate_hz == pytest.approx(250, rel=0.05)


def test_brainflows_accelerometer_is_at_rest_under_one_g(session: Session) -> None:
    axes = session.data[BoardShim.get_accel_channels(CYTON)][:, 50:]
    assert np.median(np.linalg.norm(axes, axis=0)) == pytest.approx(1.0, abs=0.2)


def test_unplugging_under_brainflow_leaves_the_simulator_standing_and_the_port_comes_back(session: Session) -> None:
    assert session.stop_error is not None, "BrainFlow was really cut off"
    assert session.banner.endswith(b"$$$")
    (truth,) = session.ended.truths
    assert (truth.fault, truth.layer, truth.start_ns) == ("unplug", "link", session.start_ns)
    assert truth.end_ns - truth.start_ns == to_ns(0.3)
