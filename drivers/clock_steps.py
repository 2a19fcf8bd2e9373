"""Time-base discontinuities in pairs of device time and arrival: clock steps that no loss explains."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from drivers.clock_fit import arrival_groups
from drivers.types import FloatArray, IntArray

_SECOND_NS = 1_000_000_000
_LATE_NS = 800_000_000
"""Longer than the longest stall that is no fault (0.5 s)."""
_NOISY_NS = 3_000_000_000
"""Where whole seconds are late by chance, a step must show for so long."""
_WANDER = 2.5
"""So many times what the floor moves at most in four of five seconds is no step."""
_FLOOR_BLOCKS = 10
_MOST_STEPS = 100
_NEARLY = 0.8
"""Sizes are known to a batched link's step of 10 ms or so: a step that looks a little too small is reported."""
_SLACK_PPM = 300.0
"""A crystal may move so much through a silence without being called a step."""


@dataclass(frozen=True, slots=True)
class Step:
    """The time base jumped: the device's clock or the link's delay changed and stayed changed (one way, these two
    look alike)."""

    index: int
    """Number of the first sample after it, in the arrays given."""
    at_ns: int
    """That sample's arrival."""
    size_ns: float
    """How far the device's clock jumped ahead; negative: back."""
    segmented: bool
    """The codec saw it and started a new segment."""


def find_steps(
    device_ns: IntArray, arrival_ns: IntArray, segment: IntArray | None = None, smallest_ms: float = 50.0
) -> list[Step]:
    """Time-base discontinuities of at least ``smallest_ms``, in order; arguments (n,), in order of arrival.

    Ahead: two chunks in a row earlier than the floor of the last ten seconds allows. Back: every chunk late for 0.8 s
    or more, and not catching up. Stalls up to 0.5 s, outages, drift and jitter are none. Stops after 100. What
    smallest_visible_ms() gives is the least that can be found.
    """
    if not len(device_ns):
        return []
    edges = [0, len(device_ns)]
    if segment is not None:
        edges[1:1] = (np.flatnonzero(np.diff(segment)) + 1).tolist()
    steps: list[Step] = []
    for start, stop in pairwise(edges):
        part = slice(start, stop)
        if start:
            steps += _between(device_ns, arrival_ns, start, smallest_ms * 1e6)
        steps += _within(device_ns[part], arrival_ns[part], start, smallest_ms * 1e6)
    return steps[:_MOST_STEPS]


def smallest_visible_ms(device_ns: IntArray, arrival_ns: IntArray, segment: IntArray) -> float:
    """Steps of less than this may hide in the delays of the link; arguments (n,) as for find_steps()."""
    edges = [0, *(np.flatnonzero(np.diff(segment)) + 1).tolist(), len(device_ns)]
    hidden = 0.0
    for start, stop in pairwise(edges):
        if stop > start:
            starts, _, delay = arrival_groups(arrival_ns[start:stop], device_ns[start:stop])
            hidden = max(hidden, _wander(arrival_ns[start:stop][starts], delay.astype(np.float64)))
    return hidden / 1e6


def _wander(at: IntArray, z: FloatArray) -> float:
    """How far the floor of a second lies from that of the next by chance, ns; a few steps do not change it."""
    _, lows, _ = _second_floors(at, z)
    return _WANDER * float(np.quantile(np.abs(np.diff(lows)), 0.8)) if len(lows) > 2 else 0.0


def _between(device: IntArray, arrival: IntArray, at: int, smallest_ns: float) -> list[Step]:
    """Where a new segment starts: compare the floors of a second on both sides."""
    now, last = int(arrival[at]), int(arrival[at - 1])
    before = slice(int(np.searchsorted(arrival[:at], last - _SECOND_NS)), at)
    after = slice(at, at + int(np.searchsorted(arrival[at:], now + _SECOND_NS)))
    size = float((arrival[before] - device[before]).min() - (arrival[after] - device[after]).min())
    return [Step(at, now, size, True)] if abs(size) >= smallest_ns + _SLACK_PPM * 1e-6 * (now - last) else []


def _within(device: IntArray, arrival: IntArray, first: int, smallest_ns: float) -> list[Step]:
    starts, _, delay = arrival_groups(arrival, device)
    at, z = arrival[starts], (delay - delay[0]).astype(np.float64)
    margin, wander = 0.6 * smallest_ns, _wander(at, z)
    patience_ns, unsure_ns = (_NOISY_NS, _NOISY_NS - _SECOND_NS) if wander > margin else (_LATE_NS, 0)
    steps: list[Step] = []
    begin = 0
    while begin < len(z) and len(steps) < _MOST_STEPS:
        found = _first_step(at[begin:], z[begin:], max(margin, wander), patience_ns)
        if found is None:
            break
        place, floor = begin + found[0], found[1]
        begin = int(np.searchsorted(at[:-1], at[place] + unsure_ns))  # chunks late by chance stand before it
        end = max(begin + 1, int(np.searchsorted(at, at[place] + unsure_ns + _SECOND_NS)))
        size = floor - float(z[begin:end].min())
        if abs(size) >= _NEARLY * smallest_ns:
            steps.append(Step(first + int(starts[place]), int(at[place]), size, False))
    return steps


def _first_step(at: IntArray, z: FloatArray, margin: float, patience_ns: int) -> tuple[int, float] | None:
    """Number of the first chunk after a step and the floor before it."""
    floor, age_ns = _running_floor(at, z)
    slack = margin + _SLACK_PPM * 1e-6 * age_ns
    known = np.arange(len(z)) >= 5
    if patience_ns > _LATE_NS:  # a floor that rests on less is none
        known &= at - at[0] >= patience_ns
    early = (z < floor - slack) & known
    late = (z > floor + slack) & known
    # both against the first one's floor: the second's may have taken the first in already
    pair = np.flatnonzero(early[:-1] & (z[1:] < (floor - slack)[:-1]))
    first_early = int(pair[0]) if len(pair) else len(z)
    edges = np.diff(late.astype(np.int8), prepend=0, append=0)
    for start, stop in zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True):
        if start > first_early:
            break
        lasts = stop - start >= 3 and at[stop - 1] - at[start] >= patience_ns
        if lasts and _stays(at[start:stop], z[start:stop], margin, patience_ns):
            return start, float(floor[start])
    return (first_early, float(floor[first_early])) if first_early < len(z) else None


def _stays(at: IntArray, z: FloatArray, margin: float, patience_ns: int) -> bool:
    """Late and not catching up: a queue that drains is no step."""
    half = int(np.searchsorted(at, at[0] + patience_ns // 2))
    end = int(np.searchsorted(at, at[0] + patience_ns, side="right"))
    return bool(z[half:end].min() > z[:half].min() - margin) if 0 < half < end else True


def _second_floors(at: IntArray, z: FloatArray) -> tuple[IntArray, FloatArray, IntArray]:
    """Of each second with chunks: the first chunk, the floor of the delays, and the number of chunks. (b,) each

    The floor is the second smallest where there are four: a single wrong stamp is no floor.
    """
    block = (at - at[0]) // _SECOND_NS
    _, starts, counts = np.unique(block, return_index=True, return_counts=True)
    ordered = z[np.lexsort((z, block))]
    return starts, ordered[starts + (counts >= 4)], counts


def _running_floor(at: IntArray, z: FloatArray) -> tuple[FloatArray, IntArray]:
    """Smallest delay of the ten seconds with chunks before each chunk, and how long ago these began. (g,) each"""
    starts, lows, counts = _second_floors(at, z)
    padded = np.concatenate([np.full(_FLOOR_BLOCKS, np.inf), lows])[:-1]
    before = np.lib.stride_tricks.sliding_window_view(padded, _FLOOR_BLOCKS).min(axis=1)
    floor = np.repeat(before, counts)
    first = z[: counts[0]]
    second = np.minimum.accumulate(np.maximum(first[1:], np.minimum.accumulate(first)[:-1]))
    floor[: counts[0]] = np.concatenate([[np.inf, np.inf], second])[: counts[0]]
    oldest = at[starts[np.maximum(np.arange(len(starts)) - _FLOOR_BLOCKS, 0)]]
    return floor, at - np.repeat(oldest, counts)
