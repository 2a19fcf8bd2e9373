"""Running a model: arrays in, outputs out, and nothing but finite outputs of one shape get through."""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drivers.types import FloatArray
from harness.model.errors import EngineError, ModelError, ModelFault
from harness.model.inputs import Float32Array
from harness.model.load import LoadedModel
from harness.model.program import export_program, program_inputs
from harness.model.warming import Arrays as Arrays
from harness.model.warming import Engine as Engine
from harness.model.warming import WarmUp as WarmUp
from harness.model.warming import freeze_garbage as freeze_garbage
from harness.model.warming import warm_up as warm_up
from harness.rig import ModelEntry

_Run = Callable[[dict[str, Float32Array], dict[str, Float32Array]], NDArray[np.float32]]


def make_engine(entry: ModelEntry, model: LoadedModel) -> Engine:
    """The engine that the rig asks for, on its device and with its threads; EngineError if it cannot be had.

    torch's thread count is one for the whole process. One thread is the default: with two, the second wakes up late
    after each idle gap, and a window that takes 2 ms takes 10 to 400.
    """
    if entry.threads < 1:
        raise EngineError(f"model.threads: expected at least 1, found {entry.threads}")
    device = _device(entry.device)
    torch.set_num_threads(entry.threads)
    if entry.engine in ("eager", "compile"):
        return _Checked(model, _TorchRun(model, device, compiled=entry.engine == "compile").run)
    if entry.engine == "onnx":
        if device.type != "cpu":
            raise EngineError(f"model.device: engine onnx runs on the cpu here, found {entry.device!r}; use eager")
        return _Checked(model, _OnnxRun(model, entry.threads).run)
    raise EngineError(f"model.engine: expected eager, compile or onnx, found {entry.engine!r}")


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise EngineError(f"model.device: expected cpu or cuda, found {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise EngineError(f"model.device: expected cpu or cuda, found {name!r}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EngineError(
            f"model.device: {name!r}, and torch {torch.__version__} finds no CUDA device; check nvidia-smi and that "
            "torch is a CUDA build, or take cpu"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EngineError(f"model.device: {name!r}, and there are {torch.cuda.device_count()} CUDA devices")
    return device


class _Checked:
    """Completes the inputs, splits batches where the model takes one window only, and judges what comes out."""

    def __init__(self, model: LoadedModel, run: _Run) -> None:
        self._model, self._run = model, run
        self._outputs: int | None = getattr(model.module, "output_dim", None)

    def infer(self, inputs: Arrays, quality: Arrays) -> FloatArray:
        """As Engine.infer."""
        sizes = {len(array) for array in (*inputs.values(), *quality.values())}
        if len(sizes) != 1:
            raise ValueError(f"all inputs and qualities need the same number of windows, found {sorted(sizes)}")
        batch = sizes.pop()
        ready, level = self._complete(inputs, quality, batch)
        if self._model.batch is None:
            return self._judge(self._try(ready, level), batch)
        rows = [
            self._try({k: v[i : i + 1] for k, v in ready.items()}, {k: v[i : i + 1] for k, v in level.items()})
            for i in range(batch)
        ]
        return np.concatenate([self._judge(row, 1) for row in rows])

    def _complete(
        self, inputs: Arrays, quality: Arrays, batch: int
    ) -> tuple[dict[str, Float32Array], dict[str, Float32Array]]:
        names = self._model.inputs if self._model.complete else [n for n in self._model.inputs if n in inputs]
        ready: dict[str, Float32Array] = {}
        level: dict[str, Float32Array] = {}
        for name in names:
            spec, given = self._model.inputs[name], inputs.get(name)
            shape = (batch, spec.channels, spec.length)
            if given is not None and given.shape != shape:
                raise ModelFault(f"{self._model.name}: {name} wants windows {shape}, found {given.shape}")
            ready[name] = np.zeros(shape, np.float32) if given is None else np.asarray(given, dtype=np.float32)
            missing = np.full(batch, 0.0 if given is None else 1.0, np.float32)
            level[name] = np.asarray(quality.get(name, missing) if given is not None else missing, dtype=np.float32)
        if not ready:
            raise ModelFault(f"{self._model.name}: takes {', '.join(self._model.inputs)}, found {', '.join(inputs)}")
        return ready, level

    def _try(self, inputs: dict[str, Float32Array], quality: dict[str, Float32Array]) -> NDArray[np.float32]:
        try:
            return self._run(inputs, quality)
        except ModelError:
            raise  # already says who has to act
        except Exception as error:  # a user's module may raise anything: a finding about it, with where
            shapes = ", ".join(f"{name} {array.shape}" for name, array in inputs.items())
            raise ModelFault(f"{self._model.name}: raised {_said(error)} for {shapes}") from error

    def _judge(self, found: NDArray[Any], batch: int) -> FloatArray:
        name = self._model.name
        if found.ndim != 2 or found.shape[0] != batch or found.shape[1] < 1:
            raise ModelFault(f"{name}: returned shape {found.shape}; expected ({batch}, outputs)")
        if self._outputs is None:
            self._outputs = int(found.shape[1])
        if found.shape[1] != self._outputs:
            raise ModelFault(f"{name}: returned {found.shape[1]} outputs; expected {self._outputs}")
        bad = ~np.isfinite(found)
        if bad.any():
            row, column = (int(place[0]) for place in np.nonzero(bad))
            label = self._model.outputs[column] if column < len(self._model.outputs) else f"output {column}"
            raise ModelFault(
                f"{name}: returned {found[row, column]} as {label} of window {row} ({int(bad.any(axis=1).sum())} of "
                f"{batch} windows are not finite); inputs were finite: look for a log, a division or an overflow"
            )
        return np.asarray(found, dtype=np.float64)


def _said(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}{place}: {text}"


class _TorchRun:
    """The module itself, or torch.compile's version of it."""

    def __init__(self, model: LoadedModel, device: torch.device, *, compiled: bool) -> None:
        self._model, self._device = model, device
        if device.type != "cpu":
            model.module.to(device)
        call: Callable[..., Any] = model.module
        if compiled:
            if model.kind == "torchscript":
                raise EngineError(f"{model.name}: TorchScript cannot go through torch.compile; use engine eager")
            with _quiet():
                call = torch.compile(model.module)
        self._call, self._compiled = call, compiled

    def run(self, inputs: dict[str, Float32Array], quality: dict[str, Float32Array]) -> NDArray[np.float32]:
        """One call without autograd."""
        with torch.inference_mode():
            args, keywords = self._model.convention.arguments(self._tensors(inputs), self._tensors(quality))
            with _quiet() if self._compiled else nullcontext():  # it compiles again for each new kind of batch
                found = self._call(*args, **keywords)
        if not isinstance(found, Tensor):
            raise ModelFault(f"{self._model.name}: returned {type(found).__name__}; expected one tensor (B, outputs)")
        if not found.is_floating_point():
            raise ModelFault(f"{self._model.name}: returned {found.dtype}; expected a float tensor (B, outputs)")
        array: NDArray[np.float32] = found.float().cpu().numpy()
        return array

    def _tensors(self, arrays: dict[str, Float32Array]) -> dict[str, Tensor]:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        if self._device.type == "cpu":
            return tensors
        return {name: tensor.to(self._device) for name, tensor in tensors.items()}


class _OnnxRun:
    """onnxruntime on the model's ONNX export; built at the first call, for the inputs that it brings."""

    def __init__(self, model: LoadedModel, threads: int) -> None:
        if model.kind == "torchscript":
            raise EngineError(f"{model.name}: TorchScript has no ONNX export; use engine eager, or export a .pt2")
        try:
            import onnxruntime
            import onnxscript  # noqa: F401 - torch.onnx needs it
        except ImportError as error:
            raise EngineError(
                f"model.engine: onnx needs {error.name}, which is not installed: pip install 'spiral-hil[onnx]'"
            ) from error
        self._runtime, self._model, self._threads = onnxruntime, model, threads
        self._sessions: dict[tuple[str, ...], tuple[Any, list[tuple[str, bool, str]]]] = {}

    def run(self, inputs: dict[str, Float32Array], quality: dict[str, Float32Array]) -> NDArray[np.float32]:
        """One call; the first with a new set of modalities exports and takes seconds."""
        key = tuple(inputs)
        if key not in self._sessions:
            self._sessions[key] = self._export(inputs, quality)
        session, feeds = self._sessions[key]
        feed = {name: (quality if is_quality else inputs)[modality] for name, is_quality, modality in feeds}
        found: NDArray[np.float32] = session.run(None, feed)[0]
        return found

    def _export(
        self, inputs: dict[str, Float32Array], quality: dict[str, Float32Array]
    ) -> tuple[Any, list[tuple[str, bool, str]]]:
        program = self._model.program or export_program(self._model.module, self._model.convention, inputs, quality)
        try:
            with _quiet():
                exported = torch.onnx.export(program, dynamo=True, verbose=False)
        except Exception as error:  # the exporter raises many kinds
            raise EngineError(f"{self._model.name}: torch.onnx cannot export it ({_said(error)}); use eager") from error
        if exported is None:
            raise EngineError(f"{self._model.name}: torch.onnx exported nothing; use eager")
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        session = self._runtime.InferenceSession(
            exported.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        taken = program_inputs(program, self._model.name)
        places = {placeholder: (False, modality) for modality, placeholder in taken.inputs.items()}
        places |= {placeholder: (True, modality) for modality, placeholder in taken.quality.items()}
        return session, [(item.name, *places[item.name]) for item in session.get_inputs()]


@contextmanager
def _quiet() -> Iterator[None]:
    """torch's own deprecations and its remarks about packages that nobody needs here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
