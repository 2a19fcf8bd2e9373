"""Heart beats in two streams: R peaks against the pulses that they send out, or against a strap's RR intervals.

The pulse's fiducial is the steepest rise, which keeps its distance to the foot; its peak moves by tens of ms with
pressure and heart rate (Allen 2007, Physiol Meas 28:R1). How long a pulse travels differs from person to person
(finger 245 +- 10 ms from day to day, ear 174, toe 361; Allen and Murray 1988), so a lag between an ECG and a PPG is
known absolutely to about +-50 ms, and relatively to about a millisecond.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from drivers.quality.beats import energy_beats, pulses, strongest
from drivers.types import FloatArray
from harness.content.alignment import Alignment, refuse, settle
from harness.content.events import Rhythm, match_events
from harness.content.trace import Trace, vertex

BEATS = Rhythm(
    "beats",
    cure="a heart rate that hardly varies fits at every whole beat: take a longer stretch, or let the person breathe "
    "deeply, stand up or move, or give both streams a tap",
)
_SHORTEST_S = 3.0
_STRANGE = 4.0
"""Times the usual distance from the median of all pulses: a pulse this unlike them says nothing of where they rise."""
_R_HZ = (5.0, 30.0)
_PULSE_HZ = (0.5, 5.0)
_RISE_HZ = (0.5, 12.0)
_NOISY_RISE_HZ = (0.5, 10.0)
"""A wide band keeps the steepest rise in place to 0.3 ms; a narrower one moves it by 0.5 ms and lets less noise in."""
_NOISY = 0.015
"""Of the pulse height."""
_LOOK_S, _TOP_S, _WIDE_S, _FINE_S = 0.1, 0.010, 0.050, 0.002
"""Around the expected rise, around its steepest point, and the steps in which both are looked at."""


def r_peaks(ecg: Trace) -> FloatArray:
    """Times of the R peaks in s (n,), between samples; either polarity. Empty for less than three seconds."""
    if len(ecg.values) < _SHORTEST_S * ecg.rate_hz:
        return np.empty(0)
    rough = energy_beats(ecg.band(8.0, 20.0), ecg.rate_hz)
    rough = rough[ecg.usable[rough]]
    if not len(rough):
        return np.empty(0)
    sharp = ecg.band(*_R_HZ)
    upright = np.median(_extreme(sharp, rough, ecg.rate_hz)) >= 0
    level = sharp if upright else -sharp
    return _times(ecg, level, strongest(level, rough, max(1, round(0.05 * ecg.rate_hz))))


def _extreme(level: FloatArray, places: np.typing.NDArray[np.int64], rate_hz: float) -> FloatArray:
    """The value of largest size near each place."""
    return level[strongest(np.abs(level), places, max(1, round(0.05 * rate_hz)))]


def pulse_rises(ppg: Trace) -> FloatArray:
    """Times in s (n,) at which each pulse rises most steeply; light that falls with blood is turned over.

    Filtered to 5 Hz, which lets noise of the pulse move it by 3 ms where it moved the bare signal by 20, and makes all
    pulses some ms early alike.
    """
    if len(ppg.values) < _SHORTEST_S * ppg.rate_hz:
        return np.empty(0)
    rise = np.gradient(ppg.band(*_PULSE_HZ))
    rise = rise * _upright(rise[ppg.usable])
    return _times(ppg, rise, pulses(rise, ppg.rate_hz))


def _upright(rise: FloatArray) -> float:
    """-1 where the steep side of the pulses is a fall."""
    return -1.0 if float(np.sum(rise**3)) < 0 else 1.0


def _rise(ppg: Trace) -> FloatArray:
    """Slope of the pulse wave (n,), upright, with as little filtering as its noise allows."""
    smooth = ppg.band(*_RISE_HZ)
    rest, good = ppg.values - ppg.band(0.0, _RISE_HZ[1]), ppg.usable
    noise = float(np.std(rest[good])) if ppg.rate_hz > 3 * _RISE_HZ[1] and good.any() else np.inf
    if noise > _NOISY * float(np.ptp(np.quantile(smooth[good] if good.any() else smooth, (0.02, 0.98)))):
        smooth = ppg.band(*_NOISY_RISE_HZ)
    return np.gradient(smooth) * _upright(np.gradient(ppg.band(*_PULSE_HZ))[ppg.usable])


def _times(trace: Trace, level: FloatArray, places: np.typing.NDArray[np.int64]) -> FloatArray:
    """Sub-sample times of maxima that are usable and are maxima indeed."""
    places = np.unique(places[(places > 0) & (places < len(level) - 1)])
    places = places[trace.usable[places]]
    return np.unique(trace.at(vertex(level, places)))


def align_beats(a_s: FloatArray, b_s: FloatArray, reach_s: float = 3.0) -> Alignment:
    """Lag of beats at b_s (m,) against beats at a_s (n,), ascending, s."""
    return match_events(a_s, b_s, BEATS, reach_s).alignment()


def align_pulses(beats_s: FloatArray, ppg: Trace, reach_s: float = 3.0) -> Alignment:
    """Lag of the pulses' steepest rise against R peaks (n,): what the pulse travels, plus what the clocks are apart.

    ``reach_s`` is how far apart the two may be; wider for data that may be stale. Which beat a pulse belongs to is
    decided by single pulses; where it rises most steeply, by the average of all, since noise moves the steepest
    point of a single pulse by more than its own share.
    """
    match = match_events(beats_s, pulse_rises(ppg), BEATS, reach_s)
    if match.refused is not None:
        return match.refused
    middle_s = float(np.median(match.lag_s))
    at_s, lag_s = match.at_s, middle_s + _steepest(ppg, match.at_s + middle_s)
    kept = np.isfinite(lag_s)
    if kept.sum() < BEATS.fewest:
        return refuse(f"only {kept.sum()} pulses lie whole in the stretch, {BEATS.fewest} are needed", int(kept.sum()))
    found, narrow = settle(at_s[kept], lag_s[kept], match.ratio), match.alignment()
    return replace(  # a filter that moves all pulses alike does not harm the drift, and lets less noise in
        found, drift_ppm=narrow.drift_ppm, drift_low_ppm=narrow.drift_low_ppm, drift_high_ppm=narrow.drift_high_ppm
    )


def _steepest(ppg: Trace, near_s: FloatArray) -> FloatArray:
    """How much later than near_s (n,) each pulse rises most steeply, s; NaN at the record's ends.

    A parabola through the top of the average slope; where a single pulse's slope is tilted there, its own top lies
    aside of that by the tilt over the parabola's bend.
    """
    place = np.interp(near_s, ppg.times_s, np.arange(len(ppg.times_s)))
    edge = _LOOK_S * ppg.rate_hz
    whole = (place > edge) & (place < len(ppg.times_s) - 1 - edge)
    moved = np.full(len(near_s), np.nan)
    if not whole.any():
        return moved
    reach = round(_LOOK_S / _FINE_S)
    away_s = np.asarray(np.arange(-reach, reach + 1) * _FINE_S, dtype=np.float64)
    curves = ndimage.map_coordinates(_rise(ppg), [place[whole, None] + away_s * ppg.rate_hz], order=3, mode="nearest")
    usual = np.median(curves, axis=0)
    strange = np.sqrt(((curves - usual) ** 2).sum(axis=1))
    mean = curves[strange <= _STRANGE * np.median(strange)].mean(axis=0)
    width = round(_TOP_S / _FINE_S)
    top = width + int(np.argmax(mean[width:-width]))
    tilt, _ = _parabola(away_s, top, width)
    _, bend = _parabola(away_s, top, round(_WIDE_S / _FINE_S))
    curve = float(mean @ bend)
    moved[whole] = away_s[top] - np.einsum("ij,j->i", curves, tilt) / (2 * curve if curve < 0 else np.nan)
    return moved


def _parabola(away_s: FloatArray, top: int, width: int) -> tuple[FloatArray, FloatArray]:
    """Weights (w,) that give the tilt and the bend at ``top`` of the parabola through the points within ``width``."""
    low, high = max(top - width, 0), min(top + width + 1, len(away_s))
    weights = np.zeros((2, len(away_s)))
    weights[:, low:high] = np.linalg.pinv(np.vander(away_s[low:high] - away_s[top], 3, increasing=True))[1:]
    return weights[0], weights[1]
