"""Which of many candidates are beats: those that height and rhythm together make most likely.

Every candidate is worth something by its height against the usual one, every interval between two chosen ones costs
something if it is unusual, and the best chain is found by dynamic programming (Viterbi 1967, IEEE Trans Inf Theory
13:260) with a fixed lag. What rhythm can cost is limited so that no beat of usual height is ever given up for it, nor
any small wiggle taken: it decides about what is in doubt. A missed beat is thus looked for again without a search-back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from math import log


@dataclass(frozen=True, slots=True)
class Rules:
    """What is known of beats before any is seen."""

    closest_s: float
    """No two beats are closer: 0.19 s is 315 a minute."""
    early_s: float
    """What comes sooner after a beat may be a part of it: a T wave, a dicrotic notch."""
    lag_s: float
    """So long after a candidate it is decided on."""
    first: float = 0.4
    """Of the largest: what counts as a beat before anything is known."""
    wide: bool = False
    """Candidates carry a second height, for beats too slow for the first one."""


_MEMORY = 8
"""Beats in the running medians."""
_NOISE_MEMORY, _NOISE_RANK = 24, 0.75
"""Candidates given up that say how high noise reaches, and which of them says it."""
_LOWEST, _HIGHEST = 0.25, 0.5
"""Of the usual height: where a beat and noise are equally likely, at least and at most."""
_GAIN, _STEEP = 2.3, 2.0
"""What a candidate's height is worth, per factor of e; so many times more below the point of doubt."""
_BEST, _WORST = 2.2, -4.0
_STRANGE, _TOLERANCE = 0.85, 0.25
"""What an interval costs at most, and the logarithm of its ratio to the usual one at which it does: more than half of
_BEST would let rhythm take beats away."""
_QUIET_SHARE, _NOISY = 0.5, 0.35
"""Of that where no noise is heard; and the point of doubt from which on all of it counts."""
_NEGLIGIBLE = 0.08
_SMALL, _SMALL_COST = 0.6, 1.5
_WIDER, _LOWER, _WIDER_COST = 1.25, 0.9, 3.0
_SHADOW, _SLOW, _SHADOW_COST = 0.4, 2.0, 2.0
_HUGE, _HUGE_COST = 2.5, 1.5
"""Times the usual height: an electrode that was knocked; what it costs per factor of e."""
_GROWTH = 1.5
"""Times the usual height: a higher beat is remembered as such a one."""
_ALIKE, _ALIKE_FACTOR, _SOON_S, _ORDINARY = 3, 1.6, 4.0, 0.5
_ABOVE = 2.0
"""Times what was between them: beats that have shrunk are higher."""
_SHAPE = 2.0
"""Times the usual ratio of both heights: beats that have shrunk are no wider."""
_SPARSE_S = 1.5
"""Of beats so far apart some may be missing."""
_RHYTHM = 0.6
"""Of the usual interval: beats that have grown are no closer."""
_WIDE_SHARE, _LATE_FACTOR = 0.62, 2.0
"""A wide beat reaches this of the usual second height, and so many times what usually follows a beat."""
_FEW, _FEW_S = 4, 12.0
"""So many beats in so long are too few: fewer than 20 a minute."""
_GIVE_UP_S, _FADE = 2.5, 0.72
"""Without a beat for so long the usual height is doubted, and falls by so much in a second."""


def middle(values: list[float]) -> float:
    """Median of a few values."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else 0.5 * (ordered[half - 1] + ordered[half])


@dataclass(eq=False, slots=True)
class Candidate:
    """A place where a beat may be."""

    at_s: float
    height: float
    width: float = 0.0
    """Its second height."""
    sign: float = 1.0
    """-1: it is one only if the signal stands on its head."""
    own: float = 0.0
    """What it is worth by itself, and with the best chain that ends here."""
    total: float = 0.0
    before: Candidate | None = None
    stale: bool = False
    beat: bool = False
    """It was decided to be one."""


def _recent() -> deque[float]:
    return deque(maxlen=_MEMORY)


@dataclass(slots=True)
class Usual:
    """What recent beats were like."""

    heights: deque[float] = field(default_factory=_recent)
    widths: deque[float] = field(default_factory=_recent)
    intervals: deque[float] = field(default_factory=_recent)
    after: deque[float] = field(default_factory=_recent)
    """Second height of what follows a beat: T waves, or noise."""
    noise: deque[float] = field(default_factory=lambda: deque(maxlen=_NOISE_MEMORY))
    between: deque[float] = field(default_factory=_recent)
    """The largest of what was given up between beats in rhythm: T waves, or noise."""
    height: float = 0.0
    """0: not known yet."""
    interval: float = 0.0
    doubt: float = _LOWEST
    weight: float = _STRANGE
    """Of rhythm: the less, the better beats stand out."""
    wide: float = float("inf")

    def settle(self) -> None:
        """The medians of what was noted."""
        if self.heights:
            self.height = middle(list(self.heights))
        if self.intervals:
            self.interval = middle(list(self.intervals))

    def settle_wide(self) -> None:
        """What a wide beat must reach."""
        if len(self.after) > 2:
            self.wide = max(_WIDE_SHARE * middle(list(self.widths)), _LATE_FACTOR * middle(list(self.after)))

    def louder(self, factor: float) -> None:
        """Everything has grown."""
        for values in (self.heights, self.widths, self.after, self.noise):
            values.extend([factor * value for value in values])
        self.height *= factor
        self.settle()
        self.settle_wide()

    def hear(self) -> None:
        """The point of doubt, midway between usual noise and the usual beat on a logarithmic scale."""
        if self.noise and self.height > 0:
            rank = int(_NOISE_RANK * len(self.noise))
            share = (sorted(self.noise)[rank] / self.height) ** 0.5
            self.doubt = min(max(share, _LOWEST), _HIGHEST)
            noisy = min(max((share - _LOWEST) / (_NOISY - _LOWEST), 0.0), 1.0)
            self.weight = _STRANGE * (_QUIET_SHARE + (1 - _QUIET_SHARE) * noisy)


class Chooser:
    """Takes candidates in the order of their times and gives back beats."""

    def __init__(self, rules: Rules, usual: Usual | None = None) -> None:
        self.rules = rules
        self.usual = usual or Usual()
        self.last: Candidate | None = None
        self._open: list[Candidate] = []
        self._huge: deque[tuple[float, float, int]] = deque(maxlen=_ALIKE)
        self._ordinary = 0
        self._largest = 0.0
        """Of what was given up since the last beat."""
        self._times_s = deque([0.0] * _FEW, maxlen=_FEW)

    def restart(self, at_s: float) -> None:
        """Forget what led up to here, but not what beats are like: time has been lost."""
        self.last, self._open = None, []
        self._times_s.extend([at_s] * _FEW)
        self._huge.clear()

    def add(self, candidate: Candidate) -> None:
        """The next candidate."""
        usual = self.usual
        if candidate.height < _NEGLIGIBLE * usual.height and candidate.width < 0.8 * usual.wide:
            self._give_up(candidate)
            return
        if candidate.height > _HUGE * usual.height:
            self._louder(candidate)
        elif candidate.height > _ORDINARY * usual.height:
            self._ordinary += 1
        candidate.own = self._worth(candidate) - self._shadow(candidate)
        self._link(candidate, self._open)
        self._open.append(candidate)

    def _worth(self, candidate: Candidate) -> float:
        usual = self.usual
        worth = _GAIN * log(max(candidate.height, 1e-300) / (usual.doubt * usual.height))
        if self.rules.wide and candidate.width > 0.5 * usual.wide:
            worth = max(worth, _GAIN * log(candidate.width / usual.wide))
        worth = min(max(worth if worth > 0 else _STEEP * worth, _WORST), _BEST)
        huge = candidate.height / (_HUGE * usual.height)
        return worth - _HUGE_COST * log(huge) if huge > 1 else worth

    def _louder(self, candidate: Candidate) -> None:
        """Three huge candidates alike, nothing ordinary between: not the electrode was touched but the gain changed."""
        self._huge.append((candidate.at_s, candidate.height, self._ordinary))
        times_s, heights, others = zip(*self._huge, strict=True)
        rhythm_s = self.usual.interval
        if len(heights) < _ALIKE or times_s[-1] - times_s[0] > _SOON_S or rhythm_s <= 0:
            return
        even = all(_RHYTHM < (b - a) / rhythm_s < 1 / _RHYTHM for a, b in pairwise(times_s))
        if even and max(heights) < _ALIKE_FACTOR * min(heights) and others[0] == others[-1]:
            self.usual.louder(middle(list(heights)) / self.usual.height)
            self._huge.clear()

    def _shadow(self, candidate: Candidate) -> float:
        """What follows a much larger candidate at once is a part of it, even if rhythm would rather have it."""
        for one in reversed(self._open):
            if candidate.at_s - one.at_s > self.rules.early_s:
                break
            if one.height > _HUGE * self.usual.height:
                continue
            if candidate.height < _SHADOW * one.height and candidate.width <= _SLOW * one.width:
                return _SHADOW_COST
        return 0.0

    def _link(self, candidate: Candidate, earlier: list[Candidate]) -> None:
        """Continue the best chain."""
        best, candidate.before = -1e300, None
        if self.last is None:
            best = 0.0
        else:
            cost = self._cost(self.last, candidate)
            best, candidate.before = self.last.total - cost, self.last
        for one in earlier:
            total = one.total - self._cost(one, candidate)
            if total > best:
                best, candidate.before = total, one
        candidate.total = candidate.own + best

    def _cost(self, one: Candidate, other: Candidate) -> float:
        """Of the interval between two beats."""
        interval_s = other.at_s - one.at_s
        if interval_s < self.rules.closest_s:
            return 1e6
        cost = self._strangeness(interval_s)
        if interval_s < self.rules.early_s:
            ratio = other.height / max(one.height, 1e-300)
            if ratio < _SMALL:
                cost += _SMALL_COST
            if self.rules.wide and ratio < _LOWER and other.width > _WIDER * ratio * one.width:
                cost += _WIDER_COST if other.width < self.usual.wide else 0.0
        return cost

    def _strangeness(self, interval_s: float) -> float:
        if self.usual.interval <= 0:
            return 0.0
        away = log(interval_s / self.usual.interval) / _TOLERANCE
        return self.usual.weight * min(1.0, away * away)

    def decide(self, now_s: float, lag_s: float | None = None) -> list[Candidate]:
        """Beats among the candidates older than the lag, once and for all."""
        until_s = now_s - (self.rules.lag_s if lag_s is None else lag_s)
        waiting = self._open
        if not waiting or waiting[0].at_s > until_s:
            return []
        chain = self._best_chain(now_s)
        beats = []
        self._open = []
        for one in waiting:
            if one.at_s > until_s:
                self._relink(one, until_s)
                self._open.append(one)
            elif one in chain:
                self._take(one)
                beats.append(one)
            else:
                self._give_up(one)
        self.usual.hear()
        return beats

    def pending(self, now_s: float) -> list[Candidate]:
        """What is a beat as far as can be told now, among the candidates that are not decided yet."""
        return self._best_chain(now_s)[::-1]

    def _relink(self, one: Candidate, until_s: float) -> None:
        """Another chain for a candidate whose own holds what has been given up."""
        before = one.before
        kept = before is self.last if before is None or before.at_s <= until_s else not before.stale
        one.stale = not kept
        if one.stale:
            self._link(one, self._open)

    def _best_chain(self, now_s: float) -> list[Candidate]:
        """Its members that are not decided yet; a chain that ends too early costs as an interval does."""
        best, highest = self.last, 0.0 if self.last is None else -1e300
        for one in (self.last, *self._open):
            if one is not None:
                gap_s = now_s - one.at_s
                total = one.total - (self._strangeness(gap_s) if gap_s > self.usual.interval else 0.0)
                if total > highest:
                    best, highest = one, total
        chain = []
        while best is not None and best is not self.last:
            chain.append(best)
            best = best.before
        return chain

    def _give_up(self, candidate: Candidate) -> None:
        self.usual.noise.append(candidate.height)
        self._largest = max(self._largest, candidate.height)

    def _take(self, beat: Candidate) -> None:
        usual = self.usual
        if self.last is not None:
            interval_s = beat.at_s - self.last.at_s
            if _RHYTHM < interval_s / max(usual.interval, 1e-9) < 1 / _RHYTHM and beat.height < _HUGE * usual.height:
                usual.between.append(self._largest)
            if interval_s < _GIVE_UP_S:
                usual.intervals.append(interval_s)
        self._largest = 0.0
        beat.beat = True
        usual.heights.append(min(beat.height, _GROWTH * usual.height))
        usual.widths.append(beat.width)
        usual.settle()
        beat.before = None
        self.last = beat
        self._times_s.append(beat.at_s)

    def fade(self, now_s: float, step_s: float) -> None:
        """Where no beat has come for long, doubt the usual height, step by step."""
        usual = self.usual
        if now_s - self._times_s[-1] > max(_GIVE_UP_S, 2 * usual.interval) + self.rules.lag_s:
            usual.height *= _FADE**step_s
            usual.hear()

    def doubtful(self, now_s: float) -> bool:
        """Some beats may be missing between the last ones, so far apart are they, or much higher ones keep coming."""
        before_s, last_s = self._times_s[-2], self._times_s[-1]
        if max(last_s - before_s, now_s - self.rules.lag_s - last_s) > _SPARSE_S:
            return True
        return len(self._huge) == _ALIKE and now_s - self._huge[0][0] < _SOON_S

    def credible(self, height: float) -> bool:
        """Beats may have changed to that height: not to what has always been between them."""
        between = sorted(self.usual.between)
        if height > self.usual.height or not between:
            return True
        return height > _ABOVE * between[int(_NOISE_RANK * (len(between) - 1))]

    def resembles(self, beats: list[Candidate]) -> bool:
        """Lower ones may be the same beats: a gain changes no shape, but P waves of a blocked heart are wider.

        Of beats that were not in rhythm for long, and where candidates have no second height, all is possible.
        """
        usual = self.usual
        if not self.rules.wide or len(usual.between) < _MEMORY:
            return True
        known = middle([width / max(height, 1e-300) for width, height in zip(usual.widths, usual.heights, strict=True)])
        shape = middle([one.width / max(one.height, 1e-300) for one in beats])
        return shape < _SHAPE * known or middle([one.height for one in beats]) > usual.height

    def lost(self, now_s: float) -> bool:
        """So few beats come that what is taken for usual cannot be."""
        return now_s - self._times_s[0] > _FEW_S
