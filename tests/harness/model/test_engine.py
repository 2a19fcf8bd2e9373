"""Engines: they agree, complete what is missing, and let nothing but finite outputs of one shape through."""

from __future__ import annotations

import gc
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from drivers.clock import VirtualClock
from harness.model import (
    INPUTS,
    EngineError,
    LoadedModel,
    ModelFault,
    create_model,
    freeze_garbage,
    load_model,
    make_engine,
    warm_up,
)
from harness.model.calling import convention_of
from harness.rig import ModelEntry

HERE = "engine_test_models"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def arrays(batch: int, *names: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    draw = np.random.default_rng(batch)
    shapes = {name: (batch, INPUTS[name].channels, INPUTS[name].length) for name in names}
    inputs = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return inputs, {name: draw.random(batch).astype(np.float32) for name in names}


class Answer(nn.Module):
    """Answers whatever it was told to."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, inputs: dict[str, Tensor]) -> Any:
        return self.answer(inputs["ecg"])


def loaded(module: nn.Module, **changes: Any) -> LoadedModel:
    convention = convention_of("mine", module, INPUTS)
    return LoadedModel("mine", "factory", module.eval(), INPUTS, "", 0, convention, **changes)


def test_the_eager_engine_gives_what_the_module_gives() -> None:
    engine = make_engine(ModelEntry(), load_model(ModelEntry()))
    inputs, quality = arrays(5, "ecg", "eda", "rr")
    found = engine.infer(inputs, quality)
    tensors = [{name: torch.from_numpy(array) for name, array in side.items()} for side in (inputs, quality)]
    expected = create_model()(*tensors).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float64


@pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="needs onnxruntime: pip install 'spiral-hil[onnx]'"
)
def test_onnxruntime_agrees_with_eager_for_any_batch() -> None:
    model = load_model(ModelEntry())
    eager, onnx = make_engine(ModelEntry(), model), make_engine(ModelEntry(engine="onnx"), load_model(ModelEntry()))
    for batch in (3, 1, 17):
        inputs, quality = arrays(batch, "ecg", "rr")
        quality["ecg"][0] = 0.0
        np.testing.assert_allclose(onnx.infer(inputs, quality), eager.infer(inputs, quality), atol=1e-4)


@pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="needs onnxruntime: pip install onnxruntime"
)
def test_a_model_that_cannot_be_exported_is_no_fault_of_its_outputs() -> None:
    engine = make_engine(ModelEntry(engine="onnx"), loaded(Answer(lambda x: x[:, 0] if x.sum() > 0 else x[:, 0, :2])))
    with pytest.raises(EngineError, match=r"cannot trace the model \(.*use engine eager"):
        engine.infer(*arrays(2, "ecg"))


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler: apt-get install g++")
def test_the_compiled_engine_agrees_with_eager() -> None:
    small = nn.Sequential(nn.Flatten(), nn.Linear(500, 4), nn.Tanh())
    eager = make_engine(ModelEntry(), loaded(Answer(small)))
    compiled = make_engine(ModelEntry(engine="compile"), loaded(Answer(small)))
    inputs, quality = arrays(3, "ecg")
    np.testing.assert_allclose(compiled.infer(inputs, quality), eager.infer(inputs, quality), atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device and a CUDA build of torch")
def test_the_gpu_agrees_with_the_cpu() -> None:
    inputs, quality = arrays(4, *INPUTS)
    here = make_engine(ModelEntry(), load_model(ModelEntry())).infer(inputs, quality)
    there = make_engine(ModelEntry(device="cuda"), load_model(ModelEntry())).infer(inputs, quality)
    np.testing.assert_allclose(there, here, atol=1e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_a_device_says_so() -> None:
    with pytest.raises(EngineError, match=r"'cuda', and torch .* finds no CUDA device"):
        make_engine(ModelEntry(device="cuda"), load_model(ModelEntry()))


def test_a_missing_onnxruntime_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError, match=r"pip install 'spiral-hil\[onnx\]'"):
        make_engine(ModelEntry(engine="onnx"), load_model(ModelEntry()))


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (ModelEntry(engine="tflite"), "expected eager, compile or onnx, found 'tflite'"),
        (ModelEntry(device="mps"), "expected cpu or cuda, found 'mps'"),
        (ModelEntry(device="tpu9"), "expected cpu or cuda, found 'tpu9'"),
        (ModelEntry(threads=0), "model.threads: expected at least 1, found 0"),
    ],
)
def test_an_engine_that_cannot_be_is_named(entry: ModelEntry, text: str) -> None:
    with pytest.raises(EngineError, match=text):
        make_engine(entry, load_model(ModelEntry()))


@pytest.mark.parametrize("threads", [1, 2])
def test_torch_runs_on_the_threads_that_the_rig_says(threads: int) -> None:
    make_engine(ModelEntry(threads=threads), load_model(ModelEntry()))
    assert torch.get_num_threads() == threads


def bad_row(x: Tensor) -> Tensor:
    found = torch.zeros(len(x), 2)
    found[-1, 1] = torch.nan
    return found


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            lambda x: 1 / 0,
            r"mine: raised ZeroDivisionError at test_engine\.py:\d+: division by zero for ecg \(3, 1, 500\)",
        ),
        (lambda x: x @ torch.ones(7), "mine: raised RuntimeError at"),
        (lambda x: bad_row(x), r"returned nan as output 1 of window 2 \(1 of 3 windows"),
        (lambda x: torch.full((len(x), 2), torch.inf), r"returned inf as output 0 of window 0 \(3 of 3"),
        (lambda x: (x, x), "returned tuple; expected one tensor"),
        (lambda x: torch.zeros(len(x)), r"returned shape \(3,\); expected \(3, outputs\)"),
        (lambda x: torch.zeros(1, 2), r"returned shape \(1, 2\); expected \(3, outputs\)"),
        (lambda x: torch.zeros(len(x), 2, dtype=torch.int64), "returned torch.int64; expected a float tensor"),
    ],
)
def test_what_a_model_must_not_do_is_a_fault_that_says_what_it_did(answer: Any, text: str) -> None:
    engine = make_engine(ModelEntry(), loaded(Answer(answer)))
    with pytest.raises(ModelFault, match=text):
        engine.infer(*arrays(3, "ecg"))


def test_a_model_that_changes_its_number_of_outputs_is_at_fault() -> None:
    engine = make_engine(ModelEntry(), loaded(Answer(lambda x: torch.zeros(len(x), len(x)))))
    assert engine.infer(*arrays(2, "ecg")).shape == (2, 2)
    with pytest.raises(ModelFault, match="returned 3 outputs; expected 2"):
        engine.infer(*arrays(3, "ecg"))


def test_a_window_of_another_shape_is_refused_before_the_model_sees_it() -> None:
    engine = make_engine(ModelEntry(), load_model(ModelEntry()))
    with pytest.raises(ModelFault, match=r"ecg wants windows \(2, 1, 500\), found \(2, 1, 499\)"):
        engine.infer({"ecg": np.zeros((2, 1, 499), np.float32)}, {})
    with pytest.raises(ModelFault, match=r"takes ecg, ppg.* found emg"):
        engine.infer({"emg": np.zeros((2, 1, 10), np.float32)}, {})


class Levels(nn.Module):
    """Gives back the qualities that it was called with."""

    def forward(self, ecg: Tensor, eda: Tensor, quality: dict[str, Tensor]) -> Tensor:
        return torch.stack(
            [quality["ecg"], quality["eda"], ecg.abs().amax(dim=(1, 2)), eda.abs().amax(dim=(1, 2))], dim=1
        )


def test_a_modality_without_a_stream_is_zeros_of_quality_zero_where_the_call_must_be_complete() -> None:
    inputs = {name: INPUTS[name] for name in ("ecg", "eda")}
    module = Levels()
    model = LoadedModel("mine", "factory", module, inputs, "", 0, convention_of("mine", module, inputs), complete=True)
    found = make_engine(ModelEntry(), model).infer({"ecg": np.ones((2, 1, 500), np.float32)}, {})
    assert found.tolist() == [[1, 0, 1, 0]] * 2


def test_a_model_for_one_window_gets_one_at_a_time() -> None:
    sizes: list[int] = []

    def note(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return x[:, 0, :3]

    inputs, quality = arrays(4, "ecg")
    found = make_engine(ModelEntry(), loaded(Answer(note), batch=1)).infer(inputs, quality)
    assert sizes == [1, 1, 1, 1]
    np.testing.assert_allclose(found, inputs["ecg"][:, 0, :3])


def test_the_first_call_is_told_apart_from_the_others() -> None:
    clock = VirtualClock()
    costs = iter([500, 20, 10, 30, 10])

    def work(x: Tensor) -> Tensor:
        clock.sleep_until(clock.now_ns() + 1_000_000 * next(costs))
        return torch.zeros(len(x), 3)

    found = warm_up(make_engine(ModelEntry(), loaded(Answer(work))), *arrays(1, "ecg"), 5, clock)
    assert (found.n, found.first_ms, found.p50_ms, found.max_ms, found.outputs) == (5, 500.0, 15.0, 30.0, 3)


def test_a_faulty_model_shows_in_the_warm_up() -> None:
    with pytest.raises(ModelFault, match="KeyError"):
        warm_up(make_engine(ModelEntry(), loaded(Answer(lambda x: {}["weights"]))), *arrays(1, "ecg"))


def test_frozen_objects_are_left_out_of_later_collections() -> None:
    kept = ModuleType(HERE)
    try:
        freeze_garbage()
        assert gc.get_freeze_count() > 0
        assert not any(item is kept for item in gc.get_objects())
    finally:
        gc.unfreeze()
