"""Where a health report comes from: a server that runs, a run's folder, or a log."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np
from numpy.typing import NDArray

from drivers.clock import VirtualClock, to_ns
from harness.monitor.health import HealthMonitor
from harness.monitor.log_reader import LogEvent, iter_log
from harness.monitor.run_metrics import INBOX, LATENCY, MEMORY, METRICS, MISSES, MISSES_LIMIT, QUALITY, metric_problem

if TYPE_CHECKING:
    from harness.recording import Recording

REPORT = "report.json"
_MOST_BYTES = 4_000_000


class UnreachableError(Exception):
    """There is no report to be had; the message says why and what to try."""


class UnknownMetricError(ValueError):
    """A threshold is for a metric that cannot come; the message says what there is."""


def is_url(what: str) -> bool:
    """``http://`` or ``https://``."""
    return what.lower().startswith(("http://", "https://"))


# --- a server ---------------------------------------------------------------------------------


def from_server(url: str, timeout_s: float = 5.0) -> dict[str, Any]:
    """What GET ``/health`` of a server says, be it that its model is stuck (503 with a report); UnreachableError."""
    parts = urlsplit(url)
    at = urlunsplit(
        (parts.scheme, parts.netloc, parts.path if parts.path not in ("", "/") else "/health", parts.query, "")
    )
    opener = build_opener(ProxyHandler({})) if parts.hostname in ("127.0.0.1", "localhost", "::1") else build_opener()
    try:
        with opener.open(Request(at, headers={"Accept": "application/json"}), timeout=timeout_s) as response:  # noqa: S310
            body = response.read(_MOST_BYTES)
    except HTTPError as error:
        with error:
            body = error.read(_MOST_BYTES) if error.code == 503 else b""
        if not body.lstrip().startswith(b"{"):  # 503 with a report is a server whose model is stuck
            raise UnreachableError(f"{at} answers HTTP {error.code} {error.reason}: is this a `hil serve`?") from error
    except (URLError, OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        raise UnreachableError(
            f"{at} cannot be reached: {why}; is the server running, and is the port right?"
        ) from error
    try:
        return checked(json.loads(body))
    except ValueError as error:
        raise UnreachableError(f"{at} answered something that is no health report: {error}") from error


def checked(report: Any) -> dict[str, Any]:
    """A report with all that is shown of it; ValueError."""
    if not isinstance(report, dict) or not isinstance(report.get("metrics"), dict):
        raise ValueError(f"expected an object with metrics, found {str(report)[:80]!r}")
    for name, values in report["metrics"].items():
        wanted = (
            [values.get(key) for key in ("current", "average", "min", "max")] if isinstance(values, dict) else [None]
        )
        if not all(isinstance(value, int | float) for value in wanted):
            raise ValueError(f"metric {name!r}: expected current, average, min and max, found {str(values)[:80]!r}")
    alerts = report.get("alerts")
    if not isinstance(alerts, list) or not all(_is_alert(alert) for alert in alerts):
        raise ValueError("expected alerts as pairs of time and text")
    return {"status": "alert" if alerts else "ok", **report}


def _is_alert(alert: Any) -> bool:
    return isinstance(alert, list) and len(alert) == 2 and isinstance(alert[0], int | float)


# --- a run ------------------------------------------------------------------------------------


def from_run(folder: Path, limits: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The health of a recorded run: as it was reported, or, where ``limits`` are given or nothing was reported, worked
    out again from the recording. ``alert`` if there was one at any time.

    ``limits`` go before those of the rig. What a recording does not keep is judged by its last values as they were
    reported. RecordingError; UnknownMetricError.
    """
    said = _reported(folder)
    if limits is None and said is not None:
        return over_all(said)
    return over_all(_from_recording(folder, limits or {}, said))


def _reported(folder: Path) -> dict[str, Any] | None:
    """What the run said of its health; None for a virtual run, or one that was killed."""
    try:
        return checked(json.loads((folder / REPORT).read_text("utf-8"))["host"]["health"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def over_all(report: dict[str, Any]) -> dict[str, Any]:
    """Of something that is over, any alert counts."""
    return {**report, "status": "alert" if report["alerts"] else "ok"}


def _from_recording(folder: Path, limits: Mapping[str, float], said: Mapping[str, Any] | None) -> dict[str, Any]:
    from harness.latency import latencies_ms
    from harness.monitor.run_health import thresholds_of
    from harness.monitor.run_log import latency_limit_ms
    from harness.recording_files import load_recording

    recording = load_recording(folder)
    kept = said["metrics"] if said is not None else {}
    heard = {key.split("/")[0] for key in recording.streams}
    silent = [f"{QUALITY}{role}/" for role in recording.rig.sensors if role not in heard]
    _refuse_unknown(limits, [*METRICS, *(QUALITY + key for key in recording.streams), *kept], silent)
    above, below = thresholds_of(recording.rig)
    above = {**above, **limits}
    missed = ~(latencies_ms(recording) <= latency_limit_ms(recording.rig))
    began = recording.host.get("utc")
    shift_ns = to_ns(datetime.fromisoformat(began).timestamp() if began else 0.0) - recording.start_ns
    rows = sorted(_rows(recording, missed))
    report = replayed(((at + shift_ns, name, value) for at, name, value in rows), above, below)
    further = {name: values for name, values in kept.items() if name not in report["metrics"]}
    at_s = (recording.stop_ns + shift_ns) / 1e9
    alerts = [
        [at_s, f"ALERT: {name} above threshold: {values['average']:.2f} > {limits[name]}"]
        for name, values in further.items()
        if name in limits and values["average"] > limits[name]
    ]
    metrics = dict(sorted({**report["metrics"], **further}.items()))
    report |= {"metrics": metrics, "alerts": [*report["alerts"], *alerts]}
    return {**report, "windows": len(missed), "missed": int(np.count_nonzero(missed))}


def _rows(recording: Recording, missed: NDArray[np.bool_]) -> Iterator[tuple[int, str, float]]:
    """(Time on the run's clock, metric, value) of all that a recording holds, metric after metric."""
    from harness.latency import latencies_ms
    from harness.quality import scores_of

    due_ns = recording.windows.stamps_ns[:, 0]
    for at, ms in zip(due_ns.tolist(), latencies_ms(recording).tolist(), strict=True):
        if math.isfinite(ms):
            yield at, LATENCY, ms
    seconds = (due_ns - recording.start_ns) // to_ns(1.0)
    for second in np.unique(seconds).tolist():
        at_ns = recording.start_ns + to_ns(second + 1.0)
        yield at_ns, MISSES, float(np.count_nonzero(missed[seconds == second]))
    for name, column, scale in ((MEMORY, "rss_bytes", 1e-6), (INBOX, "inbox_depth", 1.0)):
        values = recording.resources.column(column) * scale
        yield from ((at, name, v) for at, v in zip(recording.resources.at_ns.tolist(), values.tolist(), strict=True))
    for key, stream in recording.streams.items():
        ends_ns, found = scores_of(recording, stream)
        for at, score in zip(ends_ns.tolist(), found.score.tolist(), strict=True):
            if math.isfinite(score):
                yield at, QUALITY + key, score


def _refuse_unknown(limits: Mapping[str, float], known: Iterable[str], unsure: Iterable[str]) -> None:
    """UnknownMetricError for the first limit that nothing could ever cross."""
    known, unsure = list(known), tuple(unsure)
    for name in limits:
        problem = metric_problem(name, known, unsure)
        if problem:
            raise UnknownMetricError(problem)


def replayed(
    rows: Iterator[tuple[int, str, float]], above: Mapping[str, float], below: Mapping[str, float]
) -> dict[str, Any]:
    """The report at the end of (Unix time in ns, metric, value) in order, with thresholds checked all along."""
    clock = VirtualClock(start_utc=datetime.fromtimestamp(0, UTC))
    monitor = HealthMonitor(clock)
    for at_ns, name, value in rows:
        clock.sleep_until(at_ns)
        monitor.record_metric(name, value)
        if name in above or name in below:
            one_above = {name: above[name]} if name in above else {}
            monitor.check_thresholds(one_above, {name: below[name]} if name in below else {})
    return {"status": monitor.status, **monitor.get_health_report()}


# --- a log ------------------------------------------------------------------------------------

_VALUES = {
    "model_inference": (("latency_ms", LATENCY), ("max_ms", "latency_max_ms"), ("misses", MISSES)),
    "api_call": (("latency_ms", "api_ms"),),
}
"""Event type -> its fields that are metrics."""


def from_log(path: Path, above: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The health of what wrote a log: metrics from its events, and its alerts. ``alert`` if there was one at any time;
    ``above``: thresholds to judge by besides; ``misses`` has one in any case. OSError; UnknownMetricError."""
    given = above or {}
    alerts: list[list[Any]] = []
    told: set[str] = set()
    roles: dict[str, None] = {}
    missed = 0.0

    def rows() -> Iterator[tuple[int, str, float]]:
        nonlocal missed
        for event in iter_log(path):
            if not isinstance(event, LogEvent):
                continue
            at_s = event.utc.timestamp()
            if event.event_type == "alert" and event.data.get("state") == "beyond":
                alerts.append([at_s, _alert_text(event)])
                told.add(str(event.data.get("metric")))
            if event.event_type == "run_started" and isinstance(event.data.get("sensors"), dict):
                roles.update(dict.fromkeys(event.data["sensors"]))
            for name, value in _metrics_of(event):
                missed += value if name == MISSES else 0.0
                yield to_ns(at_s), name, value

    report = replayed(rows(), {MISSES: MISSES_LIMIT, **given}, {})
    scored = [name for name in report["metrics"] if name.startswith(QUALITY)]
    silent = [f"{QUALITY}{role}/" for role in roles if not any(n.startswith(f"{QUALITY}{role}/") for n in scored)]
    fields = [metric for pairs in _VALUES.values() for _, metric in pairs]
    _refuse_unknown(given, [*METRICS, *fields, *report["metrics"]], silent)
    found = [list(alert) for alert in report["alerts"]]
    if MISSES in told and MISSES not in given:  # the run said so itself
        found = [alert for alert in found if not alert[1].startswith(f"ALERT: {MISSES} ")]
    return over_all({**report, "missed": int(missed), "alerts": sorted(alerts + found, key=_alert_time)[-10:]})


def _alert_time(alert: Sequence[Any]) -> float:
    return float(alert[0])


def _metrics_of(event: LogEvent) -> Iterator[tuple[str, float]]:
    data = event.data
    for field, metric in _VALUES.get(event.event_type, ()):
        if isinstance(data.get(field), int | float):
            yield metric, float(data[field])
    score = data.get("quality_score")
    if event.event_type == "data_quality_check" and isinstance(score, int | float):
        yield f"{QUALITY}{data.get('stream') or data.get('sensor') or ''}", float(score)


def _alert_text(event: LogEvent) -> str:
    data = event.data
    return f"ALERT: {data.get('metric')} {data.get('side')} threshold: {data.get('mean')} against {data.get('limit')}"
