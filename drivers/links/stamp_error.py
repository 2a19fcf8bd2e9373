"""How late a reader stamps: a kernel alarm rings at a known instant in the very wait in which the bytes arrive.

Between the moment at which bytes are readable and the stamp lie the scheduler's wake-up and, in a
process that computes, the wait for the interpreter lock. A timerfd in the reader's own poll set goes
through both, a few times a second, at phases that keep no step with any stream. What comes before
(USB polling, an adapter's latency timer, the kernel's tty buffer) is not seen; SensorEntry.floor_ms declares it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from typing import Any

PERIOD_NS = 193_000_000
"""Alarms are this far apart: about five a second, out of step with 50 Hz, 250 Hz and the usual hops."""
_KEPT = 2048
_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_SECOND_NS = 1_000_000_000


class StampError:
    """The latest 2048 measured delays (about 6 minutes) between readable and stamped, ns; any thread may add."""

    def __init__(self) -> None:
        self._late_ns: deque[int] = deque(maxlen=_KEPT)

    def add(self, late_ns: int) -> None:
        """One measured delay."""
        self._late_ns.append(max(late_ns, 0))

    def summary(self) -> dict[str, int]:
        """``n`` measurements and, where there is one, ``p50``, ``p99`` (nearest rank) and ``max`` in ns."""
        ranked = sorted(self._late_ns.copy())
        n = len(ranked)
        if not n:
            return {"n": 0}
        return {"n": n, "p50": ranked[(n - 1) // 2], "p99": ranked[-(-99 * n // 100) - 1], "max": ranked[-1]}


class Alarm:
    """A file descriptor that becomes readable at a given time of CLOCK_MONOTONIC. Linux only: ``offered()``."""

    def __init__(self) -> None:
        self._libc: Any = ctypes.CDLL(None, use_errno=True)
        self.fd: int = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"timerfd_create: {os.strerror(code)}")
        self.at_ns = 0

    @staticmethod
    def offered() -> bool:
        """This system has timerfd."""
        return sys.platform == "linux"

    def set(self, at_ns: int) -> None:
        """Ring once at at_ns; a ring that is still unread is forgotten."""
        self.at_ns = at_ns
        times = (ctypes.c_long * 4)(0, 0, *divmod(at_ns, _SECOND_NS))  # struct itimerspec: interval, value
        self._libc.timerfd_settime(self.fd, _TFD_TIMER_ABSTIME, times, None)

    def rang(self, now_ns: int) -> int:
        """It was seen to ring at now_ns: sets the next one and returns how late that was, ns."""
        late_ns = now_ns - self.at_ns
        self.set(now_ns + PERIOD_NS)
        return late_ns

    def close(self) -> None:
        """Release the descriptor; safe to call twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
