"""The reference fusion network: one small encoder per modality, attention that knows the signal quality.

It is there to load the harness and to prove the interface, not to say anything about people
(docs/reference-model.md). Every submodule maps tensors to one float tensor, so that hooks can read it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from harness.model.inputs import INPUTS, InputSpec

STATES = ("relaxed", "excited", "stressed", "subdued")
"""Arousal and valence by sign: (-, +), (+, +), (+, -), (-, -)."""

FEATURES = 64
QUERIES = 4
NOTHING_QUALITY = 0.2
"""The empty slot competes like a modality of this quality: what is worse weighs less than nothing."""
MIN_QUALITY_POWER = 3.0
"""A modality's attention falls at least with this power of its quality."""
_CONTENT_BOUND = 2.0
"""Content moves an attention logit by at most this much, so that it cannot outvote a low quality."""
_STAT_BOUND = 4.0
_WIDTHS = (12, 20, 32)
_MIN_SD = 1e-4


class Patches(nn.Module):
    """A strided convolution as one matrix product, several times faster than conv1d at this size.

    (B, L, C) -> (B, ceil(L / stride), width): each output sees ``kernel`` neighbours, zeros beyond the ends.
    """

    def __init__(self, channels: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.channels, self.kernel, self.stride = channels, kernel, stride
        self.linear = nn.Linear(channels * kernel, width)

    def forward(self, x: Tensor) -> Tensor:
        """Rectified patches."""
        length = x.shape[1]
        before = (self.kernel - self.stride) // 2
        after = (-(-length // self.stride) - 1) * self.stride + self.kernel - length - before
        row = nn.functional.pad(x, (0, 0, before, after)).flatten(1)
        patches = row.unfold(1, self.kernel * self.channels, self.stride * self.channels)
        return torch.relu(self.linear(patches))


class Stem(nn.Module):
    """The normalised window in three strided steps: (B, T, C) -> (B, T', 32), any T >= 1."""

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        first, second, third = _WIDTHS
        stride = 8 if length >= 400 else 4 if length >= 200 else 2 if length >= 50 else 1
        self.enter = Patches(channels, first, 2 * stride, stride)
        self.middle = Patches(first, second, 4, 2)
        self.leave = Patches(second, third, 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T', 32)."""
        return cast(Tensor, self.leave(self.middle(self.enter(x))))


class Encoder(nn.Module):
    """(B, C, T) of one modality -> (B, 64): the window's shape, and its raw mean and log sd."""

    centre: Tensor
    spread: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.stem = Stem(spec.channels, spec.length)
        self.project = nn.Linear(2 * _WIDTHS[-1] + 2 * spec.channels, FEATURES)
        self.register_buffer("centre", torch.zeros(2 * spec.channels))
        self.register_buffer("spread", torch.ones(2 * spec.channels))

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The centred window (B, C, T), raw mean (B, C) and log sd (B, C)."""
        mean = x.mean(dim=2)
        centred = x - mean[:, :, None]
        return centred, mean, 0.5 * torch.log(centred.square().mean(dim=2) + _MIN_SD**2)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, 64)."""
        centred, mean, log_sd = self.statistics(x)
        shape = self.stem((centred * torch.exp(-log_sd)[:, :, None]).transpose(1, 2))
        scaled = (torch.cat([mean, log_sd], dim=1) - self.centre) / self.spread
        bounded = _STAT_BOUND * torch.tanh(scaled / _STAT_BOUND)
        pooled = torch.cat([shape.mean(dim=1), shape.amax(dim=1), bounded], dim=1)
        return torch.relu(self.project(pooled))


class Attention(nn.Module):
    """Who is listened to: features (B, M, 64) and quality (B, M) -> weights (B, Q, M + 1), the last for nothing.

    Quality 0 is absence: weight 0 exactly. The weight of a modality falls as its quality to the power of
    ``power`` (>= 3, learned), against an empty slot, so that a bad modality is left out even when it is alone.
    """

    def __init__(self, modalities: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(QUERIES, FEATURES) / math.sqrt(FEATURES))
        self.key = nn.Linear(FEATURES, FEATURES)
        self.preference = nn.Parameter(torch.zeros(QUERIES, modalities))
        self.raw_power = nn.Parameter(torch.zeros(QUERIES))

    def forward(self, features: Tensor, quality: Tensor) -> Tensor:
        """Weights that sum to 1 over the last axis."""
        content = torch.einsum("qf,bmf->bqm", self.query, self.key(features)) + self.preference
        content = _CONTENT_BOUND * torch.tanh(content / _CONTENT_BOUND)
        power = MIN_QUALITY_POWER + nn.functional.softplus(self.raw_power)
        present = quality > 0
        level = torch.log(torch.where(present, quality, 1.0))
        logits = content + power[:, None] * level[:, None, :]
        logits = logits.masked_fill(~present[:, None, :], -torch.inf)
        nothing = (power * math.log(NOTHING_QUALITY))[None, :, None].expand(features.shape[0], -1, -1)
        return torch.softmax(torch.cat([logits, nothing], dim=2), dim=2)


class FusionNetwork(nn.Module):
    """Arousal and valence in -1..1 and four state logits, from whatever modalities there are."""

    attention_weights: Tensor
    """(B, M) share of each modality in the last fusion, over the queries; the rest went to nothing.
    Kept by the eager engine only: a compiled or exported program does not write it."""

    def __init__(self, inputs: Mapping[str, InputSpec] = INPUTS) -> None:
        super().__init__()
        self.inputs = dict(inputs)
        self.modalities = tuple(inputs)
        self.outputs = ("arousal", "valence", *STATES)
        self.output_dim = len(self.outputs)
        self.encoders = nn.ModuleDict({name: Encoder(spec) for name, spec in inputs.items()})
        self.attention = Attention(len(inputs))
        self.value = nn.Linear(FEATURES, FEATURES)
        self.nothing = nn.Parameter(torch.zeros(FEATURES))
        self.trunk = nn.Linear(QUERIES * FEATURES, 192)
        self.head = nn.Linear(192, self.output_dim)
        self.register_buffer("attention_weights", torch.zeros(1, len(inputs)), persistent=False)

    def extract_features(self, x: Tensor, modality: str) -> Tensor:
        """Features (B, 64) of windows (B, C, T) or (B, T), any C: channel k of the encoder is channel k modulo C."""
        if modality not in self.encoders:
            raise KeyError(f"unknown modality {modality!r}: this network knows {', '.join(self.modalities)}")
        if x.dim() == 2:
            x = x[:, None, :]
        if x.dim() != 3 or x.shape[1] < 1 or x.shape[2] < 1:
            raise ValueError(f"{modality}: expected (B, C, T) or (B, T) with C and T >= 1, found {tuple(x.shape)}")
        channels = self.inputs[modality].channels
        if x.shape[1] != channels:
            x = x[:, [k % x.shape[1] for k in range(channels)], :]
        return cast(Tensor, self.encoders[modality](x.to(self.nothing.dtype)))

    def fuse_modalities(self, features: Mapping[str, Tensor], quality: Mapping[str, Tensor] | None = None) -> Tensor:
        """(B, 256) from features (B, 64) by modality; quality (B,) in 0..1 each, 1 where not given."""
        if not features:
            raise ValueError(f"nothing to fuse: give features of at least one of {', '.join(self.modalities)}")
        one = next(iter(features.values()))
        batch = one.shape[0]  # not len(): an exported program must not fix the batch size
        ones, zeros = one.new_ones(batch), one.new_zeros(batch)
        given = {} if quality is None else quality
        levels = [given.get(name, ones).to(one.dtype) if name in features else zeros for name in self.modalities]
        level = torch.stack(levels, dim=1).clamp(0.0, 1.0)
        blank = torch.zeros_like(one)
        stacked = torch.stack([features.get(name, blank) for name in self.modalities], dim=1)
        # whatever an absent modality's window held, NaN included, must not leak through a weight of zero
        stacked = torch.where((level > 0)[:, :, None], stacked, 0.0)
        weights = self.attention(stacked, level)
        if not torch.compiler.is_compiling():
            self.attention_weights = weights[:, :, :-1].mean(dim=1).detach()
        nothing = self.nothing.expand(batch, 1, -1)
        values = torch.cat([self.value(stacked), nothing], dim=1)
        return torch.einsum("bqm,bmf->bqf", weights, values).flatten(1)

    def forward(self, inputs: Tensor | Mapping[str, Tensor], quality: Mapping[str, Tensor] | None = None) -> Tensor:
        """(B, 6): tanh arousal and valence, four state logits.

        ``inputs`` maps modalities to windows (B, C, T); quality 0 or leaving a modality out is the same. A plain
        tensor (B, T) is a probe: every modality gets it as its window, so that gradients reach every parameter.
        """
        if isinstance(inputs, Tensor):
            inputs = dict.fromkeys(self.modalities, inputs)
        if not inputs:
            raise ValueError(f"no inputs: give windows of at least one of {', '.join(self.modalities)}")
        features = {name: self.extract_features(x, name) for name, x in inputs.items()}
        hidden = torch.relu(self.trunk(self.fuse_modalities(features, quality)))
        found = self.head(hidden)
        return torch.cat([torch.tanh(found[:, :2]), found[:, 2:]], dim=1)


def multiply_adds(network: FusionNetwork, modalities: Sequence[str] | None = None) -> int:
    """Multiply-adds of one window's matrix products, counted from the layers' shapes."""
    total = 0
    for name in network.modalities if modalities is None else modalities:
        encoder = cast(Encoder, network.encoders[name])
        length = network.inputs[name].length
        for layer in (encoder.stem.enter, encoder.stem.middle, encoder.stem.leave):
            length = -(-length // layer.stride)
            total += length * layer.linear.weight.numel()
        total += encoder.project.weight.numel()
    slots = len(network.modalities)
    total += slots * (network.attention.key.weight.numel() + network.value.weight.numel())
    total += QUERIES * FEATURES * (2 * slots + 1)
    return total + network.trunk.weight.numel() + network.head.weight.numel()
