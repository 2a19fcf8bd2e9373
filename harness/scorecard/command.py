"""``hil scorecard``: from its options to a campaign, and from that to reports."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from drivers.clock import RealClock
from drivers.errors import SettingError
from harness.report.document import to_json
from harness.rig import Rig
from harness.rig_file import read_rig
from harness.scorecard.campaign import Campaign, Plan, checks_of, only, run_campaign
from harness.scorecard.crew import cores
from harness.scorecard.document import document
from harness.scorecard.html import to_html
from harness.scorecard.markdown import to_markdown
from harness.scorecard.progress import CampaignProgress
from harness.scorecard.terminal import show

DEMO = Path("rigs") / "demo.rig.yaml"
QUICK: dict[str, Any] = {"seeds": 3, "pilots": 1, "clean": 20, "power": 35.0, "levels": "ends"}
"""Enough to see that every check fires on the boldest damage and not on clean data: 3 of 3 prove a power of 36 %."""
FULL: dict[str, Any] = {"seeds": 59, "pilots": 4, "clean": 300, "power": 95.0, "levels": "all"}


def rig_of(given: argparse.Namespace) -> Rig:
    """The rig of the command line, with its changes; SettingError or RigError."""
    rig = replace(read_rig(given.rig), api=None)  # thousands of runs are no business of a service's
    if given.duration is not None:
        rig = replace(rig, duration_s=given.duration)
    rig = only(rig, _listed(given.checks))
    if not checks_of(rig):
        raise SettingError(f"{given.rig}: the rig asks for no check; add limits, or name checks with --checks")
    return rig


def plan_of(given: argparse.Namespace) -> Plan:
    """The plan of the command line: --quick or the full campaign, where no option says else."""
    usual = QUICK if given.quick else FULL
    said = {name: getattr(given, name) for name in usual if getattr(given, name) is not None}
    made = usual | said
    return Plan(
        seeds=made["seeds"], pilots=made["pilots"], clean=made["clean"], delays=given.delay or 0,
        power=made["power"] / 100, faults=_listed(given.faults), roles=_listed(given.roles), levels=made["levels"],
    )  # fmt: skip


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def scorecard(given: argparse.Namespace, err: Console) -> int:
    """Run the campaign, write the files that are asked for, show the rest; the exit code."""
    rig, plan = rig_of(given), plan_of(given)
    progress = CampaignProgress(err, RealClock(), given.quiet)
    try:
        with _terminated_in_order():
            campaign = run_campaign(rig, plan, given.jobs or cores(), progress)
    finally:
        progress.close()
    report = document(campaign)
    _write(given, campaign, report)
    if not given.quiet:
        show(err if "-" in (str(given.json), str(given.markdown)) else Console(emoji=False), report)
    return int(report["outcome"]["exit_code"])


@contextmanager
def _terminated_in_order() -> Iterator[None]:
    """SIGTERM ends a campaign as Ctrl-C does, with what is there. Outside the main thread signals cannot be caught."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _write(given: argparse.Namespace, campaign: Campaign, report: dict[str, Any]) -> None:
    for path, text in ((given.json, to_json), (given.markdown, to_markdown), (given.html, to_html)):
        if path is not None and str(path) == "-":
            sys.stdout.write(text(report))
            sys.stdout.flush()
        elif path is not None:
            path.write_text(text(report), encoding="utf-8")
