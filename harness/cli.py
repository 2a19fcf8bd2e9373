"""The command ``hil``: arguments and exit codes. The commands themselves are in harness.commands."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from drivers.errors import LinkError, SensorError, UnknownSensor
from harness import commands
from harness.model.errors import ModelError
from harness.rig_file import RigError
from harness.verdict import EXIT_MEANING

_EPILOG = "exit codes: " + "; ".join(f"{code}: {meaning}" for code, meaning in EXIT_MEANING.items())


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code says how it ended."""
    given = build_parser().parse_args(argv)
    err = Console(stderr=True)
    try:
        return int(given.call(given, err))
    except KeyboardInterrupt:
        err.print("interrupted")
        return 130
    except (RigError, SensorError, ModelError, commands.UsageError, OSError) as error:
        label = "" if isinstance(error, RigError | commands.UsageError) else f"{type(error).__name__}: "
        err.print(f"{label}{error}", style="red", markup=False, highlight=False, soft_wrap=True)
        broken = isinstance(error, LinkError | OSError) and not isinstance(error, UnknownSensor | FileNotFoundError)
        return 3 if broken else 2
    except Exception:  # noqa: BLE001  Python's own exit status for a defect is 1, which would read as a sensor's failure
        err.print_exception()
        return 3


def build_parser() -> argparse.ArgumentParser:
    """Every command with its help."""
    parser = argparse.ArgumentParser(
        prog="hil", description="Hardware-in-the-loop test harness for physiological sensors.", epilog=_EPILOG
    )
    some = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(some)
    _add_judge(some)
    _add_simulate(some)
    _add_probe(some)
    _add_list(some)
    _add_discover(some)
    schema = some.add_parser("schema", help="print the JSON Schema of rig files, for editors")
    schema.set_defaults(call=commands.schema)
    return parser


_Commands = argparse._SubParsersAction


def _add_run(some: _Commands[argparse.ArgumentParser]) -> None:
    run = some.add_parser(
        "run",
        help="run a rig: stream its sensors through the model and give verdicts",
        description="Streams a rig's sensors through the model, records everything and gives verdicts. "
        "Example: hil run rigs/demo.rig.yaml --virtual",
        epilog=_EPILOG,
    )
    run.add_argument("rig", type=Path, help="rig file (YAML)")
    where = run.add_mutually_exclusive_group()
    where.add_argument("--simulate", action="store_true", help="simulate every sensor on its own link, in real time")
    where.add_argument("--virtual", action="store_true", help="simulate every sensor in virtual time")
    where.add_argument("--bench", action="store_true", help="use the real ports even if the rig says simulate")
    run.add_argument("--duration", type=float, metavar="S", help="seconds to run, instead of the rig's duration_s")
    run.add_argument("--seed", type=int, help="seed of the simulation, instead of the rig's")
    run.add_argument("--out", type=Path, metavar="DIR", help="folder for the recording (default runs/NAME-UTC)")
    run.add_argument("--no-recording", action="store_true", help="keep everything in memory, write no folder")
    run.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON, - for standard output")
    run.add_argument("--junit", type=Path, metavar="FILE", help="write the report as JUnit XML")
    run.add_argument("--quiet", action="store_true", help="no progress and no table")
    run.set_defaults(call=commands.run)


def _add_judge(some: _Commands[argparse.ArgumentParser]) -> None:
    judge = some.add_parser(
        "judge", help="judge a recording again", description="Gives the verdicts of a recorded run.", epilog=_EPILOG
    )
    judge.add_argument("recording", type=Path, help="folder that a run left")
    judge.add_argument("--limits", type=Path, metavar="RIG", help="take the limits from this rig file instead")
    judge.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON, - for standard output")
    judge.add_argument("--junit", type=Path, metavar="FILE", help="write the report as JUnit XML")
    judge.add_argument("--quiet", action="store_true", help="no table")
    judge.set_defaults(call=commands.judge)


def _add_simulate(some: _Commands[argparse.ArgumentParser]) -> None:
    simulate = some.add_parser(
        "simulate",
        help="serve a simulated sensor to any program",
        description="Serves one simulated sensor on a pseudo terminal, on TCP or on a private Bluetooth bus, prints "
        "where, and runs until Ctrl-C. Example: hil simulate openbci-cyton --pty /tmp/cyton",
    )
    simulate.add_argument("sensor", help="see `hil list sensors`")
    simulate.add_argument("--rig", type=Path, help="take settings and simulation from this rig's role of that sensor")
    simulate.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the sensor")
    simulate.add_argument(
        "--signal", action="append", default=[], metavar="STREAM={...}", help="YAML: {signal: name, options}"
    )
    simulate.add_argument("--fault", action="append", default=[], metavar="{...}", help="YAML: {fault: name, keys}")
    simulate.add_argument("--ppm", type=float, default=0.0, help="device clock error, positive: too fast")
    simulate.add_argument("--seed", type=int, default=0)
    where = simulate.add_mutually_exclusive_group()
    where.add_argument("--pty", metavar="PATH", help="symbolic link to make to the pseudo terminal")
    where.add_argument("--tcp", type=int, metavar="PORT", help="serve on 127.0.0.1:PORT (0: any free port)")
    simulate.set_defaults(call=commands.simulate)


def _add_probe(some: _Commands[argparse.ArgumentParser]) -> None:
    probe = some.add_parser(
        "probe",
        help="connect to one sensor and say what it delivers",
        description="Connects, acquires for a few seconds, and shows streams, rates, loss and quality. "
        "Example: hil probe heart-rate --address 'Polar H10'",
        epilog=_EPILOG,
    )
    probe.add_argument("sensor", help="see `hil list sensors`")
    where = probe.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", help="serial device or pyserial URL")
    where.add_argument("--address", help="BLE address, advertised name or service UUID")
    where.add_argument("--simulate", action="store_true", help="a simulated sensor, in virtual time")
    probe.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the sensor")
    probe.add_argument("--seconds", type=float, default=5.0, help="how long to acquire")
    probe.set_defaults(call=commands.probe)


def _add_list(some: _Commands[argparse.ArgumentParser]) -> None:
    listing = some.add_parser("list", help="list what there is: sensors, signals, faults or checks, with their keys")
    listing.add_argument("what", choices=["sensors", "signals", "faults", "checks"])
    listing.set_defaults(call=commands.show_list)


def _add_discover(some: _Commands[argparse.ArgumentParser]) -> None:
    discover = some.add_parser(
        "discover", help="find serial ports and BLE sensors, printed as lines to paste into a rig file"
    )
    discover.add_argument("--seconds", type=float, default=5.0, help="how long to scan for BLE advertisements")
    discover.add_argument("--no-ble", action="store_true", help="serial ports only")
    discover.set_defaults(call=commands.discover)
