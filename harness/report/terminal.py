"""What a person reads at the end of a run, and while it lasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from harness.session import Progress as Step
from harness.verdict import Outcome, Verdict

_COLOUR = {
    Outcome.PASS: "green",
    Outcome.FAIL: "bold red",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.INVALID: "bold magenta",
    Outcome.NOT_RUN: "cyan",
}


_WIDE = 150
"""From so many columns on, the reasons fit beside the numbers."""


def show_report(console: Console, report: dict[str, Any], verdicts: Sequence[Verdict]) -> None:
    """Verdict table, reasons, latency steps, and the exit code with its meaning in the last line."""
    if not console.is_terminal:
        console.width = max(console.width, 170)  # a log has no edge
    wide = console.width >= _WIDE
    table = Table(title=f"{escape(report['rig']['name'])}: verdicts", title_justify="left", expand=False)
    for heading in ("outcome", "check", "subject", "value", "interval", "limit", "n"):
        table.add_column(heading, no_wrap=heading != "subject", justify="right" if heading == "n" else "left")
    if wide:
        table.add_column("why", overflow="fold")
    for verdict in verdicts:
        table.add_row(*(_row(verdict) if wide else _row(verdict)[:-1]))
    console.print(table)
    for verdict in verdicts:
        if not wide and verdict.outcome is not Outcome.PASS:
            colour = _COLOUR[verdict.outcome]
            head = f"[{colour}]{verdict.outcome}[/{colour}] {escape(verdict.check)} {escape(verdict.subject)}"
            console.print(f"{head}: {escape(verdict.reason)}", highlight=False)
    _show_steps(console, report)
    code, meaning = report["outcome"]["exit_code"], report["outcome"]["meaning"]
    counts = ", ".join(f"{n} {o}" for o in Outcome if (n := sum(v.outcome is o for v in verdicts)))
    colour = "green" if code == 0 else "bold red"
    console.print(f"[{colour}]{counts or 'no verdict'}: exit {code}, {meaning}[/{colour}]")


def _row(verdict: Verdict) -> tuple[str, ...]:
    colour = _COLOUR[verdict.outcome]
    return (
        f"[{colour}]{verdict.outcome}[/{colour}]",
        escape(verdict.check),
        escape(verdict.subject),
        _number(verdict.value, verdict.unit),
        _interval(verdict),
        _number(verdict.limit, verdict.unit),
        str(verdict.n),
        escape(verdict.reason),
    )


def _number(value: float | None, unit: str) -> str:
    return "" if value is None else escape(f"{value:.4g} {unit}".strip())


def _interval(verdict: Verdict) -> str:
    if verdict.low is None and verdict.high is None:
        return ""
    low = "" if verdict.low is None else f"{verdict.low:.4g}"
    high = "" if verdict.high is None else f"{verdict.high:.4g}"
    return f"{low} .. {high}"


def _show_steps(console: Console, report: dict[str, Any]) -> None:
    rows = report["latency_steps"]
    if not rows:
        return
    console.print("where the time went, from a window's due time to its verdict:", highlight=False)
    table = Table()
    for heading in ("step", "p50 ms", "p99 ms", "max ms"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    for row in rows:
        table.add_row(row["step"], *(f"{row[key]:.2f}" for key in ("p50_ms", "p99_ms", "max_ms")))
    console.print(table)


class ProgressBar:
    """Shows a run's progress on stderr: a bar on a terminal, a line every five seconds elsewhere."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self._console, self._quiet, self._said = console, quiet, -5.0
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        if console.is_terminal and not quiet:
            columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[detail]}")
            self._bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
            self._task = self._bar.add_task("streaming", total=1.0, detail="")
            self._bar.start()

    def __call__(self, step: Step) -> None:
        """Show one step."""
        connecting = step.trouble if step.trouble.startswith("connecting") else ""
        text = connecting or (
            f"{step.elapsed_s:5.1f} of {step.total_s:g} s, {step.samples} samples, {step.windows} windows, "
            f"slowest {step.worst_ms:.1f} ms" + (f", {step.trouble}" if step.trouble else "")
        )
        if self._bar is not None and self._task is not None:
            done = min(1.0, step.elapsed_s / step.total_s)
            self._bar.update(self._task, completed=done, detail=escape(text))
        elif not self._quiet and step.elapsed_s - self._said >= 5.0:
            self._said = step.elapsed_s
            self._console.print(escape(text), highlight=False)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
