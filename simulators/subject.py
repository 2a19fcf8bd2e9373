"""The simulated person: one coupled physiology behind every sensor that is attached to them.

Everything follows from arousal: heart rate, breathing, skin conductance responses, perfusion, skin
temperature and alpha rhythm. Breathing moves the heart rate (respiratory sinus arrhythmia). What
happens is kept as events in world seconds and is made in blocks of ten seconds, each from the one
before, so a question about any time, in any order, has one answer.

Beats come from integral pulse frequency modulation: one each time the integral of the heart rate
passes a whole number. Responses and blinks are renewal processes under their own varying rates.
Ranges: Task Force 1996 (HRV), Allen and Murray 1988 (pulse arrival), Boucsein 2012 (skin conductance).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from drivers.types import FloatArray
from simulators.draws import Draws
from simulators.event_log import EventLog
from simulators.profile import Profile, Script, make_profile
from simulators.waveforms import SlowNoise, cosine

START_S = -120.0
"""The physiology begins this early, so that at second 0 every response that could be under way is."""
_BLOCK_S = 10.0
_GRID_HZ = 20
_LONGEST_RR_S = 60 / 25
_RESPONSE_DELAY_S = 2.0
"""From arousal to the onset of a skin conductance response: 1 to 3 s."""


@dataclass(frozen=True, slots=True, eq=False)
class Beats:
    """Heart beats, arrays (n,)."""

    r_s: FloatArray
    """World time of the R peak."""
    rr_s: FloatArray
    """Interval from the beat before."""
    foot_s: FloatArray
    """World time of the pulse's foot at the finger."""
    breath: FloatArray
    """Lung volume at the beat, about 0..1."""
    perfusion: FloatArray
    """Pulse height, 1 on average at rest."""


@dataclass(frozen=True, slots=True, eq=False)
class Breaths:
    """Breaths, arrays (n,)."""

    onset_s: FloatArray
    inspiration_s: FloatArray
    expiration_s: FloatArray
    depth: FloatArray
    """1 on average."""


@dataclass(frozen=True, slots=True, eq=False)
class Responses:
    """Skin conductance responses, arrays (n,)."""

    onset_s: FloatArray
    amplitude_us: FloatArray
    """Height of the peak in microsiemens."""
    tau_rise_s: FloatArray
    tau_decay_s: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Blinks:
    """Eye blinks, arrays (n,)."""

    onset_s: FloatArray
    duration_s: FloatArray
    amplitude_uv: FloatArray


class _Arrivals:
    """Renewal process under a varying rate: an event whenever the rate's integral has grown by ``gap(k)``."""

    def __init__(self, gap: Callable[[int], float], first: float) -> None:
        self._gap, self._left, self.count = gap, first, 0

    def step(self, edges_s: FloatArray, rate_hz: FloatArray) -> tuple[int, FloatArray]:
        """(number of the first, times) of the events between edges_s (n + 1,) at rates (n,)."""
        grown = np.concatenate([np.zeros(1), np.cumsum(rate_hz * np.diff(edges_s))])
        total, first, at = float(grown[-1]), self.count, []
        while self._left <= total:
            at.append(self._left)
            self._left += self._gap(self.count)
            self.count += 1
        self._left -= total
        return first, np.interp(np.array(at, dtype=np.float64), grown, edges_s)


class Subject:
    """One simulated person; the same seed and profile live the same life."""

    def __init__(self, seed: int = 0, profile: Profile | None = None) -> None:
        self.seed, self.profile = seed, profile or Profile()
        self._draws = Draws(seed, "subject")
        script = np.array(self.profile.points)
        self._script_s, self._script_arousal, self._script_valence = (np.ascontiguousarray(c) for c in script.T)
        self._noise = {
            name: SlowNoise(self._draws.child(name), spacing_s)
            for name, spacing_s in (
                ("arousal", 15.0), ("valence", 15.0), ("spo2", 20.0), ("heart", 20.0), ("mayer", 30.0),
            )
        }  # fmt: skip
        self._beat_log, self._breath_log = EventLog(5), EventLog(4)
        self._knot_log = EventLog(2)  # breathing: half a turn from onset to full, half a turn back
        self._response_log, self._blink_log = EventLog(4), EventLog(3)
        self._breath_s, self._next_breath_s, self._breath_count = -math.inf, START_S, 0
        self._until_s = START_S
        draw = {name: self._draws.child(name) for name in ("beat", "response", "blink", "breath")}
        self._draw = draw
        starts = {name: float(source.uniform(1 << 30, 1)[0]) for name, source in draw.items()}
        self._beat = _Arrivals(lambda _: 1.0, starts["beat"])
        self._last_r_s = START_S - starts["beat"] * 60 / self.profile.heart_rate_bpm
        self._response = _Arrivals(lambda k: _gap(draw["response"], k), starts["response"])
        self._blink = _Arrivals(lambda k: _gap(draw["blink"], k), starts["blink"])

    # --- what anybody may ask ------------------------------------------------------------------

    def beat_events(self, start_s: float, stop_s: float) -> Beats:
        """Beats whose R peak is in [start_s, stop_s)."""
        self._extend(stop_s)
        return Beats(*self._beat_log.between(start_s, stop_s))

    def beats(self, start_s: float, stop_s: float) -> FloatArray:
        """R peaks in [start_s, stop_s), world seconds (n,)."""
        return self.beat_events(start_s, stop_s).r_s

    def rr(self, start_s: float, stop_s: float) -> FloatArray:
        """Seconds since the beat before, for each beat with its R peak in [start_s, stop_s), (n,)."""
        return self.beat_events(start_s, stop_s).rr_s

    def feet(self, start_s: float, stop_s: float) -> FloatArray:
        """Pulse feet in [start_s, stop_s), world seconds (n,)."""
        feet = self.beat_events(start_s - 1.0, stop_s).foot_s
        return feet[(feet >= start_s) & (feet < stop_s)]

    def pat(self, start_s: float, stop_s: float) -> FloatArray:
        """Pulse arrival time, R peak to foot, of each beat with its R peak in [start_s, stop_s), seconds (n,)."""
        beats = self.beat_events(start_s, stop_s)
        return np.asarray(beats.foot_s - beats.r_s)

    def recent_beats(self, times_s: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
        """R peaks at or before each time: (the last one, the one ``count`` beats before it), each (n,)."""
        self._extend(float(times_s.max()) if times_s.size else START_S)
        r_s = self._beat_log.column(0)
        last = np.searchsorted(r_s, times_s, side="right") - 1
        return r_s[np.maximum(last, 0)], r_s[np.maximum(last - count, 0)]

    def breaths(self, start_s: float, stop_s: float) -> Breaths:
        """Breaths that begin in [start_s, stop_s)."""
        self._breathe(stop_s)
        return Breaths(*self._breath_log.between(start_s, stop_s))

    def scrs(self, start_s: float, stop_s: float) -> Responses:
        """Skin conductance responses that begin in [start_s, stop_s)."""
        self._extend(stop_s)
        return Responses(*self._response_log.between(start_s, stop_s))

    def blinks(self, start_s: float, stop_s: float) -> Blinks:
        """Blinks that begin in [start_s, stop_s)."""
        self._extend(stop_s)
        return Blinks(*self._blink_log.between(start_s, stop_s))

    def arousal(self, times_s: FloatArray) -> FloatArray:
        """-1 (asleep) .. 1 (agitated), 0 awake at rest; same shape."""
        return self._scripted("arousal", self._script_arousal, times_s)

    def valence(self, times_s: FloatArray) -> FloatArray:
        """-1 (unpleasant) .. 1 (pleasant), same shape."""
        return self._scripted("valence", self._script_valence, times_s)

    def spo2(self, times_s: FloatArray) -> FloatArray:
        """Oxygen saturation in percent, same shape."""
        return np.minimum(self.profile.spo2_percent + 0.1 * self._noise["spo2"].at(np.asarray(times_s)), 100.0)

    def heart_rate(self, times_s: FloatArray) -> FloatArray:
        """60 over the RR interval that each time lies in, per minute, same shape."""
        times_s = np.asarray(times_s, dtype=np.float64)
        if not times_s.size:
            return np.zeros_like(times_s)
        self._extend(float(times_s.max()) + _LONGEST_RR_S)
        number = np.searchsorted(self._beat_log.column(0), times_s, side="right")
        return np.asarray(60.0 / self._beat_log.column(1)[number])

    def breathing(self, times_s: FloatArray) -> FloatArray:
        """Lung volume above the resting level: 0 at a breath's onset, its depth (about 1) when full; same shape."""
        times_s = np.asarray(times_s, dtype=np.float64)
        if not times_s.size:
            return np.zeros_like(times_s)
        self._breathe(float(times_s.max()))
        turns = np.interp(times_s, self._knot_log.column(0), self._knot_log.column(1))
        depth = self._breath_log.column(3)[turns.astype(np.int64)]
        return np.asarray(depth * (0.5 - 0.5 * cosine(turns)))

    # --- how it comes about -------------------------------------------------------------------

    def _scripted(self, name: str, levels: FloatArray, times_s: FloatArray) -> FloatArray:
        times_s = np.asarray(times_s, dtype=np.float64)
        level = np.interp(times_s, self._script_s, levels) + 0.03 * self._noise[name].at(times_s)
        return np.minimum(np.maximum(level, -1.0), 1.0)

    def _breathe(self, until_s: float) -> None:
        """Breaths one after the other, each as long as arousal at its onset makes it, up to one after until_s."""
        while self._breath_s <= until_s:
            number, onset = self._breath_count, self._next_breath_s
            length_noise, depth_noise, share_noise = self._draw["breath"].normal(3 * number, 3).tolist()
            arousal = float(self.arousal(np.array(onset)))
            length = 60 / (self.profile.breath_rate_per_min * (1 + 0.35 * arousal))
            length *= 1 + 0.08 * _bounded(length_noise)
            inspiration = length * (0.4 + 0.02 * _bounded(share_noise))
            depth = (1 + 0.1 * _bounded(depth_noise)) * (1 - 0.2 * max(arousal, 0.0))
            row = (onset, inspiration, length - inspiration, depth)
            self._breath_log.extend([np.array([value]) for value in row])
            knots = np.array([onset, onset + inspiration]), np.array([number, number + 0.5])
            self._knot_log.extend(knots)
            self._breath_s, self._next_breath_s, self._breath_count = onset, onset + length, number + 1

    def _extend(self, until_s: float) -> None:
        """Everything up to until_s is known."""
        while self._until_s <= until_s:
            self._block()

    def _block(self) -> None:
        steps = round(_BLOCK_S * _GRID_HZ)
        edges = self._until_s + np.arange(steps + 1) / _GRID_HZ
        middles = edges[:-1] + 0.5 / _GRID_HZ
        effort = self.arousal(middles)
        self._add_beats(edges, self._pace(middles, effort) / 60)
        excited = np.maximum(self.arousal(middles - _RESPONSE_DELAY_S), -0.15)
        self._add_responses(edges, self.profile.scr_per_min / 60 * (1 + 6 * excited))
        self._add_blinks(edges, np.full(steps, self.profile.blink_per_min / 60))
        self._until_s += _BLOCK_S

    def _pace(self, times_s: FloatArray, arousal: FloatArray) -> FloatArray:
        """Heart rate that the nervous system asks for, per minute: arousal, breathing, Mayer and slow waves."""
        profile = self.profile
        calm = 1 - 0.6 * np.maximum(arousal, 0.0)  # vagal withdrawal
        swing = profile.hrv_breath_percent * calm * 2 * (self.breathing(times_s) - 0.5)
        swing += profile.hrv_mayer_percent * cosine(0.1 * times_s + 0.2 * self._noise["mayer"].at(times_s))
        swing += profile.hrv_slow_percent * self._noise["heart"].at(times_s)
        pace = profile.heart_rate_bpm * (1 + 0.4 * np.maximum(arousal, 0.3 * arousal)) * (1 + swing / 100)
        return np.minimum(np.maximum(pace, 25.0), 230.0)

    def _add_beats(self, edges_s: FloatArray, rate_hz: FloatArray) -> None:
        first, r_s = self._beat.step(edges_s, rate_hz)
        if not len(r_s):
            return
        rr_s = np.diff(r_s, prepend=self._last_r_s)
        self._last_r_s = float(r_s[-1])
        arousal = np.maximum(self.arousal(r_s), 0.0)
        breath = self.breathing(r_s)
        jitter = np.clip(self._draw["beat"].normal(first, len(r_s)), -3, 3)
        # Pre-ejection shortens and vessels narrow with arousal: the pulse comes earlier and is smaller.
        pat_s = (self.profile.pat_ms * (1 - 0.16 * arousal) + self.profile.pat_jitter_ms * jitter) / 1000
        perfusion = (1 - 0.4 * arousal) * (1 - 0.08 * (breath - 0.5))
        self._beat_log.extend([r_s, rr_s, r_s + np.maximum(pat_s, 0.01), breath, perfusion])

    def _add_responses(self, edges_s: FloatArray, rate_hz: FloatArray) -> None:
        first, onset = self._response.step(edges_s, rate_hz)
        size = np.exp(0.5 * np.clip(self._draw["response"].normal(first, len(onset)), -2, 2))
        shape = self._draw["response"].uniform((1 << 20) + 2 * first, 2 * len(onset)).reshape(-1, 2)
        amplitude = 0.3 * size * (1 + np.maximum(self.arousal(onset), 0.0))
        self._response_log.extend([onset, amplitude, 0.6 + 0.3 * shape[:, 0], 2 + 2 * shape[:, 1]])

    def _add_blinks(self, edges_s: FloatArray, rate_hz: FloatArray) -> None:
        first, onset = self._blink.step(edges_s, rate_hz)
        shape = self._draw["blink"].uniform((1 << 20) + 2 * first, 2 * len(onset)).reshape(-1, 2)
        self._blink_log.extend([onset, 0.2 + 0.2 * shape[:, 0], 80 + 70 * shape[:, 1]])


def _gap(draws: Draws, number: int) -> float:
    """Mean 1, never under 0.3: no response or blink directly after another."""
    return 0.3 - 0.7 * math.log1p(-float(draws.uniform(number, 1)[0]))


def _bounded(normal: float) -> float:
    return min(max(normal, -2.5), 2.5)


__all__ = ["Beats", "Blinks", "Breaths", "Profile", "Responses", "START_S", "Script", "Subject", "make_profile"]
