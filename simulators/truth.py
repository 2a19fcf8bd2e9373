"""What was really done to a simulated sensor, so that detectors are scored against it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Truth:
    """One thing that a fault did, in world time (host clock, ns); ``end_ns`` equals ``start_ns`` for a moment."""

    sensor: str
    fault: str
    layer: str
    stream: str
    start_ns: int
    end_ns: int
    detail: dict[str, Any] = field(default_factory=dict)
