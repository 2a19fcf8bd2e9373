"""Signals are usable: share of windows whose quality score is good, with the flags that say why not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from drivers.quality import Scores, scores, shortest_s, window_s
from drivers.types import IntArray
from harness.delivery import outages_ns
from harness.recording import Recording, StreamData
from harness.statistics import share_interval
from harness.verdict import Outcome, Verdict

NAME = "quality"
_HOP_NS = 1_000_000_000
_FEWEST = 3


@dataclass(frozen=True)
class LIMITS:
    """Limits of the quality check."""

    min_score: float = field(default=0.5, metadata={"help": "score from which a window counts as good"})
    min_good_percent: float = field(default=90.0, metadata={"help": "share of windows that must be good"})

    def __post_init__(self) -> None:
        if not (0 < self.min_score <= 1 and 0 < self.min_good_percent <= 100):
            raise ValueError("quality: expected 0 < min_score <= 1 and 0 < min_good_percent <= 100")


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """One verdict per stream: windows end every second of the run and look back as far as the modality needs.

    Windows in which the stream was silent, or that reach into a time without a link, say nothing about the
    signal: they are for the delivery check, and the reason here counts them.
    """
    return [_stream(recording, stream, limits) for stream in recording.streams.values()]


def _stream(recording: Recording, stream: StreamData, limits: LIMITS) -> Verdict:
    ends_ns = np.arange(recording.start_ns + _HOP_NS, recording.stop_ns + 1, _HOP_NS)
    table = scores(stream.values, stream.time_ns, stream.spec, ends_ns)
    delivered = table.parts.get("delivery", np.ones(len(ends_ns)))
    silent = np.isfinite(table.score) & ((delivered == 0) | _cut(recording, stream, ends_ns))
    judged = np.isfinite(table.score) & ~silent
    n, good = int(judged.sum()), int((table.score[judged] >= limits.min_score).sum())
    unknown = int((~np.isfinite(table.score)).sum())
    rest = f"; {int(silent.sum())} windows silent" if silent.any() else ""
    rest += f", {unknown} too early to tell" if unknown else ""
    if n < _FEWEST:
        need = shortest_s(stream.spec.kind) + _FEWEST
        reason = f"only {n} windows could be scored{rest}: at least {need:g} s of signal are needed"
        return Verdict(NAME, stream.key, Outcome.INCONCLUSIVE, reason, "good windows", None, "%", None, n)
    percent = 100.0 * good / n
    apart = max(1, int(n / max(1.0, window_s(stream.spec.kind))))  # windows overlap: so many are independent
    low, high = share_interval(round(good / n * apart), apart)
    ok = percent >= limits.min_good_percent
    reason = f"{good} of {n} windows good, median score {np.median(table.score[judged]):.2f}{rest}"
    flags = _flags(table, judged)
    if flags:
        reason += f"; {flags}"
    return Verdict(
        NAME, stream.key, Outcome.PASS if ok else Outcome.FAIL, reason, "good windows", percent, "%",
        limits.min_good_percent, n, 100 * low, 100 * high, 0.95,
    )  # fmt: skip


def _cut(recording: Recording, stream: StreamData, ends_ns: IntArray) -> np.typing.NDArray[np.bool_]:
    """(w,) windows that reach into a time in which the link was gone."""
    begins_ns = ends_ns - round(window_s(stream.spec.kind) * 1e9)
    cut = np.zeros(len(ends_ns), dtype=bool)
    for down_ns, back_ns in outages_ns(recording, stream.role):
        cut |= (ends_ns > down_ns) & (begins_ns < back_ns)
    return cut


def _flags(table: Scores, judged: np.typing.NDArray[np.bool_]) -> str:
    """Flags that were up in more than a tenth of the judged windows, most frequent first."""
    counts = Counter({name: int((raised & judged).sum()) for name, raised in table.flags.items()})
    often = [f"{name} in {count}" for name, count in counts.most_common() if count > 0.1 * judged.sum()]
    return "flagged: " + ", ".join(often) if often else ""
