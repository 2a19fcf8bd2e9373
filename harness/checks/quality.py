"""Signals are usable: share of windows whose quality score is good, the longest low stretch, and what made them low.

A score is the signal's times the delivery's, so a loss that the waveform hides shows here too; the reason says which
of the two made windows low. The verdict is about this run: its windows are all there were, so their share is a fact,
as a lost sample is one. The interval says what the run tells of the sensor in the long run, counting as many windows
as do not overlap, and is wide: three of three good ones leave 29 to 100 %. That is why a clean run of 30 s passes by
its fact and is not held to its interval. FAIL asks for more than the share, though: windows look back ten seconds or
so, and one bad moment makes all of them low that hold it. Where all that is low could be one such moment, most of the
run is good, and a run so short has no room for such a moment within the limit, the result is INCONCLUSIVE: a longer
run has to show whether that was once or is the rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from drivers.quality import Scores, shortest_s, window_s
from drivers.types import IntArray
from harness.delivery import outages_ns
from harness.quality import HOP_NS, LOW, scores_of
from harness.recording import Recording, StreamData
from harness.verdict import Outcome, Verdict

NAME = "quality"
_FEWEST = 3
"""Windows to be judged, and samples below which a stream was silent."""
_SILENT = 0.05
"""Of the samples that a window should hold."""
_OFTEN = 0.1

Mask = np.typing.NDArray[np.bool_]


@dataclass(frozen=True)
class LIMITS:
    """Limits of the quality check."""

    min_score: float = field(default=LOW, metadata={"help": "score from which a window counts as good"})
    min_good_percent: float = field(default=90.0, metadata={"help": "share of windows that must be good"})
    max_low_s: float = field(
        default=math.inf,
        metadata={
            "help": "how long a signal may stay low at a stretch; one bad moment takes as long as the windows that "
            "hold it, 10 s for an ECG. Not judged unless given"
        },
    )

    def __post_init__(self) -> None:
        if not (0 < self.min_score <= 1 and 0 < self.min_good_percent <= 100 and self.max_low_s > 0):
            raise ValueError("quality: expected 0 < min_score <= 1, 0 < min_good_percent <= 100 and max_low_s above 0")


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """Per stream the share of good windows, and where ``max_low_s`` is given the longest low stretch.

    Windows end every second of the run and look back as far as the modality needs. Those in which the stream was
    silent, or that reach into a time without a link, say nothing about the signal and are for the delivery check; the
    reason counts them, and those that came too early to tell.
    """
    return [v for stream in recording.streams.values() for v in _stream(recording, stream, limits)]


@dataclass(frozen=True, eq=False)
class _Judged:
    """The windows of one stream, masks (w,)."""

    table: Scores
    known: Mask
    """Can be judged."""
    low: Mask
    unjudged: dict[str, int]
    """Why not -> how many."""

    @property
    def longest_low(self) -> int:
        """Windows, from the first low one to the last with no good one between; what is not judged ends none."""
        verdicts = self.low[self.known]
        places = np.flatnonzero(self.known)
        edges = np.flatnonzero(np.diff(verdicts.astype(np.int8), prepend=0, append=0))
        return max((int(places[b - 1] - places[a]) + 1 for a, b in edges.reshape(-1, 2).tolist()), default=0)

    @property
    def span(self) -> int:
        """Windows from the first low one to the last."""
        return int(np.ptp(np.flatnonzero(self.low))) + 1 if self.low.any() else 0


def _stream(recording: Recording, stream: StreamData, limits: LIMITS) -> list[Verdict]:
    judged = _judged(recording, stream, limits)
    n = int(judged.known.sum())
    if n < _FEWEST:
        need = shortest_s(stream.spec.kind) + _FEWEST
        reason = f"only {n} windows could be scored{_unjudged(judged)}: at least {need:g} s of signal are needed"
        return [Verdict(NAME, stream.key, Outcome.INCONCLUSIVE, reason, "good windows", None, "%", None, n)]
    verdicts = [_share(stream, judged, limits)]
    if math.isfinite(limits.max_low_s):
        verdicts.append(_longest(stream, judged, limits))
    return verdicts


def _judged(recording: Recording, stream: StreamData, limits: LIMITS) -> _Judged:
    ends_ns, table = scores_of(recording, stream)
    scored = np.isfinite(table.score)
    begins_ns = ends_ns - round(window_s(stream.spec.kind) * 1e9)
    cut = scored & _cut(recording, stream, begins_ns, ends_ns)
    silent = scored & ~cut & _silent(stream, begins_ns, ends_ns)
    known = scored & ~cut & ~silent
    unjudged = {"link gone": cut, "silent": silent, "too early to tell": ~scored}
    low = known & ~(table.score >= limits.min_score)
    return _Judged(table, known, low, {why: int(mask.sum()) for why, mask in unjudged.items() if mask.any()})


def _cut(recording: Recording, stream: StreamData, begins_ns: IntArray, ends_ns: IntArray) -> Mask:
    """(w,) windows that reach into a time in which the link was gone."""
    cut = np.zeros(len(ends_ns), dtype=bool)
    for down_ns, back_ns in outages_ns(recording, stream.role):
        cut |= (ends_ns > down_ns) & (begins_ns < back_ns)
    return cut


def _silent(stream: StreamData, begins_ns: IntArray, ends_ns: IntArray) -> Mask:
    """(w,) windows with next to no sample: there is no signal that could be good or low."""
    times_ns = np.sort(stream.time_ns)
    count = np.searchsorted(times_ns, ends_ns) - np.searchsorted(times_ns, begins_ns)
    due = window_s(stream.spec.kind) * (stream.spec.rate_hz or 0.0)
    return np.asarray(count < max(_SILENT * due, min(_FEWEST, due)))


def _share(stream: StreamData, judged: _Judged, limits: LIMITS) -> Verdict:
    n, bad = int(judged.known.sum()), int(judged.low.sum())
    percent, windows = 100.0 * (n - bad) / n, max(1.0, window_s(stream.spec.kind))
    low, high = _interval(percent / 100, n / windows)
    reason = f"{n - bad} of {n} windows good, median score {np.median(judged.table.score[judged.known]):.2f}"
    reason += _unjudged(judged) + _why(judged, limits) + _flags(judged)
    outcome = Outcome.PASS if percent >= limits.min_good_percent else Outcome.FAIL
    moment = judged.span <= windows and windows > (1 - limits.min_good_percent / 100) * n
    if outcome is Outcome.FAIL and moment and bad <= n / 2:
        outcome = Outcome.INCONCLUSIVE
        reason += f"; one bad moment is low for {windows:g} s, too much for so short a run: run longer"
        if limits.min_good_percent < 100:
            reason += f" than {windows / (1 - limits.min_good_percent / 100):.0f} s"
    return Verdict(
        NAME, stream.key, outcome, reason, "good windows", percent, "%", limits.min_good_percent, n, 100 * low,
        100 * high, 0.95,
    )  # fmt: skip


def _interval(share: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a share among ``n`` independent windows, which need be no whole number."""
    n, tail = max(n, 1.0), (1 - confidence) / 2
    good = share * n
    low = float(stats.beta.ppf(tail, good, n - good + 1)) if share > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, good + 1, n - good)) if share < 1 else 1.0
    return low, high


def _longest(stream: StreamData, judged: _Judged, limits: LIMITS) -> Verdict:
    longest = judged.longest_low * HOP_NS / 1e9
    outcome = Outcome.PASS if longest <= limits.max_low_s else Outcome.FAIL
    reason = f"low for at most {longest:g} s at a stretch{_why(judged, limits)}{_flags(judged)}"
    return Verdict(
        NAME, stream.key, outcome, reason, "longest low stretch", longest, "s", limits.max_low_s,
        int(judged.known.sum()), longest, longest, 1.0,
    )  # fmt: skip


def _unjudged(judged: _Judged) -> str:
    """Coverage, where it is not whole."""
    if not judged.unjudged:
        return ""
    n, of = int(judged.known.sum()), len(judged.known)
    rest = ", ".join(f"{count} {why}" for why, count in judged.unjudged.items())
    return f"; {100 * n / of:.0f} % of the run judged ({rest})"


def _why(judged: _Judged, limits: LIMITS) -> str:
    """Which factor made windows low: the signal's score, the delivery's, or neither alone."""
    if not judged.low.any():
        return ""
    score, delivered = judged.table.score[judged.low], np.ones(int(judged.low.sum()))
    if "delivery" in judged.table.parts:
        delivered = judged.table.parts["delivery"][judged.low]
    lost = delivered < limits.min_score
    poor = score < limits.min_score * delivered  # the signal's own score is low
    parts = {"the signal": poor & ~lost, "lost samples": lost & ~poor, "both": ~(lost ^ poor)}
    told = [f"{why} in {int(mask.sum())}" for why, mask in parts.items() if mask.any()]
    return f"; low by {', '.join(told)}, at most {judged.longest_low} s at a stretch"


def _flags(judged: _Judged) -> str:
    """Flags that were up in more than a tenth of the judged windows or half of the low ones, most frequent first."""
    n, bad = int(judged.known.sum()), int(judged.low.sum())
    counts = {name: int((raised & judged.known).sum()) for name, raised in judged.table.flags.items()}
    often = {
        name: count
        for name, count in sorted(counts.items(), key=lambda each: -each[1])
        if count > _OFTEN * n or int((judged.table.flags[name] & judged.low).sum()) > 0.5 * max(bad, 1)
    }
    told = ", ".join(f"{name} in {count} ({100 * count / n:.0f} %)" for name, count in often.items())
    return f"; flagged: {told}" if often else ""
