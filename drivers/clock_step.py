"""A jump of a stream's time base, and which of several that were found lasted."""

from __future__ import annotations

from dataclasses import dataclass

_UNDONE_NS, _UNDONE_ROWS, _MOST_UNDONE = 1_000_000_000, 8, 6
"""Steps that add up to none within such a time, so many samples and so many steps were none."""


@dataclass(frozen=True, slots=True)
class Step:
    """The time base jumped: the device's clock or the link's delay changed and stayed changed (one way, these two
    look alike)."""

    index: int
    """Number of the first sample after it, in the arrays given."""
    at_ns: int
    """That sample's arrival."""
    size_ns: float
    """How far the device's clock jumped ahead; negative: back."""
    segmented: bool
    """The codec saw it and started a new segment."""
    found_at_ns: int = 0
    """Arrival of the chunk that made it certain. Its size is known, and it is told, a second after it at the latest."""
    error_ns: float = 0.0
    """The size is right to so much, with 95 % confidence."""


def lasting(steps: list[Step], smallest_ms: float = 50.0) -> list[Step]:
    """Those that are not undone within moments: rows that lost the same digits are damage, no clock that was set."""
    kept: list[Step] = []
    at = 0
    while at < len(steps):
        left, undone = 0.0, 0
        for count, step in enumerate(steps[at : at + _MOST_UNDONE], 1):
            left += step.size_ns
            if step.at_ns - steps[at].at_ns > _UNDONE_NS or step.index - steps[at].index > _UNDONE_ROWS:
                break
            undone = count if count > 1 and abs(left) < smallest_ms * 1e6 else undone
        kept += [] if undone else [steps[at]]
        at += max(undone, 1)
    return kept
