"""Gradients that are missing, not finite, vanishing or exploding are found and named; sound modules raise nothing."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from harness.model.check.findings import Note, Settings, Table
from harness.model.check.gradients import gradients
from harness.model.check.subject import Subject, open_subject, subject_of
from harness.rig import ModelEntry
from harness.verdict import Outcome, Verdict


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        yield
    torch.set_num_threads(threads)


def judged(subject: Subject, settings: Settings | None = None) -> dict[str, Verdict]:
    found = gradients(subject, settings or Settings())
    return {item.subject: item for item in found if isinstance(item, Verdict)}


def failing(subject: Subject) -> set[str]:
    return {place for place, verdict in judged(subject).items() if verdict.outcome is not Outcome.PASS}


def noted(subject: Subject) -> str:
    return " | ".join(item.text for item in gradients(subject, Settings()) if isinstance(item, Note))


def vector(module: nn.Module, width: int = 10) -> Subject:
    return subject_of(module, shape=(width,))


def perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2))


@pytest.fixture(scope="module")
def reference() -> Subject:
    return open_subject(ModelEntry())


def test_the_reference_network_is_clean_and_every_parameter_counted(reference: Subject) -> None:
    subject = reference
    found = judged(subject)
    assert {v.outcome for v in found.values()} == {Outcome.PASS}
    assert found["reach"].n == len(list(subject.module.parameters()))
    assert set(found) == {"reach", "finite", "vanishing", "exploding", "depth", "inputs"}


def test_a_reference_network_with_one_branch_cut_names_that_branch(reference: Subject) -> None:
    broken = reference.fresh()
    encoders = broken.module.get_submodule("encoders")
    encoders.get_submodule("eda").register_forward_hook(lambda _, args, found: found.detach())
    found = judged(broken)
    assert {place for place, v in found.items() if v.outcome is not Outcome.PASS} == {"reach", "inputs"}
    assert found["reach"].value == 8
    assert "encoders.eda.stem.enter.linear.weight" in found["reach"].reason
    assert "do not depend on eda:" in found["inputs"].reason


def test_encoders_of_inputs_that_are_not_wired_are_told_apart_from_lost_ones() -> None:
    subject = open_subject(ModelEntry(), only=("ecg", "eda"))
    assert failing(subject) == set()
    assert "encoders.ppg.stem" in noted(subject)
    assert "encoders.ecg" not in noted(subject)


class SelfAttention(nn.Module):
    """Each vector is four words of four; a key's bias shifts all logits alike, so its gradient is 0 by mathematics."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        words = x.reshape(-1, 4, 4)
        weight = torch.softmax(self.query(words) @ self.key(words).transpose(1, 2), dim=2)
        return self.head((weight @ self.value(words)).flatten(1))


def test_ordinary_networks_are_clean() -> None:
    convolutions = nn.Sequential(
        nn.Conv1d(1, 8, 5), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, 5), nn.BatchNorm1d(8), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 3),
    )  # fmt: skip
    assert failing(vector(perceptron())) == set()
    assert failing(subject_of(convolutions, shape=(1, 64))) == set()
    assert failing(vector(nn.Sequential(nn.Linear(10, 4), nn.Softmax(dim=1)))) == set()  # its sum has no gradient


def test_a_bias_that_a_softmax_takes_back_out_is_named_and_no_failure() -> None:
    verdict = judged(vector(SelfAttention(), 16))["vanishing"]
    assert verdict.outcome is Outcome.PASS
    assert "key.bias" in verdict.reason


class Branches(nn.Module):
    """Two branches, of which one is detached, and a layer that nobody calls."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.idle = nn.Linear(10, 4), nn.Linear(10, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.left(x) + self.right(x).detach())


def test_a_detached_branch_and_a_layer_that_never_runs_are_named_with_their_own_causes() -> None:
    verdict = judged(vector(Branches()))["reach"]
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == 4
    cut, idle = verdict.reason.split(";", 1)
    assert "right.weight, right.bias" in cut
    assert "detach" in cut
    assert "idle.weight, idle.bias" in idle
    assert "never run" in idle
    assert "left" not in verdict.reason


def test_forty_sigmoid_layers_vanish_from_the_first_on() -> None:
    layers = [layer for _ in range(40) for layer in (nn.Linear(16, 16), nn.Sigmoid())]
    found = judged(vector(nn.Sequential(nn.Linear(10, 16), *layers, nn.Linear(16, 2))))
    assert found["vanishing"].outcome is Outcome.FAIL
    assert "0.weight" in found["vanishing"].reason
    assert "81." not in found["vanishing"].reason  # the last layer has all it needs
    assert found["depth"].outcome is Outcome.FAIL
    assert found["exploding"].outcome is found["finite"].outcome is Outcome.PASS


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def test_a_factor_of_ten_thousand_explodes_before_it_and_not_behind() -> None:
    module = nn.Sequential(nn.Linear(10, 8), nn.Tanh(), Times(1e4), nn.Linear(8, 2, bias=False))
    with torch.no_grad():
        module[0].weight.mul_(0.01)
    verdict = judged(vector(module))["exploding"]
    assert verdict.outcome is Outcome.FAIL
    assert "0.weight" in verdict.reason
    assert "clip" in verdict.reason


def test_the_limits_are_the_settings() -> None:
    subject = vector(perceptron())
    assert judged(subject, Settings(exploding=1e-3))["exploding"].outcome is Outcome.FAIL
    assert judged(subject, Settings(vanishing=1e2))["vanishing"].outcome is Outcome.FAIL


class RootOfNothing(nn.Module):
    """The output is finite; the root's slope at 0 is not, and Inf times 0 is NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(10, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(torch.sqrt(0 * self.before(x)) + 1)


def test_a_nan_on_the_way_back_is_named_with_the_function_that_made_it() -> None:
    found = judged(vector(RootOfNothing()))
    verdict = found["finite"]
    assert found["inputs"].outcome is Outcome.INCONCLUSIVE
    assert verdict.outcome is Outcome.FAIL
    assert "before.weight" in verdict.reason
    assert "after.weight" not in verdict.reason
    assert "Sqrt" in verdict.reason


def test_a_dead_layer_has_gradients_of_exactly_zero_before_it() -> None:
    module = perceptron()
    nn.init.constant_(module[0].bias, -1e3)
    verdict = judged(vector(module))["vanishing"]
    assert verdict.outcome is Outcome.FAIL
    assert "0.weight (0)" in verdict.reason
    assert "exactly 0" in verdict.reason


class TwoSensors(nn.Module):
    """Says what the skin says, and nothing of the heart unless told to listen."""

    def __init__(self, heart: float) -> None:
        super().__init__()
        self.heart, self.inputs = heart, {"ecg": {}, "eda": {}}
        self.ecg, self.eda = nn.Linear(500, 2), nn.Linear(100, 2)

    def forward(self, ecg: Tensor, eda: Tensor) -> Tensor:
        return self.heart * self.ecg(ecg.flatten(1)) + self.eda(eda.flatten(1))


def test_an_input_that_changes_nothing_is_not_heard() -> None:
    deaf = judged(subject_of(TwoSensors(heart=0.0)))["inputs"]
    assert deaf.outcome is Outcome.FAIL
    assert "ecg" in deaf.reason
    assert "eda" not in deaf.reason
    heard = judged(subject_of(TwoSensors(heart=1.0)))["inputs"]
    assert heard.outcome is Outcome.PASS


def test_norms_are_those_of_mathematics() -> None:
    """The mean over windows of the sum of w x + b has the gradients mean(x) and 1."""
    subject = vector(nn.Linear(10, 2))
    tables = [item for item in gradients(subject, Settings()) if isinstance(item, Table)]
    by_name = {row[0]: row[1:] for row in tables[0].rows}
    x = subject.examples(32)[0]["input"].double()
    slope = x.mean(dim=0).expand(2, -1)
    assert by_name["weight"][0] == pytest.approx(float(slope.norm()), rel=1e-5)
    assert by_name["weight"][2] == pytest.approx(float(slope.mean()), rel=1e-4)
    assert by_name["bias"][0] == pytest.approx(2**0.5)


def test_frozen_parameters_are_left_out_by_name() -> None:
    module = perceptron()
    module[0].requires_grad_(False)
    assert failing(vector(module)) == set()
    assert "0.weight, 0.bias" in noted(vector(module))
    module.requires_grad_(False)
    assert judged(vector(module)) == {}
    assert "no parameter" in noted(vector(module))


def test_the_module_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))
    module[4].weight.grad = torch.full((2, 8), 7.0)
    subject = vector(module)
    module[3].train()
    before, generator = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    list(gradients(subject, Settings()))
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert torch.equal(module[4].weight.grad, torch.full((2, 8), 7.0))
    assert module[0].weight.grad is None
    assert [part.training for part in module] == [False, False, False, True, False]
    assert torch.equal(generator, torch.get_rng_state())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_torchscript_has_gradients_like_any_module() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript old
        module = torch.jit.trace(perceptron(), torch.zeros(1, 10))
    assert failing(vector(module)) == set()
    assert failing(vector(module).fresh()) == set()
