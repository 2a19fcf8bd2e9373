"""The model as a stage of a session: streams wired to its inputs, windows in, outputs out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from drivers.types import FloatArray, IntArray
from harness.model.errors import WiringError
from harness.model.inputs import Float32Array, InputSpec, cut_windows, unit_scale
from harness.rig import ModelEntry
from harness.track import Track

WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Wire:
    """One modality of the model and the stream that feeds it."""

    spec: InputSpec
    stream: str
    """``role/stream``"""
    channels: tuple[int, ...] | None
    scale: float


@dataclass
class ModelStage:
    """Loads the rig's model, and runs it with the quality of what it is given."""

    entry: ModelEntry
    outputs: int = 0
    wires: list[Wire] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """What the model is: name, sha256 of its weights, parameters, wiring."""
    host: dict[str, Any] = field(default_factory=dict)
    """How fast it warmed up on this machine."""
    warm_p50_ms: float = 0.0
    _tracks: Mapping[str, Track] = field(default_factory=dict)

    def prepare(self, tracks: Mapping[str, Track]) -> None:
        """Load, wire and warm up; ModelError names what does not fit."""
        from harness.model import freeze_garbage, load_model, make_engine, warm_up

        self._tracks = tracks
        model = load_model(self.entry)
        self.wires = wire(self.entry, model.inputs, tracks)
        self._engine = make_engine(self.entry, model)
        sample, quality = self._example()
        warm = warm_up(self._engine, sample, quality, WARM_UP)
        freeze_garbage()
        self.outputs = warm.outputs
        self.host = {"model_warm_up": {"n": warm.n, "first_ms": warm.first_ms, "p50_ms": warm.p50_ms}}
        self.warm_p50_ms = warm.p50_ms
        self.facts = {
            "model": model.name,
            "model_sha256": model.sha256,
            "model_parameters": model.parameters,
            "model_engine": self.entry.engine,
            "model_inputs": {w.spec.modality: w.stream for w in self.wires},
        }

    def _example(self) -> tuple[dict[str, Float32Array], dict[str, Float32Array]]:
        shapes = {w.spec.modality: (1, w.spec.channels, w.spec.length) for w in self.wires}
        inputs = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
        return inputs, {name: np.ones(1, dtype=np.float32) for name in shapes}

    def gather(self, due_ns: IntArray, quality: Mapping[str, FloatArray], closed_ns: IntArray, late: IntArray) -> Any:
        """Inputs and their quality for windows (w,): quality is signal score times how much of the window is there."""
        inputs: dict[str, Float32Array] = {}
        scores: dict[str, Float32Array] = {}
        for item in self.wires:
            track = self._tracks[item.stream]
            values = track.values if item.channels is None else track.values[:, list(item.channels)]
            window, coverage = cut_windows(
                item.spec, track.time_ns, values, due_ns, rate_hz=track.spec.rate_hz,
                arrival_ns=track.arrival_ns, closed_ns=closed_ns, scale=item.scale,
            )  # fmt: skip
            score = np.nan_to_num(quality.get(item.stream, np.ones(1)), nan=1.0)  # unknown is no reason for distrust
            inputs[item.spec.modality] = window
            scores[item.spec.modality] = np.asarray(score * coverage, dtype=np.float32)
        return inputs, scores

    def infer(self, inputs: Any) -> FloatArray:
        """(w, outputs); ModelFault."""
        windows, scores = inputs
        return np.asarray(self._engine.infer(windows, scores), dtype=np.float64)


def wire(entry: ModelEntry, specs: Mapping[str, InputSpec], tracks: Mapping[str, Track]) -> list[Wire]:
    """Each modality gets the stream that the rig names, or the first one of its kind; WiringError if none fits."""
    wires = []
    for modality, spec in specs.items():
        given = entry.inputs.get(modality)
        key = given["stream"] if given else next((k for k, t in tracks.items() if t.spec.kind == modality), None)
        if key is None:
            continue
        if key not in tracks:
            known = ", ".join(tracks)
            raise WiringError(f"model.inputs.{modality}.stream: no stream {key!r} in this rig, which has {known}")
        channels = tuple(given["channels"]) if given and given.get("channels") else None
        count = len(tracks[key].spec.channels)
        if channels and max(channels) >= count:
            text = f"{key} has channels 0 to {count - 1}, found {channels}"
            raise WiringError(f"model.inputs.{modality}.channels: {text}")
        wires.append(Wire(spec, key, channels, unit_scale(tracks[key].spec.unit, spec.unit)))
    if not wires:
        kinds = ", ".join(f"{key} ({track.spec.kind})" for key, track in tracks.items())
        raise WiringError(f"no stream of this rig fits an input of the model ({', '.join(specs)}); it has {kinds}")
    return wires
