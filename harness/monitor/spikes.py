"""Windows above the latency budget: which step took the time, in which window it began, and what went on meanwhile.

A pure function of a recording. Windows that follow each other are one incident, since those behind a slow window wait
for it: what counts is the window that they all wait for, which may itself have been in time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from drivers.types import FloatArray, IntArray
from harness.latency import OWN_STEPS, QUEUE, STEPS, came_ns, floor_ms, latencies_ms
from harness.monitor.happenings import COLLECTION, STACK, Happening, within
from harness.monitor.queue import queue_growth
from harness.recording import STAGES, Recording
from harness.rig import Rig

BUDGET_MS = 100.0
"""Where the rig has no limit on latency."""
MOST = 50
"""Incidents in a report, the worst."""
NAMES = (STEPS[0][0], QUEUE, *OWN_STEPS)
_WAIT, _QUEUE, _MODEL = NAMES.index(STEPS[0][0]), NAMES.index(QUEUE), NAMES.index("model")
_BUSY_PERCENT = 95.0
_AROUND_NS = 1_500_000_000
"""Resources are read about once a second."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Windows ``first`` to ``last``, all above the budget, and the window that brought it about."""

    first: int
    last: int
    worst_ms: float
    """inf: never judged."""
    cause: int
    """Number of the window that the others waited for; before ``first`` where that one was in time."""
    due_s: float
    """When the cause was due, in seconds of the run."""
    step: str
    """What took the time in the cause: one of NAMES."""
    step_ms: float | None
    """How long it took there; None where the window never got through it."""
    median_ms: float
    """How long it takes in the median window."""
    stream: str = ""
    """``role/stream`` that came last, where it was the link."""
    meanwhile: tuple[str, ...] = ()
    """What else is known of that time."""


@dataclass(frozen=True, slots=True)
class Spikes:
    """All incidents of a run, of which the worst are told."""

    budget_ms: float
    windows: int
    """Windows that were due."""
    above: int
    """Of these, above the budget or never judged."""
    incidents: int
    worst: tuple[Incident, ...]
    """The worst latency first."""


def budget_ms(rig: Rig) -> float:
    """The rig's limit on latency."""
    return float(rig.limits.get("latency", {}).get("max_ms", BUDGET_MS))


def spikes_of(recording: Recording) -> Spikes:
    """What was above the budget of the rig's latency limit."""
    budget, spent = budget_ms(recording.rig), latencies_ms(recording)
    above = np.flatnonzero(spent > budget)
    groups = np.split(above, np.flatnonzero(np.diff(above) > 1) + 1) if len(above) else []
    worst = sorted(groups, key=lambda group: (-spent[group].max(), group[0]))[:MOST]
    if not worst:
        return Spikes(budget, len(spent), 0, 0, ())
    steps = step_times_ms(recording, spent)
    known = np.isfinite(steps).all(axis=1)
    medians = np.median(steps[known], axis=0) if known.any() else np.zeros(len(NAMES))
    usual = float(np.median(spent)) <= budget
    took = _taker(recording, steps, medians if usual else np.zeros(len(NAMES)))
    growth = queue_growth(recording.resources)
    found = tuple(_incident(recording, group, spent, steps, medians, took, growth.said) for group in worst)
    return Spikes(budget, len(spent), len(above), len(groups), found)


def step_times_ms(recording: Recording, spent: FloatArray) -> FloatArray:
    """(windows, NAMES) ms that each step took; NaN where a window never got through it.

    What a window is charged with for samples that came after it had closed counts as link and wait.
    """
    stamps = recording.windows.stamps_ns
    at = {name: np.where(stamps[:, i] < 0, math.nan, stamps[:, i] / 1e6) for i, name in enumerate(STAGES)}
    steps = np.full((len(stamps), len(NAMES)), math.nan)
    for name, begin, end in STEPS:
        steps[:, NAMES.index(name)] = at[end] - at[begin]
    busy_until = np.concatenate([[-math.inf], np.maximum.accumulate(stamps.max(axis=1))[:-1] / 1e6])
    queued = np.maximum(np.minimum(busy_until, at["decoded"]) - at["arrived"], 0)
    steps[:, _QUEUE] = queued
    steps[:, NAMES.index("decode")] -= queued
    steps[:, _WAIT] += np.nan_to_num(spent - floor_ms(recording) - (at["judged"] - at["due"]), posinf=0, neginf=0)
    return steps


def _taker(recording: Recording, steps: FloatArray, medians: FloatArray) -> list[int]:
    """Which step took the time in each window: the one that is furthest above its median.

    A window that was cut and never judged is the model's; one that was never cut waited for those before it.
    """
    stamps = recording.windows.stamps_ns
    took = np.nan_to_num(steps - medians, nan=-math.inf).argmax(axis=1)
    took = np.where(stamps[:, -1] < 0, _MODEL, took)
    return [int(number) for number in np.where(stamps[:, STAGES.index("windowed")] < 0, _QUEUE, took)]


def _incident(
    recording: Recording, group: IntArray, spent: FloatArray, steps: FloatArray, medians: FloatArray,
    took: Sequence[int], growing: str,
) -> Incident:  # fmt: skip
    first, last = int(group[0]), int(group[-1])
    cause = first
    while took[cause] == _QUEUE and cause > 0:
        cause -= 1
    step = took[cause]
    stamps = recording.windows.stamps_ns
    due_ns = int(stamps[cause, 0])
    begin_ns = max(due_ns - round(recording.rig.window.hop_ms * 1e6), int(stamps[cause - 1].max()) if cause else 0)
    meanwhile = told(recording, begin_ns, max(int(stamps[cause : last + 1].max()), due_ns)) + (
        [growing] * bool(growing)
    )
    step_ms = float(steps[cause, step])
    return Incident(
        first, last, float(spent[first : last + 1].max()), cause, (due_ns - recording.start_ns) / 1e9,
        NAMES[step], step_ms if math.isfinite(step_ms) else None, float(medians[step]),
        _last_stream(recording, cause) if step == _WAIT else "", tuple(meanwhile),
    )  # fmt: skip


def _last_stream(recording: Recording, window: int) -> str:
    """The stream that this window waited for longest; one that was not there at all if there is one."""
    windows = recording.windows
    if not windows.waited_for:
        return ""
    if windows.late[window].any():
        return windows.waited_for[int(windows.late[window].argmax())]
    due_ns = windows.stamps_ns[window : window + 1, 0]
    came = [int(came_ns(recording.streams[key], due_ns)[0]) for key in windows.waited_for]
    return windows.waited_for[int(np.argmax(came))] if max(came) >= 0 else ""


# --- what else was happening ------------------------------------------------------------------


def told(recording: Recording, begin_ns: int, end_ns: int) -> list[str]:
    """Phrases on what is known of that time beside the stamps; none in virtual time."""
    found = within(recording.happenings, begin_ns, end_ns)
    said = [one.what for one in found if one.kind not in (STACK, COLLECTION)]
    said += _ran([one for one in found if one.kind == STACK])
    collected_ns = sum(one.for_ns for one in found if one.kind == COLLECTION)
    said += [f"garbage collection took {collected_ns / 1e6:.0f} ms"] if collected_ns else []
    at_ns = recording.resources.at_ns
    near = (at_ns >= begin_ns - _AROUND_NS) & (at_ns <= end_ns + _AROUND_NS)
    peaks = {name: _peak(recording.resources.column(name)[near]) for name in ("system_percent", "inbox_depth")}
    if peaks["system_percent"] >= _BUSY_PERCENT:
        said.append(f"all cores of this machine were {peaks['system_percent']:.0f} % busy")
    if peaks["inbox_depth"] >= 1:
        said.append(f"up to {peaks['inbox_depth']:.0f} items waited in the inbox")
    return said


def _peak(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.max()) if len(known) else 0.0


def _ran(stacks: Sequence[Happening]) -> list[str]:
    """Where the consumer was, if it was looked at: at most the two most frequent places."""
    total = sum(one.n for one in stacks)
    said = []
    for what, _, n in ran_shares(stacks)[:2]:
        spent_ms = sum(one.for_ns for one in stacks if one.what == what) / 1e6
        said.append(f"ran {what} for {spent_ms:.0f} ms ({n} of {total} samples)")
    return said


def ran_shares(stacks: Sequence[Happening]) -> list[tuple[str, float, int]]:
    """(place, share of samples, samples) by place, the most frequent first."""
    counts: dict[str, int] = {}
    for one in stacks:
        counts[one.what] = counts.get(one.what, 0) + one.n
    total = sum(counts.values())
    return sorted(((what, n / total, n) for what, n in counts.items()), key=lambda row: (-row[2], row[0]))


# --- for reports ------------------------------------------------------------------------------


def spikes_document(spikes: Spikes) -> dict[str, Any]:
    """As plain data."""
    return {**asdict(spikes), "worst": [asdict(one) for one in spikes.worst]}


def spike_line(one: Incident) -> str:
    """One incident as a line of text."""
    worst = "never judged" if math.isinf(one.worst_ms) else f"{one.worst_ms:.1f} ms"
    spent = "was never over" if one.step_ms is None else f"took {one.step_ms:.1f} ms"
    behind = one.last - max(one.first, one.cause + 1) + 1
    text = f"{one.due_s:.1f} s: window {one.cause}: {one.step!r} {spent} (median {one.median_ms:.1f} ms)"
    text += f", the stream that came last was {one.stream}" if one.stream else ""
    text += f"; {behind} window{'s' * (behind > 1)} behind it" if behind > 0 else ""
    return "; ".join((f"{text}; worst {worst}", *one.meanwhile))
