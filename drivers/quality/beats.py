"""Heart beats in an ECG lead and pulses in a PPG channel, for whole recordings.

``ecg_beats`` and ``ppg_pulses`` are one update of ``drivers.quality.beat_stream``: no training, no threshold in units,
from the first sample on, at any gain, baseline and direction. The simpler ``energy_beats`` and ``pulses`` work on a
band that the caller has filtered, and keep to where that band has its peaks: they are for aligning streams.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage, signal

from drivers.quality import window_beats
from drivers.quality.beat_levels import PPG, slope_kernel
from drivers.quality.beat_stream import BeatStream
from drivers.quality.marks import Marks
from drivers.quality.window_beats import STRETCH_S
from drivers.types import FloatArray, IntArray

_REFRACTORY_S = 0.26
_MEMORY = 9
"""Stretches in the running median."""
_THRESHOLD = 0.38
_FOOT_S = 0.45
"""The foot of a pulse lies at most so long before its steepest rise."""
_SMOOTH_S = 0.03
"""Bell that a pulse wave is smoothed with before tangents are laid to it."""


def ecg_beats(lead: FloatArray, rate_hz: float) -> IntArray:
    """Sample numbers (k,) of the R peaks of one lead (n,), any unit and direction; NaN is a sample that is missing.

    At least 80 Hz and about two seconds. SettingError for a slower lead.
    """
    stream = BeatStream(rate_hz)
    places = np.concatenate([stream.update(lead), stream.finish()])
    return np.asarray(np.clip(np.rint(places), 0, len(lead) - 1), dtype=np.int64)


def ppg_pulses(channel: FloatArray, rate_hz: float, upright: bool | None = None) -> FloatArray:
    """Places (k,) in samples, between samples, of the steepest rise of every pulse of one channel (n,), at least 20 Hz.

    ``upright`` says whether the value grows with blood; None: found from the data, since the side on which a pulse is
    steep is the rise. NaN is a sample that is missing.
    """
    channel = np.asarray(channel, dtype=np.float64)
    stream = BeatStream(rate_hz, "ppg", pulses_point_up(channel, rate_hz) if upright is None else upright)
    return np.concatenate([stream.update(channel), stream.finish()])


def pulses_point_up(channel: FloatArray, rate_hz: float) -> bool:
    """Whether the steep sides of the pulses (n,) are rises: the median over its seconds decides."""
    slope = np.convolve(_bridged(channel), slope_kernel(PPG.widths_s[0], rate_hz), "valid")
    step = round(2 * rate_hz)
    parts = slope[: len(slope) // step * step].reshape(-1, step) if len(slope) >= step else slope[None, :]
    total = np.maximum((np.abs(parts) ** 3).sum(axis=1), 1e-300)
    return bool(np.median((parts**3).sum(axis=1) / total) >= 0) if parts.size else True


def pulse_feet(channel: FloatArray, rate_hz: float, rises: FloatArray, upright: bool | None = None) -> FloatArray:
    """Feet (k,) of the pulses with steepest ``rises`` (k,), in samples, by intersecting tangents.

    Where the tangent at the steepest rise meets the level of the lowest point before it (Chiu et al. 1991, Am Heart J
    121:1460): what pulse transit times are measured with. NaN where the recording begins too late.
    """
    wave = _bridged(np.asarray(channel, dtype=np.float64))
    up = pulses_point_up(wave, rate_hz) if upright is None else upright
    wave = wave if up else -wave
    reach = int(np.ceil(3 * _SMOOTH_S * rate_hz))
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (_SMOOTH_S * rate_hz)) ** 2)
    smooth = np.convolve(np.pad(wave, reach, mode="edge"), bell / bell.sum(), "valid")
    slope = np.gradient(smooth)
    return np.array([_foot(smooth, slope, float(rise), rate_hz) for rise in rises])


def _foot(smooth: FloatArray, slope: FloatArray, rise: float, rate_hz: float) -> float:
    """Of one pulse of a smoothed wave (n,) with its slope (n,), in samples; NaN where the wave begins too late."""
    first = int(np.floor(rise - _FOOT_S * rate_hz))
    if first < 0:
        return np.nan
    before = smooth[first : int(np.ceil(rise)) + 1]
    lowest = float(before[round(len(before) * 0.25) :].min())
    at = np.arange(len(smooth))
    steep = float(np.interp(rise, at, slope))
    return rise - (float(np.interp(rise, at, smooth)) - lowest) / steep if steep > 0 else np.nan


def _bridged(channel: FloatArray) -> FloatArray:
    """Missing samples of (n,) replaced by straight lines; zeros if none is there."""
    there = np.isfinite(channel)
    if there.all() or not there.any():
        return np.nan_to_num(channel)
    return np.interp(np.arange(len(channel)), np.flatnonzero(there), channel[there])


def energy_beats(banded: FloatArray, rate_hz: float) -> IntArray:
    """Sample numbers (k,) of the R peaks, from the 8..20 Hz band (n,) of a lead: peaks of its energy over 0.1 s."""
    width = max(1, round(0.1 * rate_hz))
    level = np.sqrt(np.maximum(ndimage.uniform_filter1d(banded * banded, width, mode="nearest"), 0))
    places = peaks(level, rate_hz, _REFRACTORY_S, _THRESHOLD)
    return strongest(np.abs(banded), places, round(0.08 * rate_hz))


def pulses(rise: FloatArray, rate_hz: float) -> IntArray:
    """Sample numbers (k,) of the steepest rises of a PPG channel, from the slope (n,) of its 0.5..4 Hz band."""
    return peaks(np.maximum(rise, 0), rate_hz, 0.33, 0.4)


def peaks(level: FloatArray, rate_hz: float, apart_s: float, threshold: float) -> IntArray:
    """Local maxima of ``level`` (n,) that reach ``threshold`` of the running median of recent maxima.

    A window's own search (``drivers.quality.window_beats``) has no recent maxima: one median is all it can know.
    """
    stretch = max(1, round(STRETCH_S * rate_hz))
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
    """Where ``level`` (n,) is the largest within ``reach`` samples of each place (k,), (k,)."""
    if not len(places):
        return places
    return window_beats.strongest(level[None, :], Marks(np.zeros_like(places), places, 1), reach).place


def bandpass(values: FloatArray, rate_hz: float, low_hz: float, high_hz: float) -> FloatArray:
    """Zero-phase second-order band of (..., n); ``low_hz`` 0 or ``high_hz`` beyond Nyquist leave that side open."""
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
