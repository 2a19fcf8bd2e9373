"""What kept the consumer from its windows: code that ran while it was overdue, collections, a held interpreter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.monitor.resources import read_lines

FILE = "happenings.jsonl"
"""In a run's folder: one JSON object a line; it only grows."""
STACK = "stack"
"""The consumer was overdue, and here."""
COLLECTION = "collection"
"""Python's garbage collector stopped everything."""
HELD = "held"
"""No Python ran at all: C code held the interpreter, or the process was not given a core."""
PROFILER = "profiler"
"""Windows ran under torch's profiler, which slows them."""


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that lasted."""

    kind: str
    """STACK, COLLECTION, HELD or PROFILER."""
    at_ns: int
    for_ns: int
    what: str
    """STACK: ``function (file:line)`` of the innermost frame that is not a library's; else a phrase."""
    n: int = 1
    """STACK: how many samples in a row found it there."""
    stack: tuple[str, ...] = ()
    """Frames, the outermost first."""

    @property
    def until_ns(self) -> int:
        """Host time of its end."""
        return self.at_ns + self.for_ns


def happening_line(happening: Happening) -> bytes:
    """As a line of the file."""
    return json.dumps(asdict(happening), separators=(",", ":")).encode() + b"\n"


def read_happenings(directory: Path) -> tuple[Happening, ...]:
    """What a run's folder holds; empty without the file. ValueError or TypeError for a line that is none."""
    found = read_lines(directory / FILE)
    return tuple(Happening(**{**facts, "stack": tuple(facts["stack"])}) for facts in found)


def within(happenings: Sequence[Happening], begin_ns: int, end_ns: int) -> list[Happening]:
    """Those that lasted at any moment from begin to end."""
    return [one for one in happenings if one.at_ns <= end_ns and one.until_ns >= begin_ns]
