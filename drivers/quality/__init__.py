"""Signal quality: a score in 0..1 (< 0.5 is low) with named parts and flags, per modality.

It lives with the drivers because ``read_data()`` returns it.
"""

from __future__ import annotations

from drivers.quality.stream import StreamScorer

__all__ = ["StreamScorer"]
