"""Which metrics a run has: for its health, and for the limits that a rig sets on it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from drivers.types import StreamSpec
from harness.yaml_tree import Where

LATENCY = "latency_ms"
MISSES = "misses"
INBOX = "inbox_depth"
MEMORY = "rss_mb"
QUALITY = "quality/"
"""Before ``role/stream``."""
METRICS = {
    LATENCY: "of each window that was answered, from its due time to its verdict",
    MISSES: "windows of one second that were not answered, or too late",
    INBOX: "items that waited for the session, once a second",
    MEMORY: "resident memory of this process, once a second",
}
"""Metric -> what it is; beside them ``quality/ROLE/STREAM``, 0 to 1, once a second."""


MISSES_LIMIT = 0.0
"""Above it, unless somebody says else: one window without its answer in ten seconds is told."""


def metric_problem(name: str, known: Iterable[str], unsure: Iterable[str] = ()) -> str:
    """Why there can be no metric of this name, with what there is; empty if there can be.

    ``unsure``: beginnings of names of which nobody knows yet whether they will come.
    """
    known = list(dict.fromkeys(known))
    if name in known or name.startswith(tuple(unsure)):
        return ""
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"no metric {name!r}; {hint}There are {', '.join(known)}"


def health_problems(
    health: Mapping[str, Any], streams: Mapping[str, Iterable[StreamSpec] | None]
) -> list[tuple[Where, str]]:
    """(path within the section, message) of every metric that a run of these sensors does not have.

    ``streams``: role -> what it sends, None where that is not known.
    """
    known = [*METRICS, *(f"{QUALITY}{role}/{spec.name}" for role, specs in streams.items() for spec in specs or ())]
    unsure = tuple(f"{QUALITY}{role}/" for role, specs in streams.items() if specs is None)
    found: list[tuple[Where, str]] = []
    for side in ("above", "below"):
        limits = health.get(side)
        for name in limits if isinstance(limits, Mapping) else ():
            if isinstance(name, str) and name not in known and not name.startswith(unsure):
                close = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"
                found.append(((side, name), f"a run has no metric {name!r}{hint}"))
    return found
