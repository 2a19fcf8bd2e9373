"""EEG: an amplitude that brains have, without a muscle's noise on top; the mains are notched out first."""

from __future__ import annotations

import numpy as np

from drivers.quality.beats import bandpass
from drivers.quality.windows import Table, Windows, line_rms, millivolt, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 4.0, 2.0
_BAND_HZ = (1.0, 40.0)
_SETTLING_HZ = 0.15
"""Slower drift is an electrode that settles: every filter takes it off."""
_MUSCLE_HZ = 25.0
_STEP_RATE_HZ = 250.0
"""Rate at which the limits of a step from sample to sample are given."""


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst electrode counts."""
    return Table.worst(_electrode(windows, channel) for channel in windows.channels())


def _electrode(windows: Windows, raw: FloatArray) -> Table:
    rate, unit = windows.rate_hz, millivolt(windows.spec)
    microvolt = raw * (1000 * unit if unit else 1.0)
    brain = bandpass(bandpass(microvolt, rate, *_BAND_HZ), rate, 0.0, _BAND_HZ[1])
    below = bandpass(microvolt, rate, 0.0, _MUSCLE_HZ)
    hum = line_rms(windows, microvolt)
    muscle = np.sqrt(np.maximum(windows.rms(microvolt - below) ** 2 - hum**2, 0))
    rest = np.maximum(windows.rms(bandpass(below, rate, _BAND_HZ[0], _MUSCLE_HZ)), 1e-9)
    step = windows.largest(np.abs(np.diff(brain, prepend=brain[:, :1]))) * rate / _STEP_RATE_HZ
    wander = windows.rms(bandpass(microvolt, rate, _SETTLING_HZ, _BAND_HZ[0]))
    swing = windows.swing(brain)
    known = unit is not None
    parts = {
        "flat": np.minimum(ramp(windows.mean(windows.stuck(0.3)), 0.4, 0.1), ramp(swing, 1.0, 4.0) if known else 1.0),
        "saturated": ramp(windows.mean(windows.railed() | windows.clipped()), 0.1, 0.01),
        "amplitude": ramp(swing, 400.0, 150.0) if known else np.ones(len(swing)),
        "excursions": ramp(windows.mean(np.abs(brain) > 200.0), 0.15, 0.03) if known else np.ones(len(swing)),
        "baseline": ramp(wander, 160.0, 50.0) if known else np.ones(len(swing)),
        "muscle": ramp(muscle / rest, 1.6, 0.6),
        "jump": ramp(step, 200.0, 80.0) if known else np.ones(len(swing)),
    }
    flags = {
        "flat": parts["flat"] < 0.5,
        "saturated": parts["saturated"] < 0.5,
        "motion": np.minimum(parts["amplitude"], parts["excursions"]) < 0.5,
        "baseline": parts["baseline"] < 0.5,
        "noise": parts["muscle"] < 0.5,
        "pop": parts["jump"] < 0.5,
        "hum": hum > 0.35 * rest,
    }
    return Table(parts, flags)
