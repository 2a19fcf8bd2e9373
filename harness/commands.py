"""What the commands of ``hil`` do."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from drivers.clock import RealClock, to_ns
from drivers.registry import load_sensor, make_settings, open_driver, sensor_names
from harness.bench import Mode
from harness.checks.registry import check_names, load_check
from harness.report.document import to_json
from harness.report.junit import to_junit
from harness.report.terminal import ProgressBar, show_report
from harness.rig import Rig
from harness.rig_file import read_rig, simulated_spec
from harness.run import Result, conclude, run_rig
from simulators.build import SimulatedSpec, simulated
from simulators.faults.registry import fault_names, load_fault
from simulators.signals.registry import load_signal, signal_names


class UsageError(Exception):
    """The command line asks for something that cannot be."""


def run(given: argparse.Namespace, err: Console) -> int:
    """hil run"""
    rig = read_rig(given.rig)
    if given.duration is not None:
        if not given.duration > 0:
            raise UsageError(f"--duration: expected seconds above 0, found {given.duration:g}")
        rig = replace(rig, duration_s=given.duration)
    if given.seed is not None:
        if given.seed < 0:
            raise UsageError(f"--seed: expected 0 or more, found {given.seed}")
        rig = replace(rig, seed=given.seed)
    mode = choose_mode(rig, given)
    directory = None if given.no_recording else given.out or _fresh_folder(rig)
    if directory is not None:
        if directory.exists() and any(directory.iterdir()):
            raise UsageError(f"--out: {directory} is not empty; a recording is never overwritten")
        directory.mkdir(parents=True, exist_ok=True)
    bar = ProgressBar(err, given.quiet)
    try:
        result = run_rig(rig, mode, directory, bar)
    finally:
        bar.close()
    if directory is not None and not given.quiet:
        err.print(f"recorded in {directory}", markup=False, highlight=False)
    return _hand_over(result, given, err)


def choose_mode(rig: Rig, given: argparse.Namespace) -> Mode:
    """The command line decides, else the rig file."""
    if given.virtual:
        return Mode.VIRTUAL
    if given.simulate or (rig.simulate and not given.bench):
        return Mode.SIMULATED
    for entry in rig.sensors.values():
        if not (entry.port or entry.address):
            raise UsageError(
                f"{rig.path}: the role {entry.role!r} has neither port nor address, so it cannot run on a bench; "
                "add one (hil discover finds it), or use --simulate or --virtual"
            )
    return Mode.BENCH


def _fresh_folder(rig: Rig) -> Path:
    stamp = RealClock().utc().strftime("%Y%m%dT%H%M%S%fZ")
    return Path("runs") / f"{rig.name}-{stamp}"


def judge(given: argparse.Namespace, err: Console) -> int:
    """hil judge"""
    from harness.recording_files import load_recording

    recording = load_recording(given.recording)
    if given.limits is not None:
        limits = read_rig(given.limits).limits
        recording = replace(recording, rig=replace(recording.rig, limits=limits))
    return _hand_over(conclude(recording, None), given, err)


def _hand_over(result: Result, given: argparse.Namespace, err: Console) -> int:
    if given.json is not None:
        text = to_json(result.report)
        if str(given.json) == "-":
            Console().out(text, end="", highlight=False)
        else:
            given.json.write_text(text, encoding="utf-8")
    if given.junit is not None:
        given.junit.write_text(to_junit(result.report, result.verdicts), encoding="utf-8")
    if not given.quiet:
        show_report(err if str(given.json) == "-" else Console(), result.report, result.verdicts)
    return result.exit_code


# --- simulate, probe --------------------------------------------------------------------------


def plain_pairs(given: Sequence[str], option: str) -> dict[str, Any]:
    """KEY=VALUE pairs, each value in safe YAML; UsageError."""
    pairs: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"{option}: expected KEY=VALUE, found {text!r}")
        pairs[key] = plain_yaml(value, option)
    return pairs


def plain_yaml(text: str, option: str) -> Any:
    """One value in safe YAML; UsageError."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{option}: expected YAML, found {text!r} ({error})") from error


def simulate(given: argparse.Namespace, err: Console) -> int:
    """hil simulate"""
    from simulators.serve import ServedSpec, run_until_interrupted

    spec = _spec(given)
    way, at = ("pty", given.pty) if given.pty else ("tcp", str(given.tcp)) if given.tcp is not None else ("", "")
    subject = read_rig(given.rig).subject if given.rig is not None else {}
    run_until_interrupted([ServedSpec(spec, way, at)], seed=spec.seed, subject=subject)
    return 0


def _spec(given: argparse.Namespace) -> SimulatedSpec:
    load_sensor(given.sensor)
    base = SimulatedSpec(given.sensor, seed=given.seed)
    if given.rig is not None:
        rig = read_rig(given.rig)
        entry = next((e for e in rig.sensors.values() if e.sensor == given.sensor), None)
        if entry is None:
            raise UsageError(f"--rig: {given.rig} has no sensor of type {given.sensor!r}")
        base = simulated_spec(entry, given.seed or rig.seed)
    signals = {**base.signals, **plain_pairs(given.signal, "--signal")}
    faults = [*base.faults, *(plain_yaml(text, "--fault") for text in given.fault)]
    for fault in faults:
        if not isinstance(fault, Mapping):
            raise UsageError(f"--fault: expected {{fault: name, ...}}, found {fault!r}")
    clock = {**base.clock, "ppm": given.ppm} if given.ppm else base.clock
    settings = {**base.settings, **plain_pairs(given.set, "--set")}
    return replace(base, settings=settings, signals=signals, faults=faults, clock=clock)


def probe(given: argparse.Namespace, err: Console) -> int:
    """hil probe"""
    from harness.probe import probe_driver

    settings = plain_pairs(given.set, "--set")
    make_settings(load_sensor(given.sensor), settings)
    if given.simulate:
        driver = simulated(given.sensor, **settings)
    else:
        driver = open_driver(given.sensor, port=given.port, address=given.address, **settings)
    return probe_driver(driver, to_ns(given.seconds), Console())


# --- list, discover, schema -------------------------------------------------------------------


def _first_line(thing: Any) -> str:
    return (thing.__doc__ or "").strip().split("\n")[0]


def show_list(given: argparse.Namespace, err: Console) -> int:
    """hil list"""
    table = Table(show_lines=True)
    if given.what == "sensors":
        _sensor_rows(table)
    else:
        for heading in ("name", "what it is", "keys (default): meaning"):
            table.add_column(heading, overflow="fold")
        for name, text, keys in _KIND_ROWS[given.what]():
            table.add_row(name, text, keys)
    Console().print(table, markup=False)
    return 0


def _sensor_rows(table: Table) -> None:
    for heading in ("sensor", "link", "streams by default", "settings (default): meaning", "protocol facts from"):
        table.add_column(heading, overflow="fold")
    for name in sensor_names():
        sensor = load_sensor(name)
        table.add_row(
            f"{name}\n{_first_line(sensor)}", sensor.LINK, _streams(sensor), _keys(sensor.SETTINGS),
            "\n".join(sensor.SOURCES),
        )  # fmt: skip


def _streams(sensor: Any) -> str:
    needed = [f.name for f in fields(sensor.SETTINGS) if f.default is MISSING and f.default_factory is MISSING]
    if needed:
        return f"as declared in {', '.join(needed)}"
    streams = sensor.host(make_settings(sensor)).streams
    return "\n".join(f"{s.name}: {len(s.channels)} x {s.unit}, {_rate(s.rate_hz)}" for s in streams)


def _rate(rate_hz: float | None) -> str:
    return f"{rate_hz:g} Hz" if rate_hz else "events"


def _keys(kind: type[Any]) -> str:
    rows = []
    for field in fields(kind):
        default = "needed" if field.default is MISSING and field.default_factory is MISSING else field.default
        shown = "{}" if default is MISSING else default
        rows.append(f"{field.name} ({shown}): {field.metadata.get('help', '')}")
    return "\n".join(rows) or "none"


def _fault_rows() -> list[tuple[str, str, str]]:
    kinds = [load_fault(name) for name in fault_names()]
    return [(k.NAME, f"{_first_line(k)} Layer: {k.LAYER}.", _keys(k)) for k in kinds]


def _signal_rows() -> list[tuple[str, str, str]]:
    kinds = [(name, load_signal(name)) for name in signal_names()]
    return [(name, _first_line(module), _keys(module.OPTIONS)) for name, module in kinds]


def _check_rows() -> list[tuple[str, str, str]]:
    kinds = [(name, load_check(name)) for name in check_names()]
    return [(name, _first_line(module), _keys(module.LIMITS)) for name, module in kinds]


_KIND_ROWS = {"faults": _fault_rows, "signals": _signal_rows, "checks": _check_rows}


def discover(given: argparse.Namespace, err: Console) -> int:
    """hil discover"""
    from drivers.discover import as_yaml, ble_candidates, serial_candidates

    found = serial_candidates()
    if not given.no_ble:
        err.print(f"scanning for BLE advertisements for {given.seconds:g} s ...", highlight=False)
        try:
            found += ble_candidates(given.seconds, RealClock())
        except ConnectionError as error:
            err.print(f"no BLE scan: {error}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if not found:
        err.print("nothing found: plug a sensor in, switch it on, and look again")
        return 5
    Console().out(as_yaml(found), highlight=False)
    return 0


def schema(given: argparse.Namespace, err: Console) -> int:
    """hil schema"""
    from harness.rig_schema import json_schema

    Console().out(json.dumps(json_schema(), indent=1, sort_keys=True), highlight=False)
    return 0
