"""Synchronisation from what signals contain, not from clocks: pure functions over arrays, one method a file.

    pulse      R peaks of an ECG and the pulses that they send out
    intervals  RR intervals that a strap reports and the beats that end them
    breath     two signals that breathe
    taps       a tap, or an electrical pulse, that both streams show
    matched    a simulated stream and what its simulator was asked to render
    drift      lags of many windows, and the line through them

Every method gives an ``Alignment``: the lag of b against a with a 95 % interval, or the reason why none is stated.
Rhythms repeat, so a lag may be wrong by whole beats or breaths: an alignment whose next best is nearly as good is
refused, not guessed. Arrays come as ``Trace``: one channel on an even grid with the time of each sample.
"""

from __future__ import annotations

from harness.content.alignment import Alignment
from harness.content.breath import align_breaths
from harness.content.drift import over_windows
from harness.content.intervals import align_intervals
from harness.content.matched import Template, align_template
from harness.content.pulse import align_beats, align_pulses, pulse_rises, r_peaks
from harness.content.taps import align_taps, taps
from harness.content.trace import Trace

__all__ = [
    "Alignment", "Template", "Trace", "align_beats", "align_breaths", "align_intervals", "align_pulses", "align_taps",
    "align_template", "over_windows", "pulse_rises", "r_peaks", "taps",
]  # fmt: skip
