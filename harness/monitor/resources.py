"""What the process and its machine used while a run lasted, row by row, in memory and as JSON lines.

Host facts, no product facts: a run in virtual time has none of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from drivers.types import FloatArray, IntArray

FILE = "resources.jsonl"
"""In a run's folder: one JSON object a line, ``at_ns`` and the columns; it only grows."""
COLUMNS = {
    "rss_bytes": "resident memory of this process",
    "cpu_percent": "CPU time of this process since the row before, 100 for one core",
    "threads": "threads of this process",
    "open_files": "open file descriptors of this process",
    "inbox_depth": "most items that waited for the consumer at any window since the row before",
    "system_percent": "how busy all cores of the machine were since the row before, 0 to 100",
    "load": "the machine's load average over a minute",
}
"""Columns of every row, with what they hold."""
CUDA_COLUMNS = {
    "cuda_bytes": "GPU memory that tensors of this process hold",
    "cuda_reserved_bytes": "GPU memory that torch keeps for this process",
    "gpu_percent": "how busy the GPU was, 0 to 100; absent where no tool says so",
}
"""Also there where the model runs on a GPU."""


@dataclass(frozen=True, eq=False)
class Resources:
    """What was used, by time. len() is the number of rows."""

    at_ns: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """(n,) host time of each row, rising."""
    columns: Mapping[str, FloatArray] = field(default_factory=dict)
    """Name -> (n,), NaN where a row had no value; names as in COLUMNS, CUDA_COLUMNS, or others."""

    def __len__(self) -> int:
        return len(self.at_ns)

    def column(self, name: str) -> FloatArray:
        """One column (n,); all NaN if there is none of that name."""
        return self.columns.get(name, np.full(len(self.at_ns), math.nan))


Row = tuple[int, Mapping[str, float]]
"""(host time in ns, column -> value)."""


def resources_of(rows: Sequence[Row]) -> Resources:
    """Rows as columns."""
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    at_ns = np.array([at for at, _ in rows], dtype=np.int64)
    return Resources(at_ns, {name: np.array([row.get(name, math.nan) for _, row in rows]) for name in names})


def row_line(row: Row) -> bytes:
    """A row as a line of the file; what is not finite is left out."""
    at_ns, values = row
    finite = {name: value for name, value in values.items() if math.isfinite(value)}
    return json.dumps({"at_ns": at_ns, **finite}, separators=(",", ":")).encode() + b"\n"


def read_resources(directory: Path) -> Resources:
    """What a run's folder holds; empty without the file. ValueError names a line that is damaged."""
    lines = read_lines(directory / FILE)
    return resources_of(
        [(int(line.pop("at_ns")), {name: float(value) for name, value in line.items()}) for line in lines]
    )


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a file of JSON lines, nothing without the file; ValueError names a line that is none.

    A last line without its end was torn by a crash and is left out.
    """
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            found = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path.name}:{number}: expected a JSON object, found {line[:40]!r}: {error}") from error
        if not isinstance(found, dict) or "at_ns" not in found:
            raise ValueError(f"{path.name}:{number}: expected a JSON object with at_ns, found {line[:40]!r}")
        yield found
