"""Fusion: the features of each modality, what is made of them together, and who is listened to.

The parts are those of the debugging contract that fusion models share: ``extract_features(x, modality)``,
``fuse_modalities({modality: features})`` and, after a call, an attribute ``attention_weights``. Each part that a
module has is checked; those that it has not do not apply. Windows are those of different people in different states,
so features that do not vary over them tell nothing.

Attention, as shares (windows, modalities) averaged over heads and queries:

* weights are finite, not negative, and sum to at most 1 in each window (what is missing may go to an empty slot);
* collapsed: the same modality takes more than 95 % in the median window although all are good;
* blind: the weights are the same (a spread below 0.001) whatever the windows show and whatever their quality says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from harness.model.check.findings import Finding, Note, Settings, Table
from harness.model.check.subject import Subject, Tensors, tried
from harness.model.errors import ModelFault
from harness.verdict import Outcome, Verdict

WINDOWS = 32
COLLAPSED = 0.95
BLIND = 1e-3
_CONSTANT = 1e-5
"""Of a feature's size: float32 sums of one and the same value differ by less."""
_SUM = 1.0 + 1e-3


def fusion(subject: Subject, settings: Settings) -> Iterator[Finding]:
    """Verdicts for features, fusion and attention, tables of both, and notes where a part is not there."""
    del settings
    module: Any = subject.module
    inputs, quality = subject.examples(WINDOWS)
    features: dict[str, Tensor] = {}
    if callable(getattr(module, "extract_features", None)):
        for name, x in inputs.items():
            verdict, found = _extracted(module, name, x)
            if found is not None:
                features[name] = found
            yield verdict
        yield from _feature_table(features)
    else:
        yield Note("fusion", "features: not applicable, the module has no extract_features(x, modality)")
    if not callable(getattr(module, "fuse_modalities", None)):
        yield Note("fusion", "fusion: not applicable, the module has no fuse_modalities({modality: features})")
    elif len(features) == len(inputs):
        yield _fused(module, features)
    else:
        yield Note("fusion", "fusion: not tried, since it needs the features of every modality")
    before = getattr(subject.fresh().module, "attention_weights", None)
    _called(subject, inputs, quality)
    after = getattr(module, "attention_weights", None)
    if not isinstance(after, Tensor):
        yield Note("fusion", "attention: not applicable, the module keeps no tensor attention_weights")
    elif _unwritten(before, after):
        yield Note(
            "fusion", "attention: not applicable, no call writes attention_weights (an exported program does not)"
        )
    else:
        yield from _attention(subject)


# --- features ---------------------------------------------------------------------------------


def _extracted(module: Any, name: str, x: Tensor) -> tuple[Verdict, Tensor | None]:
    """The features of one modality, judged; the tensor where there is one, with or without faults."""

    def fail(reason: str, measure: str = "", value: float | None = None, limit: float | None = None) -> Verdict:
        return Verdict("fusion", name, Outcome.FAIL, reason, measure, value, "", limit, len(x))

    try:
        with torch.no_grad():
            found = tried(lambda: module.extract_features(x, name), f" for {tuple(x.shape)}")
    except ModelFault as fault:
        return fail(f"extract_features {fault}"), None
    if not isinstance(found, Tensor) or found.dim() < 1 or found.shape[0] != len(x):
        told = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        return fail(f"extract_features returned {told}; expected a tensor ({len(x)}, features)"), None
    found = found.detach()
    bad = int((~torch.isfinite(found)).sum())
    if bad:
        reason = (
            f"{bad} of {found.numel()} features are NaN or infinite on finite windows; everything that is fused with "
            "them is lost. Look for a log, a root or a division that a quiet window makes 0"
        )
        return fail(reason, "features that are not finite", bad, 0.0), found
    varies = variation(found)
    if varies <= _CONSTANT:
        reason = (
            f"the features are the same for {len(x)} windows of different people: this modality tells nothing. Likely "
            "dead units (a ReLU with large negative biases), saturation on raw units that were not normalised, or an "
            "encoder that ignores its input"
        )
        return fail(reason, "largest variation over windows", varies, _CONSTANT), found
    reason = f"{found[0].numel()} features, finite, and they vary over windows"
    return Verdict(
        "fusion", name, Outcome.PASS, reason, "largest variation over windows", varies, "", _CONSTANT, len(x)
    ), found  # fmt: skip


def variation(found: Tensor) -> float:
    """Largest standard deviation over windows (n, ...) of any feature, relative to the largest feature."""
    flat = found.flatten(1).double()
    return float(flat.std(dim=0).max() / flat.abs().max().clamp_min(1e-12)) if len(flat) > 1 else math.inf


def _feature_table(features: dict[str, Tensor]) -> Iterator[Table]:
    rows = []
    for name, found in features.items():
        flat = found.flatten(1).double()
        still = float((flat.std(dim=0) <= _CONSTANT * flat.abs().max().clamp_min(1e-12)).double().mean())
        values = (float(flat.mean()), float(flat.std()), float(flat.min()), float(flat.max()))
        rows.append((name, str(tuple(found.shape)), *values, 100 * still))
    if rows:
        headings = ("modality", "shape", "mean", "sd", "min", "max", "constant %")
        yield Table("fusion", "features by modality", headings, tuple(rows))


def _fused(module: Any, features: dict[str, Tensor]) -> Verdict:
    place, measure, n = "fused", "values that are not finite", len(next(iter(features.values())))

    def fail(reason: str, value: float | None = None) -> Verdict:
        limit = None if value is None else 0.0
        return Verdict("fusion", place, Outcome.FAIL, reason, "" if value is None else measure, value, "", limit, n)

    try:
        with torch.no_grad():
            found = tried(lambda: module.fuse_modalities(dict(features)), f" for {', '.join(features)}")
    except ModelFault as fault:
        return fail(f"fuse_modalities {fault}")
    if not isinstance(found, Tensor):
        return fail(f"fuse_modalities returned {type(found).__name__}; expected a tensor ({n}, ...)")
    bad = int((~torch.isfinite(found)).sum())
    if not bad:
        reason = f"fusing {len(features)} modalities gives {tuple(found.shape)}, all finite"
        return Verdict("fusion", place, Outcome.PASS, reason, measure, 0.0, "", 0.0, n)
    broken = [name for name, x in features.items() if not bool(torch.isfinite(x).all())]
    cause = f"the features of {', '.join(broken)} are not finite" if broken else "every feature is finite: look inside"
    return fail(f"{bad} of {found.numel()} fused values are NaN or infinite; {cause}", bad)


# --- attention --------------------------------------------------------------------------------


def _attention(subject: Subject) -> Iterator[Finding]:
    inputs, quality = subject.examples(WINDOWS)
    raw = _weights(subject.module)
    flaw = _not_weights(raw)
    if flaw is not None:
        yield flaw
        return
    total = raw.flatten(0, -2).sum(dim=-1).max() if raw.dim() > 1 else raw.sum()
    reason = f"shape {tuple(raw.shape)}, finite, not negative, and no sum above 1"
    yield Verdict("fusion", "attention", Outcome.PASS, reason, "largest sum", float(total), "", _SUM, WINDOWS)
    shares, known = _known(subject, _shares(raw))
    yield _attention_table(raw, shares, known)
    if shares.shape[1] < 2:
        yield Note("fusion", "attention: nothing to share out among fewer than two modalities")
        return
    yield _collapse(shares, known)
    if raw.dim() < 2:
        yield Note("fusion", "attention: one set of weights for all windows, which cannot look by construction")
        return
    yield _blindness(subject, inputs, quality, shares)


def _called(subject: Subject, inputs: Tensors, quality: Tensors) -> None:
    """One call of this very module, for what it keeps of it."""
    with torch.no_grad():
        subject.call({name: x.clone() for name, x in inputs.items()}, quality)


def _unwritten(before: Any, after: Tensor) -> bool:
    """Whether calls left the tensor as it was built, which tells nothing unless it is a parameter, used as it is."""
    same = isinstance(before, Tensor) and before.shape == after.shape and bool(torch.equal(before, after))
    return same and not isinstance(after, nn.Parameter)


def _weights(module: nn.Module) -> Tensor:
    """What the module keeps of its last attention."""
    weights = module.attention_weights
    assert isinstance(weights, Tensor)
    return weights.detach().double()


def _not_weights(raw: Tensor) -> Verdict | None:
    """The verdict where these are no weights at all."""
    if raw.dim() < 1 or not raw.numel():
        reason = f"attention_weights has shape {tuple(raw.shape)}; expected (windows, modalities)"
        return Verdict("fusion", "attention", Outcome.FAIL, reason, n=WINDOWS)
    bad = int((~torch.isfinite(raw)).sum())
    if bad:
        reason = (
            f"{bad} of {raw.numel()} attention weights are NaN or infinite; likely a softmax over nothing but -inf, or "
            "features that are not finite"
        )
        return Verdict(
            "fusion", "attention", Outcome.FAIL, reason, "weights that are not finite", bad, "", 0.0, WINDOWS
        )
    if float(raw.min()) < 0:
        reason = "attention weights are negative: these are scores, keep what comes out of the softmax"
        return Verdict(
            "fusion", "attention", Outcome.FAIL, reason, "smallest weight", float(raw.min()), "", 0.0, WINDOWS
        )
    total = float(raw.sum(dim=-1).max())
    if total > _SUM:
        reason = "attention weights of a window sum to more than 1; normalise them over the modalities, the last axis"
        return Verdict("fusion", "attention", Outcome.FAIL, reason, "largest sum", total, "", _SUM, WINDOWS)
    return None


def _shares(raw: Tensor) -> Tensor:
    """(windows or 1, modalities): averaged over heads and queries, each row scaled to sum 1 unless it is all 0."""
    flat = raw[None] if raw.dim() == 1 else raw.flatten(1, -2).mean(dim=1) if raw.dim() > 2 else raw
    return flat / flat.sum(dim=1, keepdim=True).clamp_min(1e-12)


def _known(subject: Subject, shares: Tensor) -> tuple[Tensor, list[str]]:
    """Shares of the modalities that the subject is given, with their names; of numbered slots where nobody says."""
    modalities = getattr(subject.module, "modalities", None)
    names = list(modalities) if isinstance(modalities, list | tuple) else list(subject.shapes)
    if len(names) != shares.shape[1]:
        return shares, [f"slot {k}" for k in range(shares.shape[1])]
    kept = [k for k, name in enumerate(names) if name in subject.shapes]
    return shares[:, kept], [names[k] for k in kept]


def entropy(shares: Tensor) -> Tensor:
    """Normalised entropy (n,) of shares (n, m): 0 where one takes all, 1 where all get the same."""
    safe = shares.clamp_min(1e-300)
    return -(shares * safe.log()).sum(dim=1) / math.log(shares.shape[1]) if shares.shape[1] > 1 else torch.zeros(1)


def _attention_table(raw: Tensor, shares: Tensor, names: list[str]) -> Table:
    spread = shares.std(dim=0, correction=0)
    rows = [
        (name, float(shares[:, k].mean()), float(spread[k]), float(shares[:, k].max())) for k, name in enumerate(names)
    ]
    title = (
        f"attention: weights {tuple(raw.shape)}, mean {float(raw.mean()):.3f}, sd {float(raw.std(correction=0)):.3f}, "
        f"normalised entropy {float(entropy(shares).mean()):.3f}"
    )
    return Table("fusion", title, ("modality", "mean share", "sd over windows", "largest"), tuple(rows))


def _collapse(shares: Tensor, names: list[str]) -> Verdict:
    medians = shares.median(dim=0).values
    top = int(medians.argmax())
    value, measure = float(medians[top]), "largest median share"
    if value <= COLLAPSED:
        reason = f"{names[top]} is listened to most, and others are heard beside it"
        return Verdict("fusion", "attention collapse", Outcome.PASS, reason, measure, value, "", COLLAPSED, len(shares))
    reason = (
        f"{names[top]} takes nearly all attention although {len(names)} modalities are good: the others could as well "
        "not be there, and a fault of this one is a fault of everything. Likely scores of very different size "
        "(normalise features before the softmax, divide by the root of their number), or training in which no "
        "modality was ever missing: drop modalities at random"
    )
    return Verdict("fusion", "attention collapse", Outcome.FAIL, reason, measure, value, "", COLLAPSED, len(shares))


def _blindness(subject: Subject, inputs: dict[str, Tensor], quality: dict[str, Tensor], shares: Tensor) -> Verdict:
    """Does attention change with what is seen or, where the module takes it, with what quality says?"""
    value = float(shares.std(dim=0, correction=0).max())
    told = "what the windows show"
    if subject.takes_quality and value <= BLIND:
        first = next(iter(inputs))
        _called(subject, inputs, {**quality, first: torch.full_like(quality[first], 0.1)})
        other, _ = _known(subject, _shares(_weights(subject.module)))
        told += " or their quality"
        if other.shape == shares.shape:
            value = max(value, float((other - shares).abs().max()))
    measure = "largest spread of a share"
    if value > BLIND:
        reason = f"weights follow {told}"
        return Verdict("fusion", "attention looks", Outcome.PASS, reason, measure, value, "", BLIND, len(shares))
    even = float(entropy(shares).mean())
    how = "uniform" if even > 0.999 else "always the same"
    reason = (
        f"attention weights are {how} (normalised entropy {even:.3f}) and do not follow {told}: the attention does not "
        "look. Likely scores near 0 (queries or keys that never trained, a temperature far too high), or the weights "
        "of an untrained module"
    )
    return Verdict("fusion", "attention looks", Outcome.FAIL, reason, measure, value, "", BLIND, len(shares))
