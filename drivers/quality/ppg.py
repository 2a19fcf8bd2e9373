"""PPG: do the pulses look alike, is there blood behind them, and does nothing but pulses move the light?

Parts after Orphanidou 2015 (template correlation, rhythm); the perfusion index is pulse height over
the steady light, 0.3 % being what oximeters are tested at as low perfusion.
"""

from __future__ import annotations

import numpy as np

from drivers.quality.beats import bandpass
from drivers.quality.marks import Marks
from drivers.quality.window_beats import likeness, pulses, rhythm
from drivers.quality.windows import Table, Windows, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 10.0, 4.0
_SHAPE_S = (0.25, 0.35)
"""Around the steepest rise."""
_FINE = 0.005
"""Of the pulse: a step of the converter below this hides no slope of its foot."""


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst wavelength counts."""
    tables = [_channel(windows, channel) for channel in windows.channels()]
    worst = Table.worst(tables)
    # Red light has half the pulse of infrared in a healthy finger: the best wavelength tells the perfusion.
    perfusion = np.max([table.parts["perfusion"] for table in tables], axis=0)
    flags = {**worst.flags, "low_perfusion": (perfusion < 0.5) & (worst.parts["flat"] >= 0.5)}
    return Table({**worst.parts, "perfusion": perfusion}, flags)


def _channel(windows: Windows, raw: FloatArray) -> Table:
    rate = windows.rate_hz
    clean = bandpass(raw, rate, 0.5, 8.0)
    rise = np.gradient(bandpass(raw, rate, 0.5, 4.0), axis=-1)
    # More blood is less light: the rise is the steep side.
    side = np.where(windows.mean(rise**3) < 0, -1.0, 1.0)[:, None]
    clean, rise = side * clean, side * rise
    slow = bandpass(raw, rate, 0.0, 0.5)
    beats = pulses(rise, rate)
    swing = np.maximum(windows.swing(bandpass(raw, rate, 0.8, 8.0), 1.5), 1e-12)
    noise = windows.rms(raw - bandpass(raw, rate, 0.0, 8.0)) if rate > 17 else np.zeros(len(swing))
    steady = windows.mean(raw)
    lit = windows.largest(-raw) < 0
    wander = np.sqrt(np.maximum(windows.mean(slow * slow) - windows.mean(slow) ** 2, 0))
    clipped = windows.clipped(at_least_s=0.06)
    if windows.spec.lsb is not None:
        # In a 7-bit pleth the foot of a pulse rests on one value by itself: only tops tell of clipping there.
        coarse = windows.spec.lsb >= _FINE * swing
        clipped &= windows.clipped(at_least_s=0.06, bottoms=False) | ~coarse[:, None]
    perfusion = np.where(lit, 100 * swing / np.maximum(steady, 1e-12), 100.0)
    parts = {
        "flat": ramp(windows.mean(windows.stuck(0.5)), 0.45, 0.1),
        "saturated": ramp(windows.mean(windows.railed() | clipped), 0.1, 0.01),
        "template": ramp(likeness(clean, beats, *(round(s * rate) for s in _SHAPE_S)), 0.6, 0.92),
        "evenness": ramp(_unevenness(rise, beats), 0.8, 0.3),
        "rhythm": rhythm(windows, beats),
        "noise": ramp(noise / swing, 0.35, 0.1),
        "baseline": ramp(wander / swing, 4.0, 1.2),
        "perfusion": ramp(perfusion, 0.1, 0.6),
    }
    shapeless = np.minimum(parts["template"], parts["evenness"]) < 0.5
    flags = {name: parts[name] < 0.5 for name in ("flat", "saturated", "noise", "baseline")}
    flags["motion"] = shapeless & (parts["noise"] >= 0.5) & (parts["flat"] >= 0.5)
    return Table(parts, flags)


def _unevenness(rise: FloatArray, beats: Marks) -> FloatArray:
    """Coefficient of variation of the pulses' steepness, (w,)."""
    steep, count = rise[beats.row, beats.place], np.maximum(beats.counts(), 1)
    mean, square = beats.sums(steep) / count, beats.sums(steep**2) / count
    spread = np.sqrt(np.maximum(square - mean**2, 0)) / np.maximum(mean, 1e-12)
    return np.where(beats.counts() > 0, spread, np.inf)
