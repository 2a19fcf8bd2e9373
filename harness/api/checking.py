"""The endpoints of a rig's API without its sensors: what ``hil api check`` does."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from drivers.clock import RealClock
from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec
from harness.api.calls import MOST_WINDOWS
from harness.api.client import ApiClient
from harness.api.endpoints import Windows, api_client, call_endpoint, window_of
from harness.api.record import ApiCall, spent
from harness.bench import Mode, stream_specs
from harness.checks.api import LIMITS, check
from harness.checks.registry import load_check, make_limits
from harness.model.errors import ModelError
from harness.model.inputs import InputSpec, input_specs
from harness.recording import STAGES, Recording
from harness.recording import Windows as NoWindows
from harness.report.document import document
from harness.rig import ApiEntry, EndpointEntry, ModelEntry, Rig
from harness.run import Result, run_rig
from harness.stage import ModelStage, wire


def check_api(rig: Rig) -> Result:
    """Call every endpoint as often as the rig says, and judge the answers. SettingError where the rig has no API."""
    if rig.api is None:
        raise SettingError(f"{rig.path or rig.name}: this rig has no `api:` section, so there is no endpoint to call")
    clock = RealClock()
    utc = clock.utc().isoformat(timespec="seconds")
    windows, trouble = live_windows(rig) if any(e.live for e in rig.api.endpoints.values()) else ((), "")
    start_ns = clock.now_ns()
    with api_client(rig.api) as client:
        calls = [
            _call(client, endpoint, windows, trouble, number, clock.now_ns())
            for number in range(max(endpoint.repeat for endpoint in rig.api.endpoints.values()))
            for endpoint in rig.api.endpoints.values()
            if number < endpoint.repeat
        ]
    recording = _recording(rig, rig.api, calls, start_ns, clock.now_ns(), utc)
    limits = make_limits(load_check("api"), rig.limits.get("api", {}))
    verdicts = check(recording, limits if isinstance(limits, LIMITS) else LIMITS())
    return Result(recording, verdicts, document(recording, verdicts), None)


def _call(
    client: ApiClient, endpoint: EndpointEntry, windows: Sequence[Windows], trouble: str, number: int, at_ns: int
) -> ApiCall:
    if endpoint.live and not windows:
        return ApiCall(at_ns, endpoint.name, f"ERROR: no payload: {trouble}", f"nothing was sent: {trouble}")
    return call_endpoint(client, endpoint, windows[number % len(windows)] if windows else None, at_ns)


def _recording(rig: Rig, api: ApiEntry, calls: Sequence[ApiCall], start_ns: int, stop_ns: int, utc: str) -> Recording:
    """A run in which nothing was but calls."""
    none = NoWindows(np.zeros((0, len(STAGES)), np.int64), (), np.zeros((0, 0), np.int64), np.zeros((0, 0)))
    meta, host = {"mode": "api", "base_url": api.base_url}, {"utc": utc, "api": spent(calls)}
    lasted = replace(rig, duration_s=(stop_ns - start_ns) / 1e9)
    return Recording(lasted, start_ns, stop_ns, {}, (), none, meta, host, calls=tuple(calls))


# --- live payloads without sensors ------------------------------------------------------------


def live_windows(rig: Rig) -> tuple[Sequence[Windows], str]:
    """Windows as the rig's simulated sensors give them to its model, and if there are none, why."""
    try:
        specs = _specs(rig.model)
    except ModelError as error:
        return (), str(error)
    stage = _Taken(rig.model, specs=specs)
    count = min(MOST_WINDOWS, max(e.repeat for e in rig.api.endpoints.values() if e.live)) if rig.api else 1
    edges_ms = rig.window.wait_ms + rig.window.grace_ms + (count - 1) * rig.window.hop_ms + 1
    short = replace(rig, api=None, limits={}, duration_s=rig.window.fill_s + edges_ms / 1000)
    stage.prepare(stream_specs(rig))
    recording = run_rig(short, Mode.VIRTUAL, prepared=stage).recording
    why = "; ".join([*recording.meta.get("connect_errors", {}).values(), recording.interrupted]) or "no window was due"
    return tuple(stage.taken), f"the simulated sensors gave no window: {why}"


def _specs(entry: ModelEntry) -> Mapping[str, InputSpec]:
    """What the rig's model takes; torch is imported only for a module that has to be looked at."""
    if entry.url:
        from harness.api.remote import connect

        client, model = connect(entry)
        client.close()
        return model.inputs
    if entry.factory or entry.file:
        from harness.model import load_model

        return load_model(entry).inputs
    return input_specs(entry.inputs)


@dataclass
class _Taken(ModelStage):
    """Takes windows for a model that is not run."""

    specs: Mapping[str, InputSpec] = field(default_factory=dict)
    taken: deque[Windows] = field(default_factory=lambda: deque(maxlen=MOST_WINDOWS))

    def prepare(self, streams: Mapping[str, StreamSpec]) -> None:
        self.wires = wire(self.entry, self.specs, streams)
        self.outputs = 1
        self.on_windows = self._take

    def _take(self, windows: Windows) -> None:
        self.taken.extend(window_of(windows, row) for row in range(len(next(iter(windows[1].values())))))

    def infer(self, inputs: Any) -> FloatArray:
        return np.zeros((len(next(iter(inputs[1].values()))), 1))
