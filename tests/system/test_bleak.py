"""Unmodified bleak reads the simulated heart rate strap; nothing but DBUS_SYSTEM_BUS_ADDRESS tells it of us."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, field

import numpy as np
import pytest
from bleak import BleakClient, BleakScanner

from drivers.gatt import uuid128
from simulators.build import SimulatedSpec
from simulators.serve.process import Ended, SimulatorProcess
from simulators.subject import Subject, make_profile

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs dbus-daemon: apt-get install dbus")

# Bluetooth SIG, Assigned Numbers
HEART_RATE, MEASUREMENT = uuid128(0x180D), uuid128(0x2A37)
DEVICE_INFORMATION, MANUFACTURER = uuid128(0x180A), uuid128(0x2A29)
BATTERY_LEVEL = uuid128(0x2A19)

SEED, PROFILE = 21, {"heart_rate_bpm": 110.0}
SPECS = [SimulatedSpec("heart-rate", seed=SEED, name=name) for name in ("strap", "spare")]
BEATS = 8


@dataclass
class Session:
    """What one bleak client found out."""

    addresses: dict[str, str]
    found: dict[str, str] = field(default_factory=dict)
    """Address -> advertised name, of what advertises the heart rate service."""
    services: list[str] = field(default_factory=list)
    manufacturer: str = ""
    battery: int = -1
    rates_bpm: list[int] = field(default_factory=list)
    intervals: list[int] = field(default_factory=list)
    """RR in 1/1024 s."""
    ended: Ended | None = None


def decode(data: bytes) -> tuple[int, list[int]]:
    """Heart Rate Service 1.0, 3.1: flags, rate of one or two bytes, energy if flagged, RR intervals."""
    flags, at = data[0], 2 + (data[0] & 1)
    rate = int.from_bytes(data[1:at], "little")
    at += 2 * (flags >> 3 & 1)
    rest = data[at:] if flags >> 4 & 1 else b""
    return rate, [int.from_bytes(rest[n : n + 2], "little") for n in range(0, len(rest), 2)]


async def read_strap(session: Session) -> None:
    found = await BleakScanner.discover(timeout=0.5, return_adv=True)
    session.found = {a: d.name or "" for a, (d, adv) in found.items() if HEART_RATE in adv.service_uuids}
    enough = asyncio.Event()

    def take(characteristic: object, data: bytearray) -> None:
        rate, intervals = decode(bytes(data))
        session.rates_bpm.append(rate)
        session.intervals += intervals
        if len(session.intervals) >= BEATS:
            enough.set()

    async with BleakClient(session.addresses["strap"]) as client:
        session.services = [service.uuid for service in client.services]
        session.manufacturer = (await client.read_gatt_char(MANUFACTURER)).decode()
        session.battery = (await client.read_gatt_char(BATTERY_LEVEL))[0]
        await client.start_notify(MEASUREMENT, take)
        await asyncio.wait_for(enough.wait(), 30)
        await client.stop_notify(MEASUREMENT)


@pytest.fixture(scope="module")
def session() -> Session:
    with SimulatorProcess(SPECS, seed=SEED, subject=PROFILE) as process:
        session = Session({role: place["address"] for role, place in process.places.items()})
        asyncio.run(read_strap(session))
        session.ended = process.stop()
    return session


def test_scanning_for_the_heart_rate_service_finds_both_straps(session: Session) -> None:
    assert set(session.found) == set(session.addresses.values())
    assert all(session.found.values()), "each advertises a name"


def test_the_strap_has_the_services_of_a_heart_rate_strap_and_tells_what_it_is(session: Session) -> None:
    assert {HEART_RATE, DEVICE_INFORMATION} <= set(session.services)
    assert session.manufacturer
    assert 0 <= session.battery <= 100


def test_the_notified_intervals_are_those_between_the_simulated_beats(session: Session) -> None:
    simulated = np.rint(Subject(SEED, make_profile(PROFILE)).rr(0.0, 60.0) * 1024)
    received = np.array(session.intervals)
    windows = np.lib.stride_tricks.sliding_window_view(simulated, len(received))
    worst = np.abs(windows - received).max(axis=1)
    assert len(received) >= BEATS
    assert worst.min() <= 1, "the received run of intervals is one of the simulated heart's, to the last bit"
    assert np.sum(worst <= 1) == 1, "and only one place in it fits"


def test_the_notified_rate_is_the_simulated_hearts(session: Session) -> None:
    rates = 60 / Subject(SEED, make_profile(PROFILE)).rr(0.0, 60.0)
    assert min(session.rates_bpm) >= np.floor(rates.min())
    assert max(session.rates_bpm) <= np.ceil(rates.max())


def test_the_sender_tells_how_late_each_notification_was(session: Session) -> None:
    assert session.ended is not None
    lateness = session.ended.lateness_us["strap"]
    assert lateness["n"] >= len(session.rates_bpm)
    assert session.ended.lateness_us["spare"]["n"] == 0
