"""One simulated strap at three depths, in memory, on BlueZ's D-Bus and on bumble's stack: the same values."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bumble", reason="needs bumble: pip install 'spiral-hil[bumble]'")

from bleak import BleakClient, BleakScanner
from bleak.exc import BleakGATTProtocolError

from drivers.clock import RealClock, VirtualClock, to_ns
from drivers.driver import Driver
from drivers.errors import AttError
from drivers.gatt import uuid128
from drivers.links.ble import BleLink
from drivers.links.bumble_bleak import Central
from drivers.links.bumble_stack import Ether
from drivers.links.memory import MemoryLink
from drivers.registry import load_sensor, make_settings, sensor_names
from drivers.sensors import heart_rate
from drivers.types import Batch, LinkDown, LinkUp, Malformed, Samples
from harness.cli import main
from simulators.build import SimulatedSpec, build
from simulators.serve.pacer import replay
from simulators.serve.serving import ServedSpec, Serving
from simulators.subject import Subject, make_profile

MEASUREMENT, CONTROL = uuid128(0x2A37), uuid128(0x2A39)
SEED, PROFILE = 21, {"heart_rate_bpm": 110.0}
NOTIFICATIONS = 4
CLOCK = RealClock()


@contextmanager
def serving(*specs: ServedSpec, ether: Ether | None = None) -> Iterator[Serving]:
    with Serving(specs, seed=SEED, subject=PROFILE, ether=ether) as served:
        thread = threading.Thread(target=served.run)
        thread.start()
        try:
            yield served
        finally:
            served.pacer.stop()
            thread.join()


@pytest.fixture
def ether() -> Iterator[Ether]:
    ether = Ether()
    yield ether
    ether.close()


# --- the same values ---------------------------------------------------------------------------


@dataclass
class Depths:
    """What each depth delivered, and how the served sensors came to send it."""

    heard: dict[str, list[bytes]]
    replayed: dict[str, list[bytes]]
    memory_rr: list[float]


async def listen(address: str, **backend: Any) -> list[bytes]:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    async with BleakClient(address, **backend) as client:
        await client.start_notify(MEASUREMENT, lambda _, data: heard.put_nowait(bytes(data)))
        return [await asyncio.wait_for(heard.get(), 10) for _ in range(NOTIFICATIONS)]


async def listen_to_both(served: Serving, central: Central) -> list[list[bytes]]:
    device = await BleakScanner.find_device_by_address(served.places["air"]["address"], timeout=5)
    assert device is not None
    other = listen(served.places["bumble"]["address"], backend=central.client)
    return await asyncio.gather(listen(device), other)


def rendered_again(served: Serving, role: str, spec: SimulatedSpec) -> list[bytes]:
    """The memory depth's bytes for what the client of ``role`` did."""
    sensor = build(spec, Subject(SEED, make_profile(PROFILE)), served.start_ns, served.start_ns)
    items = replay(sensor, served.journals()[role], CLOCK.now_ns())
    batches = [item for item in items if isinstance(item, Batch) and item.channel == MEASUREMENT]
    return [data for batch in batches for data, _ in batch.chunks()]


def memory_rr(spec: SimulatedSpec) -> list[float]:
    clock = VirtualClock()
    sensor = build(spec, Subject(SEED, make_profile(PROFILE)), clock.now_ns())
    driver = Driver(heart_rate.host(heart_rate.Settings()), MemoryLink(sensor, clock), name="strap")
    with driver:
        until_ns = clock.now_ns() + to_ns(60)
        return [
            float(value)
            for event in driver.events(until_ns)
            if isinstance(event, Samples) and event.stream == "rr"
            for value in event.values[:, 0]
        ]


@pytest.fixture(scope="module")
def depths() -> Depths:
    if shutil.which("dbus-daemon") is None:
        pytest.skip("needs dbus-daemon: apt-get install dbus")
    specs = {role: SimulatedSpec("heart-rate", seed=SEED, name=role) for role in ("air", "bumble")}
    ether, before = Ether(), os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
    try:
        with serving(*(ServedSpec(spec, role) for role, spec in specs.items()), ether=ether) as served:
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = served.bus_address
            air, bumble = asyncio.run(listen_to_both(served, Central(ether)))
        replayed = {role: rendered_again(served, role, spec) for role, spec in specs.items()}
    finally:
        os.environ.pop("DBUS_SYSTEM_BUS_ADDRESS")
        if before is not None:
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = before
        ether.close()
    return Depths({"air": air, "bumble": bumble}, replayed, memory_rr(specs["bumble"]))


def intervals(notifications: list[bytes]) -> list[float]:
    """Heart Rate Service 1.0, 3.1: flags, rate of one byte, RR intervals of 1/1024 s if flagged; in ms."""
    assert all(data[0] & 0b01001 == 0 for data in notifications)
    pairs = [data[n : n + 2] for data in notifications for n in range(2, len(data), 2)]
    return [int.from_bytes(pair, "little") * 1000 / 1024 for pair in pairs]


@pytest.mark.parametrize("depth", ["air", "bumble"])
def test_the_intervals_heard_at_each_depth_are_those_that_memory_delivers(depths: Depths, depth: str) -> None:
    heard = intervals(depths.heard[depth])
    windows = np.lib.stride_tricks.sliding_window_view(depths.memory_rr, len(heard))
    assert len(heard) >= NOTIFICATIONS
    assert np.sum((windows == heard).all(axis=1)) == 1, "they are one run of the simulated heart's, and exactly"


@pytest.mark.parametrize("depth", ["air", "bumble"])
def test_every_byte_heard_at_each_depth_is_what_memory_renders_for_the_same_client(depths: Depths, depth: str) -> None:
    heard = depths.heard[depth]
    assert depths.replayed[depth][: len(heard)] == heard


# --- our driver --------------------------------------------------------------------------------


def strap_driver(ether: Ether, address: str, **settings: Any) -> Driver:
    link = BleLink(address, CLOCK, adapter=Central(ether), scan_s=5.0)
    return Driver(heart_rate.host(heart_rate.Settings(**settings)), link, name="strap")


def test_the_driver_reads_the_strap_loses_it_and_has_it_again(ether: Ether) -> None:
    fault = {"fault": "unplug", "at_s": 1.6, "for_s": 0.3}
    spec = SimulatedSpec("heart-rate", {"name": "Lost Strap"}, seed=SEED, faults=[fault])
    with serving(ServedSpec(spec, "bumble"), ether=ether):
        driver = strap_driver(ether, "Lost Strap")
        with driver:
            seen: list[str] = []
            for event in driver.events(CLOCK.now_ns() + to_ns(15)):
                if isinstance(event, Samples) and event.stream == "heart_rate":
                    assert 90 < event.values[0, 0] < 130
                    seen.append("Samples")
                elif isinstance(event, LinkDown | LinkUp):
                    seen.append(type(event).__name__)
                if seen[-2:] == ["LinkUp", "Samples"]:
                    break
    assert seen[0] == "Samples" and seen[-3:] == ["LinkDown", "LinkUp", "Samples"]


def test_a_strap_that_refuses_to_pair_gives_the_driver_an_error_that_says_what_it_wants(ether: Ether) -> None:
    spec = SimulatedSpec("heart-rate", seed=SEED)
    with serving(ServedSpec(spec, "bumble", radio={"pairing": "refused"}), ether=ether):
        driver = strap_driver(ether, "HR Strap")
        assert driver.connect() is False
        assert isinstance(driver.last_error, AttError)
        assert "0x0f" in str(driver.last_error) and "Pair with it first" in str(driver.last_error)


def test_a_wrong_word_to_the_heart_rate_control_point_is_att_error_0x80(ether: Ether) -> None:
    # Heart Rate Service 1.0, 1.6: 0x80, Heart Rate Control Point Not Supported
    async def work(address: str) -> None:
        async with BleakClient(address, backend=Central(ether).client) as client:
            with pytest.raises(BleakGATTProtocolError) as refusal:
                await client.write_gatt_char(CONTROL, b"\x02", response=True)
            assert refusal.value.code == 0x80
            await client.write_gatt_char(CONTROL, b"\x01", response=True)

    spec = SimulatedSpec("heart-rate", {"energy": True}, seed=SEED)
    with serving(ServedSpec(spec, "bumble"), ether=ether) as served:
        asyncio.run(work(served.places["heart-rate"]["address"]))


def test_every_ble_sensor_streams_all_that_it_has_and_nothing_is_cut_or_malformed(ether: Ether) -> None:
    modules = {name: load_sensor(name) for name in sensor_names()}
    ble = {name: module for name, module in modules.items() if module.LINK == "ble"}
    assert "heart-rate" in ble
    specs = [ServedSpec(SimulatedSpec(name, seed=SEED), "bumble") for name in ble]
    with serving(*specs, ether=ether) as served, ExitStack() as drivers:
        central = Central(ether)
        opened = {}
        for name, module in ble.items():
            link = BleLink(served.places[name]["address"], CLOCK, adapter=central)
            opened[name] = drivers.enter_context(Driver(module.host(make_settings(module, {})), link, name=name))
        for name, driver in opened.items():
            missing = {stream.name for stream in driver.streams}
            for event in driver.events(CLOCK.now_ns() + to_ns(15)):
                assert not isinstance(event, Malformed | LinkDown), (name, event)
                missing -= {event.stream} if isinstance(event, Samples) else set()
                if not missing:
                    break
            assert not missing, (name, missing)
            assert served.report()[name]["dropped_bytes"] == 0


# --- the command -------------------------------------------------------------------------------


def test_the_command_serves_through_a_controller_that_another_program_offers(ether: Ether, tmp_path: Path) -> None:
    async def work() -> list[bytes]:
        device = await BleakScanner.find_device_by_name("HR Strap", timeout=10, backend=central.scanner)
        assert device is not None
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        async with BleakClient(device, backend=central.client) as client:
            await client.start_notify(MEASUREMENT, lambda _, data: heard.put_nowait(bytes(data)))
            return [await asyncio.wait_for(heard.get(), 10)]

    central = Central(ether)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    controller = ether.call(served_controller(ether, port))
    capture = tmp_path / "strap.btsnoop"
    command = [sys.executable, "-m", "harness", "simulate", "heart-rate", "--seed", str(SEED),
               "--transport", f"tcp-client:127.0.0.1:{port}", "--snoop", str(capture)]  # fmt: skip
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline().startswith(f"heart-rate: transport: tcp-client:127.0.0.1:{port} address: ")
        (heard,) = asyncio.run(work())
    finally:
        child.terminate()
        assert child.wait(10) == 0
        child.stdout.close()
        ether.call(end(controller))
    assert heard in capture.read_bytes()


@pytest.mark.parametrize(
    ("argv", "wrong"),
    [(["heart-rate", "--snoop", "x"], "they belong to --transport"),
     (["heart-rate", "--radio", "att_mtu=100"], "they belong to --transport"),
     (["heart-rate", "--transport", "usb:0", "--radio", "att_mtu=22"], "att_mtu 22: expected 23 to 517"),
     (["openbci-cyton", "--air"], "openbci-cyton is a serial sensor and is served by pty")],
)  # fmt: skip
def test_a_radio_for_what_has_none_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], argv: list[str], wrong: str
) -> None:
    assert main(["simulate", *argv]) == 2
    assert wrong in capsys.readouterr().err


async def served_controller(ether: Ether, port: int) -> Any:
    """A virtual controller within range of the ether's devices, behind a TCP port."""
    from bumble.controller import Controller
    from bumble.transport import open_transport

    transport = await open_transport(f"tcp-server:127.0.0.1:{port}")
    Controller("served", host_source=transport.source, host_sink=transport.sink, link=ether.link)
    return transport


async def end(transport: Any) -> None:
    transport.server.close()
    await transport.server.wait_closed()
