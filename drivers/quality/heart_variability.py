"""Heart rate and its variability from beat times, with what part of the time they rest on.

Beats that were missed or seen twice make intervals that no heart made. An interval is kept only if a heart can have it
and it fits its neighbours; what is left out counts against the coverage, and is never replaced by a guess.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, signal

from drivers.quality.rows import Mask
from drivers.types import FloatArray

SHORTEST_S, LONGEST_S = 0.19, 3.0
"""315 to 20 beats a minute."""
_AROUND = 11
"""Intervals whose median an interval is compared with; a heart that speeds up takes more beats than half of that."""
_SHARE, _SPREADS = 0.20, 4.0
"""It may differ by a fifth (Malik et al. 1989, Eur Heart J 10:1060), or by so many times the usual difference: an
arrhythmic heart is no artefact (after Lipponen and Tarvainen 2019, J Med Eng Technol 43:173)."""
_MOST = 0.45
"""By more than that nothing differs that could not be a missed or an extra beat."""
_LF_HZ, _HF_HZ = (0.04, 0.15), (0.15, 0.40)
_FEWEST = 3
_GRID_HZ = 0.5 / 300
"""Steps of the periodogram: finer than five minutes resolve."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """RR intervals between consecutive beats."""

    ends_s: FloatArray
    """(k,) time of the beat that ends each."""
    seconds: FloatArray
    """(k,)"""
    kept: Mask
    """(k,) False: a beat was missed or seen twice, or no heart is like that."""

    def successive(self) -> FloatArray:
        """Differences (m,) of kept intervals that follow one another, s."""
        pairs = self.kept[1:] & self.kept[:-1]
        return np.diff(self.seconds)[pairs]

    def between(self, start_s: float, stop_s: float) -> Intervals:
        """Those that lie wholly within a stretch."""
        inside = (self.ends_s - self.seconds >= start_s) & (self.ends_s <= stop_s)
        return Intervals(self.ends_s[inside], self.seconds[inside], self.kept[inside])


def rr_intervals(beat_times_s: FloatArray) -> Intervals:
    """Intervals between beats (k + 1,), ascending, s, and which of them to believe.

    An interval is left out if it is impossible (0.19 to 3 s), or differs from the median of the eleven around it by
    more than the larger of 20 % and four times the usual difference around it, but in any case by more than 45 %: a
    missed beat doubles an interval, an extra one splits it. A premature beat and its pause are so left out as well.
    """
    beats_s = np.asarray(beat_times_s, dtype=np.float64)
    seconds = np.diff(beats_s)
    if np.any(seconds < 0):
        raise ValueError("beat times must ascend; sort them")
    possible = (seconds >= SHORTEST_S) & (seconds <= LONGEST_S)
    kept = possible.copy()
    if possible.any():
        sound = seconds[possible]
        usual = ndimage.median_filter(sound, min(_AROUND, len(sound)), mode="nearest")
        away = np.abs(sound / usual - 1)
        spread = 1.4826 * ndimage.median_filter(away, min(_AROUND, len(sound)), mode="nearest")
        kept[possible] = away <= np.minimum(np.maximum(_SHARE, _SPREADS * spread), _MOST)
    return Intervals(beats_s[1:], seconds, kept)


@dataclass(frozen=True, slots=True)
class HeartRate:
    """Mean heart rate at some times."""

    bpm: FloatArray
    """(n,) beats a minute; NaN where too little is covered."""
    coverage: FloatArray
    """(n,) share of the window that believable intervals fill, 0..1."""


def heart_rate(
    beat_times_s: FloatArray, at_s: FloatArray, window_s: float = 10.0, least_coverage: float = 0.5
) -> HeartRate:
    """Mean rate over the ``window_s`` before each of the times (n,): intervals that overlap it count by their share.

    Beats a minute are 60 over the mean interval, so that what is missing does not count as slow. NaN where the
    believable intervals fill less than ``least_coverage`` of the window.
    """
    if not window_s > 0:
        raise ValueError(f"a window of {window_s} s; more than 0 is expected")
    at_s = np.atleast_1d(np.asarray(at_s, dtype=np.float64))
    intervals = rr_intervals(beat_times_s)
    ends_s, seconds = intervals.ends_s[intervals.kept], intervals.seconds[intervals.kept]
    filled, beats = (_up_to(ends_s, seconds, at_s, each) for each in (seconds, np.ones(len(seconds))))
    before_filled, before_beats = (
        _up_to(ends_s, seconds, at_s - window_s, each) for each in (seconds, np.ones(len(seconds)))
    )
    covered_s = filled - before_filled
    coverage = np.clip(covered_s / window_s, 0.0, 1.0)
    enough = (coverage >= least_coverage) & (covered_s > 0)
    bpm = np.full(len(at_s), np.nan)
    bpm[enough] = 60 * (beats - before_beats)[enough] / covered_s[enough]
    return HeartRate(bpm, coverage)


def _up_to(ends_s: FloatArray, seconds: FloatArray, at_s: FloatArray, amount: FloatArray) -> FloatArray:
    """Sum of ``amount`` (k,) of the intervals before each time (n,); of the one that is under way, its share."""
    total = np.concatenate([[0.0], np.cumsum(amount)])
    number = np.searchsorted(ends_s, at_s, side="right")
    under_way = np.minimum(number, len(ends_s) - 1)
    if not len(ends_s):
        return np.zeros(len(at_s))
    share = np.clip((at_s - (ends_s - seconds)[under_way]) / seconds[under_way], 0.0, 1.0)
    return total[number] + np.where(number < len(ends_s), share * amount[under_way], 0.0)


@dataclass(frozen=True, slots=True)
class Variability:
    """Heart rate variability of one stretch (Task Force 1996, Circulation 93:1043)."""

    intervals: int
    """Used, and the pairs of neighbours among them."""
    pairs: int
    coverage: float
    """Share of the stretch that the used intervals fill, 0..1."""
    mean_nn_ms: float
    sdnn_ms: float
    rmssd_ms: float
    pnn50: float
    """Share of neighbours that differ by more than 50 ms, 0..1."""
    lf_ms2: float
    hf_ms2: float
    lf_hf: float
    """NaN where too few intervals, or too short a stretch, tell."""


def variability(beat_times_s: FloatArray, start_s: float | None = None, stop_s: float | None = None) -> Variability:
    """Of the beats (k,), s, within a stretch; by default all.

    LF (0.04..0.15 Hz) and HF (0.15..0.40 Hz) by the Lomb-Scargle periodogram of the believable intervals at the beats
    that end them: nothing is resampled, so that what is left out needs no filling (Laguna et al. 1998, IEEE TBME
    45:698). Ten periods of a band's lowest frequency tell it well; below two (50 and 14 s) it is
    NaN, and where half the heart's own frequency lies below its middle.
    """
    beats_s = np.asarray(beat_times_s, dtype=np.float64)
    if len(beats_s) < 2:
        return Variability(0, 0, 0.0, *[np.nan] * 7)
    start_s, stop_s = (beats_s[0] if start_s is None else start_s), (beats_s[-1] if stop_s is None else stop_s)
    part = rr_intervals(beats_s).between(start_s, stop_s)
    kept_s, at_s = part.seconds[part.kept], part.ends_s[part.kept]
    steps_ms = 1e3 * part.successive()
    coverage = float(kept_s.sum() / (stop_s - start_s)) if stop_s > start_s else 0.0
    if len(kept_s) < _FEWEST:
        return Variability(len(kept_s), len(steps_ms), coverage, *[np.nan] * 7)
    lf, hf = (_power(at_s, 1e3 * kept_s, band) for band in (_LF_HZ, _HF_HZ))
    return Variability(
        len(kept_s),
        len(steps_ms),
        coverage,
        float(1e3 * kept_s.mean()),
        float(1e3 * kept_s.std(ddof=1)),
        float(np.sqrt(np.mean(steps_ms**2))) if len(steps_ms) else np.nan,
        float(np.mean(np.abs(steps_ms) > 50)) if len(steps_ms) else np.nan,
        lf,
        hf,
        lf / hf if hf > 0 else np.nan,
    )


def _power(at_s: FloatArray, values: FloatArray, band_hz: tuple[float, float]) -> float:
    """Variance (unit squared) of values (k,) at uneven times (k,) in a band; a straight line is taken off first."""
    length_s = float(at_s[-1] - at_s[0])
    if length_s * band_hz[0] < 2 or 0.5 * len(at_s) / length_s < 0.5 * sum(band_hz):
        return np.nan
    level = values - np.polyval(np.polyfit(at_s - at_s[0], values, 1), at_s - at_s[0])
    step_hz = min(_GRID_HZ, 0.2 / length_s)
    count = round((band_hz[1] - band_hz[0]) / step_hz)
    grid_hz = band_hz[0] + (np.arange(count) + 0.5) * (band_hz[1] - band_hz[0]) / count
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * (at_s - at_s[0]) / length_s)
    density = signal.lombscargle(at_s, taper * level, 2 * np.pi * grid_hz)  # k A^2 / 4 for a sine of amplitude A
    power = density * 2 * length_s / len(at_s) / np.mean(taper**2)
    return float(power.sum() * (band_hz[1] - band_hz[0]) / count)
