"""Unmodified pyshimmer reads the simulated Shimmer3: every number is the simulated one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import serial

from drivers.clock import RealClock, to_ns
from simulators.build import SimulatedSpec, build
from simulators.draws import Draws
from simulators.sensor import digitise
from simulators.serve.process import Ended, SimulatorProcess
from simulators.signals.registry import make_signal
from simulators.subject import Subject

pytest.importorskip("pyshimmer", reason="needs pyshimmer: pip install pyshimmer")
from pyshimmer.bluetooth.bt_api import ShimmerBluetooth
from pyshimmer.dev.channels import EChannelType, ESensorGroup
from pyshimmer.dev.fw_version import EFirmwareType

LEAD_S = 5.0
"""The device boots so long before world second 0, at which it is unplugged."""
SPEC = SimulatedSpec(
    "shimmer3",
    {"sensors": ["gsr", "ppg", "ecg"], "rate_hz": 256},
    seed=9, name="wrist", faults=[{"fault": "unplug", "at_s": 0.0, "for_s": 0.3}],
)  # fmt: skip
GARBLED = SimulatedSpec(
    "shimmer3", {"sensors": ["ppg"], "rate_hz": 512}, seed=4, name="garbled",
    faults=[{"fault": "garbage", "per_min": 600, "mean_bytes": 3, "start_s": 2.0, "stop_s": 3.0}],
)  # fmt: skip
KOHM = 287.0
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
"""pyshimmer's reading thread dies of an unplugged port, which is what is tried here."""


def wait_for(condition: Callable[[], bool], what: str) -> None:
    clock = RealClock()
    deadline_ns = clock.now_ns() + to_ns(20)
    while not condition():
        assert clock.now_ns() < deadline_ns, f"{what} did not happen"
        clock.sleep_until(clock.now_ns() + to_ns(0.02))


@dataclass
class Session:
    firmware: Any = None
    name: str = ""
    status: Any = None
    battery_v: float = 0.0
    registers: Any = None
    inquiry: Any = None
    clock_s: float = 0.0
    packets: list[Any] = field(default_factory=list)
    firmware_after: bytes = b""
    start_ns: int = 0
    ended: Ended | None = None

    def column(self, channel: Any) -> Any:
        return np.array([packet[channel] for packet in self.packets])


@pytest.fixture(scope="module")
def session() -> Session:
    clock, seen = RealClock(), Session()
    with SimulatorProcess([SPEC], seed=SPEC.seed, lead_s=LEAD_S) as process:
        shimmer = ShimmerBluetooth(serial.Serial(process.ports["wrist"], 115200))
        shimmer.initialize()
        seen.firmware = shimmer.get_firmware_version()
        shimmer.set_device_name("S_PPG")
        seen.name = shimmer.get_device_name()
        shimmer.set_rtc(10.0)
        seen.clock_s = shimmer.get_rtc()
        shimmer.set_sampling_rate(256.0)
        shimmer.set_sensors([ESensorGroup.GSR, ESensorGroup.CH_A13, ESensorGroup.EXG1_24BIT])
        shimmer.set_exg_register(0, 3, b"\x40\x60")
        seen.registers = shimmer.get_exg_register(0)
        seen.inquiry = shimmer.get_inquiry()
        seen.battery_v = shimmer.get_battery_state(in_percent=False)
        shimmer.add_stream_callback(seen.packets.append)
        shimmer.start_streaming()
        wait_for(lambda: len(seen.packets) >= 300, "300 packets for pyshimmer")
        seen.status = shimmer.get_status()
        clock.sleep_until(process.start_ns + to_ns(0.5))
        process.check()
        with serial.Serial(process.ports["wrist"], 115200, timeout=5) as port:
            port.write(b"\x2e")
            seen.firmware_after = port.read(8)
        seen.start_ns, seen.ended = process.start_ns, process.stop()
    return seen


def test_pyshimmer_gets_the_answers_to_its_questions(session: Session) -> None:
    kind, version = session.firmware
    assert kind == EFirmwareType.LogAndStream
    assert (version.major, version.minor) == (0, 16)
    assert session.name == "S_PPG"
    assert session.clock_s == 10.0
    assert session.battery_v == pytest.approx(4.0, abs=0.001)
    assert (session.registers.ch1_gain, session.registers.ch2_gain) == (4, 12)
    rate_hz, _, channels = session.inquiry
    assert rate_hz == 256.0
    assert channels == [
        EChannelType.INTERNAL_ADC_13, EChannelType.GSR_RAW, EChannelType.EXG_ADS1292R_1_STATUS,
        EChannelType.EXG_ADS1292R_1_CH1_24BIT, EChannelType.EXG_ADS1292R_1_CH2_24BIT,
    ]  # fmt: skip


def test_pyshimmer_sees_the_device_stream(session: Session) -> None:
    docked, sensing, clock_set, logging, streaming, *_ = session.status
    assert (docked, sensing, clock_set, logging, streaming) == (False, True, True, False, True)


def test_pyshimmers_time_stamps_are_one_period_apart(session: Session) -> None:
    assert set(np.diff(session.column(EChannelType.TIMESTAMP)).tolist()) == {32768 // 256}


def expected(session: Session, stream: str) -> Any:
    """The signal rendered without encoder, line or port."""
    spec = next(s for s in build(SPEC).device.streams if s.name == stream)
    draws = Draws(SPEC.seed, "wrist").child("signal", stream)
    signal = make_signal({"signal": spec.kind}, Subject(SPEC.seed), spec, draws)
    assert session.ended is not None
    written = [(a.at_ns, a.data) for a in session.ended.journals["wrist"] if a.data.endswith(b"\x07")]
    times_s = (written[-1][0] + 1 - session.start_ns + to_ns(LEAD_S)) / 1e9 + np.arange(len(session.packets)) / 256
    return digitise(signal.render(0, times_s), spec)


def test_pyshimmers_conductance_is_the_simulated_one_as_soon_as_the_range_has_settled(session: Session) -> None:
    """gsr.c: six words of nothing, one that asks for the next range, and that one again for 80 ms."""
    words = session.column(EChannelType.GSR_RAW).astype(int)
    settled = 6 + 1 + int(2621 / 128)
    assert words[:6].tolist() == [0] * 6
    assert len(set(words[6:settled].tolist())) == 1
    assert words[6] < 1120
    words = words[settled:]
    assert set((words >> 14).tolist()) == {1}
    kohm = KOHM / ((words & 0xFFF) * 3.0 / 4095 / 0.5 - 1)
    step_us = 1000 / KOHM * 6 / 4095
    assert np.abs(1000 / kohm - expected(session, "eda")[settled:, 0]).max() <= 0.51 * step_us


def test_pyshimmers_pulse_is_the_simulated_one(session: Session) -> None:
    millivolts = session.column(EChannelType.INTERNAL_ADC_13) * 3000 / 4095
    assert np.abs(millivolts - expected(session, "ppg")[:, 0]).max() <= 0.51 * 3000 / 4095


def test_pyshimmers_ecg_is_the_simulated_one_at_the_gain_that_pyshimmer_has_set(session: Session) -> None:
    truth = expected(session, "ecg")
    channels = (EChannelType.EXG_ADS1292R_1_CH1_24BIT, EChannelType.EXG_ADS1292R_1_CH2_24BIT)
    for column, (channel, gain) in enumerate(zip(channels, (4, 12), strict=True)):
        millivolts = session.column(channel) * 2420 / (2**23 - 1) / gain
        assert np.abs(millivolts - truth[:, column]).max() <= 2420 / (2**23 - 1) / 4
        assert np.ptp(millivolts) > 0.2


def test_unplugging_leaves_the_simulator_standing(session: Session) -> None:
    assert session.firmware_after == bytes.fromhex("FF2F 0300 0000 10 00")
    assert session.ended is not None
    assert [truth.fault for truth in session.ended.truths] == ["unplug"]


def test_garbled_bytes_confuse_pyshimmer_and_not_the_simulator() -> None:
    """pyshimmer cannot find packets again: what it shows or dies of behind the garbage is its own affair."""
    packets: list[Any] = []
    with SimulatorProcess([GARBLED], seed=GARBLED.seed, lead_s=0.0) as process:
        port = serial.Serial(process.ports["garbled"], 115200)
        shimmer = ShimmerBluetooth(port)
        shimmer.initialize()
        shimmer.set_sensors([ESensorGroup.CH_A13])
        shimmer.set_sampling_rate(512.0)
        shimmer.add_stream_callback(packets.append)
        shimmer.start_streaming()
        clock = RealClock()
        clock.sleep_until(process.start_ns + to_ns(3.2))
        process.check()
        shimmer.shutdown()
        with serial.Serial(process.ports["garbled"], 115200, timeout=5) as other:
            other.write(b"\x20")
            clock.sleep_until(clock.now_ns() + to_ns(0.3))
            other.reset_input_buffer()
            other.write(b"\x3f")
            assert other.read(3) == bytes.fromhex("FF2503")
        ended = process.stop()
    steps = np.diff([packet[EChannelType.TIMESTAMP] for packet in packets])
    assert (steps[:100] == 64).all()
    assert "garbage" in {truth.fault for truth in ended.truths}
