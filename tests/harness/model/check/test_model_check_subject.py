import warnings

import pytest
import torch
from torch import Tensor, nn

from harness.model.check.material import curves
from harness.model.check.subject import open_subject, subject_of
from harness.model.errors import LoadError, ModelFault
from harness.model.inputs import INPUTS
from harness.model.network import FusionNetwork
from harness.rig import ModelEntry

FACTORY = """
import torch
from torch import nn

def build():
    return nn.Linear(10, 3)

class ByTensor(nn.Module):
    inputs = {"ecg": {"channels": 1, "seconds": 2.0, "rate_hz": 50.0}}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=2)

def declared():
    return ByTensor()
"""


@pytest.fixture
def factory(tmp_path, monkeypatch):
    (tmp_path / "subject_factory_under_test.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    return "subject_factory_under_test"


def test_examples_are_physiology_and_the_same_every_time():
    subject = open_subject(ModelEntry())
    inputs, quality = subject.examples(8)
    again, _ = open_subject(ModelEntry()).examples(4)
    assert {name: tuple(x.shape) for name, x in inputs.items()} == {
        name: (8, spec.channels, spec.length) for name, spec in INPUTS.items()
    }
    assert all(torch.equal(inputs[name][:4], again[name]) for name in inputs)
    assert all(torch.equal(level, torch.ones(8)) for level in quality.values())
    assert (inputs["heart_rate"] > 35).all() and (inputs["heart_rate"] < 160).all()  # bpm of people at rest and not
    assert (inputs["temperature"] > 20).all() and (inputs["temperature"] < 40).all()
    other, _ = open_subject(ModelEntry(), seed=1).examples(4)
    assert not torch.equal(other["ecg"], again["ecg"])


def test_examples_may_be_changed_without_changing_those_that_come_next():
    subject = open_subject(ModelEntry())
    subject.examples(4)[0]["ecg"].fill_(7.0)
    assert not (subject.examples(4)[0]["ecg"] == 7.0).any()


def test_windows_come_with_what_the_people_felt():
    found = open_subject(ModelEntry()).labelled(12)
    assert len(found) == 12
    assert found.arousal.shape == found.valence.shape == (12,)
    assert found.arousal.abs().max() <= 1 and found.arousal.std() > 0.1


def test_other_windows_and_units_of_a_known_modality_are_rendered_as_declared():
    class Microvolt(nn.Module):
        inputs = {"ecg": {"channels": 1, "seconds": 1.0, "rate_hz": 1000.0}}  # noqa: RUF012

        def forward(self, inputs):
            return inputs["ecg"].mean(dim=2)

    subject = subject_of(Microvolt())
    inputs, _ = subject.examples(4)
    assert inputs["ecg"].shape == (4, 1, 1000)
    assert 0.1 < inputs["ecg"].abs().amax() < 5  # millivolt
    assert subject.invented == ()


def test_a_modality_that_nobody_simulates_gets_smooth_curves_and_is_named():
    class Muscle(nn.Module):
        inputs = {"emg": {"channels": 2, "seconds": 1.0, "rate_hz": 200.0}}  # noqa: RUF012

        def forward(self, inputs):
            return inputs["emg"].mean(dim=2)

    subject = subject_of(Muscle())
    assert subject.invented == ("emg",)
    x = subject.examples(32)[0]["emg"]
    assert x.shape == (32, 2, 200)
    assert x.diff(dim=2).std() < 0.2 * x.std()  # white noise would give 1.4


def test_curves_have_unit_variance_and_do_not_depend_on_how_many_are_asked_for():
    many = curves((2, 400), 200, seed=1)
    assert abs(float(many.mean())) < 0.05
    assert float(many.var()) == pytest.approx(1.0, rel=0.1)
    assert torch.equal(curves((2, 400), 3, seed=1), many[:3])


def test_a_factory_of_a_plain_layer_needs_a_shape_and_is_told_which(factory):
    with pytest.raises(LoadError, match=r"--input-shape 10"):
        open_subject(ModelEntry(factory=f"{factory}:build"))
    subject = open_subject(ModelEntry(factory=f"{factory}:build"), shape=(10,))
    assert subject.one_tensor and subject.infer(*subject.examples(5)).shape == (5, 3)


def test_a_chain_of_layers_wants_what_its_first_one_wants():
    with pytest.raises(LoadError, match=r"--input-shape 10"):
        subject_of(nn.Sequential(nn.Sequential(nn.Linear(10, 4)), nn.ReLU()))
    chain = subject_of(nn.Sequential(FusionNetwork(), nn.Linear(6, 2)))
    assert not chain.one_tensor and chain.infer(*chain.examples(2)).shape == (2, 2)


def test_a_factory_that_draws_its_weights_gives_the_same_ones_for_the_same_seed(factory):
    entry = ModelEntry(factory=f"{factory}:build")
    one, same, other = (open_subject(entry, shape=(10,), seed=seed) for seed in (1, 1, 2))
    x = {"input": torch.ones(1, 10)}
    assert torch.equal(one.infer(x), same.infer(x))
    assert not torch.equal(one.infer(x), other.infer(x))


def test_a_module_of_one_tensor_that_declares_its_window_needs_no_shape(factory):
    subject = open_subject(ModelEntry(factory=f"{factory}:declared"))
    assert subject.shapes == {"input": (1, 100)}
    assert subject.infer(*subject.examples(3)).shape == (3, 1)
    assert subject.invented == ()
    x = subject.examples(8)[0]["input"]
    spikes = (x - x.mean(dim=2, keepdim=True)).abs().amax(dim=2) / x.std(dim=2)
    assert (spikes > 3).all()  # an ECG has R peaks, a sum of five sinusoids has none


def test_an_exported_program_of_one_tensor_is_called_with_it(tmp_path):
    path = tmp_path / "one.pt2"
    layer = nn.Linear(10, 3).eval()
    torch.export.save(torch.export.export(layer, (torch.zeros(1, 10),)), path)
    subject = open_subject(ModelEntry(file=str(path)), shape=(10,))
    inputs, quality = subject.examples(4)
    assert subject.batch == 1  # exported for one window: goes row by row
    assert torch.allclose(subject.infer(inputs, quality), layer(inputs["input"]))
    with pytest.raises(LoadError, match="does not fit"):
        open_subject(ModelEntry(file=str(path)), shape=(11,))


def test_an_exported_program_of_modalities_is_copied_and_called(tmp_path):
    class Mean(nn.Module):
        def forward(self, inputs):
            return inputs["ecg"].mean(dim=2) + inputs["eda"].mean(dim=2)

    path = tmp_path / "many.pt2"
    example = {"ecg": torch.zeros(1, 1, 500), "eda": torch.zeros(1, 1, 100)}
    torch.export.save(torch.export.export(Mean(), (example,)), path)
    subject = open_subject(ModelEntry(file=str(path)))
    inputs, quality = subject.examples(3)
    assert torch.allclose(subject.fresh().infer(inputs, quality), Mean()(inputs))


def test_torchscript_is_copied_and_called(tmp_path):
    class Mean(nn.Module):
        def forward(self, ecg: Tensor) -> Tensor:
            return ecg.mean(dim=2)

    path = tmp_path / "old.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(Mean()), str(path))
    subject = open_subject(ModelEntry(file=str(path)))
    assert subject.fresh().infer(*subject.examples(3)).shape == (3, 1)


def test_torchscript_of_one_tensor_is_called_with_it(tmp_path):
    path, layer = tmp_path / "one.pt", nn.Linear(10, 3).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(layer, torch.zeros(1, 10)), str(path))
    subject = open_subject(ModelEntry(file=str(path)), shape=(10,))
    inputs, quality = subject.examples(4)
    assert torch.allclose(subject.fresh().infer(inputs, quality), layer(inputs["input"]))


def test_a_program_of_one_tensor_without_a_shape_is_told_of_it(tmp_path):
    path = tmp_path / "one.pt2"
    torch.export.save(torch.export.export(nn.Linear(10, 3).eval(), (torch.zeros(1, 10),)), path)
    with pytest.raises(LoadError, match="--input-shape"):
        open_subject(ModelEntry(file=str(path)))


def test_an_error_within_torch_is_placed_at_the_line_that_led_there_and_a_convolution_says_its_channels():
    class Picture(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(3, 2, 5)

        def forward(self, x):
            return self.conv(x).mean(dim=2)

    subject = subject_of(Picture())
    with pytest.raises(ModelFault, match=r"at test_model_check_subject\.py:\d+: .*--input-shape 3,500") as raised:
        subject.infer(*subject.examples(1))
    assert "expected one of:" not in str(raised.value)


def test_a_module_with_two_modalities_as_parameters_gets_those_two():
    class Pair(nn.Module):
        def forward(self, ecg: Tensor, eda: Tensor) -> Tensor:
            return ecg.mean(dim=2) + eda.mean(dim=2)

    subject = subject_of(Pair())
    assert set(subject.shapes) == {"ecg", "eda"}
    assert subject.infer(*subject.examples(2)).shape == (2, 1)


def test_a_module_that_ends_the_process_is_a_finding():
    class Ends(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise SystemExit("bye")

    subject = subject_of(Ends(), shape=(3,))
    with pytest.raises(ModelFault, match=r"SystemExit.*bye"):
        subject.infer(*subject.examples(1))


def test_a_fresh_subject_is_as_loaded_whatever_was_done_to_another():
    class Keeps(nn.Module):
        inputs = {"eda": INPUTS["eda"]}  # noqa: RUF012

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 2)
            self.calls = 0

        def forward(self, inputs):
            self.calls += 1
            self.kept = self.layer(inputs["eda"].mean(dim=2))  # a tensor with a history cannot be copied
            return self.kept

    subject = subject_of(Keeps())
    subject.call(*subject.examples(2)).sum().backward()
    with torch.no_grad():
        subject.module.layer.weight.zero_()
    fresh = subject.fresh()
    assert fresh.module.calls == 0
    assert fresh.module.layer.weight.grad is None and bool(fresh.module.layer.weight.any())


def test_what_a_module_raises_or_returns_is_its_fault_with_place_and_shapes():
    class Raises(nn.Module):
        inputs = {"eda": INPUTS["eda"]}  # noqa: RUF012

        def forward(self, inputs):
            raise RuntimeError("boom")

    subject = subject_of(Raises())
    where = r"RuntimeError at test_model_check_subject.py:\d+: boom for eda \(2, 1, 100\)"
    with pytest.raises(ModelFault, match=where):
        subject.infer(*subject.examples(2))
    subject.module.forward = lambda inputs: [1.0]
    with pytest.raises(ModelFault, match="returned list"):
        subject.infer(*subject.examples(2))
    subject.module.forward = lambda inputs: torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ModelFault, match="int64"):
        subject.infer(*subject.examples(2))


def test_a_shape_for_the_reference_network_is_refused():
    with pytest.raises(LoadError, match="knows its inputs"):
        open_subject(ModelEntry(), shape=(10,))


def test_a_rig_that_feeds_some_inputs_has_the_module_checked_with_those():
    subject = open_subject(ModelEntry(), only=("ecg", "eda"))
    assert set(subject.examples(2)[0]) == {"ecg", "eda"}
    assert subject.infer(*subject.examples(2)).shape == (2, 6)
