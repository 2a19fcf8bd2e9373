"""Tells what a device says about itself in every frame only when it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from drivers.types import Event, IntArray, Notice

Value: TypeAlias = str | float | bool


class Changes:
    """Remembers the last value of every notice."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}

    def restart(self) -> None:
        """The device was started anew: the next value is told whatever it is."""
        self._last.clear()

    def tell(
        self, name: str, values: NDArray[Any], arrival_ns: IntArray, meaning: Callable[[Any], Value] = bool
    ) -> list[Event]:
        """A notice at the first of ``values`` (n,) ever and at every one that differs from the one before."""
        if not len(values):
            return []
        changed = np.flatnonzero(values[1:] != values[:-1]) + 1
        places: list[int] = changed.tolist()
        if name not in self._last or self._last[name] != values[0]:
            places = [0, *places]
        self._last[name] = values[-1]
        return [Notice(name, meaning(values[k].item()), int(arrival_ns[k])) for k in places]
