"""Signals that a simulated sensor can carry: one file each, or an entry point of ``hil.signals``.

A module has ``OPTIONS`` (a frozen dataclass; its fields are the rig file's keys) and
``signal(subject, spec, draws, options) -> Signal``. Its docstring's first line is shown by
``hil list signals``.
"""

from __future__ import annotations

from typing import Protocol

from drivers.types import FloatArray


class Signal(Protocol):
    """Renders one stream. Called with consecutive samples; how they are cut changes no bit."""

    span: float
    """Clean 1..99 % amplitude in the stream's unit; fault levels are fractions of it."""

    def render(self, first: int, times_s: FloatArray) -> FloatArray:
        """Values (n, channels) of samples ``first``.. taken at world seconds ``times_s`` (n,)."""

    def events(self, start_s: float, stop_s: float) -> tuple[FloatArray, FloatArray]:
        """For a stream without a rate: times (n,) in [start_s, stop_s) and values (n, channels).

        Any interval may be asked for, and one that overlaps the last; the answer is always the same.
        """
