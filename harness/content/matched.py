"""A matched filter: a received waveform against the one that it should be, at any lag between samples.

The lag is found coarsely by the correlation of both at every lag, and then as the lag, and its growth, with which the
template explains the received samples best (Gauss and Newton on the squared residual, gain and level free): that is
the maximum likelihood estimate in white noise. Noise that hangs together, and residuals that are large where the
signal is steep, are allowed for by an interval from the scatter between stretches of the record.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import fft, special

from drivers.types import FloatArray, IntArray
from harness.content.alignment import CLEAR, Alignment, Part, refuse
from harness.content.trace import Mask

_STRETCHES = 24
_STEPS = 3
_LEAST_LIKENESS = 0.3
"""Correlation below which the two do not show the same."""
_VAGUE = 0.05
"""Of the search's reach: an interval wider than this says nothing."""
_ALIKE = 1e-3
"""What is left unexplained counts as no less, so that two lags that both fit perfectly are as good as each other."""
_COARSE_HZ = 125.0
"""Finer than this the first search need not be."""
_PACES = 4.0
"""A stretch is so many times as long as the signal takes to change by its own size."""
_STRAY, _EVEN_S = 5.0, 1e-3
"""Standard errors, and seconds, that a stretch may lie off the line of lag and drift."""
_JUMP, _TELLING = 4.5, 1e-2
"""Standard errors of a jump that is one, and the share of what a jump elsewhere shows that makes it show at all."""
_PART_S, _BLOCK_S, _APART_S = 5.0, 2.5, 5e-3
"""Parts that lag otherwise are so long, are looked for in blocks of such a length, and are so far off."""
_PLAIN = 1.6
"""Peak to side lobe of a part: it is short, and may fit a beat away from where it belongs."""
_UNLIKE, _ODD = 0.25, 4.0
"""Left unexplained of a block where it does not fit: of its own, and times what is usual."""


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """What should have been received: values (n, channels) from ``start_s`` on, at a steady rate."""

    start_s: float
    rate_hz: float
    values: FloatArray

    def at(self, times_s: FloatArray) -> FloatArray:
        """Values (k, channels) at any times within, by straight lines."""
        position = np.clip((times_s - self.start_s) * self.rate_hz, 0, len(self.values) - 1.001)
        whole = position.astype(np.int64)
        part = (position - whole)[:, None]
        return np.asarray(self.values[whole] * (1 - part) + self.values[whole + 1] * part)

    def between(self, start_s: float, stop_s: float) -> Template:
        """The part that covers these times, and a little more."""
        first = max(int((start_s - self.start_s) * self.rate_hz) - 2, 0)
        last = max(int((stop_s - self.start_s) * self.rate_hz) + 4, first + 4)
        return Template(self.start_s + first / self.rate_hz, self.rate_hz, self.values[first:last])

    def slope(self) -> Template:
        """Its change per second."""
        return Template(self.start_s, self.rate_hz, np.gradient(self.values, axis=0) * self.rate_hz)


def align_template(values: FloatArray, times_s: FloatArray, template: Template, reach_s: float = 3.0) -> Alignment:
    """Lag of received samples (n, channels), taken at times_s (n,) s by their stamps, ascending, against the template.

    The template must reach ``reach_s`` beyond the samples on either side for all lags to be tried alike. Samples may
    have holes: leave out what is not to be relied on. ``ratio`` is the root of what the next best lag leaves
    unexplained over what the best one leaves. Parts of five seconds and more that lag otherwise are named.
    """
    found, fit = _aligned(values, times_s, template, reach_s)
    if fit is None or found.refused is not None:
        return found
    parts = []
    for start_s, stop_s in fit.odd_spans():
        inside = (times_s >= start_s) & (times_s < stop_s)
        local, _ = _aligned(values[inside], times_s[inside], template, reach_s)
        away_ms = abs(local.lag_ms - found.lag_ms) - local.half_ms
        clear = local.refused is None and local.ratio >= _PLAIN
        if clear and away_ms > max(1e3 * _APART_S, found.half_ms):
            parts.append(Part(start_s, stop_s, local.lag_ms, local.low_ms, local.high_ms))
    return replace(found, parts=tuple(parts))


def _aligned(
    values: FloatArray, times_s: FloatArray, template: Template, reach_s: float
) -> tuple[Alignment, _Fit | None]:
    """One lag for all samples, and how it was found."""
    if len(values) < 20 or np.ptp(times_s) <= 0:
        return refuse(f"only {len(values)} samples are there to align", len(values)), None
    template = template.between(float(times_s[0]) - reach_s, float(times_s[-1]) + reach_s)
    moving = (np.ptp(values, axis=0) > 0) & (np.ptp(template.values, axis=0) > 0)
    if not moving.any():
        return refuse("the signal, or what it should be, does not move at all", len(values), still=True), None
    values, template = values[:, moving], Template(template.start_s, template.rate_hz, template.values[:, moving])
    lags_s, likeness = _correlations(values, times_s, template, reach_s)
    top = int(np.argmax(likeness))
    if likeness[top] < _LEAST_LIKENESS:
        return refuse(
            f"what was received does not look like what was rendered at any lag within {reach_s:g} s "
            f"(correlation {likeness[top]:.2f} at best)", len(values),
        ), None  # fmt: skip
    fit = _refine(values, times_s, template, float(lags_s[top]))
    if fit is None:
        return refuse("what should have been received does not move in this stretch", len(values), still=True), None
    lobe, left, right = _highest_lobe(likeness, top)
    best = max(fit.likeness, float(likeness[top]))
    ratio = math.sqrt(max(1 - max(lobe, 0.0) ** 2, _ALIKE) / max(1 - best**2, _ALIKE))
    if ratio < CLEAR:
        return refuse(
            f"ambiguous: another lag explains the signal nearly as well (peak to side lobe {ratio:.2f}, {CLEAR:g} "
            "needed); a signal that repeats itself, or hardly moves, cannot tell", len(values), ratio,
        ), None  # fmt: skip
    if top in (0, len(lags_s) - 1):
        return refuse(f"the best lag is at the end of the search, {1e3 * lags_s[top]:.0f} ms", len(values), ratio), None
    found = fit.alignment(ratio)
    step_ms = 1e3 * float(lags_s[1] - lags_s[0])
    strayed = not 1e3 * lags_s[left] - step_ms <= found.lag_ms <= 1e3 * lags_s[right] + step_ms
    if strayed:
        return refuse("the signal moves too little: lags far apart explain it alike", len(values), ratio, True), None
    if found.half_ms > 1e3 * _VAGUE * reach_s:
        return refuse(
            f"the signal moves too little: its lag would be known to +-{found.half_ms:.0f} ms only",
            len(values), ratio, True,
        ), None  # fmt: skip
    return found, fit


def _correlations(
    values: FloatArray, times_s: FloatArray, template: Template, reach_s: float
) -> tuple[FloatArray, FloatArray]:
    """(lags, correlation at each, averaged over channels by their own template's energy), (k,) each."""
    rate_hz = min(_COARSE_HZ, template.rate_hz, max(4.0 * (len(times_s) - 1) / float(np.ptp(times_s)), 20.0))
    begin_s = float(times_s[0])
    count, reach = int(np.ptp(times_s) * rate_hz) + 1, int(reach_s * rate_hz)
    grid_s = begin_s + np.arange(count) / rate_hz
    held = np.clip(np.searchsorted(times_s, grid_s), 1, len(times_s) - 1)
    gap_s = times_s[held] - times_s[held - 1]
    weight = (gap_s <= 3 * np.median(np.diff(times_s))).astype(np.float64)
    truth = template.at(begin_s + (np.arange(count + 2 * reach) - reach) / rate_hz)
    size = fft.next_fast_len(count + 2 * reach, real=True)
    lags_s = (reach - np.arange(2 * reach + 1)) / rate_hz
    spectrum = np.conj(fft.rfft(weight, size))
    total = weight.sum()
    sums, energies = 0.0, 0.0
    for channel in range(values.shape[1]):
        wave = np.interp(grid_s, times_s, values[:, channel])
        wave = weight * (wave - _product(weight, wave) / total)
        model = truth[:, channel] - truth[:, channel].mean()
        scale = math.sqrt(_product(wave, wave))
        if scale == 0:
            continue
        found = fft.rfft(np.stack([model, model * model]), size)
        products = np.stack([found[0] * np.conj(fft.rfft(wave, size)), found[0] * spectrum, found[1] * spectrum])
        cross, level, square = fft.irfft(products, size)[:, : 2 * reach + 1]
        power = np.maximum(square - level**2 / total, 1e-9 * _product(model, model) * total / len(model))
        own = float(np.mean(power)) / scale**2 if values.shape[1] > 1 else 1.0
        sums, energies = sums + own * cross / (scale * np.sqrt(power)), energies + own
    return lags_s[::-1], np.broadcast_to(sums / max(energies, 1e-30), lags_s.shape)[::-1]


def _highest_lobe(likeness: FloatArray, top: int) -> tuple[float, int, int]:
    """Largest correlation once it has fallen from the peak and rises again, and where that is on either side."""
    falls = np.diff(likeness)
    right = top + int(np.argmax(np.append(falls[top:] > 0, True)))
    left = top - int(np.argmax(np.append(falls[:top][::-1] < 0, True)))
    rest = np.concatenate([likeness[:left], likeness[right + 1 :]])
    return (float(rest.max()) if len(rest) else 0.0), left, min(right, len(likeness) - 1)


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """Lag and drift, and what each stretch of the record says about them."""

    lag_s: float
    """At the time from which ``away`` was counted."""
    drift: float
    about: FloatArray
    """(3, b) information of each stretch about lag, about lag and drift together, and about drift."""
    pulls: FloatArray
    """(2, b) what is left of each stretch's wish to move them."""
    energies: FloatArray
    """(2, b) of what is left unexplained, and of all, in units of the noise."""
    likeness: float
    edges_s: FloatArray
    """(b + 1,) where the stretches begin and end, by the samples' stamps."""

    def alignment(self, ratio: float) -> Alignment:
        """Lag where it is known best, which is in the middle of what moves, and both intervals.

        The wider of two errors: that of white noise, and that seen when each stretch in turn is left out (the
        jackknife, which asks more of a stretch that says much; Bell and McCaffrey 2002, Survey Methodology 28:169).
        """
        lag, both, _ = self.about.sum(axis=1).tolist()
        centre_s = both / lag
        own = self.about[2] - 2 * centre_s * self.about[1] + centre_s**2 * self.about[0]
        tilt = float(own.sum())
        late, grown = self._without_one()
        late_s, late_half_s = self.lag_s + centre_s * self.drift, _half(late + centre_s * grown, self.about[0], lag)
        grown_half = _half(grown, own, tilt) if self.even() else math.inf
        return Alignment(
            1e3 * late_s, 1e3 * (late_s - late_half_s), 1e3 * (late_s + late_half_s), round(_worth(self.about[0])),
            ratio, 1e6 * self.drift, 1e6 * (self.drift - grown_half), 1e6 * (self.drift + grown_half),
        )  # fmt: skip

    def _without_one(self) -> tuple[FloatArray, FloatArray]:
        """(b,) each: how lag and drift would move if that stretch were not there."""
        (lag, both, drift), (late, grown) = self.about.sum(axis=1)[:, None] - self.about, self.pulls
        power = lag * drift - both**2
        with np.errstate(divide="ignore", invalid="ignore"):
            late, grown = (both * grown - drift * late) / power, (both * late - lag * grown) / power
        known = (power > 1e-9 * lag * drift) & np.isfinite(late) & np.isfinite(grown)
        return np.where(known, late, np.inf), np.where(known, grown, np.inf)

    def strays(self) -> tuple[FloatArray, FloatArray]:
        """(b,) each: by how much each stretch lags beyond the line, s, and the standard error in white noise."""
        lag = np.maximum(self.about[0], 1e-30)
        return self.pulls[0] / lag, 1 / np.sqrt(lag)

    def even(self) -> bool:
        """The lag follows a line, as far as noise allows to see: it does not jump or swing.

        Noise that hangs together shows between neighbours; a jump does so between two of them only.
        """
        off_s, error_s = self.strays()
        rough = max(float(np.median(np.abs(np.diff(off_s / error_s)))) / 0.954, 1.0)
        strays = np.abs(off_s) > np.maximum(_STRAY * rough * error_s, _EVEN_S)
        return not strays.any() and self._jump(off_s / error_s, error_s) <= _JUMP * rough

    def _jump(self, off: FloatArray, error_s: FloatArray) -> float:
        """How many standard errors the largest jump between two stretches has, beside a line; off (b,) in errors."""
        middle_s = (self.edges_s[:-1] + self.edges_s[1:]) / 2
        line = np.stack([np.ones(len(off)), middle_s - middle_s.mean()], axis=1) / error_s[:, None]
        steps = np.tri(len(off), len(off) - 1, -1) / error_s[:, None]
        base, _ = np.linalg.qr(line)
        steps = steps - base @ (base.T @ steps)
        size = np.sqrt(np.maximum((steps * steps).sum(axis=0), 1e-300))
        telling = size > _TELLING * size.max(initial=0.0)
        return float(np.max(np.abs(off @ steps) / size, where=telling, initial=0.0))

    def odd_spans(self) -> list[tuple[float, float]]:
        """(from, to) s, by the samples' stamps, of parts that do not fit the lag of the whole, or lie off it."""
        count = len(self.about[0])
        width_s = float(self.edges_s[-1] - self.edges_s[0]) / count
        firsts = np.arange(0, count, max(round(_BLOCK_S / width_s), 1))
        known, pull = (np.add.reduceat(row, firsts) for row in (self.about[0], self.pulls[0]))
        known = np.maximum(known, 1e-30)
        strays = np.abs(pull / known) > np.maximum(_STRAY / np.sqrt(known), _APART_S)
        unlike = _unlike(self.energies)
        odd = strays | _unlike(np.add.reduceat(self.energies, firsts, axis=1))
        bounds, spans = np.append(firsts, count), []
        for first, last in np.flatnonzero(np.diff(np.concatenate([[0], odd, [0]]))).reshape(-1, 2).tolist():
            low, high = int(bounds[first]), int(bounds[last])
            inside = low + np.flatnonzero(unlike[low:high])
            if len(inside):  # a block holds stretches that fit, too
                low, high = int(inside[0]), int(inside[-1]) + 1
            spans.append((float(self.edges_s[low]), float(self.edges_s[high])))
        return [span for span in spans if span[1] - span[0] >= _PART_S - width_s / 2]


def _unlike(energies: FloatArray) -> Mask:
    """(b,) of energies (2, b): more is left unexplained than usual, and much of what there is."""
    share = energies[0] / np.maximum(energies[1], 1e-300)
    return np.asarray(share > max(_ODD * float(np.median(share)), _UNLIKE))


def _worth(shares: FloatArray) -> float:
    """As many equal stretches would say as much as these unequal ones (b,)."""
    return float(shares.sum()) ** 2 / max(float((shares * shares).sum()), 1e-300)


def _half(moved: FloatArray, shares: FloatArray, power: float) -> float:
    """Half of a 95 % interval, from what the estimate moves by without each stretch (b,) and what each knows (b,)."""
    if not power > 0:
        return math.inf
    count, freedom = len(moved), max(_worth(shares) - 1, 1.0)
    seen = math.sqrt(float((moved * moved).sum()) * (count - 1) / count) if np.isfinite(moved).all() else math.inf
    return max(1.96 / math.sqrt(power), float(special.stdtrit(freedom, 0.975)) * seen)


def _refine(values: FloatArray, times_s: FloatArray, template: Template, lag_s: float) -> _Fit | None:
    """Gauss-Newton on lag and drift; every channel has its own gain, level and noise. None if nothing tells a lag."""
    width = values.shape[1]
    curve = Template(template.start_s, template.rate_hz, np.hstack([template.values, template.slope().values]))
    away = times_s - float(times_s[0] + times_s[-1]) / 2
    count = _stretches(template, float(np.ptp(away)))
    starts = np.searchsorted(away, away[0] + np.ptp(away) * np.arange(count) / count)
    starts = np.unique(starts)
    waves = np.ascontiguousarray((values - values.mean(axis=0)).T)
    lag, drift = lag_s, 0.0
    for _ in range(_STEPS):
        both = np.ascontiguousarray(curve.at(times_s - lag - drift * away).T)
        about, pulls, energies, explained = _sensitivities(waves, both[:width], both[width:], away, starts)
        known, mixed, tilt = about.sum(axis=1).tolist()
        if not known > 0:
            return None
        late, grown = pulls.sum(axis=1).tolist()
        power = known * tilt - mixed**2
        if power > 1e-9 * known * tilt:
            lag, drift = lag + (tilt * late - mixed * grown) / power, drift + (known * grown - mixed * late) / power
        else:
            lag += late / known
    edges_s = np.append(times_s[starts], times_s[-1])
    return _Fit(lag, drift, about, pulls, energies, explained, edges_s)


def _stretches(template: Template, seconds: float) -> int:
    """So many that each is long against what the signal takes to change: then their errors are their own."""
    level = template.values - template.values.mean(axis=0)
    change = np.diff(level, axis=0) * template.rate_hz
    pace_s = np.sqrt((level * level).mean(axis=0) / np.maximum((change * change).mean(axis=0), 1e-300))
    return int(np.clip(seconds / (_PACES * float(pace_s.min())), 2, _STRETCHES))


def _sensitivities(
    waves: FloatArray, models: FloatArray, changes: FloatArray, away: FloatArray, starts: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Information (3, b), pulls (2, b) and energies (2, b) of the stretches from ``starts`` on, and the likeness.

    ``waves`` (channels, n) have no mean. Sums are taken without BLAS, whose threads cost more than they bring here.
    """
    sums, explained = np.zeros((7, len(starts))), 0.0
    products = np.empty((7, len(away)))
    for wave, own, slope in zip(waves, models, changes, strict=True):
        own = own - own.mean()
        power = max(_product(own, own), 1e-300)
        gain = _product(own, wave) / power
        rest = wave - gain * own
        late, grown = (_apart(sense, own, power) for sense in (-gain * slope, -gain * slope * away))
        variance = _product(wave, wave) / len(wave)
        noise = max(_product(rest, rest) / len(rest), 1e-12 * variance + 1e-300)
        pairs = (late, late), (late, grown), (grown, grown), (late, rest), (grown, rest), (rest, rest), (wave, wave)
        for row, (one, other) in enumerate(pairs):
            np.multiply(one, other, out=products[row])
        sums += np.add.reduceat(products, starts, axis=1) / noise
        explained += max(1 - noise / max(variance, 1e-300), 0.0)
    return sums[:3], sums[3:5], sums[5:], math.sqrt(explained / len(waves))


def _apart(sense: FloatArray, own: FloatArray, power: float) -> FloatArray:
    """What of a sensitivity neither the level nor the gain of the wave ``own`` would explain."""
    sense = sense - sense.mean()
    return sense - (_product(sense, own) / power) * own


def _product(a: FloatArray, b: FloatArray) -> float:
    return float(np.einsum("i,i->", a, b))
