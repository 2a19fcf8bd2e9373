"""What the consumer's loop says of itself, so that another thread can tell whether it is overdue: plain attributes.

The loop only assigns, without a lock and without asking the clock, so it costs the loop nothing that can be measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

NEVER = 2**62
"""No window is expected."""


@dataclass(slots=True)
class Heartbeat:
    """Written by the consumer, read by the watcher."""

    due_ns: int = NEVER
    """The window that the loop has to come to next, as of its last round."""
    busy: bool = False
    """Not waiting for what arrives."""
    thread: int = 0
    """Identity of the consumer's thread; 0: it does not run."""
    judged_ns: int = 0
    """When the last window was over."""
    waiting: Callable[[], int] = lambda: 0
    """Items in the inbox, for any thread to ask."""
    depth: int = 0
    """Most items that waited since the watcher last set it to 0."""


SPARE_NS = 15_000_000
"""So long before a window is due, and until it is judged, whoever works beside the loop keeps still."""


def quiet(beat: Heartbeat, now_ns: int) -> bool:
    """Nothing is due, and nothing will be for a while."""
    return beat.due_ns - now_ns > SPARE_NS
