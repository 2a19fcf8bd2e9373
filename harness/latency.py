"""How long after its due time each window was judged, and where the time went."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from drivers.types import FloatArray, IntArray
from harness.recording import STAGES, Recording, StreamData

STEPS = (
    ("link and wait", "due", "arrived"),
    ("decode", "arrived", "decoded"),
    ("window", "decoded", "windowed"),
    ("model", "windowed", "inferred"),
    ("verdict", "inferred", "judged"),
)
"""Name of each step with the stages that it lies between."""
QUEUE = "queue"
"""The part of decode that a window spent waiting for the windows before it, because those took too long."""
OWN_STEPS = ("decode", "window", "model", "verdict")
"""What one window takes of the host, and so what those behind it wait for."""


COARSE = 0.2
"""An instrument that errs by more than this share of the limit cannot show a failure."""


def worst_p99(recording: Recording, fact: str, roles: Iterable[str]) -> float:
    """The largest p99 that a host fact with a table for each role (``sender_lateness_us``) has for these; 0 if none."""
    found = recording.host.get(fact, {})
    return max((float(found[role].get("p99", 0.0)) for role in roles if role in found), default=0.0)


def floor_ms(recording: Recording) -> float:
    """The largest declared one-way floor among the streams that windows wait for."""
    roles = {key.split("/")[0] for key in recording.windows.waited_for}
    return max((recording.rig.sensors[role].floor_ms for role in roles), default=0.0)


def latencies_ms(recording: Recording) -> FloatArray:
    """Judged minus due for every window (n,), plus the declared floor; inf for a window never judged.

    A window that closed without samples which then came late is charged with the time at which they
    came: those samples did not make it to a verdict before that. Samples that were lost charge nothing,
    that is for the delivery check.
    """
    stamps = recording.windows.stamps_ns
    if not len(stamps):
        return np.empty(0)
    stage = {name: stamps[:, number] for number, name in enumerate(STAGES)}
    spent = (stage["judged"] - stage["due"]).astype(np.float64)
    behind = _late_by_ns(recording, stage["due"], stage["arrived"])
    spent = np.where(behind > 0, np.maximum(spent, spent + behind), spent)
    return np.where(stage["judged"] < 0, np.inf, spent / 1e6 + floor_ms(recording))


def _late_by_ns(recording: Recording, due_ns: IntArray, closed_ns: IntArray) -> IntArray:
    """How long after the window's closing the missing samples came; 0 where none were missing or they were lost."""
    behind = np.zeros(len(due_ns), dtype=np.int64)
    for column, key in enumerate(recording.windows.waited_for):
        late = np.flatnonzero(recording.windows.late[:, column])
        if len(late):
            came = came_ns(recording.streams[key], due_ns[late])
            behind[late] = np.maximum(behind[late], np.where(came > 0, came - closed_ns[late], 0))
    return behind


def came_ns(stream: StreamData, due_ns: IntArray) -> IntArray:
    """Arrival of the sample that covers each due time, -1 where that sample was lost."""
    period_ns = round(1e9 / (stream.spec.rate_hz or 1.0))
    order = np.argsort(stream.time_ns, kind="stable")
    times, arrivals = stream.time_ns[order], stream.arrival_ns[order]
    place = np.searchsorted(times, due_ns - period_ns, side="right")
    beyond = place >= len(times)
    safe = np.minimum(place, max(0, len(times) - 1))
    covers = ~beyond & (times[safe] <= due_ns + period_ns // 2) if len(times) else np.zeros(len(due_ns), bool)
    return np.where(covers, arrivals[safe] if len(times) else -1, -1)


def step_table(recording: Recording) -> list[dict[str, float | str]]:
    """Per step: p50, p99 and max in ms over the windows that were judged; QUEUE apart from decode."""
    stamps = recording.windows.stamps_ns
    done = stamps[stamps[:, -1] >= 0] if len(stamps) else stamps
    if not len(done):
        return []
    spent = {name: done[:, STAGES.index(stop)] - done[:, STAGES.index(start)] for name, start, stop in STEPS}
    queued = _queued_ns(done)
    spent["decode"] = spent["decode"] - queued
    rows: list[dict[str, float | str]] = []
    for name in (STEPS[0][0], QUEUE, *OWN_STEPS):
        ms = np.asarray(queued if name == QUEUE else spent[name]) / 1e6
        p50, p99 = np.percentile(ms, [50, 99])
        rows.append({"step": name, "p50_ms": float(p50), "p99_ms": float(p99), "max_ms": float(ms.max())})
    return rows


def remote_steps(recording: Recording) -> list[dict[str, float | str]]:
    """Of a model behind a URL: the parts of the step "model", by the server's own account; none in virtual time.

    ``network`` is what is not the server's model: JSON, the way there and back, and waiting in the server.
    """
    parts = recording.host.get("model_http_ms", {})
    if recording.meta.get("mode") == "virtual" or not parts:
        return []
    return [{"step": f"model: {name}", **parts[name]} for name in ("network", "server")]


def _queued_ns(done: IntArray) -> IntArray:
    """How long each judged window (n, 6) could have gone on but for the one before it."""
    arrived, decoded = done[:, STAGES.index("arrived")], done[:, STAGES.index("decoded")]
    before = np.concatenate([arrived[:1], done[:-1, STAGES.index("judged")]])
    return np.asarray(np.maximum(np.minimum(before, decoded) - arrived, 0), dtype=np.int64)
