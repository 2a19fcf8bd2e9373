"""The newest seconds of one stream, as arrays that windows are cut from."""

from __future__ import annotations

import numpy as np

from drivers.clock import to_ns
from drivers.quality import Scores, scores, window_s
from drivers.types import FloatArray, IntArray, Samples, StreamSpec


class Track:
    """Keeps samples in order of arrival; drops the oldest when the slab is full."""

    def __init__(self, spec: StreamSpec, keep_s: float = 70.0) -> None:
        self.spec = spec
        self.period_ns = round(1e9 / spec.rate_hz) if spec.rate_hz else 0
        self._capacity = max(1024, int(2.5 * keep_s * (spec.rate_hz or 4)))
        self._keep = self._capacity // 2
        self._size = 0
        self.total = 0
        """Samples that were ever added."""
        self._values = np.empty((self._capacity, len(spec.channels)))
        self._times = np.empty((3, self._capacity), dtype=np.int64)  # time, arrival, furthest time so far
        self.reach_ns = np.iinfo(np.int64).min
        """Latest sample time that has arrived."""
        self.heard_ns = np.iinfo(np.int64).min
        """When the newest sample arrived."""

    def add(self, samples: Samples, times_ns: IntArray) -> None:
        """Append decoded samples with their host times (n,)."""
        count = len(times_ns)
        if not count:
            return
        if count >= self._capacity:
            self._grow(count)
        if self._size + count > self._capacity:
            first = max(0, self._size - self._keep)
            kept = self._size - first
            if kept + count > self._capacity:
                self._grow(kept + count)
            self._values[:kept] = self._values[first : self._size].copy()
            self._times[:, :kept] = self._times[:, first : self._size].copy()
            self._size = kept
        end = self._size + count
        self._values[self._size : end] = samples.values
        self._times[0, self._size : end] = times_ns
        self._times[1, self._size : end] = samples.arrival_ns
        self._times[2, self._size : end] = np.maximum(np.maximum.accumulate(times_ns), self.reach_ns)
        self._size = end
        self.total += count
        self.reach_ns = int(self._times[2, end - 1])
        self.heard_ns = int(samples.arrival_ns[-1])

    def _grow(self, count: int) -> None:
        capacity = self._capacity + 2 * count
        values, times = np.empty((capacity, self._values.shape[1])), np.empty((3, capacity), dtype=np.int64)
        values[: self._size] = self._values[: self._size]
        times[:, : self._size] = self._times[:, : self._size]
        self._values, self._times, self._capacity = values, times, capacity

    def __len__(self) -> int:
        return self._size

    @property
    def values(self) -> FloatArray:
        """(n, channels), in order of arrival; a view."""
        return self._values[: self._size]

    @property
    def time_ns(self) -> IntArray:
        """(n,) host time of each sample; a view."""
        return self._times[0, : self._size]

    @property
    def arrival_ns(self) -> IntArray:
        """(n,); a view."""
        return self._times[1, : self._size]

    def since(self, start_ns: int) -> tuple[FloatArray, IntArray]:
        """Values (n, channels) and host times (n,) of the samples from start_ns on; views."""
        first = int(np.searchsorted(self._times[2, : self._size], start_ns))
        return self.values[first:], self.time_ns[first:]

    def completion_ns(self, due_ns: IntArray) -> IntArray:
        """When the stream's data up to each due time (w,) had arrived; -1 where it has not yet.

        That is the arrival of the first sample taken less than one period before the due time, or later.
        """
        reached = self._times[2, : self._size]
        place = np.searchsorted(reached, due_ns - self.period_ns, side="right")
        arrived = np.concatenate([self.arrival_ns, [-1]])
        return np.asarray(arrived[place], dtype=np.int64)

    def heard_before(self, moment_ns: IntArray) -> IntArray:
        """Newest arrival at or before each moment (w,); the smallest int64 where there is none."""
        place = np.searchsorted(self.arrival_ns, moment_ns, side="right")
        never = np.iinfo(np.int64).min
        return np.asarray(np.concatenate([[never], self.arrival_ns])[place], dtype=np.int64)


def live_scores(track: Track, ends_ns: IntArray) -> Scores:
    """Scores of the windows of the stream's modality that end at ``ends_ns`` (w,); NaN where unknown."""
    values, times_ns = track.since(int(ends_ns[0]) - to_ns(window_s(track.spec.kind) + 1.0))
    return scores(values, times_ns, track.spec, ends_ns)
