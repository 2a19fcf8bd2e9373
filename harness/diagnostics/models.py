"""What `hil model check` found, as symptoms with a cause: unstable training, gradients, dead layers, fusion."""

from __future__ import annotations

from collections.abc import Sequence

from harness.diagnostics.case import named
from harness.diagnostics.diagnosis import Diagnosis, ranked
from harness.verdict import Outcome, Verdict

_TRAINING = "hil model check --only training --lr RATE, with a tenth of the rate, shows whether that was it"
_TABLE = (
    # (section, subject) of a verdict that is FAIL -> rule, symptom, cause, next step, weight, what follows from it
    ("activations", "finite", "nan-layer", "NaN or Inf in a layer",
     "a layer makes numbers that are none from finite windows: a log, a root or a division, or an overflow",
     "clamp its argument or add an epsilon there; a flat window has a standard deviation of 0", 95,
     ("gradients finite", "training finite", "fusion", "shapes", "training")),
    ("gradients", "finite", "nan-gradient", "NaN or Inf in gradients",
     "a derivative is not defined where it is taken, while the outputs are finite",
     "torch.autograd.set_detect_anomaly(True) names the line; keep roots and logs away from 0", 93, ("training",)),
    ("gradients", "exploding", "exploding-gradient", "gradients explode",
     "weights, factors or inputs are too large, or a loop multiplies them without a gate",
     "clip the global norm (torch.nn.utils.clip_grad_norm_), normalise inputs, scale initial weights down", 92,
     ("training", "gradients depth", "hints")),
    ("gradients", "vanishing", "vanishing-gradient", "gradients vanish",
     "saturated or dead units, or many layers without a shortcut, let nothing through",
     "take ReLU-like units, normalisation and residual connections; look at the section activations", 90,
     ("training convergence", "gradients depth", "gradients reach", "gradients inputs", "hints")),
    ("activations", "dead", "dead-units", "units that are 0 for every window",
     "a learning rate that was too high, or inputs at another level, pushed biases far below zero",
     "train with a lower rate or a warm-up, normalise the inputs, or take leaky ReLU or GELU", 91,
     ("gradients vanishing", "training convergence", "gradients inputs", "activations constant")),
    ("training", "finite", "nan-in-loss", "the loss becomes NaN or Inf",
     "training is unstable (a learning rate that is too high, gradients that explode, inputs that are not normalised), "
     "or it reaches a root, a logarithm or a division where that has no value",
     f"keep such arguments away from 0; clip gradients and lower the learning rate; {_TRAINING}", 88, ("training",)),
    ("training", "divergence", "diverging-loss", "the loss diverges",
     "the learning rate is too high for this module, or gradients explode",
     f"take a tenth of it, warm up, clip the global norm; {_TRAINING}", 87, ("training",)),
    ("training", "oscillation", "oscillating-loss", "the loss oscillates",
     "steps jump across the valley: the learning rate is too high, or inputs are not normalised",
     f"lower it or let it decay, and normalise the inputs; {_TRAINING}", 85, ("training",)),
    ("training", "convergence", "poor-convergence", "the model does not learn",
     "no gradient gets to what should learn, the rate is too low, or inputs and targets are not normalised",
     "hil model check --only gradients,activations first; then raise the rate tenfold", 80, ()),
    ("fusion", "attention collapse", "collapsed-attention", "attention has collapsed onto one modality",
     "the scores of one modality are far larger than the others', so that the softmax hears nothing else",
     "normalise features before the scores, divide by the root of their number, drop modalities in training", 86,
     ("fusion", "quality_aware", "missing")),
)  # fmt: skip


def diagnose_model(verdicts: Sequence[Verdict]) -> list[Diagnosis]:
    """Why sections of a model's check failed, the most specific cause first; empty where none did."""
    red = [verdict for verdict in verdicts if verdict.outcome is Outcome.FAIL]
    found = []
    for section, subject, rule, symptom, cause, step, weight, follows in _TABLE:
        hit = [verdict for verdict in red if (verdict.check, verdict.subject) == (section, subject)]
        if hit:
            names = [named(v) for v in red if v.check in follows or named(v) in follows]
            explains = tuple(dict.fromkeys([named(hit[0]), *names]))
            found.append(
                Diagnosis(rule, symptom, cause, (f"{named(hit[0])}: {hit[0].reason}",), step, weight, explains)
            )
    return ranked(found)
