"""Does something grow for ever? The drift of a quantity that is sampled while work goes on, with its interval.

Memory does not scatter about a line: it goes up in steps, when an allocator asks for more, and stays there. A line
fitted by least squares takes one step for a slope and believes it. So the run is cut into equal stretches, the level of
each is its median, and the drift is the mean of what the level rises from one stretch to the next, with Student's
interval over those rises. One single step is one large rise among many of nothing: its interval reaches down to zero,
however high the step is. What grows steadily rises in every stretch. Around a level that does not drift, rises cancel
each other, which only makes the interval wider than it need be.

What an allocator hides is added: as long as the quantity has moved by less than ``resolution``, nobody knows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from drivers.types import FloatArray

_SETTLING = 0.25
"""Share of the samples at the beginning in which caches fill and pools grow, which is no leak."""
_STRETCHES = 12
_OVERLAP = 1.5
"""Levels of neighbouring stretches of a random walk share half of what happens in both, so that the rises between them
scatter by 2/3 of what the walk does, in variance."""
_FEWEST = 4
"""Rises below which no interval is worth its name."""


@dataclass(frozen=True, slots=True)
class Growth:
    """The drift of a quantity, per unit of ``x``."""

    value: float
    low: float
    high: float
    """Ends of the interval at ``confidence``."""
    n: int
    """Samples that it rests on."""
    span: float
    """Of x, from the middle of the first stretch to that of the last."""
    confidence: float


def growth(x: FloatArray, values: FloatArray, resolution: float = 0.0, confidence: float = 0.95) -> Growth | None:
    """Drift of ``values`` (n,), sampled at rising ``x`` (n,), after they have settled; None where n is too small.

    ``resolution``: a change that may stay hidden, such as what an allocator takes at a time, in the values' unit. NaN
    values are left out.
    """
    known = np.isfinite(values)
    x, values = x[known], values[known]
    first = math.ceil(_SETTLING * len(x))
    x, values = x[first:], values[first:]
    count = min(_STRETCHES, len(x) // 2)
    if count < _FEWEST + 1:
        return None
    size = len(x) // count
    x, values = x[-size * count :], values[-size * count :]
    level, middle = np.median(values.reshape(count, size), axis=1), x.reshape(count, size).mean(axis=1)
    span = float(middle[-1] - middle[0])
    if span <= 0:
        return None
    rises = np.diff(level)
    value = float(level[-1] - level[0]) / span
    spread = float(rises.std(ddof=1)) * math.sqrt(_OVERLAP * len(rises))
    half = float(stats.t.ppf((1 + confidence) / 2, len(rises) - 1)) * spread / span
    hidden = resolution / span
    return Growth(value, value - half - hidden, value + half + hidden, len(x), span, confidence)


def shown(found: Growth, limit: float) -> bool | None:
    """Is the drift at most ``limit``? True or False where the interval says so, None where it does not."""
    if found.high <= limit:
        return True
    return False if found.low > limit else None


def longer(found: Growth, limit: float) -> float:
    """How many times as long a run would have to be to tell, about: intervals shrink with the root of the time."""
    half, apart = (found.high - found.low) / 2, abs(limit - found.value)
    return math.inf if apart <= 0 else max(1.5, (half / apart) ** 2)
