"""What somebody who waits for a campaign sees: how much is done, and how long the rest will take."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from drivers.clock import Clock
from harness.scorecard.campaign import Step

_EVERY_NS = 10_000_000_000
_FEWEST = 20
"""Runs from which on the pace says something."""


class CampaignProgress:
    """A bar on a terminal, elsewhere a line every ten seconds; on the console given, which should be stderr."""

    def __init__(self, console: Console, clock: Clock, quiet: bool = False) -> None:
        self._console, self._clock, self._quiet = console, clock, quiet
        self._said_ns = clock.now_ns()
        self._began: tuple[int, int] | None = None
        """When the first run was done, and how many were then: before, processes start and load the model."""
        self._bar: Progress | None = None
        if console.is_terminal and not quiet:
            self._bar = Progress(BarColumn(24), TextColumn("{task.description}"), console=console, transient=True)
            self._task = self._bar.add_task("starting", total=1.0)
            self._bar.start()

    def __call__(self, step: Step) -> None:
        """Show one step."""
        now_ns = self._clock.now_ns()
        if self._began is None:
            self._began = now_ns, step.done
        text = f"{step.done} of {step.total} runs, {step.doing}"
        text += f", {step.wrong} with unexplained failures" if step.wrong else ""
        if step.done - self._began[1] >= _FEWEST:
            text += _left(step.total - step.done, (now_ns - self._began[0]) / (step.done - self._began[1]))
        if self._bar is not None:
            self._bar.update(self._task, completed=step.done / max(1, step.total), description=text)
        elif not self._quiet and now_ns - self._said_ns >= _EVERY_NS:
            self._said_ns = now_ns
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()


def _left(runs: int, run_ns: float) -> str:
    """At the pace so far; how many levels have to be proven is an estimate until the pilots are done."""
    minutes, seconds = divmod(round(runs * run_ns / 1e9), 60)
    return f", about {minutes} min {seconds:02d} s left" if minutes else f", about {seconds} s left"
