"""Loading a model: factories, programs, TorchScript, and files that are none of them."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness.model import INPUTS, LoadError, WiringError, create_model, load_model, state_hash
from harness.rig import ModelEntry

FACTORY = """
import torch
from torch import nn

class Mapped(nn.Module):
    inputs = {
        "ecg": {"channels": 2, "seconds": 2.0, "rate_hz": 100.0},
        "emg": {"channels": 1, "seconds": 1, "rate_hz": 50},
    }
    outputs = ("effort",)
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(2, 1)
    def forward(self, inputs):
        return self.out(inputs["ecg"].mean(dim=2))

class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(1, 2)
    def forward(self, eda, rr, quality=None):
        return self.out(eda.mean(dim=2) + rr.mean(dim=2))

class OneTensor(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

class Two(nn.Module):
    def forward(self, left, right):
        return left

class Undeclared(nn.Module):
    inputs = {"ecg": {}}
    def forward(self, ecg, eda):
        return ecg

def broken(): raise RuntimeError("no weights here")
def needs(path): return Mapped()
def number(): return 7
constant = 3
"""


class Mean(nn.Module):
    """Quality-weighted mean of two modalities; 6 parameters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.out = nn.Linear(2, 2)

    def forward(self, inputs: dict[str, Tensor], quality: dict[str, Tensor]) -> Tensor:
        columns = [inputs[name].mean(dim=(1, 2)) * quality[name] for name in ("ecg", "eda")]
        return self.out(torch.stack(columns, dim=1))


def example(batch: int, ecg: int = 500) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(batch)
    inputs = {
        "ecg": torch.randn(batch, 1, ecg, generator=generator),
        "eda": torch.randn(batch, 1, 100, generator=generator),
    }
    return inputs, {name: torch.rand(batch, generator=generator) for name in inputs}


def save_program(module: nn.Module, path: Path, batch: int | None = None, ecg: int = 500) -> Path:
    inputs, quality = example(batch or 2, ecg)
    free = None
    if batch is None:
        dim = torch.export.Dim("batch", min=1, max=1024)
        free = ({name: {0: dim} for name in inputs}, {name: {0: dim} for name in quality})
    torch.export.save(torch.export.export(module.eval(), (inputs, quality), dynamic_shapes=free), path)
    return path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module with factories beside the rig, in the working directory."""
    (tmp_path / "bench_models.py").write_text(FACTORY)
    (tmp_path / "half_models.py").write_text("import a_package_that_is_nowhere\n")
    (tmp_path / "torn_models.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield "bench_models"
    assert sys.path == before
    for name in ("bench_models", "half_models", "torn_models"):
        sys.modules.pop(name, None)


def test_without_factory_and_file_it_is_the_reference_network() -> None:
    model = load_model(ModelEntry(inputs={"ecg": {"seconds": 2.0}}))
    assert (model.name, model.kind, model.outputs[:2]) == ("reference", "reference", ("arousal", "valence"))
    assert model.sha256 == state_hash(create_model().state_dict())
    assert model.parameters == sum(p.numel() for p in create_model().parameters())
    assert model.inputs["ecg"].length == 250
    assert not model.complete


def test_a_factory_in_the_working_directory_gives_the_model(package: str) -> None:
    model = load_model(ModelEntry(factory=f"{package}:Mapped"))
    assert model.inputs["ecg"].length == 200
    assert model.inputs["emg"].length == 50
    assert model.parameters == 3
    assert model.outputs == ("effort",)
    assert not model.module.training
    inputs = {"ecg": torch.ones(4, 2, 200)}
    assert model.convention.arguments(inputs, {}) == ((inputs,), {})


def test_a_forward_with_modalities_as_parameters_is_called_by_name(package: str) -> None:
    model = load_model(ModelEntry(factory=f"{package}:Named"))
    assert model.complete
    args, keywords = model.convention.arguments({"eda": 1, "rr": 2}, {"eda": 3})
    assert args == ()
    assert keywords == {"eda": 1, "rr": 2, "quality": {"eda": 3}}


@pytest.mark.parametrize(
    ("factory", "text"),
    [
        ("bench_models", r"expected 'pkg\.mod:function', found 'bench_models'"),
        ("bench_modles:Mapped", "no module 'bench_modles'"),
        ("half_models:Mapped", "half_models needs 'a_package_that_is_nowhere'"),
        ("torn_models:Mapped", "importing torn_models raised ZeroDivisionError"),
        ("bench_models:Maped", "'Maped' is not there in bench_models; did you mean 'Mapped'"),
        ("bench_models:constant", "'constant' is not callable"),
        ("bench_models:broken", r"broken\(\) raised RuntimeError: no weights here"),
        ("bench_models:needs", r"needs\(\) raised TypeError.*without arguments"),
        ("bench_models:number", r"returned int; a torch\.nn\.Module is wanted"),
        ("bench_models:OneTensor", r"forward\(x: Tensor\) wants one tensor.*ecg, ppg"),
        ("bench_models:Two", r"forward\(left, right\) cannot be called"),
        ("bench_models:Undeclared", "forward takes eda, which its 'inputs' do not declare"),
    ],
)
def test_a_factory_that_gives_no_model_is_told_what_is_wrong(package: str, factory: str, text: str) -> None:
    with pytest.raises(LoadError, match=text):
        load_model(ModelEntry(factory=factory))


def test_a_factory_and_a_file_are_one_too_many() -> None:
    with pytest.raises(LoadError, match="a factory or a file, not both"):
        load_model(ModelEntry(factory="a:b", file="c.pt2"))


# --- programs ---------------------------------------------------------------------------------


def test_an_exported_program_says_its_own_windows(tmp_path: Path) -> None:
    path = save_program(Mean(), tmp_path / "mean.pt2")
    model = load_model(ModelEntry(file=str(path)))
    assert model.kind == "exported"
    assert list(model.inputs) == ["ecg", "eda"]
    assert model.inputs["ecg"] == INPUTS["ecg"]
    assert (model.parameters, model.batch, model.complete) == (6, None, True)
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for batch in (1, 5):
        inputs, quality = example(batch)
        args, keywords = model.convention.arguments(inputs, quality)
        torch.testing.assert_close(model.module(*args, **keywords), Mean()(inputs, quality))


def test_a_program_for_one_window_is_known_as_such_and_one_for_four_is_refused(tmp_path: Path) -> None:
    assert load_model(ModelEntry(file=str(save_program(Mean(), tmp_path / "one.pt2", batch=1)))).batch == 1
    with pytest.raises(LoadError, match="exactly 4 windows at a time; export it with one window, or with"):
        load_model(ModelEntry(file=str(save_program(Mean(), tmp_path / "four.pt2", batch=4))))


def test_other_window_lengths_follow_the_program_and_must_agree_with_the_rig(tmp_path: Path) -> None:
    path = str(save_program(Mean(), tmp_path / "short.pt2", ecg=250))
    assert load_model(ModelEntry(file=path)).inputs["ecg"].seconds == 2.0
    assert load_model(ModelEntry(file=path, inputs={"ecg": {"rate_hz": 250.0}})).inputs["ecg"].seconds == 1.0
    with pytest.raises(WiringError, match=r"3 s at 125 Hz are 375 samples, and .*short\.pt2 was exported for 250"):
        load_model(ModelEntry(file=path, inputs={"ecg": {"seconds": 3.0}}))
    with pytest.raises(WiringError, match=r"ppg is no input of .*short\.pt2, which has ecg, eda"):
        load_model(ModelEntry(file=path, inputs={"ppg": {}}))


def test_a_program_of_one_plain_tensor_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.pt2"
    torch.export.save(torch.export.export(nn.Linear(10, 2), (torch.ones(1, 10),)), path)
    with pytest.raises(LoadError, match=r"was exported with inputs .*expected one mapping"):
        load_model(ModelEntry(file=str(path)))


def test_torchscript_is_loaded_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "mean.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(Mapped()), str(path))
    model = load_model(ModelEntry(file=str(path)))
    assert (model.kind, model.parameters, model.batch) == ("torchscript", 6, None)
    inputs, quality = example(3)
    args, keywords = model.convention.arguments(inputs, quality)
    torch.testing.assert_close(model.module(*args, **keywords), Mean()(inputs, quality))


class Mapped(nn.Module):
    """Mean in what torch.jit.script understands."""

    def __init__(self) -> None:
        super().__init__()
        self.out = Mean().out

    def forward(self, inputs: dict[str, Tensor], quality: dict[str, Tensor]) -> Tensor:
        ecg = inputs["ecg"].mean(dim=[1, 2]) * quality["ecg"]
        return self.out(torch.stack([ecg, inputs["eda"].mean(dim=[1, 2]) * quality["eda"]], dim=1))


# --- files that are no programs ---------------------------------------------------------------


class Bomb:
    """Writes a file when somebody unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "an empty file, not a torch program"),
        (b"weights: 3\n", "text that begins 'weights: 3'"),
        (b"\xff\x00\x17", "3 bytes of an unknown kind"),
    ],
)
def test_a_file_that_is_no_program_is_described(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    with pytest.raises(LoadError, match=f"{text}.*torch.export.save"):
        load_model(ModelEntry(file=str(path)))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(LoadError, match=r"no file 'nowhere\.pt2'"):
        load_model(ModelEntry(file="nowhere.pt2"))


def test_a_state_dict_is_counted_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(Mean().state_dict(), path)
    with pytest.raises(LoadError, match=r"a state dict, 2 tensors, without the program.*model\.factory"):
        load_model(ModelEntry(file=str(path)))


@pytest.mark.parametrize("way", ["pickle", "torch.save", "whole module"])
def test_a_pickle_is_refused_and_does_nothing(tmp_path: Path, way: str) -> None:
    trace, path = tmp_path / "boom", tmp_path / "model.pt"
    if way == "pickle":
        path.write_bytes(pickle.dumps(Bomb(trace)))
    else:
        torch.save(Bomb(trace) if way == "torch.save" else Mean(), path)
    with pytest.raises(LoadError, match="could execute code"):
        load_model(ModelEntry(file=str(path)))
    assert not trace.exists()


def rewrite(
    source: Path, target: Path, change: Mapping[str, Callable[[bytes], bytes]], extra: Mapping[str, bytes]
) -> Path:
    """The archive with some members changed and some added."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        root = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            edit = next((edit for end, edit in change.items() if name.endswith(end)), lambda data: data)
            new.writestr(name, edit(old.read(name)))
        for name, data in extra.items():
            new.writestr(f"{root}/{name}", data)
    return target


def test_a_program_that_carries_code_is_refused_and_does_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "boom"
    good = save_program(Mean(), tmp_path / "good.pt2")
    saved = io.BytesIO()
    torch.save(Bomb(trace), saved)
    calls = f"__import__('pathlib').Path({str(trace)!r}).touch()"

    def pickled(data: bytes) -> bytes:
        config = json.loads(data)
        next(iter(config["config"].values()))["use_pickle"] = True
        return json.dumps(config).encode()

    def sized(data: bytes) -> bytes:
        found = data.replace(b"Symbol('s", f"{calls} or Symbol('s".encode())
        assert found != data
        return found

    archives = {
        "neither weights nor graph": ({}, {"data/constants/opaque_obj_0": pickle.dumps(Bomb(trace))}),
        "compiled or pickled parts": ({}, {"data/aotinductor/model/model.so": b"\x7fELF"}),
        "cannot read": ({"sample_inputs/model.pt": lambda _: saved.getvalue()}, {}),
        "asks for a pickle": ({"weights_config.json": pickled}, {}),
        "a size that is no arithmetic": ({"models/model.json": sized}, {}),
    }
    assert load_model(ModelEntry(file=str(good))).parameters == 6
    for text, (change, extra) in archives.items():
        bad = rewrite(good, tmp_path / "bad.pt2", change, extra)
        with pytest.raises(LoadError, match=text):
            load_model(ModelEntry(file=str(bad)))
        assert not trace.exists(), text


def test_another_zip_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/readme.txt", "hello")
    with pytest.raises(LoadError, match="a zip archive that torch did not write"):
        load_model(ModelEntry(file=str(path)))
