"""Where breathing or skin conductance turns, and the rises and falls between that are high enough.

The same however the signal is cut into pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from drivers.types import FloatArray


class Turn(NamedTuple):
    """A local extreme, or a place between two. Where the signal rests there, it does from ``first`` to ``last``."""

    first: int
    last: int
    value: float


class Turns:
    """Finds the turns of a signal that comes in pieces; places count from its first value.

    Every ``every`` places one more is told that is no turn, so that a long rise or fall is known before its end.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._count = 0
        self._end = np.empty(0)
        self._move = (-1, 0.0)
        """Place before the last change, and its sign."""

    def feed(self, values: FloatArray) -> Sequence[Turn]:
        """Turns that these values (n,) complete: the signal must have moved on behind them."""
        joined = np.concatenate([self._end, values])
        base = self._count - len(self._end)
        self._count, self._end = base + len(joined), joined[-1:]
        change = np.diff(joined)
        at = np.flatnonzero(change)
        place = np.concatenate([[self._move[0]], at + base])
        sign = np.concatenate([[self._move[1]], np.sign(change[at])])
        back = np.flatnonzero(sign[1:] * sign[:-1] < 0)
        self._move = int(place[-1]), float(sign[-1])
        last = place[back + 1]
        turns = list(map(Turn, (place[back] + 1).tolist(), last.tolist(), joined[last - base].tolist()))
        fresh = base + len(joined) - len(values)
        between = np.arange(-(-fresh // self._every) * self._every, self._count, self._every)
        turns += map(Turn, between.tolist(), between.tolist(), joined[between - base].tolist())
        # A turn is told when the signal has moved on, so a place within its rest comes before it.
        return sorted(turns, key=lambda turn: (turn.last, -turn.first))

    def finish(self) -> Sequence[Turn]:
        """The last value, as a turn."""
        return [Turn(self._count - 1, self._count - 1, float(self._end[0]))] if len(self._end) else []


class Zigzag:
    """With hysteresis: rises from a trough to a top, each with a fall behind it, that reach a height."""

    def __init__(self, longest_top: int) -> None:
        self._longest_top = longest_top
        """A top that is left only after so many places is none."""
        self._up: bool | None = None
        self._low: Turn | None = None
        self._high: Turn | None = None
        self.trough: Turn | None = None
        """From which the signal has risen by the height, while it is up."""

    def take(self, turn: Turn, reach: float) -> tuple[Turn, Turn] | None:
        """The next turn and the height to reach there; (trough, top) of a swing that is over with it."""
        if self._low is None or self._high is None:
            self._low = self._high = turn
            return None
        if self._up is not True and turn.value <= self._low.value:
            self._low = turn
        if self._up is not False and turn.value >= self._high.value:
            self._high = turn
        if self._up is not True and turn.value - self._low.value > reach:
            self._up, self.trough, self._high = True, self._low, turn
        elif self._up is not False and self._high.value - turn.value > reach:
            top, trough = self._high, self.trough
            self._up, self._low, self.trough = False, turn, None
            if trough is not None and turn.first - top.last <= self._longest_top:
                return trough, top
        return None


def crossing(rise: FloatArray, place: int, level: float) -> float:
    """Where the line from ``place`` - 1 to ``place`` of (n,) passes ``level``."""
    if place == 0 or rise[place] == rise[place - 1]:
        return float(place)
    return place - float(np.clip((rise[place] - level) / (rise[place] - rise[place - 1]), 0.0, 1.0))
