"""Calls of an API as a run records them: what came of each, and nothing of what was said.

``api.jsonl`` in a run's folder has a line for each call, in the order in which they were made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

CALLS = "api.jsonl"
PASS, INVALID_RESPONSE = "PASS", "INVALID_RESPONSE"


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One call of one endpoint."""

    at_ns: int
    """Host time at which it began; in virtual time the end of the run, after which calls are made."""
    endpoint: str
    """Its name in the rig."""
    result: str
    """``PASS``, ``INVALID_RESPONSE``, ``HTTP_404``, ``ERROR: ...``."""
    why: str = ""
    """What was found, what is likely and what to try, where the result is not PASS."""
    status: int | None = None
    """None: there was no response."""
    ms: float | None = None
    """From the first byte sent to the last byte received; None: the response was not complete."""
    sent_bytes: int = 0
    received_bytes: int = 0
    """Of the bodies, which are not recorded."""

    @property
    def passed(self) -> bool:
        """The endpoint did what the rig expects."""
        return self.result == PASS


def line_of(call: ApiCall) -> bytes:
    """A call as its line in the file."""
    return json.dumps(asdict(call), separators=(",", ":")).encode() + b"\n"


def read_calls(directory: Path) -> tuple[ApiCall, ...]:
    """The calls of a recorded run; none where there is no file. ValueError names a line that is none."""
    path = directory / CALLS
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []  # what has no end of line is torn
    return tuple(_call(line, f"{path}:{number}") for number, line in enumerate(lines, 1))


def _call(line: bytes, where: str) -> ApiCall:
    known = [field.name for field in fields(ApiCall)]
    try:
        return ApiCall(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: expected a call with {', '.join(known)}, found {line[:60]!r}") from error


def spent(calls: Sequence[ApiCall]) -> dict[str, dict[str, Any]]:
    """For people: of each endpoint how many calls were answered, and how long they took; a fact of this host."""
    table: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(call.endpoint for call in calls):
        ms = [call.ms for call in calls if call.endpoint == name and call.ms is not None]
        if ms:
            p50, p99 = np.percentile(ms, [50, 99])
            table[name] = {"n": len(ms), "p50_ms": float(p50), "p99_ms": float(p99), "max_ms": max(ms)}
    return table
