"""``hil model check``: arguments, and from them to a report. torch is imported only when it runs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from harness.commands import UsageError
from harness.model.check.findings import Settings
from harness.model.check.sections import SECTIONS
from harness.verdict import EXIT_MEANING

if TYPE_CHECKING:
    from harness.model.check.subject import Subject
    from harness.rig import ModelEntry

_ABOUT = f"""Checks a model before any sensor is connected: any torch module, on windows of simulated people.

  hil model check                                              the reference network
  hil model check --factory my_package.models:create_model     what a function returns
  hil model check --file model.pt2 --no-compile --json -       an exported program
  hil model check --factory models:mlp --input-shape 10        forward takes one tensor (B, 10)
  hil model check --rig rigs/demo.rig.yaml --only shapes,speed --profile trace.json

Sections: {", ".join(SECTIONS)}.
What does not apply to a module (fusion, where nothing is fused) is named, and changes no exit code."""


def add(some: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``hil model`` with its command ``check``."""
    model = some.add_parser("model", help="check a model: shapes, fusion, missing inputs, gradients, speed")
    model.description = "What can be known about a model without sensors."
    inner = model.add_subparsers(title="commands", required=True, metavar="COMMAND")
    codes = "exit codes:\n" + "\n".join(f"  {code:<4} {meaning}" for code, meaning in EXIT_MEANING.items())
    check = inner.add_parser(
        "check", help="check a torch module and say what is wrong with it", description=_ABOUT, epilog=codes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    what = check.add_argument_group("what is checked (nothing: the reference network)")
    what.add_argument(
        "--rig", type=Path, metavar="RIG", help="the model of a rig, with the inputs that its sensors feed"
    )
    what.add_argument("--factory", metavar="PKG.MOD:FN", help="a function that returns a torch module")
    what.add_argument("--file", metavar="FILE", help="a torch.export (.pt2) or TorchScript file")
    what.add_argument("--input-shape", metavar="N,..", help="forward takes one tensor of this shape, without the batch")
    how = check.add_argument_group("how")
    how.add_argument("--only", metavar="A,B", help="only these sections")
    how.add_argument("--skip", metavar="A,B", help="all sections but these")
    how.add_argument("--batches", metavar="N,..", help="batch sizes for the shapes (default 1,4,8)")
    how.add_argument("--seed", type=int, default=0, metavar="N", help="seed of examples and of training (default 0)")
    how.add_argument(
        "--budget-ms", type=float, metavar="MS", help="p99 that a window may take (default 100, or the rig's)"
    )
    how.add_argument("--steps", type=int, default=150, metavar="N", help="steps of the training run (default 150)")
    how.add_argument("--lr", type=float, default=1e-3, metavar="RATE", help="its learning rate, Adam's (default 0.001)")
    how.add_argument("--gradient-limits", metavar="LOW,HIGH", help="norms of a parameter's gradient (default 1e-7,1e3)")
    how.add_argument("--no-compile", action="store_true", help="leave torch.compile out, which can take a minute")
    how.add_argument("--profile", type=Path, metavar="FILE", help="write torch.profiler's trace for ui.perfetto.dev")
    out = check.add_argument_group("reports")
    out.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON, - for standard output")
    out.add_argument("--junit", type=Path, metavar="FILE", help="write the report as JUnit XML")
    out.add_argument("--tables", action="store_true", help="show long tables too, a row for each layer")
    out.add_argument("--quiet", action="store_true", help="no progress and no table: only the exit code, and errors")
    check.set_defaults(call=model_check)


def model_check(given: argparse.Namespace, err: Console) -> int:
    """hil model check"""
    names = sections_of(given.only, given.skip)
    _folders_are_there(given, names)
    import torch

    from harness.model.check.aside import set_aside
    from harness.model.check.findings import Note
    from harness.model.check.report import document, show
    from harness.model.check.run import check, model_facts
    from harness.report.hand_out import shown_on, write_reports

    def told(name: str, number: int, total: int) -> None:
        if not given.quiet:
            err.print(f"{number + 1} of {total}: {name} ...", markup=False, highlight=False)

    with set_aside() as printed:
        subject, settings = subject_and_settings(given)
        found = check(subject, settings, names, told)
    if printed.lines:
        text = f"the model printed {printed.lines} lines during the check, and would at each window of a run"
        found.add(Note("all", text))
    host = {"torch": torch.__version__, "threads": settings.threads}
    report = document(model_facts(subject), host, settings, found.verdicts, found.notes, found.tables)
    if not given.quiet:  # first: a disk that is full must not take away what took minutes
        show(shown_on(given, err), report, found.verdicts, given.tables)
    write_reports(given, report, found.verdicts)
    return int(report["outcome"]["exit_code"])


def _folders_are_there(given: argparse.Namespace, names: Sequence[str]) -> None:
    """Said before anything runs, not after minutes."""
    for option, path in (("--json", given.json), ("--junit", given.junit), ("--profile", given.profile)):
        if path is not None and str(path) != "-" and not path.parent.is_dir():
            raise UsageError(f"{option}: there is no folder {str(path.parent)!r}")
        if path is not None and str(path) != "-" and path.is_dir():
            raise UsageError(f"{option}: {str(path)!r} is a folder; give the name of a file in it")
        if path is not None and str(path) != "-" and not os.access(path if path.exists() else path.parent, os.W_OK):
            raise UsageError(f"{option}: {str(path)!r} cannot be written: no permission")
    if given.profile is not None and "speed" not in names:
        raise UsageError("--profile: the section speed makes the trace, and it is left out")


def subject_and_settings(given: argparse.Namespace) -> tuple[Subject, Settings]:
    """What to check and how, from the command line and the rig; UsageError, RigError or ModelError."""
    from harness.model.check.subject import open_subject
    from harness.rig import ModelEntry

    if given.seed < 0:
        raise UsageError(f"--seed: expected 0 or more, found {given.seed}")
    if given.budget_ms is not None and not 0 < given.budget_ms < float("inf"):
        raise UsageError(f"--budget-ms: expected milliseconds above 0, found {given.budget_ms:g}")
    if given.rig is not None and (given.factory or given.file):
        raise UsageError("--rig brings a model of its own: give --rig, or --factory or --file")
    if given.steps < 20:
        raise UsageError(f"--steps: expected 20 or more, found {given.steps}; fewer say nothing about a loss")
    if not 0 < given.lr < float("inf"):
        raise UsageError(f"--lr: expected a learning rate above 0, found {given.lr:g}")
    vanishing, exploding = _norms(given.gradient_limits)
    entry = ModelEntry(factory=given.factory, file=given.file)
    wired: tuple[str, ...] = ()
    budget_ms = 100.0
    if given.rig is not None:
        entry, wired, budget_ms = _of_rig(given.rig)
    batches = _sizes("--batches", given.batches, (1, 4, 8))
    shape = _sizes("--input-shape", given.input_shape, ()) or None
    subject = open_subject(entry, shape=shape, only=wired, seed=given.seed)
    settings = Settings(
        seed=given.seed, batches=batches, budget_ms=given.budget_ms or budget_ms, compiled=not given.no_compile,
        engine=entry.engine, threads=entry.threads, trace=given.profile,
        steps=given.steps, rate=given.lr, vanishing=vanishing, exploding=exploding,
    )  # fmt: skip
    return subject, settings


def sections_of(only: str | None, skip: str | None) -> list[str]:
    """Names of the sections to run, in their order; UsageError for one that is none, or if none is left."""
    wanted, left_out = _names("--only", only), _names("--skip", skip)
    names = [name for name in SECTIONS if (not wanted or name in wanted) and name not in left_out]
    if not names:
        raise UsageError("--only and --skip leave no section to run")
    return names


def _of_rig(path: Path) -> tuple[ModelEntry, tuple[str, ...], float]:
    """A rig's model, the modalities that its streams feed, and its latency limit in ms."""
    from harness.bench import stream_specs
    from harness.model.load import load_model
    from harness.rig_file import read_rig
    from harness.stage import wire

    rig = read_rig(path)
    wires = wire(rig.model, load_model(rig.model).inputs, stream_specs(rig))
    limit = rig.limits.get("latency", {}).get("max_ms", 100.0)
    return rig.model, tuple(item.spec.modality for item in wires), float(limit)


def _names(option: str, text: str | None) -> set[str]:
    names = {part.strip() for part in (text or "").split(",") if part.strip()}
    unknown = sorted(names - set(SECTIONS))
    if unknown:
        raise UsageError(f"{option}: there is no section {', '.join(unknown)}; sections are {', '.join(SECTIONS)}")
    return names


def _sizes(option: str, text: str | None, default: tuple[int, ...]) -> tuple[int, ...]:
    if text is None:
        return default
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise UsageError(f"{option}: expected whole numbers above 0 with commas, such as 1,4,8; found {text!r}")
    return sizes


def _norms(text: str | None) -> tuple[float, float]:
    """--gradient-limits: the norms below and above which a gradient is wrong."""
    try:
        low, high = (float(part) for part in ("1e-7,1e3" if text is None else text).split(","))
    except ValueError:
        low, high = 0.0, 0.0
    if not 0 < low < high < float("inf"):
        raise UsageError(f"--gradient-limits: expected two norms, 0 < LOW < HIGH, such as 1e-7,1e3; found {text!r}")
    return low, high
