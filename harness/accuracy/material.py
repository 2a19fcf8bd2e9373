"""What the accuracy checks ask of a recording's streams, each worked out once: contents, beats, breaths, good time."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from weakref import WeakKeyDictionary, ref

import numpy as np

from drivers.errors import SettingError
from drivers.quality import window_s
from drivers.quality.breaths import LONGEST_S, find_breaths
from drivers.quality.oximetry import Calibration, oximetry_at, wavelengths
from drivers.types import FloatArray, IntArray
from harness.accuracy.agreement import Figure, share
from harness.accuracy.beats import beats_in
from harness.accuracy.intervals import Intervals, between_beats
from harness.accuracy.rates import Course, Doubt, Mask
from harness.content.rendered import World
from harness.content.shared import Content
from harness.content.trace import Trace
from harness.quality import LOW, scores_of
from harness.recording import Recording, StreamData
from harness.rig_file import simulated_spec
from simulators.subject import Subject

BEFORE_S = 40.0
"""The truth of so much before the run belongs to it: what a sensor says is of the past."""
LONGEST_BEAT_S = 2.4
OXIMETRY_S = 10.0
"""Light of so many seconds gives an oxygen saturation."""
_HOLE_S, _NEAR_S = 0.05, 0.06
"""A hole in a waveform that may hide a beat; and how near to any hole a beat's time is not to be trusted."""
_PERIODS = 1.6
_STALE_PERIODS, _STALE_S = 1.5, 1.5
_MS = {"ms": 1e-3, "s": 1.0}
_HELD_S, _COARSE, _CHANCE = 0.07, 0.5, 1e-4
"""A value that stands for so long was held, unless rounding makes half of the samples equal; and as often by chance."""
_MOVED = 1.5
"""Behind a held value the signal is elsewhere, by more than this many of its smallest steps; behind a calm one not."""
_TENTH = 10
_ASTRAY_S = 0.010
"""By so much stamps and samples may differ about an interval that lacks samples."""
_EDGE_S = 0.3
"""A beat whose wave is cut off by the end of the record is not placed well."""
_FEW, _CLEAR = 0.05, 0.9
"""All but so few of a stream's good windows must score so much for it to be clear."""


class Material:
    """One recording, to ask for what its streams show, in seconds since its start."""

    def __init__(self, recording: Recording) -> None:
        self._recording = ref(recording)
        self.seconds = (recording.stop_ns - recording.start_ns) / 1e9
        self._of: dict[str, Shown] = {}

    @property
    def recording(self) -> Recording:
        """Whoever asks has it: this is kept as long as the recording is, and no longer."""
        recording = self._recording()
        if recording is None:
            raise ReferenceError("the recording is gone")
        return recording

    @cached_property
    def world(self) -> World | None:
        """The truth of a simulated run."""
        return World.of(self.recording)

    @property
    def subject(self) -> Subject:
        """The simulated person; ValueError where nobody was simulated."""
        if self.world is None:
            raise ValueError("nobody was simulated in this run: it has no truth to ask for")
        return self.world.subject

    @cached_property
    def since_s(self) -> float:
        """The simulated person's time at the run's start."""
        world = self.world
        return 0.0 if world is None else float(world.seconds(np.array(self.recording.start_ns)))

    def shown(self, stream: StreamData) -> Shown:
        """What one stream shows."""
        if stream.key not in self._of:
            self._of[stream.key] = Shown(self.recording, stream)
        return self._of[stream.key]

    def streams(self, *kinds: str) -> list[StreamData]:
        """Those of these kinds."""
        return [stream for stream in self.recording.streams.values() if stream.spec.kind in kinds]

    def is_physiology(self, stream: StreamData) -> bool:
        """It is simulated, and shows the simulated person: not a file that is played, or some other wave."""
        if self.world is None or stream.role not in self.recording.rig.sensors:
            return False
        spec = simulated_spec(self.recording.rig.sensors[stream.role], self.recording.rig.seed)
        return bool(spec.signals.get(stream.spec.name, {}).get("signal", stream.spec.kind) == stream.spec.kind)


_MATERIAL: WeakKeyDictionary[Recording, Material] = WeakKeyDictionary()


def material_of(recording: Recording) -> Material:
    """The same for every check of one recording."""
    if recording not in _MATERIAL:
        _MATERIAL[recording] = Material(recording)
    return _MATERIAL[recording]


class Shown:
    """What one stream shows within the run."""

    def __init__(self, recording: Recording, stream: StreamData) -> None:
        self.stream, self.spec = stream, stream.spec
        score = scores_of(recording, stream)[1].score
        self._low = _low_seconds(score, max(1, round(window_s(stream.spec.kind))))
        good = score[score >= LOW]
        self._clear = bool(len(good)) and float(np.quantile(good, _FEW)) >= _CLEAR
        self.content = Content.of(recording, stream)
        inside = np.flatnonzero((stream.time_ns >= recording.start_ns) & (stream.time_ns < recording.stop_ns))
        self._order = inside[np.argsort(stream.time_ns[inside], kind="stable")]

    @property
    def seconds(self) -> float:
        """Of the run."""
        return self.content.stop_s

    @property
    def times_s(self) -> FloatArray:
        """(n,) stamps since the run's start."""
        return self.content.times_s

    @property
    def two_lights(self) -> bool:
        """Its channels are red and infrared light, by their names."""
        try:
            return self.spec.kind == "ppg" and wavelengths(self.spec.channels) is not None
        except SettingError:
            return False

    @property
    def low_percent(self) -> float:
        """Share of the run that is of low quality."""
        return 100.0 * float(self._low.mean()) if len(self._low) else 100.0

    @property
    def poor_s(self) -> float:
        """Seconds of low or unknown quality."""
        return float(self._low.sum())

    @property
    def stale_s(self) -> float:
        """A value that is older is not there any more."""
        return max(_STALE_S, _STALE_PERIODS / (self.spec.rate_hz or 1.0))

    @cached_property
    def poor(self) -> Doubt:
        """Seconds whose quality is low or unknown, and everything outside of the run."""
        at = np.flatnonzero(self._low).astype(np.float64)
        outside = np.array([-1e6, float(len(self._low))]), np.array([0.0, 1e6])
        return Doubt.of((at, at + 1.0), outside)

    @cached_property
    def doubt(self) -> Doubt:
        """That, and holes in a waveform in which a beat may lie."""
        return Doubt.of((self.poor.starts_s, self.poor.stops_s), self._holes(_HOLE_S))

    def near_hole(self, at_s: FloatArray) -> Mask:
        """(k,) moments that any missing sample is near to."""
        starts, stops = self._holes(0.0)
        return ~Doubt.of((starts - _NEAR_S, stops + _NEAR_S)).free(at_s, at_s + 1e-6)

    def _holes(self, longest_s: float) -> tuple[FloatArray, FloatArray]:
        """(starts, stops) of spans without samples, and of those in which a value was held."""
        rate_hz = self.spec.rate_hz
        if not rate_hz or len(self.times_s) < 2:
            return np.empty(0), np.empty(0)
        wide = np.diff(self.times_s) > max(_PERIODS / rate_hz, longest_s + 1 / rate_hz)
        wide |= self._unseen
        begin, end = self._held
        long = self.times_s[end] - self.times_s[begin] > longest_s
        starts = np.concatenate([self.times_s[:-1][wide], self.times_s[begin][long]])
        return starts, np.concatenate([self.times_s[1:][wide], self.times_s[end][long]])

    @cached_property
    def _unseen(self) -> Mask:
        """(n - 1,) steps in which samples were lost that nothing counts: only a late arrival tells."""
        arrival_s = self.stream.arrival_ns[self._order] / 1e9
        gap_s = np.diff(arrival_s)
        if self.spec.counted or self.stream.device_ns is not None or not (gap_s > 0).any():
            return np.zeros(len(gap_s), dtype=bool)
        usual_s = max(float(np.quantile(gap_s[gap_s > 0], 0.9)), 1 / float(self.spec.rate_hz or 1.0))
        return np.asarray(gap_s > _PERIODS * usual_s)

    @cached_property
    def _held(self) -> tuple[IntArray, IntArray]:
        """(first, last) sample of runs in which a waveform repeats a value for longer than its rounding makes it.

        Between two beats a coarse wave rests longer than chance alone would have it; it then goes on by its smallest
        step, where a signal that was held goes on from wherever it is meanwhile.
        """
        steps = np.abs(np.diff(self.content.values, axis=0))
        same = (steps == 0).all(axis=1)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
        begin, end = edges[::2], edges[1::2]
        usual = float(same.mean()) if len(same) else 0.0
        at_all = _HELD_S * float(self.spec.rate_hz or 1.0)
        enough = max(at_all, np.log(_CHANCE) / np.log(usual)) if 0 < usual < _COARSE else at_all
        smallest = np.where(steps > 0, steps, np.inf).min(axis=0, initial=np.inf)
        moved = np.append(steps > _MOVED * smallest, np.ones((1, steps.shape[1]), dtype=bool), axis=0).any(axis=1)
        long = (end - begin >= max(enough, 3)) & (usual < _COARSE) & moved[end]
        return begin[long], end[long]

    @property
    def clear(self) -> bool:
        """The signal is good beyond doubt, so that what is found in it is the sensor's and not the finder's."""
        return self.spec.kind not in ("ecg", "ppg", "respiration") or (self._clear and not self._unseen.any())

    def values(self, channel: int) -> tuple[FloatArray, FloatArray]:
        """(times, values) of a channel where there is a value and its second is good, (n,) each."""
        value = self.content.values[:, channel]
        good = np.isfinite(value) & (value > 0) & self.poor.free(self.times_s, self.times_s + 1e-6)
        return self.times_s[good], value[good]

    def good_percent(self, doubt: Doubt) -> Figure:
        """Percent of the run's seconds that are not in doubt."""
        seconds = np.arange(float(len(self._low)))
        return share(doubt.free(seconds, seconds + 1.0))

    @cached_property
    def beats_s(self) -> FloatArray:
        """Beats or pulses that are seen in an ECG or PPG."""
        return beats_in(self.content.trace, self.spec.kind)

    @cached_property
    def sampled(self) -> tuple[FloatArray, IntArray]:
        """(moments, segments) of the samples by the sensor's own count or clock, in s, (n,) each.

        A link delays stamps, and no heart does: how long an interval is, samples say better than stamps.
        """
        order, stream, rate_hz = self._order, self.stream, float(self.spec.rate_hz or 1.0)
        if self.spec.counted:
            return stream.index[order] / rate_hz, stream.segment[order]
        if stream.device_ns is not None:
            return (stream.device_ns[order] - stream.device_ns[0]) / 1e9, stream.segment[order]
        steps = np.rint(np.diff(self.times_s, prepend=self.times_s[:1]) * rate_hz)
        return np.cumsum(np.where(steps > _PERIODS, steps, 1.0)) / rate_hz, np.zeros(len(order), dtype=np.int64)

    @cached_property
    def stretch(self) -> float:
        """How long a second of the sensor's lasts by its stamps: 1, but for its crystal, or for a delay that grows."""
        sampled_s, segment = self.sampled
        part = segment == np.bincount(segment).argmax() if len(segment) else np.zeros(0, dtype=bool)
        away_s = self.times_s[part] - sampled_s[part]
        few = len(away_s) // _TENTH
        if few < 2:
            return 1.0
        between_s = np.median(sampled_s[part][-few:]) - np.median(sampled_s[part][:few])
        grown_s = np.median(away_s[-few:]) - np.median(away_s[:few])
        return 1.0 + float(grown_s / between_s) if between_s > 0 else 1.0

    @cached_property
    def wave_intervals(self) -> tuple[Intervals, Mask]:
        """Between the beats of an ECG or PPG by its own samples, and which of these are whole and good."""
        sampled_s, segment = self.sampled
        found = between_beats(self.beats_s)
        if not len(found.length_s):
            return found, np.zeros(0, dtype=bool)
        place = np.interp(self.beats_s, self.times_s, np.arange(len(self.times_s)))
        near = segment[np.rint(place).astype(np.int64)]
        length_s = self.stretch * np.diff(np.interp(place, np.arange(len(sampled_s)), sampled_s))
        good = self.trusted(self.beats_s)[1:] & (np.diff(near) == 0) & (length_s > 0)
        good &= ~self._misjudged(place, length_s - found.length_s)
        return replace(found, length_s=np.where(good, length_s, found.length_s)), good

    def _misjudged(self, place: FloatArray, more_s: FloatArray) -> Mask:
        """(n,) intervals between beats at fractional samples (n + 1,) that lack samples of which less is sure.

        A short counter that starts anew counts losses where none were: then the samples make an interval longer by
        ``more_s`` (n,) than the stamps, which know how much time has passed.
        """
        holes = np.append(0, np.cumsum(np.diff(self.sampled[0]) * float(self.spec.rate_hz or 1.0) > _PERIODS))
        lost = np.diff(holes[np.clip(np.ceil(place), 0, len(holes) - 1).astype(np.int64)]) > 0
        return np.asarray(lost & (np.abs(more_s) > _ASTRAY_S))

    def trusted(self, beats_s: FloatArray) -> Mask:
        """(n,) beats whose interval from the one before is one of the heart, in good signal without holes."""
        if len(beats_s) < 2:
            return np.zeros(len(beats_s), dtype=bool)
        since_s = np.append(beats_s[0], beats_s[:-1])
        near = self.near_hole(beats_s)
        if self.spec.kind in ("ecg", "ppg"):
            near |= (beats_s < self.times_s[0] + _EDGE_S) | (beats_s > self.times_s[-1] - _EDGE_S)
        whole = (beats_s - since_s <= LONGEST_BEAT_S) & self.doubt.free(since_s, beats_s)
        return np.asarray(whole & ~near & ~np.append(True, near[:-1]) & (np.arange(len(beats_s)) > 0))

    @cached_property
    def interval_s(self) -> FloatArray:
        """Reported RR intervals in s, (n,)."""
        return self.content.values[:, 0] * _MS.get(self.spec.unit, 1e-3)

    @cached_property
    def heart(self) -> Course:
        """Heart rate over time."""
        kind = self.spec.kind
        if kind in ("ecg", "ppg"):
            return Course.of_events(self.beats_s, LONGEST_BEAT_S, self.doubt)
        times_s, value = self.values(0)
        rate = 60.0 / (value * _MS.get(self.spec.unit, 1e-3)) if kind == "rr" else value
        longest_s = LONGEST_BEAT_S + 2.0 if kind == "rr" else 2 * self.stale_s
        return Course.of_values(times_s, rate, longest_s, self.poor)

    def saturation(self, calibration: Calibration, ends_s: FloatArray) -> FloatArray:
        """Percent from red and infrared light up to moments (w,) of the run; NaN where it cannot be told."""
        if not len(ends_s):
            return np.empty(0)
        ends_ns = self.content.origin_ns + (ends_s * 1e9).astype(np.int64)
        times_ns = self.content.origin_ns + np.rint(self.times_s * 1e9).astype(np.int64)
        found = oximetry_at(self.content.values, times_ns, self.spec, ends_ns, OXIMETRY_S, calibration)
        good = self.doubt.free(ends_s - OXIMETRY_S, ends_s) & (found.confidence >= LOW)
        return np.where(good, found.spo2_percent, np.nan)

    @cached_property
    def onsets_s(self) -> FloatArray:
        """Breaths, by where each begins."""
        trace = Trace.of(self.content.values[:, 0], self.times_s, float(self.spec.rate_hz or 1.0))
        if len(trace.values) < 2:
            return np.empty(0)
        return trace.at(find_breaths(trace.values, trace.rate_hz).onset_s * trace.rate_hz)

    @cached_property
    def breathing(self) -> Course:
        """Breath rate over time."""
        return Course.of_events(self.onsets_s, LONGEST_S, self.poor)


def _low_seconds(score: FloatArray, length: int) -> Mask:
    """(seconds of the run,) True where the quality is not known to be good, from the scores (w,) of windows.

    A second is good if at least half of the windows of ``length`` s that it lies in are: one bad second lowers all
    windows that hold it, and one good window does not make good what the others call bad.
    """
    good = np.concatenate([[0], np.cumsum(score >= LOW)])
    bad = np.concatenate([[0], np.cumsum(score < LOW)])
    first = np.arange(len(score))
    last = np.minimum(first + length, len(score))
    raised, lowered = good[last] - good[first], bad[last] - bad[first]
    return np.asarray((raised < lowered) | (raised == 0))
