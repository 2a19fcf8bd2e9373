"""PPG: would the pulses of this window give the heart rate, and if not, what is in the way?

The part ``usable`` is the chance that they would, from measures of the pulses weighed together: template correlation
(after Orphanidou 2015, IEEE JBHI 19:832), periodicity, also at half the rate, evenness of the intervals, rises that
might or might not be pulses, and noise. The other parts are causes, each with its flag. The perfusion index is pulse
height over the steady light; 0.3 % is what oximeters are tested at as low perfusion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from scipy import fft

from drivers.quality.marks import Marks, by_row
from drivers.quality.pulse_band import BAND_RATE_HZ, PulseBand
from drivers.quality.rows import Mask, middle, stretches
from drivers.quality.runs import Runs
from drivers.quality.window_beats import STRETCH_S, peaks, template_likeness
from drivers.quality.windows import Table, Windows, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 10.0, 4.0
_BEFORE_S, _AFTER_S = 0.3, 0.5
"""A pulse's shape, around its steepest rise."""
_DOUBTFUL = (0.2, 0.65)
"""Of the usual rise: too steep to be nothing, not steep enough to be a pulse."""
_APART_S, _PULSE = 0.26, 0.4
"""Pulses come at most 230 a minute and rise as steeply as this part of the usual."""
_NOISE_HZ = 8.0
_FINE, _SMOOTH = 0.005, 0.02
"""Of the pulse: a step below the first hides no slope of its foot, below the second no sample equals the one before."""
_STRETCH = round(STRETCH_S * BAND_RATE_HZ)
"""Samples of the band that hold a pulse."""
_SPARSE = 2
"""Every second sample of the band is enough for its autocorrelation."""
_INTERVALS, _ABOUT = np.array([1] * 5 + [2] * 7), np.array([*range(-2, 3), *range(-3, 4)])
"""Lags looked at: so many intervals, and so many samples about that; the first five are near one interval."""
_NEAR = 5
_LIKELY = 0.8
"""Where the pulses are of no use, a cause below this is named for it."""
_PLATEAU_S, _CUT_S = 0.09, 0.06
"""Equal values for so long are held by the device, or cut off."""
_JUMP_S = 0.02
_DARK = 0.01
"""Of the converter's range."""
_NO_BLOOD_PERCENT = 0.02
"""A perfusion index that no living skin has."""


def assess(windows: Windows) -> Table:
    """Parts and flags for every window.

    The worst wavelength counts, as saturation needs all of them; of a camera's colours, which come with a blue one,
    the best, as only the pulse is taken from them. Red light has half the pulse of infrared in a healthy finger: so the
    best wavelength tells the perfusion.
    """
    count = windows.values.shape[2]
    table = _judge(_one_by_one(windows), count)
    if count == 1:
        return table
    parts = np.stack(list(table.parts.values())).reshape(len(table.parts), count, -1)
    flags = np.stack(list(table.flags.values())).reshape(len(table.flags), count, -1)
    if any(name.lower() in ("blue", "b") for name in windows.spec.channels):
        best, each = np.argmax(parts.min(axis=0), axis=0), np.arange(len(windows))
        return _named(table, parts[:, best, each], flags[:, best, each])
    raised: Mask = np.asarray(flags.any(axis=1))
    raised[-1] &= ~raised[:-1].any(axis=0)  # movement is what no other cause explains
    return _named(table, parts.min(axis=1), raised)


def _named(table: Table, parts: FloatArray, flags: Mask) -> Table:
    """Other numbers under the same names."""
    return Table(dict(zip(table.parts, parts, strict=True)), dict(zip(table.flags, flags, strict=True)))


def _one_by_one(windows: Windows) -> Windows:
    """Every channel's windows as windows of their own, (channels * w, n, 1)."""
    rows = np.ascontiguousarray(np.moveaxis(windows.values, 2, 0))
    return replace(windows, values=rows.reshape(-1, rows.shape[2], 1))


@dataclass(frozen=True)
class Pulses:
    """What the pulses of light (r, n) are like, each (r,)."""

    swing: FloatArray
    """Usual height, in the unit of the light."""
    noise: FloatArray
    """Rms above 8 Hz over the height."""
    likeness: FloatArray
    """Mean correlation with their mean shape."""
    periodicity: FloatArray
    """Autocorrelation of the light one usual interval later."""
    doubled: FloatArray
    """By how much it is higher two intervals later: an echo within the beat that is taken for a pulse."""
    unevenness: FloatArray
    """Standard deviation of the intervals over their mean."""
    doubt: FloatArray
    """Rises of which one cannot say whether they are pulses, for each pulse."""
    rate: FloatArray
    """Per minute, from the intervals within a quarter of the usual one; NaN without any."""

    @classmethod
    def of(cls, band: PulseBand) -> Pulses:
        """Of windows in frequency."""
        wave, beat, slow = band.bands((0.5, _NOISE_HZ), (0.8, _NOISE_HZ), (0.5, 4.0))
        rise = slow[:, 1:] - slow[:, :-1]
        # More blood is less light: the rise is the steep side.
        side = np.where((rise * rise * rise).sum(axis=-1) < 0, -1.0, 1.0)[:, None]
        wave, rise = side * wave, side * rise
        marks = peaks(np.maximum(rise, 0), BAND_RATE_HZ, _APART_S, _PULSE, ends=True)
        swing = np.maximum(middle(np.ptp(stretches(beat, _STRETCH), axis=-1)), 1e-12)
        usual, unevenness, rate = _intervals(marks)
        return cls(
            swing,
            band.rms(_NOISE_HZ, np.inf) / swing,
            template_likeness(wave, marks, round(_BEFORE_S * BAND_RATE_HZ), round(_AFTER_S * BAND_RATE_HZ)),
            *_periodicity(beat, usual),
            unevenness,
            _doubtful(rise) / np.maximum(marks.counts(), 1),
            rate,
        )

    def usable(self) -> FloatArray:
        """Chance that a rate from these pulses is right within 5 a minute, (r,).

        A logistic regression on phones' cameras against chest straps and on simulated people with every disturbance.
        """
        found = (
            -0.65 * np.log(1.02 - np.minimum(self.likeness, 1.0))
            - 0.7 * np.log(1.05 - np.clip(self.periodicity, -0.2, 1.0))
            - 1.5 * np.log(self.unevenness + 0.05)
            - 0.9 * np.minimum(self.doubt, 2.0)
            - 0.8 * np.log(np.maximum(self.noise, 0.02) + 0.02)
            - 1.5 * self.doubled
        )
        return np.asarray(1 / (1 + np.exp(4.8 - found)))


def _intervals(marks: Marks) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Usual interval in samples of the band, 0 without any; all intervals' spread over their mean; rate; (r,) each."""
    row, length = marks.intervals()
    table = np.sort(by_row(row, length.astype(np.float64), marks.rows, np.nan), axis=1)  # NaN sorts last
    there = np.isfinite(table)
    count, table = there.sum(axis=1), np.where(there, table, 0.0)  # whole numbers: their sums are exact in any order
    usual = table[np.arange(marks.rows), count // 2 % table.shape[1]]
    mean, square = table.sum(axis=1) / np.maximum(count, 1), (table * table).sum(axis=1) / np.maximum(count, 1)
    spread = np.sqrt(np.maximum(square - mean * mean, 0)) / np.maximum(mean, 1e-12)
    near = there & (np.abs(table - usual[:, None]) <= 0.25 * usual[:, None])
    total = np.where(near, table, 0.0).sum(axis=1)
    rate = np.full(marks.rows, np.nan)
    np.divide(60 * BAND_RATE_HZ * near.sum(axis=1), total, out=rate, where=total > 0)
    return usual, np.where(count >= 2, spread, 1.0), rate


def _periodicity(beat: FloatArray, usual: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Autocorrelation of rows (r, m) near the usual interval, and how much higher it is near twice that, each (r,)."""
    sparse = beat[:, ::_SPARSE]
    rows, count = sparse.shape
    size = fft.next_fast_len(2 * count, real=True)
    spectrum = np.fft.rfft(sparse, size)
    level = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, size)
    interval = np.rint(usual / _SPARSE).astype(np.int64)[:, None]
    lags = np.minimum(np.maximum(interval * _INTERVALS + _ABOUT, 1), count - 1)
    found = level[np.arange(rows)[:, None], lags] * (count / (count - lags)) / np.maximum(level[:, :1], 1e-12)
    near, far = found[:, :_NEAR].max(axis=1), found[:, _NEAR:].max(axis=1)
    far = np.where(3 * usual < beat.shape[1], far, near)  # of fewer than three intervals nothing can be told
    there = usual > 0
    return np.where(there, near, 0.0), np.where(there, np.minimum(np.maximum(far - near, 0.0), 1.0), 0.0)


def _doubtful(rise: FloatArray) -> FloatArray:
    """Peaks of the slope (r, m) of middling height, (r,)."""
    usual = middle(stretches(rise, _STRETCH).max(axis=-1))[:, None]
    inner = rise[:, 1:-1]
    peak = (inner > rise[:, :-2]) & (inner >= rise[:, 2:])
    return np.asarray((peak & (inner > _DOUBTFUL[0] * usual) & (inner < _DOUBTFUL[1] * usual)).sum(axis=1), dtype=float)


def _judge(light: Windows, count: int) -> Table:
    """Of windows of one channel each, all those of the first of ``count`` channels first."""
    raw = light.values[:, :, 0]
    band = PulseBand.of(raw, light.rate_hz)
    found = Pulses.of(band)
    steady, step, rests = light.mean(raw), _step(raw) / found.swing, light.rests()
    percent = np.where(raw.min(axis=1) > 0, 100 * found.swing / np.maximum(steady, 1e-12), 100.0)
    percent = np.tile(percent.reshape(count, -1).max(axis=0), count)
    parts = {
        "usable": found.usable(),
        "flat": _stillness(light, rests, step),
        "saturated": ramp(_clipped(light, rests, step), 0.1, 0.01),
        "coarse": ramp(np.where(np.isfinite(step), step, 0.0), 0.35, 0.15),
        "noise": ramp(found.noise, 0.5, 0.1),
        "baseline": ramp(band.wander(0.5) / found.swing, 14.0, 3.0),
        "jump": ramp(_jump(raw, light), 50.0, 16.0),
        "perfusion": ramp(percent, 0.15, 0.4),
    }
    return Table(parts, _flags(parts, light, steady, percent))


def _flags(parts: dict[str, FloatArray], light: Windows, steady: FloatArray, percent: FloatArray) -> dict[str, Mask]:
    low = {name: part < 0.5 for name, part in parts.items()}
    for name in ("noise", "baseline", "jump"):  # where the pulses are no good, less of it is the likely reason
        low[name] |= low["usable"] & (parts[name] < _LIKELY)
    spec = light.spec
    off = percent < _NO_BLOOD_PERCENT
    if spec.low is not None and spec.high is not None:
        off |= low["usable"] & (steady - spec.low < _DARK * (spec.high - spec.low))
        off |= light.mean(light.values[:, :, 0] >= spec.high) > 0.5
    flags = {name: low[name] for name in ("flat", "saturated", "coarse", "noise", "baseline")}
    flags |= {name: low[name] & ~low["coarse"] for name in ("flat", "saturated")}  # steps rest on plateaus: one cause
    still = low["flat"] | low["saturated"]  # both end in a jump
    flags |= {"pop": low["jump"] & ~still, "low_perfusion": low["perfusion"] & ~low["flat"], "off_body": off}
    return {**flags, "motion": low["usable"] & ~reduce(np.logical_or, flags.values())}


def _step(raw: FloatArray) -> FloatArray:
    """Smallest change between two samples of rows (r, n), (r,); infinite where there is none."""
    change = np.abs(np.diff(raw, axis=1))
    return np.asarray(np.where(change > 0, change, np.inf).min(axis=1))


def _stillness(light: Windows, rests: Runs, step: FloatArray) -> FloatArray:
    """Part (r,): no long flat lines, and no staircase where values are held that the device does not have."""
    still = ramp(_resting(light, rests, 0.5), 0.45, 0.1)
    held = ramp(_resting(light, rests, max(_PLATEAU_S, 3 / light.rate_hz)), 0.8, 0.4)
    return np.where(step < _SMOOTH, np.minimum(still, held), still)


def _resting(light: Windows, rests: Runs, at_least_s: float, at_most_s: float = np.inf) -> FloatArray:
    """Share of each row that equal values in a row last for so long, (r,)."""
    long = rests.length >= at_least_s * light.rate_hz - 0.5
    return rests.where(long & (rests.length < at_most_s * light.rate_hz - 0.5)).share()


def _clipped(light: Windows, rests: Runs, step: FloatArray) -> FloatArray:
    """Share of each row that is at a rail or cut off, (r,)."""
    level = _resting(light, rests, _CUT_S, 0.4)
    railed = light.railed()
    if not level.any():
        return light.mean(railed)
    cut = light.clipped(at_least_s=_CUT_S)
    if cut.any():
        # In a 7-bit pleth the foot of a pulse rests on one value by itself: only tops tell of clipping there.
        cut &= (step < _FINE)[:, None] | light.clipped(at_least_s=_CUT_S, bottoms=False)
        # Coarse steps and values that are held make plateaus everywhere, some of them on top.
        cut &= (2 * light.mean(cut) >= level)[:, None]
    return light.mean(railed | cut)


def _jump(raw: FloatArray, light: Windows) -> FloatArray:
    """Largest change within 20 ms over the mean one, (r,); a converter's single step is no jump."""
    back = max(1, round(_JUMP_S * light.rate_hz))
    change = np.abs(raw[:, back:] - raw[:, :-back])
    return np.asarray(change.max(axis=1) / np.maximum(change.mean(axis=1) + (light.spec.lsb or 0.0), 1e-12))
