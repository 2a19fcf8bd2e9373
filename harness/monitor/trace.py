"""The last seconds of a run as Chrome trace events, which Perfetto (https://ui.perfetto.dev) and chrome://tracing open.

Format: "Trace Event Format", Chromium project; ``ts`` and ``dur`` in microseconds. One process; a track each for the
consumer's steps, what it ran while overdue, collections, a held interpreter, and each role's arrivals. Windows
overlap when they are late, so their spans from due to judged are async events.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.monitor.happenings import COLLECTION, HELD, PROFILER, STACK, Happening
from harness.monitor.resources import Row
from harness.recording import STAGES

PID = 1
_STEPS = (
    ("cut the window", "decoded", "windowed"),
    ("model", "windowed", "inferred"),
    ("verdict", "inferred", "judged"),
)
_TRACKS = {"consumer": 1, STACK: 2, COLLECTION: 3, HELD: 4, PROFILER: 5}
_NAMES = {
    "consumer": "consumer: steps of each window", STACK: "consumer: what it ran while a window was overdue",
    COLLECTION: "garbage collector", HELD: "interpreter held", PROFILER: "windows under torch's profiler",
}  # fmt: skip
_FIRST_ROLE = 10
_COUNTERS = ("inbox_depth", "cpu_percent", "system_percent", "rss_bytes", "cuda_bytes")
_AT_ONCE = 100
"""Events in one piece: some tenths of a ms to write."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Bytes that the consumer took."""

    role: str
    arrival_ns: int
    taken_ns: int
    size: int


@dataclass(frozen=True)
class Flight:
    """What was kept of the last seconds."""

    windows: Sequence[tuple[int, Sequence[int]]]
    """(number, stamps of recording.STAGES), -1 where one was never reached."""
    arrivals: Sequence[Arrival]
    happenings: Sequence[Happening]
    rows: Sequence[Row]
    budget_ns: int


def trace_events(flight: Flight) -> Iterator[dict[str, Any]]:
    """Events of a trace, track by track, in time order within each."""
    roles = {role: _FIRST_ROLE + i for i, role in enumerate(sorted({one.role for one in flight.arrivals}))}
    yield _meta("process_name", 0, "spiral-hil")
    for key, tid in _TRACKS.items():
        yield _meta("thread_name", tid, _NAMES[key])
    for role, tid in roles.items():
        yield _meta("thread_name", tid, f"arrivals: {role}")
    for number, stamps in flight.windows:
        yield from _window(number, dict(zip(STAGES, stamps, strict=True)), flight.budget_ns)
    for kind in (STACK, COLLECTION, HELD, PROFILER):
        yield from _lasting(sorted((h for h in flight.happenings if h.kind == kind), key=lambda h: h.at_ns))
    for one in flight.arrivals:
        args = {"bytes": one.size, "waited_ms": (one.taken_ns - one.arrival_ns) / 1e6}
        made = {"name": "bytes", "ph": "i", "s": "t", "ts": one.arrival_ns / 1e3, "pid": PID, "tid": roles[one.role]}
        yield {**made, "args": args}
    for at_ns, values in flight.rows:
        for name in _COUNTERS:
            if name in values:
                yield {"name": name, "ph": "C", "ts": at_ns / 1e3, "pid": PID, "tid": 0, "args": {name: values[name]}}


def _meta(kind: str, tid: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "ts": 0, "pid": PID, "tid": tid, "args": {"name": name}}


def _window(number: int, at: dict[str, int], budget_ns: int) -> Iterator[dict[str, Any]]:
    judged = at["judged"] if at["judged"] >= 0 else max(at.values())
    late = judged - at["due"] > budget_ns or at["judged"] < 0
    args = {"window": number, "latency_ms": (judged - at["due"]) / 1e6, "above budget": late}
    span = {"name": "late window" if late else "window", "cat": "window", "id": number, "pid": PID, "tid": 0}
    yield {**span, "ph": "b", "ts": at["due"] / 1e3, "args": args}
    yield {**span, "ph": "e", "ts": judged / 1e3}
    for name, begin, end in _STEPS:
        if at[begin] >= 0 and at[end] >= 0:
            yield _complete(name, at[begin], at[end], _TRACKS["consumer"], {"window": number})


def _lasting(happenings: Sequence[Happening]) -> Iterator[dict[str, Any]]:
    """One after the other: what was seen last is taken to have lasted until the next look."""
    ends = (*(after.at_ns for after in happenings[1:]), 2**63)
    for one, end in zip(happenings, ends, strict=False):
        args = {"samples": one.n, "stack": list(one.stack)} if one.stack else {}
        yield _complete(one.what, one.at_ns, min(one.until_ns, end), _TRACKS[one.kind], args)


def _complete(name: str, begin_ns: int, end_ns: int, tid: int, args: dict[str, Any]) -> dict[str, Any]:
    times = {"ts": begin_ns / 1e3, "dur": (end_ns - begin_ns) / 1e3}
    return {"name": name, "ph": "X", **times, "pid": PID, "tid": tid, "args": args}


def trace_pieces(flight: Flight) -> Iterator[bytes]:
    """The file in pieces that each take little time to make."""
    held: list[str] = []
    opening = '{"displayTimeUnit":"ms","traceEvents":[\n'
    for event in trace_events(flight):
        held.append(json.dumps(event, separators=(",", ":")))
        if len(held) == _AT_ONCE:
            yield (opening + ",\n".join(held)).encode()
            opening, held = ",\n", []
    yield ((opening if held else "") + ",\n".join(held) + "\n]}\n").encode()
