"""Waveforms as interpolated tables, so that how samples are cut changes no bit.

Linear interpolation and sums in a fixed order are the same arithmetic for one sample as for a
thousand; a vector exponential need not be. Every kernel has hard compact support: outside it is
exactly zero, so an event matters only to the samples it reaches.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from drivers.types import FloatArray
from simulators.draws import Draws

BELL_REACH = 4.5
"""A bell ends this many standard deviations from its centre."""
DECAY_REACH = 12.0
"""A decay ends after this many time constants."""

_BELL_X = np.linspace(-BELL_REACH, BELL_REACH, 9001)
_BELL_FLOOR = np.exp(-(BELL_REACH**2) / 2)
_BELL_Y = (np.exp(-(_BELL_X**2) / 2) - _BELL_FLOOR) / (1 - _BELL_FLOOR)
_DECAY_X = np.linspace(0.0, DECAY_REACH, 12001)
_DECAY_Y = np.exp(-_DECAY_X)
_TURN_X = np.linspace(0.0, 1.0, 4097)
_TURN_Y = np.cos(2 * np.pi * _TURN_X)
_LATTICE_ORIGIN = 1 << 24
"""Draw that belongs to lattice point 0, so that times before zero have draws too."""


def bell(x: FloatArray) -> FloatArray:
    """Gaussian of standard deviation 1 and height 1, to 5e-7; zero beyond BELL_REACH."""
    return np.asarray(np.interp(x, _BELL_X, _BELL_Y, left=0.0, right=0.0))


def decay(x: FloatArray) -> FloatArray:
    """exp(-x) for 0 <= x <= DECAY_REACH, to 2e-7; zero elsewhere."""
    return np.asarray(np.interp(x, _DECAY_X, _DECAY_Y, left=0.0, right=0.0))


def cosine(turns: FloatArray) -> FloatArray:
    """cos(2 pi turns), to 3e-7."""
    return np.asarray(np.interp(turns - np.floor(turns), _TURN_X, _TURN_Y))


def add_events(
    out: FloatArray,
    times_s: FloatArray,
    starts_s: FloatArray,
    stops_s: FloatArray,
    kernel: Callable[[int, FloatArray], FloatArray],
) -> None:
    """Add kernel(event number, times) to ``out`` (n,) where starts_s <= times_s <= stops_s.

    Times are sorted. Events add in their own order, so a sample's sum does not depend on its neighbours.
    """
    first = np.searchsorted(times_s, starts_s, side="left").tolist()
    last = np.searchsorted(times_s, stops_s, side="right").tolist()
    for event, (a, b) in enumerate(zip(first, last, strict=True)):
        if a < b:
            out[a:b] += kernel(event, times_s[a:b])


class SlowNoise:
    """Smooth noise as a function of time: N(0, 1) at lattice points, straight lines between them."""

    def __init__(self, draws: Draws, spacing_s: float) -> None:
        self._draws, self._spacing_s = draws, spacing_s

    def at(self, times_s: FloatArray) -> FloatArray:
        """Value at each time, same shape; the same time always has the same value."""
        if not times_s.size:
            return np.zeros_like(times_s)
        position = times_s / self._spacing_s
        low = int(np.floor(position.min()))
        count = int(np.floor(position.max())) + 2 - low
        values = self._draws.normal(_LATTICE_ORIGIN + low, count)
        return np.asarray(np.interp(position, np.arange(low, low + count, dtype=np.float64), values))
