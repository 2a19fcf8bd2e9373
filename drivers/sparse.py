"""Hands a slow stream's samples to the frames of a faster one as a device does: each as soon as it is there."""

from __future__ import annotations

import numpy as np

from drivers.codec import Block
from drivers.types import FloatArray, IntArray


class SparseSource:
    """Samples that wait for the first frame that is due at their time or later."""

    def __init__(self) -> None:
        self._due_ns: IntArray = np.empty(0, dtype=np.int64)
        self._values: FloatArray | None = None

    def take(self, block: Block, frame_due_ns: IntArray) -> tuple[IntArray, FloatArray]:
        """Frames that carry a new sample, (m,), and it, (m, channels). Two samples for one frame: the newer goes."""
        due_ns, values = block.due_ns, block.values
        if self._values is not None and len(self._due_ns):
            due_ns, values = np.concatenate([self._due_ns, due_ns]), np.concatenate([self._values, values])
        ready = np.searchsorted(due_ns, frame_due_ns, side="right")
        used = int(ready[-1]) if len(ready) else 0
        self._due_ns, self._values = due_ns[used:], values[used:]
        fresh = np.flatnonzero(np.diff(ready, prepend=0) > 0)
        return fresh, values[ready[fresh] - 1]
