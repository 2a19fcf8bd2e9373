"""Device clock to host clock, from pairs of device time and arrival, as samples come.

The delay from sensor to host is never negative and sometimes long, so nothing here rests on the mean:
the *earliest* arrivals of each second carry the clock, and a robust line runs through them. Only where
ten seconds have shown that delays scatter both ways, as a host's noisy stamps do, the medians carry it.
Samples that arrive together count once, by the last of them: the others only waited for it. After a
run, fit_clock() and find_steps() say the same with intervals.

One-way data cannot tell a constant delay from an offset: every offset here includes the link's
smallest delay. See docs/architecture.md, "Time".
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from drivers.clock_blocks import arrival_groups, huber_line
from drivers.types import FloatArray, IntArray, Samples, StreamSpec

_SECOND_NS = 1_000_000_000
_BLOCK_PERIODS = 8
"""A block holds at least so many samples: the minimum of fewer is no floor."""
_ROWS = 4
"""Of each block: time and delay of the earliest arrival, time of the middle and median delay."""
_BLOCKS = 120
"""Blocks behind the online line: long enough for the slope, short enough to follow a warming crystal."""
_DENSE = 12
"""So many blocks are refitted one by one; then every eighth, which the slope hardly notices."""
_PRIOR_NS_PER_S = 1e5
"""Standard deviation of a crystal's rate error before anything is known: 100 ppm."""
_EARLY_BLOCKS, _EARLY_SIGMA_NS = 10, 2e6
"""With few blocks their scatter says little; assume at least so much."""
_JUMP_NS = 30e6
"""A block this far off the line is another time base, not jitter."""
_FEWEST_DELAYS, _MOST_DELAYS = 8, 4096
"""A block of so many chunks shows the shape of their delays; more are not looked at."""
_NORMAL, _NOT_NORMAL, _SURE_BLOCKS = 0.85, 0.75, 8
"""Of both tails the shorter of so much the length of a normal one's, on average over so many blocks: that is a
jitter's; or no longer."""
_SLEW = 0.5
"""Published times move by at most half of the step between two samples, so they never turn back."""


_SLOW_HZ = 2.0


def arrivals_tell(spec: StreamSpec) -> bool:
    """The arrivals of a stream's samples say when they were taken: nothing numbers them, and they are further apart
    than any link delays them, so that after a loss the count would be wrong by more than the arrival is."""
    return not (spec.counted or spec.timed) and (spec.rate_hz or 0.0) <= _SLOW_HZ


class OnlineTimebase:
    """Maps one stream's samples to the host clock as they come, in bounded memory.

    A sample's time depends on what arrived with it and before it only, not on how samples are cut into batches.
    """

    def __init__(self, rate_hz: float | None) -> None:
        self._period_ns = _SECOND_NS / rate_hz if rate_hz else None
        period_ns = self._period_ns or _SECOND_NS
        self._block_ns = max(_SECOND_NS, round(_BLOCK_PERIODS * period_ns))
        self._segment: int | None = None
        self._points = np.empty((_ROWS, _BLOCKS))

    def _begin(self, segment: int, device_ns: int, delay_ns: int) -> None:
        self._segment, self._anchor_ns, self._base_ns = segment, device_ns, delay_ns
        self._count, self._closed = 0, 0
        self._block, self._low, self._low_at = 0, np.inf, 0.0
        self._delays: list[float] = []
        self._tail, self._shown, self._both_ways = 0.0, 0, False
        """Mean length of the shorter tail over a normal's, blocks behind it, and whether delays scatter both ways."""
        self._offset, self._slope = np.inf, 0.0
        self._last: tuple[int, float] | None = None

    def update(self, samples: Samples) -> IntArray:
        """Host time of each sample in ns, int64 (n,): from device time, else from index and rate, else arrival."""
        if samples.device_ns is not None:
            device = samples.device_ns
        elif self._period_ns is not None:
            device = np.rint(samples.index * self._period_ns).astype(np.int64)
        else:
            return samples.arrival_ns
        if not len(device):
            return np.empty(0, dtype=np.int64)
        if samples.segment != self._segment:
            self._begin(samples.segment, int(device[0]), int(samples.arrival_ns[0] - device[0]))
        since = device - self._anchor_ns
        if samples.arrival_ns[0] == samples.arrival_ns[-1]:
            target = np.full(len(device), self._group(int(since.max()), float((samples.arrival_ns - device).min())))
        else:
            starts, last, delay = arrival_groups(samples.arrival_ns, device)
            levels = self._groups(last - self._anchor_ns, (delay - self._base_ns).astype(np.float64))
            target = np.repeat(levels, np.diff(starts, append=len(device)))
        return np.asarray(device + (self._base_ns + np.rint(self._slewed(since, target)).astype(np.int64)))

    def _group(self, at_ns: int, delay_ns: float) -> float:
        """Offset for one chunk, without the cost of the general case."""
        at_s, low = at_ns / _SECOND_NS, delay_ns - self._base_ns
        if at_ns // self._block_ns > self._block:
            self._close(at_ns // self._block_ns)
        if low < self._low:
            self._low, self._low_at = low, at_s
        if len(self._delays) < _MOST_DELAYS:
            self._delays.append(low)
        line = self._offset + self._slope * at_s
        return line if self._both_ways else min(line, self._low)

    def _groups(self, at_ns: IntArray, delay_ns: FloatArray) -> FloatArray:
        """Offset for each chunk: the line so far, but never later than the earliest arrival of its block."""
        at_s, blocks = at_ns / _SECOND_NS, np.maximum.accumulate(at_ns // self._block_ns)
        cuts = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), len(blocks)]
        levels = np.empty(len(at_s))
        for start, stop in pairwise(cuts):
            if blocks[start] > self._block:
                self._close(int(blocks[start]))
            part, at = delay_ns[start:stop], at_s[start:stop]
            lows = np.minimum(np.minimum.accumulate(part), self._low)
            if lows[-1] < self._low:
                self._low, self._low_at = float(lows[-1]), float(at[np.argmin(part)])
            if len(self._delays) < _MOST_DELAYS:
                self._delays += part.tolist()
            line = self._offset + self._slope * at
            levels[start:stop] = line if self._both_ways else np.minimum(line, lows)
        return levels

    def _close(self, block: int) -> None:
        """A block is over: its earliest arrival joins the line, or starts a new one."""
        points, low, at = self._points, self._low, self._low_at
        middle, middle_s = self._shape(), (self._block + 0.5) * self._block_ns / _SECOND_NS
        self._block, self._low, self._delays = block, np.inf, []
        if np.isinf(low):
            return
        if self._count == _BLOCKS:
            points[:, :-1] = points[:, 1:]
            self._count -= 1
        points[:, self._count] = at, low, middle_s, middle
        self._count, self._closed = self._count + 1, self._closed + 1
        turned = self._turned()
        jumped = self._count > 1 and not turned and self._jumped()
        if jumped or turned or self._closed <= _DENSE or self._closed % 8 == 0:
            at_s, value = self._carriers()
            self._offset, self._slope = _line(at_s, value, 2 if self._both_ways else 10)

    def _carriers(self) -> FloatArray:
        """(2, count) times and delays of the blocks' points that carry the clock."""
        return self._points[2:, : self._count] if self._both_ways else self._points[:2, : self._count]

    def _shape(self) -> float:
        """Median delay of the block that is over, and what the shorter of its tails shows."""
        count = len(self._delays)
        if count < _FEWEST_DELAYS:
            return self._low
        quarters = count // 4, count // 2, 3 * count // 4
        ranked = np.partition(self._delays, [*quarters, count - 1])
        lower, middle, upper, latest = ranked[[*quarters, count - 1]].tolist()
        # few arrivals that missed a poll, or made it, are a tail too, but on one side
        reach = min(middle - self._low, latest - middle)
        tail = min(reach / max((upper - lower) / 2, 1.0) / _normal_tail(count), 2.0)
        self._shown += 1
        self._tail += (tail - self._tail) / min(self._shown, _SURE_BLOCKS)
        return float(middle)

    def _turned(self) -> bool:
        """Delays have shown that they scatter both ways, or that they do not after all."""
        before = self._both_ways
        if self._shown >= _SURE_BLOCKS:
            self._both_ways = self._tail > (_NOT_NORMAL if before else _NORMAL)
        return self._both_ways != before

    def _jumped(self) -> bool:
        """Forget the blocks before a jump: one block suffices if early, two in a row if late (a stall is late too)."""
        at, low = self._carriers()[:, max(self._count - 2, 0) :]
        off = low - self._offset - self._slope * at
        if off[-1] < -_JUMP_NS:
            keep = 1
        elif off.min() > _JUMP_NS and abs(off[1] - off[0]) < _JUMP_NS:
            keep = 2
        else:
            return False
        self._points[:, :keep] = self._points[:, self._count - keep : self._count]
        self._count, self._closed = keep, keep
        return True

    def _slewed(self, since_ns: IntArray, target: FloatArray) -> FloatArray:
        """The target offsets, reached at most _SLEW of device time at a time. (n,)"""
        if self._last is None:
            self._last = int(since_ns[0]), float(target[0])
        at, offset = self._last
        room = _SLEW * np.abs(np.diff(since_ns, prepend=at))
        excess = np.abs(np.diff(target, prepend=offset)) > room + 1.0
        if excess.any():
            target = _ramp(offset, target, room, int(np.argmax(excess)))
        self._last = int(since_ns[-1]), float(target[-1])
        return target


def _ramp(offset: float, target: FloatArray, room: FloatArray, at: int) -> FloatArray:
    """Follow ``target`` from ``offset`` by at most ``room`` per sample; ``at`` is the first sample out of reach."""
    out, reach = target.copy(), np.cumsum(room)
    while at < len(out):
        before = out[at - 1] if at else offset
        done = reach[at - 1] if at else 0.0
        step = np.sign(out[at] - before)
        line = before + step * (reach[at:] - done)
        met = step * (line - target[at:]) >= 0
        count = int(np.argmax(met)) if met.any() else len(line)
        out[at : at + count] = line[:count]
        at += count
        if at < len(out):
            out[at] = target[at]
            far = np.abs(np.diff(target[at:])) > room[at + 1 :] + 1.0
            at = at + 1 + int(np.argmax(far)) if far.any() else len(out)
    return out


def _normal_tail(count: int) -> float:
    """How many times further from the median the least of ``count`` normal values lies than their quartiles."""
    steep = math.sqrt(2 * math.log(count))
    return (steep - (math.log(math.log(count)) + math.log(4 * math.pi) - 2 * 0.5772) / (2 * steep)) / 0.6745


def _line(at_s: FloatArray, value_ns: FloatArray, share: int) -> tuple[float, float]:
    """Offset (ns at 0 s) and slope (ns/s) of the line that one in ``share`` of the blocks' points lie below, the slope
    drawn to 0 as the prior says."""
    count = len(at_s)
    if count < 3:
        return float(value_ns.min()), 0.0
    scatter = 1.05 * float(np.median(np.abs(np.diff(value_ns))))
    if count < _EARLY_BLOCKS:
        scatter = max(scatter, _EARLY_SIGMA_NS)
    slope, rest = huber_line(at_s, value_ns, (scatter / _PRIOR_NS_PER_S) ** 2)
    return float(np.partition(rest, count // share)[count // share]), slope
