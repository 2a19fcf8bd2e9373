"""Runs of samples for which something holds, within windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.quality.windows import Mask
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

    def longer(self, at_least: int, at_most: int | None = None) -> Runs:
        """Those of a length from ``at_least`` to ``at_most``."""
        keep = self.length >= at_least
        if at_most is not None:
            keep &= self.length <= at_most
        return Runs(self.row[keep], self.begin[keep], self.length[keep], self.shape)

    def share(self) -> FloatArray:
        """Of each row's samples, (rows,)."""
        total = np.bincount(self.row, weights=self.length, minlength=self.shape[0])
        return np.asarray(total / self.shape[1])
