"""The command ``hil``: arguments and exit codes. The commands themselves are in harness.commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from drivers.errors import LinkError, SensorError
from harness import commands
from harness.api import client_command as api_client
from harness.api import command as api_serve
from harness.diagnostics import command as diagnosis_command
from harness.doctor import command as doctor_command
from harness.model.check import command as model_check
from harness.model.errors import ModelError
from harness.monitor import health_command, log_command
from harness.monitor.observing import add_log_options
from harness.probe import EXIT_MEANING as PROBE_MEANING
from harness.recording_files import RecordingError
from harness.rig_file import RigError
from harness.scorecard.verdict import MEANING as SCORECARD_MEANING
from harness.verdict import EXIT_MEANING
from harness.versions import package_version
from harness.xdf_read import XdfError

_CODES = "exit codes:\n" + "\n".join(f"  {code:<4} {meaning}" for code, meaning in EXIT_MEANING.items())
_UNREAD = 141
"""As a shell says it of a program whose output was closed."""
_PLAIN_CODES = "exit codes:\n  0    it was printed\n  2    usage error"
_SIMULATE_CODES = "exit codes:\n  0    ended by Ctrl-C or SIGTERM\n  2    usage error\n  3    the transport failed"
_PROBE_CODES = "exit codes:\n" + "\n".join(f"  {code:<4} {meaning}" for code, meaning in PROBE_MEANING.items())
_USER = (RigError, commands.UsageError, RecordingError, XdfError)
"""Errors whose text says it all."""
_PLACE = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code says how it ended."""
    given = build_parser().parse_args(argv)
    err = Console(stderr=True, emoji=False)
    try:
        return int(given.call(given, err))
    except KeyboardInterrupt:
        err.print("interrupted")
        return 130
    except BrokenPipeError:  # who read our output wants no more of it, such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _UNREAD if hasattr(given, "junit") else 0  # nobody may take verdicts that were not read for PASS
    except (*_USER, SensorError, ModelError, OSError) as error:
        label = "" if isinstance(error, _USER) else f"{type(error).__name__}: "
        err.print(f"{label}{error}", style="red", markup=False, highlight=False, soft_wrap=True)
        if not isinstance(error, _USER):
            _advise(err, error)
        return exit_code_of(error)
    except Exception as error:  # noqa: BLE001  Python's own exit status for a defect is 1: it reads as a sensor's failure
        err.print_exception()
        _advise(err, error)
        return 3


def _advise(err: Console, error: Exception) -> None:
    """One line with likely cause and next step, where they are known and the error does not say as much itself."""
    from harness.diagnostics.texts import hint

    said = hint(f"{type(error).__name__}: {error}")
    if said:
        err.print(said, style="yellow", markup=False, highlight=False, soft_wrap=True)


def exit_code_of(error: Exception) -> int:
    """2 where the command line or a file is at fault, 3 where the bench or this machine is."""
    broken = isinstance(error, LinkError) or (isinstance(error, OSError) and not isinstance(error, _PLACE))
    return 3 if broken else 2


def build_parser() -> argparse.ArgumentParser:
    """Every command with its help."""
    about = "Hardware-in-the-loop test harness for physiological sensors."
    begin = (
        "to begin, without any hardware:\n"
        "  hil run rigs/demo.rig.yaml --virtual    run a rig with simulated sensors in virtual time\n"
        "  hil list sensors                        what can be connected\n"
        "  hil discover                            what is plugged in here\n"
        "  hil COMMAND --help                      each command's options, with an example\n\n"
    )
    parser = _described(argparse.ArgumentParser(prog="hil"), about, begin + _CODES)
    parser.add_argument(
        "--version", action="version", version=f"hil {package_version(otherwise='(not installed as a package)')}"
    )
    some = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    every = (
        _add_run,
        _add_judge,
        _add_simulate,
        _add_probe,
        _add_scorecard,
        _add_list,
        _add_discover,
        _add_schema,
        doctor_command.add,
        model_check.add,
        api_serve.add,
        api_client.add,
        log_command.add,
        health_command.add,
        diagnosis_command.add,
    )
    for add in every:
        add(some)
    return parser


_Commands = argparse._SubParsersAction


def _described(parser: argparse.ArgumentParser, about: str, epilog: str = "") -> argparse.ArgumentParser:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = about, epilog
    return parser


def _add_outputs(parser: argparse.ArgumentParser, quiet: str) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON, - for standard output")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the report as JUnit XML")
    parser.add_argument("--quiet", action="store_true", help=quiet)


def _add_run(some: _Commands[argparse.ArgumentParser]) -> None:
    about = (
        "Streams a rig's sensors through the model, records everything and gives verdicts.\n\n"
        "  hil run rigs/demo.rig.yaml --virtual                  simulated, as fast as this machine can\n"
        "  hil run rigs/demo.rig.yaml --simulate                 simulated, in real time on real file descriptors\n"
        "  hil run rigs/bench.rig.yaml --bench --junit out.xml   the sensors on the bench"
    )
    run = _described(
        some.add_parser("run", help="run a rig: stream its sensors through the model and give verdicts"), about, _CODES
    )
    run.add_argument("rig", type=Path, help="rig file (YAML)")
    where = run.add_mutually_exclusive_group()
    where.add_argument("--simulate", action="store_true", help="simulate every sensor on its own link, in real time")
    where.add_argument("--virtual", action="store_true", help="simulate every sensor in virtual time")
    where.add_argument("--bench", action="store_true", help="use the real ports even if the rig says simulate")
    run.add_argument("--duration", type=float, metavar="S", help="seconds to run, instead of the rig's duration_s")
    run.add_argument("--seed", type=int, metavar="N", help="seed of the simulation, instead of the rig's")
    run.add_argument(
        "--monitor", action=argparse.BooleanOptionalAction,
        help="in real time: watch resources, what runs while a window is overdue, and keep a flight recorder (default: "
        "as the rig's `monitor:` says, and all of it if it says nothing); see docs/real-time.md",
    )  # fmt: skip
    folder = run.add_mutually_exclusive_group()
    folder.add_argument("--out", type=Path, metavar="DIR", help="folder for the recording (default runs/NAME-UTC)")
    folder.add_argument("--no-recording", action="store_true", help="keep everything in memory, write no folder")
    run.add_argument("--pdb", action="store_true", help="stop in Python's debugger where a verdict is FAIL or INVALID")
    add_log_options(run)
    _add_outputs(run, "no progress and no table: only the exit code, and errors")
    run.set_defaults(call=commands.run)


def _add_judge(some: _Commands[argparse.ArgumentParser]) -> None:
    about = (
        "Gives the verdicts of a recorded run again, by its own limits or by others.\n\n"
        "  hil judge runs/demo-20260101T120000000000Z\n"
        "  hil judge runs/demo-20260101T120000000000Z --limits rigs/strict.rig.yaml --json -"
    )
    judge = _described(some.add_parser("judge", help="judge a recording again, without any sensor"), about, _CODES)
    judge.add_argument("recording", type=Path, help="folder that a run left")
    judge.add_argument("--limits", type=Path, metavar="RIG", help="take the limits from this rig file instead")
    _add_outputs(judge, "no table: only the exit code, and errors")
    judge.set_defaults(call=commands.judge)


def _add_simulate(some: _Commands[argparse.ArgumentParser]) -> None:
    about = (
        "Serves one simulated sensor on a pseudo terminal, on TCP, on a private Bluetooth bus or through a Bluetooth\n"
        "controller of its own, prints where, and runs until Ctrl-C. Any program can connect.\n\n"
        "  hil simulate openbci-cyton --pty /tmp/cyton\n"
        "  hil simulate openbci-cyton --tcp 7000 --set 'streams={ecg: [1]}' --fault '{fault: dropout}'\n"
        "  hil simulate text-lines --rig rigs/demo.rig.yaml --role wrist --pty /tmp/wrist\n"
        "  hil simulate heart-rate --signal 'heart_rate={signal: recording, file: hr.csv}'\n"
        "  hil simulate heart-rate --transport usb:0 --snoop strap.btsnoop     a dongle: phones see it\n"
        "  hil simulate heart-rate --transport tcp-client:127.0.0.1:9001       a virtual controller of these:\n"
        "      python -m bumble.apps.controllers tcp-server:_:9001 tcp-server:_:9002"
    )
    simulate = _described(
        some.add_parser("simulate", help="serve a simulated sensor to any program"), about, _SIMULATE_CODES
    )
    simulate.add_argument("sensor", help="see `hil list sensors`")
    simulate.add_argument("--rig", type=Path, help="take settings and simulation from this rig's role of that sensor")
    simulate.add_argument("--role", help="which role of --rig, where it has several of that sensor")
    simulate.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the sensor")
    simulate.add_argument(
        "--signal", action="append", default=[], metavar="STREAM={...}",
        help="YAML: {signal: name, options}; see `hil list signals`",
    )  # fmt: skip
    simulate.add_argument(
        "--fault", action="append", default=[], metavar="{...}", help="YAML: {fault: name, keys}; see `hil list faults`"
    )
    simulate.add_argument("--ppm", type=float, default=0.0, help="device clock error, positive: too fast")
    simulate.add_argument("--seed", type=int, metavar="N", help="seed of every random draw (default 0, or the rig's)")
    where = simulate.add_mutually_exclusive_group()
    where.add_argument("--pty", metavar="PATH", help="symbolic link to make to the pseudo terminal")
    where.add_argument("--tcp", type=int, metavar="PORT", help="serve on 127.0.0.1:PORT (0: any free port)")
    where.add_argument(
        "--air", action="store_true", help="BLE: BlueZ on a private D-Bus, which needs no radio (what BLE sensors do)"
    )
    where.add_argument(
        "--transport", metavar="T", help="BLE: the controller, as bumble names it: usb:0, hci-socket:0, ... "
        "(needs `pip install 'spiral-hil[bumble]'`)",
    )  # fmt: skip
    simulate.add_argument("--snoop", metavar="FILE", help="with --transport: capture HCI packets for Wireshark")
    simulate.add_argument(
        "--radio", action="append", default=[], metavar="KEY=VALUE",
        help="with --transport: att_mtu, advertising_interval_ms, pairing (optional, required or refused)",
    )  # fmt: skip
    simulate.set_defaults(call=commands.simulate)


def _add_probe(some: _Commands[argparse.ArgumentParser]) -> None:
    about = (
        "Connects to one sensor, listens for some seconds, and judges four things, step by step:\n"
        "connect (is it there, how soon), acquire (does every stream come, at what rate, what is lost), format\n"
        "(are these its samples, what is malformed) and quality (score, flags, the parts that are lowest). Where one\n"
        "is wrong it says what is likely and what to try.\n\n"
        "  hil probe openbci-cyton --port /dev/ttyUSB0\n"
        "  hil probe heart-rate --address 'Polar H10' --seconds 20\n"
        "  hil probe openbci-cyton --simulate --set 'streams={ecg: [1]}' --json -\n"
        "  hil probe openbci-cyton --simulate --set 'streams={ecg: [1]}' --fault '{fault: lead_off}'\n\n"
        "A quality that takes longer to tell than --seconds is INCONCLUSIVE, which is said and changes no exit code."
    )
    probe = _described(
        some.add_parser("probe", help="connect to one sensor and say what it delivers"), about, _PROBE_CODES
    )
    probe.add_argument("sensor", help="see `hil list sensors`")
    where = probe.add_mutually_exclusive_group()
    where.add_argument("--port", help="serial device or pyserial URL")
    where.add_argument("--address", help="BLE address, advertised name or service UUID, or an LSL stream's name")
    where.add_argument("--simulate", action="store_true", help="a simulated sensor, in virtual time")
    probe.add_argument("--baud", type=int, metavar="RATE", help="line rate, if not the sensor's own")
    probe.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the sensor")
    probe.add_argument(
        "--fault", action="append", default=[], metavar="{...}",
        help="with --simulate, YAML: {fault: name, keys}; see `hil list faults`",
    )  # fmt: skip
    probe.add_argument("--seed", type=int, metavar="N", help="with --simulate: seed of every random draw (default 0)")
    probe.add_argument(
        "--seconds", type=float, metavar="S",
        help="how long to listen (default: what the slowest quality score of its streams takes, 5 to 14)",
    )  # fmt: skip
    _add_outputs(probe, "say nothing: only the exit code, and errors")
    probe.set_defaults(call=commands.probe)


def _add_scorecard(some: _Commands[argparse.ArgumentParser]) -> None:
    about = (
        "Says how good a rig's checks are: damages each simulated sensor with every fault at every level, many times\n"
        "in virtual time on all cores, and counts which checks notice, from which level on, how soon, and for what\n"
        "reason; beside that it runs the rig undamaged and counts false alarms.\n\n"
        "  hil scorecard --quick                                        does every check fire, and only when it must?\n"
        "  hil scorecard rigs/demo.rig.yaml --clean 1000 --delay 8      all of it (some 20 minutes on 2 cores)\n"
        "  hil scorecard my.rig.yaml --faults jitter,stall --roles chest --html card.html\n\n"
        "A few pilot runs at every level show which is the smallest that is always found; that level then has to be\n"
        "found in every one of --seeds further runs, of which 59 prove a power of 95 % (with 95 % confidence).\n"
        "Faults in the rig file are left out."
    )
    codes = "exit codes:\n" + "\n".join(f"  {code:<4} {meaning}" for code, meaning in SCORECARD_MEANING.items())
    card = _described(
        some.add_parser("scorecard", help="say how good the checks are: every fault, level and check, many seeds"),
        about, codes,
    )  # fmt: skip
    card.add_argument("rig", type=Path, nargs="?", help="rig file (default rigs/demo.rig.yaml)")
    card.add_argument("--quick", action="store_true", help="under a minute: the boldest levels, 3 seeds, 20 clean runs")
    card.add_argument("--seeds", type=int, metavar="N", help="runs that prove a level (default 59)")
    card.add_argument("--pilots", type=int, metavar="N", help="runs at every level, to choose the one (default 4)")
    card.add_argument("--clean", type=int, metavar="N", help="clean runs (default 300)")
    card.add_argument("--power", type=float, metavar="PERCENT", help="power that must be proven (default 95)")
    card.add_argument("--levels", choices=["all", "default", "ends"], help="all; each fault's defaults; first and last")
    card.add_argument("--faults", metavar="A,B", help="only these; see `hil list faults`")
    card.add_argument("--roles", metavar="A,B", help="damage only these sensors of the rig")
    card.add_argument("--checks", metavar="A,B", help="only these; see `hil list checks`")
    card.add_argument(
        "--duration", type=float, metavar="S", help="seconds of each run, instead of the rig's duration_s"
    )
    card.add_argument("--delay", type=int, metavar="N", help="with N seeds: how soon is each claimed level found")
    card.add_argument("--jobs", type=int, metavar="N", help="processes (default: one per core); changes no result")
    card.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON, - for standard output")
    card.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write tables for a document, - for standard output"
    )
    card.add_argument("--html", type=Path, metavar="FILE", help="write the heat maps as one page that needs no network")
    card.add_argument("--quiet", action="store_true", help="no progress and no table: only the exit code, and errors")
    card.set_defaults(call=commands.scorecard)


def _add_list(some: _Commands[argparse.ArgumentParser]) -> None:
    about = (
        "Lists what there is, with every key that may stand in a rig file, its default and its meaning.\n\n"
        "  hil list faults | less"
    )
    listing = _described(
        some.add_parser("list", help="list sensors, signals, faults or checks, with keys"), about, _PLAIN_CODES
    )
    listing.add_argument("what", choices=["sensors", "signals", "faults", "checks"])
    listing.set_defaults(call=commands.show_list)


def _add_discover(some: _Commands[argparse.ArgumentParser]) -> None:
    about = (
        "Finds serial ports and Bluetooth LE sensors and prints them as entries for a rig file.\n\n"
        "  hil discover >> rigs/my.rig.yaml"
    )
    codes = "exit codes:\n  0    something was found\n  5    nothing was found"
    discover = _described(some.add_parser("discover", help="find serial ports and BLE sensors"), about, codes)
    discover.add_argument("--seconds", type=float, default=5.0, metavar="S", help="how long to scan BLE (default 5)")
    discover.add_argument("--no-ble", action="store_true", help="serial ports only")
    discover.set_defaults(call=commands.discover)


def _add_schema(some: _Commands[argparse.ArgumentParser]) -> None:
    about = (
        "Prints the JSON Schema of rig files with the sensors, faults, signals and checks that are installed here.\n"
        "Editors complete and check rig files by it: begin them with\n"
        "  # yaml-language-server: $schema=rig.schema.json\n\n"
        "  hil schema > rigs/rig.schema.json"
    )
    schema = _described(
        some.add_parser("schema", help="print the JSON Schema of rig files, for editors"), about, _PLAIN_CODES
    )
    schema.set_defaults(call=commands.schema)
