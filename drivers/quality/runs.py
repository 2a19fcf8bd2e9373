"""Runs of samples for which something holds, within windows: where they lie, how long they are, what they fill."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.quality.rows import Mask
from drivers.types import FloatArray, IntArray


@dataclass(frozen=True)
class Runs:
    """Sorted by row, then by place."""

    row: IntArray
    """(k,) number of the row."""
    begin: IntArray
    """(k,) sample within it."""
    length: IntArray
    """(k,) samples."""
    shape: tuple[int, int]
    """Rows, and samples of each."""

    @classmethod
    def of(cls, held: Mask) -> Runs:
        """Runs of True in every row of (r, n); none goes over from one row to the next."""
        count, size = held.shape
        if not held.any():
            none = np.empty(0, dtype=np.int64)
            return cls(none, none, none, (count, size))
        padded = np.zeros((count, size + 1), dtype=np.int8)
        padded[:, 1:] = held
        edges = np.flatnonzero(np.diff(padded.ravel(), append=np.int8(0)))
        begins, ends = edges[::2], edges[1::2]
        return cls(begins // (size + 1), begins % (size + 1), ends - begins, (count, size))

    def __len__(self) -> int:
        return len(self.row)

    def where(self, keep: Mask) -> Runs:
        """Those that the mask (k,) keeps."""
        return Runs(self.row[keep], self.begin[keep], self.length[keep], self.shape)

    def longer(self, at_least: float, at_most: float | None = None) -> Runs:
        """Those of a length from ``at_least`` to ``at_most`` samples."""
        keep = self.length >= at_least
        if at_most is not None:
            keep &= self.length <= at_most
        return self.where(keep)

    def with_first(self) -> Runs:
        """Each with the sample before it, which runs of ``unchanged`` samples are equal to and do not count."""
        return Runs(self.row, self.begin - 1, self.length + 1, self.shape)

    def share(self) -> FloatArray:
        """Of each row's samples, (rows,)."""
        if not len(self.row):
            return np.zeros(self.shape[0])
        total = np.bincount(self.row, weights=self.length, minlength=self.shape[0])
        return np.asarray(total / self.shape[1])

    def mask(self) -> Mask:
        """Which samples lie in a run, (rows, n)."""
        edge = np.zeros((self.shape[0], self.shape[1] + 1), dtype=np.int8)
        edge[self.row, self.begin] = 1
        edge[self.row, self.begin + self.length] -= 1  # where the next run may begin
        return np.asarray(np.cumsum(edge, axis=1, dtype=np.int8)[:, :-1] > 0)
