"""Turns a short frame counter into sample numbers, with the arrival times as the second witness.

A counter of ``modulus`` steps says nothing about whole turns, but a frame cannot arrive before it was
sent: against the line of earliest arrivals a frame is never more than 50 ms early and may be late by
up to a turn less that. So 8 bits at 250 Hz size any loss, however long, as long as the silence and
the lateness at its end do not both come near a turn (1.024 s). Where they do, the incident says so.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np

from drivers.types import Event, IntArray, Lost, Malformed, Reordered

EARLY_NS = 50_000_000
"""A frame further ahead of the earliest-arrival line than this was not sent by a steady counter."""
_STALL_NS = 200_000_000
"""Lateness that is believed without a loss even where a turn of the counter is shorter."""
_STEP_BACK = 8
_FALLEN = 3
"""So many frames behind the newest, one after the other at the device's pace, are a counter that fell back a little."""
_LEAK = 1 / 64
"""Share of a period by which the line follows a slow device, for each frame received: never over a silence."""
_SLOW_LEAK = 1 / 1024
"""The same for the line that jitter does not push up: after a silence, what waited behind others before does not."""
_JITTER_NS = 500_000_000
"""Two lines further apart than this are a device that is slower than its nominal rate."""
_DRIFT = 5e-4
"""Error of rate allowed for over a silence."""
_PATIENCE_NS = 1_000_000_000
"""Lateness that lasts for so long is no stall: frames were lost that nobody counted."""
_SCALAR = 12
"""Up to so many frames, plain Python is faster than arrays."""
_LONGEST_RUN = 8192
TOO_SOON = -(1 << 62)
"""SparseIndex's mark for a sample that cannot be one."""

IncidentKind: TypeAlias = Literal["lost", "repeated", "reordered", "odd", "reset", "ambiguous"]
"""odd: the counter of this one frame is impossible, and the next does not go on from it as after a reset."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Something other than the next frame, at ``position`` of the batch."""

    position: int
    kind: IncidentKind
    count: int = 1
    """Frames lost before this one."""
    detail: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Unwrapped:
    """What a batch of n counters means."""

    index: IntArray
    """(n,) frame number in its segment's numbering, which starts at the counter's value."""
    segment: IntArray
    """(n,)"""
    incidents: tuple[Incident, ...]
    """In order of position; a clean batch has none."""
    undecided: bool = False
    """The last counter handed in is impossible; whether that is damage or a reset, the next one says. It is not among
    the n: hand it in again, ahead of what comes next."""

    def kept(self) -> np.typing.NDArray[np.bool_]:
        """(n,) False where a frame only repeats an earlier one or has an odd counter."""
        keep = np.ones(len(self.index), dtype=bool)
        keep[[i.position for i in self.incidents if i.kind in ("repeated", "odd")]] = False
        return keep


class CounterUnwrapper:
    """Numbers the frames of one device, in arrival order; how they are batched changes no answer.

    ``modulus``: steps of the counter; ``period_ns``: nominal time from one count to the next.
    """

    def __init__(self, modulus: int, period_ns: float) -> None:
        self.modulus, self.period_ns = modulus, float(period_ns)
        self._turn_ns = modulus * self.period_ns
        self._leak_ns = self.period_ns * _LEAK
        self._edge_ns = min(EARLY_NS, self._turn_ns / 4)
        self._late_ns = max(self._turn_ns - self._edge_ns, _STALL_NS)
        self._lost_ns = self._turn_ns - self._edge_ns
        self._unseen = self._lost_ns < self._late_ns
        """A loss of a turn is not told from a stall at once."""
        self._doubted = max(modulus, math.ceil((_PATIENCE_NS + self._turn_ns) / self.period_ns))
        self._near = min(_STEP_BACK, modulus // 4)
        self._window = (1 << self._near + 1) - 1
        self._segment = -1
        self._started = False
        self._last = self._index0 = self._received = self._doubt = self._seen = 0
        self._arrival0_ns = self._last_arrival_ns = 0
        self._fallen = self._fallen_to = self._fallen_ns = 0
        self._line = self._slow_line = 0.0
        self._slower_ns = self._leak_ns - self.period_ns * _SLOW_LEAK
        self._sure_line = 0.0
        """The line as it was before the last loss of more than a turn, for the next ``_doubt`` frames."""
        self._late_since_ns: int | None = None
        """Arrival of the first of the frames that are all late by a turn, of a counter whose turn is shorter than a
        stall."""

    def restart(self) -> None:
        """Whatever comes next begins a new segment: the device was started anew."""
        self._started = False

    def update(self, counters: IntArray, arrival_ns: IntArray) -> Unwrapped:
        """Unwrap counters (n,) that arrived at ``arrival_ns`` (n,), never decreasing."""
        count = len(counters)
        index = np.empty(count, dtype=np.int64)
        segment = np.empty(count, dtype=np.int64)
        incidents: list[Incident] = []
        breaks = self._breaks(counters) if count > _SCALAR else []
        position = 0
        while position < count:
            stop = min(breaks[bisect_right(breaks, position)], position + _LONGEST_RUN) if breaks else position
            done = self._run(counters, arrival_ns, index, position, stop) if stop - position > _SCALAR else 0
            if not done:
                behind = int(counters[position + 1]) if position + 1 < count else None
                number = self._one(int(counters[position]), int(arrival_ns[position]), position, behind, incidents)
                if number is None:
                    return Unwrapped(index[:position], segment[:position], tuple(incidents), undecided=True)
                index[position], done = number, 1
            segment[position : position + done] = self._segment
            position += done
        return Unwrapped(index, segment, tuple(incidents))

    # --- many consecutive frames at once ------------------------------------------------------

    def _breaks(self, counters: IntArray) -> list[int]:
        """Positions at which the counter does not follow on the frame before, and the end."""
        steps = counters[1:] - counters[:-1]
        wrong = np.flatnonzero((steps != 1) & (steps != 1 - self.modulus)) + 1
        return [*wrong.tolist(), len(counters)]

    def _run(self, counters: IntArray, arrival_ns: IntArray, index: IntArray, start: int, stop: int) -> int:
        """Number consecutive frames; how many there were until one needs a closer look."""
        if not self._started or (int(counters[start]) - self._last) % self.modulus != 1:
            return 0
        number = np.arange(1, stop - start + 1, dtype=np.int64)
        numbers = self._last + number
        sent = (numbers - self._index0) * self.period_ns
        height = (arrival_ns[start:stop] - self._arrival0_ns) - sent - (self._received + number) * self._leak_ns
        line = np.minimum.accumulate(np.concatenate([[self._line], height]))
        late = height - line[:-1]
        odd = late >= self._late_ns - self._edge_ns
        if self._doubt:
            followed = (self._doubted - self._doubt + number[: self._doubt]) * self._leak_ns
            odd[: self._doubt] |= height[: self._doubt] + followed - self._sure_line < -EARLY_NS
        late_since_ns = None
        if self._unseen:
            late_since_ns = self._late_since(late >= self._lost_ns, arrival_ns[start:stop])
            odd |= arrival_ns[start:stop] - late_since_ns > _PATIENCE_NS
        done = int(odd.argmax()) if odd.any() else stop - start
        if done:
            if late_since_ns is not None:
                since = int(late_since_ns[done - 1])
                self._late_since_ns = since if late[done - 1] >= self._lost_ns else None
            index[start : start + done] = numbers[:done]
            self._last += done
            self._received += done
            fresh = min(done, self._near + 1)
            self._seen = (self._seen << fresh | (1 << fresh) - 1) & self._window
            self._line = float(line[done])
            slower = height[:done] + (self._received - done + number[:done]) * self._slower_ns
            self._slow_line = min(self._slow_line, float(slower.min()))
            self._doubt = max(0, self._doubt - done)
            self._last_arrival_ns = int(arrival_ns[start + done - 1])
            self._fallen = 0
        return done

    def _late_since(self, late: np.typing.NDArray[np.bool_], arrival_ns: IntArray) -> IntArray:
        """(n,) arrival of the first of the late frames up to each; of those in time, their own."""
        place = np.arange(len(late))
        first = np.maximum.accumulate(np.where(late, -1, place)) + 1
        since = arrival_ns[np.minimum(first, place)]
        if self._late_since_ns is not None:
            since = np.where(first > 0, since, self._late_since_ns)
        return np.where(late, since, arrival_ns)

    # --- one frame ----------------------------------------------------------------------------

    def _one(
        self, counter: int, arrival_ns: int, position: int, behind: int | None, incidents: list[Incident]
    ) -> int | None:
        """The frame's number, or None if that depends on the counter ``behind`` it and there is none yet."""
        if not self._started:
            return self._begin(counter, arrival_ns)
        forward = (counter - self._last) % self.modulus
        back = (self.modulus - forward) % self.modulus
        silence_ns = arrival_ns - self._last_arrival_ns
        step = forward or self.modulus
        height = self._height(step, arrival_ns)
        late = height - self._line
        if back <= self._near and (silence_ns < self._turn_ns / 2 or late < -EARLY_NS):
            return self._behind(counter, back, arrival_ns, position, incidents)
        turns = self._turns(late)
        jitter_ns = height + (self._received + 1) * self._slower_ns - self._slow_line - late
        might = self._turns(late + jitter_ns) if silence_ns >= self._turn_ns / 2 else turns
        doubtful = might != turns or (turns > 0 and silence_ns < turns * self._turn_ns / 2)
        if jitter_ns <= _JITTER_NS:
            turns = might
        # a frame behind a silence does not wait for others
        alone_ns = jitter_ns if jitter_ns <= min(silence_ns, _JITTER_NS) else 0.0
        if late < -(EARLY_NS + _DRIFT * silence_ns + alone_ns) and (step > self._near or self._is_next(arrival_ns)):
            return self._impossible(counter, arrival_ns, position, behind, incidents)
        early = self._sure_line - height - (self._doubted - self._doubt + 1) * self._leak_ns
        if self._doubt and early > EARLY_NS:
            detail = f"frames come {early / 1e6:.0f} ms early: the loss told before was counted {self.modulus} frames "
            incidents.append(Incident(position, "reset", detail=detail + "too long, as the silence hid a stall"))
            return self._begin(counter, arrival_ns)
        if self._unseen:
            self._late_since_ns = (self._late_since_ns or arrival_ns) if late >= self._lost_ns and not turns else None
            if self._late_since_ns is not None and arrival_ns - self._late_since_ns > _PATIENCE_NS:
                stay = late + _PATIENCE_NS * _LEAK  # the line has followed meanwhile
                more = round(stay / self._turn_ns) * self.modulus
                detail = f"frames stay {stay / 1e6:.0f} ms late: about {more} were lost and not counted"
                incidents.append(Incident(position, "reset", detail=detail))
                return self._begin(counter, arrival_ns)
        step += turns * self.modulus
        if step > 1:
            incidents.append(Incident(position, "lost", step - 1))
        if doubtful:
            incidents.append(Incident(position, "ambiguous", self.modulus,
                f"{silence_ns / 1e6:.0f} ms of silence, {late / 1e6:.0f} ms of lateness and frames that wait up to "
                f"{jitter_ns / 1e6:.0f} ms for others: {self.modulus} more or less may have been lost"))  # fmt: skip
        elif self._doubt and silence_ns >= self._turn_ns / 2:
            incidents.append(Incident(position, "ambiguous", self.modulus,
                "frames were lost so soon after a loss of more than a turn of the counter that one of the two may be "
                f"{self.modulus} frames longer and the other shorter than was counted"))  # fmt: skip
        else:
            self._tell_doubt(turns, late - turns * self._turn_ns, silence_ns, position, incidents)
        if turns:
            self._sure_line = self._line - min(jitter_ns, self._turn_ns / 2)
        self._accept(step, arrival_ns)
        if turns:
            self._doubt = self._doubted
        return self._last

    def _turns(self, late: float) -> int:
        """Whole turns of the counter that were lost, by the lateness of the frame behind them."""
        return int((late + self._edge_ns) // self._turn_ns) if late >= self._late_ns else 0

    def _is_next(self, arrival_ns: int) -> bool:
        """As the frame behind the last one it would be in time."""
        return self._height(1, arrival_ns) - self._line >= -EARLY_NS

    def _impossible(
        self, counter: int, arrival_ns: int, position: int, behind: int | None, incidents: list[Incident]
    ) -> int | None:
        """No loss explains this counter: one damaged frame, or if the next goes on from it, a reset."""
        if behind is None:
            return None
        detail = f"the counter went from {self._last % self.modulus} to {counter}, more than time allows"
        if 1 <= (behind - counter) % self.modulus <= max(1, self._near):
            incidents.append(Incident(position, "reset", detail=detail))
            return self._begin(counter, arrival_ns)
        incidents.append(Incident(position, "odd", detail=detail))
        self._last_arrival_ns = arrival_ns
        return self._last

    def _height(self, step: int, arrival_ns: int) -> float:
        """Arrival less the time of sending, and less what the line may have risen by then."""
        sent = (self._last + step - self._index0) * self.period_ns
        return (arrival_ns - self._arrival0_ns) - sent - (self._received + 1) * self._leak_ns

    def _accept(self, step: int, arrival_ns: int) -> None:
        height = self._height(step, arrival_ns)
        self._line = min(self._line, height)
        self._slow_line = min(self._slow_line, height + (self._received + 1) * self._slower_ns)
        self._last += step
        self._received += 1
        self._seen = (self._seen << min(step, self._near + 1) | 1) & self._window
        self._doubt = max(0, self._doubt - 1)
        self._last_arrival_ns = arrival_ns
        self._fallen = 0

    def _tell_doubt(self, turns: int, late: float, silence_ns: int, position: int, incidents: list[Incident]) -> None:
        """A long silence with a lateness at the very edge of the window could be a turn more or less."""
        long = silence_ns >= self._turn_ns / 2 and self._turn_ns > 2 * EARLY_NS
        nearly_late = late >= self._late_ns - self._edge_ns
        nearly_early = turns > 0 and late < -self._edge_ns / 5
        if long and (nearly_late or nearly_early):
            more = "more" if nearly_late else "less"
            incidents.append(Incident(position, "ambiguous", self.modulus,
                f"{silence_ns / 1e6:.0f} ms of silence and {late / 1e6:.0f} ms of lateness: the frames lost may be "
                f"{self.modulus} {more} than were counted"))  # fmt: skip

    def _begin(self, counter: int, arrival_ns: int) -> int:
        self._segment += 1
        self._started = True
        self._last = self._index0 = counter
        self._arrival0_ns = self._last_arrival_ns = arrival_ns
        self._received, self._doubt, self._line, self._slow_line = 0, 0, 0.0, 0.0
        self._seen = 1
        self._fallen = 0
        self._late_since_ns = None
        return counter

    def _behind(self, counter: int, back: int, arrival_ns: int, position: int, incidents: list[Incident]) -> int:
        """A frame at or behind the newest one: seen before, overtaken on the way, or counted anew from there."""
        known = bool(self._seen >> back & 1)
        follows = self._fallen and counter == (self._fallen_to + 1) % self.modulus
        self._fallen = (self._fallen + 1 if follows else 1) if known else 0
        self._fallen_to = counter
        if self._fallen == 1:
            self._fallen_ns = arrival_ns
        self._last_arrival_ns = arrival_ns
        paced = arrival_ns - self._fallen_ns >= (self._fallen - 1) * self.period_ns / 2
        if self._fallen >= _FALLEN and paced:
            detail = f"the counter fell back from {self._last % self.modulus} and went on from there to {counter}"
            incidents.append(Incident(position, "reset", detail=detail))
            return self._begin(counter, arrival_ns)
        self._seen |= 1 << back
        incidents.append(Incident(position, "repeated" if known else "reordered"))
        return self._last - back


def steps_from(previous: int, values: IntArray) -> IntArray:
    """Differences (n,) of values (n,), the first from ``previous``: np.diff(prepend=), but quick for few."""
    steps = np.empty(len(values), dtype=np.int64)
    steps[0] = values[0] - previous
    np.subtract(values[1:], values[:-1], out=steps[1:])
    return steps


def spans(segment: IntArray) -> list[tuple[int, int]]:
    """Start and stop of each run of equal segments in (n,)."""
    if not len(segment) or segment[0] == segment[-1]:
        return [(0, len(segment))][: len(segment)]
    return list(pairwise([0, *(np.flatnonzero(np.diff(segment)) + 1).tolist(), len(segment)]))


class SparseIndex:
    """Sample numbers of a stream that is carried by only one frame in about ``ratio``.

    A sample's number is that of the nearest beat of a grid of ``ratio`` frames. The grid's phase may be anything
    and follows the samples by at most a frame each: it may creep, but a damaged frame that looks as if it
    carried a sample does not move the numbers behind it. A second sample for one beat is none.
    """

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio
        self.restart()

    def restart(self) -> None:
        """The next frame begins a new segment."""
        self._beat: float | None = None

    def update(self, frames: IntArray) -> tuple[IntArray, IntArray]:
        """Of the samples in frames number ``frames`` (n,): their numbers, and how many samples were lost
        before each: less than zero for one that comes behind a later one, TOO_SOON for one that is none."""
        if not len(frames):
            return frames, frames
        if self._beat is None:
            self._beat = float(frames[0]) - self.ratio
            self._index = int((frames[0] + 1e-6) // self.ratio) - 1
        gaps = np.diff(frames, prepend=self._beat)
        beats = np.floor(gaps / self.ratio + 0.5)
        steady = (beats > 0) & (np.abs(gaps - beats * self.ratio) <= 1)
        if len(frames) <= _SCALAR or not steady.all():
            pairs = np.array([self._next(frame) for frame in frames.tolist()], dtype=np.int64)
            return pairs[:, 0], pairs[:, 1]
        index = self._index + np.cumsum(beats.astype(np.int64))
        lost = np.diff(index, prepend=self._index) - 1
        self._beat, self._index = float(frames[-1]), int(index[-1])
        return index, lost

    def _next(self, frame: int) -> tuple[int, int]:
        gap = frame - (self._beat or 0.0)
        beats = math.floor(gap / self.ratio + 0.5)
        index, off = self._index + beats, gap - beats * self.ratio
        if beats <= 0:
            return index, TOO_SOON if beats == 0 else beats - 1
        self._beat = float(frame) if abs(off) <= 1 else frame - off + math.copysign(1.0, off)
        self._index = index
        return index, beats - 1


def sparse_events(stream: str, lost: IntArray, arrival_ns: IntArray) -> list[Event]:
    """What SparseIndex says about samples (n,) that arrived at ``arrival_ns`` (n,), as events."""
    events: list[Event] = []
    for k in np.flatnonzero(lost).tolist():
        count, at_ns = int(lost[k]), int(arrival_ns[k])
        if count == TOO_SOON:
            events.append(Malformed(f"a sample of {stream} sooner than its rate allows", 0, b"", at_ns))
        else:
            events.append(Lost(stream, count, at_ns) if count > 0 else Reordered(stream, 1, at_ns))
    return events
