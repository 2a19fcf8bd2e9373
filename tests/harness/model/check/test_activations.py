"""Dead, saturated, constant and non-finite layers are found and named; sound modules raise nothing."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness.model.check.activations import activations
from harness.model.check.findings import Note, Settings, Table
from harness.model.check.subject import Subject, open_subject, subject_of
from harness.rig import ModelEntry
from harness.verdict import Outcome, Verdict

SETTINGS = Settings()


@pytest.fixture(autouse=True)
def _single_thread_and_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        yield
    torch.set_num_threads(threads)


def verdicts_of(subject: Subject) -> dict[str, Verdict]:
    return {item.subject: item for item in activations(subject, SETTINGS) if isinstance(item, Verdict)}


def red(subject: Subject) -> dict[str, str]:
    return {place: v.reason for place, v in verdicts_of(subject).items() if v.outcome is not Outcome.PASS}


def rows_of(subject: Subject) -> dict[str, tuple[str | float | int, ...]]:
    table = next(item for item in activations(subject, SETTINGS) if isinstance(item, Table))
    return {f"{row[0]}:{row[1]}": row for row in table.rows}


def ten(module: nn.Module) -> Subject:
    return subject_of(module, shape=(10,))


class Plain(nn.Module):
    """Two layers with a rectifier that has no module of its own."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(10, width), nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


@pytest.fixture(scope="module")
def reference() -> Subject:
    return open_subject(ModelEntry())


def test_the_reference_network_is_clean_and_its_functional_rectifiers_are_seen(reference: Subject) -> None:
    subject = reference
    found = verdicts_of(subject)
    assert {place: v.outcome for place, v in found.items()} == dict.fromkeys(
        ("finite", "dead", "saturated", "constant"), Outcome.PASS
    )
    assert found["dead"].n == 10 * (12 + 20 + 32 + 64) + 192  # ten encoders and the trunk
    rows = rows_of(subject)
    assert rows["encoders.ecg.stem.enter:relu"][2] == "32x63x12"
    assert rows["trunk:Linear"][2] == "32x192"


def test_one_broken_encoder_of_the_reference_network_is_found_among_ten(reference: Subject) -> None:
    dead, poisoned = reference.fresh(), reference.fresh()
    with torch.no_grad():
        dead.module.get_parameter("encoders.rr.stem.middle.linear.bias").fill_(-1e3)
        poisoned.module.get_parameter("encoders.rr.stem.middle.linear.weight")[0, 0] = torch.nan
    found = red(dead)
    assert "nothing gets through encoders.rr.stem.middle" in found["dead"]
    assert "ecg" not in found["dead"]
    reason = red(poisoned)["finite"]
    assert "begins with NaN out of linear in encoders.rr.stem.middle.linear" in reason
    assert "encoders.rr.stem.middle.linear.weight: load other weights" in reason


def test_ordinary_networks_are_clean() -> None:
    assert red(ten(Plain())) == {}
    assert red(ten(nn.Sequential(nn.Linear(10, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, 2), nn.Tanh()))) == {}
    image = nn.Sequential(nn.Conv1d(1, 8, 5), nn.BatchNorm1d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 60, 2))
    assert red(subject_of(image, shape=(1, 64))) == {}


def test_what_a_module_does_not_have_is_a_note_and_no_verdict() -> None:
    found = list(activations(ten(nn.Linear(10, 2)), SETTINGS))
    assert {v.subject for v in found if isinstance(v, Verdict)} == {"finite", "constant"}
    assert sum(isinstance(item, Note) for item in found) == 2


@pytest.mark.parametrize("functional", [False, True])
def test_a_layer_whose_biases_are_far_below_zero_is_dead_as_a_whole(functional: bool) -> None:
    plain = Plain()
    module = plain if functional else nn.Sequential(plain.first, nn.ReLU(), plain.second)
    nn.init.constant_(plain.first.bias, -1e3)
    found = red(ten(module))
    assert "16 of 16" in found["dead"]
    assert f"nothing gets through {'model' if functional else '1'};" in found["dead"]


@pytest.mark.parametrize(("dead", "outcome"), [(32, Outcome.PASS), (44, Outcome.PASS), (45, Outcome.FAIL)])
def test_a_layer_fails_when_more_than_half_of_it_is_dead_beyond_chance(dead: int, outcome: Outcome) -> None:
    """Of 64 tosses of a coin 45 or more are heads with a probability of 0.0008, 44 or more with 0.0018."""
    module = Plain(64)
    with torch.no_grad():
        module.first.bias[:dead] = -1e3
    verdict = verdicts_of(ten(module))["dead"]
    assert (verdict.outcome, verdict.value) == (outcome, dead / 64)
    assert f"{dead} of 64" in verdict.reason
    assert "nothing gets through" not in verdict.reason


@pytest.mark.parametrize("seed", range(4))
def test_a_deep_network_with_torchs_own_first_weights_is_clean(seed: int) -> None:
    torch.manual_seed(seed)
    layers = [layer for _ in range(8) for layer in (nn.ReLU(), nn.Linear(32, 32))]
    assert red(ten(nn.Sequential(nn.Linear(10, 32), *layers, nn.ReLU(), nn.Linear(32, 2)))) == {}


class ConvolutionThenRectifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv1d(1, 16, 5), nn.BatchNorm1d(16), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.conv(x))
        return self.head(torch.relu(h + 0.0).mean(dim=2))


def test_the_units_of_a_convolution_are_its_channels() -> None:
    module = ConvolutionThenRectifier()
    with torch.no_grad():
        module.norm.bias[:15] = -1e3
    assert "model (relu), 15 of 16" in red(subject_of(module, shape=(1, 64)))["dead"]


class Broken(nn.Module):
    """A logarithm of what may be negative, between two layers and far from the output."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(10, 8), Logarithm(), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.middle(self.first(x))))


class Logarithm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x + 1.0 - 1.0)


def test_the_layer_where_nan_begins_is_named_and_not_where_it_ends() -> None:
    found = red(ten(Broken()))
    assert "begins with NaN out of log in middle" in found["finite"]
    assert "goes on to middle, last, model" in found["finite"]
    assert "reaches the output" in found["finite"]


def test_weights_that_hold_nan_are_named() -> None:
    module = Plain()
    with torch.no_grad():
        module.second.weight[0, 0] = torch.nan
    assert "second.weight" in red(ten(module))["finite"]


class Hides(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bad, self.good = Logarithm(), nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.nan_to_num(self.bad(x)).sum(dim=1, keepdim=True) + self.good(x)


def test_nan_that_is_swept_away_before_the_output_is_found_all_the_same() -> None:
    reason = red(ten(Hides()))["finite"]
    assert "log in bad" in reason
    assert "hidden before the output" in reason


class Mask(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.masked_fill(torch.arange(x.shape[1]) > 5, -torch.inf)


def test_a_mask_of_minus_infinity_under_a_softmax_is_no_finding() -> None:
    assert "finite" not in red(ten(nn.Sequential(Mask(), nn.Softmax(dim=1), nn.Linear(10, 2))))


class Loud(nn.Module):
    def __init__(self, gain: float) -> None:
        super().__init__()
        self.first, self.last, self.gain = nn.Linear(10, 16), nn.Linear(16, 2), gain

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.last(torch.tanh(self.gain * self.first(x))))


def test_a_saturated_tanh_is_named_and_a_moderate_one_is_not() -> None:
    assert red(ten(Loud(gain=1.0))) == {}
    assert "model (tanh)" in red(ten(Loud(gain=1e3)))["saturated"]


def test_a_unit_pinned_to_one_end_by_its_bias_is_stuck() -> None:
    module = Loud(gain=1.0)
    nn.init.constant_(module.first.bias, 100.0)
    assert "16 of 16 units always at the same end" in red(ten(module))["saturated"]


def test_a_network_may_be_sure_of_its_last_answer() -> None:
    module = Loud(gain=1.0)
    with torch.no_grad():
        module.last.weight.mul_(1e5)
        module.last.bias.zero_()
    assert "saturated" not in red(ten(module))


class Forgets(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x.sum(dim=1, keepdim=True), dim=1)


def test_a_layer_with_one_output_for_all_windows_is_named() -> None:
    found = red(ten(nn.Sequential(nn.Linear(10, 4), Forgets(), nn.Linear(1, 2))))
    assert "the output of 1, model is" in found["constant"]  # what comes behind is fed a constant


class Nested(nn.Module):
    """Parts that return tuples and dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.parts, self.head = nn.LSTM(1, 8, batch_first=True), Parts(), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        series, (last, _) = self.recurrent(x[:, :, None])
        held = self.parts(series)
        return self.head(held["mean"] + held["most"] + last[0])


class Parts(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"mean": x.mean(dim=1), "most": x.amax(dim=1)}


def test_tuples_and_dictionaries_of_tensors_are_layers_too() -> None:
    subject = ten(Nested())
    assert red(subject) == {}
    rows = rows_of(subject)
    assert rows["recurrent:LSTM"][2] == "32x10x8"
    assert rows["parts:Parts"][2] == "32x8"


def test_one_module_called_twice_is_two_layers() -> None:
    shared = nn.ReLU()
    first = nn.Linear(10, 8)
    nn.init.constant_(first.bias, -1e3)
    reason = red(ten(nn.Sequential(nn.Linear(10, 10), shared, first, shared, nn.Linear(8, 2))))["dead"]
    assert "1#2 (relu), 8 of 8" in reason


def test_the_table_says_what_a_layer_put_out() -> None:
    subject = ten(nn.Sequential(nn.Identity(), nn.Linear(10, 2)))
    x = subject.examples(32)[0]["input"].double()
    row = rows_of(subject)["0:Identity"]
    assert row[3:7] == pytest.approx(tuple(map(float, (x.mean(), x.std(correction=0), x.min(), x.max()))))
    assert row[7] == 0


def test_nothing_is_left_behind_in_the_module() -> None:
    module = nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))
    subject = ten(module)
    module.train()
    before, generator = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    list(activations(subject, SETTINGS))
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(part.training for part in module.modules())
    assert torch.equal(generator, torch.get_rng_state())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_torchscript_hides_its_layers_and_that_is_said() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript old
        module = torch.jit.trace(nn.Sequential(nn.Linear(10, 2), nn.ReLU()), torch.zeros(1, 10))
    found = list(activations(ten(module), SETTINGS))
    assert [type(item) for item in found] == [Note]


def test_the_functions_of_an_exported_program_are_seen(tmp_path: Path) -> None:
    module = Plain()
    with torch.no_grad():
        module.first.bias[:15] = -1e3
    file = tmp_path / "plain.pt2"
    torch.export.save(torch.export.export(module.eval(), (torch.zeros(1, 10),)), file)
    subject = open_subject(ModelEntry(file=str(file)), shape=(10,))
    assert "15 of 16" in red(subject)["dead"]


def test_batch_norms_that_have_seen_no_data_are_noted() -> None:
    module = nn.Sequential(nn.Linear(10, 4), nn.BatchNorm1d(4))
    assert any("no data" in item.text for item in activations(ten(module), SETTINGS) if isinstance(item, Note))
    module.train()(torch.randn(8, 10))
    assert not any("no data" in item.text for item in activations(ten(module), SETTINGS) if isinstance(item, Note))


class Ragged(nn.Module):
    """Rectifies as many columns as the largest value of the windows says."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        width = min(10, 2 + int(x.abs().max()))
        return self.line(x) + torch.relu(x[:, :width]).sum(dim=1, keepdim=True)


def test_a_layer_whose_width_depends_on_the_data_is_borne() -> None:
    assert red(ten(Ragged())) == {}
