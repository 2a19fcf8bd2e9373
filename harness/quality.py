"""The quality of each stream of a recording, second by second: worked out once and shared by every check that asks."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from drivers.quality import Scores, scores
from drivers.types import IntArray
from harness.recording import Recording, StreamData

HOP_NS = 1_000_000_000
LOW = 0.5
"""Scores below it are low, everywhere."""


@dataclass(frozen=True, slots=True)
class _Kept:
    start_ns: int
    stop_ns: int
    ends_ns: IntArray
    table: Scores


_TABLES: WeakKeyDictionary[StreamData, _Kept] = WeakKeyDictionary()
"""Gone with the recording that the stream belongs to."""


def scores_of(recording: Recording, stream: StreamData) -> tuple[IntArray, Scores]:
    """Ends (w,) of windows, host ns, and their scores: window k ends k + 1 s after the run's start, and all in the run.

    Each looks back as far as the modality needs (``drivers.quality.window_s``), to before the run's start too. What is
    returned is shared: it is not to be written to.
    """
    known = _TABLES.get(stream)
    if known is None or (known.start_ns, known.stop_ns) != (recording.start_ns, recording.stop_ns):
        ends_ns = np.arange(recording.start_ns + HOP_NS, recording.stop_ns + 1, HOP_NS, dtype=np.int64)
        table = scores(stream.values, stream.time_ns, stream.spec, ends_ns)
        known = _TABLES[stream] = _Kept(recording.start_ns, recording.stop_ns, ends_ns, table)
    return known.ends_ns, known.table
