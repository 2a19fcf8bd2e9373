"""A device's oscillator and the clock that counts it: offset, ppm, drift of the drift, steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from drivers.types import FloatArray


class Deviation(Protocol):
    """A spell in which the oscillator runs off; the time that it gains stays."""

    def excess_s(self, world_s: FloatArray) -> FloatArray:
        """Oscillator seconds gained up to world seconds, same shape."""


@dataclass(frozen=True, slots=True)
class Drift:
    """``ppm`` more from start_s to stop_s of world time."""

    ppm: float
    start_s: float
    stop_s: float

    def excess_s(self, world_s: FloatArray) -> FloatArray:
        """Grows with time."""
        return np.asarray(self.ppm * 1e-6 * np.clip(world_s - self.start_s, 0, self.stop_s - self.start_s))


@dataclass(frozen=True, slots=True)
class Wander:
    """From start_s to stop_s of world time the drift grows by ``ppm_per_min``, and swings by +-``swing_ppm``."""

    ppm_per_min: float
    swing_ppm: float
    period_s: float
    start_s: float
    stop_s: float

    def excess_s(self, world_s: FloatArray) -> FloatArray:
        """The integral of the drift: a parabola and a sine's."""
        since = np.clip(world_s - self.start_s, 0, self.stop_s - self.start_s)
        turn = 2 * math.pi / self.period_s
        swung = self.swing_ppm * 1e-6 / turn * (1 - np.cos(turn * since))
        return np.asarray(0.5 * self.ppm_per_min / 60 * 1e-6 * since**2 + swung)


@dataclass(frozen=True, slots=True)
class Step:
    """The reading jumps by ``seconds`` at world time ``at_s``; the oscillator does not notice."""

    seconds: float
    at_s: float


@dataclass(frozen=True, slots=True)
class DeviceClock:
    """Positive ppm: the device's second is shorter, so it takes samples too fast."""

    offset_s: float = 0.0
    ppm: float = 0.0
    ppm_per_min: float = 0.0
    drifts: tuple[Deviation, ...] = ()
    steps: tuple[Step, ...] = ()

    def _excess(self, world_s: FloatArray) -> FloatArray:
        """Oscillator seconds beyond world seconds."""
        excess = self.ppm * 1e-6 * world_s + 0.5 * self.ppm_per_min / 60 * 1e-6 * world_s**2
        for drift in self.drifts:
            excess = excess + drift.excess_s(world_s)
        return np.asarray(excess)

    def phase(self, world_s: FloatArray) -> FloatArray:
        """Oscillator seconds at world seconds, same shape."""
        return np.asarray(world_s + self._excess(world_s))

    def world(self, phase_s: FloatArray) -> FloatArray:
        """World seconds at which the oscillator had counted ``phase_s``; inverse of phase()."""
        world = np.asarray(phase_s, dtype=np.float64)
        for _ in range(6):  # contracts by |ppm| 1e-6 each time
            world = phase_s - self._excess(world)
        return world

    def reading(self, phase_s: FloatArray, world_s: FloatArray) -> FloatArray:
        """What the device's clock says, in seconds since its boot."""
        reading = self.offset_s + phase_s
        for step in self.steps:
            reading = reading + step.seconds * (world_s >= step.at_s)
        return np.asarray(reading)
