"""Events within windows, such as beats: which window, and which of its samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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

    def firsts(self) -> IntArray:
        """Where each window's events begin, and the end of the last, (rows + 1,)."""
        return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self.counts())])

    def where(self, keep: np.typing.NDArray[np.bool_]) -> Marks:
        """Those that the mask (k,) keeps."""
        return Marks(self.row[keep], self.place[keep], self.rows)

    def intervals(self) -> tuple[IntArray, IntArray]:
        """From each event to the next of its window: (m,) window and (m,) samples."""
        same = self.row[1:] == self.row[:-1]
        return self.row[1:][same], np.diff(self.place)[same]

    def sums(self, values: FloatArray) -> FloatArray:
        """Sum over each window's events of (k,) or (k, m), (rows,) or (rows, m); 0 where there is none."""
        firsts, counts = self.firsts(), self.counts()
        table = np.zeros((self.rows, max(1, int(counts.max(initial=0))), *values.shape[1:]))
        table[self.row, np.arange(len(self)) - firsts[self.row]] = values
        # One after the other, whatever else is in the table: a sum's last bit depends on its order.
        return np.asarray(np.cumsum(table, axis=1)[:, -1])


def by_row(rows: IntArray, values: FloatArray, count: int) -> FloatArray:
    """Values (m,) of windows (m,), ascending, as one line per window: (count, most), filled up with NaN."""
    number = np.bincount(rows, minlength=count)
    first = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(number)])
    table = np.full((count, max(1, int(number.max(initial=0)))), np.nan)
    table[rows, np.arange(len(rows)) - first[rows]] = values
    return table
