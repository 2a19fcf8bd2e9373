"""The mains as a tone that is steady for a second: how strong it is, for naming hum and taking it out of a noise.

The EEG does without: muscle and mains lie side by side in its noise, so it takes the mains off however they wander
(``drivers.quality.cosines``), at a higher price.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from drivers.quality.rows import middle
from drivers.quality.windows import LINE_HZ, Windows
from drivers.types import FloatArray


def line_rms(windows: Windows, values: FloatArray) -> FloatArray:
    """Rms at the mains' frequency of (w, n), (w,), in their unit: the median over the seconds of each row.

    50 or 60 Hz, as the profile says; where it does not, whichever is stronger.
    """
    best = np.zeros(len(values))
    seconds = windows.seconds(values)
    for hz in (windows.spec.mains_hz,) if windows.spec.mains_hz else LINE_HZ:
        if hz < 0.48 * windows.rate_hz:
            best = np.maximum(best, tone_rms(seconds, hz / windows.rate_hz))
    return best


def tone_rms(parts: FloatArray, cycles: float) -> FloatArray:
    """Rms of a tone of so many cycles a sample, the median over the parts (w, k, step), (w,)."""
    cosine, sine = _waves(parts.shape[-1], cycles)
    a, b = np.einsum("wkm,m->wk", parts, cosine), np.einsum("wkm,m->wk", parts, sine)
    return np.sqrt(middle(a * a + b * b))


@lru_cache(maxsize=64)
def _waves(count: int, cycles: float) -> tuple[FloatArray, FloatArray]:
    """A tapered cosine and sine, (n,) each; over a second the taper keeps out what is 2 Hz away. No constant passes."""
    taper = np.hanning(count + 2)[1:-1]
    taper *= np.sqrt(2) / taper.sum()
    turn = 2 * np.pi * cycles * np.arange(count)
    cosine, sine = taper * np.cos(turn), taper * np.sin(turn)
    return cosine - taper * cosine.sum() / taper.sum(), sine - taper * sine.sum() / taper.sum()
