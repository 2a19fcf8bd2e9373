"""The model answered every window with finite numbers of the right shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.recording import STAGES, Recording
from harness.verdict import Outcome, Verdict

NAME = "model"


@dataclass(frozen=True)
class LIMITS:
    """There is nothing to set: this check always runs."""


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """One verdict for the rig: the number of windows that came back without a usable output."""
    windows = recording.windows
    asked = windows.stamps_ns[:, STAGES.index("windowed")] >= 0  # the others never got to the model
    n = int(np.count_nonzero(asked))
    bad = int(np.count_nonzero(asked & ~np.isfinite(windows.outputs).all(axis=1)))
    if not n and not windows.errors:
        reason = f"none of {len(asked)} windows came to the model" if len(asked) else "no window was due"
        return [Verdict(NAME, "rig", Outcome.NOT_RUN, reason, "failed windows", None, "windows", 0.0)]
    if not bad and not windows.errors:
        reason = f"{n} windows, every output finite"
        return [Verdict(NAME, "rig", Outcome.PASS, reason, "failed windows", 0.0, "windows", 0.0, n)]
    detail = "; ".join(windows.errors) or "outputs hold NaN or Inf"
    reason = f"{bad} of {n} windows came back without a usable output; {detail}"
    return [Verdict(NAME, "rig", Outcome.FAIL, reason, "failed windows", float(bad), "windows", 0.0, n)]
