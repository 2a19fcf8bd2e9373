"""How a module under test is called.

A user's module as the reference network:

* ``forward(inputs)``: a mapping {modality: float32 tensor (B, C, T)}; modalities without a stream are left out.
* ``forward(inputs, quality)``: if there is a parameter ``quality``, also {modality: float32 tensor (B,)} in 0..1,
  where 0 says that the window holds nothing real.
* ``forward(ecg, eda, ...)``: if all parameters (``quality`` apart) are modalities, each gets its tensor by name.
* It returns one float tensor (B, outputs), finite.

Where a call must be complete (by name, or an exported program) a modality without a stream gets zeros and quality 0.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from harness.model.errors import LoadError
from harness.model.inputs import INPUTS, InputSpec


@dataclass(frozen=True)
class Convention:
    """How a module wants to be called."""

    named: bool = False
    """One argument per modality instead of a mapping."""
    quality: str = "none"
    """``none``, ``keyword`` or ``positional``."""
    positional: tuple[str, ...] = ()
    """Named arguments that an exported program takes by position."""

    def arguments(
        self, inputs: Mapping[str, Any], quality: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments for these windows."""
        keywords: dict[str, Any] = {"quality": dict(quality)} if self.quality == "keyword" else {}
        if self.named:
            rest = {name: value for name, value in inputs.items() if name not in self.positional}
            return tuple(inputs[name] for name in self.positional), {**rest, **keywords}
        if self.quality == "positional":
            return (dict(inputs), dict(quality)), {}
        return (dict(inputs),), keywords


def convention_of(name: str, module: nn.Module, specs: Mapping[str, InputSpec]) -> Convention:
    """What the parameters of a module's forward ask for; LoadError if they cannot be served."""
    try:
        parameters = dict(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):
        return Convention()
    quality = "keyword" if parameters.pop("quality", None) is not None else "none"
    plain = [p for p in parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if plain and all(p.name in specs or p.name in INPUTS for p in plain):
        missing = [p.name for p in plain if p.name not in specs]
        if missing:
            raise LoadError(f"{name}: forward takes {', '.join(missing)}, which its 'inputs' do not declare")
        return Convention(named=True, quality=quality)
    needed = [p.name for p in plain if p.default is p.empty]
    if len(needed) > 1 or not parameters:
        raise LoadError(
            f"{name}: forward({', '.join(parameters)}) cannot be called; it is given one mapping {{modality: tensor "
            f"(B, C, T)}}, or one argument for each modality ({', '.join(specs)}), and quality if it has that parameter"
        )
    if plain and plain[0].annotation in (Tensor, "Tensor", "torch.Tensor"):
        raise LoadError(
            f"{name}: forward({plain[0].name}: Tensor) wants one tensor, and the harness gives a mapping {{modality: "
            f"tensor (B, C, T)}}; name the parameter after its modality ({', '.join(specs)}) or take a mapping"
        )
    return Convention(quality=quality)
