"""Determinism, missing modalities and quality-awareness."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from harness.model.check.quality_aware import QUALITIES, Curve
from harness.model.inputs import INPUTS
from harness.model.network import FusionNetwork
from harness.verdict import Outcome


class Gated(nn.Module):
    """Means of each modality, weighed by a power of its quality: all that a fusion needs to be judged."""

    output_dim = 2

    def __init__(self, power=1.0, names=("eda", "temperature", "affect")):
        super().__init__()
        self.inputs = {name: INPUTS[name] for name in names}
        self.power = power
        self.heads = nn.ModuleDict({name: nn.Linear(2, 2) for name in names})

    def weight(self, quality):
        return quality**self.power

    def forward(self, inputs, quality=None):
        if not inputs:
            raise ValueError("no input")
        total = 0
        for name, x in inputs.items():
            level = torch.ones(len(x)) if quality is None else quality[name]
            told = torch.stack([x.mean(dim=(1, 2)), x.std(dim=(1, 2))], dim=1)
            part = self.heads[name](torch.where(level[:, None] > 0, told, 0.0))
            total = total + self.weight(level)[:, None] * part
        return total


# --- determinism ------------------------------------------------------------------------------


class DropoutInEval(FusionNetwork):
    def forward(self, inputs, quality=None):
        return nn.functional.dropout(super().forward(inputs, quality), 0.2)


class StubbornDropout(FusionNetwork):
    """A layer that stays in training mode."""

    def __init__(self, inputs):
        super().__init__(inputs)
        self.drop = nn.Dropout(0.2)

    def train(self, mode=True):
        super().train(mode)
        self.drop.training = True
        return self

    def forward(self, inputs, quality=None):
        return self.drop(super().forward(inputs, quality))


class NumpyNoise(FusionNetwork):
    def forward(self, inputs, quality=None):
        return super().forward(inputs, quality) + float(np.random.normal()) * 0.01 + random.random() * 0.01


class HiddenState(FusionNetwork):
    """The mean of what it has answered so far moves the next answer."""

    def forward(self, inputs, quality=None):
        found = super().forward(inputs, quality)
        found = found + 0.1 * getattr(self, "held", torch.zeros(found.shape[1]))
        self.held = found.mean(dim=0)
        return found


def test_a_sound_network_is_deterministic(small, checked, failed):
    found = checked(small(), "determinism")
    assert failed(found) == {}
    assert [v.subject for v in found.verdicts] == ["eval mode", "inputs", "chance", "state", "threads"]


def test_dropout_in_eval_mode_is_chance_and_no_state(small, checked, failed):
    wrong = failed(checked(small(DropoutInEval), "determinism"))
    assert list(wrong) == ["chance"]
    assert "training=self.training" in wrong["chance"].reason


def test_chance_is_not_blamed_on_rows_or_quality(small, checked, failed):
    wrong = failed(checked(small(DropoutInEval), "shapes", "fusion", "determinism", "missing", "quality_aware"))
    assert wrong["chance"].outcome is Outcome.FAIL
    others = {subject: verdict.outcome for subject, verdict in wrong.items() if subject != "chance"}
    assert others == dict.fromkeys(("independent rows", "each quality 0", "model"), Outcome.INCONCLUSIVE)


def test_a_layer_that_stays_in_training_mode_is_named(small, checked, failed):
    wrong = failed(checked(small(StubbornDropout), "determinism"))
    assert set(wrong) == {"eval mode", "chance"}
    assert "drop" in wrong["eval mode"].reason and wrong["eval mode"].value == 1
    assert "drop in training mode" in wrong["chance"].reason


def test_a_network_that_writes_into_its_inputs_is_found_and_confuses_no_other_check(small, checked, failed):
    class InPlace(FusionNetwork):
        def extract_features(self, x, modality):
            if modality == "eda":
                x -= x.mean()
                x *= 2
            return super().extract_features(x, modality)

    class RowsInPlace(InPlace):
        def extract_features(self, x, modality):
            return FusionNetwork.extract_features(self, x.mul_(2), modality)

    wrong = failed(checked(small(RowsInPlace), "shapes", "determinism", "missing", "quality_aware"))
    assert list(wrong) == ["inputs"]
    assert wrong["inputs"].value == 3 and "eda" in wrong["inputs"].reason
    assert "inputs" in failed(checked(small(InPlace), "determinism"))


def test_noise_from_the_generators_of_numpy_and_python_is_chance_too(small, checked, failed):
    wrong = failed(checked(small(NumpyNoise), "determinism"))
    assert list(wrong) == ["chance"]


def test_every_generator_is_left_as_it_was(small, checked):
    module = small()
    np.random.seed(5)
    random.seed(5)
    torch.manual_seed(5)
    checked(module, "determinism")
    assert np.random.normal() == np.random.RandomState(5).normal()
    assert random.random() == random.Random(5).random()
    assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(5)))


def test_a_hidden_state_is_found_and_is_not_called_chance(small, checked, failed):
    wrong = failed(checked(small(HiddenState), "determinism"))
    assert list(wrong) == ["state"]
    assert wrong["state"].value > 0


class StateOfOneBatchSize(FusionNetwork):
    """Keeps a state, and makes it anew when the batch has another length: the usual way to write it."""

    state = None

    def forward(self, inputs, quality=None):
        found = super().forward(inputs, quality)
        if self.state is None or self.state.shape != found.shape:
            self.state = torch.zeros_like(found)
        self.state = 0.5 * self.state + found
        return self.state


def test_a_hidden_state_that_is_made_anew_for_another_batch_is_found(small, checked, failed):
    assert "state" in failed(checked(small(StateOfOneBatchSize), "determinism"))


def test_outputs_that_are_nan_whatever_the_threads_are_not_blamed_on_threads(small, checked, failed):
    broken = small()
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.nan)
    assert "threads" not in failed(checked(broken, "determinism"))


def test_a_hidden_state_is_not_blamed_on_rows_or_quality(small, checked, failed):
    found = checked(small(HiddenState), "shapes", "fusion", "determinism", "missing", "quality_aware")
    assert list(failed(found)) == ["state"]
    assert any("a copy of its own" in note.text for note in found.notes)


# --- missing ----------------------------------------------------------------------------------


class LeaksNaN(Gated):
    """Multiplies what is absent by 0 instead of replacing it."""

    def forward(self, inputs, quality=None):
        total = 0
        for name, x in inputs.items():
            level = torch.ones(len(x)) if quality is None else quality[name]
            told = torch.stack([x.mean(dim=(1, 2)), x.std(dim=(1, 2))], dim=1)
            total = total + self.weight(level)[:, None] * self.heads[name](told)
        if not inputs:
            raise ValueError("no input")
        return total


class NeedsAll(FusionNetwork):
    def forward(self, inputs, quality=None):
        return super().forward({name: inputs[name] for name in self.modalities}, quality)


class NoFallback(FusionNetwork):
    """A mean over what is there, without a thought for nothing."""

    def forward(self, inputs, quality=None):
        level = torch.stack([(quality or {}).get(n, torch.ones(len(x))) for n, x in inputs.items()])
        rows = torch.stack([x.mean(dim=(1, 2)).where(level[k] > 0, 0.0) for k, x in enumerate(inputs.values())])
        return (rows.sum(dim=0) / (level > 0).sum(dim=0))[:, None].repeat(1, self.output_dim)


class QualityZeroCounts(Gated):
    def weight(self, quality):
        return 0.2 + 0.8 * quality

    def forward(self, inputs, quality=None):
        if quality is not None:
            quality = {name: level.clamp_min(1e-3) for name, level in quality.items()}
        return super().forward(inputs, quality)


@pytest.mark.parametrize("build", [FusionNetwork, None])
def test_a_sound_network_bears_missing_modalities(small, checked, failed, build):
    found = checked(small() if build else Gated(), "missing")
    assert failed(found) == {}
    assert [v.subject for v in found.verdicts] == [
        "each left out", "each quality 0", "each NaN at quality 0", "everything at quality 0", "no input",
    ]  # fmt: skip


def test_nan_of_an_absent_modality_that_leaks_is_found_in_each(checked, failed):
    wrong = failed(checked(LeaksNaN(), "missing"))
    assert set(wrong) == {f"{name} NaN at quality 0" for name in ("eda", "temperature", "affect")}
    assert "NaN times 0 is NaN" in wrong["eda NaN at quality 0"].reason


def test_a_network_that_raises_without_a_modality_is_found(small, checked, failed):
    wrong = failed(checked(small(NeedsAll), "missing"))
    assert {"eda left out", "temperature left out", "affect left out"} <= set(wrong)
    assert "KeyError" in wrong["eda left out"].reason
    assert "no input" in wrong  # a KeyError says nothing of what is needed


def test_nothing_at_all_that_gives_nan_or_an_accident_is_found(small, checked, failed):
    wrong = failed(checked(small(NoFallback), "missing"))
    assert set(wrong) == {"everything at quality 0", "no input"}
    assert wrong["everything at quality 0"].value == 8 * 6
    assert "RuntimeError" in wrong["no input"].reason and "Raise a ValueError" in wrong["no input"].reason


def test_content_that_counts_at_quality_zero_is_found(checked, failed):
    wrong = failed(checked(QualityZeroCounts(), "missing"))
    assert {"eda quality 0", "temperature quality 0", "affect quality 0"} <= set(wrong)
    assert wrong["eda quality 0"].value > wrong["eda quality 0"].limit


def test_a_weight_that_is_zero_and_not_shared_out_is_told_from_content_that_counts(checked, failed):
    class NotSharedOut(Gated):
        """A mean over all modalities that are given, whatever their quality."""

        def forward(self, inputs, quality=None):
            return super().forward(inputs, quality) / len(inputs)

    wrong = failed(checked(NotSharedOut(), "missing"))
    assert set(wrong) == {"eda quality 0", "temperature quality 0", "affect quality 0"}
    assert "its place is still taken" in wrong["eda quality 0"].reason
    assert "still counts" in failed(checked(QualityZeroCounts(), "missing"))["eda quality 0"].reason


def test_a_module_called_by_name_gets_zeros_and_no_modality_is_left_out(checked, failed):
    class ByName(nn.Module):
        inputs = {name: INPUTS[name] for name in ("eda", "affect")}  # noqa: RUF012

        def forward(self, eda, affect, quality):
            first = torch.where(quality["eda"][:, None] > 0, eda.mean(dim=2), 0.0)
            return first + torch.where(quality["affect"][:, None] > 0, affect.mean(dim=2), 0.0)

    found = checked(ByName(), "missing")
    assert failed(found) == {}
    assert [v.subject for v in found.verdicts] == ["each quality 0", "each NaN at quality 0", "everything at quality 0"]


# --- quality ----------------------------------------------------------------------------------


class Upside(Gated):
    """Takes a high quality for a bad one."""

    def weight(self, quality):
        return torch.where(quality > 0, 2.0 - quality, 0.0)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_weights_that_fall_at_least_in_proportion_to_quality_pass(checked, failed, power):
    found = checked(Gated(power), "quality_aware")
    assert failed(found) == {}
    by_subject = {verdict.subject: verdict for verdict in found.verdicts}
    assert by_subject["each influence"].value == pytest.approx(0.1**power, rel=1e-2)
    row = found.tables[0].rows[0]
    assert row[2:] == pytest.approx([q**power for q in QUALITIES], abs=2e-3)  # the influence of a gate is its weight


def test_the_root_of_quality_is_too_slow(checked, failed):
    wrong = failed(checked(Gated(0.5), "quality_aware"))
    assert {"eda influence", "temperature influence", "affect influence"} <= set(wrong)
    assert wrong["eda influence"].value == pytest.approx(0.1**0.5, rel=1e-2)


def test_a_softmax_with_log_quality_shares_out_what_a_bad_modality_loses(checked, failed):
    class Softmax(Gated):
        def forward(self, inputs, quality=None):
            if not inputs:
                raise ValueError("no input")
            level = torch.stack([(quality or {}).get(n, torch.ones(len(x))) for n, x in inputs.items()], dim=1)
            told = {n: torch.stack([x.mean(dim=(1, 2)), x.std(dim=(1, 2))], dim=1) for n, x in inputs.items()}
            parts = torch.stack([self.heads[n](x) for n, x in told.items()], dim=1)
            return (torch.softmax(level.log(), dim=1)[:, :, None] * parts).sum(dim=1)

    found = checked(Softmax(names=("eda", "affect")), "quality_aware")
    by_subject = {verdict.subject: verdict for verdict in found.verdicts}
    assert by_subject["each influence"].outcome is Outcome.PASS
    assert by_subject["each influence"].value == pytest.approx((0.1 / 1.1) / 0.5, rel=1e-2)  # q / (1 + q) over 1 / 2


def test_a_module_that_ignores_the_quality_it_takes_is_found(checked, failed):
    class Ignores(Gated):
        def weight(self, quality):
            return (quality > 0).float()

    wrong = failed(checked(Ignores(), "quality_aware"))
    assert {"eda influence", "temperature influence", "affect influence"} <= set(wrong)
    assert wrong["eda influence"].value == pytest.approx(1.0)
    assert not any(subject.endswith("monotony") for subject in wrong)  # it does not rise either


def test_a_module_that_amplifies_low_quality_is_found_by_its_monotony(checked, failed):
    wrong = failed(checked(Upside(), "quality_aware"))
    assert {"eda monotony", "temperature monotony", "affect monotony"} <= set(wrong)
    assert wrong["eda monotony"].value == pytest.approx(0.2, abs=0.01)  # 2 - q rises by 0.2 from 1 to 0.8
    assert "wrong way round" in wrong["eda monotony"].reason


def test_a_low_quality_that_leads_away_from_absence_is_found_by_its_distance(checked, failed):
    class Alarm(Gated):
        """Answers 5 where a quality is low: its content has no influence, and it is not as if absent."""

        def forward(self, inputs, quality=None):
            found = super().forward(inputs, quality)
            for level in (quality or {}).values():
                found = torch.where(((level > 0) & (level < 0.5))[:, None], 5.0, found)
            return found

    wrong = failed(checked(Alarm(), "quality_aware"))
    assert any(subject.endswith("distance") for subject in wrong)
    assert not any(subject.endswith("influence") for subject in wrong)


def test_a_module_of_modalities_that_takes_no_quality_fails_and_is_told_what_to_add(checked, failed):
    class Careless(nn.Module):
        inputs = {"eda": INPUTS["eda"]}  # noqa: RUF012

        def forward(self, inputs):
            return inputs["eda"].mean(dim=2)

    wrong = failed(checked(Careless(), "quality_aware"))
    assert wrong["model"].outcome is Outcome.FAIL and wrong["model"].value == 1.0
    assert "--skip quality_aware" not in wrong["model"].reason and "quality" in wrong["model"].reason


def test_a_modality_that_moves_nothing_is_noted_and_a_module_of_such_is_inconclusive(checked):
    class OneCounts(Gated):
        def forward(self, inputs, quality=None):
            return super().forward({"eda": inputs["eda"]} if "eda" in inputs else inputs, quality)

    some = checked(OneCounts(), "quality_aware")
    assert {note.text.split(":")[0] for note in some.notes} == {"temperature", "affect"}
    assert all(verdict.outcome is Outcome.PASS for verdict in some.verdicts)

    class NoneCounts(Gated):
        def forward(self, inputs, quality=None):
            return 0 * super().forward(inputs, quality)

    none = checked(NoneCounts(), "quality_aware")
    assert [verdict.outcome for verdict in none.verdicts] == [Outcome.INCONCLUSIVE]


def test_the_rise_of_a_curve_is_its_largest_step_up():
    assert Curve("x", 1.0, (1.0, 0.5, 0.7, 0.6), (0.0,) * 4).rise == pytest.approx(0.2)


def test_the_reference_network_passes_all_of_it(checked, failed):
    from harness.model.weights import create_model

    names = ("shapes", "fusion", "determinism", "missing", "quality_aware")
    found = checked(create_model(), *names)
    assert failed(found) == {}
    assert {verdict.check for verdict in found.verdicts} == set(names)
