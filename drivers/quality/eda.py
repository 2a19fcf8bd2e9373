"""EDA: conductance that skin can have, moving no faster than sweat does, and quiet enough to show a response.

Range, slope and the five seconds around what breaks them are the rules of Kleckner et al. 2018 (IEEE TBME 65:1460);
the fourth, temperature, needs another stream. Everything but the range is measured on means over a quarter
of a second, so that the sampling rate does not matter.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from drivers.quality.rows import Mask, means, stretches, white_noise
from drivers.quality.stillness import Rest, stuck
from drivers.quality.windows import Table, Windows, ramp, siemens
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 10.0, 4.0
LOWEST_US, HIGHEST_US = 0.05, 60.0
STEEPEST_US_PER_S = 10.0
TRANSITION_S = 5.0
_NEARBY = 0.25
"""What a second near a broken one costs, against the broken one."""
_REST = Rest(step=0.001, seconds=7.0)
_LEAST_US = 1e-9
_FEWEST_IN_A_QUARTER = 4


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst channel counts."""
    railed = windows.railed()
    return Table.worst(_channel(windows, channel, railed) for channel in windows.channels())


def _channel(windows: Windows, raw: FloatArray, railed: Mask) -> Table:
    unit = siemens(windows.spec)
    known, value = unit is not None, raw * (unit or 1.0)
    quarters, hz = means(value, windows.rate_hz, 0.25)
    level = np.maximum(windows.mean(np.abs(quarters)), _LEAST_US)
    off = _broken(((value < LOWEST_US) | (value > HIGHEST_US)) & known, windows.rate_hz)
    slope = np.abs(np.diff(quarters, axis=1)) * hz
    steep = _broken((slope > STEEPEST_US_PER_S) & known, hz)
    step_us = (windows.spec.lsb or 0.0) * (unit or 0.0)
    rest = Rest(_REST.step / (unit or 1.0), _REST.seconds)
    parts = {
        "range": ramp(off, 0.6, 0.1),
        "slope": ramp(steep, 0.4, 0.05),
        "flat": ramp(stuck(windows, raw, rest, railed), 0.5, 0.1),
        "saturated": ramp(windows.mean(railed), 0.3, 0.02),
        "noise": np.minimum(
            ramp(white_noise(quarters) / np.maximum(0.01 * level, 0.03), 2.0, 0.5),
            ramp(_spiky(value, quarters, np.maximum(0.05 * level, 0.3)), 0.15, 0.03),
        ),
        "jump": ramp(_jump(quarters, hz) / np.maximum(0.1 * level, 0.25), 3.0, 1.0),
        "coarse": ramp(np.full(len(raw), step_us), 0.3, 0.05),
    }
    on = parts["range"] >= 0.5
    flags = {name: parts[name] < 0.5 for name in ("flat", "saturated", "coarse")}
    flags |= {"off_body": ~on, "noise": (parts["noise"] < 0.5) & on}
    flags["motion"] = (np.minimum(parts["slope"], parts["jump"]) < 0.5) & on
    return Table(parts, flags)


def _broken(bad: Mask, rate_hz: float) -> FloatArray:
    """Share of each row (w, n) that is bad; what lies within the transition of it counts for a part, (w,)."""
    share = np.mean(bad, axis=1)
    rows = bad.any(axis=1)
    if rows.any():
        reach = 2 * round(TRANSITION_S * rate_hz) + 1
        near = ndimage.maximum_filter1d(bad[rows].astype(np.int8), reach, axis=1, mode="constant")
        share[rows] += _NEARBY * (np.mean(near, axis=1) - share[rows])
    return np.asarray(share)


def _spiky(value: FloatArray, quarters: FloatArray, far: FloatArray) -> FloatArray:
    """Share of the quarters (w, k) of ``value`` (w, n) in which a sample lies ``far`` (w,) off, slope taken off, (w,).

    Means hide single samples. Below 16 Hz there are so few in a quarter that its mean shows them.
    """
    step = value.shape[1] // quarters.shape[1]
    if step < _FEWEST_IN_A_QUARTER:
        return np.zeros(len(value))
    off = np.max(np.abs(stretches(value, step) - quarters[:, :, None]), axis=2)
    slope = np.abs(np.diff(quarters, axis=1))
    off[:, 1:] -= slope
    off[:, :-1] -= slope
    return np.asarray(np.mean(off > far[:, None], axis=1))


def _jump(quarters: FloatArray, hz: float) -> FloatArray:
    """The largest change within half a second that stands alone, (w,): no rise of sweat, and no drying.

    A response rises on for at least another half second, though slower; a fall has its like before or behind it.
    """
    half = max(1, round(0.5 * hz))
    if quarters.shape[1] < 3 * half + 1:
        return np.zeros(len(quarters))
    move = quarters[:, half:] - quarters[:, :-half]
    size = np.abs(move)
    around = np.maximum(size[:, : -2 * half], size[:, 2 * half :])
    alone = size[:, half:-half] - np.where(move[:, half:-half] > 0, 2.0, 1.0) * around
    return np.asarray(np.max(alone, axis=1))
