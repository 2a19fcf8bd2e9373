"""From a plain description to a simulated sensor, and to a Driver on one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from drivers.clock import VirtualClock, to_ns
from drivers.codec import Device
from drivers.driver import Driver
from drivers.errors import SettingError
from drivers.links.memory import MemoryLink
from drivers.registry import load_sensor, make_settings
from simulators.device_clock import DeviceClock
from simulators.draws import Draws
from simulators.faults import ByteFault, DeviceFault, Fault, FrameFault, LinkFault, SampleFault, SampleStage, Where
from simulators.faults.registry import make_fault
from simulators.line import ConnectionEvents, Line, SerialLine
from simulators.sensor import Channel, SimulatedSensor, StreamSource
from simulators.signals import Signal
from simulators.signals.registry import make_signal
from simulators.subject import Subject
from simulators.truth import Truth

_PULL_MS = 10.0
"""So often a link takes what a library has collected."""


@dataclass(frozen=True)
class SimulatedSpec:
    """A simulated sensor as plain data, as it stands in a rig file and travels to another process."""

    sensor: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    name: str = ""
    """Role in the rig; part of the key of every random draw."""
    clock: Mapping[str, Any] = field(default_factory=dict)
    """DeviceClock's offset_s, ppm, ppm_per_min."""
    signals: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Stream -> {"signal": name, **options}; a stream that is not listed gets its kind's signal."""
    faults: Sequence[Mapping[str, Any]] = ()
    """Each {"fault": name, **keys}."""
    usb_latency_ms: float = 0.0
    connection_interval_ms: float = 30.0


def build(
    spec: SimulatedSpec, subject: Subject | None = None, start_ns: int = 0, boot_ns: int | None = None
) -> SimulatedSensor:
    """The sensor, at world second 0 = start_ns on the host clock; SettingError names a bad key.

    It is switched on at boot_ns, by default then too. A rig boots its sensors a little before the run
    starts, so that fault times count from the run's start and leave the start-up exchange alone.
    """
    module = load_sensor(spec.sensor)
    settings = make_settings(module, spec.settings)
    device = module.device(settings)
    baud = int(getattr(settings, "baud", module.BAUD))
    name = spec.name or spec.sensor
    subject = subject or Subject(spec.seed)
    draws = Draws(spec.seed, name)
    truths: list[Truth] = []
    faults = [make_fault(given) for given in spec.faults]
    for fault in faults:
        fault.check_fits(spec.sensor, device.streams)
    where = [Where(name, start_ns, draws.child(*label), truths.append) for label in _labels(faults)]
    clock = DeviceClock(**spec.clock)
    slow: list[tuple[DeviceFault, Where]] = []
    resets: list[float] = []
    outages: list[tuple[float, float]] = []
    for fault, place in zip(faults, where, strict=True):
        if isinstance(fault, DeviceFault):
            clock = fault.warp(clock)
            resets += fault.counter_resets_s()
            slow.append((fault, place))
            truths += fault.truths(place)
        elif isinstance(fault, LinkFault):
            outages += fault.outages_s()
            truths += fault.truths(place)
    sources = _sources(spec, device, subject, draws, faults, where)
    channels = {uuid: _channel(spec, baud, faults, where, start_ns, uuid) for uuid in _channels(device)}
    return SimulatedSensor(
        name, device, sources, clock, channels,
        start_ns=start_ns, boot_ns=boot_ns, counter_resets_s=resets, outages_s=_joined(outages), truths=truths,
        start_delay_ns=lambda asked_ns: sum(_start_delay_ns(fault, place, asked_ns) for fault, place in slow),
    )  # fmt: skip


def _labels(faults: Sequence[Fault]) -> list[tuple[str, int]]:
    """Name and how many of that name came before, so that adding another fault changes no draw of this one."""
    names = [fault.NAME for fault in faults]
    return [(name, names[:n].count(name)) for n, name in enumerate(names)]


def _start_delay_ns(fault: DeviceFault, where: Where, asked_ns: int) -> int:
    """How much later than asked the device begins to sample; goes into the truth."""
    seconds = fault.start_delay_s((asked_ns - where.start_ns) / 1e9)
    delay_ns = to_ns(seconds)
    if delay_ns:
        where.log(fault.did(where, asked_ns, asked_ns + delay_ns, seconds=seconds))
    return delay_ns


def _joined(outages: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same time unplugged, as outages that neither overlap nor touch."""
    joined: list[tuple[float, float]] = []
    for down, up in sorted(outages):
        if joined and down <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(up, joined[-1][1]))
        else:
            joined.append((down, up))
    return joined


def _channels(device: Device) -> list[str]:
    if device.gatt is None:
        return [""]
    every = [c for service in device.gatt.services for c in service.characteristics]
    return [c.uuid for c in every if {"notify", "indicate"} & set(c.properties)]


def _channel(
    spec: SimulatedSpec, baud: int, faults: Sequence[Fault], where: Sequence[Where], start_ns: int, uuid: str
) -> Channel:
    line: Line
    if uuid:
        line = ConnectionEvents(spec.connection_interval_ms, start_ns)
    elif not baud:
        line = ConnectionEvents(_PULL_MS, start_ns)  # a library's rows: several leave together, as there
    else:
        line = SerialLine(baud, spec.usb_latency_ms, start_ns)
    here = [replace(w, draws=w.draws.child(uuid), channel=uuid) for w in where]
    pairs = list(zip(faults, here, strict=True))
    return Channel(
        [f.bind(w) for f, w in pairs if isinstance(f, FrameFault)],
        line,
        [f.bind(w) for f, w in pairs if isinstance(f, ByteFault)],
    )


def _sources(
    spec: SimulatedSpec,
    device: Device,
    subject: Subject,
    draws: Draws,
    faults: Sequence[Fault],
    where: Sequence[Where],
) -> list[StreamSource]:
    known = {stream.name for stream in device.streams}
    for wanted in [*spec.signals, *(f.stream for f in faults if isinstance(f, SampleFault) and f.stream)]:
        if wanted not in known:
            raise SettingError(f"{spec.sensor} has no stream {wanted!r}; it has {', '.join(sorted(known))}")
    sources = []
    for stream in device.streams:
        given = spec.signals.get(stream.name, {"signal": stream.kind})
        signal: Signal = make_signal(given, subject, stream, draws.child("signal", stream.name))
        stages: list[SampleStage] = []
        for fault, place in zip(faults, where, strict=True):
            if isinstance(fault, SampleFault) and _applies(fault, stream.name, stream.kind):
                child = place.draws.child(stream.name)
                stages.append(fault.bind(Where(place.sensor, place.start_ns, child, place.log, stream, signal.span)))
        sources.append(StreamSource(stream, signal, stages))
    return sources


def _applies(fault: SampleFault, stream: str, kind: str) -> bool:
    return fault.stream == stream if fault.stream else kind in fault.KINDS


def simulated(
    sensor: str,
    /,
    *,
    seed: int = 0,
    faults: Sequence[Mapping[str, Any]] = (),
    clock: VirtualClock | None = None,
    signals: Mapping[str, Mapping[str, Any]] | None = None,
    mains_hz: float | None = None,
    **settings: Any,
) -> Driver:
    """A Driver on a simulated sensor, in virtual time: ``simulated("openbci-cyton", seed=7)``.

    The same class as ``open_driver`` gives, on another link. Time passes only while you wait.
    """
    clock = clock or VirtualClock()
    spec = SimulatedSpec(sensor, settings, seed, signals=signals or {}, faults=faults)
    peer = build(spec, start_ns=clock.now_ns())
    module = load_sensor(sensor)
    host = module.host(make_settings(module, settings))
    return Driver(host, MemoryLink(peer, clock), name=sensor, mains_hz=mains_hz)
