"""Which tensors are alive, and who holds those of a module: by path, such as ``encoder.history[...]``."""

from __future__ import annotations

import gc
import sys
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from types import ModuleType

from torch import Tensor, nn

_DEEPEST = 4
"""Containers within containers that are looked into."""
_OWN = frozenset({"_parameters", "_buffers", "_modules"})
"""Of these named_modules(), parameters and buffers tell."""
_LIBRARIES = ("torch", "numpy", "builtins", "collections")
_KINDS = (list, tuple, set, frozenset, deque)


def live_tensors() -> list[Tensor]:
    """Tensors that the garbage collector sees: none that is frozen, and none that only autograd or C++ holds."""
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # objects that warn of being looked at
        return [thing for thing in gc.get_objects() if isinstance(thing, Tensor)]


def size_of(tensors: list[Tensor]) -> int:
    """Bytes of the storages behind tensors, each once; parts that share one count together."""
    sizes = {}
    for tensor in tensors:
        try:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        except (NotImplementedError, RuntimeError):
            continue  # a tensor without memory of its own: sparse, fake or functional
    return sum(sizes.values())


def held_by(module: nn.Module) -> Counter[str]:
    """Path -> tensors there, for what a module, its submodules, and the globals beside their classes hold."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    for name, part in module.named_modules():
        where = name or "the module"
        for label, owned in (("parameters", part._parameters), ("buffers", part._buffers)):
            found[f"{where} ({label})"] += sum(value is not None for value in owned.values())
        for key, value in vars(part).items():
            if key not in _OWN:
                _count(f"{where}.{key}", value, found, seen, 0)
    for home in _homes(module):
        for key, value in vars(home).items():
            if isinstance(value, (*_KINDS, dict, Tensor)):
                _count(f"{home.__name__}.{key}", value, found, seen, 0)
    return +found


def _homes(module: nn.Module) -> Iterator[ModuleType]:
    """Python modules that define the classes in use, but for libraries'."""
    names = {type(part).__module__ for part in module.modules()}
    for name in sorted(names):
        if name.partition(".")[0] not in _LIBRARIES and name in sys.modules:
            yield sys.modules[name]


def _count(path: str, thing: object, found: Counter[str], seen: set[int], depth: int) -> None:
    """Tensors in a thing and in the containers within it, all under the path of the outermost."""
    if isinstance(thing, Tensor):
        found[path] += 1
        return
    if depth > _DEEPEST or id(thing) in seen:
        return
    inner: list[object] = []
    if isinstance(thing, Mapping):
        inner = list(thing.values())
    elif isinstance(thing, _KINDS):
        inner = list(thing)
    elif hasattr(thing, "__dict__") and not isinstance(thing, nn.Module | type | ModuleType):
        inner = list(vars(thing).values())
    if inner:
        seen.add(id(thing))
        for each in inner:
            _count(path, each, found, seen, depth + 1)


def described(tensors: list[Tensor], most: int = 3) -> str:
    """The commonest kinds of some tensors, for a sentence."""
    kinds: Counter[str] = Counter()
    for tensor in tensors:
        graph = " with its graph" if tensor.grad_fn is not None else ""
        kinds[f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}{graph}"] += 1
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(most))


def referrers_of(tensor: Tensor, ours: list[object]) -> str:
    """What refers to a tensor that no path leads to: kinds of containers, for a sentence."""
    kinds = Counter(
        type(holder).__name__ for holder in gc.get_referrers(tensor) if not any(holder is one for one in ours)
    )
    kinds.pop("frame", None)
    return ", ".join(f"a {kind}" for kind, _ in kinds.most_common(3)) or "autograd or code outside Python"
