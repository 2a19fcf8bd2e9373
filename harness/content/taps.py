"""Something that both streams show at once: taps on two sensors, a tap on an electrode, an electrical pulse on both."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, signal

from drivers.types import FloatArray
from harness.content.alignment import Alignment
from harness.content.events import Rhythm, match_events
from harness.content.trace import Trace

TAPS = Rhythm(
    "taps", blur_s=0.015, fewest=3, share=0.6,
    cure="tap five times or more, at uneven distances, hard enough to stand out in both",
)  # fmt: skip
_STANDS_OUT = 4.0
"""Times the usual largest movement of a second, which in an ECG is an R peak."""
_APART_S = 0.15
_SPAN_S = 0.06


def taps(trace: Trace) -> FloatArray:
    """Times in s (n,) of spikes that stand out of everything else in the stream."""
    rate = trace.rate_hz
    if len(trace.values) < 3 * rate:
        return np.empty(0)
    level = np.abs(trace.values - ndimage.median_filter(trace.values, max(3, round(0.2 * rate) | 1)))
    floor = _STANDS_OUT * float(np.median(ndimage.maximum_filter1d(level, max(1, round(rate)))))
    places = signal.find_peaks(level, height=max(floor, 1e-12), distance=max(1, round(_APART_S * rate)))[0]
    places = places[trace.usable[places]]
    return trace.at(_centres(level, places, max(1, round(_SPAN_S * rate))))


def _centres(level: FloatArray, places: np.typing.NDArray[np.int64], reach: int) -> FloatArray:
    """Centre of the energy around each place, in samples: a spike between two samples shows in both."""
    around = np.clip(places[:, None] + np.arange(-reach, reach + 1), 0, len(level) - 1)
    energy = level[around] ** 2
    return np.asarray((energy * around).sum(axis=1) / np.maximum(energy.sum(axis=1), 1e-300))


def align_taps(a: Trace, b: Trace, reach_s: float = 3.0) -> Alignment:
    """Lag of b's spikes against a's. A single distance between taps repeats, so regular taps are refused."""
    return match_events(taps(a), taps(b), TAPS, reach_s).alignment()
