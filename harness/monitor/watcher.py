"""Looks at the consumer while a window is overdue, and only then.

look() is called by a thread that sleeps for as long as look() says: until the next window would be overdue, so once a
hop while all is well. A thread needs the interpreter to look. When it was free to wake long ago and could not, no
Python ran at all: that is told as well, since no stack can show it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import FrameType

from drivers.clock import Clock
from harness.monitor.happenings import HELD, STACK, Happening
from harness.monitor.heartbeat import NEVER, Heartbeat
from harness.monitor.process import ThreadWaits
from harness.monitor.stacks import as_text, frames_of, place

HELD_NS = 30_000_000
"""So much later than asked for, a thread was kept from the interpreter or from a core."""
_IDLE_NS = 1_000_000_000
_LONGEST_NS = 1_000_000_000
"""What blocks for longer is told every so often: a run that hangs may be killed."""
Frames = Callable[[], Mapping[int, FrameType]]


class Watcher:
    """Tells ``happened`` where the consumer was while it was ``late_ns`` past a due time, every ``every_ns``."""

    def __init__(
        self, clock: Clock, beat: Heartbeat, late_ns: int, every_ns: int, happened: Callable[[Happening], None],
        frames: Frames = sys._current_frames, waits: ThreadWaits | None = None,
    ) -> None:  # fmt: skip
        self._clock, self._beat, self._late_ns, self._every_ns = clock, beat, late_ns, every_ns
        self._happened, self._frames, self._waits = happened, frames, waits or ThreadWaits()
        self._open: Happening | None = None
        self._asked_ns = self._asked_due_ns = NEVER
        self.overdue_ns = 0
        """How long the window is overdue that the consumer is kept from; 0: it is not, or waits for its sensors."""

    def look(self, now_ns: int) -> int:
        """One look; how many ns until the next one is wanted."""
        due_ns, busy = self._beat.due_ns, self._beat.busy
        self._held(now_ns, due_ns)
        overdue = due_ns + self._late_ns
        if now_ns >= overdue and busy:
            self.overdue_ns = now_ns - due_ns
            self._sample(now_ns)
        else:
            self.overdue_ns = 0
            self.flush()
        wait_ns = self._every_ns if now_ns >= overdue else min(overdue - now_ns, _IDLE_NS)
        self._asked_ns, self._asked_due_ns = self._clock.now_ns() + wait_ns, due_ns
        self._waits.mark()
        return wait_ns

    def flush(self) -> None:
        """Tell what is being put together."""
        if self._open is not None:
            self._happened(self._open)
        self._open = None

    def _sample(self, now_ns: int) -> None:
        frame = self._frames().get(self._beat.thread)
        if frame is None:
            return
        frames = frames_of(frame)
        where = place(frames)
        if self._open is not None and self._open.what == where and now_ns - self._open.at_ns < _LONGEST_NS:
            self._open = replace(self._open, n=self._open.n + 1, for_ns=now_ns - self._open.at_ns + self._every_ns)
            return
        self.flush()
        self._open = Happening(STACK, now_ns, self._every_ns, where, 1, as_text(frames))

    def _held(self, now_ns: int, due_ns: int) -> None:
        """This look comes late, and so did the consumer: it is overdue still, or its window was over as late.

        Where it has come round first, nothing but this tells that it was kept.
        """
        late_ns = now_ns - self._asked_ns
        still = due_ns == self._asked_due_ns and now_ns >= due_ns + self._late_ns
        came_round = due_ns != self._asked_due_ns and self._beat.judged_ns - self._asked_ns >= HELD_NS
        if late_ns >= HELD_NS and (still or came_round):
            self._happened(Happening(HELD, self._asked_ns, late_ns, self._waits.why(late_ns)))
