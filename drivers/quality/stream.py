"""The score of one stream: over a whole recording, or as its samples come."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
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
    flags: Mapping[str, np.typing.NDArray[np.bool_]]
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
    """Score of one window (n, channels) without holes, as it stands."""
    rate = rate_hz or 1.0
    times = np.rint(np.arange(len(window)) * (_SECOND_NS / rate)).astype(np.int64)
    end = np.array([round(len(window) * _SECOND_NS / rate)])
    return scores(window, times, spec, end, len(window) / rate).at(0)


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
    values: FloatArray, times_ns: IntArray, spec: StreamSpec, ends_ns: IntArray, length_s: float | None = None
) -> Scores:
    """The same with every part."""
    length_ns = round((length_s or window_s(spec.kind)) * _SECOND_NS)
    ends = np.asarray(ends_ns, dtype=np.int64)
    if len(times_ns) and (np.diff(times_ns) < 0).any():
        order = np.argsort(times_ns, kind="stable")
        values, times_ns = values[order], times_ns[order]
    born = int(times_ns[0]) if len(times_ns) else np.iinfo(np.int64).max
    begins = np.minimum(np.maximum(ends - length_ns, born), ends)
    known = ends - born >= min(shortest_s(spec.kind) * _SECOND_NS, length_ns) - _SECOND_NS / (spec.rate_hz or 1)
    first, last = np.searchsorted(times_ns, begins), np.searchsorted(times_ns, ends)
    delivered, gap = _delivered(times_ns, begins, ends, spec)
    usable = known & (last - first >= _FEWEST) & (delivered > 0)
    result = _assess(values, times_ns, spec, first, last, usable)
    known &= (spec.rate_hz is not None) | usable  # without a rate, silence is no loss
    result.flags["gap"] = known & gap
    result.flags["unknown"] = ~known
    result.parts["delivery"] = np.where(known, delivered, np.nan)
    signal = np.where(usable, result.score, 0.0)
    return Scores(np.where(known, signal * delivered, np.nan), result.flags, result.parts)


@dataclass
class _Result:
    score: FloatArray
    flags: dict[str, np.typing.NDArray[np.bool_]]
    parts: dict[str, FloatArray]


def _delivered(
    times_ns: IntArray, begins: IntArray, ends: IntArray, spec: StreamSpec
) -> tuple[FloatArray, np.typing.NDArray[np.bool_]]:
    """Delivery factor and whether it costs anything, (w,)."""
    if spec.rate_hz is None or not len(times_ns):
        return np.ones(len(ends)), np.zeros(len(ends), dtype=bool)
    factor = delivery_factor(*delivery(times_ns, begins, ends, spec.rate_hz), spec.rate_hz)
    return factor, factor < 1


def _assess(
    values: FloatArray, times_ns: IntArray, spec: StreamSpec, first: IntArray, last: IntArray,
    usable: np.typing.NDArray[np.bool_],
) -> _Result:  # fmt: skip
    """The signal's parts in the usable windows, NaN and no flag in the others."""
    count = len(first)
    if not usable.any():
        return _Result(np.full(count, np.nan), {}, {})
    a, b = int(first[usable].min()), int(last[usable].max())
    even, place = _even(values[a:b], times_ns[a:b], spec.rate_hz)
    broken: np.typing.NDArray[np.bool_] = ~np.all(np.isfinite(even), axis=1)
    if broken.any():
        even = np.where(broken[:, None], 0.0, even)
    windows = Windows(even, place[first[usable] - a], place[last[usable] - a - 1] + 1, spec.rate_hz or 1.0, spec)
    table: Table = _MODALITIES[spec.kind].assess(windows)
    clean = 1 - np.minimum(windows.mean(broken) * 20, 1) if broken.any() else 1.0
    score, flags = np.full(count, np.nan), {}
    parts = {name: np.full(count, np.nan) for name in table.parts}
    score[usable] = table.score * clean
    for name, part in table.parts.items():
        parts[name][usable] = part
    for name, flag in table.flags.items():
        flags[name] = np.zeros(count, dtype=bool)
        flags[name][usable] = flag
    return _Result(score, flags, parts)


def _even(values: FloatArray, times_ns: IntArray, rate_hz: float | None) -> tuple[FloatArray, IntArray]:
    """Samples on a grid without holes, and each one's place on it."""
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
        while len(self._blocks) > 1 and int(self._blocks[1][1][0]) < newest - self._keep_ns:
            self._blocks.popleft()

    def result(self) -> Quality:
        """Score of the newest window, with parts and flags under the stream's name; judged anew once a second.

        Until the window is long enough the score is NaN (neither good nor low) and the flag ``unknown`` is up.
        """
        if self._blocks:
            newest = int(self._blocks[-1][1][-1])
            if newest - self._scored_ns >= _RESCORE_NS or "unknown" in self._score.flags:
                self._judge(newest)
        name, now = self.spec.name, self._score
        return Quality(now.score, {name: now.score}, {name: now.parts}, {name: now.flags})

    def _judge(self, newest: int) -> None:
        period = round(_SECOND_NS / self.spec.rate_hz) if self.spec.rate_hz else 1
        end = newest + period
        if self._born_ns is None or end - self._born_ns < shortest_s(self.spec.kind) * _SECOND_NS:
            return
        values = np.concatenate([block[0] for block in self._blocks])
        times = np.concatenate([block[1] for block in self._blocks])
        self._score = scores(values, times, self.spec, np.array([end])).at(0)
        self._scored_ns = newest
