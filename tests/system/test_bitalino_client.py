"""The unmodified Python API of BITalino's vendor reads the simulated board: every code is the simulated one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.clock import RealClock, to_ns
from simulators.build import SimulatedSpec, build
from simulators.draws import Draws
from simulators.sensor import digitise
from simulators.serve.process import Ended, SimulatorProcess
from simulators.signals.registry import make_signal
from simulators.subject import Subject

vendor = pytest.importorskip("bitalino", reason="needs bitalino: pip install --no-deps bitalino")

LEAD_S = 5.0
"""The board boots so long before world second 0, at which it is unplugged."""
CHANNELS = {"A1": "emg", "A2": "ecg", "A3": "eda", "A4": "eeg", "A5": "raw", "A6": "acc"}
SPEC = SimulatedSpec(
    "bitalino", {"channels": CHANNELS}, seed=5, name="board", faults=[{"fault": "unplug", "at_s": 0.0, "for_s": 0.3}]
)
QUIET_FROM_S = 2.0
NOISY = SimulatedSpec(
    "bitalino", {"channels": {"A2": "ecg"}}, seed=6, name="noisy",
    faults=[{"fault": "bit_flip", "per_million": 1000, "stop_s": QUIET_FROM_S}],
)  # fmt: skip
WANTED = 1000


def terminal(process: SimulatorProcess, role: str) -> str:
    """The API takes paths below /dev/ only, so the link is followed."""
    return str(Path(process.ports[role]).resolve())


@dataclass
class Session:
    version: str
    state: dict[str, Any]
    data: Any
    """Rows of sequence, I1, I2, O1, O2, A1 .. A6."""
    cut_off: OSError | None
    version_after: str
    start_ns: int
    ended: Ended


@pytest.fixture(scope="module")
def session() -> Session:
    clock = RealClock()
    with SimulatorProcess([SPEC], seed=SPEC.seed, lead_s=LEAD_S) as process:
        board = vendor.BITalino(terminal(process, "board"))
        version = board.version()
        board.battery(20)
        board.pwm(70)
        board.trigger([1, 0])
        state = board.state()
        board.start(1000, [0, 1, 2, 3, 4, 5])
        data, cut_off = board.read(WANTED), None
        try:
            while True:
                board.read(100)
        except OSError as error:
            cut_off = error
        board.close()
        clock.sleep_until(process.start_ns + to_ns(0.5))
        process.check()
        again = vendor.BITalino(terminal(process, "board"))
        version_after = again.version()
        again.close()
        return Session(version, state, data, cut_off, version_after, process.start_ns, process.stop())


def test_the_vendors_api_knows_the_board(session: Session) -> None:
    assert session.version == "BITalino_v5.2"


def test_the_vendors_api_accepts_the_state_and_finds_in_it_what_it_has_set(session: Session) -> None:
    assert session.state["batteryThreshold"] == 20
    assert session.state["digitalChannels"] == [0, 0, 1, 0]
    assert session.state["battery"] == pytest.approx(3.9 / 2 / 3.3 * 1023, abs=0.5)
    assert session.state["analogChannels"] == [512] * 6


def test_the_vendors_api_misses_no_frame(session: Session) -> None:
    assert session.data[:, 0].tolist() == [n % 16 for n in range(WANTED)]
    assert (session.data[:, 1:5] == [0, 0, 1, 0]).all()


@pytest.mark.parametrize(
    ("stream", "column", "bits", "unit_per_share", "at_zero"),
    [
        ("emg", 5, 10, 3300 / 1009, -1650 / 1009),
        ("ecg", 6, 10, 3.0, -1.5),
        ("eda", 7, 10, 25.0, 0.0),
        ("eeg", 8, 10, 3.3e6 / 41782, -1.65e6 / 41782),
        ("raw", 9, 6, 1024, 0),
        ("acc", 10, 6, 2048 / 104, -5.0),
    ],
)
def test_the_codes_are_the_signals_rendered_from_the_same_seed(
    session: Session, stream: str, column: int, bits: int, unit_per_share: float, at_zero: float
) -> None:
    """The transfer functions of PLUX's data sheets; the signal is rendered here without encoder, line or port."""
    found = session.data[:, column] / 2**bits * unit_per_share + at_zero
    spec = next(s for s in build(SPEC).device.streams if s.name == stream)
    draws = Draws(SPEC.seed, "board").child("signal", stream)
    signal = make_signal({"signal": spec.kind}, Subject(SPEC.seed), spec, draws)
    (told_ns,) = [a.at_ns for a in session.ended.journals["board"] if a.data == b"\xfd"]
    boot_ns = session.start_ns - to_ns(LEAD_S)
    times_s = (told_ns + 1 - boot_ns) / 1e9 + np.arange(WANTED) / 1000
    step = unit_per_share / 2**bits
    expected = digitise(signal.render(0, times_s), spec)[:, 0]
    assert np.abs(found - expected).max() <= 0.51 * step


def test_unplugging_cuts_the_client_off_and_leaves_the_simulator_standing(session: Session) -> None:
    assert session.cut_off is not None
    assert session.version_after == "BITalino_v5.2"
    (truth,) = session.ended.truths
    assert truth.fault == "unplug"


@pytest.fixture
def noisy() -> Iterator[SimulatorProcess]:
    with SimulatorProcess([NOISY], seed=NOISY.seed) as process:
        yield process


def test_a_garbled_byte_ends_the_clients_reading_and_not_the_simulator(noisy: SimulatorProcess) -> None:
    board = vendor.BITalino(terminal(noisy, "noisy"))
    board.start(1000, [1])
    with pytest.raises(Exception, match="lost communication"):
        board.read(3000)
    board.stop()
    noisy.check()
    clock = RealClock()
    clock.sleep_until(max(noisy.start_ns + to_ns(QUIET_FROM_S), clock.now_ns()) + to_ns(0.2))
    board.socket.reset_input_buffer()
    board.start(1000, [1])
    assert board.read(5)[:, 0].tolist() == [0, 1, 2, 3, 4]
    board.close()
    assert "bit_flip" in {truth.fault for truth in noisy.stop().truths}
