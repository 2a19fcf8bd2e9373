"""Moments of beats in an ECG and of pulses in a PPG, between samples: what a good detector gets from a waveform.

Which beats there are, the detectors of ``drivers.quality.beats`` say; where an R peak lies, the parabola through the
top of the lead's 5 to 30 Hz band, whose place noise and a wandering baseline move least.
"""

from __future__ import annotations

import numpy as np

from drivers.errors import SettingError
from drivers.quality.beats import ecg_beats, ppg_pulses, strongest
from drivers.types import FloatArray
from harness.content.trace import Trace, vertex

_SHORTEST_S = 3.0
_R_HZ = (5.0, 30.0)
_REACH_S = 0.05


def beats_in(trace: Trace, kind: str) -> FloatArray:
    """Times in s (k,) of the beats of an ECG (R peaks, of either polarity) or of the pulses of a PPG (steepest rises).

    Empty for less than three seconds, and for what is sampled too slowly for a beat to be placed.
    """
    if len(trace.values) < _SHORTEST_S * trace.rate_hz:
        return np.empty(0)
    try:
        return _r_peaks(trace) if kind == "ecg" else np.sort(trace.at(ppg_pulses(trace.values, trace.rate_hz)))
    except SettingError:
        return np.empty(0)


def _r_peaks(trace: Trace) -> FloatArray:
    rough = ecg_beats(trace.values, trace.rate_hz)
    if not len(rough):
        return np.empty(0)
    sharp, reach = trace.band(*_R_HZ), max(1, round(_REACH_S * trace.rate_hz))
    upright = np.median(sharp[strongest(np.abs(sharp), rough, reach)]) >= 0
    level = sharp if upright else -sharp
    return np.unique(trace.at(vertex(level, strongest(level, rough, reach))))
