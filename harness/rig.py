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


def rig_to_dict(rig: Rig) -> dict[str, Any]:
    """The rig as plain dicts, ready for JSON."""
    return asdict(rig)


def rig_from_dict(data: Mapping[str, Any]) -> Rig:
    """The rig that rig_to_dict gave; TypeError or KeyError if it is none."""
    made = dict(data)
    made["sensors"] = {role: SensorEntry(**entry) for role, entry in data["sensors"].items()}
    made["model"] = ModelEntry(**data["model"])
    made["window"] = WindowEntry(**data["window"])
    return Rig(**made)
