"""Shapes: a float tensor (B, outputs) for every batch size, finite, and no row depends on its neighbours.

A session runs one window at a time and a replay runs thousands at once; both must give one answer. So row k of a batch
is compared with the same window alone. The difference is judged against what float32 sums taken in another order can
make (``agreement``); a batch norm that was left in training mode, or a softmax over the wrong axis, is far beyond it.

A sensor that gives a flat line, at 0 or elsewhere, must not make the outputs NaN: there is no spread to divide by.

Inputs of a wrong shape are tried as well. A module that answers them is no failure, since it may mean to (pooling takes
any length), but who reads the report should know that a mistake in wiring would not be noticed: that is a note.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from harness.model.check.findings import BY_CHANCE, Finding, Note, Settings
from harness.model.check.subject import Subject, Tensors
from harness.model.errors import ModelFault
from harness.verdict import Outcome, Verdict

_RELATIVE = 1e-4
"""Of the outputs' scale: float32 carries seven digits, and a few thousand additions cost two or three of them."""
_EPSILONS = 8.0
"""Of the outputs' type, where that is coarser: bfloat16 carries two digits."""
_LEAST = 1e-6
"""Outputs that are all 0 have no scale."""
_FLAT = 2
"""Windows with a flat line: one for the value, one so that a batch norm in training mode has its two."""


def shapes(subject: Subject, settings: Settings) -> Iterator[Finding]:
    """A verdict for each batch size, one for the rows' independence, one for flat lines, notes on wrong shapes."""
    answers: dict[int, Tensor] = {}
    for batch in settings.batches:
        verdict, found = _batch(subject, batch)
        yield verdict
        if verdict.outcome is Outcome.PASS and found is not None:
            answers[batch] = found
    if answers:
        widths = {int(found.shape[1]) for found in answers.values()}
        if len(widths) > 1:
            reason = f"returned {sorted(widths)} outputs for batches of {sorted(answers)}; their number must not change"
            yield Verdict("shapes", "all batches", Outcome.FAIL, reason, "numbers of outputs", len(widths), "", 1)
        yield _independence(subject, answers)
        yield from _flat(subject)
    yield from _wrong_shapes(subject)


def agreement(found: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Largest absolute difference of two outputs, and how much rounding may make of it: (value, limit).

    The limit is 1e-4 of the largest output; outputs of half precision have eight steps of theirs.
    """
    value = float((found - wanted).abs().max()) if found.numel() else 0.0
    relative = max(_RELATIVE, _EPSILONS * torch.finfo(wanted.dtype).eps)
    return value, max(_LEAST, relative * float(wanted.abs().max()) if wanted.numel() else 0.0)


def _batch(subject: Subject, batch: int) -> tuple[Verdict, Tensor | None]:
    """What the module returns for so many windows, judged; and the output where there is one."""
    inputs, quality = subject.examples(batch)
    place, measure = f"batch {batch}", "outputs that are not finite"

    def fail(reason: str, value: float | None = None) -> Verdict:
        limit = None if value is None else 0.0
        return Verdict(
            "shapes", place, Outcome.FAIL, reason, measure if value is not None else "", value, "", limit, batch
        )

    try:
        found = subject.infer(inputs, quality)
    except ModelFault as fault:
        mode = "more than 1 value per channel" in str(fault)
        likely = "; a batch norm is in training mode when it is called" if mode else ""
        return fail(f"{fault}; expected a float tensor ({batch}, outputs){likely}"), None
    wanted = (batch, subject.output_dim) if subject.output_dim else (batch, "outputs")
    told = ", ".join(str(size) for size in wanted)
    if found.dim() != 2 or found.shape[0] != batch or found.shape[1] < 1:
        return fail(f"returned shape {tuple(found.shape)}; expected ({told}){_why(found, batch)}"), None
    if subject.output_dim and found.shape[1] != subject.output_dim:
        return fail(f"returned shape {tuple(found.shape)}; expected ({told}), as output_dim or outputs says"), None
    bad = int((~torch.isfinite(found)).sum())
    if bad:
        columns = torch.nonzero(~torch.isfinite(found).all(dim=0)).flatten().tolist()
        names = ", ".join(subject.outputs[c] if c < len(subject.outputs) else f"output {c}" for c in columns[:4])
        reason = (
            f"{bad} of {found.numel()} outputs are NaN or infinite ({names}) though every input is finite; look for a "
            "log or a root of 0, a division by a standard deviation of 0, or an overflow (the activations say where)"
        )
        return fail(reason, bad), None
    reason = f"returned {tuple(found.shape)}, {str(found.dtype).removeprefix('torch.')}, all finite"
    return Verdict("shapes", place, Outcome.PASS, reason, measure, 0.0, "", 0.0, batch), found


def _why(found: Tensor, batch: int) -> str:
    """What a wrong shape is likely to come from."""
    if found.dim() == 1 and batch == 1 and found.shape[0] != 1:
        return "; squeeze() without a dimension takes the batch of one away too: squeeze(-1), or flatten(1)"
    if found.dim() == 1 and found.shape[0] == batch:
        return "; one output needs a dimension of its own: unsqueeze(1), or do not squeeze"
    if found.dim() >= 2 and batch > 1 and found.shape[0] == 1:
        return "; the batch was averaged or squeezed away"
    if found.dim() > 2:
        return "; pool or flatten what is behind the batch"
    if found.dim() == 2 and found.shape[1] == batch:
        return "; the batch seems to have become the last dimension"
    return ""


def _independence(subject: Subject, answers: dict[int, Tensor]) -> Verdict:
    if subject.random:
        return Verdict("shapes", "independent rows", Outcome.INCONCLUSIVE, BY_CHANCE)
    largest = max(answers)
    inputs, quality = subject.examples(max(2, largest))
    together = subject.infer(inputs, quality)
    alone = torch.cat([subject.infer(_row(inputs, k), _row(quality, k)) for k in range(len(together))])
    measure = "largest difference of a row in its batch and alone"
    if alone.shape != together.shape:
        reason = f"windows one by one gave {tuple(alone.shape)}, together {tuple(together.shape)}"
        return Verdict("shapes", "independent rows", Outcome.FAIL, reason, measure, n=len(together))
    value, limit = agreement(together, alone)
    if value <= limit:
        reason = f"a window's output is the same alone and among {len(together)}"
        return Verdict("shapes", "independent rows", Outcome.PASS, reason, measure, value, "", limit, len(together))
    row = int((together - alone).abs().amax(dim=1).argmax())
    reason = (
        f"window {row} gives another output among {len(together)} than alone: rows of a batch are mixed. Likely a "
        "batch norm that uses the batch's statistics in eval mode (train mode, or track_running_stats=False), a "
        "normalisation or softmax over the batch, or a reshape that interleaves rows. Sessions run one window at a time"
    )
    return Verdict("shapes", "independent rows", Outcome.FAIL, reason, measure, value, "", limit, len(together))


def _flat(subject: Subject) -> Iterator[Verdict]:
    """Are the outputs finite when a sensor gives a flat line: a loose electrode, a device that holds its last value?"""
    timed = [name for name, shape in subject.shapes.items() if len(shape) > 1 and shape[-1] > 1]
    measure, bad, said = "outputs that are not finite", 0, ""
    for name in timed:
        for level in (0.0, 1.0):
            inputs, quality = subject.examples(_FLAT)
            inputs[name] = torch.full_like(inputs[name], level)
            try:
                count = int((~torch.isfinite(subject.infer(inputs, quality))).sum())
            except ModelFault as fault:
                said = said or f"with {name} flat at {level:g}: {fault}"
                continue
            bad += count
            said = said or (f"{count} outputs are NaN or infinite with {name} flat at {level:g}" if count else "")
    if said:
        reason = (
            f"{said}: a loose electrode or a device that holds its last value gives such windows. Likely a division "
            "by the window's standard deviation or range, which is 0 then: add an epsilon, x / (x.std() + 1e-6)"
        )
        yield Verdict("shapes", "flat line", Outcome.FAIL, reason, measure, float(bad), "", 0.0, _FLAT)
    elif timed:
        reason = f"the outputs are finite with a flat line in {'each input' if len(timed) > 1 else 'the input'}"
        yield Verdict("shapes", "flat line", Outcome.PASS, reason, measure, 0.0, "", 0.0, _FLAT)


def _row(tensors: Tensors, k: int) -> dict[str, Tensor]:
    return {name: x[k : k + 1] for name, x in tensors.items()}


# --- wrong shapes -----------------------------------------------------------------------------


def _wrong_shapes(subject: Subject) -> Iterator[Note]:
    """Which inputs take a window that is too long, or has a channel too many, without a word."""
    for how in ("a sample more", "a channel more"):
        taken = [name for name in subject.shapes if _takes(subject, name, how)]
        if taken:
            names = ", ".join(taken)
            yield Note("shapes", f"windows with {how} are answered without an error: {names}")


def _takes(subject: Subject, name: str, how: str) -> bool:
    inputs, quality = subject.examples(2)
    x = inputs[name]
    if how == "a sample more":
        inputs[name] = torch.cat([x, x[..., -1:]], dim=-1)
    elif x.dim() > 2:
        inputs[name] = torch.cat([x, x[:, -1:]], dim=1)
    else:
        return False
    try:
        subject.infer(inputs, quality)
    except ModelFault:
        return False
    return True
