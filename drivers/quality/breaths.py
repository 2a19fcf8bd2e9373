"""Breaths in a respiration signal, one by one, and the breath rate: for whole recordings and as samples come.

Nothing depends on the unit, the gain or the offset, so a belt, a thermistor, a thermocouple and the impedance of
the chest are read alike. Inspiration is where the signal rises; one of the other polarity shows expirations,
at the same rate. The signal is averaged down to about 10 Hz and smoothed over a second. A breath is a rise and
a fall that each reach a share of the usual swing around that time: heart beats, which ride on the signal, do not.

The rate is counted from onset to onset. A spectrum's peak is no breath rate: people do not breathe evenly.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial

import numpy as np

from drivers.quality.decimation import Decimator
from drivers.quality.running_statistic import RunningStatistic
from drivers.quality.turning_points import Turn, Turns, Zigzag, crossing
from drivers.types import FloatArray

LONGEST_S = 15.0
"""From onset to onset, 4 breaths a minute; what is longer is a pause, no breath."""
_GRID_HZ, _SMOOTH_S = 10.0, 1.0
_SWING_S = 6
"""Whole seconds: hold at least half of the slowest breath."""
_AHEAD_S, _BACK_S = 5, 30
"""Seconds around a moment whose swings say what is usual there: who holds his breath still has the breaths before."""
_SHARE = 0.3
_LONGEST_RISE_S = _LONGEST_TOP_S = 20.0
_KEEP_S = _LONGEST_RISE_S + _LONGEST_TOP_S + _SWING_S + _AHEAD_S + 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Breaths:
    """Breaths in order, arrays (n,)."""

    onset_s: FloatArray
    """Seconds after the first sample: where the signal begins to rise."""
    peak_s: FloatArray
    """Where it turns back."""
    depth: FloatArray
    """From onset to peak, in the stream's unit."""


def find_breaths(values: FloatArray, rate_hz: float) -> Breaths:
    """Breaths of a recording (n,) at 4 Hz or more, without holes; what is no number counts as the value before it.

    A rise that had begun before the recording is no breath.
    """
    stream = BreathStream(rate_hz)
    first, rest = stream.feed(values), stream.finish()
    return Breaths(
        np.concatenate([first.onset_s, rest.onset_s]),
        np.concatenate([first.peak_s, rest.peak_s]),
        np.concatenate([first.depth, rest.depth]),
    )


def breath_rate(onset_s: FloatArray, ends_s: FloatArray, length_s: float = 30.0) -> tuple[FloatArray, FloatArray]:
    """Breaths a minute in windows of ``length_s`` that end at ``ends_s`` (w,), and the share of each that is covered.

    A breath lasts from its onset to the next and counts with the share of it that lies in the window: the rate is
    the mean over the time that breaths cover, wherever a window cuts. What is longer than LONGEST_S is not covered.
    The rate of a window without any breath is NaN.
    """
    ends = np.asarray(ends_s, dtype=np.float64)
    if len(onset_s) < 2:
        return np.full(len(ends), np.nan), np.zeros(len(ends))
    length = np.diff(onset_s)
    breath = length <= LONGEST_S
    counted = np.concatenate([[0.0], np.cumsum(breath)])
    lasted = np.concatenate([[0.0], np.cumsum(np.where(breath, length, 0.0))])
    begins = ends - length_s
    count = np.interp(ends, onset_s, counted) - np.interp(begins, onset_s, counted)
    time = np.interp(ends, onset_s, lasted) - np.interp(begins, onset_s, lasted)
    rate = np.divide(60 * count, time, out=np.full(len(ends), np.nan), where=time > 0)
    return rate, time / length_s


class BreathStream:
    """The same breaths as of the whole recording, to the last bit, however it is cut; keeps about a minute of it.

    The first breaths are known after 12 s, later ones 7 s after the fall behind them: at rest 10 s after their peak.
    """

    def __init__(self, rate_hz: float) -> None:
        self._grid = Decimator(rate_hz, _GRID_HZ, _SMOOTH_S)
        second = max(2, round(self._grid.hz))
        self._usual = RunningStatistic(partial(_usual_swing, second), second, _BACK_S, _AHEAD_S, _SWING_S + _AHEAD_S)
        self._wave = np.empty(0)
        self._first = 0
        """Place on the grid of the first value kept."""
        self._turns = Turns(second)
        self._waiting: deque[Turn] = deque()
        self._zigzag = Zigzag(round(_LONGEST_TOP_S * self._grid.hz))

    def feed(self, values: FloatArray) -> Breaths:
        """Breaths that consecutive samples (n,) complete."""
        return self._advance(self._grid.feed(values)[1], last=False)

    def finish(self) -> Breaths:
        """Breaths that can be told without anything behind the last sample; nothing may be fed after it."""
        return self._advance(self._grid.finish(), last=True)

    def _advance(self, smooth: FloatArray, last: bool) -> Breaths:
        self._wave = np.concatenate([self._wave, smooth])
        self._usual.feed(smooth, last)
        self._waiting.extend(self._turns.feed(smooth))
        if last:
            self._waiting.extend(self._turns.finish())
        found = []
        while self._waiting and (last or self._waiting[0].last < self._usual.known):
            turn = self._waiting.popleft()
            breath = self._zigzag.take(turn, _SHARE * self._usual.at(turn.last))
            if breath is not None and breath[0].last:  # a rise from place 0 may have begun before it
                found.append(self._told(*breath))
        self._forget()
        return Breaths(*np.array(found, dtype=np.float64).reshape(-1, 3).T)

    def _told(self, trough: Turn, top: Turn) -> tuple[float, float, float]:
        """Onset, peak and depth. The onset is where a half cosine through 25 and 75 % of the rise begins."""
        low = max(trough.last, top.first - round(_LONGEST_RISE_S * self._grid.hz)) - self._first
        depth = top.value - trough.value
        rise = (self._wave[low : top.first - self._first + 1] - trough.value) / depth
        upper = int(np.argmax(rise >= 0.75))
        below = np.flatnonzero(rise[:upper] < 0.25)
        lower = int(below[-1]) + 1 if len(below) else 0
        onset = max(0.0, 2 * crossing(rise, lower, 0.25) - crossing(rise, upper, 0.75))
        times = self._grid.seconds(np.array([low + self._first + onset, 0.5 * (top.first + top.last)]))
        return float(times[0]), float(times[1]), depth

    def _forget(self) -> None:
        stop = self._first + len(self._wave)
        keep = max(self._first, stop - round(_KEEP_S * self._grid.hz))
        self._wave, self._first = self._wave[keep - self._first :], keep
        self._usual.forget(keep)


def _usual_swing(second: int, near: FloatArray) -> float:
    """How far the signal (m,) usually swings: the median peak-to-peak of the stretches of 6 s, one a second."""
    seconds = near[len(near) % second :].reshape(-1, second)
    if len(seconds) <= _SWING_S:
        return float(np.ptp(near))
    high, low = (
        np.lib.stride_tricks.sliding_window_view(e, _SWING_S) for e in (seconds.max(axis=1), seconds.min(axis=1))
    )
    swings = high.max(axis=1) - low.min(axis=1)
    return float(np.sort(swings)[len(swings) // 2])
