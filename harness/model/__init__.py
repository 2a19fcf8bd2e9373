"""The model under test: the reference network, how a user's module is loaded, and how it is run.

Names are imported on first use, so that ``inputs``, ``errors`` and ``warming`` cost no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.model.engine import make_engine
    from harness.model.errors import EngineError, LoadError, ModelError, ModelFault, WiringError
    from harness.model.inputs import INPUTS, InputSpec, cut_windows, input_specs, unit_scale
    from harness.model.load import LoadedModel, load_model
    from harness.model.network import STATES, FusionNetwork
    from harness.model.warming import Engine, WarmUp, freeze_garbage, warm_up
    from harness.model.weights import create_model, state_hash

__all__ = [
    "INPUTS", "STATES", "Engine", "EngineError", "FusionNetwork", "InputSpec", "LoadError", "LoadedModel",
    "ModelError", "ModelFault", "WarmUp", "WiringError", "create_model", "cut_windows", "freeze_garbage",
    "input_specs", "load_model", "make_engine", "state_hash", "unit_scale", "warm_up",
]  # fmt: skip

_HOMES = {
    "engine": ("make_engine",),
    "errors": ("EngineError", "LoadError", "ModelError", "ModelFault", "WiringError"),
    "inputs": ("INPUTS", "InputSpec", "cut_windows", "input_specs", "unit_scale"),
    "load": ("LoadedModel", "load_model"),
    "network": ("STATES", "FusionNetwork"),
    "warming": ("Engine", "WarmUp", "freeze_garbage", "warm_up"),
    "weights": ("create_model", "state_hash"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
