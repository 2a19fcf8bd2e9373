"""Breathing or skin conductance on a coarse even grid, smoothed: much the same at any sampling rate.

The same to the last bit however the signal is cut into pieces. Scores of windows take plain means instead
(``drivers.quality.rows``): noise is what they are about.
"""

from __future__ import annotations

import numpy as np

from drivers.types import FloatArray


class Decimator:
    """Averages consecutive samples down to about ``grid_hz`` and smooths them with a Hann window of ``smooth_s``.

    Beyond both ends the first and the last value go on. What is no number counts as the value before it (0 at the
    start). Every output is a sum of the same numbers in the same order, whatever the chunks.
    """

    def __init__(self, rate_hz: float, grid_hz: float, smooth_s: float) -> None:
        self._step = max(1, round(rate_hz / grid_hz))
        self.hz = rate_hz / self._step
        """Of the grid: between 2/3 and 3/2 of the one asked for, or the signal's own if that is less."""
        self._offset_s = 0.5 * (self._step - 1) / rate_hz
        self._half = max(1, round(0.5 * smooth_s * self.hz))
        taper = np.hanning(2 * self._half + 3)[1:-1]
        self._taper = (taper / taper.sum()).tolist()
        self._rest, self._tail = np.empty(0), np.empty(0)
        self._last = 0.0

    def seconds(self, place: FloatArray) -> FloatArray:
        """Time after the first sample of places (n,) on the grid, whole or between."""
        return place / self.hz + self._offset_s

    def feed(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The next values of the grid, averaged and smoothed, (m,) each; the smoothed ones lag ``smooth_s`` / 2."""
        joined = np.concatenate([self._rest, self._finite(np.asarray(values, dtype=np.float64))])
        whole = len(joined) // self._step * self._step
        self._rest = joined[whole:].copy()
        averaged = joined[:whole].reshape(-1, self._step).mean(axis=1)
        return averaged, self._smooth(averaged)

    def finish(self) -> FloatArray:
        """The last smoothed values, (m,), with samples that fill no step of the grid left out."""
        return self._smooth(np.repeat(self._tail[-1:], self._half))

    def _smooth(self, averaged: FloatArray) -> FloatArray:
        """Of the next values of the grid (m,), those that are complete with them."""
        if not len(averaged):
            return averaged
        before = self._tail if len(self._tail) else np.repeat(averaged[:1], self._half)
        joined = np.concatenate([before, averaged])
        count = max(0, len(joined) - 2 * self._half)
        self._tail = joined[count:].copy()
        smooth = np.zeros(count)
        for lag, weight in enumerate(self._taper):  # term by term: a library's sum may depend on where a chunk lies
            smooth += weight * joined[lag : lag + count]
        return smooth

    def _finite(self, values: FloatArray) -> FloatArray:
        """Samples (n,) with the value before in place of what is no number."""
        broken = ~np.isfinite(values)
        if broken.any():
            joined = np.concatenate([[self._last], values])
            place = np.maximum.accumulate(np.where(np.isfinite(joined), np.arange(len(joined)), 0))
            values = joined[place][1:]
        if len(values):
            self._last = float(values[-1])
        return values
