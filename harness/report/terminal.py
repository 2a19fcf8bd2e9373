"""What a person reads at the end of a run, and while it lasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column, Table

from harness.diagnostics.diagnosis import unplain
from harness.diagnostics.showing import show_diagnoses
from harness.monitor.spikes import Incident, spike_line
from harness.monitor.summary import resources_line
from harness.session import Progress as Step
from harness.verdict import Outcome, Verdict

_COLOUR = {
    Outcome.PASS: "green",
    Outcome.FAIL: "bold red",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.INVALID: "bold magenta",
    Outcome.NOT_RUN: "cyan",
}


_WIDE = 130
"""From so many columns on, everything fits into one row."""
_LOG = 170
"""Columns of a file or a pipe, which have no edge."""


def show_report(console: Console, report: dict[str, Any], verdicts: Sequence[Verdict]) -> None:
    """Verdict table, reasons, latency steps, and the exit code with its meaning in the last line."""
    at_ease(console)
    console.print(f"{report['rig']['name']}: verdicts", style="italic", markup=False, highlight=False)
    if console.width >= _WIDE:
        console.print(_wide(verdicts))
    else:
        console.print(_narrow(verdicts))
        _show_reasons(console, verdicts)
    if report.get("diagnosis"):
        console.print()
        show_diagnoses(console, unplain(report["diagnosis"]))
    _show_steps(console, report)
    _show_spikes(console, report)
    code, meaning = report["outcome"]["exit_code"], report["outcome"]["meaning"]
    counts = ", ".join(f"{n} {o}" for o in Outcome if (n := sum(v.outcome is o for v in verdicts)))
    text = f"{counts or 'no verdict'}: exit {code}, {meaning}"
    style = "green" if code == 0 else "bold red"
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def at_ease(console: Console) -> None:
    """Room for long rows where the text goes to a file or a pipe."""
    if not console.is_terminal:
        console.width = max(console.width, _LOG)


def _table(*headings: str) -> Table:
    """Rows without lines between them; text from sensors is folded, never cut off."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in headings:
        right = heading == "n" or heading.endswith(" ms")
        free = heading in ("subject", "why", "what")
        table.add_column(heading, justify="right" if right else "left", no_wrap=not free, overflow="fold")
    return table


def _wide(verdicts: Sequence[Verdict]) -> Table:
    table = _table("outcome", "check", "subject", "what", "value", "interval", "limit", "n", "why")
    for v in verdicts:
        table.add_row(
            _outcome(v), escape(v.check), escape(v.subject), escape(v.measure), _number(v.value, v.unit), _interval(v),
            _number(v.limit, v.unit), str(v.n), escape(v.reason),
        )  # fmt: skip
    return table


def _narrow(verdicts: Sequence[Verdict]) -> Table:
    table = _table("outcome", "check", "subject", "what", "value", "limit")
    for v in verdicts:
        value, limit = _number(v.value, v.unit), _number(v.limit, "" if v.value is not None else v.unit)
        table.add_row(_outcome(v), escape(v.check), escape(v.subject), escape(v.measure), value, limit)
    return table


def _show_reasons(console: Console, verdicts: Sequence[Verdict]) -> None:
    """Why each verdict that is not PASS is what it is, with the interval that the narrow table leaves out."""
    console.print()
    for v in verdicts:
        if v.outcome is not Outcome.PASS:
            interval = "" if v.confidence == 1.0 else _interval(v)
            within = f" (n = {v.n}, {escape(f'{interval} {v.unit}'.strip())})" if interval else ""
            head = f"{_outcome(v)} {escape(v.check)} {escape(v.subject)}"
            console.print(f"{head}: {escape(v.reason)}{within}", highlight=False)


def _outcome(verdict: Verdict) -> str:
    colour = _COLOUR[verdict.outcome]
    return f"[{colour}]{verdict.outcome}[/{colour}]"


def _plain(value: float) -> str:
    """Four digits, and no more than three behind the point."""
    return f"{value:.4g}" if value == 0 or abs(value) >= 0.001 else f"{value:.3f}"


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    small = not unit and 0 < abs(value) < 0.001  # a limit of 1e-7 for a gradient is not 0
    return escape(f"{value:.2g}" if small else f"{_plain(value)} {unit}".strip())


def _interval(verdict: Verdict) -> str:
    if verdict.confidence == 1.0 and verdict.low == verdict.high:
        return "exact"
    if verdict.low is None and verdict.high is None:
        return ""
    low = "" if verdict.low is None else _plain(verdict.low)
    high = "" if verdict.high is None else _plain(verdict.high)
    return f"{low} .. {high}"


def _show_steps(console: Console, report: dict[str, Any]) -> None:
    rows = report["latency_steps"]
    if not rows:
        return
    console.print()
    console.print("where the time went, from a window's due time to its verdict:", style="italic", highlight=False)
    table = _table("step", "p50 ms", "p99 ms", "max ms")
    for row in rows:
        table.add_row(row["step"], *(f"{row[key]:.2f}" for key in ("p50_ms", "p99_ms", "max_ms")))
    console.print(table)
    console.print()


_SPIKES = 5
"""Incidents that are shown."""


def _show_spikes(console: Console, report: dict[str, Any]) -> None:
    """The worst windows above the budget, a line each, and what the host used in one line."""
    spikes, host = report.get("spikes", {}), report.get("host", {})
    used, failure = host.get("resources"), host.get("monitor", {}).get("failure")
    if spikes.get("above"):
        times = f"{spikes['incidents']} time{'s' * (spikes['incidents'] > 1)}"
        head = f"above {spikes['budget_ms']:g} ms {times}, {spikes['above']} of {spikes['windows']} windows; the worst:"
        console.print(head, style="italic", markup=False, highlight=False, soft_wrap=True)
        for one in spikes["worst"][:_SPIKES]:
            console.print(f"  {spike_line(Incident(**one))}", markup=False, highlight=False, soft_wrap=True)
    if used:
        console.print(f"this machine: {resources_line(used)}", markup=False, highlight=False, soft_wrap=True)
    if failure:
        text = f"the monitor failed, so the rest of the run was not watched: {failure.strip().splitlines()[-1]}"
        console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if used or failure or spikes.get("above"):
        console.print()


class ProgressBar:
    """Shows a run's progress on stderr: a bar on a terminal, a line every five seconds elsewhere."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self._console, self._quiet, self._said, self._shown = console, quiet, -5.0, ""
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        if console.is_terminal and not quiet:
            detail = TextColumn("{task.fields[detail]}", table_column=Column(no_wrap=True, overflow="ellipsis"))
            # no thread that draws: it would take the interpreter from a window that is due
            self._bar = Progress(BarColumn(16), detail, console=console, transient=True, auto_refresh=False)
            self._task = self._bar.add_task("", total=1.0, detail="connecting")
            self._bar.start()

    def __call__(self, step: Step) -> None:
        """Show one step."""
        text = (
            f"{step.elapsed_s:5.1f} of {step.total_s:g} s, {step.samples} samples, {step.windows} windows, "
            f"slowest {step.worst_ms:.1f} ms" + (f", {step.trouble}" if step.trouble else "")
        )
        if step.trouble.startswith("connecting"):
            text = step.trouble
        if self._bar is not None and self._task is not None:
            done = min(1.0, step.elapsed_s / step.total_s)
            if text != self._shown and (text == step.trouble or abs(step.elapsed_s - self._said) >= 0.2):
                self._said, self._shown = step.elapsed_s, text
                self._bar.update(self._task, completed=done, detail=escape(text), refresh=True)
        elif not self._quiet and step.elapsed_s - self._said >= 5.0:
            self._said = step.elapsed_s
            self._console.print(escape(text), highlight=False)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
