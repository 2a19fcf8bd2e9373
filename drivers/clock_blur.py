"""How likely jitter about a poll is, for many lines (offset, slope) at once.

What a chunk says of a line depends on the distance between the two only (and on how late the chunk was, in a few
classes). So for each slope the chunks are counted by where they lie, and one product with a table of log
probabilities over distance gives all offsets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from drivers.types import FloatArray, IntArray

_TINY = 1e-5
_REACH = 4.5
"""Jitter of so many scales does not happen."""
_BINS_A_SCALE, _MOST_BINS = 20, 4096
_LATE, _OVER = np.array([0.15, 0.3, 0.5, 0.75, 1.0, 1.4, 2.0, 3.0, _REACH]), np.array([0.0, 0.4, 0.8, 1.4, 2.2])
"""Chunks count as equally late between these, and as equally much later than the frame, in scales."""


def log_upper(
    at_s: FloatArray,
    top: FloatArray,
    late: FloatArray,
    scale: float,
    frame: float,
    slope: FloatArray,
    offset: FloatArray,
) -> FloatArray:
    """Log probability that the half-normal jitter of each chunk was no more than a line leaves room for. (s, o)

    Chunks (n,): device time, bound from above, how late. ``frame``: so much of that may lie before the poll.
    """
    kind, typical = _classes(late, scale, frame)
    step = _step(offset, scale)
    wait = _distances(_REACH * scale, step)
    least, most = _ends(typical, scale, frame)
    table = _log((np.minimum(_share(wait / scale), most) - least) / (most - least))
    return _summed(at_s, top, kind, table, slope, offset, step)


def log_lower(
    at_s: FloatArray,
    bottom: FloatArray,
    late: FloatArray,
    scale: float,
    frame: float,
    slope: FloatArray,
    offset: FloatArray,
) -> FloatArray:
    """Log probability that the jitter of each chunk was as large as a line asks for that lies above its ``bottom``;
    0 where the line does not. (s, o)"""
    step = _step(offset, scale)
    far = late >= _REACH * scale
    total = _far_below(at_s[far], bottom[far], late[far], scale, frame, slope, offset, step)
    kind, typical = _classes(late[~far], scale, frame)
    over = _distances(_REACH * scale, step)
    least, most = _ends(typical, scale, frame)
    table = _log((most - np.maximum(_share((typical - over) / scale), least)) / (most - least))
    return total + _mirrored(at_s[~far], bottom[~far], kind, table, slope, offset, step)


def log_frame(at_s: FloatArray, bottom: FloatArray, frame: float, slope: FloatArray, offset: FloatArray) -> FloatArray:
    """Log probability that the poll before came so early in its frame as a line asks for. (s, o)"""
    step = _step(offset, frame)
    over = _distances(frame, step)
    kind = np.zeros(len(bottom), dtype=np.int64)
    return _mirrored(at_s, bottom, kind, _log(np.minimum(over / frame, 1.0))[None], slope, offset, step)


def counts(value: FloatArray, offset: FloatArray) -> FloatArray:
    """How many values of each row lie below each offset; offsets evenly spaced. (s, n), (o,) -> (s, o)"""
    rows, columns = len(value), len(offset)
    if not value.size:
        return np.zeros((rows, columns))
    step = float(offset[1] - offset[0])
    place = np.clip(np.floor((value - offset[0]) / step) + 1, 0, columns).astype(np.int64)
    place += (np.arange(rows) * (columns + 1))[:, None]
    count = np.bincount(place.ravel(), minlength=rows * (columns + 1)).reshape(rows, columns + 1)
    return np.asarray(np.cumsum(count, axis=1)[:, :columns], dtype=np.float64)


def _far_below(
    at_s: FloatArray,
    bottom: FloatArray,
    late: FloatArray,
    scale: float,
    frame: float,
    slope: FloatArray,
    offset: FloatArray,
    step: float,
) -> FloatArray:
    """log_lower() of chunks later than any jitter: what counts is the distance from where the chunk arrived."""
    kind, typical = _classes(late, scale, frame)
    wait = _distances(_REACH * scale, step)
    least, most = _ends(typical, scale, frame)
    table = _log((most - np.maximum(_share(wait / scale), least)) / (most - least))
    tilted = slope[:, None] * at_s
    beyond = counts(bottom - tilted, offset) - counts(bottom + late - wait[-1] - 0.5 * step - tilted, offset)
    return _summed(at_s, bottom + late, kind, table, slope, offset, step) + float(np.log(_TINY)) * beyond


def _classes(late: FloatArray, scale: float, frame: float) -> tuple[IntArray, FloatArray]:
    """Class of each chunk (n,), and the mean lateness of each class (k, 1)."""
    key = np.searchsorted(_LATE, late / scale) * (len(_OVER) + 1) + np.searchsorted(_OVER, (late - frame) / scale)
    _, kind, size = np.unique(key, return_inverse=True, return_counts=True)
    return kind, (np.bincount(kind, late, len(size)) / size)[:, None]


def _ends(late: FloatArray, scale: float, frame: float) -> tuple[FloatArray, FloatArray]:
    """Probabilities of less than the least and the most jitter that chunks of a class may have had."""
    return _share(np.minimum((late - frame) / scale, 3.0)), _share(late / scale) + 1e-6


def _share(jitter: FloatArray) -> FloatArray:
    """Half-normal probability of less jitter than this, in scales."""
    return np.asarray(erf(np.maximum(jitter, 0.0) / 2**0.5))


def _log(share: FloatArray) -> FloatArray:
    return np.asarray(np.log(np.maximum(share, _TINY)))


def _step(offset: FloatArray, scale: float) -> float:
    """Offsets are a whole number of these apart, and a scale is at least twenty."""
    apart = float(offset[1] - offset[0])
    return apart / max(int(np.ceil(_BINS_A_SCALE * apart / scale)), 1)


def _distances(reach: float, step: float) -> FloatArray:
    """The middles of a table's bins."""
    count = min(int(np.ceil(reach / step)), _MOST_BINS)
    return np.asarray((np.arange(count) + 0.5) * step, dtype=np.float64)


def _mirrored(
    at_s: FloatArray,
    bottom: FloatArray,
    kind: IntArray,
    table: FloatArray,
    slope: FloatArray,
    offset: FloatArray,
    step: float,
) -> FloatArray:
    """_summed() over how far lines lie above ``bottom``."""
    return _summed(at_s, -bottom, kind, table, -slope, -offset[::-1], step)[:, ::-1]


def _summed(
    at_s: FloatArray,
    level: FloatArray,
    kind: IntArray,
    table: FloatArray,
    slope: FloatArray,
    offset: FloatArray,
    step: float,
) -> FloatArray:
    """Sum of ``table`` (k, L) over the chunks at how far each lies above a line, in steps; 0 outside. (s, o)"""
    rows, columns, (kinds, length) = len(slope), len(offset), table.shape
    apart = round(float(offset[1] - offset[0]) / step)
    bins = length + apart * (columns - 1)
    if not len(level):
        return np.zeros((rows, columns))
    place = np.floor((level - slope[:, None] * at_s - offset[0]) * (1 / step))
    inside: NDArray[np.bool_] = (place >= 0) & (place < bins)
    where = place.astype(np.int64) + kind * bins + (np.arange(rows) * (kinds * bins))[:, None]
    count = np.bincount(where[inside], minlength=rows * kinds * bins).reshape(rows, kinds * bins)
    padded = np.zeros((kinds, bins + apart * (columns - 1)))
    padded[:, apart * (columns - 1) : bins] = table
    moved = np.lib.stride_tricks.sliding_window_view(padded, bins, axis=1)[:, :: -max(apart, 1)]
    whole = np.ascontiguousarray(moved.transpose(0, 2, 1)).reshape(kinds * bins, columns)
    return np.asarray(count.astype(np.float64) @ whole)
