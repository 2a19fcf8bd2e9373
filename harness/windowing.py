"""Which windows are due, and when each may close: pure functions of arrival stamps.

Windows are due on a fixed grid, whatever the sensors do. A window closes when every stream it waits
for has delivered its samples up to the due time, or ``wait`` later at the latest. It waits for the
streams that sample at least as fast as windows come and were heard within the last second: a stream
that is absent must not make every window late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drivers.types import IntArray
from harness.rig import WindowEntry
from harness.track import Track

ABSENT_AFTER_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Schedule:
    """Due times: first, first + hop, ... before stop."""

    first_ns: int
    hop_ns: int
    wait_ns: int
    count: int

    @classmethod
    def of(cls, entry: WindowEntry, start_ns: int, stop_ns: int) -> Schedule:
        """Due from ``fill_s`` after the start, and early enough that the last can still be judged."""
        hop_ns, wait_ns = round(entry.hop_ms * 1e6), round(entry.wait_ms * 1e6)
        first_ns = start_ns + round(entry.fill_s * 1e9)
        last_ns = stop_ns - wait_ns - round(entry.grace_ms * 1e6)
        return cls(first_ns, hop_ns, wait_ns, max(0, (last_ns - first_ns) // hop_ns + 1))

    def due_ns(self, first: int, stop: int) -> IntArray:
        """Due times of windows first .. stop - 1."""
        return self.first_ns + self.hop_ns * np.arange(first, min(stop, self.count), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Closing:
    """How some consecutive windows closed."""

    due_ns: IntArray
    closed_ns: IntArray
    late: IntArray
    """(w, streams) 1 where a stream that was waited for was not there."""


def waits_for(period_ns: int, hop_ns: int) -> bool:
    """A stream is waited for if it samples at least as fast as windows come."""
    return 0 < period_ns <= hop_ns


def close_windows(schedule: Schedule, first: int, tracks: Sequence[Track], now_ns: int, sure: bool) -> Closing:
    """The windows from ``first`` on that can close at now_ns, given everything that arrived by then.

    ``sure``: only windows whose waiting time is over (virtual time: then many close at once).
    """
    stop = (now_ns - schedule.first_ns - (schedule.wait_ns if sure else 0)) // schedule.hop_ns + 1
    due = schedule.due_ns(first, max(first, stop))
    limit = due + schedule.wait_ns
    if not len(tracks) or not len(due):
        return Closing(due, due.copy(), np.zeros((len(due), len(tracks)), dtype=np.int64))
    done = np.stack([track.completion_ns(due) for track in tracks], axis=1)
    heard = np.stack([track.heard_before(due) for track in tracks], axis=1)
    awaited = heard > (due - ABSENT_AFTER_NS)[:, None]
    here = (done >= 0) & (done <= limit[:, None])
    late = awaited & ~here
    complete_ns = np.where(awaited & here, done, 0).max(axis=1)
    closed = np.maximum(np.where(late.any(axis=1), limit, complete_ns), due)
    ready = int(np.searchsorted(np.maximum.accumulate(closed), now_ns, side="right"))
    return Closing(due[:ready], closed[:ready], late[:ready].astype(np.int64))
