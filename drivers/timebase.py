"""Device clock to host clock, from pairs of device time and arrival.

The delay from sensor to host is never negative and sometimes long, so the estimate rests on the
*earliest* arrivals of each second, not on the mean: see docs/architecture.md, "Time".
"""

from __future__ import annotations

import numpy as np

from drivers.types import IntArray, Samples


class OnlineTimebase:
    """Maps one stream's samples to the host clock as they come, in bounded memory."""

    def __init__(self, rate_hz: float | None) -> None:
        self._period_ns = 1e9 / rate_hz if rate_hz else None
        self._segment = -1
        self._offset_ns: float | None = None

    def update(self, samples: Samples) -> IntArray:
        """Host time of each sample in ns, int64 (n,)."""
        if samples.device_ns is not None:
            device = samples.device_ns.astype(np.float64)
        elif self._period_ns is not None:
            device = samples.index * self._period_ns
        else:
            return samples.arrival_ns
        if samples.segment != self._segment:
            self._segment, self._offset_ns = samples.segment, None
        floor = float(np.min(samples.arrival_ns - device)) if len(device) else np.inf
        self._offset_ns = floor if self._offset_ns is None else min(self._offset_ns, floor)
        return np.asarray(device + self._offset_ns, dtype=np.int64)
