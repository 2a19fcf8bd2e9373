"""What a report says of the host: resources in a few numbers, and what kept the consumer, over the whole run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from drivers.types import FloatArray
from harness.monitor.happenings import COLLECTION, HELD, STACK, Happening
from harness.monitor.queue import queue_growth
from harness.monitor.resources import Resources
from harness.monitor.spikes import ran_shares
from harness.recording import Recording

_PLACES = 10


def host_facts(recording: Recording) -> dict[str, Any]:
    """``resources`` and ``overdue`` for the report's ``host``; nothing of a run that was not watched."""
    facts: dict[str, Any] = {}
    if len(recording.resources):
        facts["resources"] = resources_summary(recording.resources)
    if recording.happenings:
        facts["overdue"] = overdue_summary(recording.happenings)
    return facts


def resources_summary(resources: Resources) -> dict[str, Any]:
    """Per column its first, mean, largest and last value; how the inbox grew; how many rows."""
    found: dict[str, Any] = {name: _brief(values) for name, values in resources.columns.items()}
    growth = queue_growth(resources)
    found["inbox_growth"] = {
        "per_minute": growth.per_minute, "low": growth.low, "high": growth.high, "growing": growth.growing,
    }  # fmt: skip
    return {"rows": len(resources), **{name: value for name, value in found.items() if value is not None}}


def _brief(values: FloatArray) -> dict[str, float] | None:
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    first, last = float(known[0]), float(known[-1])
    return {"first": first, "mean": float(known.mean()), "max": float(known.max()), "last": last}


def overdue_summary(happenings: Sequence[Happening]) -> dict[str, Any]:
    """Where the consumer was found while overdue, and what stopped everything."""
    stacks = [one for one in happenings if one.kind == STACK]
    collections = [one.for_ns / 1e6 for one in happenings if one.kind == COLLECTION]
    held = [one.for_ns / 1e6 for one in happenings if one.kind == HELD]
    return {
        "samples": sum(one.n for one in stacks),
        "ran": [{"where": what, "share": share, "samples": n} for what, share, n in ran_shares(stacks)[:_PLACES]],
        "collections": {"n": len(collections), "total_ms": sum(collections), "max_ms": max(collections, default=0.0)},
        "held": {"n": len(held), "total_ms": sum(held), "max_ms": max(held, default=0.0)},
    }


def resources_line(summary: Mapping[str, Any]) -> str:
    """One line for people."""
    cpu, memory = summary.get("cpu_percent"), summary.get("rss_bytes")
    parts = [f"CPU {cpu['mean']:.0f} % (max {cpu['max']:.0f} %)"] if cpu else []
    parts += [f"memory {memory['last'] / 2**20:.0f} MiB (max {memory['max'] / 2**20:.0f})"] if memory else []
    for name, said in (("threads", "threads"), ("open_files", "open files"), ("inbox_depth", "items in the inbox")):
        if name in summary:
            parts.append(f"up to {summary[name]['max']:.0f} {said}")
    if "cuda_bytes" in summary:
        parts.append(f"GPU memory up to {summary['cuda_bytes']['max'] / 2**20:.0f} MiB")
    growth = summary.get("inbox_growth", {})
    parts += [f"the inbox grows by {growth['per_minute']:.0f} items a minute"] if growth.get("growing") else []
    return ", ".join(parts)
