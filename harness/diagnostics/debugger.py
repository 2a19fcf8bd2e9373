"""``hil run --pdb``: stop at what went wrong, with the run at hand. The standard library's debugger, nothing else."""

from __future__ import annotations

import builtins
import pdb
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from harness.commands import UsageError
from harness.recording import Recording
from harness.rig import Rig
from harness.run import Result
from harness.verdict import Outcome, Verdict

_NONE = object()


def need_terminal() -> None:
    """UsageError where nobody could type."""
    if not sys.stdin.isatty():
        raise UsageError(
            "--pdb: expected a terminal on standard input, for its prompt, and found none: leave it out in CI"
        )


def stop_at(result: Result) -> None:
    """A prompt if any verdict is FAIL or INVALID: where the harness or the model raised, else beside the verdicts."""
    if not any(verdict.outcome in (Outcome.FAIL, Outcome.INVALID) for verdict in result.verdicts):
        return
    names = {
        "recording": result.recording, "verdicts": result.verdicts, "report": result.report,
        "rig": result.recording.rig,
    }  # fmt: skip
    error = result.error
    if error is not None:
        post_mortem(error, names)
        return
    sys.stderr.write(f"--pdb: {', '.join(names)} are at hand; q ends\n")
    _beside_verdicts(result.recording, result.verdicts, result.report, result.recording.rig)


def post_mortem(error: BaseException, names: Mapping[str, Any]) -> None:
    """A prompt in the innermost frame of what was raised first; ``names`` are in scope in every frame."""
    while error.__cause__ is not None and error.__cause__.__traceback__ is not None:
        error = error.__cause__
    at_hand = f"; {', '.join(names)} are at hand" if names else ""
    sys.stderr.write(f"--pdb: {type(error).__name__}: {error}{at_hand}; up and down move, q ends\n")
    with _in_scope(names):
        _prompt(None, error.__traceback__)


def _beside_verdicts(recording: Recording, verdicts: Sequence[Verdict], report: dict[str, Any], rig: Rig) -> None:
    _prompt(sys._getframe(), None)


def _prompt(frame: Any, trace: TracebackType | None) -> None:
    debugger = pdb.Pdb()
    debugger.reset()
    debugger.interaction(frame, trace)


@contextmanager
def _in_scope(names: Mapping[str, Any]) -> Iterator[None]:
    """As builtins, which every frame sees and may hide, until the prompt ends."""
    before = {name: getattr(builtins, name, _NONE) for name in names}
    for name, value in names.items():
        setattr(builtins, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is _NONE:
                delattr(builtins, name)
            else:
                setattr(builtins, name, value)
