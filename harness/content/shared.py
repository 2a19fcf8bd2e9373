"""The streams of a run as contents: which of them show the same events, and what lag is to be expected between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from drivers.quality import window_s
from drivers.types import FloatArray
from harness.content.alignment import Alignment
from harness.content.breath import align_breaths
from harness.content.drift import over_windows
from harness.content.intervals import align_intervals
from harness.content.pulse import align_beats, align_pulses, pulse_rises, r_peaks
from harness.content.rendered import World
from harness.content.trace import Mask, Trace
from harness.quality import LOW, scores_of
from harness.recording import Recording, StreamData

WINDOWS_FROM_S = 120.0
"""Longer runs are aligned window by window."""
_WINDOW_S, _MOST_WINDOWS = 20.0, 5
_SLOW_HZ = 32.0
_SLOW = ("eda", "temperature", "respiration", "affect")
"""Windows of them hold too little that moves, however often they are sampled."""
_HEART = ("ecg", "ppg", "rr")
"""In the order in which a beat shows."""
_PULSE_MS = 310.0
"""R peak to the steepest rise at a finger: 245 ms to the foot (Allen and Murray 1988), and from there some 65 ms."""
_UNSURE_MS = {("ecg", "ecg"): 10.0, ("ppg", "ppg"): 75.0, ("respiration", "respiration"): 100.0}
_PULSE_UNSURE_MS = 50.0
REPORT_SLACK_MS = 150.0
"""RR intervals come in reports a second apart: so much their stamps may be off beyond any other limit."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The lag of b against a that nothing is wrong with."""

    lag_ms: float
    unsure_ms: float = 0.0
    """It may be off by so much either way."""
    report_ms: float = 0.0
    """What reports at intervals add to the limit."""


@dataclass(frozen=True, eq=False)
class Content:
    """One stream within the run, with what is not to be relied on marked."""

    stream: StreamData
    times_s: FloatArray
    """(n,) stamps since the run's start, ascending."""
    values: FloatArray
    """(n, channels)"""
    stop_s: float
    origin_ns: int
    """Host time of second 0."""
    usable: Mask
    """(n,) False in seconds that lie in no window of good quality, but in windows of low quality."""
    low_share: float = 0.0
    """Share of the windows that are of low quality, 0..1."""

    @classmethod
    def of(cls, recording: Recording, stream: StreamData) -> Content:
        """The stream from the run's start to its stop."""
        inside = (stream.time_ns >= recording.start_ns) & (stream.time_ns < recording.stop_ns)
        times_ns, values = stream.time_ns[inside], stream.values[inside]
        order = np.argsort(times_ns, kind="stable")
        times_ns, values = times_ns[order], values[order]
        times_s, seconds = (times_ns - recording.start_ns) / 1e9, (recording.stop_ns - recording.start_ns) / 1e9
        score = scores_of(recording, stream)[1].score
        whole = _seconds_usable(score, max(1, round(window_s(stream.spec.kind))))
        usable = np.asarray(np.isfinite(values).all(axis=1))
        if len(whole):
            usable &= whole[np.minimum(times_s.astype(np.int64), len(whole) - 1)]
        low_share = float(np.mean(score < LOW)) if len(score) else 0.0
        return cls(stream, times_s, values, seconds, recording.start_ns, usable, low_share)

    @property
    def kind(self) -> str:
        """Modality."""
        return self.stream.spec.kind

    @property
    def good_s(self) -> float:
        """Seconds with usable samples."""
        rate_hz = self.stream.spec.rate_hz
        if rate_hz:
            return float(self.usable.sum()) / rate_hz
        return float(len(np.unique(self.times_s[self.usable].astype(np.int64))))

    @property
    def mostly_poor(self) -> bool:
        """More than half was left out for its quality, or is low but for a window here and there: the rest may be
        distorted too."""
        return self.low_share > 0.5 or (bool(len(self.usable)) and float(np.mean(self.usable)) < 0.5)

    @property
    def left_out(self) -> str:
        """How much was left out for its quality, or nothing."""
        bad = int((~self.usable).sum())
        return f"{100 * bad / len(self.usable):.0f} % left out for low quality" if bad else ""

    @cached_property
    def trace(self) -> Trace:
        """The channel that shows the beats best; for other kinds the first."""
        rate_hz = float(self.stream.spec.rate_hz or 1.0)
        number = _clearest(self.values) if self.values.shape[1] > 1 and self.kind in _HEART else 0
        return Trace.of(self.values[:, number], self.times_s, rate_hz, self.usable)

    @cached_property
    def beats_s(self) -> FloatArray:
        """Heart beats, where the kind shows them as moments."""
        return r_peaks(self.trace) if self.kind == "ecg" else pulse_rises(self.trace)


def _clearest(values: FloatArray) -> int:
    """The channel with the largest swing for its steps from sample to sample; one that stands still has none."""
    if len(values) < 2:
        return 0
    low, high = np.quantile(values, (0.005, 0.995), axis=0)
    steps = np.median(np.abs(np.diff(values, axis=0)), axis=0)
    return int(np.argmax(np.where(steps > 0, (high - low) / np.maximum(steps, 1e-300), 0.0)))


def _seconds_usable(score: FloatArray, length: int) -> Mask:
    """(s,) of the run's whole seconds, from the scores (s,) of windows of ``length`` s: False where a second lies in
    no good window, but in a low one."""
    count = len(score)
    good, bad = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    for window, each in enumerate(score.tolist()):
        part = slice(max(window - length + 1, 0), window + 1)
        good[part] |= each >= LOW
        bad[part] |= each < LOW
    return good | ~bad


@dataclass(frozen=True, slots=True)
class Looked:
    """Which part of a run is compared."""

    whole: bool
    window_s: float = 0.0

    def over(self, align: Callable[[float, float], Alignment], stop_s: float) -> Alignment:
        """What ``align(from_s, to_s)`` says of the run."""
        return align(0.0, stop_s) if self.whole else over_windows(align, 0.0, stop_s, self.window_s, _MOST_WINDOWS)


def looked_at(*contents: Content) -> Looked:
    """The whole of up to two minutes, of slow streams and of RR intervals; otherwise windows spread over the run."""
    slow = all(c.kind in _SLOW or (c.stream.spec.rate_hz or 0.0) <= _SLOW_HZ for c in contents)
    whole = slow or min(c.stop_s for c in contents) < WINDOWS_FROM_S or any(c.kind == "rr" for c in contents)
    stop_s = min(c.stop_s for c in contents)
    return Looked(whole, 0.0 if whole else stop_s / round(stop_s / _WINDOW_S))


def shares_content(a: Content, b: Content) -> bool:
    """Both show heart beats as moments, or both breathe; RR intervals need a stream with beats to go with."""
    if a.kind in _HEART and b.kind in _HEART:
        return not a.kind == b.kind == "rr"
    return a.kind == b.kind == "respiration"


def align_pair(a: Content, b: Content, start_s: float, stop_s: float) -> Alignment:
    """Lag of b's content against a's between two times of the run."""
    if a.kind == "respiration":
        return align_breaths(a.trace.between(start_s, stop_s), b.trace.between(start_s, stop_s))
    if _HEART.index(a.kind) > _HEART.index(b.kind):
        return _turned(align_pair(b, a, start_s, stop_s))
    beats_s = a.beats_s[(a.beats_s >= start_s) & (a.beats_s < stop_s)]
    if b.kind == "rr":
        part = b.usable & (b.times_s >= start_s) & (b.times_s < stop_s)
        return align_intervals(beats_s, b.values[part, 0], b.times_s[part])
    if a.kind == "ecg" and b.kind == "ppg":
        return align_pulses(beats_s, b.trace.between(start_s, stop_s))
    return align_beats(beats_s, b.beats_s[(b.beats_s >= start_s) & (b.beats_s < stop_s)])


def _turned(found: Alignment) -> Alignment:
    """The lag of a against b, from that of b against a."""
    if found.refused is not None:
        return found
    return Alignment(
        -found.lag_ms, -found.high_ms, -found.low_ms, found.n, found.ratio,
        -found.drift_ppm, -found.drift_high_ppm, -found.drift_low_ppm,
    )  # fmt: skip


def expected_of(a: Content, b: Content, world: World | None) -> Expected:
    """What the lag of b against a should be: of simulated streams what the same method finds in the truth."""
    report_ms = REPORT_SLACK_MS if "rr" in (a.kind, b.kind) else 0.0
    if world is not None:
        return Expected(_rendered_lag_ms(a, b, world), 0.0, report_ms)
    order = _pulse_ms(b.kind) - _pulse_ms(a.kind)
    unsure_ms = _PULSE_UNSURE_MS if order else _UNSURE_MS.get((a.kind, b.kind), _PULSE_UNSURE_MS)
    return Expected(order, unsure_ms, report_ms)


def _pulse_ms(kind: str) -> float:
    return _PULSE_MS if kind == "ppg" else 0.0


def _rendered_lag_ms(a: Content, b: Content, world: World) -> float:
    """The same alignment of both streams as they should have been at their own stamps."""
    if "rr" in (a.kind, b.kind):
        other = a if b.kind == "rr" else b
        if other.kind == "ecg":
            return 0.0
        lag_ms = align_beats(_true_beats(other, world), rendered(other, world).beats_s).lag_ms
        return lag_ms if b is other else -lag_ms
    if (a.kind, b.kind) == ("ecg", "ppg"):
        found = align_pulses(_true_beats(a, world), rendered(b, world).trace)
    elif (a.kind, b.kind) == ("ppg", "ecg"):
        found = _turned(align_pulses(_true_beats(b, world), rendered(a, world).trace))
    else:
        found = align_pair(rendered(a, world), rendered(b, world), 0.0, a.stop_s)
    return found.lag_ms if found.refused is None else _pulse_ms(b.kind) - _pulse_ms(a.kind)


def _true_beats(content: Content, world: World) -> FloatArray:
    stop_ns = content.origin_ns + round(content.stop_s * 1e9)
    return world.beats(content.origin_ns, stop_ns) - world.seconds(np.array(content.origin_ns))


def rendered(content: Content, world: World) -> Content:
    """The content as its simulator rendered it, without noise, for the stamps that it has."""
    known = world.kept.get(content.stream.key)
    if isinstance(known, Content):
        return known
    spec = content.stream.spec
    signal = world.signal(content.stream.role, spec)
    since_s = float(world.seconds(np.array(content.origin_ns)))
    values = signal.render(0, content.times_s + since_s)
    made = Content(content.stream, content.times_s, values, content.stop_s, content.origin_ns, content.usable)
    world.kept[content.stream.key] = made
    return made
