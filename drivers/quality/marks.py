"""Events within windows, such as beats: which window, and which of its samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.quality.rows import Mask
from drivers.types import FloatArray, IntArray


@dataclass(frozen=True)
class Marks:
    """Events sorted by window, then by place."""

    row: IntArray
    """(k,) number of the window."""
    place: IntArray
    """(k,) sample within it."""
    rows: int
    """Windows there are, with or without events."""

    def __len__(self) -> int:
        return len(self.row)

    def counts(self) -> IntArray:
        """Events of each window, (rows,)."""
        return np.bincount(self.row, minlength=self.rows)

    def where(self, keep: Mask) -> Marks:
        """Those that the mask (k,) keeps."""
        return Marks(self.row[keep], self.place[keep], self.rows)

    def intervals(self) -> tuple[IntArray, IntArray]:
        """From each event to the next of its window: (m,) window and (m,) samples."""
        same = self.row[1:] == self.row[:-1]
        return self.row[1:][same], np.diff(self.place)[same]

    def sums(self, values: FloatArray) -> FloatArray:
        """Sum over each window's events of (k,) or (k, m), (rows,) or (rows, m); 0 where there is none."""
        # One after the other, whatever else is in the table: a sum's last bit depends on its order.
        return np.asarray(np.cumsum(by_row(self.row, values, self.rows, 0.0), axis=1)[:, -1])


def by_row(rows: IntArray, values: FloatArray, count: int, fill: float) -> FloatArray:
    """Values (m, ...) of windows (m,), ascending, as one line per window, filled up: (count, most, ...), most >= 1."""
    number = np.bincount(rows, minlength=count)
    first = np.cumsum(number) - number
    table = np.empty((count, max(1, int(number.max(initial=0))), *values.shape[1:]))
    table.fill(fill)
    table[rows, np.arange(len(rows)) - first[rows]] = values
    return table
