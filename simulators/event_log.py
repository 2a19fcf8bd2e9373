"""Events in time order that only ever grow at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drivers.types import FloatArray


class EventLog:
    """Columns of floats, the first of them the event's time."""

    def __init__(self, columns: int) -> None:
        self._rows = np.empty((columns, 256))
        self._count = 0

    def extend(self, columns: Sequence[FloatArray]) -> None:
        """Add events, one array (n,) per column, all later than those there are."""
        end = self._count + len(columns[0])
        if end > self._rows.shape[1]:
            grown = np.empty((len(self._rows), max(end, 2 * self._rows.shape[1])))
            grown[:, : self._count] = self._rows[:, : self._count]
            self._rows = grown
        for row, column in zip(self._rows, columns, strict=True):
            row[self._count : end] = column
        self._count = end

    def column(self, number: int) -> FloatArray:
        """Every value of one column, (n,); not to be written to."""
        return self._rows[number, : self._count]

    def between(self, start_s: float, stop_s: float) -> FloatArray:
        """(columns, n) of the events with start_s <= time < stop_s."""
        first, last = np.searchsorted(self.column(0), (start_s, stop_s))
        return self._rows[:, first:last].copy()

    def before(self, time_s: float) -> int:
        """How many events are earlier than time_s."""
        return int(np.searchsorted(self.column(0), time_s))
