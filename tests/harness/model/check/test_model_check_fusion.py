import math

import pytest
import torch
from torch import nn

from harness.model.check.fusion import entropy, variation
from harness.model.network import FusionNetwork
from harness.verdict import Outcome


class Without(FusionNetwork):
    """Says other attention weights than it used."""

    def weights(self, weights):
        return weights

    def fuse_modalities(self, features, quality=None):
        found = super().fuse_modalities(features, quality)
        self.attention_weights = self.weights(self.attention_weights)
        return found


class NaNFeatures(FusionNetwork):
    def extract_features(self, x, modality):
        found = super().extract_features(x, modality)
        return found / 0 * 0 if modality == "temperature" else found


class ConstantFeatures(FusionNetwork):
    def extract_features(self, x, modality):
        found = super().extract_features(x, modality)
        return found * 0 + 0.3 if modality == "eda" else found


class Collapsed(Without):
    def weights(self, weights):
        return torch.stack([0.98 + 0.01 * weights[:, 0], 0.005 * weights[:, 1], 0.005 * weights[:, 2]], dim=1)


class Uniform(Without):
    def weights(self, weights):
        return torch.full_like(weights, 1 / 3)


class Fixed(Without):
    def weights(self, weights):
        return torch.tensor([[0.5, 0.3, 0.2]]).expand_as(weights)


class Scores(Without):
    def weights(self, weights):
        return weights.log()


class Unnormalised(Without):
    def weights(self, weights):
        return 2 * weights + 0.5


class Undefined(Without):
    def weights(self, weights):
        return weights * math.nan


class ByQuality(Without):
    """Attention that follows quality alone: it looks, if not at windows."""

    def fuse_modalities(self, features, quality=None):
        found = FusionNetwork.fuse_modalities(self, features, quality)
        level = torch.stack([(quality or {}).get(name, torch.ones(len(found))) for name in self.modalities], dim=1)
        self.attention_weights = level / level.sum(dim=1, keepdim=True).clamp_min(1e-9)
        return found


def test_a_sound_network_passes_and_shows_features_and_attention(small, checked, failed):
    found = checked(small(), "fusion")
    assert failed(found) == {}
    features, attention = found.tables
    assert [row[0] for row in features.rows] == ["eda", "temperature", "affect"]
    assert "normalised entropy" in attention.title and "(32, 3)" in attention.title


def test_features_that_are_nan_are_found_in_their_modality_and_in_what_is_fused_with_them(small, checked, failed):
    wrong = failed(checked(small(NaNFeatures), "fusion"))
    assert {"temperature", "fused"} <= set(wrong)
    assert not {"eda", "affect"} & set(wrong)
    assert wrong["temperature"].value == 32 * 64
    assert "temperature" in wrong["fused"].reason


def test_features_that_are_the_same_for_all_windows_are_found(small, checked, failed):
    wrong = failed(checked(small(ConstantFeatures), "fusion"))
    assert list(wrong) == ["eda"]
    assert "the same for 32 windows" in wrong["eda"].reason


def test_attention_that_has_collapsed_onto_one_modality_is_found(small, checked, failed):
    wrong = failed(checked(small(Collapsed), "fusion"))
    assert "attention collapse" in wrong
    assert wrong["attention collapse"].value > 0.95
    assert "eda takes nearly all" in wrong["attention collapse"].reason


@pytest.mark.parametrize(("kind", "how"), [(Uniform, "uniform"), (Fixed, "always the same")])
def test_attention_that_looks_at_nothing_is_found(small, checked, failed, kind, how):
    wrong = failed(checked(small(kind), "fusion"))
    assert list(wrong) == ["attention looks"]
    assert how in wrong["attention looks"].reason


def test_attention_that_follows_only_quality_looks_well_enough(small, checked, failed):
    assert failed(checked(small(ByQuality), "fusion")) == {}


@pytest.mark.parametrize(
    ("kind", "why"), [(Scores, "negative"), (Unnormalised, "sum to more than 1"), (Undefined, "NaN or infinite")]
)
def test_attention_weights_that_are_no_weights_are_found(small, checked, failed, kind, why):
    wrong = failed(checked(small(kind), "fusion"))
    assert list(wrong) == ["attention"]
    assert why in wrong["attention"].reason


def test_what_a_module_does_not_have_is_named_and_judged_neither_way(checked):
    class Mean(nn.Module):
        inputs = {"eda": {"seconds": 8, "rate_hz": 4, "channels": 1}}  # noqa: RUF012

        def forward(self, inputs):
            return inputs["eda"].mean(dim=2)

    found = checked(Mean(), "fusion")
    assert found.verdicts == []
    assert [note.text.split(":")[0] for note in found.notes] == ["features", "fusion", "attention"]
    assert all("not applicable" in note.text for note in found.notes)


def test_features_of_a_wrong_shape_and_errors_are_found(small, checked, failed):
    class Wrong(FusionNetwork):
        def extract_features(self, x, modality):
            if modality == "eda" and not getattr(self, "inside", False):
                raise RuntimeError("no such encoder")
            found = super().extract_features(x, modality)
            return found[:1] if modality == "affect" and not getattr(self, "inside", False) else found

        def forward(self, inputs, quality=None):
            self.inside = True
            try:
                return super().forward(inputs, quality)
            finally:
                self.inside = False

    found = checked(small(Wrong), "fusion")
    wrong = failed(found)
    assert set(wrong) == {"eda", "affect"}
    assert "no such encoder" in wrong["eda"].reason and "(1, 64)" in wrong["affect"].reason
    assert any("not tried" in note.text for note in found.notes)


def test_entropy_is_zero_for_one_and_one_for_all_alike():
    shares = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]], dtype=torch.float64)
    assert entropy(shares).tolist() == pytest.approx([0.0, 1.0, 0.5])  # log 2 / log 4


def test_variation_is_relative_to_the_largest_feature():
    assert variation(torch.tensor([[1000.0, 1.0], [1000.0, 3.0]])) == pytest.approx(math.sqrt(2) / 1000)


def test_weights_that_no_call_writes_are_noted_and_not_judged(small, checked, failed):
    class Silent(FusionNetwork):
        """As an exported program: the tensor is there, and stays as it was built."""

        def forward(self, inputs, quality=None):
            found = super().forward(inputs, quality)
            self.attention_weights = torch.zeros(1, 3)
            return found

        def fuse_modalities(self, features, quality=None):
            found = super().fuse_modalities(features, quality)
            self.attention_weights = torch.zeros(1, 3)
            return found

    found = checked(small(Silent), "fusion")
    assert failed(found) == {}
    assert any("no call writes attention_weights" in note.text for note in found.notes)


def test_static_weights_are_noted_and_not_blamed(small, checked):
    class Static(Without):
        def weights(self, weights):
            return torch.tensor([0.5, 0.3, 0.2])

    found = checked(small(Static), "fusion")
    assert all(verdict.outcome is Outcome.PASS for verdict in found.verdicts)
    assert any("cannot look by construction" in note.text for note in found.notes)
