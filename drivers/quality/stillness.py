"""Whether a sensor of skin conductance or temperature is stuck, as far as its step and the time allow to say.

A live but quiet sensor repeats its value too, for as long as the skin takes to move by a step. Where a smooth curve
turns, it stays within a step for a time that grows with the step's square root; equal values beyond that are no skin.
Noise above the step tells sooner: from how often the samples around the runs jump to and fro follows how improbable
these are, all together. In between nothing can be said, and nothing is.

What tells no more was tried on wristbands as they are worn. Two jumps are one event: counted as noise, they make nearly
twice as many real windows stuck. A jump beyond a step at the end of a run means nothing: one real rest of seven has it.

Many sensors measure less often than they send; then a measurement counts once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.quality.rows import Mask
from drivers.quality.runs import Runs
from drivers.quality.windows import Windows
from drivers.types import FloatArray, IntArray

_SHORTEST_S, _PIECE_S = 2.0, 1.0
"""A run that tells, and what the ends of a window may leave of another."""
_FEWEST = 4
"""Equal measurements."""
_JUMPS = np.array([0.026, 0.063, 0.143, 0.228, 0.325, 0.48, 0.561, 0.683])
"""Share of jumps to and fro in white noise, rounded to a step, of 0.4, 0.5, 0.65, 0.8, 1, 1.5, 2 and 5 steps rms."""
_RUNS = np.array([67.9, 42.2, 27.5, 21.1, 16.8, 12.0, 12.0, 12.0])
"""Equal measurements in a row with odds of 1 to 10 million then, amid a step: ln(1e-7) / ln(erf(0.354 / rms)).

Never less than 12: real noise comes and goes, and a wrist thermometer at rest was seen to send eleven equal ones.
"""
_PLACE = 12
"""What a further run of equal measurements costs, for it could lie in a hundred places: ln(100) / -ln(erf(0.707))."""


@dataclass(frozen=True, slots=True)
class Rest:
    """How long living skin may rest within a step of this size."""

    step: float
    """In the stream's unit. Also the step of a sensor that declares none and does not move."""
    seconds: float


def stuck(windows: Windows, channel: FloatArray, rest: Rest, railed: Mask) -> FloatArray:
    """Share of each row of ``channel`` (w, n) in which the sensor is stuck, (w,); at a rail (w, n) it is not."""
    rows, count = channel.shape
    lsb = windows.spec.lsb or 0.0
    runs = Runs.of(windows.unchanged(channel) & ~railed).with_first()
    share = np.zeros(rows)
    if not (runs.length >= _SHORTEST_S * windows.rate_hz).any():
        return share
    runs = runs.longer(max(_FEWEST, round(_PIECE_S * windows.rate_hz)))
    length = runs.length
    there, row = np.unique(runs.row, return_inverse=True)
    outside = count - np.bincount(row, weights=length)
    quiet = _longest_rest(channel[there], lsb, rest) * windows.rate_hz
    every = _every(channel[there], lsb)
    noisy = _improbable(channel[there], lsb, outside, every)
    told = np.bincount(row, weights=length >= quiet[row]) > 0
    told |= _together(length, row, _PLACE * every) >= noisy
    told &= np.bincount(row, weights=length >= _SHORTEST_S * windows.rate_hz) > 0
    least = np.minimum(quiet, noisy)
    pieces = np.where(length >= least[row] / 3, length, 0)
    share[there] = np.where(told, np.bincount(row, weights=pieces) / count, 0.0)
    return share


def _longest_rest(channel: FloatArray, lsb: float, rest: Rest) -> FloatArray:
    """Seconds within the step of each row, (w,): the least it moved by, and no less than the declared one."""
    size = np.abs(np.diff(channel, axis=1))
    least = np.min(size, axis=1, where=size > 0.25 * lsb, initial=np.inf)
    step = np.maximum(np.where(np.isfinite(least), least, lsb or rest.step), lsb)
    return np.asarray(rest.seconds * np.sqrt(step / rest.step))


def _together(length: IntArray, row: IntArray, place: IntArray) -> FloatArray:
    """Equal samples of all runs of each row that are as long as ``place`` (w,), (w,): a second run may lie anywhere."""
    beyond = length - place[row]
    counts = beyond >= 0
    total = np.bincount(row, weights=np.where(counts, beyond, 0))
    return np.asarray(total + place * (np.bincount(row, weights=counts) > 0))


def _improbable(channel: FloatArray, lsb: float, outside: FloatArray, every: IntArray) -> FloatArray:
    """Equal samples that each row's own noise, if it is above the step, makes improbable, (w,)."""
    need = np.full(len(channel), np.inf)
    for held in np.unique(every).tolist():
        chosen = every == held
        bend = np.diff(channel[chosen][:, ::-held], n=2, axis=1)
        size = np.abs(bend)
        moved = np.sort(size, axis=1)
        still = np.count_nonzero(moved <= 0.25 * lsb, axis=1)
        place = np.minimum(still + (moved.shape[1] - still) // 10, moved.shape[1] - 1)
        step = np.maximum(np.take_along_axis(moved, place[:, None], axis=1), lsb)
        back = (bend[:, 1:] * bend[:, :-1] < 0) & (size[:, 1:] + size[:, :-1] > 4.5 * step)
        jumps = (np.count_nonzero(back, axis=1) - 2) * held / np.maximum(outside[chosen], 1)
        need[chosen] = np.interp(jumps, _JUMPS, _RUNS, left=np.inf) * held
    return need


def _every(channel: FloatArray, lsb: float) -> IntArray:
    """Samples from one measurement to the next, (w,): what hardly any two changes of a row lie closer together than."""
    moved = np.abs(np.diff(channel, axis=1)) > 0.25 * lsb
    row, place = np.nonzero(moved)
    same = row[1:] == row[:-1]
    row, gap = row[1:][same], np.diff(place)[same]
    order = np.lexsort((gap, row))
    first = np.searchsorted(row, np.arange(len(channel)))
    number = np.bincount(row, minlength=len(channel))
    every = np.ones(len(channel), dtype=np.int64)
    some = number > 0
    every[some] = gap[order][(first + number // 10)[some]]
    return np.minimum(every, max(1, channel.shape[1] // 8))
