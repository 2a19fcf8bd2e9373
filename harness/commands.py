"""What the commands of ``hil`` do."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console

from drivers.clock import RealClock
from drivers.driver import Driver
from drivers.links import make_link, settle
from drivers.registry import line_options, load_sensor, make_settings
from harness.bench import Mode
from harness.monitor.observing import log_entry, observing, said
from harness.report.hand_out import shown_on, write_out, write_reports
from harness.report.terminal import ProgressBar, show_report
from harness.rig import Rig, SensorEntry
from harness.rig_file import read_rig, simulated_spec
from harness.run import Result, conclude, run_rig
from simulators.build import SimulatedSpec, simulated

if TYPE_CHECKING:
    from drivers.discover import Found

_WIDEST = 110
"""Lines of text that are longer are hard to read."""


class UsageError(Exception):
    """The command line asks for something that cannot be."""


def run(given: argparse.Namespace, err: Console) -> int:
    """hil run"""
    if given.pdb:
        from harness.diagnostics.debugger import need_terminal

        need_terminal()
    rig = read_rig(given.rig)
    if given.duration is not None:
        _positive("--duration", given.duration)
        rig = replace(rig, duration_s=given.duration)
    if given.seed is not None:
        if given.seed < 0:
            raise UsageError(f"--seed: expected 0 or more, found {given.seed}")
        rig = replace(rig, seed=given.seed)
    if given.monitor is not None:
        on = given.monitor
        rig = replace(rig, monitor=replace(rig.monitor, resources=on, stacks=on, flight_recorder=on))
    mode = choose_mode(rig, given)
    directory = None if given.no_recording else given.out or _fresh_folder(rig)
    made = directory is not None and not directory.exists()
    if directory is not None:
        if not made and not (directory.is_dir() and not any(directory.iterdir())):
            raise UsageError(f"--out: {directory} is not an empty folder; a recording is never overwritten")
        directory.mkdir(parents=True, exist_ok=True)
    bar = ProgressBar(err, given.quiet or given.log_console)
    try:
        if given.log is not None and not given.log.absolute().parent.is_dir():
            raise UsageError(f"--log: there is no folder {given.log.parent}; make it first, or name one that is there")
        log = log_entry(rig.log, given, directory)
        with observing(rig, mode, log, given.log_console, said(given)) as watch:
            result = run_rig(rig, mode, directory, bar, observer=watch.observer)
            watch.ended(result)
    except Exception as error:
        if given.pdb:
            from harness.diagnostics.debugger import post_mortem

            bar.close()
            post_mortem(error, {"rig": rig})
        raise
    finally:
        bar.close()
        if directory is not None and made and not any(directory.iterdir()):
            directory.rmdir()  # the run never began
    if directory is not None and not given.quiet:
        err.print(f"recorded in {directory}", markup=False, highlight=False)
    if watch.path is not None and not given.quiet:
        err.print(f"logged in {watch.path}", markup=False, highlight=False)
    code = hand_over(result, given, err)
    if given.pdb:
        from harness.diagnostics.debugger import stop_at

        stop_at(result)
    return code


def choose_mode(rig: Rig, given: argparse.Namespace) -> Mode:
    """The command line decides, else the rig file."""
    if given.virtual:
        return Mode.VIRTUAL
    if given.simulate or (rig.simulate and not given.bench):
        return Mode.SIMULATED
    for entry in rig.sensors.values():
        if not (entry.port or entry.address or load_sensor(entry.sensor).LINK == "brainflow"):
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
    return hand_over(conclude(recording, None), given, err)


def hand_over(result: Result, given: argparse.Namespace, err: Console) -> int:
    """Write the reports that ``--json`` and ``--junit`` ask for, show the table unless ``--quiet``; the exit code."""
    write_reports(given, result.report, result.verdicts)
    if not given.quiet:
        show_report(shown_on(given, err), result.report, result.verdicts)
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
        why = getattr(error, "problem", None) or "it is none"
        raise UsageError(f"{option}: expected YAML, found {text!r}: {why}") from error


def simulate(given: argparse.Namespace, err: Console) -> int:
    """hil simulate"""
    from simulators.serve import ServedSpec, run_until_interrupted

    if not math.isfinite(given.ppm):
        raise UsageError(f"--ppm: expected a number, found {given.ppm:g}")
    rig = read_rig(given.rig) if given.rig is not None else None
    spec = simulated_sensor(given, rig)
    way, at = served_way(given)
    served = ServedSpec(spec, way, at, served_radio(given))
    run_until_interrupted([served], seed=spec.seed, subject=rig.subject if rig else {})
    return 0


def served_way(given: argparse.Namespace) -> tuple[str, str]:
    """What the command line says of where to serve: ServedSpec's ``via`` and ``at``."""
    if given.pty:
        return "pty", given.pty
    if given.tcp is not None:
        return "tcp", str(given.tcp)
    if given.transport:
        return "bumble", ""
    return ("air" if given.air else ""), ""


def served_radio(given: argparse.Namespace) -> dict[str, Any]:
    """ServedSpec's ``radio``; UsageError where nothing has one."""
    radio = plain_pairs(given.radio, "--radio")
    named = {"transport": given.transport, "snoop": given.snoop}
    if given.transport is None and (given.snoop or radio):
        raise UsageError("--snoop and --radio: they belong to --transport, such as --transport usb:0")
    return {**radio, **{key: value for key, value in named.items() if value}}


def simulated_sensor(given: argparse.Namespace, rig: Rig | None) -> SimulatedSpec:
    """What the command line asks for, on top of the rig's entry if there is a rig; UsageError or SettingError."""
    load_sensor(given.sensor)
    base = SimulatedSpec(given.sensor, seed=given.seed or 0)
    if rig is not None:
        base = simulated_spec(_entry(rig, given.sensor, given.role), rig.seed if given.seed is None else given.seed)
    elif given.role:
        raise UsageError("--role: it names a role of a rig, so give --rig too")
    signals = {**base.signals, **plain_pairs(given.signal, "--signal")}
    for stream, signal in signals.items():
        if not isinstance(signal, Mapping):
            raise UsageError(f"--signal: expected {stream}={{signal: name, ...}}, found {signal!r}")
    faults = [*base.faults, *_faults(given.fault)]
    clock = {**base.clock, "ppm": given.ppm} if given.ppm else base.clock
    settings = {**base.settings, **plain_pairs(given.set, "--set")}
    return replace(base, settings=settings, signals=signals, faults=faults, clock=clock)


def _entry(rig: Rig, sensor: str, role: str | None) -> SensorEntry:
    """The only role of the rig with that sensor, or the role that is named."""
    fitting = [entry for entry in rig.sensors.values() if entry.sensor == sensor and role in (None, entry.role)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        roles = ", ".join(entry.role for entry in fitting)
        raise UsageError(f"--rig: {rig.path} has several sensors of type {sensor!r}: choose with --role, from {roles}")
    there = ", ".join(f"{entry.role} ({entry.sensor})" for entry in rig.sensors.values())
    wanted = f"role {role!r} with a sensor" if role else "sensor"
    raise UsageError(f"--rig: {rig.path} has no {wanted} of type {sensor!r}; it has {there}")


def probe(given: argparse.Namespace, err: Console) -> int:
    """hil probe"""
    from harness.probe import default_seconds, probe, show_report

    if given.seconds is not None:
        _positive("--seconds", given.seconds)
    driver = _probed(given)
    seconds = default_seconds(driver) if given.seconds is None else given.seconds
    out = shown_on(given, err)
    if not given.quiet:
        text = f"connecting to {driver.name}: {driver.link.description} ..., then listening for {seconds:g} s"
        out.print(text, markup=False, highlight=False)
    report = probe(driver, seconds)
    write_reports(given, report.document(), report.verdicts)
    if not given.quiet:
        show_report(report, out)
    return report.exit_code


def _probed(given: argparse.Namespace) -> Driver:
    """The driver that the command line asks to probe; UsageError or SettingError."""
    settings = plain_pairs(given.set, "--set")
    sensor = load_sensor(given.sensor)
    made = make_settings(sensor, settings)
    if not (given.port or given.address or given.simulate or sensor.LINK == "brainflow"):
        where = "(--port PORT | --address ADDRESS | --simulate)"
        raise UsageError(f"say where the {sensor.NAME} is; usage: hil probe {sensor.NAME} {where}")
    if given.simulate:
        if given.baud is not None:
            raise UsageError("--baud: a simulated sensor has no line whose rate could be set")
        return simulated(given.sensor, seed=given.seed or 0, faults=_faults(given.fault), **settings)
    if given.fault or given.seed is not None:
        raise UsageError("--fault and --seed: they belong to --simulate")
    options = line_options(made) if sensor.LINK == "serial" else {}
    if sensor.LINK == "serial" and given.baud:
        options["baud"] = given.baud
    made, clock = settle(sensor, made, given.address), RealClock()
    link = make_link(sensor, port=given.port, address=given.address, clock=clock, settings=made, **options)
    return Driver(sensor.host(made), link, name=given.sensor)


def _faults(given: Sequence[str]) -> list[Mapping[str, Any]]:
    """Each a mapping in YAML; UsageError."""
    faults = [plain_yaml(text, "--fault") for text in given]
    for fault in faults:
        if not isinstance(fault, Mapping):
            raise UsageError(f"--fault: expected {{fault: name, ...}}, found {fault!r}")
    return faults


# --- scorecard --------------------------------------------------------------------------------


def scorecard(given: argparse.Namespace, err: Console) -> int:
    """hil scorecard"""
    from harness.scorecard.command import DEMO, scorecard

    for option, least in (("seeds", 1), ("pilots", 1), ("clean", 1), ("delay", 0), ("jobs", 1)):
        value = getattr(given, option)
        if value is not None and value < least:
            raise UsageError(f"--{option}: expected {least} or more, found {value}")
    if given.power is not None and not 0 < given.power < 100:
        raise UsageError(f"--power: expected per cent between 0 and 100, found {given.power:g}")
    if given.duration is not None:
        _positive("--duration", given.duration)
    if given.rig is None:
        given.rig = DEMO
    return scorecard(given, err)


# --- list, discover, schema -------------------------------------------------------------------


def show_list(given: argparse.Namespace, err: Console) -> int:
    """hil list"""
    from harness.listing import listing

    write_out(listing(given.what, min(Console(emoji=False).width, _WIDEST)) + "\n")
    return 0


def discover(given: argparse.Namespace, err: Console) -> int:
    """hil discover"""
    from drivers.discover import ble_candidates, serial_candidates

    _positive("--seconds", given.seconds)
    found = serial_candidates()
    if not given.no_ble:
        err.print(f"scanning for BLE advertisements for {given.seconds:g} s ...", highlight=False)
        try:
            found += ble_candidates(given.seconds, RealClock())
        except ConnectionError as error:
            err.print(f"no BLE scan: {error}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    return show_found(found, err)


def show_found(found: Sequence[Found], err: Console) -> int:
    """Entries for a rig file on standard output; 5 if there are none."""
    from drivers.discover import as_yaml

    if not found:
        err.print("no serial port and no BLE sensor was found: plug one in, switch it on, and look again")
        return 5
    write_out(as_yaml(found))
    advice = "paste what you need into a rig file; `hil probe SENSOR --port PORT` tries it first"
    err.print(advice, highlight=False, soft_wrap=True)
    return 0


def schema(given: argparse.Namespace, err: Console) -> int:
    """hil schema"""
    from harness.rig_schema import json_schema

    write_out(json.dumps(json_schema(), indent=1, sort_keys=True) + "\n")
    return 0


def _positive(option: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise UsageError(f"{option}: expected seconds above 0, found {value:g}")
