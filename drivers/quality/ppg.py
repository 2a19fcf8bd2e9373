"""PPG: would the pulses of this window give the heart rate, and if not, what is in the way?

The part ``usable`` is the chance that they would: five measures of the pulses weighed together (template correlation
after Orphanidou 2015, IEEE JBHI 19:832; periodicity, evenness of the intervals, rises that might or might not be
pulses, noise). The other parts are causes, each with its flag. The perfusion index is pulse height over the steady
light; 0.3 % is what oximeters are tested at as low perfusion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from scipy import fft

from drivers.quality.marks import Marks, by_row
from drivers.quality.pulse_band import BAND_RATE_HZ, PulseBand
from drivers.quality.runs import Runs
from drivers.quality.window_beats import likeness, pulses
from drivers.quality.windows import Mask, Table, Windows, middle, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 10.0, 4.0
_BEFORE_S, _AFTER_S = 0.3, 0.5
"""A pulse's shape, around its steepest rise."""
_STRETCH_S = 1.5
"""Holds at least one pulse down to 40 a minute."""
_DOUBTFUL = (0.2, 0.65)
"""Of the usual rise: too steep to be nothing, not steep enough to be a pulse."""
_NOISE_HZ = 8.0
_FINE, _SMOOTH = 0.005, 0.02
"""Of the pulse: a step below the first hides no slope of its foot, below the second no sample equals the one before."""
_LIKELY = 0.8
_PLATEAU_S, _CUT_S = 0.09, 0.06
_JUMP_S = 0.02
_DARK = 0.01
"""Of the converter's range."""
_NO_BLOOD_PERCENT = 0.02


def assess(windows: Windows) -> Table:
    """Parts and flags for every window.

    The worst wavelength counts, as saturation needs all of them; of a camera's colours, which come with a blue one,
    the best, as only the pulse is taken from them. Red light has half the pulse of infrared in a healthy finger: so the
    best wavelength tells the perfusion.
    """
    light, count = _one_by_one(windows), windows.values.shape[2]
    table = _judge(light)
    parts = {name: part.reshape(count, -1) for name, part in table.parts.items()}
    flags = {name: flag.reshape(count, -1) for name, flag in table.flags.items()}
    score = table.score.reshape(count, -1)
    perfusion = parts["perfusion"].max(axis=0)
    if any(name.lower() in ("blue", "b") for name in windows.spec.channels):
        best, each = np.argmax(np.minimum(score, parts["perfusion"]), axis=0), np.arange(len(windows))
        seen: dict[str, Mask] = {name: flag[best, each] for name, flag in flags.items()}
        own = np.minimum(score, parts["perfusion"]).max(axis=0)
        return Table({name: part[best, each] for name, part in parts.items()}, seen, own)
    worst = {name: part.min(axis=0) for name, part in parts.items()}
    raised: dict[str, Mask] = {name: np.any(flag, axis=0) for name, flag in flags.items()}
    raised["low_perfusion"] = np.asarray(flags["low_perfusion"].all(axis=0))
    raised["motion"] &= ~reduce(np.logical_or, (flag for name, flag in raised.items() if name != "motion"))
    return Table({**worst, "perfusion": perfusion}, raised, np.minimum(score.min(axis=0), perfusion))


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
        marks = pulses(rise, BAND_RATE_HZ)
        swing = np.maximum(middle(np.ptp(_stretches(beat), axis=-1)), 1e-12)
        usual, unevenness, rate = _intervals(marks)
        return cls(
            swing,
            band.rms(_NOISE_HZ, np.inf) / swing,
            likeness(wave, marks, round(_BEFORE_S * BAND_RATE_HZ), round(_AFTER_S * BAND_RATE_HZ)),
            _periodicity(beat, usual),
            unevenness,
            _doubtful(rise) / np.maximum(marks.counts(), 1),
            rate,
        )

    def usable(self) -> FloatArray:
        """Chance that a rate from these pulses is right within 5 a minute, (r,).

        A logistic regression on phones' cameras against chest straps and on simulated people with every disturbance.
        """
        found = (
            -0.6 * np.log(1.02 - np.minimum(self.likeness, 1.0))
            - 0.7 * np.log(1.05 - np.clip(self.periodicity, -0.2, 1.0))
            - 1.45 * np.log(self.unevenness + 0.05)
            - 1.35 * np.minimum(self.doubt, 2.0)
            - 0.7 * np.log(self.noise + 0.02)
        )
        return np.asarray(1 / (1 + np.exp(4.5 - found)))


def _stretches(values: FloatArray) -> FloatArray:
    """(r, m) at the band's rate cut into stretches that hold a pulse each, (r, k, step)."""
    step, count = round(_STRETCH_S * BAND_RATE_HZ), values.shape[1]
    return values[:, count % step :].reshape(len(values), -1, step) if count >= step else values[:, None, :]


def _intervals(marks: Marks) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Usual interval in samples of the band, 0 where there is none; the intervals' coefficient of variation; rate."""
    row, length = marks.intervals()
    table = np.sort(by_row(row, length.astype(np.float64), marks.rows), axis=1)  # NaN sorts last
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


def _periodicity(beat: FloatArray, usual: FloatArray) -> FloatArray:
    """Autocorrelation of rows (r, m) at the best lag within 60 ms of the usual interval, (r,); 0 without one."""
    rows, count = beat.shape
    size = fft.next_fast_len(2 * count, real=True)
    spectrum = np.fft.rfft(beat, size)
    level = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, size)
    lags = np.clip(usual.astype(np.int64)[:, None] + np.arange(-3, 4), 1, count - 1)
    found = level[np.arange(rows)[:, None], lags] * (count / (count - lags)) / np.maximum(level[:, :1], 1e-12)
    return np.where(usual > 0, found.max(axis=1), 0.0)


def _doubtful(rise: FloatArray) -> FloatArray:
    """Peaks of the slope (r, m) of middling height, (r,)."""
    usual = middle(_stretches(rise).max(axis=-1))[:, None]
    inner = rise[:, 1:-1]
    peak = (inner > rise[:, :-2]) & (inner >= rise[:, 2:])
    return np.asarray((peak & (inner > _DOUBTFUL[0] * usual) & (inner < _DOUBTFUL[1] * usual)).sum(axis=1), dtype=float)


def _judge(light: Windows) -> Table:
    """Of windows of one channel each; the score leaves the perfusion out."""
    raw = light.values[:, :, 0]
    band = PulseBand.of(raw, light.rate_hz)
    found = Pulses.of(band)
    steady, step, rests = light.mean(raw), _step(raw) / found.swing, Runs.of(light.steps_equal())
    percent = np.where(raw.min(axis=1) > 0, 100 * found.swing / np.maximum(steady, 1e-12), 100.0)
    causes = {
        "flat": _stillness(light, rests, step),
        "saturated": ramp(_clipped(light, rests, step), 0.1, 0.01),
        "coarse": ramp(np.where(np.isfinite(step), step, 0.0), 0.35, 0.15),
        "noise": ramp(found.noise, 0.5, 0.1),
        "baseline": ramp(band.wander(0.5) / found.swing, 14.0, 3.0),
        "jump": ramp(_jump(raw, light), 50.0, 16.0),
    }
    usable = found.usable()
    parts = {"usable": usable, **causes, "perfusion": ramp(percent, 0.05, 0.45)}
    return Table(parts, _flags(parts, light, steady, percent), reduce(np.minimum, causes.values(), usable))


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
    """Part: no long flat lines, and no staircase where values are held that the device does not have."""
    still = ramp(_resting(light, rests, 0.5), 0.45, 0.1)
    held = ramp(_resting(light, rests, max(_PLATEAU_S, 3 / light.rate_hz)), 0.8, 0.4)
    return np.where(step < _SMOOTH, np.minimum(still, held), still)


def _resting(light: Windows, rests: Runs, at_least_s: float, at_most_s: float = np.inf) -> FloatArray:
    """Share of each row that equal values in a row last for so long, (r,)."""
    samples = rests.length + 1  # the first of them differs from the one before
    long = (samples >= at_least_s * light.rate_hz - 0.5) & (samples < at_most_s * light.rate_hz - 0.5)
    total = np.bincount(rests.row[long], weights=samples[long], minlength=len(light))
    return np.asarray(total / light.values.shape[1])


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
