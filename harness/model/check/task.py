"""A task for any module, to take gradients of and to learn: arousal and valence of simulated people."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.model.check.subject import Subject

WINDOWS = 32
"""Windows that gradients and activations are taken from."""
_NAMED = 8


def loss_of(subject: Subject, found: Tensor, kind: str) -> Tensor:
    """``sum``: of a window's outputs, mean over windows. ``task``: mean square error of arousal and valence."""
    rows = as_rows(found)
    if kind == "sum":
        return rows.sum(dim=1).mean()
    columns, wanted = target(subject, rows.shape[1], len(rows))
    return (rows[:, columns] - wanted).square().sum(dim=1).mean()


def as_rows(found: Tensor) -> Tensor:
    """(B, outputs) of whatever shape a module returned."""
    return found.flatten(1) if found.dim() > 1 else found[:, None]


def target(subject: Subject, width: int, n: int) -> tuple[list[int], Tensor]:
    """Columns of the output that are judged, and what they should be, (n, columns).

    The outputs that the module calls arousal and valence; else its first ones, arousal and then valence. Where no
    input can be simulated, nothing ties the examples to people, and a teacher stands in: tanh of fixed random sums of
    what the inputs hold, of variance 1 before the tanh.
    """
    truth = subject.labelled(n)
    if set(subject.invented) == set(subject.shapes):
        wanted = _teacher([x.flatten(1) for x in truth.inputs.values()], min(2, width))
        return list(range(wanted.shape[1])), wanted
    by_name = {"arousal": truth.arousal, "valence": truth.valence}
    names = [name for name in by_name if name in subject.outputs and subject.outputs.index(name) < width]
    columns = [subject.outputs.index(name) for name in names]
    if not names:
        names = list(by_name)[:width]
        columns = list(range(len(names)))
    return columns, torch.stack([by_name[name] for name in names], dim=1)


def _teacher(inputs: Sequence[Tensor], width: int) -> Tensor:
    held = torch.cat(list(inputs), dim=1)
    weight = torch.randn(held.shape[1], width, generator=torch.Generator().manual_seed(7))
    return torch.tanh(held @ weight / held.shape[1] ** 0.5)


def listed(names: Sequence[str]) -> str:
    """Names with commas, the first few and how many more."""
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
