"""ECG: do the beats look alike, do two detectors agree on them, and is what lies between them quiet?

Parts after Li, Mark and Clifford 2008 (agreement of two detectors), Orphanidou 2015 (template
correlation, RR limits) and Clifford 2012 (baseline); limits set on PhysioNet/CinC Challenge 2011
leads and on injected disturbances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.quality.beats import amplitude_beats, bandpass, energy_beats, strongest
from drivers.quality.windows import Table, Windows, line_rms, millivolt, ramp
from drivers.types import FloatArray, IntArray

WINDOW_S, SHORTEST_S = 10.0, 4.0
_MATCH_S = 0.15
_BEFORE_S, _AFTER_S = 0.20, 0.30
_SMALLEST_MV = 0.05


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst lead counts."""
    return Table.worst(_lead(windows, lead) for lead in windows.values.T)


@dataclass(frozen=True)
class _Lead:
    """One lead, filtered, with its beats."""

    clean: FloatArray
    energy: IntArray
    amplitude: IntArray

    @classmethod
    def of(cls, raw: FloatArray, rate_hz: float) -> _Lead:
        clean = bandpass(raw, rate_hz, 0.7, 40.0)
        banded = bandpass(raw, rate_hz, 8.0, 20.0)
        return cls(clean, energy_beats(banded, rate_hz), amplitude_beats(clean, rate_hz))


def _lead(windows: Windows, raw: FloatArray) -> Table:
    rate = windows.rate_hz
    lead = _Lead.of(raw, rate)
    swing = np.maximum(windows.swing(lead.clean), 1e-12)
    above = raw - bandpass(raw, rate, 0.0, 40.0) if rate > 100 else np.zeros(len(raw))
    wander = raw - lead.clean if rate <= 100 else raw - above - lead.clean
    line = line_rms(windows, raw)
    noise = np.sqrt(np.maximum(windows.rms(above) ** 2 - line**2, 0))
    measures = {
        "flat": windows.mean(windows.stuck(0.5)),
        "saturated": windows.mean(windows.railed() | windows.clipped()),
        "baseline": _spread(windows, wander) / swing,
        "line": line / swing,
        "noise": noise / swing,
        "coarse": _coarseness(windows, raw) / swing,
        "template": likeness(windows, lead.clean, strongest(np.abs(lead.clean), lead.energy, round(0.04 * rate))),
        "agreement": agreement(windows, lead.energy, lead.amplitude),
        "jump": _jumps(windows, raw),
        "rhythm": rhythm(windows, lead.energy),
    }
    scale = millivolt(windows.spec)
    small = scale is not None and swing * scale < _SMALLEST_MV
    return _judge(measures, np.broadcast_to(np.asarray(small), swing.shape))


def _judge(m: dict[str, FloatArray], small: np.typing.NDArray[np.bool_]) -> Table:
    parts = {
        "flat": np.where(small, 0.0, ramp(m["flat"], 0.45, 0.1)),
        "saturated": ramp(m["saturated"], 0.05, 0.005),
        "baseline": ramp(m["baseline"], 3.0, 0.8),
        "line": ramp(m["line"], 0.13, 0.04),
        "noise": ramp(m["noise"], 0.22, 0.08),
        "coarse": ramp(m["coarse"], 0.3, 0.1),
        "template": ramp(m["template"], 0.35, 0.80),
        "agreement": ramp(m["agreement"], 0.25, 0.85),
        "jump": ramp(m["jump"], 9.0, 3.0),
        "rhythm": m["rhythm"],
    }
    coarse = parts["coarse"] < 0.5  # steps rest on plateaus: one cause, one flag
    quiet = np.min([parts[name] for name in ("noise", "line", "jump", "flat", "coarse")], axis=0) >= 0.5
    flags = {
        "flat": (parts["flat"] < 0.5) & ~coarse,
        "saturated": (parts["saturated"] < 0.5) & ~coarse,
        "baseline": parts["baseline"] < 0.5,
        "hum": parts["line"] < 0.5,
        "noise": parts["noise"] < 0.5,
        "coarse": coarse,
        "pop": parts["jump"] < 0.5,
        "motion": (parts["template"] < 0.5) & quiet,
    }
    return Table(parts, flags)


def _spread(windows: Windows, wander: FloatArray) -> FloatArray:
    return np.sqrt(np.maximum(windows.mean(wander * wander) - windows.mean(wander) ** 2, 0))


def _coarseness(windows: Windows, raw: FloatArray) -> FloatArray:
    """Mean step between samples where most do not step at all, (w,)."""
    change = np.abs(np.diff(raw, prepend=raw[:1]))
    moved = windows.mean(change > 0)
    return np.where(moved < 0.4, windows.mean(change) / np.maximum(moved, 1e-9), 0.0)


def likeness(
    windows: Windows, clean: FloatArray, beats: IntArray, span_s: tuple[float, float] | None = None
) -> FloatArray:
    """Mean correlation of each window's beats with their mean, (w,); 0 where there are fewer than three."""
    before, after = (round(s * windows.rate_hz) for s in span_s or (_BEFORE_S, _AFTER_S))
    beats = beats[(beats >= before) & (beats + after < len(clean))]
    if len(beats) < 3:
        return np.zeros(len(windows.starts))
    shapes = clean[beats[:, None] + np.arange(-before, after + 1)]
    shapes = shapes - shapes.mean(axis=1, keepdims=True)
    shapes /= np.maximum(np.linalg.norm(shapes, axis=1, keepdims=True), 1e-12)
    first = np.searchsorted(beats, windows.starts + before)
    last = np.searchsorted(beats, windows.stops - after)
    total = np.concatenate([np.zeros((1, shapes.shape[1])), np.cumsum(shapes, axis=0)])
    count = last - first
    template = total[last] - total[first]
    # unit shapes: sum of their correlations with the mean = |sum|^2 / |sum|
    return np.where(count >= 3, np.linalg.norm(template, axis=1) / np.maximum(count, 1), 0.0)


def agreement(windows: Windows, first: IntArray, second: IntArray) -> FloatArray:
    """Beats that both detectors found within 150 ms, of all that either found, (w,)."""
    if not len(first) or not len(second):
        return np.zeros(len(windows.starts))
    near = np.searchsorted(second, first)
    distance = np.minimum(
        np.abs(second[np.minimum(near, len(second) - 1)] - first), np.abs(second[np.maximum(near - 1, 0)] - first)
    )
    matched = np.concatenate([[0], np.cumsum(distance <= _MATCH_S * windows.rate_hz)])
    a, b = (np.searchsorted(first, edge) for edge in (windows.starts, windows.stops))
    n = b - a
    m = np.searchsorted(second, windows.stops) - np.searchsorted(second, windows.starts)
    both = matched[b] - matched[a]
    return np.asarray(both / np.maximum(n + m - both, 1))


def _jumps(windows: Windows, raw: FloatArray) -> FloatArray:
    """Second steepest step of a window's seconds over the usual steepest, which is a QRS complex's, (w,)."""
    steepest = windows.per_second(np.abs(np.diff(raw, prepend=raw[:1])), np.max)
    ratio = np.ones(len(steepest))
    for number, second in enumerate(steepest):
        if len(second) >= 3:
            ordered = np.sort(second)
            ratio[number] = ordered[-2] / max(float(ordered[len(ordered) // 2]), 1e-12)
    return ratio


def rhythm(windows: Windows, beats: IntArray, slowest: float = 24.0, fastest: float = 230.0) -> FloatArray:
    """1 where the rate is one that a heart can have and the longest interval is no multiple of the usual, (w,)."""
    first, last = (np.searchsorted(beats, edge) for edge in (windows.starts, windows.stops))
    count = last - first
    intervals = np.diff(beats, append=beats[-1:]) if len(beats) else np.zeros(1)
    minutes = windows.lengths / windows.rate_hz / 60
    rate = count / minutes
    ratio = np.full(len(first), np.inf)
    for number, (a, b) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        if b - a >= 3:
            part = np.sort(intervals[a : b - 1])
            ratio[number] = part[-1] / max(part[len(part) // 2], 1)
    return ramp(ratio, 5.0, 2.5) * ((rate >= slowest) & (rate <= fastest))
