"""What signals have in common: how noise is drawn, and what a signal without a rate, or with one, is not asked."""

from __future__ import annotations

import numpy as np

from drivers.types import FloatArray, StreamSpec
from simulators.draws import Draws


class Sampled:
    """A signal of a stream with a rate."""

    def events(self, start_s: float, stop_s: float) -> tuple[FloatArray, FloatArray]:
        """Asked of streams without a rate only."""
        raise TypeError(f"{type(self).__module__} is sampled: its stream needs a rate_hz")


def white(draws: Draws, first: int, count: int, channels: int) -> FloatArray:
    """N(0, 1) of samples ``first``.., (count, channels), by sample number."""
    return draws.normal(first * channels, count * channels).reshape(count, channels)


def spread(values: FloatArray, least: float) -> float:
    """1..99 % amplitude of the most moving channel of (n, channels), at least ``least``."""
    low, high = np.percentile(values, (1, 99), axis=0)
    return float(max(np.max(high - low), least))


def probe_times(spec: StreamSpec, seconds: float) -> FloatArray:
    """The first ``seconds`` at the stream's rate, at least 200 points, for measuring a signal's amplitude."""
    rate_hz = max(float(spec.rate_hz or 0), 200 / seconds)
    return np.arange(round(seconds * rate_hz)) / rate_hz
