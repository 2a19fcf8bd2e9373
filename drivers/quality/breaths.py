"""Breaths in a respiration signal, one by one, and the breath rate: for whole recordings and as samples come.

Nothing depends on the unit, the gain or the offset, so a belt, a thermistor, a thermocouple and the impedance of
the chest are read alike; inspiration is where the signal rises, so one of the other polarity shows expirations,
at the same rate. The signal is averaged down to about 10 Hz and smoothed over a second. A breath is a rise and
a fall that each reach a share of the usual swing around that time: heart beats, which ride on the signal, do not.

The rate is counted from onset to onset. A spectrum's peak is no breath rate: people do not breathe evenly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.types import FloatArray, IntArray

GRID_HZ = 10.0
_SMOOTH_S = 1.0
_SWING_S = 6
"""Whole seconds: holds at least half of the slowest breath, 4 a minute."""
_AHEAD_S, _BACK_S = 5, 25
"""Seconds around a moment whose swings say what is usual there: holding one's breath does not make noise a breath."""
_SHARE = 0.3
_LONGEST_RISE_S = 20.0
LONGEST_S = 15.0
"""From onset to onset, 4 breaths a minute; what is longer is a pause, no breath."""
DELAY_S = 16.0
"""A breath is known at the latest so long after its peak, if a breath is out by then; 6 s are usual."""


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
    """Breaths of a recording (n,) without holes, any unit; what is no number counts as the value before it.

    The first one needs ten seconds; a rise that had begun before the recording is no breath.
    """
    stream = BreathStream(rate_hz)
    parts = [stream.feed(values), stream.finish()]
    return Breaths(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("onset_s", "peak_s", "depth")))


def breath_rate(onset_s: FloatArray, ends_s: FloatArray, length_s: float = 30.0) -> tuple[FloatArray, FloatArray]:
    """Breaths a minute (w,) in the windows of ``length_s`` that end at ``ends_s`` (w,), and how much of each is covered.

    A breath lasts from its onset to the next. It counts with the share of it that lies in the window, so that
    nothing depends on where a window cuts. What is longer than LONGEST_S is not covered; the rate
    of a window without any breath is NaN.
    """
    ends = np.asarray(ends_s, dtype=np.float64)
    if len(onset_s) < 2:
        return np.full(len(ends), np.nan), np.zeros(len(ends))
    length = np.diff(onset_s)
    breath = length <= LONGEST_S
    counted = np.concatenate([[0.0], np.cumsum(breath)])
    lasted = np.concatenate([[0.0], np.cumsum(np.where(breath, length, 0.0))])
    count, time = (np.interp(ends, onset_s, grown) - np.interp(ends - length_s, onset_s, grown)
                   for grown in (counted, lasted))  # fmt: skip
    rate = np.divide(60 * count, time, out=np.full(len(ends), np.nan), where=time > 0)
    return rate, time / length_s


class BreathStream:
    """The same breaths as from the whole recording, to the last bit, however it is cut; keeps half a minute."""

    def __init__(self, rate_hz: float) -> None:
        self._step = max(1, round(rate_hz / GRID_HZ))
        self._rate_hz = rate_hz
        self._grid_hz = rate_hz / self._step
        self._rest = np.empty(0)
        half = max(1, round(_SMOOTH_S * self._grid_hz / 2))
        self._taper = np.hanning(2 * half + 3)[1:-1]
        self._taper /= self._taper.sum()
        self._averaged = np.empty(0)
        self._seconds = _UsualSwing(max(2, round(self._grid_hz)))
        self._turns = _Turns(round(_LONGEST_RISE_S * self._grid_hz))
        self._swing = np.empty(0)
        self._last = np.nan

    def feed(self, values: FloatArray) -> Breaths:
        """Breaths that consecutive samples (n,) complete."""
        filled = self._finite(np.asarray(values, dtype=np.float64))
        joined = np.concatenate([self._rest, filled])
        whole = len(joined) // self._step * self._step
        self._rest = joined[whole:]
        return self._advance(joined[:whole].reshape(-1, self._step).mean(axis=1), last=False)

    def finish(self) -> Breaths:
        """Breaths that can be told without anything behind the last sample; nothing may be fed after it."""
        return self._advance(np.empty(0), last=True)

    def _finite(self, values: FloatArray) -> FloatArray:
        """Each value that is no number as the one before it; those before the first number are left out."""
        broken = ~np.isfinite(values)
        if not broken.any():
            self._last = values[-1] if len(values) else self._last
            return values
        joined = np.concatenate([[self._last], values])
        place = np.maximum.accumulate(np.where(np.isfinite(joined), np.arange(len(joined)), 0))
        filled = joined[place][1:]
        self._last = filled[-1]
        return filled
