"""A probe on the terminal, and as the document that JSON and JUnit are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from drivers.types import (
    CounterReset,
    Event,
    LinkDown,
    LinkUp,
    Lost,
    Malformed,
    Notice,
    Reordered,
    Repeated,
)
from harness.probing.judging import lost_of, spec_of
from harness.probing.listening import Heard, Listened, rate_of
from harness.verdict import Outcome, Verdict

SCHEMA = 1
_AGE = "age: of the newest sample when it was read, median / largest; a delay that never varies does not show in it"
_INCIDENTS: dict[type, str] = {
    Malformed: "malformed pieces",
    CounterReset: "resets of the counter or clock",
    LinkDown: "losses of the link",
    LinkUp: "returns of the link",
}
_COLOUR = {
    Outcome.PASS: "green",
    Outcome.FAIL: "red",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.INVALID: "magenta",
    Outcome.NOT_RUN: "cyan",
}


def show(heard: Listened, verdicts: Sequence[Verdict], messages: Sequence[str], out: Console) -> None:
    """What each stream delivered, what else happened, the verdicts, and the messages one to a line."""
    if heard.count:
        out.print(_streams(heard))
        out.print(_AGE, style="dim", highlight=False)
    if heard.stamp_error_ns.get("n"):
        p50, p99 = (heard.stamp_error_ns[key] / 1e6 for key in ("p50", "p99"))
        out.print(f"stamps: {p50:.2f} / {p99:.2f} ms late (median / p99), measured on this machine", style="dim")
    _show_events(heard.events, out)
    out.print(_verdicts(verdicts))
    told = " ".join(messages)
    for verdict in verdicts:
        if verdict.outcome not in (Outcome.PASS, Outcome.NOT_RUN) and verdict.reason not in told:
            text = f"{verdict.outcome} {verdict.check} {verdict.subject}: {verdict.reason}"
            out.print(text, style=_COLOUR[verdict.outcome], markup=False, highlight=False, soft_wrap=True)
    for message in messages:
        style = "yellow" if message.startswith("WARNING") else "green" if "passed" in message[:40] else "red"
        out.print(message, style=style, markup=False, highlight=False, soft_wrap=True)


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading == "samples" else "left", overflow="fold")
    return table


def _streams(heard: Listened) -> Table:
    table = _table("stream", "samples", "Hz", "age ms", "min .. max", "quality")
    for name, stream in heard.streams.items():
        spec = spec_of(heard, name)
        rate = _rate(heard, name, stream) + (f" of {spec.rate_hz:g}" if spec and spec.rate_hz else "")
        table.add_row(
            escape(name), str(stream.count), rate, _ages(stream.ages_ms),
            escape(_range(stream, spec.unit if spec else "")), escape(_quality(stream)),
        )  # fmt: skip
    return table


def _rate(heard: Listened, name: str, stream: Heard) -> str:
    found = rate_of(stream)
    return f"{found.value if found else stream.count / max(heard.elapsed_s, 1e-9):.1f}"


def _ages(ages_ms: list[float]) -> str:
    return f"{np.median(ages_ms):.1f} / {max(ages_ms):.1f}" if ages_ms else ""


def _range(stream: Heard, unit: str) -> str:
    if not stream.count:
        return ""
    low = min(float(part.min()) for part in stream.values if part.size)
    high = max(float(part.max()) for part in stream.values if part.size)
    return f"{low:.4g} .. {high:.4g} {unit}".strip()


def _quality(stream: Heard) -> str:
    score = "unknown" if np.isnan(stream.score) else f"{stream.score:.2f}"
    flags = ", ".join(sorted(stream.flags - {"unknown"}))
    return f"{score} ({flags})" if flags else score


def _verdicts(verdicts: Sequence[Verdict]) -> Table:
    table = _table("outcome", "check", "subject", "what", "value", "interval", "limit")
    for v in verdicts:
        interval = "" if v.low is None or v.high is None or v.low == v.high else f"{v.low:.4g} .. {v.high:.4g}"
        value = "" if v.value is None else f"{v.value:.4g} {v.unit}".strip()
        limit = "" if v.limit is None else f"{v.limit:g}"
        colour = _COLOUR[v.outcome]
        table.add_row(
            f"[{colour}]{v.outcome}[/{colour}]", v.check, escape(v.subject), v.measure, value, interval, limit
        )  # fmt: skip
    return table


def _incidents(events: Sequence[Event]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for event in events:
        if isinstance(event, Lost | Repeated | Reordered):
            counts[f"samples of {event.stream} {type(event).__name__.lower()}"] += event.count
        elif type(event) in _INCIDENTS:
            counts[_INCIDENTS[type(event)]] += 1
    return counts


def _said(events: Sequence[Event]) -> dict[str, str | float | bool]:
    return {event.name: event.value for event in events if isinstance(event, Notice)}


def _show_events(events: Sequence[Event], out: Console) -> None:
    for name, value in _said(events).items():
        out.print(f"the sensor says {name}: {value}", markup=False, highlight=False)
    if counts := _incidents(events):
        text = "incidents: " + ", ".join(f"{count} {name}" for name, count in counts.items())
        out.print(text, style="yellow", markup=False, highlight=False)
    first = next((event for event in events if isinstance(event, Malformed)), None)
    if first is not None:
        text = f"first malformed bytes: {first.reason}: {first.excerpt[:32]!r}"
        out.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


# --- as data ----------------------------------------------------------------------------------


def document(
    heard: Listened, verdicts: Sequence[Verdict], messages: Sequence[str], code: int, meaning: str
) -> dict[str, Any]:
    """The shape of a run's report, as far as one sensor fills it; harness.report turns it into JSON and JUnit."""
    return {
        "schema": SCHEMA,
        "rig": {"name": f"probe {heard.name}", "seed": None, "duration_s": heard.elapsed_s, "limits": {}},
        "outcome": {"exit_code": code, "meaning": meaning},
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "streams": [_stream(heard, name, stream) for name, stream in heard.streams.items()],
        "messages": list(messages),
        "facts": {
            "sensor": heard.name, "link": heard.where, "connect_ms": heard.connect_ms, "first_ms": heard.first_ms,
            "bytes": heard.received_bytes, "stamp_error_ns": dict(heard.stamp_error_ns),
        },
        "incidents": dict(_incidents(heard.events)),
        "said": _said(heard.events),
        "host": {},
    }  # fmt: skip


def _stream(heard: Listened, name: str, stream: Heard) -> dict[str, Any]:
    spec, rate, lost = spec_of(heard, name), rate_of(stream, lost_of(heard, name)), lost_of(heard, name)
    ages = stream.ages_ms
    return {
        "stream": name, "kind": spec.kind if spec else None, "unit": spec.unit if spec else None,
        "nominal_hz": spec.rate_hz if spec else None, "rate_hz": asdict(rate) if rate else None,
        "received": stream.count, "lost": lost if spec and spec.counted else None,
        "age_ms": {"median": float(np.median(ages)), "largest": max(ages)} if ages else None,
        "quality": stream.score, "flags": sorted(stream.flags), "parts": dict(stream.parts),
    }  # fmt: skip
