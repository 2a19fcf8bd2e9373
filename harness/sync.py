"""Synchronisation arithmetic: how far apart the streams' time stamps are, and what their clocks do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from weakref import WeakKeyDictionary

import numpy as np

from drivers.clock_fit import ClockFit
from drivers.types import FloatArray, IntArray
from harness.clocks import STEADY_NS, StreamClock, chance_of, floors, slope_of


def nearest_differences(a_times_s: FloatArray, b_times_s: FloatArray) -> tuple[float, float]:
    """Largest and mean distance in s from each time of ``a`` to the nearest time of ``b``, (n,) and (m,), any order.

    What ``check_modality_sync(a, b)`` of the debugging guide compares with its limit; it is not symmetric.
    """
    distances = nearest_distances(a_times_s, b_times_s)
    return float(distances.max()), float(distances.mean())


def nearest_distances(a_times_s: FloatArray, b_times_s: FloatArray) -> FloatArray:
    """Distance in s from each time of ``a`` to the nearest time of ``b``, (n,); ValueError if either is empty."""
    a, b = np.asarray(a_times_s, dtype=np.float64), np.sort(np.asarray(b_times_s, dtype=np.float64))
    if not len(a) or not len(b):
        raise ValueError(f"time stamps of both modalities are needed to compare them, found {len(a)} and {len(b)}")
    after = np.searchsorted(b, a)
    left, right = b[np.maximum(after - 1, 0)], b[np.minimum(after, len(b) - 1)]
    return np.asarray(np.minimum(np.abs(a - left), np.abs(a - right)))


@dataclass(frozen=True, slots=True)
class PairOffset:
    """How two devices' clocks stand to each other. Intervals hold with 95 % confidence each clock on its own."""

    at_ns: int
    """Host time for which the offset is stated."""
    offset_ns: float
    """Reading of the second device's clock minus the first's."""
    offset_low_ns: float
    offset_high_ns: float
    drift_ppm: float
    """How much faster the second device's clock runs."""
    drift_low_ppm: float
    drift_high_ppm: float

    @property
    def uncertainty_ns(self) -> float:
        """Half the offset's interval: two samples that are mapped to the same host time were taken at most about
        this far apart, beside the difference of the two links' smallest delays."""
        return (self.offset_high_ns - self.offset_low_ns) / 2


def pair_offset(first: ClockFit, second: ClockFit, at_ns: int | None = None) -> PairOffset:
    """Offset and drift between two streams' device clocks at a host time (default: the middle of their overlap)."""
    if at_ns is None:
        at_ns = round((max(_span(first)[0], _span(second)[0]) + min(_span(first)[1], _span(second)[1])) / 2)
    (low_a, mid_a, high_a), (low_b, mid_b, high_b) = _offset_at(first, at_ns), _offset_at(second, at_ns)
    return PairOffset(
        at_ns,
        mid_a - mid_b,
        low_a - high_b,
        high_a - low_b,
        second.drift_ppm - first.drift_ppm,
        second.drift_low_ppm - first.drift_high_ppm,
        second.drift_high_ppm - first.drift_low_ppm,
    )


def _span(fit: ClockFit) -> tuple[float, float]:
    middle = fit.reference_ns + fit.offset_ns
    return middle - fit.duration_s * 0.5e9, middle + fit.duration_s * 0.5e9


def _offset_at(fit: ClockFit, at_ns: int) -> tuple[float, float, float]:
    """(host - device) at a host time: low end, estimate, high end, ns."""
    device_ns = fit.reference_ns + (at_ns - fit.reference_ns - fit.offset_ns) / (1 + fit.slope)
    low, high = fit.offset_interval_ns(device_ns)
    return low, fit.offset_ns + fit.slope * (device_ns - fit.reference_ns), high


# --- wander -----------------------------------------------------------------------------------

_PART_S = 8.0
_MOST_PARTS = 8
_SIGMAS = 6.0
_JUMP_LEAVES = 0.1
"""Of the squares about the line."""


@dataclass(frozen=True, slots=True)
class Wander:
    """How one stretch of a clock departs from a straight line."""

    value: float
    """ppm per minute: growth of the drift over the whole stretch."""
    low: float
    high: float
    """95 % interval; infinite where nothing is known."""
    shown: float
    """What is sure of its size, 0 if nothing: by the whole stretch, or by parts of it that differ (a swing)."""
    departure_ms: float
    """The furthest that the earliest arrivals of any second lie from the line, delays of the link included."""
    step_ms: float = 0.0
    """What explains most of that: one jump, of the clock or of the delay, too small for a stretch of its own."""


_WANDERS: WeakKeyDictionary[StreamClock, tuple[ClockFit, Wander]] = WeakKeyDictionary()
"""Gone with the recording that the clock belongs to."""


def wander_of(clock: StreamClock, fit: ClockFit) -> Wander:
    """Of the stretch that ``fit``, one of the clock's, fits; worked out once as long as the same one is asked for.

    A delay that moves by d ms looks like a drift that changes: a parabola over T s that departs by d / 2 either way
    from its best line has a curvature of 8 d / T^2, which is 4.8e5 d / T^2 ppm per minute.
    """
    known = _WANDERS.get(clock)
    if known is not None and known[0] is fit:
        return known[1]
    part = slice(fit.start, fit.start + fit.n)
    device_ns, arrival_ns = clock.device_ns[part], clock.arrival_ns[part]
    looks = STEADY_NS / 1e6 * 4.8e5 / max(fit.duration_s, 1.0) ** 2
    value = fit.drift_change_ppm_per_min
    low, high = fit.drift_change_low_ppm_per_min - looks, fit.drift_change_high_ppm_per_min + looks
    line_ns = fit.offset_ns + fit.slope * (device_ns - fit.reference_ns)
    at_ns, floor_ns = floors(arrival_ns, arrival_ns - device_ns - line_ns)
    departure_ms = float(np.abs(floor_ns - np.median(floor_ns)).max()) / 1e6
    shown, step_ns = 0.0, 0.0
    if _departs(floor_ns, fit.cell_ns):
        at_s = (at_ns - at_ns[0]) / 1e9
        place, step_ns = _jump(at_s, floor_ns)
        if step_ns:
            floor_ns = floor_ns - np.where(np.arange(len(floor_ns)) >= place, step_ns, 0.0)
            low, high = _bend(at_s, floor_ns, fit.cell_ns)
            value = (low + high) / 2 if np.isfinite(high - low) else 0.0
        bends = _swing(at_ns, floor_ns, fit.cell_ns, 2) > 0
        count = min(int((at_ns[-1] - at_ns[0]) / 1e9 / _PART_S), _MOST_PARTS)
        shown = max(max(low, -high, 0.0) if bends else 0.0, _swing(at_ns, floor_ns, fit.cell_ns, count))
    found = Wander(value, low, high, shown, departure_ms, -step_ns / 1e6)
    _WANDERS[clock] = fit, found
    return found


def _departs(floor_ns: FloatArray, cell_ns: float) -> bool:
    """The floors of successive seconds (b,) leave the line for longer, and further, than they vary by chance.

    By how much they do that shows in their second differences, which a wander of a clock leaves alone.
    """
    several = max(3, len(floor_ns) // 6)
    if len(floor_ns) < 2 * several:
        return False
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(floor_ns, several), axis=1)
    chance = chance_of(floor_ns)
    least = _SIGMAS * 1.25 * chance / np.sqrt(several) + cell_ns / 2
    return bool(np.abs(smooth - np.median(smooth)).max() > least)


def _jump(at_s: FloatArray, floor_ns: FloatArray) -> tuple[int, float]:
    """The block from which floors (b,) are higher by so many ns, if that and a line explain nearly all there is; else
    (0, 0.0). What a drift that changes does is no jump: a parabola would explain it better."""
    count = len(at_s)
    line = np.linalg.qr(np.stack([np.ones(count), at_s], axis=1))[0]
    steps = (np.arange(count)[None, :] >= np.arange(1, count)[:, None]).astype(np.float64)
    every = np.concatenate([np.square(at_s - at_s.mean())[None, :], steps])
    every -= every @ line @ line.T
    rest = floor_ns - line @ (line.T @ floor_ns)
    norms = np.maximum(np.sum(every**2, axis=1), 1e-9)
    along = every @ rest
    gain, total = along**2 / norms, float(rest @ rest)
    place = 1 + int(gain[1:].argmax())
    left = total - float(gain[place])
    if left > _JUMP_LEAVES * total or left > (total - float(gain[0])) / 2:
        return 0, 0.0
    return place, float(along[place] / norms[place])


def _bend(at_s: FloatArray, floor_ns: FloatArray, cell_ns: float) -> tuple[float, float]:
    """95 % interval of the drift's growth between the halves, ppm per minute."""
    half = len(at_s) // 2
    (first, off), (second, by) = (slope_of(at_s[p], floor_ns[p], cell_ns) for p in (slice(half), slice(half, None)))
    apart_min = float(at_s[half:].mean() - at_s[:half].mean()) / 60
    growth, error = (first - second) / 1e3 / apart_min, (off + by) / 1e3 / apart_min
    return growth - error, growth + error


def _swing(at_ns: IntArray, floor_ns: FloatArray, cell_ns: float, count: int) -> float:
    """The least growth of the drift, ppm per minute, between any two of ``count`` parts whose slopes surely differ."""
    if count < 2:
        return 0.0
    parts = []
    for part in np.array_split(np.arange(len(at_ns)), count):
        at_s = (at_ns[part] - at_ns[0]) / 1e9
        parts.append((float(at_s.mean()), *slope_of(at_s, floor_ns[part], cell_ns)))
    growths = [
        60 * (abs(second[1] - first[1]) - first[2] - second[2]) / (second[0] - first[0]) / 1e3
        for first, second in combinations(parts, 2)
    ]
    return max(0.0, *growths)


# --- which clock it is ------------------------------------------------------------------------

HOST = "the host"


@dataclass(frozen=True, slots=True)
class Vote:
    """Which clocks run alike."""

    majority: tuple[str, ...]
    """More than half of all, the host's among them or not; empty if there are no such."""
    others: tuple[str, ...]


def vote(rates: Mapping[str, tuple[float, float]], tolerance: float) -> Vote:
    """Clocks by the intervals of their rates against the host's, which is one more clock, at 0.

    Two differ if they surely do so by more than ``tolerance``. Intervals wider than that say nothing: leave them out.
    """
    every = {HOST: (0.0, 0.0), **rates}
    groups = []
    for low, high in every.values():
        groups.append(tuple(n for n, (a, b) in every.items() if a - high <= tolerance and low - b <= tolerance))
    largest = max(groups, key=len)
    if 2 * len(largest) <= len(every):
        return Vote((), tuple(every))
    return Vote(largest, tuple(name for name in every if name not in largest))
