"""Respiration: breaths that stand out from what is faster and slower than breathing, in any unit.

People sigh, hold their breath and breathe unevenly, so an uneven signal is no bad one. But where much of it is faster
than breathing, one that repeats itself is likelier to be breathing still than one that does not.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from drivers.quality.windows import Mask, Table, Windows, ramp
from drivers.types import FloatArray

T = TypeVar("T", np.float64, np.bool_)

WINDOW_S, SHORTEST_S = 20.0, 10.0
_GRID_HZ = 10.0
_SMOOTH_S = 0.3
"""Twice: passes 45 breaths a minute nearly whole."""
_SLOW_S = 8.0
_LONGEST_CYCLE_S = 10.0
_REPEAT_HZ = 3.5
_FAR = 4.0
"""Rms of the breaths, from them: no breath goes there."""
_LEAST = 1e-12


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst channel counts."""
    railed, still = windows.railed(), windows.stuck(2.5)
    return Table.worst(_channel(windows, channel, railed, still) for channel in windows.channels())


def _channel(windows: Windows, raw: FloatArray, railed: Mask, still: Mask) -> Table:
    blocks, hz = _blocks(raw, windows.rate_hz)
    width = max(1, round(_SMOOTH_S * hz))
    wave = _moving_mean(_moving_mean(blocks.mean(axis=2), width), width)
    rest = blocks[:, width - 1 : width - 1 + wave.shape[1]] - wave[:, :, None]
    fast = np.sqrt(np.mean(np.mean(rest * rest, axis=2), axis=1))
    slow_width = min(round(_SLOW_S * hz), wave.shape[1] // 2 + 1)
    slow = _moving_mean(wave, slow_width)
    begin = slow_width // 2
    breath = wave[:, begin : begin + slow.shape[1]] - slow
    swing = np.maximum(np.std(wave, axis=1), _LEAST)
    alike = _repeats(wave, hz)
    doubt = 1.6 - np.clip(alike, 0.0, 1.0)
    slow_share = np.std(slow, axis=1) / np.maximum(np.std(breath, axis=1), _LEAST)
    far = np.max(np.abs(rest), axis=2) > _FAR * swing[:, None]
    hit = windows.mean(np.any(_blocks(far, hz, 1.0)[0], axis=2))
    steps = np.ptp(wave, axis=1) / (windows.spec.lsb or _LEAST)
    parts = {
        "flat": ramp(windows.mean(still), 0.45, 0.15),
        "saturated": np.minimum(ramp(windows.mean(railed), 0.12, 0.03), _unclipped(windows, raw)),
        "noise": np.minimum(ramp(fast / swing * doubt, 1.2, 0.4), ramp(hit, 0.5, 0.1)),
        "baseline": ramp(slow_share, 5.0, 2.0),
        "coarse": ramp(steps, 3.0, 10.0),
    }
    flags = {name: parts[name] < 0.5 for name in ("flat", "saturated", "baseline")}
    flags["coarse"] = (parts["coarse"] < 0.5) & ~flags["flat"]
    flags["noise"] = (parts["noise"] < 0.5) & ~flags["flat"]
    flags["motion"] = flags["noise"] & (alike < 0.5)
    return Table(parts, flags)


def _blocks(values: NDArray[T], rate_hz: float, step_s: float = 1 / _GRID_HZ) -> tuple[NDArray[T], float]:
    """(w, n) in blocks of about ``step_s``, from the end backwards, (w, k, step), and their rate."""
    rows, count = values.shape
    step = min(max(1, round(rate_hz * step_s)), count)
    return values[:, count % step :].reshape(rows, -1, step), rate_hz / step


def _moving_mean(values: FloatArray, width: int) -> FloatArray:
    """Means of ``width`` values in a row of (w, n), (w, n - width + 1)."""
    total = np.cumsum(values - values[:, :1], axis=1)
    total = np.concatenate([np.zeros((len(values), 1)), total], axis=1)
    return np.asarray((total[:, width:] - total[:, :-width]) / width + values[:, :1])


def _repeats(wave: FloatArray, hz: float) -> FloatArray:
    """How alike the signal is to itself a breath later, (w,): its autocorrelation's peak behind the first zero."""
    every = max(1, round(hz / _REPEAT_HZ))
    y = wave[:, ::-every][:, ::-1]
    y = y - np.mean(y, axis=1, keepdims=True)
    count = y.shape[1]
    longest = min(round(_LONGEST_CYCLE_S * hz / every), count // 2)
    if longest < 2:
        return np.zeros(len(wave))
    time = np.arange(count) - 0.5 * (count - 1)
    y = y - np.sum(y * time, axis=1, keepdims=True) / np.sum(time * time) * time
    later = np.concatenate([y, np.zeros((len(y), longest))], axis=1)
    shifted = np.lib.stride_tricks.sliding_window_view(later, count, axis=1)
    like = np.sum(shifted * y[:, None, :], axis=2)
    energy = np.concatenate([np.zeros((len(y), 1)), np.cumsum(y * y, axis=1)], axis=1)
    lags = np.arange(longest + 1)
    scale = np.sqrt((energy[:, -1:] - energy[:, lags]) * energy[:, count - lags])
    alike = like / np.maximum(scale, _LEAST)
    behind = np.logical_or.accumulate(alike < 0, axis=1)
    return np.asarray(np.max(alike, axis=1, where=behind, initial=0.0))


def _unclipped(windows: Windows, raw: FloatArray) -> FloatArray:
    """1 where breaths have no flat ends, (w,). A pause after breathing out is natural; flat at both ends is not."""
    ends = []
    for side in (raw, -raw):
        level = Windows(side[:, :, None], windows.rate_hz, windows.spec)
        ends.append(windows.mean(level.clipped(reach_s=0.5, at_least_s=0.2, at_most_s=2.5, bottoms=False)))
    return ramp(np.minimum(*ends), 0.22, 0.04)
