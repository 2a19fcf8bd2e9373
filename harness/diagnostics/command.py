"""``hil why`` and ``hil shell``: arguments, and what the first of them does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from harness.commands import UsageError
from harness.diagnostics.diagnosis import Diagnosis, plain

_WHY = """Says what is likely to have gone wrong, what shows it, and what to do next: of a recorded run, of a report,
or of an error text.

  hil why runs/demo-20260101T120000000000Z               a run that was recorded
  hil why report.json                                    a report, also one of `hil model check --json`
  hil why --text "mat1 and mat2 shapes cannot be multiplied (1x10 and 20x5)"
  hil why --log debug.log                                a log or a traceback; - for standard input
  python train.py 2>&1 | hil why --log -"""
_CODES = """exit codes:
  0    a cause was found, or there is nothing to explain
  1    nothing is known about what went wrong
  2    usage error, or no such file"""

_SHELL = """Connects a rig's sensors and opens a Python prompt (IPython where it is installed) with these names:
rig, sensors, clock, recording, judge, score, np. Everything is closed at the end.

  hil shell rigs/demo.rig.yaml --virtual
  hil shell rigs/bench.rig.yaml --bench
  hil shell --recording runs/demo-20260101T120000000000Z
  hil shell rigs/demo.rig.yaml --virtual -c "print(sensors['chest'].read_data().quality_metrics)" """
_SHELL_CODES = """exit codes:
  0    the prompt or the code ended
  1    the code of -c raised, or what it gave to exit()
  2    usage or rig file error
  3    a sensor could not be connected"""


def add(some: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``hil why`` and ``hil shell`` with their options."""
    why = some.add_parser("why", help="say what is likely to have gone wrong in a run, a log or an error text")
    why.formatter_class = argparse.RawDescriptionHelpFormatter
    why.description, why.epilog = _WHY, _CODES
    what = why.add_mutually_exclusive_group(required=True)
    what.add_argument("run", nargs="?", type=Path, metavar="RUN", help="folder that a run left, or a report.json")
    what.add_argument("--text", metavar="TEXT", help="an error message")
    what.add_argument("--log", metavar="FILE", help="a log or a traceback, - for standard input")
    why.add_argument("--json", type=Path, metavar="FILE", help="write the diagnoses as JSON, - for standard output")
    why.add_argument("--quiet", action="store_true", help="print nothing: only the exit code")
    why.set_defaults(call=why_call)
    shell = some.add_parser("shell", help="a Python prompt with connected sensors and a recording at hand")
    shell.formatter_class = argparse.RawDescriptionHelpFormatter
    shell.description, shell.epilog = _SHELL, _SHELL_CODES
    shell.add_argument("rig", nargs="?", type=Path, metavar="RIG", help="connect the sensors of this rig")
    where = shell.add_mutually_exclusive_group()
    where.add_argument("--virtual", action="store_true", help="simulated, in virtual time: it passes while you read")
    where.add_argument("--simulate", action="store_true", help="simulated, in real time")
    where.add_argument("--bench", action="store_true", help="the real ports even if the rig says simulate")
    shell.add_argument("--recording", type=Path, metavar="RUN", help="load the folder that a run left")
    shell.add_argument("-c", dest="code", metavar="CODE", help="run this code instead of a prompt, and exit")
    shell.add_argument("--plain", action="store_true", help="Python's own prompt even where IPython is installed")
    shell.set_defaults(call=shell_call)


def why_call(given: argparse.Namespace, err: Console) -> int:
    """hil why"""
    from harness.diagnostics.showing import show_diagnoses
    from harness.report.hand_out import shown_on, write_json

    found, all_is_well = _of_text(given) if given.run is None else _of_run(given.run)
    write_json(given, {"diagnosis": plain(found)})
    out = shown_on(given, err)
    if not given.quiet:
        show_diagnoses(out, found)
        if not found:
            out.print("nothing needs explaining: every verdict is PASS" if all_is_well else _unknown(given))
    return 0 if found or all_is_well else 1


def _unknown(given: argparse.Namespace) -> str:
    where = "the reasons of its verdicts (hil judge) say what was found" if given.run else "search for its exact text"
    return f"no rule knows what went wrong here; {where}"


def _of_text(given: argparse.Namespace) -> tuple[list[Diagnosis], bool]:
    from harness.diagnostics.texts import LONGEST, diagnose_text

    if given.log is None:
        return diagnose_text(given.text), False
    if given.log == "-":
        return diagnose_text(sys.stdin.read()), False
    path = Path(given.log)
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LONGEST))
        return diagnose_text(file.read().decode(errors="replace")), False


def _of_run(path: Path) -> tuple[list[Diagnosis], bool]:
    """Diagnoses, and whether nothing had gone wrong."""
    from harness.diagnostics.runs import diagnose, diagnose_report
    from harness.judge import judge
    from harness.recording_files import load_recording
    from harness.verdict import Outcome

    if path.is_file():
        try:
            return diagnose_report(path)
        except ValueError as error:
            raise UsageError(str(error)) from error
    if not path.is_dir():
        raise UsageError(f"{path}: expected the folder of a run or a report.json, and there is nothing of that name")
    recording = load_recording(path)
    verdicts = judge(recording)
    return diagnose(recording, verdicts), all(verdict.outcome is Outcome.PASS for verdict in verdicts)


def shell_call(given: argparse.Namespace, err: Console) -> int:
    """hil shell"""
    from harness.diagnostics.shell import shell

    return shell(given, err)
