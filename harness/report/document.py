"""The report as plain data: what the JSON file holds and the other reports show.

Everything but ``host`` follows from the rig and the seed in virtual time, byte for byte; ``host`` is what
this machine and moment add.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harness.delivery import delivery_of
from harness.diagnostics.diagnosis import plain
from harness.diagnostics.runs import diagnose
from harness.latency import remote_steps, step_table
from harness.monitor.spikes import spikes_document, spikes_of
from harness.monitor.summary import host_facts
from harness.recording import Recording
from harness.verdict import EXIT_MEANING, Verdict, exit_code

SCHEMA = 1


def document(recording: Recording, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Verdicts, what is likely behind those that are not PASS, streams, latency, facts of the rig, then of the host."""
    code = exit_code(verdicts)
    rig = recording.rig
    return {
        "schema": SCHEMA,
        "rig": {"name": rig.name, "seed": rig.seed, "duration_s": rig.duration_s, "limits": rig.limits},
        "outcome": {"exit_code": code, "meaning": EXIT_MEANING[code]},
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "diagnosis": plain(diagnose(recording, verdicts)),
        "streams": [_stream(recording, key) for key in recording.streams],
        "latency_steps": [*step_table(recording), *remote_steps(recording)],
        "spikes": spikes_document(spikes_of(recording)),
        "windows": {
            "due": len(recording.windows.stamps_ns),
            "waited_for": list(recording.windows.waited_for),
            "late": recording.windows.late.sum(axis=0).tolist() if len(recording.windows.late) else [],
        },
        "facts": dict(recording.meta),
        "host": {**recording.host, **host_facts(recording)},
    }


def _stream(recording: Recording, key: str) -> dict[str, Any]:
    data = recording.streams[key]
    found = delivery_of(recording, data)
    return {
        "stream": key, "kind": data.spec.kind, "unit": data.spec.unit, "rate_hz": data.spec.rate_hz,
        "received": found.received, "lost": found.lost, "exact": found.exact,
    }  # fmt: skip


def _finite(value: Any) -> Any:
    """JSON has neither NaN nor Infinity: they become null, deep inside too."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def to_json(report: dict[str, Any]) -> str:
    """Text with sorted keys and a fixed layout, so that equal runs give equal bytes."""
    return json.dumps(_finite(report), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
