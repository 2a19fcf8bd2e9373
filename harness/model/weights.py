"""The committed weights of the reference network, and the hash that names a set of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from harness.model.network import FusionNetwork

REFERENCE = Path(__file__).with_name("reference.pt")
"""A state dict written by ``python -m harness.model.train``."""


def create_model() -> FusionNetwork:
    """The reference network with its trained weights, in eval mode; the same on every call."""
    with torch.random.fork_rng(devices=[]):  # building draws initial weights: leave the caller's generator alone
        network = FusionNetwork()
    network.load_state_dict(torch.load(REFERENCE, map_location="cpu", weights_only=True))
    return network.eval()


def state_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes in the order of the names: the same on every machine."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
