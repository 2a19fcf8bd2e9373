"""One channel on an even grid, with the time of each of its samples and which of them can be relied on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.quality.beats import bandpass
from drivers.types import FloatArray

Mask = np.typing.NDArray[np.bool_]
_HOLE = 1.6
"""Periods between two stamps from which samples are missing between them."""
_WILD = 4.0
"""Times the range of 99 % of the samples; a knock reaches less far."""
_LONGEST_HOLE_S = 5.0
"""A longer silence takes no more of the grid: nothing is looked for in it anyway."""


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Values (n,) at a steady rate. Made by ``of``, which fills holes, so that filters can be run over it."""

    values: FloatArray
    times_s: FloatArray
    """(n,) when each was taken, by its stamp; ascending."""
    rate_hz: float
    usable: Mask
    """(n,) False in a hole and where the caller says so, such as where a quality score is low."""

    @classmethod
    def of(cls, values: FloatArray, times_s: FloatArray, rate_hz: float, usable: Mask | None = None) -> Trace:
        """From samples (n,) and their times (n,) in s, in any order, at a nominal rate; holes are bridged."""
        values, times_s = np.asarray(values, dtype=np.float64), np.asarray(times_s, dtype=np.float64)
        usable = np.ones(len(values), dtype=bool) if usable is None else usable
        if len(times_s) and (np.diff(times_s) < 0).any():
            order = np.argsort(times_s, kind="stable")
            values, times_s, usable = values[order], times_s[order], usable[order]
        sane = _sane(values)
        if not sane.all():
            places = np.arange(len(values))
            known = values[sane] if sane.any() else np.zeros(1)
            values = np.interp(places, places[sane] if sane.any() else np.zeros(1), known)
            usable = usable & sane
        steps = np.diff(times_s) * rate_hz
        holes = steps > _HOLE
        if not holes.any():
            return cls(values, times_s, rate_hz, usable)
        most = _LONGEST_HOLE_S * rate_hz
        place = np.concatenate([[0], np.cumsum(np.where(holes, np.minimum(np.rint(steps), most), 1))]).astype(np.int64)
        grid = np.arange(place[-1] + 1)
        kept = np.zeros(len(grid), dtype=bool)
        kept[place] = usable
        return cls(np.interp(grid, place, values), np.interp(grid, place, times_s), rate_hz, kept)

    @property
    def seconds(self) -> float:
        """How much of it is usable."""
        return float(self.usable.sum()) / self.rate_hz

    def band(self, low_hz: float, high_hz: float) -> FloatArray:
        """Zero-phase band-pass, (n,)."""
        return bandpass(self.values, self.rate_hz, low_hz, high_hz)

    def at(self, position: FloatArray) -> FloatArray:
        """Time in s of fractional sample numbers (k,)."""
        return np.interp(position, np.arange(len(self.times_s)), self.times_s)

    def between(self, start_s: float, stop_s: float) -> Trace:
        """The part with stamps in [start_s, stop_s)."""
        part = slice(*np.searchsorted(self.times_s, (start_s, stop_s)).tolist())
        return Trace(self.values[part], self.times_s[part], self.rate_hz, self.usable[part])


def _sane(values: FloatArray) -> Mask:
    """(n,) False for what is no number, or so far out that a bit of it was wrong on its way, and not the body."""
    finite = np.isfinite(values)
    if not finite.any():
        return finite
    low, middle, high = np.quantile(values[finite], (0.005, 0.5, 0.995))
    return np.asarray(finite & (np.abs(values - middle) <= max(_WILD * (high - low), 1e-12)))


def vertex(level: FloatArray, places: np.typing.NDArray[np.int64]) -> FloatArray:
    """Where between samples each local maximum of ``level`` (n,) lies: the parabola through three of them."""
    inner = np.clip(places, 1, len(level) - 2)
    before, here, after = level[inner - 1], level[inner], level[inner + 1]
    bend = before - 2 * here + after
    move = 0.5 * (before - after) / np.where(bend < 0, bend, -np.inf)
    return np.asarray(inner + np.clip(move, -1.0, 1.0))
