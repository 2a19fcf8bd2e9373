"""How much each moment looks like a beat: a coarse grid, kernels on it, and the maxima that may be beats.

Blocks of samples are averaged to about 100 values a second, so that the rest costs the same at every rate. On the
grid everything is a finite kernel, symmetric in time: it moves nothing, and a value depends on its surroundings
alone, so the samples may come in any portions. QRS complexes are looked for at 18 Hz, higher than the usual 5 to 15:
movement of electrodes falls off with the 3.5th power of frequency, QRS complexes by much less, and T waves hardly
reach there. Ventricular beats do not either; they show at 6 Hz.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from drivers.quality.beat_path import Rules
from drivers.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Look:
    """How one kind of signal is looked at."""

    rules: Rules
    grid_hz: float
    """Blocks of samples are averaged to about so many a second."""
    slowest_hz: float
    """Lowest sampling rate that still shows the beats."""
    apart_s: float = 0.1
    """A candidate is the largest within so much on both sides."""
    centres_hz: tuple[float, float] = (18.0, 6.0)
    widths_s: tuple[float, float] = (0.022, 0.045)
    """Of the two kernels: middle of the band, and standard deviation in time."""
    after_s: tuple[float, float] = (0.14, 0.30)
    """Where T waves are, after the beat."""


ECG = Look(Rules(closest_s=0.19, early_s=0.4, lag_s=0.65, wide=True), grid_hz=125.0, slowest_hz=80.0)
PPG = Look(
    Rules(closest_s=0.25, early_s=0.45, lag_s=0.6), grid_hz=100.0, slowest_hz=20.0, apart_s=0.15, widths_s=(0.06, 0.03)
)
_NEAR_S = 0.06
"""The two heights of one beat are read within so much of each other."""
ALONE_S = 0.09
"""A maximum of the second height is a candidate of its own so far from the others."""


@lru_cache(maxsize=32)
def wave_kernel(centre_hz: float, width_s: float, rate_hz: float) -> tuple[FloatArray, FloatArray]:
    """A Gabor pair (2 k + 1,) each, blind to a constant: the length of what both give is the amplitude in the band."""
    reach = int(np.ceil(3 * width_s * rate_hz))
    away_s = np.arange(-reach, reach + 1) / rate_hz
    bell = np.exp(-0.5 * (away_s / width_s) ** 2)
    even = bell * np.cos(2 * np.pi * centre_hz * away_s)
    even -= bell * (even.sum() / bell.sum())
    odd = bell * np.sin(2 * np.pi * centre_hz * away_s)
    scale = np.hypot(even, odd).sum()
    return even / scale, odd / scale


@lru_cache(maxsize=32)
def slope_kernel(width_s: float, rate_hz: float) -> FloatArray:
    """The derivative of a bell (2 k + 1,): convolved, the slope per second of the smoothed signal."""
    reach = int(np.ceil(3 * width_s * rate_hz))
    away_s = np.arange(-reach, reach + 1) / rate_hz
    kernel = -away_s * np.exp(-0.5 * (away_s / width_s) ** 2)
    return np.asarray(kernel / -(kernel * away_s).sum())


class EcgLevels:
    """Two heights for each value of the grid."""

    def __init__(self, look: Look, rate_hz: float) -> None:
        self._pairs = [
            wave_kernel(centre, width, rate_hz) for centre, width in zip(look.centres_hz, look.widths_s, strict=True)
        ]
        self.reach = max(len(even) // 2 for even, _ in self._pairs)

    def __call__(self, values: FloatArray) -> FloatArray:
        """(2, n - 2 reach) of values (n,)."""
        levels = []
        for even, odd in self._pairs:
            spare = self.reach - len(even) // 2
            part = values[spare : len(values) - spare]
            levels.append(np.hypot(np.convolve(part, even, "valid"), np.convolve(part, odd, "valid")))
        return np.stack(levels)


class PpgLevels:
    """Slope of the wave, smooth enough to tell pulses, and sharp enough to say when they rise."""

    def __init__(self, look: Look, rate_hz: float) -> None:
        self._kernels = [slope_kernel(width, rate_hz) for width in look.widths_s]
        self.reach = max(len(kernel) // 2 for kernel in self._kernels)

    def __call__(self, values: FloatArray) -> FloatArray:
        """(2, n - 2 reach) of values (n,)."""
        levels = []
        for kernel in self._kernels:
            spare = self.reach - len(kernel) // 2
            levels.append(np.convolve(values[spare : len(values) - spare], kernel, "valid"))
        return np.stack(levels)


def tops(level: FloatArray, reach: int) -> IntArray:
    """Where level (n,) is the largest within ``reach`` on both sides; of equals the first."""
    best = ndimage.maximum_filter1d(level, 2 * reach + 1, mode="constant", cval=-np.inf)
    places = np.flatnonzero((level == best) & (level > 0))
    if len(places) > 1:
        places = places[np.concatenate([[True], np.diff(places) > reach])]
    return places


def wave_tops(levels: FloatArray, rate_hz: float, apart: int) -> tuple[IntArray, FloatArray]:
    """Candidates of an ECG: places (k,) and both heights (k, 2), from levels (2, n) of the grid."""
    near, alone = 2 * round(_NEAR_S * rate_hz) + 1, 2 * round(ALONE_S * rate_hz) + 1
    sharp = tops(levels[0], apart)
    taken = np.zeros(levels.shape[1], dtype=bool)
    taken[sharp] = True
    slow = tops(levels[1], apart)
    slow = slow[~ndimage.maximum_filter1d(taken, alone, mode="constant")[slow]]
    around = ndimage.maximum_filter1d(levels, near, axis=1, mode="nearest")
    heights = np.concatenate(
        [np.stack([levels[0, sharp], around[1, sharp]], 1), np.stack([around[0, slow], levels[1, slow]], 1)]
    )
    places = np.concatenate([sharp, slow])
    order = np.argsort(places, kind="stable")
    return places[order], heights[order]


def slope_tops(levels: FloatArray, rate_hz: float, apart: int) -> tuple[IntArray, FloatArray]:
    """Candidates of a PPG: places (k,) and (k, 3): height, nothing, and 1 for a rise or -1 for a fall."""
    up, down = tops(levels[0], apart), tops(-levels[0], apart)
    places = np.concatenate([up, down])
    signs = np.concatenate([np.ones(len(up)), -np.ones(len(down))])
    order = np.argsort(places, kind="stable")
    places, signs = places[order], signs[order]
    return places, np.stack([levels[0, places] * signs, np.zeros(len(places)), signs], 1)
