"""A simulated stream against what it was made to measure: an absolute lag, where its content moves enough to tell."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from drivers.types import FloatArray
from harness.content.alignment import Alignment
from harness.content.intervals import align_intervals
from harness.content.matched import Template, align_template
from harness.content.rendered import World, reachable_ms
from harness.content.shared import REPORT_SLACK_MS, Content, Looked, looked_at

REACH_S = 3.0
_PULL_MS = 10.0
"""So often a link takes what a library has collected."""
_NOISE_S, _FEWEST = 10.0, 20
_MEANS = ("heart_rate", "spo2")
"""Means over several beats or seconds, which change in steps that say little of when."""
_MOVING = ("ecg", "ppg")
"""Every beat tells, and where none does, that is worth a word."""
_RHYTHMIC = ("eeg", "exg", "raw")
"""They may repeat themselves, so that it is tried whether the signal as it left the simulator has one place only."""
_ENOUGH = 0.3
"""Of the limit: a lag that could not be known better than this, even undisturbed, is not judged."""


@dataclass(frozen=True, eq=False)
class Prospect:
    """What there is to compare with, and what the link may add to the lag."""

    world: World
    template: Template | None
    """Of the whole span, or of the first window where it is looked at in windows."""
    noise: FloatArray
    """(channels,) standard deviation of what the sensor adds; empty where the content moves all the time."""
    tells: bool
    """The content moves enough for a lag to be seen."""
    floor_ms: float
    batch_ms: float
    """Deliveries are so far apart: a stamp may be late by that."""
    limit_ms: float
    looked: Looked
    _templates: dict[tuple[float, float], Template] = field(default_factory=dict)

    def template_of(self, content: Content, start_s: float, stop_s: float) -> Template | None:
        """What the stream should have shown between two times of the run, and around."""
        if self.template is None or self.looked.whole:
            return self.template
        if (start_s, stop_s) not in self._templates:
            start_ns, stop_ns = (content.origin_ns + round(at_s * 1e9) for at_s in (start_s, stop_s))
            self._templates[start_s, stop_s] = self.world.template(content.stream, start_ns, stop_ns, REACH_S)
        return self._templates[start_s, stop_s]

    def tells_of(self, content: Content) -> bool:
        """What is usable of the stream moves enough, too."""
        if self.template is None or not self.tells or not len(self.noise) or not self.looked.whole:
            return self.tells
        since_s = float(self.world.seconds(np.array(content.origin_ns)))
        times_s = content.times_s[content.usable] + since_s
        return _known_ms(self.template, self.noise, times_s) <= _ENOUGH * self.limit_ms


def prospect_of(world: World, content: Content, limit_ms: float) -> Prospect:
    """Of one stream over the run."""
    stream = content.stream
    entry = world.rig.sensors[stream.role]
    batch_ms = max(float(entry.simulate.get("usb_latency_ms", 0.0)), _interval_ms(entry.sensor, entry.simulate))
    kind, rate_hz, looked = stream.spec.kind, stream.spec.rate_hz, looked_at(content)
    if rate_hz is None or kind in _MEANS:
        slack_ms = batch_ms + REPORT_SLACK_MS
        return Prospect(world, None, np.zeros(0), kind == "rr", entry.floor_ms, slack_ms, limit_ms, looked)
    seconds = content.stop_s if looked.whole else looked.window_s
    template = world.template(stream, content.origin_ns, content.origin_ns + round(seconds * 1e9), REACH_S)
    if kind in _MOVING:
        first = {(0.0, seconds): template}
        return Prospect(world, template, np.zeros(0), True, entry.floor_ms, batch_ms, limit_ms, looked, first)
    noise = world.noise(stream, template, min(seconds, _NOISE_S))
    times_s = template.start_s + REACH_S + np.arange(int(seconds * rate_hz)) / rate_hz
    tells = _known_ms(template, noise, times_s) <= _ENOUGH * limit_ms
    if tells and kind in _RHYTHMIC:
        undisturbed = world.signal(stream.role, stream.spec, clean=False).render(0, times_s)
        tells = align_template(undisturbed, times_s, template, REACH_S).refused is None
    return Prospect(world, template, noise, tells, entry.floor_ms, batch_ms, limit_ms, looked)


def _known_ms(template: Template, noise: FloatArray, times_s: FloatArray) -> float:
    return reachable_ms(template, noise, times_s) if len(times_s) > _FEWEST else float("inf")


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
    template = prospect.template_of(content, start_s, stop_s)
    if template is None:
        early_s, late_s = start_s + since_s - REACH_S, stop_s + since_s
        beats_s = prospect.world.subject.beats(early_s, late_s)
        return align_intervals(beats_s, content.values[part, 0], times_s)
    found = align_template(content.values[part], times_s, template, REACH_S)
    parts = tuple(replace(p, start_s=p.start_s - since_s, stop_s=p.stop_s - since_s) for p in found.parts)
    return replace(found, parts=parts) if parts else found
