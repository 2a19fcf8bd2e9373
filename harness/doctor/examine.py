"""Every fact about a machine in one list, as data and on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from drivers.clock import RealClock
from harness.doctor import bench, bluetooth, ports, processor, software, storage, timing
from harness.doctor.machine import Fact, Machine, State
from harness.rig import Rig
from harness.verdict import Outcome, Verdict

SCHEMA = 1
EXIT_MEANING = {
    0: "nothing needs attention",
    1: "something needs attention: each has a line to paste",
    2: "usage or rig file error",
}
_STYLE = {State.OK: "green", State.ATTENTION: "bold yellow", State.ABSENT: "dim"}
_OUTCOME = {State.OK: Outcome.PASS, State.ATTENTION: Outcome.FAIL, State.ABSENT: Outcome.PASS}


def examine(machine: Machine, rig: Rig | None = None, quick: bool = False, runs: Path = Path("runs")) -> list[Fact]:
    """Everything that is true of the machine; timing first, before anything else here makes it busy.

    ``quick`` leaves out what takes longer than a moment: timing, the disk's speed, and importing torch.
    """
    timed = [] if quick else timing.facts(timing.measure())
    found = [*processor.facts(machine), *timed, *ports.facts(machine), *bluetooth.facts(machine)]
    found += [*software.facts(machine, quick), *storage.facts(storage.measure(runs, RealClock(), quick))]
    if rig is not None:
        found += bench.facts(machine, rig)
    return _once(found)


def _once(facts: Sequence[Fact]) -> list[Fact]:
    """Of facts with one name the last: what a rig needs replaces what is only missing."""
    return list({fact.name: fact for fact in facts}.values())


def exit_code(facts: Sequence[Fact]) -> int:
    """1 if anything needs attention."""
    return int(any(fact.state is State.ATTENTION for fact in facts))


def verdicts(facts: Sequence[Fact]) -> list[Verdict]:
    """The facts as verdicts, for JUnit: attention is FAIL; what is absent is missed by nobody."""
    return [
        Verdict("doctor", fact.name, _OUTCOME[fact.state], f"{fact.found}; {fact.fix}" if fact.fix else fact.found)
        for fact in facts
    ]


def document(facts: Sequence[Fact], name: str = "machine") -> dict[str, Any]:
    """As plain data; harness.report turns it into JSON and JUnit."""
    code = exit_code(facts)
    return {
        "schema": SCHEMA,
        "rig": {"name": f"doctor {name}", "seed": None, "duration_s": 0.0, "limits": {}},
        "outcome": {"exit_code": code, "meaning": EXIT_MEANING[code]},
        "machine": [asdict(fact) for fact in facts],
        "verdicts": [asdict(verdict) for verdict in verdicts(facts)],
        "facts": {},
        "host": {},
    }


def show(facts: Sequence[Fact], out: Console) -> None:
    """A line for each fact, and below it the line to paste where one helps."""
    width = max((len(fact.name) for fact in facts), default=0)
    for fact in facts:
        line = Text.assemble((f"{fact.state:<10}", _STYLE[fact.state]), f"{fact.name:<{width}}  ", fact.found)
        out.print(line, highlight=False, soft_wrap=True)
        if fact.fix and fact.state is State.ATTENTION:
            out.print(Text(f"{'':<10}fix: {fact.fix}", style="yellow"), highlight=False, soft_wrap=True)
    count = sum(fact.state is State.ATTENTION for fact in facts)
    text = f"{count} of {len(facts)} need attention" if count else f"nothing needs attention ({len(facts)} facts)"
    out.print(text, style="bold yellow" if count else "green", highlight=False)
