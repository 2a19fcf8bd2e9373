"""Health of something that runs: named metrics, thresholds on their recent mean, alerts, and a report.

Memory is bounded whatever the rate and however long it runs. Of each metric the last ten values are kept as they
are: the report and the thresholds look at nothing else, so both are exact. What is older is kept for an hour, one
entry per second with count, least, greatest and mean; a metric that comes once a second loses nothing by that.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple

from drivers.clock import Clock, RealClock

RECENT = 10
"""Values that thresholds and the report look at."""
KEEP_S = 3600.0
MOST_ALERTS = 1000
MOST_METRICS = 1000
"""Names beyond these are refused and counted: a name made from what comes in must not eat the memory."""
OTHER_METRICS = "(further metrics)"
"""Under this name values of refused names are counted."""


class Alert(NamedTuple):
    """Something to tell: also a plain pair of Unix time and text."""

    time_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Crossing:
    """A metric's recent mean went beyond its threshold, or came back."""

    metric: str
    mean: float
    limit: float
    side: str
    """``above`` or ``below``: where values are bad."""
    beyond: bool
    time_s: float

    @property
    def text(self) -> str:
        """One line for people."""
        if self.beyond:
            sign = ">" if self.side == "above" else "<"
            return f"ALERT: {self.metric} {self.side} threshold: {self.mean:.2f} {sign} {self.limit}"
        sign = "<=" if self.side == "above" else ">="
        return f"NOTE: {self.metric} no longer {self.side} threshold: {self.mean:.2f} {sign} {self.limit}"


class Second(NamedTuple):
    """What is kept of the values of one metric in one second."""

    time_s: float
    """Of its first value."""
    n: int
    least: float
    greatest: float
    mean: float


@dataclass(slots=True)
class _Metric:
    recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=RECENT))
    seconds: dict[int, Second] = field(default_factory=dict)
    """Unix second -> its values, in the order in which they first came."""


class HealthMonitor:
    """Takes metrics from any thread.

    ``clock`` dates what comes without a timestamp; a virtual one works. ``every_check``: a threshold that stays
    crossed alerts at every check instead of once. ``on_crossing`` is called for each alert and each return, outside
    the lock and in the thread that checks.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        keep_s: float = KEEP_S,
        *,
        every_check: bool = False,
        on_crossing: Callable[[Crossing], None] = lambda crossing: None,
    ) -> None:
        if not 1 <= keep_s < math.inf:
            raise ValueError(f"keep_s: expected seconds, at least 1, found {keep_s}")
        self._clock, self._keep_s, self._every_check = clock or RealClock(), keep_s, every_check
        self._on_crossing = on_crossing
        self._lock = Lock()
        self._metrics: dict[str, _Metric] = {}
        self._refused: dict[str, int] = {}
        self._beyond: dict[tuple[str, str], float] = {}
        self._alerts: deque[Alert] = deque(maxlen=MOST_ALERTS)
        self._notes: deque[Alert] = deque(maxlen=MOST_ALERTS)

    # --- taking -------------------------------------------------------------------------------

    def record_metric(self, name: str, value: float, timestamp: float | None = None) -> None:
        """A value at a Unix time in seconds, now if there is none. What is no finite number is counted and left out.

        Values more than ``keep_s`` older than this one are forgotten. Times are expected to rise.
        """
        at_s = self._clock.utc().timestamp() if timestamp is None else float(timestamp)
        number = _number(value)
        with self._lock:
            metric = self._metrics.get(name)
            if metric is None and len(self._metrics) >= MOST_METRICS:
                name = OTHER_METRICS
                number = None
            if number is None or not math.isfinite(at_s):
                self._refused[name] = self._refused.get(name, 0) + 1
                return
            if metric is None:
                metric = self._metrics[name] = _Metric()
            self._put(metric, at_s, number)

    def _put(self, metric: _Metric, at_s: float, value: float) -> None:
        oldest_s = at_s - self._keep_s
        if any(time_s <= oldest_s for time_s, _ in metric.recent):
            metric.recent = deque((pair for pair in metric.recent if pair[0] > oldest_s), maxlen=RECENT)
        metric.recent.append((at_s, value))
        second = math.floor(at_s)
        had = metric.seconds.get(second)
        if had is not None:
            mean = had.mean + (value - had.mean) / (had.n + 1)
            metric.seconds[second] = Second(
                had.time_s, had.n + 1, min(had.least, value), max(had.greatest, value), mean
            )
            return
        metric.seconds[second] = Second(at_s, 1, value, value, value)
        most = math.ceil(self._keep_s) + 1
        while metric.seconds:
            first = next(iter(metric.seconds))
            if first == second or (metric.seconds[first].time_s > oldest_s and len(metric.seconds) <= most):
                break
            del metric.seconds[first]

    # --- judging ------------------------------------------------------------------------------

    def check_thresholds(
        self, thresholds: Mapping[str, float], below: Mapping[str, float] | None = None
    ) -> list[Alert]:
        """Compare the mean of each metric's last ten values with its limit; the new alerts.

        An alert when it exceeds a limit of ``thresholds`` or falls under one of ``below``, and a note when it has
        come back; in between nothing, unless ``every_check`` was asked for. A metric that never came is passed over.
        ValueError for a limit that is NaN, which nothing could exceed.
        """
        found: list[Crossing] = []
        with self._lock:
            at_s = self._clock.utc().timestamp()
            for side, limits in (("above", thresholds), ("below", below or {})):
                for name, limit in limits.items():
                    if math.isnan(limit):
                        raise ValueError(f"the threshold of {name}: expected a number, found NaN")
                    crossing = self._compare(name, limit, side, at_s)
                    if crossing is not None:
                        found.append(crossing)
            alerts = [Alert(at_s, crossing.text) for crossing in found if crossing.beyond]
            self._alerts.extend(alerts)
            self._notes.extend(Alert(at_s, crossing.text) for crossing in found if not crossing.beyond)
        for crossing in found:
            self._on_crossing(crossing)
        return alerts

    def _compare(self, name: str, limit: float, side: str, at_s: float) -> Crossing | None:
        """What there is to tell about one metric, if anything."""
        metric = self._metrics.get(name)
        if metric is None or not metric.recent:
            return None
        mean = _mean(metric)
        beyond = mean > limit if side == "above" else mean < limit
        was = (name, side) in self._beyond
        if beyond:
            self._beyond[name, side] = limit
        else:
            self._beyond.pop((name, side), None)
        tell = beyond != was or (beyond and self._every_check)
        return Crossing(name, mean, limit, side, beyond, at_s) if tell else None

    # --- telling ------------------------------------------------------------------------------

    @property
    def alerts(self) -> list[Alert]:
        """The newest thousand, the oldest first."""
        with self._lock:
            return list(self._alerts)

    @property
    def notes(self) -> list[Alert]:
        """When metrics came back within their thresholds; the newest thousand, the oldest first."""
        with self._lock:
            return list(self._notes)

    @property
    def status(self) -> str:
        """``alert`` while any metric was beyond its threshold when it was last checked, else ``ok``."""
        with self._lock:
            return "alert" if self._beyond else "ok"

    @property
    def refused(self) -> dict[str, int]:
        """Metric -> how many values were no finite numbers."""
        with self._lock:
            return dict(self._refused)

    @property
    def metrics(self) -> dict[str, list[tuple[float, float]]]:
        """Metric -> (Unix time, value) of each second kept: the value itself, or the mean where several came."""
        with self._lock:
            return {name: [(s.time_s, s.mean) for s in m.seconds.values()] for name, m in self._metrics.items()}

    def history(self, name: str) -> list[Second]:
        """What is kept of a metric, one entry per second in which it came; empty for one that never came."""
        with self._lock:
            metric = self._metrics.get(name)
            return list(metric.seconds.values()) if metric is not None else []

    def get_health_report(self) -> dict[str, Any]:
        """``timestamp`` (UTC), ``metrics`` (name -> current, average, min, max of the last ten values), ``alerts``
        (the last ten), and ``refused`` (name -> count) where values were no finite numbers. Ready for JSON."""
        with self._lock:
            report: dict[str, Any] = {
                "timestamp": utc_text(self._clock),
                "metrics": {name: _summary(metric) for name, metric in self._metrics.items() if metric.recent},
                "alerts": list(self._alerts)[-10:],
            }
            if self._refused:
                report["refused"] = dict(self._refused)
            return report


def utc_text(clock: Clock) -> str:
    """Wall time as ISO 8601 in UTC, to the microsecond, with a Z."""
    return clock.utc().isoformat(timespec="microseconds").replace("+00:00", "Z")


def _number(value: object) -> float | None:
    """A finite float, or None; numpy's numbers are numbers, text is not."""
    if isinstance(value, str | bytes) or value is None:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _mean(metric: _Metric) -> float:
    n = len(metric.recent)
    mean = sum(value for _, value in metric.recent) / n
    return mean if math.isfinite(mean) else sum(value / n for _, value in metric.recent)  # the sum was too large


def _summary(metric: _Metric) -> dict[str, float]:
    values = [value for _, value in metric.recent]
    return {"current": values[-1], "average": _mean(metric), "min": min(values), "max": max(values)}
