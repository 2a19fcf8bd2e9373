"""``hil doctor``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

_Commands = argparse._SubParsersAction


def add(some: _Commands[argparse.ArgumentParser]) -> None:
    """The command with its help."""
    about = (
        "Says what is true of this machine: serial ports, permissions and who has them open, latency timers,\n"
        "Bluetooth, BlueZ and D-Bus, clock source, time of day, cores, load, governor, memory, Python, packages,\n"
        "torch and CUDA, compiler, disk; and measures for a second how late it wakes up and stamps what arrives.\n"
        "What needs attention comes with one line to paste. It changes nothing, needs no root and no network.\n\n"
        "  hil doctor\n"
        "  hil doctor --quick                      without what takes longer: timing, torch, the disk's speed\n"
        "  hil doctor --rig rigs/bench.rig.yaml    also what this rig needs: ports, radio, packages, line rates\n"
        "  hil doctor --json - --quiet"
    )
    codes = (
        "exit codes:\n  0    nothing needs attention\n  1    something needs attention: each has a line to paste\n"
        "  2    usage or rig file error"
    )
    doctor = some.add_parser(
        "doctor", help="say what is true of this machine, with a fix for what needs one", description=about,
        epilog=codes, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    doctor.add_argument("--rig", type=Path, metavar="RIG", help="check also what this rig file needs")
    doctor.add_argument("--quick", action="store_true", help="leave out timing, torch and the disk's speed")
    doctor.add_argument("--json", type=Path, metavar="FILE", help="write the facts as JSON, - for standard output")
    doctor.add_argument("--junit", type=Path, metavar="FILE", help="write them as JUnit XML")
    doctor.add_argument("--quiet", action="store_true", help="no lines: only the exit code, and errors")
    doctor.set_defaults(call=doctor_command)


def doctor_command(given: argparse.Namespace, err: Console) -> int:
    """hil doctor"""
    from harness.doctor.examine import document, examine, exit_code, show, verdicts
    from harness.doctor.machine import this_machine
    from harness.report.hand_out import shown_on, write_reports
    from harness.rig_file import read_rig

    rig = read_rig(given.rig) if given.rig is not None else None
    facts = examine(this_machine(), rig, given.quick)
    report = document(facts, rig.name if rig else "machine")
    write_reports(given, report, verdicts(facts))
    if not given.quiet:
        show(facts, shown_on(given, err))
    return exit_code(facts)
