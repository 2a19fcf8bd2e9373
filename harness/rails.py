"""Where a stream sits at the rails of its converter, and where something in front of it cuts the signal off flat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from drivers.quality.windows import Windows
from drivers.types import FloatArray, StreamSpec
from harness.recording import Recording, StreamData

SHAPED = {"ecg": 0.012, "eeg": 0.012, "exg": 0.012, "raw": 0.012, "ppg": 0.06, "respiration": 0.2}
"""Kinds whose signal never rests at its top by itself -> how long it must be flat there, s."""
_PAUSE_S, _BOTH_ENDS = 2.5, 0.02
"""Of breaths: a longer rest is no flat end of one; share of samples on flat tops, and on flat bottoms, that is much."""
_TOPS_ONLY = frozenset({"ppg"})
"""The foot of a pulse rests on one value by itself."""
_FALLEN = 10.0
"""Steps of the converter, where a round top would have fallen by four."""
_BLOCK_S = 10.0
_REACH_S, _LONGEST_S = 0.6, 0.8
"""A flat top is the highest of so much on either side; one that is longer is a flat line."""
_RECURS = 3
"""Flat tops; one or two come by chance."""
_STEPPY, _AT_ENDS, _BETWEEN = 0.15, 0.5, 0.003
"""Share of steps between the extremes that lead nowhere: the signal is held or coarse, and flat tops mean nothing. And
share of the rests at an extreme from which it is cut off all the same, and of samples between the extremes at least."""

Mask = np.typing.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Part:
    """One stream during the run, in order of time."""

    values: FloatArray
    """(n, channels)"""
    times_s: FloatArray
    """(n,) since the run's start."""
    period_s: float

    @classmethod
    def of(cls, recording: Recording, stream: StreamData) -> Part:
        """What was taken between the run's start and its stop."""
        inside = (stream.time_ns >= recording.start_ns) & (stream.time_ns < recording.stop_ns)
        times_ns, values = stream.time_ns[inside], stream.values[inside]
        if (np.diff(times_ns) < 0).any():
            order = np.argsort(times_ns, kind="stable")
            times_ns, values = times_ns[order], values[order]
        return cls(values, (times_ns - recording.start_ns) / 1e9, 1 / (stream.spec.rate_hz or 1.0))

    def stretches(self, mask: Mask) -> FloatArray:
        """Begin and end, s, of each run of True in a mask (n,), (k, 2); a hole in the samples ends a run."""
        gap = np.diff(self.times_s, prepend=self.times_s[:1]) > 2.5 * self.period_s
        begins = np.flatnonzero(mask & (~np.concatenate([[False], mask[:-1]]) | gap))
        ends = np.flatnonzero(mask & (~np.append(mask[1:], False) | np.append(gap[1:], True)))
        return np.stack([self.times_s[begins], self.times_s[ends] + self.period_s], axis=1)


def at_rails(values: FloatArray, spec: StreamSpec) -> dict[str, Mask]:
    """``low`` and ``high`` rail, as far as they are declared -> which of (n, channels) are there, (n, channels).

    A single sample there is none: a bit of it was wrong on its way, or something sparked.
    """
    near = 0.5 * (spec.lsb or 0.0)
    rails = {"low": (spec.low, -1.0), "high": (spec.high, 1.0)}
    there = {
        name: sign * (values - rail) >= -near - 1e-9 * abs(rail)
        for name, (rail, sign) in rails.items()
        if rail is not None
    }
    return {name: lasting(mask, 2) for name, mask in there.items()}


def lasting(mask: Mask, at_least: int) -> Mask:
    """Members of runs of True along axis 0 of (n, channels) that are at least so long."""
    out = np.zeros_like(mask)
    for number, column in enumerate(mask.T):
        if column.any():
            edges = np.flatnonzero(np.diff(column.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
            for begin, end in edges[edges[:, 1] - edges[:, 0] >= at_least].tolist():
                out[begin:end, number] = True
    return out


def cut_off(values: FloatArray, rate_hz: float, spec: StreamSpec) -> Mask:
    """Which of (n, channels) lie on flat tops or bottoms that the signal does not have by itself, (n, channels).

    Nothing where the signal moves in steps anyway, because it is held or coarse.
    """
    out = np.zeros(values.shape, dtype=bool)
    if spec.kind not in SHAPED or len(values) < 3:
        return out
    for number, channel in enumerate(values.T):
        flat = _flat(channel, rate_hz, spec)
        if flat.any():
            out[:, number] = flat & ~_steppy(channel, rate_hz)
    return out


def _flat(channel: FloatArray, rate_hz: float, spec: StreamSpec) -> Mask:
    """(n,) on flat extremes. A pause after breathing out is natural; flat at both ends is not."""
    least_s = SHAPED[spec.kind]
    if spec.kind != "respiration":
        whole = Windows(channel[None, :, None], rate_hz, spec)
        flat = np.asarray(whole.clipped(_REACH_S, least_s, _LONGEST_S, bottoms=spec.kind not in _TOPS_ONLY)[0])
        return _edged(channel, flat, spec.lsb) if flat.any() else flat
    tops, bottoms = (
        Windows(side[None, :, None], rate_hz, spec).clipped(0.5, least_s, _PAUSE_S, bottoms=False)[0]
        for side in (channel, -channel)
    )
    both = min(float(tops.mean()), float(bottoms.mean())) >= _BOTH_ENDS
    return np.asarray((tops | bottoms) & both)


def _edged(channel: FloatArray, flat: Mask, lsb: float | None) -> Mask:
    """The runs of ``flat`` (n,) that the signal leaves faster than a round top within the converter's step does.

    A parabola that stays within one step for L samples has fallen by four more of them L samples further on.
    """
    change = np.abs(np.diff(channel))
    step = lsb or float(change[change > 0].min(initial=np.inf))
    edges = np.flatnonzero(np.diff(flat.astype(np.int8), prepend=0, append=0))
    begins, ends = edges[::2], edges[1::2] - 1
    length = ends - begins + 1
    before = np.abs(channel[begins] - channel[np.maximum(begins - length, 0)])
    after = np.abs(channel[ends] - channel[np.minimum(ends + length, len(channel) - 1)])
    kept = np.maximum(before, after) > _FALLEN * step
    if kept.sum() < _RECURS:
        return np.zeros_like(flat)
    marks = np.zeros(len(flat) + 1, dtype=np.int64)
    marks[begins[kept]] += 1
    marks[ends[kept] + 1] -= 1
    return np.asarray(np.cumsum(marks[:-1]) > 0)


def _steppy(channel: FloatArray, rate_hz: float) -> Mask:
    """(n,) in stretches of ten seconds in which most samples that are no extreme of their second equal the one before.

    Or in which there are none such, because two or three steps are all that there is.
    """
    reach = 2 * max(1, round(_REACH_S * rate_hz)) + 1
    between = (channel != ndimage.maximum_filter1d(channel, reach, mode="nearest")) & (
        channel != ndimage.minimum_filter1d(channel, reach, mode="nearest")
    )
    equal = np.concatenate([[False], np.diff(channel) == 0])
    size = max(1, min(len(channel), round(_BLOCK_S * rate_hz)))
    starts = np.arange(0, len(channel), size)
    free = np.add.reduceat(between, starts)
    still = np.add.reduceat(equal & between, starts)
    resting = np.add.reduceat(equal, starts)
    stepped = (still > _STEPPY * free) & (still > (1 - _AT_ENDS) * resting) | (free < _BETWEEN * size)
    return np.asarray(np.repeat(stepped, size)[: len(channel)])
