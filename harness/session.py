"""One run: connect, stream, cut windows, infer, stamp every stage, record everything.

The same code runs in real time (link threads feed one inbox; windows are inferred one by one) and in
virtual time (the inbox pops simulated chunks; windows are inferred in batches, since nothing feeds back).
"""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from drivers.clock import Clock, Inbox, VirtualClock, to_ns
from drivers.driver import Driver
from drivers.errors import SensorError
from drivers.rawlog import DiskError
from drivers.types import Batch, Event, FloatArray, IntArray, LinkDown, LinkItem, LinkUp, Notice, Samples
from harness.monitor.heartbeat import NEVER, Heartbeat
from harness.observer import NOBODY, Observer
from harness.recorder import Recorder
from harness.rig import Rig
from harness.stage import Stage
from harness.track import Track, live_scores
from harness.windowing import Closing, Schedule, close_windows, waits_for

QUALITY_EVERY_NS = 1_000_000_000
QUANTUM_NS = 10_000_000_000
"""Virtual time comes in so large portions: fewer, larger batches."""
TROUBLE_EVERY_NS = 1_000_000_000
_TICK_NS = 50_000_000
_SPARE_NS = 15_000_000
"""Real time: so long before a window is due, everything else has to wait."""
_READY_NS = 500_000
"""Real time: so long before a window is due, nothing more is begun."""
_TALK_NS = 20_000_000
"""Virtual time: how finely time passes while a sensor is being started."""


@dataclass
class Progress:
    """What somebody who waits wants to see."""

    elapsed_s: float
    total_s: float
    samples: int
    windows: int
    worst_ms: float
    trouble: str = ""


@dataclass
class _Role:
    driver: Driver
    tracks: dict[str, Track]
    samples: int = 0
    problem: str = ""
    bytes: int = 0
    begun_ns: int | None = None
    """When connecting began."""
    streaming_ns: int | None = None
    """When its start-up exchange was over for the first time."""


@dataclass
class Session:
    """Built from a rig and its drivers by harness.bench; run() once."""

    rig: Rig
    clock: Clock
    inbox: Inbox
    drivers: Mapping[str, Driver]
    recorder: Recorder
    stage: Stage
    on_progress: Callable[[Progress], None] = lambda progress: None
    begin_ns: int | None = None
    """When the run shall begin, if that is known beforehand; otherwise as soon as everything is connected."""
    modelled_ns: int = 0
    """Virtual time: the model time that is assumed for each window."""
    trouble: Callable[[], str] = lambda: ""
    """Asked once a second: why the run cannot go on, or nothing."""
    observer: Observer = NOBODY
    """Is told what happens."""
    beat: Heartbeat = field(default_factory=Heartbeat)
    """What this loop says of itself to those who watch it."""
    roles: dict[str, _Role] = field(default_factory=dict)
    connect_errors: dict[str, str] = field(default_factory=dict)
    interrupted: str = ""
    """Why the run ended before its time."""
    crash: str = ""
    """Traceback, if it was the harness that failed."""
    error: Exception | None = None
    """And what it raised."""

    def __post_init__(self) -> None:
        for role, driver in self.drivers.items():
            self.roles[role] = _Role(driver, {spec.name: Track(spec) for spec in driver.streams})
        tracks = {f"{role}/{name}": t for role, r in self.roles.items() for name, t in r.tracks.items()}
        hop_ns = round(self.rig.window.hop_ms * 1e6)
        self.tracks = tracks
        self.waited = tuple(key for key, track in tracks.items() if waits_for(track.period_ns, hop_ns))
        self._awaited = [tracks[key] for key in self.waited]
        self.quality: dict[str, FloatArray] = {}
        self._scored_ns = dict.fromkeys(tracks, -QUALITY_EVERY_NS)
        self._scoring = itertools.cycle(tracks)
        self.start_ns = self.stop_ns = self.clock.now_ns()
        self._next_window = 0
        self._worst_ns = 0
        self._busy_until_ns = 0
        self._asked_ns = self.start_ns
        self._held: list[tuple[IntArray, IntArray, FloatArray]] = []
        self.beat.waiting = self.inbox.depth
        self.stage.attach(tracks)

    # --- the run ------------------------------------------------------------------------------

    def run(self) -> None:
        """Stream for the rig's duration; afterwards everything is in the recorder, however the run ended."""
        try:
            if self._connect():
                self._stream()
        except KeyboardInterrupt:
            self.stop("interrupted by the user")
        except DiskError:
            pass  # the recorder keeps the reason, and goes on in memory
        except Exception as error:  # noqa: BLE001  a fault of the harness must not cost what was received
            self.crash, self.error = traceback.format_exc(), error
            self.stop(f"the harness itself failed: {type(error).__name__}: {error}")
        finally:
            self.beat.due_ns = NEVER
            self.stop_ns = min(self.stop_ns, self.clock.now_ns())
            for role in self.roles.values():
                role.driver.close()

    def stop(self, reason: str) -> None:
        """End the run before its time, in order; the first reason counts. A signal handler may call this."""
        self.interrupted = self.interrupted or reason

    def _going(self) -> bool:
        """Nothing speaks against going on."""
        now_ns = self.clock.now_ns()
        if now_ns - self._asked_ns >= TROUBLE_EVERY_NS:
            self._asked_ns = now_ns
            trouble = self.trouble()
            if trouble:
                self.stop(trouble)
        return not self.interrupted

    def _connect(self) -> bool:
        started_ns = self.clock.now_ns()
        if isinstance(self.clock, VirtualClock):  # links plan their next portion ahead, so they must know it now
            self.clock.checkpoint_ns = (self.begin_ns or started_ns) + to_ns(self.rig.duration_s)
        for name, role in self.roles.items():
            role.begun_ns = self.clock.now_ns()
            try:
                role.driver.begin()
            except SensorError as error:
                self.connect_errors[name] = f"{type(error).__name__}: {error}"
        while not self._connected():
            if self.connect_errors or not self._going():
                break
            got = self.inbox.get(self.clock.now_ns() + _TICK_NS)
            if got is not None:
                self._take(*got)
                if isinstance(got[1], LinkDown):
                    self.connect_errors[got[0]] = f"LinkLost: the link went down while connecting: {got[1].reason}"
            self._tick(connecting=True)
            self._show(f"connecting, {(self.clock.now_ns() - started_ns) / 1e9:.0f} s")
        return not self.connect_errors and not self.interrupted

    def _connected(self) -> bool:
        """Every role streams, or has failed to."""
        for name, role in self.roles.items():
            if role.streaming_ns is None and role.driver.streaming:
                role.streaming_ns = self.clock.now_ns()
                self.observer.connected(name, role.begun_ns or role.streaming_ns, role.streaming_ns)
        return all(role.driver.streaming or name in self.connect_errors for name, role in self.roles.items())

    def _stream(self) -> None:
        start_ns = max(self.clock.now_ns(), self.begin_ns or 0)
        while self.clock.now_ns() < start_ns and self._going():  # history, for windows that reach back
            self._take_all(min(start_ns, self.clock.now_ns() + _TICK_NS))
        if not self._going():
            return
        self.start_ns, self.stop_ns = start_ns, start_ns + to_ns(self.rig.duration_s)
        self.schedule = Schedule.of(self.rig.window, start_ns, self.stop_ns)
        self.recorder.start(start_ns, self.waited)
        self.observer.begun(start_ns, self.waited)
        if isinstance(self.clock, VirtualClock):
            self.clock.checkpoint_ns = self.stop_ns
            self._virtual_loop()
        else:
            self._real_loop()
        if self.interrupted:
            self.stop_ns = min(self.stop_ns, self.clock.now_ns())
            self.schedule = Schedule.of(self.rig.window, start_ns, self.stop_ns)
        self._close_windows()
        self._give_up_windows()

    def _real_loop(self) -> None:
        preparing = False
        while self.clock.now_ns() < self.stop_ns and self._going():
            self.beat.due_ns = self._next_due_ns()
            self._take_all(self.clock.now_ns() if preparing else self._deadline_ns())
            closed = self._close_windows()
            left_ns = self._next_due_ns() - self.clock.now_ns()
            if closed or left_ns > _SPARE_NS:  # nothing but the window while one is due
                self._tick()
                self.recorder.tick(self.clock.now_ns())
                self._show()
                self.observer.beside(self.clock.now_ns(), self.inbox.depth())
            if closed:
                self._score()
            idle = not closed and _READY_NS < left_ns <= _SPARE_NS
            preparing = idle and self.stage.prefetch(self._next_due_ns())
        self.beat.due_ns = NEVER
        self._take_all(self.clock.now_ns())

    def _virtual_loop(self) -> None:
        """Links deliver by the quantum, so only at whole quanta is everything here that windows may see."""
        while self.clock.now_ns() < self.stop_ns and self._going():
            whole_ns = min((self.clock.now_ns() // QUANTUM_NS + 1) * QUANTUM_NS, self.stop_ns)
            while self.clock.now_ns() < whole_ns:
                talking = any(not role.driver.streaming for role in self.roles.values())
                self._take_all(min(whole_ns, self.clock.now_ns() + _TALK_NS) if talking else whole_ns)
                self._tick()
            self._close_windows()
            self.recorder.tick(self.clock.now_ns())
            self._show()

    def _give_up_windows(self) -> None:
        """What was due and never came to the model is on record too, as a miss."""
        due = self.schedule.due_ns(self._next_window, self.schedule.count)
        if len(due):
            stamps = np.full((len(due), 6), -1, dtype=np.int64)
            stamps[:, 0] = due
            late = np.zeros((len(due), len(self.waited)), dtype=np.int64)
            self.observer.windows(stamps, late)
            self._held.append((stamps, late, np.full((len(due), 1), np.nan)))
        self._record_windows(self.stage.outputs or 1)

    def _deadline_ns(self) -> int:
        now, next_due = self.clock.now_ns(), self._next_due_ns()
        soon = next_due - _SPARE_NS if now < next_due - _SPARE_NS else next_due
        waiting = soon if now < next_due else next_due + self.schedule.wait_ns
        return min(max(waiting, now), now + _TICK_NS, self.stop_ns)

    def _next_due_ns(self) -> int:
        if self._next_window >= self.schedule.count:  # after the last window there is only data to wait for
            return self.stop_ns + 2 * _SPARE_NS
        return self.schedule.first_ns + self._next_window * self.schedule.hop_ns

    # --- what arrives -------------------------------------------------------------------------

    def _take_all(self, deadline_ns: int) -> None:
        """What waits, or else the first that arrives until the deadline.

        In real time no more than that, however fast it comes: windows must get their turn.
        """
        self.beat.busy = False
        got = self.inbox.get(deadline_ns)
        self.beat.busy = True
        left = self.inbox.depth()
        while got is not None:
            self._take(*got)
            if not left and not self.clock.virtual:
                return
            left -= 1
            got = self.inbox.get(self.clock.now_ns())

    def _take(self, name: str, item: LinkItem) -> None:
        role = self.roles[name]
        if isinstance(item, Batch):
            self.recorder.batch(name, item)
            role.bytes += len(item.data)
            if not self.clock.virtual:
                self.observer.arrived(name, item)
        self._note(name, role, role.driver.handle(item))

    def _note(self, name: str, role: _Role, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Samples):
                times_ns = role.driver.times_ns(event)
                role.tracks[event.stream].add(event, times_ns)
                role.samples += len(times_ns)
                self.recorder.samples(name, event, times_ns)
            else:
                self.recorder.event(name, event)
                self.observer.incident(name, event)
                if isinstance(event, LinkDown | LinkUp):
                    role.problem = f"{name}: {event.reason}" if isinstance(event, LinkDown) else ""

    def _tick(self, connecting: bool = False) -> None:
        for name, role in self.roles.items():
            try:
                self._note(name, role, role.driver.tick())
            except SensorError as error:
                if connecting:
                    self.connect_errors[name] = f"{type(error).__name__}: {error}"
                else:
                    role.problem = f"{name}: {error}"
                    notice = Notice("reconnect_failed", str(error), self.clock.now_ns())
                    self.recorder.event(name, notice)
                    self.observer.incident(name, notice)
                    role.driver.give_up()

    # --- windows ------------------------------------------------------------------------------

    def _close_windows(self) -> bool:
        """Every window that may close now; in real time one, so that what arrives is stamped in between."""
        decoded_ns = self.clock.now_ns()
        if decoded_ns < self._next_due_ns():
            return False
        closing = close_windows(self.schedule, self._next_window, self._awaited, decoded_ns, sure=self.clock.virtual)
        if not len(closing.due_ns):
            return False
        if not self.clock.virtual:
            closing = Closing(closing.due_ns[:1], closing.closed_ns[:1], closing.late[:1])
        self._next_window += len(closing.due_ns)
        quality = self._quality_then(closing.due_ns) if self.clock.virtual else self.quality
        inputs = self.stage.gather(closing.due_ns, quality, closing.closed_ns, closing.late)
        windowed_ns = self.clock.now_ns()
        outputs = self.stage.infer(inputs)
        inferred_ns = self.clock.now_ns()
        stamps = np.full((len(closing.due_ns), 6), -1, dtype=np.int64)
        stamps[:, 0], stamps[:, 1] = closing.due_ns, closing.closed_ns
        produced = np.isfinite(outputs).all(axis=1)
        if self.clock.virtual:
            stamps[:, 2] = stamps[:, 3] = closing.closed_ns
            stamps[:, 4] = stamps[:, 5] = self._service(closing.closed_ns)
        else:
            stamps[:, 2:] = (decoded_ns, windowed_ns, inferred_ns, self.clock.now_ns())
        stamps[~produced, 4:] = -1
        if produced.any():
            self._worst_ns = max(self._worst_ns, int((stamps[produced, 5] - stamps[produced, 0]).max()))
        self._held.append((stamps, closing.late, outputs))
        self._record_windows(self.stage.outputs)
        self.observer.windows(stamps, closing.late)
        return True

    def _record_windows(self, columns: int) -> None:
        """What is held goes on record as soon as it is known how many outputs the model has."""
        held, self._held = (self._held, []) if columns else ([], self._held)
        for stamps, late, outputs in held:
            full = outputs if outputs.shape[1] == columns else np.full((len(outputs), columns), np.nan)
            self.recorder.windows(stamps, late, full)

    def _service(self, closed_ns: IntArray) -> IntArray:
        """Virtual time: a server that takes ``modelled_ns`` per window, one after the other."""
        done = np.empty_like(closed_ns)
        for number, closed in enumerate(closed_ns.tolist()):
            self._busy_until_ns = max(closed, self._busy_until_ns) + self.modelled_ns
            done[number] = self._busy_until_ns
        return done

    # --- beside the windows -------------------------------------------------------------------

    def _score(self) -> None:
        """Real time: refresh the quality of one stream, right after a window, when there is time until the next."""
        now_ns = self.clock.now_ns()
        for _ in self._scored_ns:
            key = next(self._scoring)
            if now_ns - self._scored_ns[key] >= QUALITY_EVERY_NS:
                self._scored_ns[key] = now_ns
                self.quality[key] = self._scores(key, np.array([now_ns]))
                return

    def _quality_then(self, due_ns: IntArray) -> dict[str, FloatArray]:
        """Virtual time: the quality that was known when each window was due, refreshed every whole second."""
        moments = self.start_ns + (due_ns - self.start_ns) // QUALITY_EVERY_NS * QUALITY_EVERY_NS
        ends_ns, place = np.unique(moments, return_inverse=True)
        return {key: self._scores(key, ends_ns)[place] for key in self.tracks}

    def _scores(self, key: str, ends_ns: IntArray) -> FloatArray:
        found = live_scores(self.tracks[key], ends_ns)
        self.observer.scored(key, ends_ns, found)
        return found.score

    def _show(self, trouble: str = "") -> None:
        elapsed = max(0, self.clock.now_ns() - self.start_ns) / 1e9
        troubles = trouble or "; ".join(role.problem for role in self.roles.values() if role.problem)
        samples = sum(role.samples for role in self.roles.values())
        self.on_progress(
            Progress(elapsed, self.rig.duration_s, samples, self._next_window, self._worst_ns / 1e6, troubles)
        )
