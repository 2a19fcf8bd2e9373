"""A simulated stream against what it was made to measure: an absolute lag, where its content moves enough to tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.content.alignment import Alignment
from harness.content.matched import Template, align_template
from harness.content.pulse import align_intervals
from harness.content.rendered import World, reachable_ms
from harness.content.shared import Content

REACH_S = 3.0
_PULL_MS = 10.0
"""So often a link takes what a library has collected."""
_REPORT_MS = 150.0
_MEANS = ("heart_rate", "spo2")
"""Means over several beats or seconds, which change in steps that say little of when."""
_ENOUGH = 0.3
"""Of the limit: a lag that could not be known better than this, even undisturbed, is not judged."""


@dataclass(frozen=True, eq=False)
class Prospect:
    """What there is to compare with, and what the link may add to the lag."""

    world: World
    template: Template | None
    tells: bool
    """The content moves enough for a lag to be seen."""
    floor_ms: float
    batch_ms: float
    """Deliveries are so far apart: a stamp may be late by that."""


def prospect_of(world: World, content: Content, span_ns: tuple[int, int], limit_ms: float) -> Prospect:
    """Of one stream over the run."""
    stream = content.stream
    entry = world.rig.sensors[stream.role]
    gaps_ms = [0.0, float(entry.simulate.get("usb_latency_ms", 0.0)), _interval_ms(entry.sensor, entry.simulate)]
    if stream.spec.rate_hz is None:
        tells = stream.spec.kind == "rr"
        return Prospect(world, None, tells, entry.floor_ms, max(gaps_ms) + _REPORT_MS)
    if stream.spec.kind in _MEANS:
        return Prospect(world, None, False, entry.floor_ms, max(gaps_ms))
    template = world.template(stream, *span_ns, REACH_S)
    seconds = (span_ns[1] - span_ns[0]) / 1e9
    times_s = template.start_s + REACH_S + np.arange(int(seconds * stream.spec.rate_hz)) / stream.spec.rate_hz
    least_ms = reachable_ms(template, world.noise(stream, template, seconds), times_s) if len(times_s) > 20 else np.inf
    return Prospect(world, template, least_ms <= _ENOUGH * limit_ms, entry.floor_ms, max(gaps_ms))


def _interval_ms(sensor: str, simulate: object) -> float:
    from drivers.registry import load_sensor

    link = load_sensor(sensor).LINK
    if link == "ble" and isinstance(simulate, dict):
        return float(simulate.get("connection_interval_ms", 30.0))
    return _PULL_MS if link in ("brainflow", "lsl") else 0.0


def align_truth(content: Content, prospect: Prospect, start_s: float, stop_s: float) -> Alignment:
    """Lag of the stream's stamps against the truth between two times of the run."""
    since_s = float(prospect.world.seconds(np.array(content.origin_ns)))
    part = content.usable & (content.times_s >= start_s) & (content.times_s < stop_s)
    times_s = content.times_s[part] + since_s
    if prospect.template is None:
        early_s, late_s = start_s + since_s - REACH_S, stop_s + since_s
        beats_s = prospect.world.subject.beats(early_s, late_s)
        return align_intervals(beats_s, content.values[part, 0], times_s)
    return align_template(content.values[part], times_s, prospect.template, REACH_S)
