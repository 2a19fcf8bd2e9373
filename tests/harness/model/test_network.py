"""The reference network: the contracts that a debugging session relies on, quality, absence."""

from __future__ import annotations

import copy
import hashlib
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.model import INPUTS, STATES, FusionNetwork, create_model, state_hash
from harness.model.network import MIN_QUALITY_POWER, NOTHING_QUALITY, Patches, multiply_adds
from harness.model.weights import REFERENCE


def windows_of(batch: int, seed: int = 0) -> dict[str, Tensor]:
    """Noise in the shape of every modality."""
    generator = torch.Generator().manual_seed(seed)
    return {m: torch.randn(batch, s.channels, s.length, generator=generator) for m, s in INPUTS.items()}


def quality_of(batch: int, level: float = 1.0) -> dict[str, Tensor]:
    return {m: torch.full((batch,), level) for m in INPUTS}


@pytest.fixture(scope="module")
def network() -> FusionNetwork:
    return create_model()


@pytest.mark.parametrize("training", [False, True])
def test_a_plain_batch_of_ten_numbers_reaches_every_parameter_with_a_gradient(training: bool) -> None:
    network = create_model().train(training)
    network(torch.randn(1, 10, generator=torch.Generator().manual_seed(1))).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert torch.isfinite(parameter.grad.std()), name  # one element alone has no standard deviation
        assert parameter.grad.norm() > 0, name


@pytest.mark.parametrize("batch", [1, 4, 8])
@pytest.mark.parametrize("width", [1, 2, 10, 1000])
def test_the_output_has_output_dim_columns_for_any_batch_and_width(
    network: FusionNetwork, batch: int, width: int
) -> None:
    found = network(torch.randn(batch, width))
    assert found.shape == (batch, network.output_dim)
    assert torch.isfinite(found).all()


def test_features_of_one_modality_fuse_and_leave_attention_to_read(network: FusionNetwork) -> None:
    features = {m: network.extract_features(x, m) for m, x in windows_of(3).items()}
    assert {tuple(f.shape) for f in features.values()} == {(3, 64)}
    fused = network.fuse_modalities(features)
    assert fused.shape == (3, 256)
    weights = network.attention_weights
    assert weights.shape == (3, len(INPUTS))
    assert not weights.requires_grad
    assert 0 < float(weights.mean()) <= 1 / len(INPUTS) + 1e-6
    assert float(weights.std()) > 0


def test_two_dimensional_windows_are_one_channel(network: FusionNetwork) -> None:
    x = torch.randn(2, 100)
    assert torch.equal(network.extract_features(x, "eda"), network.extract_features(x[:, None], "eda"))


def test_missing_channels_are_repeated_and_spare_ones_ignored(network: FusionNetwork) -> None:
    one = torch.randn(2, 1, 250)
    both = one.repeat(1, 2, 1)
    assert torch.equal(network.extract_features(one, "ppg"), network.extract_features(both, "ppg"))
    more = torch.cat([both, torch.randn(2, 3, 250)], dim=1)
    assert torch.equal(network.extract_features(more, "ppg"), network.extract_features(both, "ppg"))


def test_every_submodule_gives_one_float_tensor_to_a_hook(network: FusionNetwork) -> None:
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, output, name=name: seen.__setitem__(name, output))
        for name, module in network.named_modules()
        if name
    ]
    network(torch.randn(1, 10))
    for hook in hooks:
        hook.remove()
    containers = {name for name, module in network.named_modules() if isinstance(module, torch.nn.ModuleDict)}
    assert set(seen) == {name for name, _ in network.named_modules() if name} - containers
    for name, output in seen.items():
        assert isinstance(output, Tensor), name
        assert output.is_floating_point(), name
        assert torch.isfinite(output.std()), name


def test_the_same_input_gives_the_same_output_and_the_generator_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    first, second = create_model(), create_model()
    assert torch.equal(torch.random.get_rng_state(), state)
    x = windows_of(2)
    assert torch.equal(first(x), second(x))
    assert torch.equal(first(x), first(x))
    assert torch.equal(first.train()(x), second.eval()(x))  # no dropout, no batch statistics


def test_a_copy_works_and_carries_its_attention(network: FusionNetwork) -> None:
    network(windows_of(2))
    twin = copy.deepcopy(network)
    assert torch.equal(twin.attention_weights, network.attention_weights)
    assert torch.equal(twin(windows_of(2)), network(windows_of(2)))


def test_a_batch_is_what_its_windows_are_one_by_one(network: FusionNetwork) -> None:
    x, quality = windows_of(16), {m: torch.rand(16, generator=torch.Generator().manual_seed(3)) for m in INPUTS}
    together = network(x, quality)
    for row in range(16):
        alone = network({m: v[row : row + 1] for m, v in x.items()}, {m: q[row : row + 1] for m, q in quality.items()})
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=0)


def test_arousal_and_valence_stay_in_minus_one_to_one(network: FusionNetwork) -> None:
    found = network({m: 1e6 * x for m, x in windows_of(8).items()})
    assert (found[:, :2].abs() <= 1).all()
    assert torch.isfinite(found).all()
    assert network.outputs == ("arousal", "valence", *STATES)


def test_flat_windows_give_finite_outputs_and_gradients() -> None:
    network = create_model()
    found = network({m: torch.zeros_like(x) for m, x in windows_of(2).items()})
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())


def test_quality_zero_is_absence_exactly(network: FusionNetwork) -> None:
    x = windows_of(4)
    kept = {m: v for m, v in x.items() if m != "ecg"}
    torch.testing.assert_close(network(x, {"ecg": torch.zeros(4)}), network(kept), atol=1e-6, rtol=0)


def test_a_worthless_window_may_hold_nan_and_a_trusted_one_shows_it(network: FusionNetwork) -> None:
    x = windows_of(4)
    x["ecg"] = torch.full_like(x["ecg"], math.nan)
    kept = {m: v for m, v in x.items() if m != "ecg"}
    torch.testing.assert_close(network(x, {"ecg": torch.zeros(4)}), network(kept), atol=1e-6, rtol=0)
    assert torch.isnan(network(x)).any()


def test_with_nothing_present_the_output_is_the_same_finite_one(network: FusionNetwork) -> None:
    first = network(windows_of(2, seed=1), quality_of(2, 0.0))
    second = network(windows_of(2, seed=2), quality_of(2, 0.0))
    assert torch.isfinite(first).all()
    torch.testing.assert_close(first, second)
    assert network.attention_weights.abs().max() == 0


def test_noise_under_a_low_quality_moves_the_output_as_little_as_its_absence(network: FusionNetwork) -> None:
    x = windows_of(32)
    noise = {m: 5 * torch.randn(v.shape, generator=torch.Generator().manual_seed(9)) for m, v in x.items()}
    broken = ("ecg", "ppg", "eda", "eeg", "affect")
    damaged = {m: noise[m] if m in broken else v for m, v in x.items()}
    absent = network({m: v for m, v in x.items() if m not in broken})
    believed = (network(damaged) - absent).abs().mean()
    doubted = (network(damaged, {m: torch.full((32,), 0.1) for m in broken}) - absent).abs().mean()
    assert doubted < 0.05 * believed


@pytest.mark.parametrize("seed", range(3))
def test_no_trained_content_can_outvote_a_low_quality(seed: int) -> None:
    torch.manual_seed(seed)
    network = FusionNetwork()
    with torch.no_grad():  # as badly trained as can be: wants the ecg at any price
        network.attention.query.mul_(1000)
        network.attention.preference[:, 0] = 1000.0
    network(windows_of(8), {**quality_of(8), "ecg": torch.full((8,), 0.1)})
    bound = math.exp(2 * 2.0) * 0.1**MIN_QUALITY_POWER / (len(INPUTS) - 1)
    assert float(network.attention_weights[:, 0].max()) < bound


def test_attention_is_the_softmax_that_the_definition_says() -> None:
    torch.manual_seed(0)
    network = FusionNetwork()
    attention = network.attention
    with torch.no_grad():
        attention.query.zero_()
        attention.preference.zero_()
        attention.raw_power.fill_(math.log(math.e - 1))  # softplus of it is 1
    power = MIN_QUALITY_POWER + 1
    quality = torch.tensor([[1.0, 0.5, 0.0, *[0.0] * 7]])
    found = attention(torch.randn(1, 10, 64), quality)[0, 0]
    total = 1 + 0.5**power + NOTHING_QUALITY**power
    expected = [1 / total, 0.5**power / total, *[0.0] * 8, NOTHING_QUALITY**power / total]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_patches_are_a_strided_convolution() -> None:
    torch.manual_seed(0)
    layer = Patches(3, 5, 4, 2)
    weight = layer.linear.weight.reshape(5, 4, 3).permute(0, 2, 1)  # (out, in, kernel)
    for length in (1, 2, 5, 10, 11):
        x = torch.randn(2, length, 3)
        padded = torch.nn.functional.pad(x.transpose(1, 2), (1, 2 + length % 2))
        expected = torch.conv1d(padded, weight, layer.linear.bias, stride=2)[:, :, : -(-length // 2)]
        torch.testing.assert_close(layer(x), torch.relu(expected.transpose(1, 2)))


def test_the_network_is_small_enough_for_its_budget(network: FusionNetwork) -> None:
    assert 120_000 <= sum(p.numel() for p in network.parameters()) <= 180_000
    assert 2 * multiply_adds(network) <= 1.5e6
    assert REFERENCE.stat().st_size < 1_000_000


def test_an_unknown_modality_or_shape_is_named(network: FusionNetwork) -> None:
    with pytest.raises(KeyError, match=r"'emg'.*knows ecg, ppg"):
        network.extract_features(torch.randn(1, 1, 10), "emg")
    with pytest.raises(ValueError, match=r"ecg: expected \(B, C, T\).*found \(1, 1, 0\)"):
        network.extract_features(torch.randn(1, 1, 0), "ecg")
    with pytest.raises(ValueError, match="no inputs: give windows of at least one of ecg"):
        network({})


def test_the_hash_is_over_names_types_shapes_and_bytes() -> None:
    state = {"b": torch.tensor([1.0, 2.0]), "a": torch.tensor([[3]], dtype=torch.int64)}
    text = b"a|torch.int64|(1, 1)|" + (3).to_bytes(8, "little")
    text += b"b|torch.float32|(2,)|" + bytes.fromhex("0000803f00000040")
    assert state_hash(state) == hashlib.sha256(text).hexdigest()
    assert state_hash({**state, "b": state["b"] + 1e-7 * torch.tensor([1.0, 0.0])}) != state_hash(state)


def by_hand(state: dict[str, Tensor], x: dict[str, Tensor], quality: dict[str, Tensor]) -> Any:
    """The network from its definition, one window at a time in float64 with numpy alone."""
    w = {name: tensor.numpy().astype(np.float64) for name, tensor in state.items()}
    strides = {
        m: 8 if s.length >= 400 else 4 if s.length >= 200 else 2 if s.length >= 50 else 1 for m, s in INPUTS.items()
    }
    rows = []
    for row in range(len(next(iter(x.values())))):
        features, levels = [], []
        for m in INPUTS:
            window = x[m][row].numpy().astype(np.float64)
            mean, sd = window.mean(axis=1), np.sqrt(window.var(axis=1) + 1e-8)
            z = ((window - mean[:, None]) / sd[:, None]).T
            for layer, kernel, stride in (("enter", 2 * strides[m], strides[m]), ("middle", 4, 2), ("leave", 4, 2)):
                weight, bias = (
                    w[f"encoders.{m}.stem.{layer}.linear.weight"],
                    w[f"encoders.{m}.stem.{layer}.linear.bias"],
                )
                before = (kernel - stride) // 2
                z = np.vstack([np.zeros((before, z.shape[1])), z, np.zeros((kernel + stride, z.shape[1]))])
                count = -(-(len(z) - before - kernel - stride) // stride)
                z = np.stack(
                    [np.maximum(weight @ z[k * stride : k * stride + kernel].ravel() + bias, 0) for k in range(count)]
                )
            raw = (np.concatenate([mean, np.log(sd)]) - w[f"encoders.{m}.centre"]) / w[f"encoders.{m}.spread"]
            pooled = np.concatenate([z.mean(axis=0), z.max(axis=0), 4 * np.tanh(raw / 4)])
            features.append(np.maximum(w[f"encoders.{m}.project.weight"] @ pooled + w[f"encoders.{m}.project.bias"], 0))
            levels.append(float(quality[m][row]))
        stacked = np.array(features)
        keys = stacked @ w["attention.key.weight"].T + w["attention.key.bias"]
        content = w["attention.query"] @ keys.T + w["attention.preference"]
        power = 3 + np.log1p(np.exp(w["attention.raw_power"]))
        share = np.exp(2 * np.tanh(content / 2)) * np.array(levels) ** power[:, None]
        share = np.hstack([share, (0.2**power)[:, None]])
        share /= share.sum(axis=1, keepdims=True)
        values = np.vstack([stacked @ w["value.weight"].T + w["value.bias"], w["nothing"]])
        hidden = np.maximum(w["trunk.weight"] @ (share @ values).ravel() + w["trunk.bias"], 0)
        found = w["head.weight"] @ hidden + w["head.bias"]
        rows.append(np.concatenate([np.tanh(found[:2]), found[2:]]))
    return np.array(rows)


def test_the_committed_weights_give_what_the_definition_gives(network: FusionNetwork) -> None:
    x, quality = windows_of(4, seed=7), {m: torch.rand(4, generator=torch.Generator().manual_seed(8)) for m in INPUTS}
    quality["eda"][1] = 0.0
    expected = by_hand(network.state_dict(), x, quality)
    np.testing.assert_allclose(network(x, quality).detach().numpy(), expected, atol=1e-5)
