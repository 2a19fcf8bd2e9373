"""``hil model check``, training: a short run on simulated windows (harness.model.check.course), and what its loss did.

* Finite: NaN or Inf in the loss or in a gradient, with the step and the first layer or parameter.
* Divergence: in its last quarter the loss is above where it began and above what the best constant answer costs; or it
  has turned and climbs (Theil-Sen slope of its logarithm over the second half, 95 % interval above 0) to more than
  twice its best, and to more than a tenth of what a constant costs.
* Oscillation: in the second half the loss moves from step to step by more than a twentieth of its own level or of what
  a constant costs, whichever is more; as often up as down (a third of the moves at least, either way); and by more
  than three times what calls at the same weights differ by, which is dropout's share.
* Convergence: in the end, in eval mode, the windows' errors are below those of the best constant answer (paired, t
  interval of 95 %). Where they are not but the loss still falls, there were too few steps to tell.
* Cost: time and memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy import stats

from drivers.types import FloatArray
from harness.model.check.course import Course, train, trainable
from harness.model.check.findings import Finding, Note, Settings
from harness.model.check.subject import Subject
from harness.verdict import Outcome, Verdict

SECTION = "training"
CONFIDENCE = 0.95
_LITTLE = 0.1
"""Of a constant answer's error: a module that can have taken off no more than that does not learn."""
_FEWEST = 20
"""Steps below which nothing is said about how the loss went."""
_ABOVE = 1.1
"""Times the start and the constant's loss: what rounding and dropout may add is less."""
_JUMP = 3.0
_SAME = 1e-6
"""Of the wanted outputs' spread: outputs that differ by less between windows say nothing about them."""
_SWING, _NOISE, _EITHER_WAY = 0.05, 3.0, 1 / 3


def training(subject: Subject, settings: Settings) -> Iterator[Finding]:
    """The section: finite, divergence, oscillation, convergence, cost."""
    if not trainable(subject):
        yield Note(SECTION, "the module has no parameter that asks for a gradient, so nothing can be trained")
        return
    yield from judge(train(subject, settings.steps, settings.rate))


def judge(course: Course) -> Iterator[Verdict]:
    """Verdicts on one run."""
    yield _finite(course)
    if course.broken is None and len(course.losses) < _FEWEST:
        reason = f"{len(course.losses)} steps say nothing about a loss; give --steps {_FEWEST} or more"
        yield _verdict("loss", Outcome.INCONCLUSIVE, reason, "steps", float(len(course.losses)), limit=_FEWEST)
    elif course.broken is None:
        yield _divergence(course)
        yield _oscillation(course)
        yield _convergence(course)
    yield _cost(course)


def _verdict(
    place: str, outcome: Outcome, reason: str, measure: str, value: float, *, unit: str = "",
    limit: float | None = None, n: int = 0, low: float | None = None, high: float | None = None,
) -> Verdict:  # fmt: skip
    confidence = None if low is None else CONFIDENCE
    return Verdict(SECTION, place, outcome, reason, measure, value, unit, limit, n, low, high, confidence)


def _finite(course: Course) -> Verdict:
    n = len(course.losses)
    if course.broken is None:
        reason = f"loss and gradients of {n} steps are finite"
        return _verdict("finite", Outcome.PASS, reason, "steps until NaN or Inf", float(n), n=n)
    advice = "normalise the inputs, and add an epsilon where the network divides or takes a log or a root"
    if course.broken.step > 1:  # at the first step nothing had been learnt that could have gone wrong
        advice = f"lower the learning rate (it was {course.rate:g}), clip the global norm of the gradient, {advice}"
    reason = f"NaN or Inf at step {course.broken.step} of {course.steps}, first in {course.broken.where}; {advice}"
    return _verdict("finite", Outcome.FAIL, reason, "steps until NaN or Inf", float(course.broken.step), n=n)


def _halves(course: Course) -> tuple[FloatArray, FloatArray]:
    """Second half and last quarter of the losses."""
    n = len(course.losses)
    return course.losses[n // 2 :], course.losses[-(n // 4) :]


def _divergence(course: Course) -> Verdict:
    half, quarter = _halves(course)
    reference = max(float(course.losses[0]), course.constant)
    ratio, (low, high) = float(np.median(quarter)) / reference, np.quantile(quarter, (0.05, 0.95)) / reference
    measure, n = "last quarter's loss over the first", len(course.losses)
    slope = _slope(np.log(np.maximum(half, np.finfo(float).tiny)))
    best = float(course.losses.min())
    climbs = slope[1] > 0 and np.median(quarter) > 2 * best and np.median(quarter) > 0.1 * course.constant
    told = f"from {course.losses[0]:.3g} to {np.median(quarter):.3g} (a constant: {course.constant:.3g})"
    if low > _ABOVE or climbs:
        turned = f", after it had been {best:.3g}" if best < 0.5 * np.median(quarter) else ""
        reason = (
            f"the loss diverges {told}{turned}; the learning rate {course.rate:g} is too high for this module, or the "
            "gradient explodes: take a tenth of it, warm up, or clip the global norm"
        )
        return _verdict(
            "divergence", Outcome.FAIL, reason, measure, ratio, limit=_ABOVE, n=n, low=float(low), high=float(high)
        )
    peak = float(course.losses.max())
    jump = f", by way of {peak:.3g}: a lower rate or a warm-up would spare it that" if peak > _JUMP * reference else ""
    reason = f"the loss goes {told}{jump}; slope of its logarithm in the second half {slope[0]:.2g} per step"
    return _verdict(
        "divergence", Outcome.PASS, reason, measure, ratio, limit=_ABOVE, n=n, low=float(low), high=float(high)
    )


def _slope(values: FloatArray) -> tuple[float, float, float]:
    """Theil-Sen slope per step, with its interval."""
    if len(values) < 3 or np.ptp(values) == 0:
        return 0.0, 0.0, 0.0
    found = stats.theilslopes(values, np.arange(len(values)), alpha=CONFIDENCE)
    return float(found.slope), float(found.low_slope), float(found.high_slope)


def _oscillation(course: Course) -> Verdict:
    half, _ = _halves(course)
    moves = np.diff(half)
    level = max(course.constant, float(np.median(half)))
    swing, up = float(np.median(np.abs(moves))) / level, float((moves > 0).mean())
    dropout = math.sqrt(4 / math.pi) * course.noise / level  # mean size of the difference of two normal draws
    turns = float((np.sign(moves[1:]) != np.sign(moves[:-1])).mean())
    measure, n = "step-to-step swing of the loss, share of its level", len(moves)
    both_ways = _EITHER_WAY <= up <= 1 - _EITHER_WAY
    told = f"moves by {swing:.2g} of its level from step to step, {up:.0%} of the moves upwards, {turns:.0%} turn back"
    if swing > _SWING and both_ways and swing > _NOISE * dropout:
        reason = (
            f"the loss oscillates: it {told}, and the windows are the same in every step; steps jump across the "
            f"valley: lower the learning rate (it was {course.rate:g}) or let it decay, and normalise the inputs"
        )
        return _verdict("oscillation", Outcome.FAIL, reason, measure, swing, limit=_SWING, n=n)
    share = f"; dropout alone moves it by {dropout:.2g}" if dropout else ""
    return _verdict("oscillation", Outcome.PASS, f"the loss {told}{share}", measure, swing, limit=_SWING, n=n)


def _convergence(course: Course) -> Verdict:
    gained, n = course.gained / course.constant, len(course.gained)
    share = float(gained.mean())
    error = float(gained.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, max(1, n - 1))) * error
    measure, low, high = "error taken off the best constant answer's", share - reach, share + reach

    def verdict(outcome: Outcome, reason: str) -> Verdict:
        return _verdict("convergence", outcome, reason, measure, share, limit=0.0, n=n, low=low, high=high)

    if low > 0:
        return verdict(Outcome.PASS, f"after {len(course.losses)} steps {share:.0%} of the error is gone")
    nothing = _SAME * math.sqrt(course.constant)
    if course.spread[1] <= nothing < course.spread[0]:
        return verdict(
            Outcome.FAIL,
            "does not learn: the outputs have become the same for every window, since the steps killed or saturated "
            f"what carried them; take a tenth of the learning rate ({course.rate:g}), and warm up",
        )
    if course.spread[1] <= nothing:
        return verdict(
            Outcome.FAIL,
            "does not learn: the outputs are the same for every window; look in gradients and activations for the "
            "place where the inputs are lost (a dead or detached layer, a factor of 0, a saturated output)",
        )
    half, _ = _halves(course)
    falls = _slope(np.log(np.maximum(half, np.finfo(float).tiny)))[2] < -1e-4
    if falls and course.losses[-1] < course.losses[0]:  # not on its way back from where it was thrown
        return verdict(
            Outcome.INCONCLUSIVE,
            f"the loss still falls after {len(course.losses)} steps ({course.losses[0]:.3g} to "
            f"{course.losses[-1]:.3g}) and is not yet clearly below a constant's {course.constant:.3g}: give more "
            f"--steps or a higher --lr (it was {course.rate:g}), and normalise inputs whose scale makes the first "
            "outputs large",
        )
    if share > 0 and high > _LITTLE:
        return verdict(
            Outcome.INCONCLUSIVE,
            f"the windows disagree: {share:.0%} of the error is gone on the whole, and more in some than others, so "
            f"that it may be chance after {len(course.losses)} steps: give more --steps, or let the module take more "
            "of its inputs in",
        )
    return verdict(
        Outcome.FAIL,
        f"does not learn: the loss ends at {course.losses[-1]:.3g}, no better than the best constant answer's "
        f"{course.constant:.3g}; look at the gradients, at the learning rate ({course.rate:g}), and whether the "
        "outputs can take the values wanted, -1 to 1",
    )


def _cost(course: Course) -> Verdict:
    n = len(course.losses)
    short = f"; stopped early, {course.steps} were asked for" if course.broken is None and n < course.steps else ""
    reason = (
        f"{n} steps of {len(course.gained)} windows took {course.seconds:.1f} s ({1e3 * course.seconds / n:.1f} ms "
        f"each) and at most {course.bytes_more / 2**20:.0f} MiB more memory{short}"
    )
    return _verdict("cost", Outcome.PASS, reason, "time", course.seconds, unit="s", n=n)
