"""What happens inside a module while it is called, and a way to leave no trace of having looked.

Modules are seen by forward hooks. What a module computes with plain functions (``torch.relu`` in its ``forward``) has
no module of its own: a ``TorchFunctionMode`` sees those calls, and each is named after the innermost module that was
running. TorchScript hides its functions, and ``torch.export`` its modules; what is hidden is not reported.

Every tensor computed on the way carries two labels: from which inputs it came, and which of its axes holds the units
(channels of a convolution, features of a linear layer).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

OnCall = Callable[[str, str, list[Tensor], list[Tensor]], None]
"""(where, what, inputs, outputs). For a module ``where`` is its name, ``what`` its class; for a function ``where`` is
the module that called it and ``what`` the function's name. A second call of the same is ``where#2``. The root module
is ``model``."""

_ORIGIN, _AXIS = "_hil_origin", "_hil_axis"
_CHANNELS_FIRST = ("conv", "batch_norm", "_native_batch_norm", "instance_norm", "group_norm")
_FEATURES_LAST = ("linear", "addmm", "mm", "layer_norm", "native_layer_norm", "embedding")


class Watch(TorchFunctionMode):
    """While entered, tells two listeners of every module and every function that runs. Remove it by leaving it.

    A listener runs with the watch itself switched off; it must not keep or change the tensors that it is shown.
    """

    def __init__(self, module: nn.Module, on_module: OnCall | None = None, on_function: OnCall | None = None) -> None:
        super().__init__()
        self._module, self._on_module, self._on_function = module, on_module, on_function
        self._running: list[str] = []
        self._calls: Counter[tuple[str, str]] = Counter()
        self._handles: list[RemovableHandle] = []
        self._busy = False

    def __enter__(self) -> Watch:
        for name, part in self._module.named_modules():
            label = name or "model"
            if isinstance(part, torch.jit.ScriptModule):
                continue  # takes no hooks
            self._handles.append(part.register_forward_pre_hook(self._entering(label)))
            self._handles.append(part.register_forward_hook(self._leaving(label), with_kwargs=True))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _entering(self, label: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            del args
            if module is self._module:  # an earlier call may have ended in an exception
                self._running.clear()
                self._calls.clear()
            self._running.append(label)

        return hook

    def _leaving(self, label: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, keywords: Any, found: Any) -> None:
            if self._running and self._running[-1] == label:
                self._running.pop()
            self._tell(self._on_module, label, type(module).__name__, tensors((args, keywords)), tensors(found))

        return hook

    def _tell(self, listener: OnCall | None, where: str, what: str, given: list[Tensor], found: list[Tensor]) -> None:
        if listener is None or self._busy:
            return
        self._calls[where, what] += 1
        count = self._calls[where, what]
        self._busy = True
        try:
            listener(where if count == 1 else f"{where}#{count}", what, given, found)
        finally:
            self._busy = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function, label what it returns, tell the listener."""
        found = func(*args, **(kwargs or {}))
        name = str(getattr(func, "__name__", "")).partition(".")[0]
        if self._busy or not self._running or name in ("", "__get__", "__set__"):
            return found
        given, results = tensors((args, kwargs)), tensors(found)
        _label(name, given, results)
        self._tell(self._on_function, self._running[-1], name, given, results)
        return found


def tensors(tree: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and mappings, in order."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, Mapping):
        return [leaf for part in tree.values() for leaf in tensors(part)]
    if isinstance(tree, list | tuple):
        return [leaf for part in tree for leaf in tensors(part)]
    return []


def mark(inputs: Mapping[str, Tensor]) -> None:
    """Label tensors as the inputs of these names."""
    for name, x in inputs.items():
        setattr(x, _ORIGIN, frozenset((name,)))


def origin(x: Tensor) -> frozenset[str]:
    """Names of the marked inputs that a tensor was computed from."""
    found: frozenset[str] = getattr(x, _ORIGIN, frozenset())
    return found


def unit_axis(x: Tensor) -> int:
    """The axis that holds units: where the layer that made it put them; else axis 1 of images, the last of the rest."""
    axis: int | None = getattr(x, _AXIS, None)
    return axis if axis is not None else 1 if x.dim() >= 4 else x.dim() - 1


def _label(name: str, given: list[Tensor], found: list[Tensor]) -> None:
    names: frozenset[str] = frozenset().union(*(origin(x) for x in given))
    for result in found:
        if names:
            setattr(result, _ORIGIN, names)
        axis = _axis(name, given, result)
        if axis is not None:
            setattr(result, _AXIS, axis)


def _axis(name: str, given: Iterable[Tensor], result: Tensor) -> int | None:
    if result.dim() < 2:
        return None
    if name in _FEATURES_LAST:
        return result.dim() - 1
    if name.startswith(_CHANNELS_FIRST):
        return 1
    alike = (getattr(x, _AXIS, None) for x in given if x.shape == result.shape)
    pooled = (getattr(x, _AXIS, None) for x in given if "pool" in name and x.dim() == result.dim())
    return next((axis for axis in (*alike, *pooled) if axis is not None), None)


@contextmanager
def kept(module: nn.Module) -> Iterator[nn.Module]:
    """Whatever is done to a module inside, afterwards it is as it was.

    Weights, gradients, buffers (batch-norm statistics too, and those that are not saved), train or eval mode of each
    part, which parameters are frozen, and the random generators of torch, numpy and Python.
    """
    for parameter in module.parameters():
        if not parameter.is_leaf:  # in the copy of a TorchScript module
            parameter.detach_().requires_grad_()
    parts = [(part, part.training) for part in module.modules()]
    weights = [(p, p.detach().clone(), p.grad, p.requires_grad) for p in module.parameters()]
    gradients = [None if grad is None else grad.clone() for _, _, grad, _ in weights]
    buffers = [(part, dict(part.named_buffers(recurse=False))) for part, _ in parts]
    values = [{name: x.detach().clone() for name, x in held.items()} for _, held in buffers]
    states = torch.random.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield module
    finally:
        torch.random.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
        for part, training in parts:
            part.training = training
        with torch.no_grad():
            for (parameter, value, grad, wanted), gradient in zip(weights, gradients, strict=True):
                parameter.requires_grad_(wanted)
                parameter.copy_(value)
                if grad is not None and gradient is not None:
                    grad.copy_(gradient)
                parameter.grad = grad
            for (part, held), value_of in zip(buffers, values, strict=True):
                for name, x in held.items():
                    x.copy_(value_of[name])
                    setattr(part, name, x)


def set_training(module: nn.Module, training: bool) -> None:
    """Training or eval mode, where the module has modes: an exported program refuses."""
    with suppress(NotImplementedError):
        module.train(training)
