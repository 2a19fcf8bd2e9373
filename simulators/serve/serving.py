"""Simulated sensors that this process serves: built on one subject, each at its outlet, paced by one thread."""

from __future__ import annotations

import gc
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from drivers.clock import Clock, RealClock, to_ns
from drivers.codec import Gatt
from drivers.errors import SettingError
from drivers.registry import load_sensor, make_settings
from simulators.build import SimulatedSpec, build
from simulators.sensor import SimulatedSensor
from simulators.serve.outlet import Outlet
from simulators.serve.pacer import HostAction, Pacer, Served
from simulators.serve.pty import PtyOutlet
from simulators.serve.tcp import TcpOutlet
from simulators.subject import Subject, make_profile
from simulators.truth import Truth

if TYPE_CHECKING:
    from drivers.links.bumble_stack import Ether
    from simulators.serve.air import Air
    from simulators.serve.bumble_air import BumbleOutlet
    from simulators.serve.bus import PrivateBus

WAYS = ("pty", "tcp", "rfc2217", "air", "bumble")


@dataclass(frozen=True)
class ServedSpec:
    """A simulated sensor and how programs reach it."""

    spec: SimulatedSpec
    via: str = ""
    """One of WAYS; empty: ``air`` for a BLE sensor and ``pty`` for a serial one."""
    at: str = ""
    """The pty's path, the TCP port's number or the BLE address; empty: chosen, and the same again for the same seed
    where it is a BLE address."""
    radio: Mapping[str, Any] = field(default_factory=dict)
    """Where ``via`` is ``bumble``: simulators.serve.bumble_air.RadioSettings."""

    @property
    def role(self) -> str:
        """The spec's name, or the sensor's."""
        return self.spec.name or self.spec.sensor

    def way(self) -> str:
        """``via``, or what fits the sensor; SettingError for a way that the sensor cannot go."""
        link = load_sensor(self.spec.sensor).LINK
        fitting = WAYS[3:] if link == "ble" else WAYS[:3]
        if self.via and self.via not in fitting:
            raise SettingError(
                f"{self.role}: {self.spec.sensor} is a {link} sensor and is served by {' or '.join(fitting)}, "
                f"found {self.via!r}"
            )
        return self.via or fitting[0]


class Serving:
    """The sensors of ``specs``, at their places from the moment of construction on, silent until run().

    They boot now and world second 0 is ``lead_s`` later. ``places`` maps a role to {"port"}, {"address", "bus"}
    or {"address", "transport"}. Raises SettingError for a bad spec, and LinkError without dbus-daemon or bumble.
    ``ether`` is where bumble peripherals without a transport are heard; None: one of its own, if needed.
    """

    _bus: PrivateBus | None = None
    _air: Air | None = None

    def __init__(
        self,
        specs: Sequence[ServedSpec],
        *,
        seed: int = 0,
        subject: Mapping[str, Any] | None = None,
        lead_s: float = 0.0,
        tick: Callable[[int], None] | None = None,
        ether: Ether | None = None,
    ) -> None:
        self.clock: Clock = RealClock()
        self.places: dict[str, dict[str, str]] = {}
        self.served: list[Served] = []
        self.sensors: dict[str, SimulatedSensor] = {}
        self._bumble: dict[str, BumbleOutlet] = {}
        self._ether, self._is_own_ether = ether, ether is None
        self._specs, self._subject = specs, Subject(seed, make_profile(subject or {}))
        self._folder = Path(tempfile.mkdtemp(prefix="hil-ports-"))
        self.pacer = Pacer(self.served, self.clock, tick=tick)
        try:
            self._open(lead_s)
            if self._air is not None:
                self._air.start(self.pacer.submit)
        except BaseException:
            self.close()
            raise

    @property
    def bus_address(self) -> str:
        """For DBUS_SYSTEM_BUS_ADDRESS; empty if no sensor is on the air."""
        return self._bus.address if self._bus else ""

    def _open(self, lead_s: float) -> None:
        outlets = [self._outlet(spec) for spec in self._specs]
        boot_ns = self.clock.now_ns()
        self.start_ns = boot_ns + to_ns(lead_s)
        for spec, outlet in zip(self._specs, outlets, strict=True):
            if spec.role in self.sensors:
                raise SettingError(f"two simulated sensors are called {spec.role!r}: give each its own name")
            sensor = build(_on_its_radio(spec), self._subject, self.start_ns, boot_ns)
            served = Served(spec.role, sensor, outlet, boot_ns)
            outlet.open(served)
            self.served.append(served)
            self.sensors[spec.role] = sensor
            self.places[spec.role] = self._place(spec, outlet)

    def _place(self, spec: ServedSpec, outlet: Outlet) -> dict[str, str]:
        if spec.way() == "air":
            return {"address": outlet.place, "bus": self.bus_address}
        if spec.way() == "bumble":
            return {"address": outlet.place, "transport": spec.radio.get("transport", "")}
        return {"port": outlet.place}

    def _outlet(self, spec: ServedSpec) -> Outlet:
        way = spec.way()
        if way == "air":
            return self._on_air(spec)
        if way == "bumble":
            return self._on_bumble(spec)
        if way == "pty":
            return PtyOutlet(spec.at or self._folder / spec.role, self.clock)
        if spec.at and not spec.at.isdigit():
            raise SettingError(f"{spec.role}: a TCP port is a number, such as 7000, found {spec.at!r}")
        return TcpOutlet(int(spec.at or 0), self.clock, rfc2217=way == "rfc2217")

    def _on_air(self, spec: ServedSpec) -> Outlet:
        from simulators.serve.air import Air
        from simulators.serve.bus import PrivateBus
        from simulators.serve.peripheral import random_address

        gatt = _gatt(spec)
        if self._bus is None or self._air is None:
            self._bus = PrivateBus()
            self._air = Air(self._bus.address, self.clock)
        return self._air.outlet(gatt, spec.at or random_address(spec.spec.seed, spec.role))

    def _on_bumble(self, spec: ServedSpec) -> BumbleOutlet:
        from drivers.links.bumble_stack import Ether
        from simulators.serve.bumble_air import BumbleOutlet, radio_settings
        from simulators.serve.peripheral import random_address

        radio, gatt = radio_settings(spec.radio), _gatt(spec)
        self._ether = self._ether or Ether()
        address = spec.at or random_address(spec.spec.seed, spec.role)
        interval_ms = spec.spec.connection_interval_ms
        outlet = BumbleOutlet(self._ether, gatt, address, self.clock, self.pacer.submit, radio, interval_ms)
        self._bumble[spec.role] = outlet
        return outlet

    def run(self) -> None:
        """Stream in real time until pacer.stop()."""
        gc.collect()
        gc.freeze()  # a full collection of all that was built so far would be a pause of many milliseconds
        self.pacer.run()

    def truths(self) -> list[Truth]:
        """What the faults have done so far, over all sensors, by start."""
        return sorted((t for s in self.sensors.values() for t in s.truths), key=lambda truth: truth.start_ns)

    def journals(self) -> dict[str, list[HostAction]]:
        """What clients did, by role."""
        return {served.role: served.journal for served in self.served}

    def report(self) -> dict[str, dict[str, Any]]:
        """Sender lateness and byte counts, by role; with bumble also of the latest connection
        att_mtu and connection_interval_ms."""
        connections = {role: outlet.connection_report() for role, outlet in self._bumble.items()}
        return {served.role: served.report() | connections.get(served.role, {}) for served in self.served}

    def close(self) -> None:
        """Take everything away, after run() has returned; safe to call twice."""
        for served in self.served:
            served.outlet.close()
        if self._air is not None:
            self._air.stop()
            self._air = None
        if self._bus is not None:
            self._bus.close()
            self._bus = None
        if self._ether is not None and self._is_own_ether:
            self._ether.close()
        self.pacer.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _gatt(spec: ServedSpec) -> Gatt:
    module = load_sensor(spec.spec.sensor)
    gatt = module.device(make_settings(module, spec.spec.settings)).gatt
    if gatt is None:
        raise SettingError(f"{spec.spec.sensor} describes no GATT services, so it cannot be served on the air")
    return gatt


def _on_its_radio(spec: ServedSpec) -> SimulatedSpec:
    """A real controller has connection events of its own, so none are simulated before it."""
    return replace(spec.spec, connection_interval_ms=0.0) if spec.radio.get("transport") else spec.spec


def run_until_interrupted(
    specs: Sequence[ServedSpec],
    *,
    seed: int = 0,
    subject: Mapping[str, Any] | None = None,
    out: TextIO | None = None,
    err: TextIO | None = None,
    status_s: int = 10,
) -> Serving:
    """Serve in the foreground until Ctrl-C or SIGTERM.

    Where each sensor is goes to ``out`` at once, a line of throughput and lateness for each to ``err`` every
    ``status_s`` seconds. Returns the closed Serving with its truths and reports.
    """
    out, err = out or sys.stdout, err or sys.stderr
    seconds = 0

    def tick(now_ns: int) -> None:
        nonlocal seconds
        seconds += 1
        if seconds % status_s == 0:
            err.writelines(f"{line}\n" for line in status_lines(serving))
            err.flush()

    with Serving(specs, seed=seed, subject=subject, tick=tick) as serving:
        previous = signal.signal(signal.SIGTERM, lambda number, frame: serving.pacer.stop())
        try:
            out.writelines(f"{line}\n" for line in place_lines(serving))
            out.flush()
            serving.run()
        except KeyboardInterrupt:
            pass  # that is how it ends
        finally:
            signal.signal(signal.SIGTERM, previous)
    return serving


def place_lines(serving: Serving) -> list[str]:
    """How a client reaches each sensor, ready to be copied."""
    lines = []
    for role, place in serving.places.items():
        if "port" in place:
            lines.append(f"{role}: port: {place['port']}")
        elif "transport" in place:
            lines.append(f"{role}: transport: {place['transport'] or 'this process'} address: {place['address']}")
        else:
            lines.append(f"{role}: DBUS_SYSTEM_BUS_ADDRESS={place['bus']} address: {place['address']}")
    return lines


def _connection(report: Mapping[str, Any]) -> str:
    if "att_mtu" not in report:
        return ""
    return f"; MTU {report['att_mtu']}, connection interval {report['connection_interval_ms']:g} ms"


def status_lines(serving: Serving) -> list[str]:
    """What has been sent, and how punctually, for each sensor."""
    lines = []
    for role, report in serving.report().items():
        late = report["lateness"]
        lines.append(
            f"{role}: {late['n']} chunks, {report['sent_bytes']} bytes sent, {report['dropped_bytes']} dropped, "
            f"{report['unheard_bytes']} unheard; late by p50 {late['p50_us'] / 1000:.3f} ms, "
            f"p99 {late['p99_us'] / 1000:.3f} ms, max {late['max_us'] / 1000:.3f} ms{_connection(report)}"
        )
    return lines
