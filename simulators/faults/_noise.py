"""Levels of disturbances, band-limited noise by sample number, and cycles of damage."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import signal

from drivers.types import FloatArray
from simulators.draws import Draws
from simulators.faults import Where
from simulators.faults._stage import Mask

CYCLE_S = 10.0
"""Period of faults that damage a fraction of the time: the length of a quality window."""


def level_for(given: float | None, where: Where, defaults: Mapping[str, float]) -> float:
    """The level that was asked for, or the default of the stream's kind (key "": every other kind)."""
    if given is not None:
        return given
    kind = where.spec.kind if where.spec else ""
    return defaults.get(kind, defaults[""])


def rate_of(where: Where) -> float:
    """Nominal sampling rate of the stream, Hz."""
    if where.spec is None or not where.spec.rate_hz:
        raise ValueError(f"{where.sensor}: a sample fault is bound to a stream with a sampling rate")
    return where.spec.rate_hz


class BandNoise:
    """Gaussian noise of unit rms in a band; the draws go by sample number, the filter carries its state."""

    def __init__(self, draws: Draws, low_hz: float, high_hz: float, rate_hz: float) -> None:
        high = min(high_hz, 0.45 * rate_hz)
        low = min(low_hz, 0.5 * high)
        self._sos = signal.butter(2, (low, high), "bandpass", fs=rate_hz, output="sos")
        _, response = signal.sosfreqz(self._sos, worN=4096)
        self._gain = 1 / float(np.sqrt(np.mean(np.abs(response) ** 2)))
        self._draws = draws
        self._channels: list[Draws] = []
        self._state = np.empty((0, 0, 0))

    def take(self, first: int, count: int, channels: int) -> FloatArray:
        """Noise (count, channels) of consecutive samples; every channel has its own."""
        if not self._channels:
            self._channels = [self._draws.child(number) for number in range(channels)]
            self._state = np.zeros((len(self._sos), 2, channels))
        white = np.stack([draws.normal(first, count) for draws in self._channels], axis=1)
        noise, self._state = signal.sosfilt(self._sos, white, axis=0, zi=self._state)
        return np.asarray(noise * self._gain)


class Cycle:
    """The same part of every ten seconds, from a drawn moment on: any ten seconds hold exactly ``fraction``."""

    def __init__(self, draws: Draws, fraction: float) -> None:
        self._phase_s = float(draws.child("phase").uniform(0, 1)[0]) * CYCLE_S
        self._length_s = fraction * CYCLE_S

    def mask(self, times_s: FloatArray) -> Mask:
        """Which samples fall in it, (n,)."""
        return np.asarray(np.mod(times_s - self._phase_s, CYCLE_S) < self._length_s)
