"""When bytes get through: UART line rate, USB batching, BLE connection events. Exact in integer ns."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from drivers.clock import to_ns
from drivers.types import Batch

_EVER = -(2**62)
"""Idle since ever: a sensor may boot before the run starts."""


class Line(Protocol):
    """Frames at their due times in, the same chunks at their delivery times out."""

    def carry(self, batch: Batch) -> Batch:
        """Call with consecutive batches."""

    def clear(self) -> None:
        """The link went down: what was under way is gone and the line is idle again."""


class SerialLine:
    """A UART of ``baud`` (8N1: ten bits a byte), and optionally a USB bridge that delivers every
    ``usb_latency_ms`` only (an FTDI bridge's default is 16 ms)."""

    def __init__(self, baud: int, usb_latency_ms: float = 0.0, start_ns: int = 0) -> None:
        self._byte_ns = round(10e9 / baud)
        self._latency_ns = to_ns(usb_latency_ms / 1000)
        self._start_ns = start_ns
        self._busy_ns = _EVER

    def carry(self, batch: Batch) -> Batch:
        """Each chunk is delivered when its last bit is through."""
        if not len(batch):
            return batch
        sent = batch.ends * self._byte_ns
        before = sent - np.diff(batch.ends, prepend=0) * self._byte_ns
        ready = np.maximum(np.maximum.accumulate(batch.at_ns - before), self._busy_ns)
        done = ready + sent
        self._busy_ns = int(done[-1])
        return Batch(batch.data, batch.ends, _next_slot(done, self._start_ns, self._latency_ns), batch.channel)

    def clear(self) -> None:
        """Nothing is being sent any more."""
        self._busy_ns = _EVER


class ConnectionEvents:
    """BLE: a notification waits for the next connection event, and several leave together."""

    def __init__(self, interval_ms: float = 30.0, start_ns: int = 0) -> None:
        self._interval_ns = to_ns(interval_ms / 1000)
        self._start_ns = start_ns
        self._last_ns = _EVER

    def carry(self, batch: Batch) -> Batch:
        """Each chunk is delivered at the first event at or after its due time, never before an earlier one."""
        if not len(batch):
            return batch
        at_ns = np.maximum(_next_slot(batch.at_ns, self._start_ns, self._interval_ns), self._last_ns)
        self._last_ns = int(at_ns[-1])
        return Batch(batch.data, batch.ends, at_ns, batch.channel)

    def clear(self) -> None:
        """Nothing waits any more."""
        self._last_ns = _EVER


def _next_slot(at_ns: np.typing.NDArray[np.int64], start_ns: int, slot_ns: int) -> np.typing.NDArray[np.int64]:
    if slot_ns <= 0:
        return at_ns
    return start_ns - (-(at_ns - start_ns) // slot_ns) * slot_ns
