"""Which events a run logs, with which data: the documented vocabulary. Other event types may be logged too."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Field:
    """One entry of an event's data."""

    kind: str
    """``text``, ``number``, ``integer``, ``list`` or ``mapping``; null stands for what is unknown."""
    help: str
    needed: bool = True


@dataclass(frozen=True, slots=True)
class EventType:
    """What one type of event tells."""

    help: str
    fields: Mapping[str, Field]
    level: int = logging.INFO


def _optional(kind: str, text: str) -> Field:
    return Field(kind, text, needed=False)


_ROLE = Field("text", "the sensor's role in the rig")
EVENTS: Mapping[str, EventType] = {
    "log_started": EventType(
        "the log was opened; everything after it is of this process",
        {
            "version": Field("text", "of spiral-hil"),
            "process": Field("integer", "process id"),
            "level": Field("text", "least level that is logged"),
            "personal": Field("text", "what becomes of personal data: hash, drop or keep"),
        },
    ),
    "log_dropped": EventType(
        "lines were lost because events came faster than they could be written",
        {"count": Field("integer", "lines")},
        logging.ERROR,
    ),
    "log": EventType(
        "an ordinary call of Python's logging, of this program or of a library",
        {
            "message": Field("text", "as it was logged"),
            "traceback": _optional("text", "of the exception that was logged with it"),
        },
    ),
    "run_started": EventType(
        "the run proper begins: all sensors are connected",
        {
            "rig": Field("text", "name of the rig"),
            "mode": Field("text", "bench, simulated or virtual"),
            "seed": Field("integer", "of the simulation"),
            "duration_s": Field("number", "asked for"),
            "sensors": Field("mapping", "role -> type of sensor"),
            "checks": Field("list", "that will judge the run"),
        },
    ),
    "run_ended": EventType(
        "the run is over and judged",
        {
            "exit_code": Field("integer", "of the run"),
            "meaning": Field("text", "of the exit code"),
            "interrupted": Field("text", "why it ended before its time; empty if it did not"),
            "windows": Field("integer", "that came to the model"),
            "misses": Field("integer", "windows that brought no answer, or brought it too late"),
        },
    ),
    "sensor_connected": EventType(
        "a sensor streams for the first time",
        {"role": _ROLE, "sensor": Field("text", "its type"), "after_ms": Field("number", "since connecting began")},
    ),
    "sensor_failed": EventType(
        "a sensor could not be connected, or not again",
        {"role": _ROLE, "sensor": Field("text", "its type"), "reason": Field("text", "what went wrong")},
        logging.ERROR,
    ),
    "sensor_lost": EventType(
        "the link of a sensor went down",
        {"role": _ROLE, "sensor": Field("text", "its type"), "reason": Field("text", "what the link said")},
        logging.WARNING,
    ),
    "sensor_returned": EventType(
        "the link of a sensor is up again",
        {"role": _ROLE, "sensor": Field("text", "its type"), "after_ms": Field("number", "since it went down")},
    ),
    "sensor_notice": EventType(
        "a sensor or its driver says something about itself",
        {"role": _ROLE, "notice": Field("text", "its name"), "text": Field("text", "what it says")},
    ),
    "data_quality_check": EventType(
        "the signal quality of a stream, every few seconds, and when its flags change",
        {
            "sensor": Field("text", "the sensor's role in the rig"),
            "stream": Field("text", "role/stream"),
            "quality_score": Field("number", "0 to 1, below 0.5 is low; null while unknown"),
            "flags": Field("list", "named causes; see `drivers.quality.FLAGS`"),
        },
    ),
    "model_inference": EventType(
        "what the model did in one second, or in one request to a server",
        {
            "n": Field("integer", "windows that it answered"),
            "latency_ms": Field("number", "median time from a window's due time to its verdict"),
            "max_ms": Field("number", "the longest of them"),
            "misses": Field("integer", "windows that brought no answer, or brought it too late"),
            "model_version": _optional("text", "the model"),
            "model_ms": _optional("number", "of a server: what the model itself took"),
            "status": _optional("integer", "of a server: HTTP status of the one request that this is"),
            "modalities": _optional("list", "of a server: inputs of the request"),
            "error": _optional("text", "why there was no answer; of a run the first time for each reason"),
        },
    ),
    "latency_violation": EventType(
        "a window brought no answer in time; each is logged",
        {
            "due_ns": Field("integer", "when the window was due, on the run's clock"),
            "latency_ms": Field("number", "until its verdict; null where there was none"),
            "limit_ms": Field("number", "from the rig's limits"),
            "stage": Field("text", "that took the longest, or that it never reached"),
            "late": Field("list", "role/stream of streams that had not delivered"),
        },
        logging.WARNING,
    ),
    "verdict": EventType(
        "what a check says; the level follows from the outcome",
        {
            "check": Field("text", "name of the check"),
            "about": Field("text", "rig, role or role/stream"),
            "outcome": Field("text", "PASS, FAIL, INCONCLUSIVE, INVALID or NOT_RUN"),
            "reason": Field("text", "what was found, and what to try"),
            "measure": Field("text", "what value is"),
            "value": Field("number", "measured; null where there is none"),
            "unit": Field("text", "of value and limit"),
            "limit": Field("number", "null where there is none"),
            "n": Field("integer", "samples, windows or events that it rests on"),
        },
    ),
    "user_interaction": EventType(
        "somebody at this machine did something",
        {"action": Field("text", "the command, or interrupt"), "options": _optional("list", "of the command")},
    ),
    "api_call": EventType(
        "a call of the rig's API, logged when the run is over",
        {
            "endpoint": Field("text", "its name in the rig"),
            "result": Field("text", "PASS, INVALID_RESPONSE, HTTP_n or ERROR"),
            "status": Field("integer", "of the response; null where there was none"),
            "latency_ms": Field("number", "until the response was complete; null where it was not"),
            "error": Field("text", "what was wrong; empty where nothing was"),
        },
    ),
    "server_error": EventType(
        "a request met a defect of the server",
        {"endpoint": Field("text", "path of the request"), "error": Field("text", "what was raised")},
        logging.ERROR,
    ),
    "alert": EventType(
        "the mean of a metric's last ten values went beyond its threshold, or came back",
        {
            "metric": Field("text", "which"),
            "state": Field("text", "beyond or back"),
            "mean": Field("number", "of the last ten values"),
            "limit": Field("number", "the threshold"),
            "side": Field("text", "above or below: where values are bad"),
        },
        logging.WARNING,
    ),
}

_KINDS: Mapping[str, tuple[type, ...]] = {
    "text": (str,), "number": (int, float), "integer": (int,), "list": (list,), "mapping": (dict,),
}  # fmt: skip


def level_of(event_type: str) -> int:
    """Level of an event whose caller names none."""
    known = EVENTS.get(event_type)
    return known.level if known is not None else logging.INFO


def objections(event_type: str, data: Mapping[str, Any]) -> list[str]:
    """How an event's data differs from what is documented; nothing for event types that are not."""
    known = EVENTS.get(event_type)
    if known is None:
        return []
    found = [f"{event_type}: {name} is missing" for name, f in known.fields.items() if f.needed and name not in data]
    for name, value in data.items():
        expected = known.fields.get(name)
        if expected is None:
            if event_type != "log":  # which takes along whatever a caller gave as `extra`
                found.append(f"{event_type}: {name} is not documented")
        elif value is not None and (not isinstance(value, _KINDS[expected.kind]) or isinstance(value, bool)):
            found.append(f"{event_type}: {name}: expected {expected.kind}, found {type(value).__name__}")
    return found
