"""The process that runs the model does not leak: memory, GPU memory, open files and threads do not grow for ever.

What is judged is the drift after the first quarter of the run (harness/monitor/growth.py): a leak of L MB an hour hides
in an allocator's steps of 1 MiB until 1 MiB / L hours have gone by, so a limit of 50 MB an hour takes two minutes and
more, and a run of 30 s is INCONCLUSIVE. ``hil run RIG --duration 600`` is a soak. Memory is a fact of this host, so in
virtual time, where nothing of it is recorded, the check is NOT_RUN. ``hil model check --only memory`` says who holds
the tensors of a model that leaks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from drivers.types import FloatArray
from harness.monitor.growth import Growth, growth, longer, shown
from harness.recording import Recording
from harness.verdict import Outcome, Verdict

NAME = "memory"
_MB = 1e6
_HOUR_NS = 3.6e12
_ALLOCATORS_MB = 2**20 / _MB
"""What Python's allocator asks the system for at a time."""
_ADVICE = (
    "what is kept from window to window? Look for outputs or losses that a list collects (with their graphs, unless "
    "inference runs under torch.no_grad()), for caches without a bound and for hooks that are registered again and "
    "again; `hil model check --only memory` names who holds the tensors"
)
_FILES = "which file or socket is opened again and again, and never closed?"
_THREADS = "who starts threads, or pools, for every window?"


@dataclass(frozen=True)
class LIMITS:
    """Limits of the memory check."""

    max_growth_mb_per_h: float = field(default=50.0, metadata={"help": "how fast resident memory may drift upwards"})
    max_rss_mb: float = field(default=8000.0, metadata={"help": "most resident memory of the process"})
    max_files_per_h: float = field(default=120.0, metadata={"help": "how fast open files may drift upwards"})
    max_threads_per_h: float = field(default=120.0, metadata={"help": "how fast threads may drift upwards"})

    def __post_init__(self) -> None:
        limits = self.max_growth_mb_per_h, self.max_rss_mb, self.max_files_per_h, self.max_threads_per_h
        if not min(limits) > 0:
            raise ValueError(f"memory: expected limits above 0, found {', '.join(f'{limit:g}' for limit in limits)}")


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """The drift of memory, files and threads, and the peak; NOT_RUN where no resources were recorded."""
    resources = recording.resources
    if not np.isfinite(resources.column("rss_bytes")).any():
        reason = "no use of memory was recorded"
        if recording.meta.get("mode") == "virtual":
            reason += ": in virtual time it would be that of the simulation; run in real time"
        else:
            reason += ": `monitor: {resources: true}` in the rig does"
        return [Verdict(NAME, "rig", Outcome.NOT_RUN, reason, "growth", None, "MB/h", limits.max_growth_mb_per_h)]
    hours = (resources.at_ns - recording.start_ns) / _HOUR_NS
    within = (hours >= 0) & (resources.at_ns <= recording.stop_ns)
    hours = hours[within]
    drifts = (
        ("growth", "rss_bytes", 1 / _MB, "MB/h", limits.max_growth_mb_per_h, _ALLOCATORS_MB, _ADVICE),
        ("GPU growth", "cuda_bytes", 1 / _MB, "MB/h", limits.max_growth_mb_per_h, _ALLOCATORS_MB, _ADVICE),
        ("open files growth", "open_files", 1.0, "1/h", limits.max_files_per_h, 1.0, _FILES),
        ("threads growth", "threads", 1.0, "1/h", limits.max_threads_per_h, 1.0, _THREADS),
    )  # fmt: skip
    verdicts = [_peak(resources.column("rss_bytes") / _MB, limits)]
    for measure, column, scale, unit, limit, hidden, advice in drifts:
        values = resources.column(column)[within] * scale
        if np.isfinite(values).any():
            verdicts.append(_drift(measure, unit, hours, values, limit, hidden, advice))
    return verdicts


def _peak(rss_mb: FloatArray, limits: LIMITS) -> Verdict:
    """Of what was sampled; what came and went between two samples is not in it."""
    peak, n = float(np.nanmax(rss_mb)), int(np.isfinite(rss_mb).sum())
    reason = f"{peak:.0f} MB at most, {rss_mb[np.isfinite(rss_mb)][0]:.0f} MB at the beginning"
    outcome = Outcome.PASS
    if peak > limits.max_rss_mb:
        outcome = Outcome.FAIL
        reason += ": take smaller batches or a smaller model, or allow more (max_rss_mb)"
    return Verdict(NAME, "rig", outcome, reason, "peak", peak, "MB", limits.max_rss_mb, n, peak, peak, 1.0)


def _drift(
    measure: str, unit: str, hours: FloatArray, values: FloatArray, limit: float, hidden: float, advice: str
) -> Verdict:
    found = growth(hours, values, hidden)
    if found is None:
        reason = f"{len(hours)} samples are too few to tell a drift: run longer, ten minutes for a start"
        return Verdict(NAME, "rig", Outcome.INCONCLUSIVE, reason, measure, None, unit, limit, len(hours))
    outcome = {True: Outcome.PASS, False: Outcome.FAIL, None: Outcome.INCONCLUSIVE}[shown(found, limit)]
    reason = f"{values[0]:.6g} at the beginning, {values[-1]:.6g} at the end of {60 * (hours[-1] - hours[0]):.3g} min"
    if outcome is Outcome.FAIL:
        reason += f"; {advice}"
    if outcome is Outcome.INCONCLUSIVE:
        reason += f"; {_how_long(found, limit, 60 * float(hours[-1] - hours[0]))}"
    return Verdict(
        NAME, "rig", outcome, reason, measure, found.value, unit, limit, found.n, found.low, found.high,
        found.confidence,
    )  # fmt: skip


def _how_long(found: Growth, limit: float, minutes: float) -> str:
    times = longer(found, limit)
    if not math.isfinite(times):
        return "the interval straddles the limit, so run longer"
    return f"the interval straddles the limit, so run longer, {math.ceil(minutes * times)} minutes or so"
