"""A matched filter: a received waveform against the one that it should be, at any lag between samples.

The lag is found coarsely by the correlation of both at every lag, and then as the lag, and its growth, with which the
template explains the received samples best (Gauss and Newton on the squared residual, gain and level free): that is
the maximum likelihood estimate in white noise. Noise that hangs together, and residuals that are large where the
signal is steep, are allowed for by an interval from the scatter between stretches of the record.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft, stats

from drivers.types import FloatArray
from harness.content.alignment import CLEAR, Alignment, refuse

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
    unexplained over what the best one leaves.
    """
    if len(values) < 20 or np.ptp(times_s) <= 0:
        return refuse(f"only {len(values)} samples are there to align", len(values))
    template = template.between(float(times_s[0]) - reach_s, float(times_s[-1]) + reach_s)
    moving = (np.ptp(values, axis=0) > 0) & (np.ptp(template.values, axis=0) > 0)
    if not moving.any():
        return refuse("the signal, or what it should be, does not move at all", len(values))
    values, template = values[:, moving], Template(template.start_s, template.rate_hz, template.values[:, moving])
    lags_s, likeness = _correlations(values, times_s, template, reach_s)
    top = int(np.argmax(likeness))
    if likeness[top] < _LEAST_LIKENESS:
        return refuse(
            f"what was received does not look like what was rendered at any lag within {reach_s:g} s "
            f"(correlation {likeness[top]:.2f} at best)", len(values),
        )  # fmt: skip
    fit = _refine(values, times_s, template, float(lags_s[top]))
    if fit is None:
        return refuse("what should have been received does not move in this stretch", len(values))
    lobe, left, right = _highest_lobe(likeness, top)
    best = max(fit.likeness, float(likeness[top]))
    ratio = math.sqrt(max(1 - max(lobe, 0.0) ** 2, _ALIKE) / max(1 - best**2, _ALIKE))
    if ratio < CLEAR:
        return refuse(
            f"ambiguous: another lag explains the signal nearly as well (peak to side lobe {ratio:.2f}, {CLEAR:g} "
            "needed); a signal that repeats itself, or hardly moves, cannot tell", len(values), ratio,
        )  # fmt: skip
    if top in (0, len(lags_s) - 1):
        return refuse(f"the best lag is at the end of the search, {1e3 * lags_s[top]:.0f} ms", len(values), ratio)
    found = fit.alignment(ratio)
    step_ms = 1e3 * float(lags_s[1] - lags_s[0])
    strayed = not 1e3 * lags_s[left] - step_ms <= found.lag_ms <= 1e3 * lags_s[right] + step_ms
    if strayed:
        return refuse("the signal moves too little: lags far apart explain it alike", len(values), ratio)
    if found.half_ms > 1e3 * _VAGUE * reach_s:
        return refuse(
            f"the signal moves too little: its lag would be known to +-{found.half_ms:.0f} ms only", len(values), ratio
        )
    return found


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
        wave = weight * (wave - (weight @ wave) / total)
        model = truth[:, channel] - truth[:, channel].mean()
        scale = float(np.sqrt(wave @ wave))
        if scale == 0:
            continue
        found = fft.rfft(np.stack([model, model * model]), size)
        products = np.stack([found[0] * np.conj(fft.rfft(wave, size)), found[0] * spectrum, found[1] * spectrum])
        cross, level, square = fft.irfft(products, size)[:, : 2 * reach + 1]
        power = np.maximum(square - level**2 / total, 1e-9 * float(model @ model) * total / len(model))
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
    normals: FloatArray
    """(b, 2, 2) information of each stretch about lag and drift."""
    pulls: FloatArray
    """(b, 2) what is left of each stretch's wish to move them."""
    likeness: float

    def alignment(self, ratio: float) -> Alignment:
        """Lag where it is known best, which is in the middle of what moves, and both intervals.

        The wider of two errors: that of white noise, and that seen between stretches.
        """
        (about_lag, both), (_, about_drift) = self.normals.sum(axis=0).tolist()
        centre_s = both / about_lag
        about_drift = about_drift - centre_s * both  # that is left when the lag is free
        steps = np.stack([self.pulls[:, 0] / about_lag, self.pulls[:, 1] - centre_s * self.pulls[:, 0]], axis=1)
        white = np.array([1 / math.sqrt(about_lag), math.inf])
        if about_drift > 0:
            steps[:, 1] /= about_drift
            white[1] = 1 / math.sqrt(about_drift)
        share = self.normals[:, 0, 0] / about_lag
        stretches = 1 / float(share @ share)  # as many equal ones would say as much
        seen = np.sqrt((steps**2).sum(axis=0) * stretches / max(stretches - 1, 0.5))
        bound = np.maximum(1.96 * white, float(stats.t.ppf(0.975, max(stretches - 1, 3))) * seen)
        (half, tilt), lag, drift = bound.tolist(), self.lag_s + centre_s * self.drift, self.drift
        return Alignment(
            1e3 * lag, 1e3 * (lag - half), 1e3 * (lag + half), round(stretches), ratio,
            1e6 * drift, 1e6 * (drift - tilt), 1e6 * (drift + tilt),
        )  # fmt: skip


def _refine(values: FloatArray, times_s: FloatArray, template: Template, lag_s: float) -> _Fit | None:
    """Gauss-Newton on lag and drift; every channel has its own gain, level and noise. None if nothing tells a lag."""
    slope = template.slope()
    away = times_s - float(times_s[0] + times_s[-1]) / 2
    stretch = np.minimum((away - away[0]) / (np.ptp(away) * (1 + 1e-9)) * _STRETCHES, _STRETCHES - 1).astype(np.int64)
    starts = np.flatnonzero(np.diff(stretch, prepend=-1))
    lag, drift = lag_s, 0.0
    for _ in range(_STEPS):
        at_s = times_s - lag - drift * away
        normals, pulls, explained = _sensitivities(values, template.at(at_s), slope.at(at_s), away, starts)
        normal = normals.sum(axis=0)
        if not normal[0, 0] > 0:
            return None
        scale = np.sqrt(np.maximum(np.diag(normal), 1e-300))
        step = np.linalg.pinv(normal / np.outer(scale, scale), rcond=1e-9, hermitian=True) @ (pulls.sum(axis=0) / scale)
        lag, drift = lag + float(step[0] / scale[0]), drift + float(step[1] / scale[1])
    return _Fit(lag, drift, normals, pulls, explained)


def _sensitivities(
    values: FloatArray, model: FloatArray, change: FloatArray, away: FloatArray, starts: np.typing.NDArray[np.int64]
) -> tuple[FloatArray, FloatArray, float]:
    """Normal matrices (b, 2, 2) and pulls (b, 2) of the stretches that begin at ``starts``, and the likeness."""
    normals, pulls, explained = np.zeros((len(starts), 2, 2)), np.zeros((len(starts), 2)), 0.0
    for wave, own, slope in zip(values.T, model.T, change.T, strict=True):
        base = np.stack([own, np.ones(len(own))], axis=1)
        gain = _weights(base, wave[:, None])
        rest = wave - base @ gain[:, 0]
        sense = -gain[0, 0] * slope[:, None] * np.stack([np.ones(len(away)), away], axis=1)
        sense -= base @ _weights(base, sense)
        noise = max(float(rest @ rest) / len(rest), 1e-12 * float(np.var(wave)) + 1e-300)
        normals += np.add.reduceat(sense[:, :, None] * sense[:, None, :], starts) / noise
        pulls += np.add.reduceat(sense * rest[:, None], starts) / noise
        explained += max(1 - noise / max(float(np.var(wave)), 1e-300), 0.0)
    return normals, pulls, math.sqrt(explained / values.shape[1])


def _weights(base: FloatArray, values: FloatArray) -> FloatArray:
    """Least squares by the normal equations of two well-scaled columns: (2, k)."""
    size = np.sqrt(np.maximum((base * base).sum(axis=0), 1e-300))
    unit = base / size
    return np.asarray(np.linalg.pinv(unit.T @ unit, hermitian=True) @ (unit.T @ values) / size[:, None])
