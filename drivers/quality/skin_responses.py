"""Skin conductance responses and level: for whole recordings and as samples come.

Sweat rises fast and dries slowly: after a response the conductance falls back with a time constant of 2 to 4 s
(Bateman curve; Boucsein 2012). So slope plus conductance over that time, the drive, stays level while skin only
dries, and begins to rise where a response begins, be it on the flank of another. The height of a response is
what the signal reaches above the drying that was under way at its onset; with nothing under way that is the
usual trough to peak. It must reach a threshold in microsiemens, 0.05 unless asked otherwise.

What rises in a single step, or with a fall before or behind it that is faster than drying, is a contact that
moved. The signal is averaged down to about 8 Hz and smoothed over 0.75 s first.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from drivers.quality.decimation import Decimator
from drivers.quality.running_statistic import RunningStatistic
from drivers.quality.turning_points import Turn, Turns, Zigzag, crossing
from drivers.types import FloatArray

THRESHOLD_US = 0.05
_GRID_HZ, _SMOOTH_S = 8.0, 0.75
_DRYING_S = 3.0
_LONGEST_RISE_S = 6.0
_WAIT_S = 7.0
"""After the steepest rise: by then the peak is over, and the next onset known if it lies before that."""
_AHEAD_S, _BACK_S = 5, 20
"""Seconds around a moment whose drive and conductance say what is usual there."""
_FEWEST_S = 8
_STEEP = 0.7
"""Of the height within a quarter of a second: no sweat gland."""
_UNDERSHOOT = 0.5
_NEAR_S = 1.5
_KEEP_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class SkinResponses:
    """Skin conductance responses in order, arrays (n,)."""

    onset_s: FloatArray
    """Seconds after the first sample."""
    peak_s: FloatArray
    amplitude_us: FloatArray
    """Microsiemens above the drying that was under way."""

    @property
    def rise_s(self) -> FloatArray:
        """From onset to peak, (n,)."""
        return self.peak_s - self.onset_s


def find_responses(values_us: FloatArray, rate_hz: float, threshold_us: float = THRESHOLD_US) -> SkinResponses:
    """Responses in a recording (n,) in microsiemens, at 4 Hz or more, without holes.

    What is no number counts as the value before it.
    """
    stream = ResponseStream(rate_hz, threshold_us)
    first, rest = stream.feed(values_us), stream.finish()
    return SkinResponses(
        np.concatenate([first.onset_s, rest.onset_s]),
        np.concatenate([first.peak_s, rest.peak_s]),
        np.concatenate([first.amplitude_us, rest.amplitude_us]),
    )


def conductance_level(values_us: FloatArray, rate_hz: float) -> FloatArray:
    """Tonic level (SCL) in the whole seconds of a recording (n,), microsiemens (k,): what responses stand on."""
    stream = LevelStream(rate_hz)
    return np.concatenate([stream.feed(values_us), stream.finish()])


class LevelStream:
    """The same level as of the whole recording, to the last bit, however it is cut; known 5 s later."""

    def __init__(self, rate_hz: float) -> None:
        self._grid = Decimator(rate_hz, _GRID_HZ, _SMOOTH_S)
        self._second = max(1, round(self._grid.hz))
        self._usual = RunningStatistic(_usual_level, self._second, _BACK_S, _AHEAD_S, _FEWEST_S + _AHEAD_S)
        self._seconds = self._count = 0

    def feed(self, values_us: FloatArray) -> FloatArray:
        """Level in the seconds that consecutive samples (n,) complete, (k,)."""
        return self._advance(self._grid.feed(values_us)[1], last=False)

    def finish(self) -> FloatArray:
        """Level in the seconds left, (k,); nothing may be fed after it."""
        return self._advance(self._grid.finish(), last=True)

    def _advance(self, smooth: FloatArray, last: bool) -> FloatArray:
        self._count += len(smooth)
        self._usual.feed(smooth, last)
        stop = self._count // self._second if last else self._usual.known // self._second
        level = [self._usual.at(second * self._second) for second in range(self._seconds, stop)]
        self._seconds = max(stop, self._seconds)
        self._usual.forget((self._seconds - 1) * self._second)
        return np.array(level, dtype=np.float64)


class ResponseStream:
    """The same responses as of the whole recording, to the last bit, however it is cut; keeps about a minute of it.

    A response is known 13 s after its steepest rise, or earlier if another follows.
    """

    def __init__(self, rate_hz: float, threshold_us: float = THRESHOLD_US) -> None:
        self._grid = Decimator(rate_hz, _GRID_HZ, _SMOOTH_S)
        self._threshold = threshold_us
        self._usual = RunningStatistic(
            _usual_drive, max(2, round(self._grid.hz)), _BACK_S, _AHEAD_S, _FEWEST_S + _AHEAD_S
        )
        self._averaged, self._smooth, self._drive = np.empty(0), np.empty(0), np.empty(0)
        self._first = 0
        """Place on the grid of the first values kept. The drive begins one place behind the signal."""
        self._turns = Turns(max(2, round(self._grid.hz)))
        self._waiting: deque[Turn] = deque()
        self._zigzag = Zigzag(self._places(_LONGEST_RISE_S))
        self._bump: tuple[Turn, Turn] | None = None

    def _places(self, seconds: float) -> int:
        return round(seconds * self._grid.hz)

    def feed(self, values_us: FloatArray) -> SkinResponses:
        """Responses that consecutive samples (n,) in microsiemens complete."""
        return self._advance(*self._grid.feed(values_us), last=False)

    def finish(self) -> SkinResponses:
        """Responses that can be told without anything behind the last sample; nothing may be fed after it."""
        return self._advance(np.empty(0), self._grid.finish(), last=True)

    def _advance(self, averaged: FloatArray, smooth: FloatArray, last: bool) -> SkinResponses:
        joined = np.concatenate([self._smooth[-1:], smooth])
        drive = np.diff(joined) * self._grid.hz + (joined[1:] + joined[:-1]) / (2 * _DRYING_S)
        self._averaged = np.concatenate([self._averaged, averaged])
        self._smooth = np.concatenate([self._smooth, smooth])
        self._drive = np.concatenate([self._drive, drive])
        self._usual.feed(drive, last)
        self._waiting.extend(self._turns.feed(drive))
        if last:
            self._waiting.extend(self._turns.finish())
        found = []
        while self._waiting and (last or self._waiting[0].last < self._usual.known):
            found += self._take(self._waiting.popleft())
        stop = self._first + len(self._drive)
        found += self._settle(stop if last else min(self._usual.known, stop), last)
        self._forget(stop)
        return SkinResponses(*np.array(found, dtype=np.float64).reshape(-1, 3).T)

    def _take(self, turn: Turn) -> list[tuple[float, float, float]]:
        """What the drive's next turn settles: the bump before it, once the next has begun or its time is over."""
        found = self._settle(turn.last)
        noise = self._usual.at(turn.last)[1]
        bump = self._zigzag.take(turn, max(0.5 * self._threshold, 4 * noise))
        trough = self._zigzag.trough
        if trough is not None and self._bump is not None:
            found += self._told(*self._bump, trough.last)
            self._bump = None
        if bump is not None:
            self._bump = bump
        return found

    def _settle(self, place: int, last: bool = False) -> list[tuple[float, float, float]]:
        if self._bump is None or not (last or place >= self._bump[1].last + self._places(_WAIT_S)):
            return []
        bump, self._bump = self._bump, None
        return self._told(*bump, place)

    def _told(self, trough: Turn, top: Turn, next_place: int) -> list[tuple[float, float, float]]:
        """Onset, peak and amplitude of a bump of the drive; none if it is too low or not sweat's doing."""
        low = max(trough.last, top.first - self._places(_LONGEST_RISE_S)) - self._first
        rise = (self._drive[low : top.first - self._first + 1] - trough.value) / (top.value - trough.value)
        below = np.flatnonzero(rise[: int(np.argmax(rise >= 0.5))] < 0.25)
        start = crossing(rise, int(below[-1]) + 1 if len(below) else 0, 0.25)
        begin = low + int(start)
        longest = self._places(_LONGEST_RISE_S)
        above = self._above(begin, min(begin + longest, next_place - self._first, len(self._drive) - 1) + 1)
        rose = int(np.argmax(above))
        amplitude = float(above[rose])
        if amplitude < self._threshold or rose == longest or self._moved(begin, begin + rose, top, amplitude):
            return []
        times = self._grid.seconds(np.array([low + self._first + start, begin + self._first + rose]) + 0.5)
        return [(float(times[0]), float(times[1]), amplitude)]

    def _above(self, begin: int, stop: int) -> FloatArray:
        """The signal in begin..stop less what it would be there, had its slope before died away with the drying."""
        wave = 0.5 * (self._smooth[begin:stop] + self._smooth[begin + 1 : stop + 1])
        front = max(begin - self._places(0.25), 1)
        back = max(front - self._places(0.5), 0)
        slope = (self._smooth[front] - self._smooth[back]) * self._grid.hz / (front - back)
        gone = 1 - np.exp(-np.arange(stop - begin) / (_DRYING_S * self._grid.hz))
        return np.asarray(wave - wave[0] - _DRYING_S * slope * gone)

    def _moved(self, begin: int, peak: int, top: Turn, amplitude: float) -> bool:
        """Whether it was a contact: a single step, or a fall before or behind that is faster than drying."""
        quarter = max(1, self._places(0.25))
        rising = self._averaged[max(begin - quarter, 0) : peak + 1]
        before = 0.5 * max(0.0, float(self._smooth[begin] - self._smooth[max(begin - 2 * quarter, 0)]))
        step = float(np.max(rising[quarter:] - rising[:-quarter])) if len(rising) > quarter else 0.0
        usual = self._usual.at(top.first)[0]
        around = self._places(_NEAR_S)
        lowest = float(self._drive[max(begin - around, 0) : top.last - self._first + around + 1].min())
        return step - before > _STEEP * amplitude or usual - lowest > _UNDERSHOOT * (top.value - usual)

    def _forget(self, stop: int) -> None:
        keep = max(self._first, stop - self._places(_KEEP_S))
        cut = keep - self._first
        self._averaged, self._smooth = self._averaged[cut:], self._smooth[cut:]
        self._drive, self._first = self._drive[cut:], keep
        self._usual.forget(keep)


def _usual_drive(near: FloatArray) -> tuple[float, float]:
    """(usual drive, its jitter) of a stretch (m,). Somewhat below the median, for responses only add to it."""
    jitter = np.abs(np.diff(near))
    return float(np.quantile(near, 0.4)), float(np.median(jitter)) if len(jitter) else 0.0


def _usual_level(near: FloatArray) -> float:
    """What responses in a stretch (m,) stand on."""
    return float(np.quantile(near, 0.1))
