"""Candidates for beats in one unbroken run of samples, as the samples come, and where exactly a chosen one lies.

A run is continued by its mirror image at both ends, so that its first and last beat are seen whole.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from drivers.quality.beat_levels import ALONE_S, ECG, EcgLevels, Look, PpgLevels, slope_tops, wave_tops
from drivers.quality.beat_path import Candidate
from drivers.types import FloatArray

_KEPT_S = 6.0
"""So much is kept of what has been looked at: the search for the exact place, and four seconds of learning."""
_REACH_S = 0.08
"""A beat is so near to its candidate."""
_SHARP_S, _BROAD_S = 0.004, 0.022
"""A bell less a broader one: what an R peak is looked for in, about 5 to 35 Hz."""
_OTHER_SIDE = 1.5
"""An R peak may point the other way than usual if it is so much larger there."""
TICK_S = 0.2
"""Candidates are decided on so often."""
_VOTES = 30.0
"""Seconds after which an opinion on the pulse's direction has faded to a third."""


@lru_cache(maxsize=32)
def peak_kernel(rate_hz: float) -> FloatArray:
    """(2 k + 1,) symmetric, blind to a constant."""
    reach = int(np.ceil(3 * _BROAD_S * rate_hz))
    away_s = np.arange(-reach, reach + 1) / rate_hz
    sharp = np.exp(-0.5 * (away_s / max(_SHARP_S, 0.5 / rate_hz)) ** 2)
    broad = np.exp(-0.5 * (away_s / _BROAD_S) ** 2)
    return np.asarray(sharp / sharp.sum() - broad / broad.sum())


class Track:
    """The end of a growing array along its last axis, by absolute position."""

    def __init__(self, first: int, rows: tuple[int, ...] = ()) -> None:
        self.first = first
        self.values: FloatArray = np.empty((*rows, 0))

    @property
    def stop(self) -> int:
        """Position after the last value."""
        return self.first + int(self.values.shape[-1])

    def append(self, values: FloatArray) -> None:
        """Add values at the end."""
        self.values = np.concatenate([self.values, values], axis=-1)

    def forget(self, before: int) -> None:
        """Drop what lies before a position, once it is worth while."""
        if before - self.first > 1000:
            self.values, self.first = self.values[..., before - self.first :].copy(), before

    def part(self, start: int, stop: int) -> FloatArray:
        """Values at start..stop, as far as they are there."""
        return self.values[..., max(start - self.first, 0) : max(stop - self.first, 0)]


class Run:
    """One unbroken run. Times are in seconds from its first sample."""

    def __init__(self, rate_hz: float, look: Look, upright: bool | None) -> None:
        self.rate_hz, self.look = rate_hz, look
        self.step = max(1, round(rate_hz / look.grid_hz))
        self.grid_hz = rate_hz / self.step
        self._measure = EcgLevels(look, self.grid_hz) if look is ECG else PpgLevels(look, self.grid_hz)
        self._apart = max(1, round(look.apart_s * self.grid_hz))
        self._ahead = self._apart + (round(ALONE_S * self.grid_hz) + 1 if look is ECG else 1)
        self._behind = self._ahead + self._apart
        """A candidate depends on so much of the levels after it, and before it."""
        self._mirror = self._measure.reach + self._behind
        self.count = 0
        """Samples so far."""
        self._samples = Track(0)
        self._grid = Track(0)
        self._levels = Track(0, (2,))
        self._taken = 0
        self._begun = False
        self._done = 0
        """Up to this place on the grid all candidates have been given."""
        self._origin = 0.0
        self._upright = -1.0 if upright is False else 1.0
        self._fixed = upright is not None or look is ECG
        self._votes = 0.0
        self._voted = 0
        self._peak_sign = 0.0

    @property
    def known_s(self) -> float:
        """All candidates before this time have been given."""
        return self._done / self.grid_hz

    @property
    def settling_s(self) -> float:
        """A candidate is given so long after it was."""
        return (self._measure.reach + self._ahead + 1) / self.grid_hz

    def extend(self, values: FloatArray) -> list[Candidate]:
        """The candidates that samples (n,) make certain."""
        if not self.count and len(values):
            self._origin = float(values[0])
        self._samples.append(values - self._origin)
        self.count += len(values)
        whole = self.count // self.step
        fresh = self._samples.part(self._taken * self.step, whole * self.step)
        self._taken = whole
        self._grid.append(fresh.reshape(-1, self.step).sum(axis=1) / self.step if self.step > 1 else fresh)
        if not self._begun:
            if whole <= self._mirror:
                return []
            self._begin()
        return self._measured()

    def end(self) -> list[Candidate]:
        """The rest of the candidates: the run is over."""
        if self._taken < 2:
            return []
        if not self._begun:
            self._begin()
        self._grid.append(np.pad(self._grid.part(0, self._taken), (0, self._mirror), mode="reflect")[-self._mirror :])
        return self._measured(self._taken)

    def _begin(self) -> None:
        """Put the mirror image before the first sample."""
        self._begun = True
        self._grid.values = np.pad(self._grid.values, (self._mirror, 0), mode="reflect")
        self._grid.first, self._levels.first = -self._mirror, -self._behind

    def _measured(self, end: int | None = None) -> list[Candidate]:
        reach = self._measure.reach
        around = self._grid.part(self._levels.stop - reach, self._grid.stop)
        if len(around) > 2 * reach:
            self._levels.append(self._measure(around))
        self._grid.forget(self._levels.stop - reach - self._mirror)
        stop = self._levels.stop if end is None else end
        if end is None:  # enough for another decision, or nothing: looking often costs more than looking
            ticks = math.floor((self._levels.stop - self._ahead) / (TICK_S * self.grid_hz))
            end = math.ceil(ticks * TICK_S * self.grid_hz)
        return self._candidates(end, stop) if end > self._done else []

    def _candidates(self, end: int, stop: int) -> list[Candidate]:
        since = max(self._done - self._behind, 0)  # a mirror image is no candidate
        levels = self._levels.part(since, stop)
        find = wave_tops if self.look is ECG else slope_tops
        places, heights = find(levels, self.grid_hz, self._apart)
        at = places + since
        new = (at >= self._done) & (at < end)
        self._done = end
        times_s, kept = (at[new] / self.grid_hz).tolist(), heights[new].tolist()
        return [Candidate(at_s, *high) for at_s, high in zip(times_s, kept, strict=True)]

    def point(self, until_s: float) -> float:
        """Which way pulses go, 1 or -1, by their steep sides in the seconds before a time; always 1 for an ECG."""
        second = round(self.grid_hz)
        while not self._fixed and self._voted + second <= until_s * self.grid_hz:
            slope = self._levels.part(self._voted, self._voted + second)[0]
            total = float(np.sum(np.abs(slope) ** 3))
            if total > 0:
                self._votes = (1 - 1 / _VOTES) * self._votes + float(np.sum(slope**3)) / total
            self._voted += second
            self._upright = 1.0 if self._votes >= 0 else -1.0
        return self._upright

    def after(self, at_s: float) -> float | None:
        """Largest second height where a T wave may follow the beat at that time."""
        low, high = (round((at_s + away_s) * self.grid_hz) for away_s in self.look.after_s)
        part = self._levels.part(low, high)
        return float(part[1].max()) if part.shape[-1] else None

    def largest(self, start_s: float, stop_s: float) -> list[float]:
        """The largest height of each whole second of a stretch, or of all of it if it is shorter."""
        levels = self._levels.part(round(start_s * self.grid_hz), min(round(stop_s * self.grid_hz), self._done))[0]
        levels = levels * self.point(stop_s)
        second = round(self.grid_hz)
        if len(levels) < second:
            return [float(levels.max())] if len(levels) else []
        whole = levels[: len(levels) // second * second]
        return [float(v) for v in whole.reshape(-1, second).max(axis=1)]

    def size(self, start_s: float, stop_s: float) -> float:
        """Largest value of a stretch, counted from the run's first: what rounding errors are compared with."""
        part = self._samples.part(round(start_s * self.rate_hz), round(stop_s * self.rate_hz))
        return float(np.abs(part).max(initial=0.0))

    def forget(self, at_s: float) -> None:
        """What lies so far in the past is wanted no more."""
        before_s = at_s - _KEPT_S
        self._samples.forget(int(before_s * self.rate_hz))
        self._levels.forget(min(int(before_s * self.grid_hz), self._done - self._behind))

    def locate(self, beat: Candidate) -> float:
        """Where a beat lies, in samples from the run's first: an R peak, or a pulse's steepest rise."""
        return self._peak(beat.at_s) if self.look is ECG else self._rise(beat.at_s)

    def _peak(self, at_s: float) -> float:
        kernel, reach = peak_kernel(self.rate_hz), round(_REACH_S * self.rate_hz)
        middle = round(at_s * self.rate_hz + 0.5 * (self.step - 1))
        low, high = max(middle - reach, 0), min(middle + reach, self.count - 1)
        half = len(kernel) // 2
        around = np.arange(low - half, high + half + 1)
        around = np.where(around < 0, -around, around)
        around = np.where(around >= self.count, 2 * (self.count - 1) - around, around)
        around = np.clip(around - self._samples.first, 0, len(self._samples.values) - 1)
        sharp = np.convolve(self._samples.values[around], kernel, "valid")
        up, down = float(sharp.max()), float(-sharp.min())
        sign = 1.0 if up > down * (_OTHER_SIDE**-self._peak_sign) else -1.0
        self._peak_sign += 0.1 * ((1.0 if up > down else -1.0) - self._peak_sign)
        return low + vertex(sign * sharp)

    def _rise(self, at_s: float) -> float:
        place, reach = round(at_s * self.grid_hz), round(_REACH_S * self.grid_hz)
        low = max(place - reach, self._levels.first)
        slope = self._levels.part(low, place + reach + 1)[1] * self._upright
        return (low + vertex(slope)) * self.step + 0.5 * (self.step - 1)


def vertex(values: FloatArray) -> float:
    """Where the largest of values (n,) is, between samples: the top of the parabola through it and its neighbours."""
    top = int(np.argmax(values))
    if 0 < top < len(values) - 1:
        before, here, after = (float(v) for v in values[top - 1 : top + 2])
        bend = before - 2 * here + after
        if bend < 0:
            return top + 0.5 * (before - after) / bend
    return float(top)
