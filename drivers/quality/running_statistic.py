"""What is usual around a moment of breathing or skin conductance: a statistic of the seconds around it.

The same for every moment however the signal is cut into pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from drivers.types import FloatArray

T = TypeVar("T")


class RunningStatistic(Generic[T]):
    """A statistic for every second of a signal that comes in pieces, over the seconds before and some after it.

    Before ``fewest_s`` have come nothing is told; the first ones then share one value.
    """

    def __init__(
        self, statistic: Callable[[FloatArray], T], second: int, back_s: int, ahead_s: int, fewest_s: int
    ) -> None:
        self._statistic = statistic
        """Of consecutive values (m,), at least one."""
        self._second = second
        """Values in a second."""
        self._back_s, self._ahead_s, self._fewest_s = back_s, ahead_s, fewest_s
        self._kept, self._base = np.empty(0), 0
        self._seconds = self._first = 0
        self._told: list[T] = []
        """Of second ``_first`` and those after it."""

    @property
    def known(self) -> int:
        """Places below this one are told."""
        return (self._first + len(self._told)) * self._second

    def at(self, place: int) -> T:
        """At a place that is told; behind the last one as there."""
        return self._told[min(place // self._second - self._first, len(self._told) - 1)]

    def feed(self, values: FloatArray, last: bool) -> None:
        """Take more of the signal (n,); ``last``: nothing comes after it."""
        self._kept = np.concatenate([self._kept, values])
        whole = (self._base + len(self._kept)) // self._second
        for second in range(max(self._seconds + 1, self._fewest_s), whole + 1):
            self._tell(second, second - self._ahead_s)
        self._seconds = whole
        if last and len(self._kept):
            self._tell(whole + 1, whole + 1)
        base = max(self._base, (whole - self._back_s - self._ahead_s) * self._second)
        self._kept, self._base = self._kept[base - self._base :], base

    def forget(self, place: int) -> None:
        """Nothing below this place will be asked for."""
        gone = min(max(0, place // self._second - self._first), len(self._told) - 1)
        if gone > 0:
            self._told, self._first = self._told[gone:], self._first + gone

    def _tell(self, second: int, upto: int) -> None:
        """From the seconds before ``second``, all up to ``upto`` seconds after the start."""
        low = max(0, second - self._back_s - self._ahead_s) * self._second - self._base
        usual = self._statistic(self._kept[max(low, 0) : second * self._second - self._base])
        self._told.extend([usual] * (upto - self._first - len(self._told)))
