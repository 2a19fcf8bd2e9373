"""Respiration: breaths that stand out from what is faster and slower than breathing, in any unit.

People sigh, hold their breath and breathe unevenly, so an uneven signal is no bad one. But where much of it is faster
than breathing, one that repeats itself is likelier to be breathing still than one that does not.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from drivers.quality.rows import extremes, stretches
from drivers.quality.runs import Runs
from drivers.quality.windows import Table, Windows, ramp
from drivers.types import FloatArray, IntArray

WINDOW_S, SHORTEST_S = 20.0, 10.0
_GRID_HZ = 10.0
_SMOOTH_S = 0.3
"""Twice: passes 45 breaths a minute nearly whole."""
_SLOW_S = 8.0
_LONGEST_CYCLE_S = 10.0
_REPEAT_HZ = 3.5
_FAR = 4.0
"""Rms of the breaths, from them: no breath goes there."""
_SHORTEST_LEVEL_S, _STILL_S, _REACH_S = 0.2, 2.5, 0.5
"""A level stretch, one that no breath has, and how far around it an end of the breath is one."""
_LEAST = 1e-12


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst channel counts."""
    railed = windows.mean(windows.railed())
    return Table.worst(_channel(windows, channel, railed) for channel in windows.channels())


def _channel(windows: Windows, raw: FloatArray, railed: FloatArray) -> Table:
    rate, lsb = windows.rate_hz, windows.spec.lsb or 0.0
    runs = Runs.of(windows.unchanged(raw)).longer(max(2, round(_SHORTEST_LEVEL_S * rate)))
    still = max(2, round(_STILL_S * rate))
    blocks = stretches(raw, max(1, round(rate / _GRID_HZ)))
    hz = rate / blocks.shape[-1]
    width = max(1, round(_SMOOTH_S * hz))
    wave = _moving_mean(_moving_mean(_mean(blocks), width), width)
    rest = blocks[:, width - 1 : width - 1 + wave.shape[1]] - wave[:, :, None]
    fast = np.sqrt(_mean(_mean(rest * rest)))
    swing = _spread(wave)
    alike = _repeats(wave, hz)
    doubt = 1.6 - np.minimum(alike, 1.0)
    far = np.max(np.abs(rest), axis=2) > _FAR * swing[:, None]
    hit = windows.mean(np.any(stretches(far, max(1, round(hz))), axis=2))
    steps = np.ptp(wave, axis=1) / (lsb or _LEAST)
    flat = _flat_ends(raw, runs.longer(0, still), max(1, round(_REACH_S * rate)))
    parts = {
        "flat": ramp(runs.longer(still).share(), 0.45, 0.15),
        "saturated": np.minimum(ramp(railed, 0.12, 0.03), ramp(flat, 0.22, 0.04)),
        "noise": np.minimum(ramp(fast / swing * doubt, 1.2, 0.4), ramp(hit, 0.5, 0.1)),
        "baseline": ramp(_wander(wave, hz), 5.0, 2.0),
        "coarse": ramp(steps, 3.0, 10.0),
    }
    flags = {name: parts[name] < 0.5 for name in ("flat", "saturated", "baseline")}
    flags["coarse"] = (parts["coarse"] < 0.5) & ~flags["flat"]
    flags["noise"] = (parts["noise"] < 0.5) & ~flags["flat"]
    flags["motion"] = flags["noise"] & (alike < 0.5)
    return Table(parts, flags)


def _moving_mean(values: FloatArray, width: int) -> FloatArray:
    """Means of ``width`` values in a row of (w, n), (w, n - width + 1)."""
    total = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values - values[:, :1], axis=1, out=total[:, 1:])
    return np.asarray((total[:, width:] - total[:, :-width]) / width + values[:, :1])


def _wander(wave: FloatArray, hz: float) -> FloatArray:
    """Spread of what is slower than breathing in (w, n), over that of the breaths, (w,)."""
    width = min(round(_SLOW_S * hz), wave.shape[1] // 2 + 1)
    slow = _moving_mean(wave, width)
    begin = width // 2
    return _spread(slow) / _spread(wave[:, begin : begin + slow.shape[1]] - slow)


def _repeats(wave: FloatArray, hz: float) -> FloatArray:
    """How alike the signal is to itself a breath later, (w,): its autocorrelation's peak behind the first zero."""
    every = max(1, round(hz / _REPEAT_HZ))
    y = wave[:, ::-every][:, ::-1]
    count = y.shape[1]
    longest = min(round(_LONGEST_CYCLE_S * hz / every), count // 2)
    if longest < 2:
        return np.zeros(len(wave))
    time, places = _lags(count, longest)
    y = y - _mean(y)[:, None]
    y = y - np.add.reduce(y * time, axis=1)[:, None] * time
    padded = np.zeros((len(y), count + longest))
    padded[:, :count] = y
    like = np.add.reduce(np.take(padded, places, axis=1) * y[:, None, :], axis=2)
    energy = np.cumsum(y * y, axis=1)
    tails = energy[:, -1:] - energy[:, :longest]
    heads = energy[:, count - longest - 1 : count - 1][:, ::-1]
    alike = like / np.maximum(np.sqrt(np.maximum(tails * heads, 0.0)), _LEAST)
    behind = np.logical_or.accumulate(alike < 0, axis=1)
    return np.asarray(np.maximum.reduce(np.where(behind, alike, 0.0), axis=1))


@lru_cache(maxsize=64)
def _lags(count: int, longest: int) -> tuple[FloatArray, IntArray]:
    """A straight line of unit energy, (count,), and where each value lies 1 to ``longest`` later, (longest, count)."""
    time = np.arange(count) - 0.5 * (count - 1)
    return time / np.sqrt(np.sum(time * time)), np.arange(1, longest + 1)[:, None] + np.arange(count)


def _mean(values: FloatArray) -> FloatArray:
    """Of each row of (..., n), (...,): as np.mean, which takes several times as long on one window."""
    return np.asarray(np.add.reduce(values, axis=-1) / values.shape[-1])


def _spread(values: FloatArray) -> FloatArray:
    """Standard deviation of each row of (w, n), (w,); never 0."""
    centred = values - _mean(values)[:, None]
    return np.maximum(np.sqrt(_mean(centred * centred)), _LEAST)


def _flat_ends(channel: FloatArray, runs: Runs, reach: int) -> FloatArray:
    """Share of each row (w, n) on flat tops or on flat bottoms, whichever is less, (w,): an amplifier's limits.

    A pause after breathing out is natural, and a belt may be cut off at one end; flat at both ends is neither.
    """
    share = np.zeros(len(channel))
    if not len(runs):
        return share
    rows = np.unique(runs.row)
    on = runs.with_first().mask()[rows]
    tops, bottoms = (np.mean(on & extreme, axis=1) for extreme in extremes(channel[rows], reach))
    share[rows] = np.minimum(tops, bottoms)
    return share
