"""What each layer of a module puts out over many windows: statistics, units never heard, the first NaN or Inf.

Layers are modules, and the plain functions that a ``forward`` calls (harness.model.check.watch): a network that uses
``torch.relu`` has the same units as one with ``nn.ReLU``. What happens inside ``nn.LSTM`` and ``nn.GRU``, inside
TorchScript and inside fused attention is not seen; their outputs are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from harness.model.check.subject import Subject, Tensors
from harness.model.check.watch import Watch, unit_axis

NEAR_END = 0.01
"""Of its range: a squashed value this near to an end counts as saturated."""
_SAME = 1e-6
"""Of the largest value: what rounding may make of equal outputs."""

_QUIET: Mapping[str, float] = {
    "relu": 0.0, "relu_": 0.0, "relu6": 0.0, "threshold": 0.0, "threshold_": 0.0, "hardswish": 0.0,
    "gelu": 1e-6, "silu": 1e-6, "mish": 1e-6, "softplus": 1e-6,
}  # fmt: skip
"""Function -> up to which size its output says nothing; the smooth ones come near 0 without reaching it."""
_ENDS: Mapping[str, tuple[float, float]] = {
    "tanh": (-1.0, 1.0), "tanh_": (-1.0, 1.0), "hardtanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0), "sigmoid_": (0.0, 1.0), "hardsigmoid": (0.0, 1.0),
}  # fmt: skip
_SETS_INFINITY = frozenset({"masked_fill", "masked_fill_", "full", "full_like", "new_full", "fill_", "where", "tensor"})
_UNWRITTEN = frozenset({"empty", "empty_like", "new_empty", "empty_strided", "resize_"})
"""Memory that nobody has written yet holds anything, NaN included."""


@dataclass
class Layer:
    """What one module, or one function in a module that has parts, put out so far."""

    where: str
    what: str
    shape: tuple[int, ...] = ()
    count: int = 0
    broken: int = 0
    """Values that are NaN or Inf; the other statistics are of the finite ones."""
    low: float = math.inf
    high: float = -math.inf
    _total: float = 0.0
    _square: float = 0.0

    def add(self, x: Tensor) -> None:
        """Statistics of one more output."""
        flat = x.detach().double()
        finite = flat[torch.isfinite(flat)]
        self.shape = self.shape or tuple(x.shape)
        self.broken += flat.numel() - finite.numel()
        if finite.numel():
            self.count += finite.numel()
            self._total += float(finite.sum())
            self._square += float(finite.square().sum())
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))

    @property
    def mean(self) -> float:
        """NaN where no value is finite."""
        return self._total / self.count if self.count else math.nan

    @property
    def sd(self) -> float:
        """NaN where no value is finite."""
        return math.sqrt(max(0.0, self._square / self.count - self.mean**2)) if self.count else math.nan


@dataclass
class Units:
    """The units behind one rectifying or squashing function."""

    where: str
    what: str
    never: Tensor | None = None
    """Behind a rectifier: (units,) those not heard in any window yet."""
    ends: tuple[Tensor, Tensor] | None = None
    """Behind tanh or sigmoid: (units,) those near the low end in every window so far, and near the high end."""
    near: int = 0
    values: int = 0
    """Values near an end, of how many."""

    @property
    def count(self) -> int:
        """Units in the layer."""
        held = self.never if self.never is not None else self.ends[0] if self.ends is not None else None
        return 0 if held is None else held.numel()

    @property
    def lost(self) -> int:
        """Units that say the same in every window: never heard, or stuck at one end."""
        if self.never is not None:
            return int(self.never.sum())
        return 0 if self.ends is None else int((self.ends[0] | self.ends[1]).sum())

    @property
    def near_share(self) -> float | None:
        """Share of values near an end, for squashing functions."""
        return self.near / self.values if self.values else None

    def add(self, x: Tensor, realistic: bool) -> None:
        """One more output; shares of values are taken of realistic windows only."""
        rows = x.detach().movedim(unit_axis(x), -1).reshape(-1, x.shape[unit_axis(x)])
        if self.count not in (0, rows.shape[1]):
            return  # a loop whose turns depend on the data: the second call of one window is not that of another
        limits = _ENDS.get(self.what)
        if limits is None:
            silent = (rows.abs() <= _QUIET[self.what]).all(dim=0)
            self.never = silent if self.never is None else self.never & silent
            return
        margin = NEAR_END * (limits[1] - limits[0])
        low, high = rows < limits[0] + margin, rows > limits[1] - margin
        both = low.all(dim=0), high.all(dim=0)
        self.ends = both if self.ends is None else (self.ends[0] & both[0], self.ends[1] & both[1])
        if realistic:
            self.near += int((low | high).sum())
            self.values += rows.numel()


@dataclass
class _Varying:
    """Whether a module's output, and what it is fed, differ between windows."""

    rows: list[Tensor] = field(default_factory=list)
    fed: list[Tensor] = field(default_factory=list)
    differs: bool = False
    fed_differs: bool = False

    def add(self, given: list[Tensor], found: list[Tensor]) -> None:
        self.differs |= _differ(self.rows, found)
        self.fed_differs |= _differ(self.fed, given)


def _differ(first: list[Tensor], now: list[Tensor]) -> bool:
    """Whether any tensor has a row unlike the first one ever seen; shapes that change differ."""
    now = [x.detach() for x in now if x.dim() > 0 and x.shape[0] > 0]
    if not first:
        first.extend(x[:1].clone() for x in now)
    if len(first) != len(now) or any(a.shape[1:] != b.shape[1:] for a, b in zip(first, now, strict=True)):
        return True
    pairs = [(a.double(), b.double()) for a, b in zip(first, now, strict=True) if b.numel()]
    return any(not bool(((b - a).abs() <= _SAME * b.abs().max()).all()) for a, b in pairs)


@dataclass
class Survey:
    """All layers in the order in which they first finished."""

    leaves: frozenset[str]
    layers: dict[str, Layer] = field(default_factory=dict)
    units: dict[tuple[str, str], Units] = field(default_factory=dict)
    began: str = ""
    """Where NaN or Inf first came up, as a sentence's end; empty where nothing did."""
    ended: list[str] = field(default_factory=list)
    """Modules whose output holds NaN or plus Inf, in order."""
    realistic: bool = True
    _varying: dict[str, _Varying] = field(default_factory=dict)

    @property
    def constant(self) -> list[str]:
        """Modules that say the same for all windows while what they are fed differs."""
        return [name for name, v in self._varying.items() if v.fed_differs and not v.differs]

    def module(self, where: str, what: str, given: list[Tensor], found: list[Tensor]) -> None:
        """Listener for modules."""
        outputs = [x for x in found if x.is_floating_point()]
        if not outputs:
            return
        self._varying.setdefault(where, _Varying()).add(given, outputs)
        if not self.realistic:
            return
        layer = self.layers.setdefault(where, Layer(where, what))
        for x in outputs:
            layer.add(x)
        if where not in self.ended and any(_bad(x) for x in outputs):
            self.ended.append(where)
            self.began = self.began or f"the output of {where} ({what})"

    def function(self, where: str, what: str, given: list[Tensor], found: list[Tensor]) -> None:
        """Listener for functions."""
        outputs = [x for x in found if x.is_floating_point() and x.dim() > 1]
        if what in _QUIET or what in _ENDS:
            for x in outputs:
                self.units.setdefault((where, what), Units(where, what)).add(x, self.realistic)
                if self.realistic and where.partition("#")[0] not in self.leaves:  # else its module has a line
                    self.layers.setdefault(f"{where}: {what}", Layer(where, what)).add(x)
        if self.realistic and not self.began and what not in _SETS_INFINITY | _UNWRITTEN:
            self._look(where, what, given, [x for x in found if x.is_floating_point()])

    def _look(self, where: str, what: str, given: list[Tensor], found: list[Tensor]) -> None:
        if all(bool(torch.isfinite(x).all()) for x in found):
            return
        fed = [x for x in given if not isinstance(x, nn.Parameter) and x.is_floating_point()]
        if all(bool(torch.isfinite(x).all()) for x in fed):
            kind = "NaN" if any(bool(torch.isnan(x).any()) for x in found) else "Inf"
            self.began = f"{kind} out of {what} in {where}"


def _bad(x: Tensor) -> bool:
    return bool(torch.isnan(x).any() | torch.isposinf(x).any())


def survey(subject: Subject, groups: Iterable[tuple[bool, Tensors, Tensors]]) -> Survey:
    """Run the module on (realistic, inputs, quality), in the mode in which it is, and say what its layers put out."""
    parts = dict(subject.module.named_modules())
    leaves = frozenset(name or "model" for name, part in parts.items() if not any(part.children()))
    found = Survey(leaves)
    with Watch(subject.module, found.module, found.function), torch.no_grad():
        for realistic, inputs, quality in groups:
            found.realistic = realistic
            subject.call(inputs, quality)
    return found


def provoked(x: Tensor, generator: torch.Generator) -> Tensor:
    """Windows (2 n, ...) from realistic ones (n, ...): at other levels and a tenth to ten times as high; and noise."""
    axis = x.dim() - 1 if x.dim() > 2 else 0
    level, spread = x.mean(dim=axis, keepdim=True), x.std(dim=axis, keepdim=True, correction=0)
    between = level.std(dim=0, keepdim=True, correction=0)
    single = (len(x), *([1] * (x.dim() - 1)))
    height = 10 ** (2 * torch.rand(single, generator=generator) - 1)
    shift = 3 * between * torch.randn((len(x), *level.shape[1:]), generator=generator)
    noise = spread.clamp_min(1e-3) * torch.randn(x.shape, generator=generator)
    return torch.cat([level + shift + height * (x - level), level + height * noise])
