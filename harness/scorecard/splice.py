"""A damaged run at a third of its price: the damaged sensor is run alone, the others are those of the clean run.

Sensors do not know of each other, and every draw belongs to a seed and a role, so with one seed the undamaged sensors
of a damaged rig deliver what they deliver in the clean one. Only windows depend on all of them, and those are closed
anew from the arrivals. What the model answers is left as the clean run has it: a rig with checks from other packages,
which may look at that, is run whole.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from heapq import merge
from typing import Any

import numpy as np

from drivers.types import Samples
from harness.bench import Mode
from harness.checks.registry import load_check
from harness.judge import judge
from harness.recording import Recording, StreamData, Windows
from harness.recording_files import to_json
from harness.rig import Rig, rig_from_dict, rig_to_dict
from harness.run import Result, run_rig
from harness.stage import ModelStage
from harness.track import Track
from harness.windowing import Schedule, close_windows

_KEPT = 3
"""Clean runs in memory; trials come ordered by seed."""


@dataclass
class Splicer:
    """Runs one rig damaged in many ways, and keeps the clean runs that it needs for that."""

    rig: Rig
    stage: ModelStage
    _clean: OrderedDict[int, Recording] = field(default_factory=OrderedDict)

    @cached_property
    def fits(self) -> bool:
        """Every check of the rig is our own."""
        own = "harness.checks."
        return all(getattr(load_check(name), "__name__", "").startswith(own) for name in self.rig.limits)

    def whole(self, rig: Rig) -> Result:
        """The rig run as it is, with the model that is here already."""
        return run_rig(rig, Mode.VIRTUAL, prepared=self.stage)

    def run(self, damaged: Rig, role: str) -> Result:
        """What whole() would give for the rig with damage to this role, but for the model's outputs.

        And but for when a sensor is asked to start, if that is by the clock: the loop ticks less often for one sensor
        than for all.
        """
        if not self.fits:
            return self.whole(damaged)
        solo = self.whole(_alone(damaged, role))
        if solo.recording.interrupted or solo.recording.meta.get("connect_errors") or solo.exit_code == 130:
            return self.whole(damaged)  # then the others do not run either
        recording = splice(self._clean_of(damaged.seed), solo.recording, damaged, role)
        return replace(solo, recording=recording, verdicts=judge(recording))

    def _clean_of(self, seed: int) -> Recording:
        if seed not in self._clean:
            result = self.whole(replace(self.rig, seed=seed, limits={}))
            if result.exit_code == 130:
                raise KeyboardInterrupt
            self._clean[seed] = result.recording
            if len(self._clean) > _KEPT:
                self._clean.popitem(last=False)
        return self._clean[seed]


def _alone(rig: Rig, role: str) -> Rig:
    """Only this sensor, no window and no check."""
    window = replace(rig.window, fill_s=rig.duration_s)
    return replace(rig, sensors={role: rig.sensors[role]}, window=window, limits={})


def splice(clean: Recording, solo: Recording, rig: Rig, role: str) -> Recording:
    """The recording of ``rig`` from that of all its sensors undamaged and that of ``role`` alone and damaged."""
    streams = {key: solo.streams.get(key, data) for key, data in clean.streams.items()}
    others = [pair for pair in clean.events if pair[0] != role]
    events = merge(others, solo.events, key=lambda pair: pair[1].arrival_ns)  # each keeps its own order
    return replace(
        clean,
        rig=rig_from_dict(json.loads(to_json(rig_to_dict(rig)))),
        streams=streams,
        events=tuple(events),
        windows=_windows(clean, streams, rig),
        meta=_merged(clean.meta, solo.meta, role),
    )


def _merged(clean: Mapping[str, Any], solo: Mapping[str, Any], role: str) -> dict[str, Any]:
    """Facts by role are of the run that the role comes from."""
    mine = {
        name: {**fact, role: solo[name][role]}
        for name, fact in clean.items()
        if isinstance(fact, Mapping) and isinstance(solo.get(name), Mapping) and role in solo[name]
    }
    return {**clean, **mine}


def _windows(clean: Recording, streams: Mapping[str, StreamData], rig: Rig) -> Windows:
    """As in virtual time: each window closes by the arrivals, and the model takes the assumed time for it."""
    waited_for, outputs = clean.windows.waited_for, clean.windows.outputs
    schedule = Schedule.of(rig.window, clean.start_ns, clean.stop_ns)
    tracks = [_track(streams[key]) for key in waited_for]
    closing = close_windows(schedule, 0, tracks, clean.stop_ns, sure=True)
    n = len(closing.due_ns)
    stamps = np.full((schedule.count, 6), -1, dtype=np.int64)
    stamps[:, 0] = schedule.due_ns(0, schedule.count)
    stamps[:n, 1:4] = closing.closed_ns[:, None]
    took_ns = round(rig.model.virtual_ms * 1e6) * np.arange(1, n + 1)
    step_ns = round(rig.model.virtual_ms * 1e6)
    queued = np.maximum.accumulate(closing.closed_ns - took_ns + step_ns) if n else closing.closed_ns
    stamps[:n, 4:] = (queued + took_ns)[:, None]
    late = np.zeros((schedule.count, len(waited_for)), dtype=np.int64)
    late[:n] = closing.late
    return Windows(stamps, waited_for, late, outputs[: schedule.count], clean.windows.errors)


def _track(data: StreamData) -> Track:
    track = Track(data.spec)  # it grows to what is added at once
    samples = Samples(data.spec.name, data.values, data.index, data.arrival_ns, data.device_ns)
    track.add(samples, data.time_ns)
    return track
