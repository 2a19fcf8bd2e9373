"""Heart beats as the samples come: the same beats however the samples are cut, about a second after they happened.

    beats = BeatStream(250.0)
    for values in chunks:
        for place in beats.update(values):  # samples since the start, between samples
            ...
    beats.finish()

A whole recording is one update and a finish (``drivers.quality.beats``): online and batch are one program.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from drivers.errors import SettingError
from drivers.quality.beat_levels import ECG, PPG
from drivers.quality.beat_path import Candidate, Chooser
from drivers.quality.beat_run import TICK_S, Run
from drivers.quality.beat_trial import PLAIN, answers, best_answer, better_answer
from drivers.types import FloatArray

_LEARN_S = 4.0
"""The first beats are told after so long, all at once."""
_LEARN_LONG_S = 8.0
"""After up to so long if no height explains much of the time."""
_REVIEW_S, _REVIEW_LEAST_S, _REVIEW_EVERY_S = 6.0, 3.0, 0.6
"""In doubt so much of what came last, at least so much of it, is judged again every so often."""
_LEARN_AGAIN_S = 30.0
"""A gap after which nothing is taken as known any more."""
_SHORTEST_S = 1.0
"""A run shorter than this shows no beat."""
_HOLE_S = 0.1
"""A hole so short is bridged by a straight line."""
_SAME_S = 0.1
"""Two candidates so near to each other in the end are one beat."""
_ROUNDING = 1e-9


class BeatStream:
    """Beats of one ECG lead, or pulses of one PPG channel.

    Any unit, gain, baseline and direction. An R peak is the extreme of its QRS complex, a pulse its steepest rise.
    A beat is told ``delay_s`` after it happened, at most; those of the first four seconds together at their end (of
    up to eight where no height explains most of the time, and again after 12 s with fewer than four beats).
    """

    def __init__(self, rate_hz: float, kind: str = "ecg", upright: bool | None = None) -> None:
        """``kind`` is "ecg" or "ppg". ``upright`` says whether a PPG's value grows with blood; None: find out."""
        looks = {"ecg": ECG, "ppg": PPG}
        if kind not in looks:
            raise SettingError(f"beats are looked for in {' or '.join(looks)}, not in {kind!r}")
        self._look = looks[kind]
        if not rate_hz >= self._look.slowest_hz:
            raise SettingError(
                f"{rate_hz} Hz is too slow for beats in {kind}: at least {self._look.slowest_hz:g} Hz are needed"
            )
        self.rate_hz, self._upright = rate_hz, upright
        self._chooser = Chooser(self._look.rules)
        self._learned = False
        self._run: Run | None = None
        self._start = 0
        """Sample at which the run began."""
        self._count = 0
        """Samples so far, those that were missing in between included."""
        self._missing = 0
        """Of those since the last one that was there."""
        self._newest = 0.0
        self._waiting: deque[Candidate] = deque()
        self._seen: deque[Candidate] = deque()
        """What the chooser was given in the last seconds."""
        self._review_s = 0.0
        self._tick = 0
        self._since_s, self._learn_s = 0.0, _LEARN_S
        """Where learning begins, in the run, and how long it takes."""
        self._told = -np.inf

    @property
    def delay_s(self) -> float:
        """A beat is told at most so long after it happened, the first four seconds and a chunk's own length apart."""
        return self._look.rules.lag_s + TICK_S + Run(self.rate_hz, self._look, True).settling_s

    def update(self, values: FloatArray) -> FloatArray:
        """Places (k,) of the beats that samples (n,) make certain, ascending; NaN is a sample that is missing."""
        values = np.asarray(values, dtype=np.float64)
        if values.ndim != 1:
            raise ValueError(f"samples of one channel (n,) are expected, not an array of shape {values.shape}")
        present = np.isfinite(values)
        if present.all():
            return np.array(self._feed(values))
        edges = np.flatnonzero(np.diff(present)) + 1
        found: list[float] = []
        for part, there in zip(np.split(values, edges), np.split(present, edges), strict=True):
            found += self._feed(part) if there[0] else self._miss(len(part))
        return np.array(found)

    def gap(self, count: int) -> FloatArray:
        """So many samples are missing: the same as that many NaN."""
        if count < 0:
            raise ValueError(f"a gap of {count} samples; 0 or more are expected")
        return np.array(self._miss(count))

    def finish(self) -> FloatArray:
        """The beats that were still waiting; what comes next is a new run."""
        return np.array(self._close())

    def _miss(self, count: int) -> list[float]:
        self._missing += count
        return self._close() if self._missing > _HOLE_S * self.rate_hz else []

    def _feed(self, values: FloatArray) -> list[float]:
        found: list[float] = []
        if not len(values):
            return found
        if self._missing and self._run is not None:
            found += self._extend(self._run, np.linspace(self._newest, values[0], self._missing + 2)[1:-1])
        elif self._run is None:
            self._run = self._open()
        self._missing, self._newest = 0, float(values[-1])
        return found + self._extend(self._run, values)

    def _open(self) -> Run:
        if self._missing > _LEARN_AGAIN_S * self.rate_hz:
            self._learned = False
        self._count += self._missing
        self._start, self._tick, self._since_s, self._learn_s = self._count, 0, 0.0, _LEARN_S
        self._chooser.restart(0.0)
        self._seen.clear()
        self._review_s = 0.0
        return Run(self.rate_hz, self._look, self._upright)

    def _extend(self, run: Run, values: FloatArray) -> list[float]:
        self._count += len(values)
        self._waiting.extend(run.extend(values))
        return self._advance(run, run.known_s)

    def _close(self) -> list[float]:
        """The run is over."""
        run, self._run = self._run, None
        if run is None:
            return []
        found = []
        if run.count >= _SHORTEST_S * self.rate_hz:
            self._waiting.extend(run.end())
            end_s = run.count / self.rate_hz
            if not self._learned:
                self._learn(run, end_s)
            if self._learned:
                found = self._advance(run, end_s)
                self._offer(run, np.inf)
                found += self._tell(run, self._chooser.decide(end_s, -np.inf))
        self._waiting.clear()
        return found

    def _advance(self, run: Run, known_s: float) -> list[float]:
        """Decide tick by tick up to a time before which all candidates are known."""
        found: list[float] = []
        while True:
            while not self._learned and known_s >= self._since_s + self._learn_s:
                self._learn(run, self._since_s + self._learn_s)
            now_s = (self._tick + 1) * TICK_S
            if not self._learned or now_s > known_s:
                break
            self._tick += 1
            self._offer(run, now_s)
            found += self._tell(run, self._chooser.decide(now_s))
            self._chooser.fade(now_s, TICK_S)
            self._doubt(run, now_s)
            if self._chooser.lost(now_s):
                found += self._tell(run, self._chooser.decide(now_s, -np.inf))
                self._learned, self._since_s, self._learn_s = False, now_s, _LEARN_S
        run.forget(self._tick * TICK_S if self._learned else self._since_s)
        return found

    def _offer(self, run: Run, until_s: float) -> None:
        sign = run.point(min(until_s, run.known_s))
        while self._seen and self._seen[0].at_s < until_s - _REVIEW_S:
            self._seen.popleft()
        while self._waiting and self._waiting[0].at_s < until_s:
            one = self._waiting.popleft()
            if one.sign == sign:
                self._chooser.add(one)
                self._seen.append(one)

    def _doubt(self, run: Run, now_s: float) -> None:
        """Where beats are far apart, see whether another height explains the last seconds better."""
        if now_s < self._review_s or not self._chooser.doubtful(now_s):
            return
        self._review_s = now_s + _REVIEW_EVERY_S
        since_s, last = max(now_s - _REVIEW_S, 0.0), self._chooser.last
        if last is not None and now_s - last.at_s > _REVIEW_LEAST_S:
            since_s = max(since_s, last.at_s + TICK_S)
        if now_s - since_s < _REVIEW_LEAST_S:
            return
        best = better_answer(self._chooser, [one for one in self._seen if one.at_s >= since_s], since_s, now_s)
        if best is not None:
            self._chooser, self._seen = best.chooser, deque(best.tried)
            self._note(run, best.chooser, best.beats)

    def _learn(self, run: Run, until_s: float) -> None:
        """What beats are like, by the height that explains most; or wait a second more."""
        since_s, sign = self._since_s, run.point(until_s)
        tried = [one for one in self._waiting if one.at_s < until_s and one.sign == sign]
        heights = answers(tried, since_s, until_s)
        if heights and heights[0] > _ROUNDING * run.size(since_s, until_s):
            best = best_answer(self._look.rules, tried, heights, (since_s, until_s))
            alone = len(heights) == 1 and len(best.beats) > 1
            if not alone and best.credit < PLAIN and until_s - since_s >= self._learn_s < _LEARN_LONG_S:
                self._learn_s += 1.0
                return
            if best.beats:
                self._note(run, best.chooser, best.beats)
                self._chooser = Chooser(self._look.rules, best.chooser.usual)
                self._chooser.restart(since_s)
                self._learned = True
                return
        self._since_s, self._learn_s = self._since_s + 1.0, _LEARN_S
        self._tick = round(self._since_s / TICK_S)
        while self._waiting and self._waiting[0].at_s < self._since_s:
            self._waiting.popleft()

    def _note(self, run: Run, chooser: Chooser, beats: list[Candidate]) -> None:
        """How high what follows these beats is."""
        if not self._look.rules.wide:
            return
        for beat in beats:
            after = run.after(beat.at_s)
            if after is not None:
                chooser.usual.after.append(after)
        chooser.usual.settle_wide()

    def _tell(self, run: Run, beats: list[Candidate]) -> list[float]:
        if not beats:
            return []
        self._note(run, self._chooser, beats)
        found = []
        for beat in beats:
            within = run.locate(beat)
            place = self._start + within
            cut = within < 1 or within > run.count - 2  # its extreme lies before or behind the samples
            if not cut and place - self._told > _SAME_S * self.rate_hz:
                found.append(place)
                self._told = place
        return found
