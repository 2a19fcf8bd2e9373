"""What a simulated rig's sensors were made to measure, rendered again without their noise: the truth of a content.

The rig and its seed say everything (simulators.build): the same person lives the same life, and every stream's signal
can be asked for at any moment. Only what a sensor adds by itself is left out: noise, and an EEG's random background.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from drivers.types import FloatArray, StreamSpec
from harness.bench import LEAD_S
from harness.content.matched import Template
from harness.recording import Recording, StreamData
from harness.rig import Rig
from harness.rig_file import simulated_spec
from simulators.draws import Draws
from simulators.signals import Signal
from simulators.signals.registry import load_signal, make_signal
from simulators.subject import Subject, make_profile

_NOISE = ("noise", "background")
"""How options begin that give the size of what a sensor adds by itself."""
_RATES_HZ = {"ecg": 500.0, "eeg": 500.0, "exg": 500.0, "ppg": 125.0, "acceleration": 100.0}
_RATE_HZ = 50.0
"""So finely that straight lines between points differ from the signal by less than its noise."""


@dataclass(frozen=True)
class World:
    """One simulated rig, to ask for signals of its sensors by host time."""

    rig: Rig
    boot_ns: int
    """Host time of the simulated person's second 0."""
    _signals: dict[tuple[str, str, bool], Signal] = field(default_factory=dict)
    kept: dict[str, object] = field(default_factory=dict)
    """What has been rendered of whole streams, by their keys."""

    @classmethod
    def of(cls, recording: Recording) -> World | None:
        """None for a run on a bench, and for a simulated one of which it is not known when its sensors booted."""
        if recording.meta.get("mode") not in ("virtual", "simulated"):
            return None
        if recording not in _WORLDS:
            start_ns = int(recording.host.get("world_start_ns", recording.start_ns))
            _WORLDS[recording] = cls(recording.rig, start_ns - round(LEAD_S * 1e9))
        return _WORLDS[recording]

    @cached_property
    def subject(self) -> Subject:
        """The simulated person."""
        return Subject(self.rig.seed, make_profile(self.rig.subject))

    def signal(self, role: str, spec: StreamSpec, clean: bool = True) -> Signal:
        """The signal of one stream, as its sensor was given it, or without noise."""
        key = role, spec.name, clean
        if key not in self._signals:
            entry = self.rig.sensors[role]
            given = simulated_spec(entry, self.rig.seed).signals.get(spec.name, {"signal": spec.kind})
            draws = Draws(self.rig.seed, role).child("signal", spec.name)
            wanted = without_noise(given, spec.kind) if clean else given
            self._signals[key] = make_signal(wanted, self.subject, spec, draws)
        return self._signals[key]

    def seconds(self, time_ns: np.typing.NDArray[Any]) -> FloatArray:
        """The person's time at host times."""
        return np.asarray((np.asarray(time_ns) - self.boot_ns) / 1e9)

    def template(self, stream: StreamData, start_ns: int, stop_ns: int, reach_s: float) -> Template:
        """What the stream should have shown between two host times and ``reach_s`` around, in the person's time."""
        rate_hz = _RATES_HZ.get(stream.spec.kind, _RATE_HZ)
        begin_s, end_s = self.seconds(np.array([start_ns, stop_ns])).tolist()
        times_s = begin_s - reach_s + np.arange(int((end_s - begin_s + 2 * reach_s) * rate_hz) + 2) / rate_hz
        return Template(float(times_s[0]), rate_hz, self.signal(stream.role, stream.spec).render(0, times_s))

    def noise(self, stream: StreamData, template: Template, seconds: float) -> FloatArray:
        """Standard deviation of what the sensor adds to each channel, (channels,), its rounding included."""
        spec = stream.spec
        rate_hz = float(spec.rate_hz or 1.0)
        times_s = template.start_s + np.arange(max(round(seconds * rate_hz), 32)) / rate_hz
        dirty, clean = (self.signal(stream.role, spec, wish).render(0, times_s) for wish in (False, True))
        rounding = (spec.lsb or 0.0) / np.sqrt(12)
        return np.asarray(np.hypot((dirty - clean).std(axis=0), rounding))

    def beats(self, start_ns: int, stop_ns: int) -> FloatArray:
        """R peaks between two host times, in the person's seconds."""
        begin_s, end_s = self.seconds(np.array([start_ns, stop_ns])).tolist()
        return self.subject.beats(begin_s, end_s)


_WORLDS: WeakKeyDictionary[Recording, World] = WeakKeyDictionary()
"""Each check of a recording asks for the same life, which is lived once. Gone with the recording."""


def without_noise(given: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A signal's options with everything switched off that a sensor adds by itself."""
    name = str(given.get("signal", kind))
    options = fields(load_signal(name).OPTIONS)
    return {**given, "signal": name, **{o.name: 0.0 for o in options if o.name.startswith(_NOISE)}}


def reachable_ms(template: Template, noise: FloatArray, times_s: FloatArray) -> float:
    """Half of the 95 % interval that the best method could give a lag, were the samples at times_s (n,) undisturbed.

    The Cramer-Rao bound for white noise of these standard deviations (channels,), level and gain free: what does not
    move, or moves along a straight line only, tells no time.
    """
    model, slope = template.at(times_s), template.slope().at(times_s)
    model, slope = model - model.mean(axis=0), slope - slope.mean(axis=0)
    shared, own = (model * slope).sum(axis=0), np.maximum((model * model).sum(axis=0), 1e-300)
    rest = np.maximum((slope * slope).sum(axis=0) - shared**2 / own, 0.0)
    power = float((rest / np.maximum(noise**2, 1e-30)).sum())
    return 1e3 * 1.96 / float(np.sqrt(power)) if power > 0 else float("inf")
