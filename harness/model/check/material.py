"""Windows to check a model with: simulated people where a modality can be simulated, smooth curves elsewhere.

White noise is no test of a model of physiology: normalisation, attention and dead units look different on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from harness.model.inputs import INPUTS, InputSpec
from harness.model.train import WINDOWS_PER_PERSON, Windows, simulate

_FIRST_PERSON = 1_000_000
"""People whom the reference network has never seen in training or test."""
_PER_SEED = 10_000
_COMPONENTS = 5
"""Sinusoids that make up a curve."""


@dataclass(frozen=True, eq=False)
class Material:
    """n windows, and what was true of the simulated people when they ended."""

    inputs: Mapping[str, Tensor]
    """modality -> (n, C, T), or for one plain tensor {"input": (n, *shape)}."""
    arousal: Tensor
    """(n,) in -1..1; follows the simulated modalities, and has nothing to do with smooth curves."""
    valence: Tensor
    """(n,) in -1..1"""
    state: Tensor
    """(n,) index into harness.model.network.STATES."""

    def __len__(self) -> int:
        return len(self.state)


def simulatable(spec: InputSpec | None) -> bool:
    """Whether simulated people have what such a window shows."""
    return spec is not None and spec.modality in INPUTS


def render(specs: Mapping[str, InputSpec], shapes: Mapping[str, tuple[int, ...]], n: int, seed: int) -> Material:
    """n windows, the same for the same seed and, as far as they go, for every n.

    ``shapes`` holds each input's shape without the batch; those without a spec, and those that no person has, are
    unit-variance curves (``curves``).
    """
    known = {name: spec for name, spec in specs.items() if simulatable(spec)}
    made = _people(tuple(known.items()), -(-n // WINDOWS_PER_PERSON), seed)
    inputs = {
        name: made.inputs[name][:n] if name in known else curves(shape, n, seed + place)
        for place, (name, shape) in enumerate(shapes.items())
    }
    return Material(inputs, made.arousal[:n], made.valence[:n], made.state[:n])


@lru_cache(maxsize=16)
def _people(specs: tuple[tuple[str, InputSpec], ...], people: int, seed: int) -> Windows:
    """Rendering takes longer than most checks, and many modules take the same windows."""
    return simulate(people, _FIRST_PERSON + _PER_SEED * seed, dict(specs))


def curves(shape: tuple[int, ...], n: int, seed: int) -> Tensor:
    """(n, *shape) of mean about 0 and variance about 1: slow sinusoids along the last axis of a series.

    One axis alone is a vector of features, which have no order: they are drawn independently.
    """
    rows = [_curve(shape, torch.Generator().manual_seed(_PER_SEED * seed + row)) for row in range(n)]
    return torch.stack(rows) if rows else torch.empty(0, *shape)


def _curve(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if len(shape) < 2:
        return torch.randn(shape, generator=generator)
    place = torch.linspace(0, 2 * torch.pi, shape[-1])
    size = (*shape[:-1], _COMPONENTS, 1)
    phase = 2 * torch.pi * torch.rand(size, generator=generator)
    height = torch.randn(size, generator=generator) * (2 / _COMPONENTS) ** 0.5
    cycles = torch.arange(1, _COMPONENTS + 1)[:, None]
    curve: Tensor = (height * torch.sin(cycles * place + phase)).sum(dim=-2)
    return curve
