"""A rig as plain data: what is wired, what is simulated, what the model is, what the limits are.

``harness.rig_file`` reads it from strict YAML; everything else in the harness sees only these classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class SensorEntry:
    """One role of the rig: the sensor, where it is on the bench, and how it is simulated."""

    role: str
    sensor: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    port: str | None = None
    """Serial device or pyserial URL."""
    address: str | None = None
    """BLE address, advertised name or service UUID."""
    baud: int | None = None
    reader: str = "thread"
    """Serial: ``thread`` or ``process``."""
    reconnect: bool = True
    floor_ms: float = 0.0
    """Declared least delay of the link, which no one-way measurement can see; added to every latency."""
    simulate: Mapping[str, Any] = field(default_factory=dict)
    """Keys of simulators.build.SimulatedSpec but sensor, settings, seed and name."""


@dataclass(frozen=True)
class ModelEntry:
    """The module under test and how it is run."""

    factory: str | None = None
    """``pkg.mod:function`` that returns a torch module; None and no file: the reference network."""
    file: str | None = None
    """``.pt2`` (torch.export) or TorchScript."""
    engine: str = "eager"
    """``eager``, ``compile`` or ``onnx``."""
    device: str = "cpu"
    threads: int = 1
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Modality -> {"role", "stream", "seconds", "rate_hz"}: overrides of the automatic wiring by kind."""
    virtual_ms: float = 5.0
    """Model time assumed in virtual time, where the host's speed must not enter a verdict."""
    url: str | None = None
    """Of a server with /infer and /model, such as `hil serve`; then there is neither factory nor file."""
    timeout_ms: float = 1000.0
    """How long that server may take for one request."""
    allow_remote: bool = False
    """The server may be on another machine."""


@dataclass(frozen=True)
class EndpointEntry:
    """One endpoint of an API: what is sent and what must come back."""

    name: str
    path: str
    method: str = "post"
    payload: Any = None
    """Plain values, sent as JSON; None and nothing below: no body."""
    payload_file: str | None = None
    """JSON in a file instead."""
    live: bool = False
    """The newest inputs of the model instead, as harness.api.wire has them."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """``env:NAME`` stands for what an environment variable holds; no credential stands here."""
    status: int = 200
    schema: Mapping[str, Any] | None = None
    """JSON Schema of the response."""
    is_json: bool = True
    """The response must be JSON."""
    budget_ms: float | None = 100.0
    """None: its latency is not judged."""
    repeat: int = 30
    """Calls in one run."""


@dataclass(frozen=True)
class ApiEntry:
    """An HTTP API that is tested beside the streams."""

    base_url: str
    endpoints: Mapping[str, EndpointEntry]
    timeout_ms: float = 1000.0
    allow_remote: bool = False
    """It may be on another machine."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of every endpoint."""


@dataclass(frozen=True)
class WindowEntry:
    """When the model runs and what it may wait for."""

    hop_ms: float = 80.0
    wait_ms: float = 50.0
    """How long after its due time a window waits for streams that are at least as fast as the hop."""
    fill_s: float = 4.0
    """Windows are due from here on: before, the model's inputs are not full."""
    grace_ms: float = 150.0
    """No window is due so late that it could not be judged before the run ends."""


@dataclass(frozen=True)
class MonitorEntry:
    """What is watched beside a run in real time; a run in virtual time is not watched."""

    resources: bool = True
    """Memory, CPU, threads, files and queue depth, once a second."""
    stacks: bool = True
    """What the consumer runs while a window is overdue, and garbage collections."""
    sample_ms: float = 10.0
    """How often an overdue consumer is looked at."""
    flight_recorder: bool = True
    """Keep the last seconds, and write them to the run's folder when a window is judged too late."""
    keep_s: float = 10.0
    most: int = 3
    """Flights written in a run."""


@dataclass(frozen=True)
class LogEntry:
    """Where `hil run` logs what happens, as JSON lines."""

    file: str | None = None
    """In the run's folder unless it is an absolute path; None: no log."""
    level: str = "info"
    rotate_mb: float = 10.0
    keep: int = 5
    """Full files that stay beside the one that is written."""
    personal: str = "hash"
    """What becomes of personal data: ``hash``, ``drop`` or ``keep``."""


@dataclass(frozen=True)
class HealthEntry:
    """When a run in real time alerts: limits on the mean of a metric's last ten values."""

    above: Mapping[str, float] = field(default_factory=dict)
    below: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rig:
    """One bench, or its simulation."""

    name: str
    sensors: Mapping[str, SensorEntry]
    model: ModelEntry = ModelEntry()
    window: WindowEntry = WindowEntry()
    limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Check -> its limits' keys -> values; a check that is not listed is not run."""
    duration_s: float = 30.0
    seed: int = 0
    mains_hz: float | None = None
    """The mains' frequency where the rig stands, 50 or 60; None: hum is looked for at both."""
    simulate: bool = False
    """The rig is simulated unless the bench is asked for."""
    subject: Mapping[str, Any] = field(default_factory=dict)
    """Keys of simulators.subject.Profile."""
    path: str = ""
    text: str = ""
    """The file as it stood, for the record."""
    monitor: MonitorEntry = MonitorEntry()
    log: LogEntry = LogEntry()
    health: HealthEntry = HealthEntry()
    api: ApiEntry | None = None


def rig_to_dict(rig: Rig) -> dict[str, Any]:
    """The rig as plain dicts, ready for JSON."""
    return asdict(rig)


def rig_from_dict(data: Mapping[str, Any]) -> Rig:
    """The rig that rig_to_dict gave; TypeError or KeyError if it is none."""
    made = dict(data)
    made["sensors"] = {role: SensorEntry(**entry) for role, entry in data["sensors"].items()}
    made["model"] = ModelEntry(**data["model"])
    made["window"] = WindowEntry(**data["window"])
    if data.get("api") is not None:
        endpoints = {name: EndpointEntry(**entry) for name, entry in data["api"]["endpoints"].items()}
        made["api"] = ApiEntry(**{**data["api"], "endpoints": endpoints})
    made["monitor"] = MonitorEntry(**data.get("monitor", {}))  # runs from before it was there have none
    made["log"], made["health"] = LogEntry(**data.get("log", {})), HealthEntry(**data.get("health", {}))
    return Rig(**made)
