"""Logs what happens in a run: sensors, windows, quality, verdicts. See harness.monitor.log_schema for the events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from drivers.clock import Clock, RealClock, to_ns
from drivers.quality import Scores
from drivers.types import CounterReset, Event, FloatArray, IntArray, LinkDown, LinkUp, Notice
from harness.latency import STEPS
from harness.monitor.health import Crossing
from harness.monitor.log_privacy import Privacy
from harness.monitor.logs import LOGGER, StructuredLogger
from harness.observer import Observer
from harness.recording import STAGES
from harness.rig import Rig
from harness.verdict import Outcome

if TYPE_CHECKING:
    from harness.run import Result

QUALITY_EVERY_S = 5.0
DEFAULT_LIMIT_MS = 100.0
MOST_VIOLATIONS = 20
"""Latency violations of one second that are logged singly; the second's `misses` counts all."""
LONGEST_ERROR = 500
"""Characters of a model's error that are logged."""
_HARMLESS = ("location",)
"""Notices whose names sound personal: where on the body a strap is worn."""
_LEVELS = {Outcome.PASS: "info", Outcome.FAIL: "error"}


def latency_limit_ms(rig: Rig) -> float:
    """Beyond it a window is a miss."""
    return float(rig.limits.get("latency", {}).get("max_ms", DEFAULT_LIMIT_MS))


def window_latencies_ms(rig: Rig, stamps_ns: IntArray, waited_for: Sequence[str]) -> FloatArray:
    """Due to judged for windows (n, 6), with the declared floor; inf where none was. As far as is known at once:
    harness.latency also charges for samples that come later."""
    roles = {key.split("/")[0] for key in waited_for}
    floor_ms = max((rig.sensors[role].floor_ms for role in roles if role in rig.sensors), default=0.0)
    spent = (stamps_ns[:, -1] - stamps_ns[:, 0]) / 1e6 + floor_ms
    return np.where(stamps_ns[:, -1] < 0, np.inf, spent)


class RunLog(Observer):
    """Turns what a session tells into events. ``privacy``: that of the log, so that pseudonyms agree."""

    def __init__(self, rig: Rig, mode: str, privacy: Privacy) -> None:
        self._rig, self._mode, self._privacy = rig, mode, privacy
        self._log = StructuredLogger(LOGGER, clock=RealClock(), personal=privacy, console=False, level=None)
        self._limit_ms = latency_limit_ms(rig)
        self._start_ns = 0
        self._waited: tuple[str, ...] = ()
        self._down_ns: dict[str, int] = {}
        self._scored: dict[str, tuple[int, frozenset[str]]] = {}
        self._second: int | None = None
        self._spent: list[FloatArray] = []
        self._told_violations = 0
        self._failed: list[str] = []
        self._errors: list[str] = []
        self.answered = self.misses = 0

    # --- the session's calls ------------------------------------------------------------------

    def opened(self, clock: Clock) -> None:
        """From now on, times are on the run's clock."""
        self._log = StructuredLogger(LOGGER, clock=clock, personal=self._privacy, console=False, level=None)

    def connected(self, role: str, begun_ns: int, streaming_ns: int) -> None:
        """sensor_connected"""
        self._sensor("sensor_connected", role, streaming_ns, after_ms=(streaming_ns - begun_ns) / 1e6)

    def begun(self, start_ns: int, waited_for: Sequence[str]) -> None:
        """run_started"""
        self._start_ns, self._waited = start_ns, tuple(waited_for)
        rig = self._rig
        facts = {
            "rig": rig.name, "mode": self._mode, "seed": rig.seed, "duration_s": rig.duration_s,
            "sensors": {role: entry.sensor for role, entry in rig.sensors.items()}, "checks": list(rig.limits),
        }  # fmt: skip
        self._log.put("run_started", facts, at_ns=start_ns)

    def incident(self, role: str, event: Event) -> None:
        """sensor_lost, sensor_returned, sensor_failed, sensor_notice; what codecs count is for the recording."""
        if isinstance(event, LinkDown):
            self._down_ns.setdefault(role, event.arrival_ns)
            self._sensor("sensor_lost", role, event.arrival_ns, reason=event.reason)
        elif isinstance(event, LinkUp):
            since_ns = event.arrival_ns - self._down_ns.pop(role, event.arrival_ns)
            self._sensor("sensor_returned", role, event.arrival_ns, after_ms=since_ns / 1e6)
        elif isinstance(event, Notice) and event.name == "reconnect_failed":
            self._sensor("sensor_failed", role, event.arrival_ns, reason=str(event.value))
        elif isinstance(event, Notice):
            self._notice(role, event.name, event.value, event.arrival_ns)
        elif isinstance(event, CounterReset):
            self._notice(role, "clock_step" if event.clock else "counter_reset", event.detail, event.arrival_ns)

    def scored(self, stream: str, ends_ns: IntArray, found: Scores) -> None:
        """data_quality_check, every few seconds and when flags change."""
        for window, end_ns in enumerate(ends_ns.tolist()):
            flags = frozenset(name for name, raised in found.flags.items() if raised[window])
            before_ns, before = self._scored.get(stream, (end_ns - to_ns(QUALITY_EVERY_S), frozenset()))
            if end_ns - before_ns >= to_ns(QUALITY_EVERY_S) or flags != before:
                self._scored[stream] = end_ns, flags
                score = float(found.score[window])
                facts = {
                    "sensor": stream.partition("/")[0], "stream": stream,
                    "quality_score": None if np.isnan(score) else round(score, 3), "flags": sorted(flags),
                }  # fmt: skip
                self._log.put("data_quality_check", facts, at_ns=end_ns)

    def model_failed(self, why: str) -> None:
        """The `error` of the second in which the windows are due that this is about."""
        self._failed.append(why if len(why) <= LONGEST_ERROR else why[:LONGEST_ERROR] + "...")

    def windows(self, stamps_ns: IntArray, late: IntArray) -> None:
        """model_inference for each second, latency_violation for each miss."""
        spent = window_latencies_ms(self._rig, stamps_ns, self._waited)
        seconds = (stamps_ns[:, 0] - self._start_ns) // to_ns(1.0)
        first = 0
        while first < len(seconds):
            second = int(seconds[first])
            stop = int(np.searchsorted(seconds, second, side="right"))
            if second != self._second:
                self._end_second()
                self._second = second
            self._errors, self._failed = [*self._errors, *self._failed], []
            self._spent.append(spent[first:stop])
            for number in np.flatnonzero(~(spent[first:stop] <= self._limit_ms)) + first:
                self._violation(stamps_ns[number], float(spent[number]), late[number])
            first = stop

    # --- at the end ---------------------------------------------------------------------------

    def ended(self, result: Result) -> None:
        """sensor_failed for what could not be connected, the calls of the rig's API, the verdicts, run_ended."""
        self._end_second()
        end_ns = result.recording.stop_ns
        for role, reason in result.recording.meta.get("connect_errors", {}).items():
            self._sensor("sensor_failed", role, end_ns, reason=reason)
        for call in result.recording.calls:
            facts = {
                "endpoint": call.endpoint, "result": call.result, "status": call.status, "latency_ms": call.ms,
                "error": call.why,
            }  # fmt: skip
            self._log.put("api_call", facts, level="info" if call.passed else "warning", at_ns=call.at_ns)
        for v in result.verdicts:
            facts = {
                "check": v.check, "about": v.subject, "outcome": str(v.outcome), "reason": v.reason,
                "measure": v.measure, "value": v.value, "unit": v.unit, "limit": v.limit, "n": v.n,
            }  # fmt: skip
            self._log.put("verdict", facts, level=_LEVELS.get(v.outcome, "warning"), at_ns=end_ns)
        outcome = result.report["outcome"]
        if outcome["exit_code"] == 130:
            self._log.put("user_interaction", {"action": "interrupt"}, at_ns=end_ns)
        facts = {
            "exit_code": outcome["exit_code"], "meaning": outcome["meaning"],
            "interrupted": result.recording.interrupted, "windows": self.answered, "misses": self.misses,
        }  # fmt: skip
        self._log.put("run_ended", facts, level="info" if outcome["exit_code"] == 0 else "error", at_ns=end_ns)

    def failed(self, error: BaseException) -> None:
        """The run could not begin, or ended with an exception."""
        facts = {"exit_code": None, "meaning": f"{type(error).__name__}: {error}", "interrupted": "the run failed"}
        self._log.put("run_ended", {**facts, "windows": self.answered, "misses": self.misses}, level="error")

    def interaction(self, action: str, options: Sequence[str]) -> None:
        """user_interaction: what somebody asked for."""
        self._log.put("user_interaction", {"action": action, "options": list(options)})

    def crossing(self, crossing: Crossing) -> None:
        """alert: a metric went beyond its threshold or came back."""
        facts = {
            "metric": crossing.metric, "state": "beyond" if crossing.beyond else "back",
            "mean": crossing.mean, "limit": crossing.limit, "side": crossing.side,
        }  # fmt: skip
        self._log.put("alert", facts, level=None if crossing.beyond else "info")

    # --- events -------------------------------------------------------------------------------

    def _sensor(self, event_type: str, role: str, at_ns: int, **facts: Any) -> None:
        entry = self._rig.sensors.get(role)
        sensor = entry.sensor if entry is not None else None
        self._log.put(event_type, {"role": role, "sensor": sensor, **facts}, at_ns=at_ns)

    def _notice(self, role: str, name: str, value: object, at_ns: int) -> None:
        category = "" if name in _HARMLESS else self._privacy.category(name)  # the text stands under another key here
        text = self._privacy.hide(category, value) if category else str(value)
        self._log.put("sensor_notice", {"role": role, "notice": name, "text": text}, at_ns=at_ns)

    def _end_second(self) -> None:
        """Tell of the windows that were due in the second that is over."""
        if not self._spent or self._second is None:
            return
        spent = [one for some in self._spent for one in some.tolist()]
        done = [one for one in spent if math.isfinite(one)]
        misses = sum(not one <= self._limit_ms for one in spent)
        errors, self._errors = "; ".join(self._errors), []
        self._spent, self._told_violations = [], 0
        self.answered += len(done)
        self.misses += misses
        facts = {
            "n": len(done),
            "latency_ms": round(median(done), 3) if done else None,
            "max_ms": round(max(done), 3) if done else None,
            "misses": misses,
        }
        facts |= {"error": errors} if errors else {}
        self._log.put(
            "model_inference",
            facts,
            level="warning" if errors else None,
            at_ns=self._start_ns + to_ns(self._second + 1),
        )

    def _violation(self, stamps_ns: IntArray, spent_ms: float, late: IntArray) -> None:
        self._told_violations += 1
        if self._told_violations > MOST_VIOLATIONS:
            return
        reached = [name for name, stamp in zip(STAGES, stamps_ns.tolist(), strict=True) if stamp >= 0]
        stage = f"never {STAGES[len(reached)]}" if len(reached) < len(STAGES) else _slowest(stamps_ns)
        facts = {
            "due_ns": int(stamps_ns[0]), "latency_ms": spent_ms if np.isfinite(spent_ms) else None,
            "limit_ms": self._limit_ms, "stage": stage,
            "late": [key for key, flag in zip(self._waited, late.tolist(), strict=True) if flag],
        }  # fmt: skip
        self._log.put("latency_violation", facts, at_ns=int(stamps_ns.max()))


def _slowest(stamps_ns: IntArray) -> str:
    """The step that took the longest."""
    at = {name: int(stamp) for name, stamp in zip(STAGES, stamps_ns, strict=True)}
    return max(STEPS, key=lambda step: at[step[2]] - at[step[1]])[0]
