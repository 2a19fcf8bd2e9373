"""The score of one stream: over a whole recording, or as its samples come."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from drivers.quality import (
    acceleration,
    affect,
    ecg,
    eda,
    eeg,
    generic,
    heart_rate,
    ppg,
    respiration,
    spo2,
    temperature,
)
from drivers.quality.delivery import delivery, delivery_factor
from drivers.quality.rows import Mask
from drivers.quality.windows import Table, Windows
from drivers.types import FloatArray, IntArray, Quality, Samples, StreamSpec

_SECOND_NS = 1_000_000_000
_MODALITIES: Mapping[str, ModuleType] = {
    "ecg": ecg, "ppg": ppg, "eda": eda, "respiration": respiration, "temperature": temperature, "eeg": eeg,
    "acceleration": acceleration, "heart_rate": heart_rate, "rr": heart_rate, "affect": affect,
    "exg": generic, "raw": generic, "spo2": spo2,
}  # fmt: skip
_LONGEST_FILL_S = 3.0
"""A hole beyond this is cut short on the grid: delivery has brought the score to 0 already."""
_RESCORE_NS = _SECOND_NS
_AT_ONCE = 1 << 17
"""Samples of windows that are held at a time: more would not fit a core's cache."""
_NO_NUMBERS_BAD = 0.05
"""Share of values that are no numbers which leaves nothing of a score."""
_FEWEST = 3
"""Samples below which a window says nothing about the signal."""


@dataclass(frozen=True)
class Score:
    """One window. ``score`` is NaN, and the flag ``unknown`` up, while the window is too short to tell."""

    score: float
    flags: frozenset[str]
    parts: Mapping[str, float]


@dataclass(frozen=True)
class Scores:
    """Many windows, arrays (w,)."""

    score: FloatArray
    """0..1, NaN where unknown."""
    flags: Mapping[str, Mask]
    parts: Mapping[str, FloatArray]
    """0..1 each, ``delivery`` among them; NaN where unknown."""

    def at(self, window: int) -> Score:
        """One of them."""
        flags = frozenset(name for name, raised in self.flags.items() if raised[window])
        return Score(
            float(self.score[window]), flags, {name: float(value[window]) for name, value in self.parts.items()}
        )


def window_s(kind: str) -> float:
    """Length of the window that the score of this kind of stream looks back on."""
    return float(_MODALITIES[kind].WINDOW_S)


def shortest_s(kind: str) -> float:
    """From the stream's first sample on, so much must have come before it is scored at all."""
    return float(_MODALITIES[kind].SHORTEST_S)


def score(window: FloatArray, rate_hz: float | None, spec: StreamSpec) -> Score:
    """Score of one window (n, channels) or (n,) in which nothing is missing; unknown if shorter than ``shortest_s``."""
    values = np.asarray(window, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if rate_hz is not None and rate_hz != spec.rate_hz:
        spec = replace(spec, rate_hz=rate_hz)
    if len(values) < _FEWEST or (spec.rate_hz and len(values) + 1 < shortest_s(spec.kind) * spec.rate_hz):
        return Score(float("nan"), frozenset({"unknown"}), {})
    result = _Result(np.full(1, np.nan), {}, {"delivery": np.ones(1)})
    result.take(np.zeros(1, dtype=np.int64), *_judge(values[None].copy(), spec))
    return Scores(result.score, result.flags, result.parts).at(0)


def score_windows(
    values: FloatArray, times_ns: IntArray, spec: StreamSpec, ends_ns: IntArray, length_s: float | None = None
) -> tuple[FloatArray, list[frozenset[str]]]:
    """Score (w,) and flags of the windows that end at ``ends_ns`` (w,) and look back ``length_s`` each.

    ``values`` (n, channels) taken at host ``times_ns`` (n,). A window that begins before the first sample is as long as
    there are samples, and unknown (NaN) while that is too short; after it, silence counts as loss.
    """
    table = scores(values, times_ns, spec, ends_ns, length_s)
    return table.score, [table.at(number).flags for number in range(len(ends_ns))]


def scores(
    values: FloatArray, times_ns: IntArray, spec: StreamSpec, ends_ns: IntArray, length_s: float | None = None,
    born_ns: int | None = None,
) -> Scores:  # fmt: skip
    """The same (w,) with every part. ``born_ns``: when the stream began, if that was before the first of these."""
    length_ns = round((length_s or window_s(spec.kind)) * _SECOND_NS)
    ends = np.asarray(ends_ns, dtype=np.int64)
    if values.ndim != 2 or len(values) != len(times_ns):
        raise ValueError(f"expected values (n, channels) with n times, found {values.shape} and {len(times_ns)} times")
    if len(times_ns) and (np.diff(times_ns) < 0).any():
        order = np.argsort(times_ns, kind="stable")
        values, times_ns = values[order], times_ns[order]
    born = int(times_ns[0]) if len(times_ns) else np.iinfo(np.int64).max
    born = min(born, born_ns) if born_ns is not None else born
    begins = np.minimum(np.maximum(ends - length_ns, born), ends)
    known = np.minimum(ends - born, length_ns) >= shortest_s(spec.kind) * _SECOND_NS - _SECOND_NS / (spec.rate_hz or 1)
    first, last = np.searchsorted(times_ns, begins), np.searchsorted(times_ns, ends)
    delivered, gap = _delivered(times_ns, begins, ends, spec)
    usable = known & (last - first >= _FEWEST) & (delivered > 0)
    result = _assess(values, times_ns, spec, first, last, usable, length_ns)
    enough = spec.rate_hz is not None and round(spec.rate_hz * length_ns / _SECOND_NS) >= _FEWEST
    known &= enough | usable  # without a rate, or with so few samples in a window at best, silence is no loss
    result.flags["gap"] = known & gap
    result.flags["unknown"] = ~known
    result.parts["delivery"] = np.where(known, delivered, np.nan)
    signal = np.where(usable, result.score, 0.0)
    return Scores(np.where(known, signal * delivered, np.nan), result.flags, result.parts)


@dataclass
class _Result:
    score: FloatArray
    flags: dict[str, Mask]
    parts: dict[str, FloatArray]

    def take(self, at: IntArray, table: Table, numbers: FloatArray) -> None:
        """Enter what is said of the windows ``at`` (w,)."""
        self.score[at] = table.score * numbers
        for name, part in {**table.parts, "numbers": numbers}.items():
            self.parts.setdefault(name, np.full(len(self.score), np.nan))[at] = part
        for name, flag in {**table.flags, "nan": numbers < 0.5}.items():
            self.flags.setdefault(name, np.zeros(len(self.score), dtype=bool))[at] = flag


def _delivered(times_ns: IntArray, begins: IntArray, ends: IntArray, spec: StreamSpec) -> tuple[FloatArray, Mask]:
    """Delivery factor and whether it costs anything, (w,)."""
    if spec.rate_hz is None or not len(times_ns):
        return np.ones(len(ends)), np.zeros(len(ends), dtype=bool)
    factor = delivery_factor(*delivery(times_ns, begins, ends, spec.rate_hz), spec.rate_hz)
    return factor, factor < 1


def _assess(
    values: FloatArray, times_ns: IntArray, spec: StreamSpec, first: IntArray, last: IntArray,
    usable: Mask, length_ns: int,
) -> _Result:  # fmt: skip
    """The signal's parts in the usable windows (w,), NaN and no flag in the others; from ``first`` to ``last``."""
    result = _Result(np.full(len(first), np.nan), {}, {})
    if not usable.any():
        return result
    a, b = int(first[usable].min()), int(last[usable].max())
    even, place = _even(values[a:b], times_ns[a:b], spec.rate_hz)
    starts, stops = place[first[usable] - a], place[last[usable] - a - 1] + 1
    if spec.rate_hz is not None:  # stamps that tremble make windows a sample longer or shorter
        starts = np.maximum(starts, stops - round(length_ns * spec.rate_hz / _SECOND_NS))
    numbers, lengths = np.flatnonzero(usable), stops - starts
    for length in sorted(set(lengths.tolist())):
        same = np.flatnonzero(lengths == length)
        many = max(1, _AT_ONCE // (length * even.shape[1]))
        for part in (same[k : k + many] for k in range(0, len(same), many)):
            rows = even[starts[part][:, None] + np.arange(length)]
            result.take(numbers[part], *_judge(rows, spec))
    return result


def _judge(rows: FloatArray, spec: StreamSpec) -> tuple[Table, FloatArray]:
    """What the modality says of windows (w, n, channels), and what values that are no numbers leave of it, (w,)."""
    broken = np.logical_not(np.isfinite(rows).all(axis=2))
    share = broken.mean(axis=1)
    for row in np.flatnonzero(share > 0).tolist():
        rows[row] = _bridged(rows[row], ~broken[row])
    table: Table = _MODALITIES[spec.kind].assess(Windows(rows, spec.rate_hz or 1.0, spec))
    return table, np.asarray(1 - np.minimum(share / _NO_NUMBERS_BAD, 1.0))


def _bridged(row: FloatArray, whole: Mask) -> FloatArray:
    """(n, channels) with straight lines where a value is no number; zeros where there is none at all."""
    if not whole.any():
        return np.zeros_like(row)
    at, known = np.arange(len(row)), np.flatnonzero(whole)
    return np.stack([np.interp(at, known, channel[known]) for channel in row.T], axis=1)


def _even(values: FloatArray, times_ns: IntArray, rate_hz: float | None) -> tuple[FloatArray, IntArray]:
    """Samples (n, channels) on a grid without holes, (m, channels), and each one's place on it, (n,)."""
    count = len(times_ns)
    if rate_hz is None:
        return values, np.arange(count)
    steps = np.diff(times_ns) * (rate_hz / _SECOND_NS)
    if not (steps > 1.6).any():
        return values, np.arange(count)
    whole = np.clip(np.rint(steps), 1, max(1.0, _LONGEST_FILL_S * rate_hz))
    place = np.concatenate([[0], np.cumsum(np.where(steps > 1.6, whole, 1))]).astype(np.int64)
    grid = np.arange(place[-1] + 1)
    return np.stack([np.interp(grid, place, channel) for channel in values.T], axis=1), place


class StreamScorer:
    """Keeps the window that the modality's score needs and says how good it is now."""

    def __init__(self, spec: StreamSpec) -> None:
        self.spec = spec
        self._keep_ns = round(window_s(spec.kind) * _SECOND_NS)
        self._blocks: deque[tuple[FloatArray, IntArray]] = deque()
        self._born_ns: int | None = None
        self._scored_ns = -_RESCORE_NS
        self._score = Score(float("nan"), frozenset({"unknown"}), {})

    def update(self, samples: Samples, times_ns: IntArray) -> None:
        """Take decoded samples with their host times (n,) in ns."""
        if not len(times_ns):
            return
        if self._born_ns is None:
            self._born_ns = int(times_ns[0])
        self._blocks.append((samples.values, times_ns))
        newest = int(times_ns[-1])
        while len(self._blocks) > 1 and int(self._blocks[1][1][0]) <= newest - self._keep_ns:
            self._blocks.popleft()

    def result(self) -> Quality:
        """Score of the newest window, with parts and flags under the stream's name; judged anew once a second.

        Until the window is long enough the score is NaN (neither good nor low) and the flag ``unknown`` is up.
        """
        if self._blocks:
            newest = int(self._blocks[-1][1][-1])
            if newest - self._scored_ns >= _RESCORE_NS or "unknown" in self._score.flags:
                self._score, self._scored_ns = self.score(), newest
        name, now = self.spec.name, self._score
        return Quality(now.score, {name: now.score}, {name: now.parts}, {name: now.flags})

    def score(self) -> Score:
        """Score of the window that ends with the newest sample, the same as ``scores()`` of the whole stream gives."""
        if self._born_ns is None:
            return Score(float("nan"), frozenset({"unknown"}), {})
        values = np.concatenate([block[0] for block in self._blocks])
        times = np.concatenate([block[1] for block in self._blocks])
        end = int(times.max()) + (round(_SECOND_NS / self.spec.rate_hz) if self.spec.rate_hz else 1)
        return scores(values, times, self.spec, np.array([end]), born_ns=self._born_ns).at(0)
