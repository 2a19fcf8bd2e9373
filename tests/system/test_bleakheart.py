"""Unmodified bleakheart reads the simulated Polar H10; nothing but DBUS_SYSTEM_BUS_ADDRESS tells it of us."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from bleak import BleakClient

from simulators.build import SimulatedSpec
from simulators.serve.process import SimulatorProcess
from simulators.subject import Subject, make_profile

bleakheart = pytest.importorskip("bleakheart", reason="needs bleakheart: pip install bleakheart")

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs dbus-daemon: apt-get install dbus")

SEED, PROFILE = 23, {"heart_rate_bpm": 110.0}
ECG_FRAMES, ACC_FRAMES = 14, 5


@dataclass
class Session:
    """What bleakheart found out."""

    battery: int = -1
    measurements: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    started: dict[str, int] = field(default_factory=dict)
    """What was asked of the control point -> its status."""
    ecg: list[tuple[int, list[int]]] = field(default_factory=list)
    acc: list[tuple[int, list[tuple[int, int, int]]]] = field(default_factory=list)
    beats: list[tuple[int, list[int]]] = field(default_factory=list)
    """Heart rate, RR intervals in ms."""


async def collect(queue: asyncio.Queue, count: int) -> list[Any]:
    return [(await asyncio.wait_for(queue.get(), 20))[1:3] for _ in range(count)]


async def read_h10(address: str, session: Session) -> None:
    ecg, acc, heart = asyncio.Queue(), asyncio.Queue(), asyncio.Queue()
    async with BleakClient(address) as client:
        session.battery = await bleakheart.BatteryLevel(client).read()
        strap = bleakheart.PolarMeasurementData(client, ecg_queue=ecg, acc_queue=acc)
        rates = bleakheart.HeartRate(client, queue=heart, unpack=False)
        await rates.start_notify()
        session.measurements = await strap.available_measurements()
        session.settings = {name: await strap.available_settings(name) for name in ("ECG", "ACC", "PPG")}
        session.started["ECG at 131 Hz"] = (await strap.start_streaming("ECG", sample_rate=131))[0]
        session.started["ECG"] = (await strap.start_streaming("ECG"))[0]
        session.started["ECG again"] = (await strap.start_streaming("ECG"))[0]
        session.started["ACC"] = (await strap.start_streaming("ACC"))[0]
        session.acc = await collect(acc, ACC_FRAMES)
        session.started["end of ACC"] = (await strap.stop_streaming("ACC"))[0]
        session.ecg = await collect(ecg, ECG_FRAMES)
        session.started["end of ECG"] = (await strap.stop_streaming("ECG"))[0]
        session.started["end of ECG again"] = (await strap.stop_streaming("ECG"))[0]
        await rates.stop_notify()
        session.beats = [heart.get_nowait()[2] for _ in range(heart.qsize())]


@pytest.fixture(scope="module")
def session() -> Session:
    session = Session()
    with SimulatorProcess([SimulatedSpec("polar-h10", seed=SEED, name="strap")], seed=SEED, subject=PROFILE) as process:
        asyncio.run(read_h10(process.places["strap"]["address"], session))
        process.stop()
    return session


def test_bleakheart_finds_what_an_h10_measures(session: Session) -> None:
    assert session.measurements == ["ECG", "ACC"]
    assert session.settings["ECG"]["SAMPLE_RATE"] == [130]
    assert session.settings["ECG"]["RESOLUTION"] == [14]
    assert session.settings["ACC"]["SAMPLE_RATE"] == [25, 50, 100, 200]
    assert session.settings["ACC"]["RANGE"] == [2, 4, 8]
    assert session.settings["PPG"]["error_msg"] == "NOT SUPPORTED"
    assert session.battery == 87


def test_bleakheart_is_told_what_works_and_what_does_not(session: Session) -> None:
    assert session.started == {
        "ECG at 131 Hz": 8, "ECG": 0, "ECG again": 6, "ACC": 0, "end of ACC": 0, "end of ECG": 0, "end of ECG again": 6,
    }  # fmt: skip


def test_frames_have_the_size_and_the_pace_of_an_h10(session: Session) -> None:
    assert {len(values) for _, values in session.ecg} == {73}
    assert {len(values) for _, values in session.acc} == {36}
    assert np.allclose(np.diff([at for at, _ in session.ecg]), 73e9 / 130, atol=2)
    assert np.allclose(np.diff([at for at, _ in session.acc]), 36e9 / 200, atol=2)


def test_the_beats_in_bleakheart_s_ecg_are_the_simulated_heart_s(session: Session) -> None:
    """Peaks by their height alone; a sample is 7.7 ms, and so is how well an interval can be read off."""
    ecg = np.concatenate([values for _, values in session.ecg]).astype(float)
    high = ecg > 0.6 * ecg.max()
    starts = np.flatnonzero(high[1:] & ~high[:-1])
    peaks = np.array([start + np.argmax(ecg[start : start + 12]) for start in starts[:-1]])
    intervals_s = np.diff(peaks) / 130
    simulated_s = Subject(SEED, make_profile(PROFILE)).rr(0.0, 60.0)
    places = np.lib.stride_tricks.sliding_window_view(simulated_s, len(intervals_s))
    worst = np.abs(places - intervals_s).max(axis=1)
    assert len(intervals_s) >= 8
    assert worst.min() < 0.012


def test_gravity_is_one_g_in_bleakheart_s_acceleration(session: Session) -> None:
    milli_g = np.concatenate([values for _, values in session.acc])
    assert np.linalg.norm(milli_g.mean(axis=0)) == pytest.approx(1000, abs=60)


def test_heart_rates_come_beside_the_measurements(session: Session) -> None:
    simulated_bpm = 60 / Subject(SEED, make_profile(PROFILE)).rr(0.0, 60.0)
    rates = [rate for rate, _ in session.beats]
    assert len(rates) >= 5
    assert min(rates) >= np.floor(simulated_bpm.min())
    assert max(rates) <= np.ceil(simulated_bpm.max())
