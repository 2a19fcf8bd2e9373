"""Breathing in two streams: belts, a chest that moves an accelerometer, the heart's rhythm or the ECG's height."""

from __future__ import annotations

import numpy as np

from drivers.types import FloatArray
from harness.content.alignment import Alignment, refuse
from harness.content.matched import Template, align_template
from harness.content.trace import Trace

BAND_HZ = (0.08, 0.7)
"""5 to 40 breaths a minute."""
_GRID_HZ = 20.0
_FEWEST_S = 15.0
_REACH_S = 4.5


def align_breaths(a: Trace, b: Trace, reach_s: float = _REACH_S) -> Alignment:
    """Lag of b's breathing against a's; upright alike, which ``upright`` sees to where it is not known.

    ``reach_s`` spans a breath, so that a lag that is wrong by a whole one shows as a side lobe. So much at either end
    of what both have is not compared, since it has no counterpart at every lag.
    """
    for name, trace in (("first", a), ("second", b)):
        if trace.seconds < _FEWEST_S:
            return refuse(f"the {name} stream has {trace.seconds:.0f} s of breathing; {_FEWEST_S:g} s are needed")
    template = breathing_template(a)
    part = b.usable & (b.times_s > a.times_s[0] + reach_s) & (b.times_s < a.times_s[-1] - reach_s)
    if part.sum() < _FEWEST_S * b.rate_hz:
        share_s = part.sum() / b.rate_hz
        return refuse(f"the two share {share_s:.0f} s of breathing at every lag tried; {_FEWEST_S:g} s are needed")
    return align_template(b.band(*BAND_HZ)[part, None], b.times_s[part], template, reach_s)


def breathing_template(trace: Trace) -> Template:
    """The breathing of a stream at every moment of it."""
    grid_s = np.arange(trace.times_s[0], trace.times_s[-1], 1 / _GRID_HZ)
    return Template(float(grid_s[0]), _GRID_HZ, np.interp(grid_s, trace.times_s, trace.band(*BAND_HZ))[:, None])


def chest_breathing(axes: FloatArray, times_s: FloatArray, rate_hz: float, like: Trace | None = None) -> Trace:
    """Breathing from an accelerometer (n, 3): the direction in which the breathing band moves most.

    Its sign is unknown by itself; ``like`` turns it the way that another breathing signal goes.
    """
    traces = [Trace.of(axis, times_s, rate_hz) for axis in axes.T]
    bands = np.stack([trace.band(*BAND_HZ) for trace in traces], axis=1)
    _, _, directions = np.linalg.svd(bands - bands.mean(axis=0), full_matrices=False)
    made = Trace(bands @ directions[0], traces[0].times_s, rate_hz, traces[0].usable)
    return made if like is None else upright(made, like)


def upright(trace: Trace, like: Trace) -> Trace:
    """The trace, turned over if its breathing goes against that of another at equal times."""
    other = np.interp(trace.times_s, like.times_s, like.band(*BAND_HZ))
    sign = -1.0 if float(other @ trace.band(*BAND_HZ)) < 0 else 1.0
    return Trace(sign * trace.values, trace.times_s, trace.rate_hz, trace.usable)


def heart_breathing(beats_s: FloatArray) -> Trace:
    """Breathing from the heart's rhythm (respiratory sinus arrhythmia): heart rate at beats (n,), on an even grid.

    The heart is fastest towards the end of an inspiration, but by how much earlier or later is physiology.
    """
    rr_s = np.diff(beats_s)
    grid_s = np.arange(beats_s[1], beats_s[-1], 1 / _GRID_HZ)
    return Trace(np.interp(grid_s, beats_s[1:], 60 / rr_s), grid_s, _GRID_HZ, np.ones(len(grid_s), dtype=bool))


def height_breathing(ecg: Trace, beats_s: FloatArray) -> Trace:
    """Breathing from the height of the R peaks at beats (n,): the heart's axis turns with the lungs."""
    height = np.interp(beats_s, ecg.times_s, ecg.band(1.0, 40.0))
    grid_s = np.arange(beats_s[0], beats_s[-1], 1 / _GRID_HZ)
    return Trace(np.interp(grid_s, beats_s, height), grid_s, _GRID_HZ, np.ones(len(grid_s), dtype=bool))
