"""A model that is ready to be asked by anyone: loaded, warmed up, and run one call at a time in a thread of its own."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from drivers.clock import Clock, RealClock
from drivers.types import FloatArray
from harness.api.wire import MOST_WINDOWS, decode_request, encode_request, encode_response
from harness.api.worker import Worker
from harness.model.engine import Arrays, Engine, WarmUp, freeze_garbage, make_engine, warm_up
from harness.model.errors import ModelFault
from harness.model.inputs import InputSpec
from harness.model.load import LoadedModel, load_model
from harness.rig import ModelEntry

WARM_UP = 20


@dataclass(frozen=True)
class Limits:
    """What a server takes before it refuses."""

    body_bytes: int = 8_000_000
    windows: int = MOST_WINDOWS
    """In one request."""
    timeout_ms: float = 1000.0
    """From a request's way into the queue to the model's answer."""
    waiting: int = 16
    """Requests in the queue, beside the one that is run."""
    patience_s: float = 20.0
    """For a request's head to arrive, and again for its body."""


@dataclass(frozen=True, eq=False)
class Served:
    """A model and the thread that runs it."""

    entry: ModelEntry
    model: LoadedModel
    limits: Limits
    worker: Worker
    engine: Engine
    clock: Clock
    warm: WarmUp | None
    """None if the model failed in its warm-up."""
    fault: str
    """What it said then."""
    example: tuple[Mapping[str, Any], Mapping[str, Any] | None]
    """A request, and what the model answered to it; None if it failed on it."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the outputs, as far as they are known before the model was asked."""
        return _names(self.model, self.warm.outputs) if self.warm else self.model.outputs

    def infer(self, inputs: Arrays, quality: Arrays) -> Future[tuple[FloatArray, float]]:
        """Outputs (B, n) of windows {modality: (B, C, T)}, and the milliseconds that the model took.

        QueueFullError; the future raises ModelError.
        """
        return self.worker.submit(partial(self._timed, inputs, quality))

    def _timed(self, inputs: Arrays, quality: Arrays) -> tuple[FloatArray, float]:
        began_ns = self.clock.now_ns()
        outputs = self.engine.infer(inputs, quality)
        return outputs, (self.clock.now_ns() - began_ns) / 1e6

    def answer(self, outputs: FloatArray, ms: float) -> dict[str, Any]:
        """The document that goes back for these outputs (B, n)."""
        return _answer(self.model, outputs, ms)

    def stuck_ms(self) -> float | None:
        """How long the running call has been running, if that is longer than it may."""
        busy_ms = self.worker.busy_ms
        return busy_ms if busy_ms is not None and busy_ms > self.limits.timeout_ms else None

    def facts(self) -> dict[str, Any]:
        """What GET /model says."""
        limits = self.limits
        return {
            "model": self.model.name,
            "kind": self.model.kind,
            "sha256": self.model.sha256,
            "parameters": self.model.parameters,
            "engine": self.entry.engine,
            "inputs": {name: _spec_facts(spec) for name, spec in self.model.inputs.items()},
            "outputs": list(self.names),
            "limits": {
                "body_bytes": limits.body_bytes, "windows": limits.windows,
                "timeout_ms": limits.timeout_ms, "waiting": limits.waiting,
            },
        }  # fmt: skip


def _names(model: LoadedModel, count: int) -> tuple[str, ...]:
    """Of so many outputs: what the module calls them, or their number."""
    known = model.outputs[:count]
    return known + tuple(f"output {number}" for number in range(len(known), count))


def _answer(model: LoadedModel, outputs: FloatArray, ms: float) -> dict[str, Any]:
    return encode_response(outputs, _names(model, outputs.shape[1]), model.name, model.sha256, ms)


def _spec_facts(spec: InputSpec) -> dict[str, Any]:
    return {
        "channels": spec.channels, "length": spec.length, "rate_hz": spec.rate_hz, "unit": spec.unit,
        "seconds": spec.seconds,
    }  # fmt: skip


def serve_model(entry: ModelEntry, limits: Limits = Limits(), clock: Clock | None = None) -> Served:
    """Load the model of a rig's entry and warm it up in the thread that will run it.

    LoadError, WiringError or EngineError if it cannot be had here. One that faults on windows of zeros is served all
    the same: ``fault`` says what it did.
    """
    clock = clock or RealClock()
    model = load_model(entry)
    worker = Worker(limits.waiting, clock)
    try:
        engine = worker.submit(lambda: make_engine(entry, model)).result()  # torch's settings are the thread's
        warm, fault = worker.submit(partial(_warmed, engine, model.inputs, clock)).result()
        example = worker.submit(partial(_example, engine, model, clock)).result()
    except BaseException:
        worker.stop()
        raise
    freeze_garbage()
    return Served(entry, model, limits, worker, engine, clock, warm, fault, example)


def _warmed(engine: Engine, specs: Mapping[str, InputSpec], clock: Clock) -> tuple[WarmUp | None, str]:
    inputs = {name: np.zeros((1, spec.channels, spec.length), np.float32) for name, spec in specs.items()}
    try:
        return warm_up(engine, inputs, {name: np.ones(1, np.float32) for name in inputs}, WARM_UP, clock), ""
    except ModelFault as fault:
        return None, str(fault)


def _example(engine: Engine, model: LoadedModel, clock: Clock) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A request and its answer: the input with the fewest numbers, or all of them where the model needs more."""
    specs = model.inputs
    shortest = min(specs, key=lambda name: specs[name].channels * specs[name].length)
    for names in ([shortest], list(specs)):
        request = _request({name: specs[name] for name in names})
        inputs, quality = decode_request(request, specs)
        began_ns = clock.now_ns()
        try:
            outputs = engine.infer(inputs, quality)
        except ModelFault:
            continue
        return request, _answer(model, outputs, (clock.now_ns() - began_ns) / 1e6)
    return _request({shortest: specs[shortest]}), None


def _request(specs: Mapping[str, InputSpec]) -> dict[str, Any]:
    """A slow wave around 1 in every channel, of good quality."""
    waves = {name: 1 + 0.1 * np.sin(np.arange(spec.length) / 4.0) for name, spec in specs.items()}
    windows = {name: np.tile(np.round(wave, 2), (specs[name].channels, 1)) for name, wave in waves.items()}
    return encode_request(windows, dict.fromkeys(specs, 0.9))
