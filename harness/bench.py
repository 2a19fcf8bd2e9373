"""Opens a rig: real links, simulators in a process of their own, or simulators in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from drivers.clock import Clock, Inbox, RealClock, VirtualClock, to_ns
from drivers.codec import Host
from drivers.driver import Driver
from drivers.errors import LinkError
from drivers.link import Link
from drivers.links import make_link
from drivers.links.memory import MemoryLink
from drivers.links.serial import SerialLink
from drivers.registry import line_options, load_sensor, make_settings
from drivers.types import StreamSpec
from harness.rig import Rig, SensorEntry
from harness.rig_file import simulated_spec
from harness.session import QUANTUM_NS
from simulators.build import build
from simulators.subject import Subject, make_profile
from simulators.truth import Truth

LEAD_S = 3.0
"""Simulated sensors boot this long before the run, so that connecting falls outside it."""
_PTY_BAUD = 115200
"""A pty takes any and keeps to none."""


class Mode(StrEnum):
    """Where the sensors are."""

    BENCH = "bench"
    SIMULATED = "simulated"
    VIRTUAL = "virtual"


@dataclass
class Bench:
    """Drivers that are ready to connect, on one clock and one inbox."""

    mode: Mode
    clock: Clock
    inbox: Inbox
    drivers: dict[str, Driver] = field(default_factory=dict)
    start_ns: int | None = None
    """When the simulated run begins; None on a real bench, which begins when everything is connected."""
    mains_hz: float | None = None
    """Of the place, from the rig."""
    truths: list[Truth] = field(default_factory=list)
    """Complete once the bench is closed."""
    host: dict[str, Any] = field(default_factory=dict)
    trouble: Callable[[], str] = lambda: ""
    """Why the sensors cannot go on, or nothing; also after the bench is closed."""


def stream_specs(rig: Rig) -> dict[str, StreamSpec]:
    """``role/stream`` -> what the rig's sensors will send, without opening anything."""
    specs = {}
    for role, entry in rig.sensors.items():
        sensor = load_sensor(entry.sensor)
        host = sensor.host(make_settings(sensor, entry.settings))
        for spec in host.streams:
            specs[f"{role}/{spec.name}"] = replace(spec, mains_hz=spec.mains_hz or rig.mains_hz)
    return specs


@contextmanager
def open_bench(rig: Rig, mode: Mode) -> Iterator[Bench]:
    """The rig's drivers, not yet connected; simulators run until the end of the block."""
    clock: Clock = VirtualClock() if mode is Mode.VIRTUAL else RealClock()
    bench = Bench(mode, clock, clock.inbox(), mains_hz=rig.mains_hz)
    if mode is Mode.VIRTUAL and isinstance(clock, VirtualClock):
        yield from _virtual(rig, bench, clock)
    elif mode is Mode.SIMULATED:
        yield from _simulated(rig, bench)
    else:
        for entry in rig.sensors.values():
            _add(bench, entry, entry.port, entry.address)
        yield bench


def _virtual(rig: Rig, bench: Bench, clock: VirtualClock) -> Iterator[Bench]:
    subject = Subject(rig.seed, make_profile(rig.subject))
    bench.start_ns = bench.host["world_start_ns"] = clock.now_ns() + to_ns(LEAD_S)
    peers = []
    for role, entry in rig.sensors.items():
        peer = build(simulated_spec(entry, rig.seed), subject, bench.start_ns, clock.now_ns())
        sensor = load_sensor(entry.sensor)
        host = sensor.host(make_settings(sensor, entry.settings))
        link = MemoryLink(peer, clock, QUANTUM_NS)
        bench.drivers[role] = _driver(bench, entry, host, link)
        peers.append(peer)
    yield bench
    bench.truths += [truth for peer in peers for truth in peer.truths]


def _simulated(rig: Rig, bench: Bench) -> Iterator[Bench]:
    from simulators.serve.process import SimulatorError, SimulatorProcess

    specs = [simulated_spec(entry, rig.seed) for entry in rig.sensors.values()]
    try:
        process = SimulatorProcess(specs, seed=rig.seed, subject=rig.subject, lead_s=LEAD_S)
    except SimulatorError as error:
        raise LinkError(str(error)) from error
    died = ""

    def trouble() -> str:
        nonlocal died
        try:
            if not died:
                process.check()
        except SimulatorError as error:
            died = str(error)
        return died

    bench.trouble = trouble
    try:
        with process:
            bench.start_ns = bench.host["world_start_ns"] = process.start_ns
            for role, entry in rig.sensors.items():
                place = process.places[role]
                _add(bench, entry, place.get("port"), place.get("address"))
            yield bench
            ended = process.stop()
    except SimulatorError as error:
        died = str(error)  # the run is judged all the same, as one that says nothing about the sensors
        return
    bench.truths += ended.truths
    bench.host["sender_lateness_us"] = ended.lateness_us


def _add(bench: Bench, entry: SensorEntry, port: str | None, address: str | None) -> None:
    sensor = load_sensor(entry.sensor)
    settings = make_settings(sensor, entry.settings)
    options: dict[str, Any] = {"reconnect": entry.reconnect}
    if bench.mode is Mode.SIMULATED and sensor.LINK in ("brainflow", "lsl") and port:
        _add_rows(bench, entry, sensor.host(settings), port)
        return
    if sensor.LINK == "serial":
        options["reader"] = entry.reader
        options |= line_options(settings)
        if entry.baud:
            options["baud"] = entry.baud
    link = make_link(sensor, port=port, address=address, clock=bench.clock, settings=settings, **options)
    host = sensor.host(settings)
    bench.drivers[entry.role] = _driver(bench, entry, host, link)


def _driver(bench: Bench, entry: SensorEntry, host: Host, link: Link) -> Driver:
    return Driver(host, link, name=entry.sensor, key=entry.role, inbox=bench.inbox, mains_hz=bench.mains_hz)


def _add_rows(bench: Bench, entry: SensorEntry, host: Host, port: str) -> None:
    """What a library would read has no wire of its own: its simulated rows come over a pty, as any bytes do."""
    link = SerialLink(port, bench.clock, baud=_PTY_BAUD, reader=entry.reader, reconnect=entry.reconnect)
    bench.drivers[entry.role] = _driver(bench, entry, host, link)
