"""The model as a stage of a session: streams wired to its inputs, windows in, outputs out, faults counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from drivers.types import FloatArray, IntArray, StreamSpec
from harness.model.errors import ModelFault, Unanswered, WiringError
from harness.model.inputs import Float32Array, InputSpec, cut_windows, unit_scale
from harness.rig import ModelEntry
from harness.track import Track

if TYPE_CHECKING:
    from harness.api.remote import RemoteEngine, RemoteModel
    from harness.model.load import LoadedModel
    from harness.model.warming import Engine

WARM_UP = 20
MOST_FAULTS = 8
"""Kinds of fault that are told apart: a message with a number in it would be a new kind for every window."""


Windows: TypeAlias = tuple[Mapping[str, Float32Array], Mapping[str, Float32Array]]
"""A model's inputs {modality: (w, C, T)} and their quality {modality: (w,)}."""


class Stage(Protocol):
    """What the session knows of a model: arrays in, outputs out, and never an exception for what the model does."""

    outputs: int
    """Columns of what infer() returns; 0 as long as the model has returned nothing usable."""

    def attach(self, tracks: Mapping[str, Track]) -> None:
        """``role/stream`` -> where its samples will be."""

    def gather(
        self, due_ns: IntArray, quality: Mapping[str, FloatArray], closed_ns: IntArray, late: IntArray
    ) -> object:
        """The model's inputs for these windows (w,), with each stream's score (w,) or (1,), NaN where unknown;
        samples that arrived after a window closed are not seen."""

    def prefetch(self, due_ns: int) -> bool:
        """A window will be due then: prepare one input from what is here. False when there is no more to prepare."""

    def infer(self, inputs: object) -> FloatArray:
        """(w, outputs), at least one column; NaN rows for windows that the model failed on."""


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
    """Loads the rig's model, runs it with the quality of what it is given, and keeps count of its faults."""

    entry: ModelEntry
    outputs: int = 0
    """0 as long as the model has returned nothing usable."""
    wires: list[Wire] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """What the model is: name, sha256 of its weights, parameters, wiring."""
    host: dict[str, Any] = field(default_factory=dict)
    """How fast it warmed up on this machine."""
    warm_p50_ms: float = 0.0
    on_windows: Callable[[Windows], None] = lambda windows: None
    """Told of every batch of inputs and their quality as it is gathered; it must return at once."""
    on_fault: Callable[[str], None] = lambda why: None
    """Told of the first fault of each kind of the run; it must return at once."""
    fault: ModelFault | None = None
    """What the model did wrong first, with its traceback."""
    _engine: Engine = field(init=False)
    _remote: RemoteEngine | None = None
    _tracks: Mapping[str, Track] = field(default_factory=dict)
    _ready: dict[str, tuple[tuple[int, int], tuple[Float32Array, FloatArray]]] = field(default_factory=dict)
    """Modality -> (due time, samples seen) of a window that was cut beforehand, and the window with its coverage."""
    _faults: dict[str, int] = field(default_factory=dict)

    def prepare(self, streams: Mapping[str, StreamSpec]) -> None:
        """Load the model, wire ``role/stream`` to its inputs and warm up.

        ModelError if it cannot be loaded, wired or run here. A model that faults in its warm-up is a finding
        about the model, and the run will show the rest of it.
        """
        from harness.model import freeze_garbage, warm_up

        self._load(streams)
        sample, quality = self._example()
        try:
            warm = warm_up(self._engine, sample, quality, WARM_UP)
        except ModelFault as fault:
            self._faults[f"in the warm-up, on windows of zeros: {fault}"] = 0
            self.fault = fault
        else:
            self.outputs = warm.outputs
            self.host = {"model_warm_up": {"n": warm.n, "first_ms": warm.first_ms, "p50_ms": warm.p50_ms}}
            self.warm_p50_ms = warm.p50_ms
            if self._remote is not None:
                self._remote.pace(warm.p50_ms)
        freeze_garbage()

    def _load(self, streams: Mapping[str, StreamSpec]) -> None:
        """Engine, wires and facts, of a module here (which loads torch) or of one behind a URL."""
        model: RemoteModel | LoadedModel
        if self.entry.url:
            from harness.api.remote import RemoteEngine

            self._engine = self._remote = RemoteEngine(self.entry)
            model = self._remote.model
            self.wires = wire(self.entry, model.inputs, streams)
        else:
            from harness.model import load_model, make_engine

            model = load_model(self.entry)
            self.wires = wire(self.entry, model.inputs, streams)
            self._engine = make_engine(self.entry, model)
        self.facts = {
            "model": model.name,
            "model_sha256": model.sha256,
            "model_parameters": model.parameters,
            "model_engine": "http" if self.entry.url else self.entry.engine,
            "model_inputs": {w.spec.modality: w.stream for w in self.wires},
        }

    def anew(self) -> ModelStage:
        """The same model, prepared as this one is, for another run: what a run leaves behind stays its own."""
        made = copy(self)
        made._tracks, made._ready, made._faults = {}, {}, dict(self._faults)
        return made

    def attach(self, tracks: Mapping[str, Track]) -> None:
        """Where the samples of each ``role/stream`` will be."""
        self._tracks = tracks
        if self._remote is not None:
            self._remote.forget()

    def measured(self) -> dict[str, Any]:
        """What the run itself showed of the model on this host: of one behind a URL, where its time went."""
        found = self._remote.measured() if self._remote is not None else {}
        return {"model_http_ms": found} if found else {}

    def _example(self) -> tuple[dict[str, Float32Array], dict[str, Float32Array]]:
        shapes = {w.spec.modality: (1, w.spec.channels, w.spec.length) for w in self.wires}
        inputs = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
        return inputs, {name: np.ones(1, dtype=np.float32) for name in shapes}

    def prefetch(self, due_ns: int) -> bool:
        """Cut one modality's window that will be due then from what is here; False when every one is up to date.

        gather() cuts those again whose streams bring more until then.
        """
        for item in self.wires:
            now = due_ns, self._tracks[item.stream].total
            if self._ready.get(item.spec.modality, ((0, 0), ()))[0] != now:
                due = np.array([due_ns], dtype=np.int64)
                self._ready[item.spec.modality] = now, self._cut(item, due, due)
                return True  # one at a time: what arrives comes first
        return False

    def _cut(self, item: Wire, due_ns: IntArray, closed_ns: IntArray) -> tuple[Float32Array, FloatArray]:
        track = self._tracks[item.stream]
        values = track.values if item.channels is None else track.values[:, list(item.channels)]
        return cut_windows(
            item.spec, track.time_ns, values, due_ns, rate_hz=track.spec.rate_hz,
            arrival_ns=track.arrival_ns, closed_ns=closed_ns, scale=item.scale,
        )  # fmt: skip

    def gather(self, due_ns: IntArray, quality: Mapping[str, FloatArray], closed_ns: IntArray, late: IntArray) -> Any:
        """Inputs and their quality for windows (w,): quality is signal score times how much of the window is there."""
        inputs: dict[str, Float32Array] = {}
        scores: dict[str, Float32Array] = {}
        for item in self.wires:
            modality, track = item.spec.modality, self._tracks[item.stream]
            ready = self._ready.get(modality)
            if ready is None or len(due_ns) > 1 or ready[0] != (int(due_ns[0]), track.total):
                ready = (int(due_ns[0]), track.total), self._cut(item, due_ns, closed_ns)
            window, coverage = ready[1]
            score = np.nan_to_num(quality.get(item.stream, np.ones(1)), nan=1.0)  # unknown is no reason for distrust
            inputs[modality] = window
            scores[modality] = np.asarray(score * coverage, dtype=np.float32)
        self.on_windows((inputs, scores))
        return inputs, scores

    def infer(self, inputs: Any) -> FloatArray:
        """(w, outputs), at least one column; NaN rows for the windows that the model failed on, and only for those."""
        windows, scores = inputs
        count = len(next(iter(scores.values())))
        try:
            found = np.asarray(self._engine.infer(windows, scores), dtype=np.float64)
        except ModelFault as fault:
            self.fault = self.fault or fault
            if count == 1 or isinstance(fault, Unanswered):
                self._count(str(fault), count)
                return np.full((count, self.outputs or 1), np.nan)
            rows = [self.infer((_row(windows, number), _row(scores, number))) for number in range(count)]
            width = self.outputs or 1  # rows from before the first usable output were made without knowing it
            return np.concatenate([row if row.shape[1] == width else np.full((1, width), np.nan) for row in rows])
        self.outputs = found.shape[1]
        return found

    def _count(self, fault: str, windows: int) -> None:
        kind = fault if fault in self._faults or len(self._faults) < MOST_FAULTS else "faults of other kinds"
        if not self._faults.get(kind):
            self.on_fault(kind)
        self._faults[kind] = self._faults.get(kind, 0) + windows

    def errors(self) -> tuple[str, ...]:
        """What the model did wrong, each kind once with the number of windows that it cost."""
        return tuple(f"{text} ({count} windows)" if count else text for text, count in self._faults.items())


def _row(arrays: Mapping[str, Float32Array], number: int) -> dict[str, Float32Array]:
    return {name: array[number : number + 1] for name, array in arrays.items()}


def wire(entry: ModelEntry, specs: Mapping[str, InputSpec], streams: Mapping[str, StreamSpec]) -> list[Wire]:
    """Each modality gets the stream that the rig names, or the first one of its kind; WiringError if none fits."""
    wires = []
    for modality, spec in specs.items():
        given = entry.inputs.get(modality)
        key = given["stream"] if given else next((k for k, s in streams.items() if s.kind == modality), None)
        if key is None:
            continue
        if key not in streams:
            known = ", ".join(streams)
            raise WiringError(f"model.inputs.{modality}.stream: no stream {key!r} in this rig, which has {known}")
        channels = tuple(given["channels"]) if given and given.get("channels") else None
        count = len(streams[key].channels)
        if channels and max(channels) >= count:
            text = f"{key} has channels 0 to {count - 1}, found {channels}"
            raise WiringError(f"model.inputs.{modality}.channels: {text}")
        wires.append(Wire(spec, key, channels, unit_scale(streams[key].unit, spec.unit)))
    if not wires:
        kinds = ", ".join(f"{key} ({stream.kind})" for key, stream in streams.items())
        raise WiringError(f"no stream of this rig fits an input of the model ({', '.join(specs)}); it has {kinds}")
    return wires
