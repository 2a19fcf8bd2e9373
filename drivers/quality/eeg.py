"""EEG: an amplitude that brains have, without a muscle's noise on top; the mains are notched out first."""

from __future__ import annotations

import numpy as np

from drivers.quality.beats import bandpass
from drivers.quality.windows import Table, Windows, line_rms, millivolt, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 4.0, 2.0
_BAND_HZ = (1.0, 45.0)
_MUSCLE_HZ = 25.0


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst electrode counts."""
    return Table.worst(_electrode(windows, channel) for channel in windows.values.T)


def _electrode(windows: Windows, raw: FloatArray) -> Table:
    rate, unit = windows.rate_hz, millivolt(windows.spec)
    microvolt = raw * (1000 * unit if unit else 1.0)
    brain = bandpass(bandpass(microvolt, rate, *_BAND_HZ), rate, 0.0, _BAND_HZ[1])
    muscle = windows.rms(bandpass(brain, rate, _MUSCLE_HZ, _BAND_HZ[1]))
    all_rms = np.maximum(windows.rms(brain), 1e-9)
    slow = bandpass(microvolt, rate, 0.0, _BAND_HZ[0])
    wander = np.sqrt(np.maximum(windows.mean(slow * slow) - windows.mean(slow) ** 2, 0))
    swing = windows.swing(brain)
    line = line_rms(windows, microvolt) / np.maximum(swing, 1e-9)
    known = unit is not None
    parts = {
        "flat": np.minimum(ramp(windows.mean(windows.stuck(0.3)), 0.4, 0.1), ramp(swing, 1.0, 4.0) if known else 1.0),
        "saturated": ramp(windows.mean(windows.railed() | windows.clipped()), 0.1, 0.01),
        "amplitude": ramp(swing, 400.0, 150.0) if known else np.ones(len(swing)),
        "excursions": ramp(windows.mean(np.abs(brain) > 200.0), 0.15, 0.03) if known else np.ones(len(swing)),
        "baseline": ramp(wander, 250.0, 80.0) if known else np.ones(len(swing)),
        "muscle": ramp(muscle / all_rms, 0.8, 0.45),
    }
    flags = {
        "flat": parts["flat"] < 0.5,
        "saturated": parts["saturated"] < 0.5,
        "motion": np.minimum(parts["amplitude"], parts["excursions"]) < 0.5,
        "baseline": parts["baseline"] < 0.5,
        "noise": parts["muscle"] < 0.5,
        "hum": line > 0.25,
    }
    return Table(parts, flags)
