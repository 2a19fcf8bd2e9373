"""What every way of running a model has in common, torch or not: the call, and the first calls. Imports no torch."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from drivers.clock import Clock, RealClock
from drivers.types import FloatArray
from harness.model.inputs import Float32Array

Arrays: TypeAlias = Mapping[str, Float32Array]


class Engine(Protocol):
    """One way of running a model."""

    def infer(self, inputs: Arrays, quality: Arrays) -> FloatArray:
        """Outputs (B, outputs) for windows {modality: (B, C, T)} and their quality {modality: (B,)}; ModelFault."""


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What the first calls cost; they are not part of any measurement."""

    n: int
    first_ms: float
    p50_ms: float
    max_ms: float
    """Of the calls after the first."""
    outputs: int


def warm_up(engine: Engine, inputs: Arrays, quality: Arrays, n: int = 20, clock: Clock | None = None) -> WarmUp:
    """Call the engine n times (n >= 2) with an example of the session's shapes; ModelFault shows here first.

    ``clock`` is the host's real clock unless a test gives another.
    """
    if n < 2:
        raise ValueError(f"warm_up needs at least 2 calls to tell the first from the others, found {n}")
    clock = clock or RealClock()
    spent_ms = []
    outputs = 0
    for _ in range(n):
        began_ns = clock.now_ns()
        outputs = engine.infer(inputs, quality).shape[1]
        spent_ms.append((clock.now_ns() - began_ns) / 1e6)
    return WarmUp(n, spent_ms[0], float(np.median(spent_ms[1:])), max(spent_ms[1:]), outputs)


def freeze_garbage() -> None:
    """Collect, then leave what is alive out of later collections: one over a large heap stops everything for 300 ms."""
    gc.collect()
    gc.freeze()
