"""Heart beats in an ECG lead and pulses in a PPG channel, for whole recordings at once.

A band of the signal is rectified, its peaks compared with a running median of the recent ones: no
training, no state, no threshold in units, so it works from the first seconds and at any gain.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage, signal

from drivers.types import FloatArray, IntArray

_REFRACTORY_S = 0.26
_STRETCH_S = 1.5
"""Holds at least one beat down to 40 beats a minute."""
_MEMORY = 9
"""Stretches in the running median."""
_THRESHOLD = 0.38


def ecg_beats(lead: FloatArray, rate_hz: float) -> IntArray:
    """Sample numbers of the R peaks of one lead (n,), any unit; needs about three seconds."""
    return energy_beats(bandpass(lead, rate_hz, 8.0, 20.0), rate_hz)


def energy_beats(banded: FloatArray, rate_hz: float) -> IntArray:
    """The same from the 8..20 Hz band: peaks of its energy over 0.1 s."""
    width = max(1, round(0.1 * rate_hz))
    level = np.sqrt(np.maximum(ndimage.uniform_filter1d(banded * banded, width, mode="nearest"), 0))
    places = peaks(level, rate_hz, _REFRACTORY_S, _THRESHOLD)
    return strongest(np.abs(banded), places, round(0.08 * rate_hz))


def amplitude_beats(cleaned: FloatArray, rate_hz: float) -> IntArray:
    """A second opinion of another kind: peaks of the baseline-free lead itself, whatever their frequency."""
    centred = np.abs(cleaned - np.median(cleaned))
    return peaks(centred, rate_hz, 0.3, 0.5)


def pulses(rise: FloatArray, rate_hz: float) -> IntArray:
    """Steepest rises of a PPG channel, from the slope (n,) of its 0.5..4 Hz band."""
    return peaks(np.maximum(rise, 0), rate_hz, 0.33, 0.4)


def peaks(level: FloatArray, rate_hz: float, apart_s: float, threshold: float) -> IntArray:
    """Local maxima of ``level`` (n,) that reach ``threshold`` of the running median of recent maxima."""
    stretch = max(1, round(_STRETCH_S * rate_hz))
    count = max(1, len(level) // stretch)
    tops = (
        level[: count * stretch].reshape(count, -1).max(axis=1) if len(level) >= stretch else level.max(keepdims=True)
    )
    half = _MEMORY // 2
    padded = np.pad(tops, half, mode="reflect" if count > half else "edge")
    usual = np.median(np.lib.stride_tricks.sliding_window_view(padded, _MEMORY), axis=1)
    places = signal.find_peaks(level, distance=max(1, round(apart_s * rate_hz)))[0]
    floor = threshold * usual[np.minimum(places // stretch, count - 1)]
    return np.asarray(places[(level[places] >= floor) & (level[places] > 0)], dtype=np.int64)


def strongest(level: FloatArray, places: IntArray, reach: int) -> IntArray:
    """Largest ``level`` within ``reach`` samples of each place."""
    if not len(places):
        return places
    around = np.clip(places[:, None] + np.arange(-reach, reach + 1), 0, len(level) - 1)
    best = np.argmax(level[around], axis=1)
    return np.asarray(around[np.arange(len(places)), best], dtype=np.int64)


def bandpass(values: FloatArray, rate_hz: float, low_hz: float, high_hz: float) -> FloatArray:
    """Zero-phase second-order band along the last axis; low_hz 0 or high_hz beyond Nyquist leave that side open."""
    sos = _sections(rate_hz, low_hz, high_hz)
    pad = min(values.shape[-1] - 1, round(1.5 * rate_hz / max(low_hz, 0.5)))
    return np.asarray(signal.sosfiltfilt(sos, values, padlen=max(pad, 0)))


@lru_cache(maxsize=64)
def _sections(rate_hz: float, low_hz: float, high_hz: float) -> FloatArray:
    top = high_hz < 0.49 * rate_hz
    if low_hz > 0 and top:
        return np.asarray(signal.butter(2, (low_hz, high_hz), "bandpass", fs=rate_hz, output="sos"))
    if low_hz > 0:
        return np.asarray(signal.butter(2, low_hz, "highpass", fs=rate_hz, output="sos"))
    return np.asarray(signal.butter(2, min(high_hz, 0.45 * rate_hz), "lowpass", fs=rate_hz, output="sos"))
