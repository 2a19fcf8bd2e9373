"""Acceleration: gravity is there, every axis lives, and what moves is a body and no noise."""

from __future__ import annotations

import numpy as np

from drivers.quality.cosines import Cosines
from drivers.quality.windows import Table, Windows, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 10.0, 2.0
_G = {"g": 1.0, "G": 1.0, "mg": 1e-3, "m/s2": 1 / 9.80665, "m/s^2": 1 / 9.80665}
_SENSOR_NOISE_G = 0.003
_MOVED_G = 0.013
"""Standard deviation of an axis that van Hees et al. (PLoS ONE 6:e22922, 2011) count as moved."""
_MOVEMENT_HZ = 0.5
_UPPER = (0.31, 0.45)
"""Of the sampling rate: bodies, with masses on springs, leave little there."""
_LIVELY = 10.0
"""Converter steps by which the liveliest axis moves while another one would have to show at least one."""


def assess(windows: Windows) -> Table:
    """Parts and flags for every window, from all axes together.

    A sensor that lies on a table is no bad sensor: the part ``worn``, 1 where two of three axes move as van Hees asks
    for, has no share in the score. Over ten seconds a person at rest may look like a table: it raises no flag either.
    """
    unit = _G.get(windows.spec.unit)
    count, length, axes = windows.values.shape
    rows = np.ascontiguousarray(windows.values.transpose(0, 2, 1)).reshape(-1, length)
    moved = rows.std(axis=-1).reshape(count, axes)
    parts = {
        "flat": np.minimum(_alive(windows, unit), _lively(windows, moved)),
        "saturated": ramp(windows.mean(windows.railed()), 0.2, 0.02),
        "noise": _quiet(rows, windows.rate_hz, unit).reshape(count, axes).min(axis=1),
    }
    if unit is not None and axes == 3:
        norm = unit * np.sqrt((windows.values**2).sum(axis=2))
        parts["gravity"] = ramp(np.abs(windows.mean(norm) - 1.0), 0.5, 0.15)
    flags = {name: parts[name] < 0.5 for name in ("flat", "saturated", "noise")}
    flags["off_body"] = (parts.get("gravity", np.ones(count)) < 0.5) & (parts["flat"] >= 0.5)
    own = Table(parts).score
    if unit is not None:
        parts["worn"] = ramp(unit * np.sort(moved, axis=1)[:, axes // 2], _SENSOR_NOISE_G, _MOVED_G)
    return Table(parts, flags, own)


def _alive(windows: Windows, unit: float | None) -> FloatArray:
    """Whether all axes together are stuck for much of the window, (w,)."""
    stuck = windows.stuck(0.5)
    # A coarse step hides small movement, but not for ten seconds.
    coarse = windows.step() > _SENSOR_NOISE_G / (unit or 1.0)
    return ramp(np.where(coarse, stuck > 0.99, stuck), 0.7, 0.2)


def _lively(windows: Windows, moved: FloatArray) -> FloatArray:
    """0 where one axis does not change at all while another moves by many steps, else 1, (w,)."""
    still = (moved == 0).any(axis=1)
    return 1.0 - np.asarray(still & (moved.max(axis=1) > _LIVELY * np.maximum(windows.step(), 1e-12)), dtype=np.float64)


def _quiet(rows: FloatArray, rate_hz: float, unit: float | None) -> FloatArray:
    """Whether what moves is a broad noise, (r,): most of the power, and more than sensors have."""
    table = Cosines.of(rows, rate_hz, None)
    noise = table.density(*(part * rate_hz for part in _UPPER)) * rate_hz / 2
    share = noise / np.maximum(table.power(_MOVEMENT_HZ, rate_hz / 2), 1e-30)
    quiet = ramp(share, 0.85, 0.5)
    return np.maximum(quiet, ramp(unit * np.sqrt(noise), 0.06, 0.02)) if unit is not None else np.ones(len(rows))
