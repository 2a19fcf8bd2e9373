"""How high beats are, where nothing is known of it or what is known may be wrong: some answers are tried, one is taken.

The largest candidate may be a movement, the many small ones are noise or T waves. So each height that a second and a
half may owe to a beat is tried on the same few seconds, and what it finds there is judged by two things that neither
a movement nor noise has: beats follow one another at about equal intervals, and what lies between them is much lower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import log, sqrt

from drivers.quality.beat_path import Candidate, Chooser, Rules, Usual

_BEAT_S, _HOP_S = 1.5, 0.5
"""Of so long each holds at least one beat down to 40 a minute; and so far from each other they begin."""
_SAME = 1.3
"""Heights within such a factor are one answer."""
_ANSWERS = 5
_CLEAR = 4.0
"""So many times higher than all that lies between them beats stand out completely."""
_UNEVEN = 0.5
"""Logarithm of an interval's ratio to the median one at which it speaks for nothing."""
_PAUSE_S = 2.5
"""A longer interval speaks for nothing."""
_CERTAIN = 0.7
"""What is explained so well needs no other answer."""
_DEEP = 0.02
"""Less for each factor of e below the highest answer: among the small ones there is always something even."""
_HIGHER = 0.2
"""A lower answer must explain so much more than a higher one: T waves are as regular as beats."""
PLAIN = 0.5
"""What explains less of the time is in doubt."""
_OTHER, _BETTER, _BEATS = 0.22, 0.25, 4
"""What is known is compared with heights of another logarithm; it goes if so many beats explain so much more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Beats found with one height."""

    chooser: Chooser
    tried: list[Candidate]
    beats: list[Candidate]
    credit: float
    """Share of the time that these beats explain, 0 to 1."""


def answers(candidates: Sequence[Candidate], start_s: float, stop_s: float) -> list[float]:
    """Heights that beats may have, the largest first: the largest of each second and a half."""
    count = max(1, int((stop_s - start_s - _BEAT_S) / _HOP_S) + 1)
    largest = [0.0] * count
    for one in candidates:
        last = (one.at_s - start_s) / _HOP_S
        for k in range(max(0, int(last - _BEAT_S / _HOP_S) + 1), min(int(last), count - 1) + 1):
            largest[k] = max(largest[k], one.height)
    kept: list[float] = []
    for height in sorted(largest, reverse=True):
        if height > 0 and not (kept and kept[-1] < _SAME * height):
            kept.append(height)
    if len(kept) <= _ANSWERS:
        return kept
    return [kept[round(k * (len(kept) - 1) / (_ANSWERS - 1))] for k in range(_ANSWERS)]


def credit(beats: Sequence[Candidate], others: Sequence[Candidate], height: float, length_s: float) -> float:
    """Share of ``length_s`` in which beats of a height are even and stand out from the others, 0 to 1.

    Both are in the order of their times. Fewer than three beats explain nothing.
    """
    if len(beats) < 3:
        return 0.0
    intervals_s = sorted(b.at_s - a.at_s for a, b in pairwise(beats))
    quarter = len(intervals_s) // 4
    usual_s = sqrt(intervals_s[quarter] * intervals_s[-1 - quarter])  # long and short in turn have no median
    explained = 0.0
    for (one, next_), between in zip(pairwise(beats), _between(beats, others), strict=True):
        interval_s = next_.at_s - one.at_s
        if interval_s > _PAUSE_S:
            continue
        even = 1 - (log(interval_s / usual_s) / _UNEVEN) ** 2
        low = max(min(one.height, next_.height, height), 1e-300)
        clear = 1.0 if _CLEAR * between <= low else log(low / between) / log(_CLEAR)
        explained += interval_s * max(even, 0.0) * max(clear, 0.0)
    ends_s = min(max(length_s - (beats[-1].at_s - beats[0].at_s), 0.0), 2 * usual_s)
    return explained / max(length_s - ends_s, usual_s)


def _between(beats: Sequence[Candidate], others: Sequence[Candidate]) -> list[float]:
    """Height of the largest of the others in each interval between two beats; 0 where there is none."""
    largest, k = [0.0] * (len(beats) - 1), 0
    for other in others:
        while k < len(largest) and beats[k + 1].at_s <= other.at_s:
            k += 1
        if k < len(largest) and other.at_s > beats[k].at_s:
            largest[k] = max(largest[k], other.height)
    return largest


def attempt(
    rules: Rules, candidates: Sequence[Candidate], height: float, start_s: float, stop_s: float, lag_s: float
) -> Answer:
    """What candidates from start to stop are, if beats are so high; those within the lag before stop stay open."""
    chooser = Chooser(rules, Usual(height=height, doubt=rules.first))
    chooser.restart(start_s)
    tried = [replace(one, before=None, stale=False, beat=False) for one in candidates]
    for one in tried:
        chooser.add(one)
    beats = chooser.decide(stop_s, lag_s)
    beats = beats + chooser.pending(stop_s)
    chosen = {id(one) for one in beats}
    others = [one for one in tried if id(one) not in chosen]
    return Answer(chooser, tried, beats, credit(beats, others, height, stop_s - start_s))


def best_answer(
    rules: Rules,
    candidates: Sequence[Candidate],
    heights: Sequence[float],
    span_s: tuple[float, float],
    lag_s: float = -1e9,
) -> Answer:
    """The answer that explains most of a stretch; heights descend."""
    best = attempt(rules, candidates, heights[0], *span_s, lag_s)
    for height in heights[1:]:
        if best.credit > _CERTAIN:
            break
        other = attempt(rules, candidates, height, *span_s, lag_s)
        other = replace(other, credit=other.credit - _DEEP * log(heights[0] / height))
        if other.credit > best.credit + _HIGHER:
            best = other
    return best


def better_answer(chooser: Chooser, seen: Sequence[Candidate], start_s: float, stop_s: float) -> Answer | None:
    """Another answer, if it explains a stretch so much better than what a chooser knows and decided of it.

    ``seen`` is all that the chooser was given from start to stop. What it knows beats are unlike is not tried.
    """
    known = chooser.usual.height
    heights = [
        height
        for height in answers(seen, start_s, stop_s)
        if abs(log(height / known)) > _OTHER and chooser.credible(height)
    ]
    if not heights:
        return None
    pending = {id(one) for one in chooser.pending(stop_s)}
    beats = [one for one in seen if one.beat or id(one) in pending]
    others = [one for one in seen if not one.beat and id(one) not in pending]
    explained = credit(beats, others, known, stop_s - start_s)
    best = best_answer(chooser.rules, seen, heights, (start_s, stop_s), chooser.rules.lag_s)
    if len(best.beats) < _BEATS or best.credit <= max(explained + _BETTER, PLAIN) or not chooser.resembles(best.beats):
        return None
    best.chooser.usual.between.extend(chooser.usual.between)
    return best
