"""ECG: do the beats look alike, do two detectors agree on them, and is what lies between them quiet?

Parts after Li, Mark and Clifford 2008 (agreement of two detectors), Orphanidou 2015 (template
correlation, RR limits) and Clifford 2012 (baseline); limits set on PhysioNet/CinC Challenge 2011
leads and on injected disturbances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.quality.beats import bandpass
from drivers.quality.marks import Marks
from drivers.quality.window_beats import agreement, amplitude_beats, energy_beats, likeness, rhythm, strongest
from drivers.quality.windows import Table, Windows, line_rms, millivolt, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 10.0, 4.0
_BEFORE_S, _AFTER_S = 0.20, 0.30
_SMALLEST_MV = 0.05


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst lead counts."""
    return Table.worst(_lead(windows, lead) for lead in windows.channels())


@dataclass(frozen=True)
class _Lead:
    """One lead (w, n), filtered, with its beats."""

    clean: FloatArray
    energy: Marks
    amplitude: Marks

    @classmethod
    def of(cls, raw: FloatArray, rate_hz: float) -> _Lead:
        clean = bandpass(raw, rate_hz, 0.7, 40.0)
        banded = bandpass(raw, rate_hz, 8.0, 20.0)
        return cls(clean, energy_beats(banded, rate_hz), amplitude_beats(clean, rate_hz))


def _lead(windows: Windows, raw: FloatArray) -> Table:
    rate = windows.rate_hz
    lead = _Lead.of(raw, rate)
    swing = np.maximum(windows.swing(lead.clean), 1e-12)
    above = raw - bandpass(raw, rate, 0.0, 40.0) if rate > 100 else np.zeros_like(raw)
    wander = raw - lead.clean if rate <= 100 else raw - above - lead.clean
    line = line_rms(windows, raw)
    noise = np.sqrt(np.maximum(windows.rms(above) ** 2 - line**2, 0))
    tops = strongest(np.abs(lead.clean), lead.energy, round(0.04 * rate))
    measures = {
        "flat": windows.mean(windows.stuck(0.5)),
        "saturated": windows.mean(windows.railed() | windows.clipped()),
        "baseline": _spread(windows, wander) / swing,
        "line": line / swing,
        "noise": noise / swing,
        "coarse": _coarseness(windows, raw) / swing,
        "template": likeness(lead.clean, tops, round(_BEFORE_S * rate), round(_AFTER_S * rate)),
        "agreement": agreement(lead.energy, lead.amplitude, rate),
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
    change = np.abs(np.diff(raw, prepend=raw[:, :1]))
    moved = windows.mean(change > 0)
    return np.where(moved < 0.4, windows.mean(change) / np.maximum(moved, 1e-9), 0.0)


def _jumps(windows: Windows, raw: FloatArray) -> FloatArray:
    """Second steepest step of a window's seconds over the usual steepest, which is a QRS complex's, (w,)."""
    steepest = np.sort(windows.seconds(np.abs(np.diff(raw, prepend=raw[:, :1]))).max(axis=-1), axis=1)
    count = steepest.shape[1]
    if count < 3:
        return np.ones(len(steepest))
    return np.asarray(steepest[:, -2] / np.maximum(steepest[:, count // 2], 1e-12))
