"""ECG: would somebody who reads ECGs use this lead, and if not, what spoils it?

The part ``usable`` is the chance that they would: a logistic of how alike the beats look (template correlation after
Orphanidou 2015, IEEE JBHI 19:832), whether two detectors agree on them (Li, Mark and Clifford 2008, Physiol Meas
29:15), how even their intervals are, and how strong the baseline (Clifford 2012, Physiol Meas 33:1419) and the noise
between beats are against the beats. The other parts are causes, each with its flag; where ``usable`` alone is low, the
flag names the measure that costs most. docs/quality.md says on what leads the numbers were set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from drivers.quality.ecg_lead import Lead
from drivers.quality.ecg_raw import RawLead
from drivers.quality.ecg_spikes import reach_of, spikes, unlocked, without
from drivers.quality.rows import Mask
from drivers.quality.windows import Table, Windows, at_rail, millivolt, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 10.0, 4.0
_SMALL_MV = (0.001, 0.004)
"""Peak-to-peak below which a lead is no ECG but an amplifier's own noise, and from which on it may be one."""
_TYPICAL = {"shape": 0.98, "agreement": 1.0, "unevenness": 0.08, "wander": -1.4, "noise": -1.65}
_WEIGHTS = {"shape": 11.0, "agreement": 1.5, "unevenness": -0.8, "wander": -1.4, "noise": -1.4}
_TYPICAL_LOGIT = 4.2
_WANDER = (0.03, 3.0)
"""The logit of a lead with typical measures, and what a unit more of each adds to it."""


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst lead counts."""
    return Table.worst(_judge(_measure(windows, lead), windows) for lead in windows.channels())


@dataclass(frozen=True)
class _Measures:
    """Of one lead, (w,) each; what has no unit is relative to the usual peak-to-peak of a second."""

    swing: FloatArray
    """In the stream's unit."""
    flat: FloatArray
    held: FloatArray
    railed: FloatArray
    cut: FloatArray
    """Shares of the window."""
    coarse: FloatArray
    jump: FloatArray
    """Over the usual steepest step."""
    spike: FloatArray
    line: FloatArray
    noise: FloatArray
    wander: FloatArray
    shape: FloatArray
    agreement: FloatArray
    unevenness: FloatArray


def _measure(windows: Windows, raw: FloatArray) -> _Measures:
    rate, spec = windows.rate_hz, windows.spec
    centred = raw - raw[:, :1]
    steps = RawLead.of(centred, rate, spec)
    tips = spikes(steps)
    lead = Lead.of(without(centred, tips, reach_of(rate)), rate)
    swing = lead.swing
    against = np.where(swing > 0, swing, np.inf)
    line, rest = lead.line(spec.mains_hz)
    spike = unlocked(centred, tips, lead.beats, lead.thinned, rate)
    return _Measures(
        swing, steps.flat(), steps.held(), windows.mean(at_rail(raw, spec)), steps.plateaus(), steps.coarseness(),
        steps.jump(), spike / against, line / against, lead.noise(rest) / against, lead.wander() / against,
        lead.likeness(), lead.agreement(), lead.unevenness(),
    )  # fmt: skip


_LIMITS: Mapping[str, tuple[float, float]] = {
    "flat": (0.45, 0.1), "held": (0.5, 0.2), "railed": (0.05, 0.005), "cut": (0.03, 0.005), "wander": (2.6, 0.5),
    "line": (0.16, 0.05), "noise": (0.17, 0.055), "coarse": (0.3, 0.1), "jump": (9.0, 3.0), "spike": (3.0, 1.2),
}  # fmt: skip
"""Measure -> where it leaves nothing of its part, and up to where it costs nothing."""
_BAD, _GOOD = (np.array([pair[side] for pair in _LIMITS.values()])[:, None] for side in (0, 1))


def _judge(m: _Measures, windows: Windows) -> Table:
    usable, costs = _usable(m)
    scale = millivolt(windows.spec)
    large = ramp(m.swing * scale, *_SMALL_MV) if scale is not None else np.where(m.swing > 0, 1.0, 0.0)
    found = np.stack([getattr(m, name) for name in _LIMITS])
    left = dict(zip(_LIMITS, ramp(found, _BAD, _GOOD), strict=True))
    parts = {
        "usable": usable,
        "flat": np.minimum(np.minimum(left["flat"], left["held"]), large),
        "saturated": np.minimum(left["railed"], left["cut"]),
        "baseline": left["wander"],
        "line": left["line"],
        "noise": left["noise"],
        "coarse": left["coarse"],
        "jump": np.minimum(left["jump"], left["spike"]),
    }
    return Table(parts, _flags(parts, costs, large < 0.5))


def _usable(m: _Measures) -> tuple[FloatArray, FloatArray]:
    """Chance that the lead is usable, (w,), and what beats, baseline and noise cost of its logit, (3, w)."""
    found = {
        "shape": m.shape,
        "agreement": m.agreement,
        "unevenness": np.log(m.unevenness),
        "wander": np.log10(np.minimum(np.maximum(m.wander, _WANDER[0]), _WANDER[1])),
        "noise": np.log10(np.minimum(m.noise, 1.0) + 0.01),
    }
    cost = {name: _WEIGHTS[name] * (_TYPICAL[name] - value) for name, value in found.items()}
    beats = cost["shape"] + cost["agreement"] + cost["unevenness"]
    logit = _TYPICAL_LOGIT - beats - cost["wander"] - cost["noise"]
    return 1 / (1 + np.exp(-logit)), np.stack([beats, cost["wander"], cost["noise"]])


def _flags(parts: dict[str, FloatArray], costs: FloatArray, small: Mask) -> dict[str, Mask]:
    """One cause, one flag where it can be told: coarse steps rest on plateaus, a held value jumps and rests on tops."""
    low = {name: part < 0.5 for name, part in parts.items()}
    coarse = low["coarse"]
    flat, saturated = (low["flat"] & ~coarse) | small, low["saturated"] & ~coarse
    there = ~flat & ~saturated  # a lead that comes off jumps, and drags the baseline along
    named = np.any([low[name] for name in parts if name != "usable"], axis=0)
    cause = np.where(low["usable"] & ~named, np.argmax(costs, axis=0), -1)
    return {
        "flat": flat,
        "saturated": saturated,
        "baseline": (low["baseline"] & there) | (cause == 1),
        "hum": low["line"] & there,
        "noise": low["noise"] | (cause == 2),
        "coarse": coarse,
        "pop": low["jump"] & there & ~low["noise"],
        "motion": cause == 0,
    }
