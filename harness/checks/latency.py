"""Windows are judged within the limit of their due time; one that is never judged is a miss."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from harness.latency import COARSE, OWN_STEPS, QUEUE, latencies_ms, remote_steps, step_table, worst_p99
from harness.recording import STAGES, Recording
from harness.statistics import judge_share, needed_for_quantile, quantile_bounds
from harness.verdict import Outcome, Verdict

NAME = "latency"


@dataclass(frozen=True)
class LIMITS:
    """Limits of the latency check."""

    max_ms: float = field(default=100.0, metadata={"help": "from a window's due time to its verdict"})
    quantile: float = field(default=0.99, metadata={"help": "share of windows that must be within max_ms"})
    confidence: float = field(default=0.95, metadata={"help": "confidence with which that must be shown"})

    def __post_init__(self) -> None:
        if not (self.max_ms > 0 and 0 < self.quantile < 1 and 0.5 <= self.confidence < 1):
            raise ValueError(
                "latency: expected max_ms > 0, 0 < quantile < 1 and 0.5 <= confidence < 1, found "
                f"{self.max_ms}, {self.quantile}, {self.confidence}"
            )


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """One verdict for the rig: the quantile's upper bound by order statistics against the limit.

    In virtual time a model that alone takes longer than the limit fails, whatever time was assumed for it.
    """
    spent = latencies_ms(recording)
    n, percent = len(spent), f"p{100 * limits.quantile:g}"
    if _too_slow(recording, limits):
        return [_slow(limits, n, percent)]
    if n == 0:
        need = recording.rig.window.fill_s + (recording.rig.window.wait_ms + recording.rig.window.grace_ms) / 1000
        reason = f"no window was due: a run must last longer than {need:g} s"
        return [Verdict(NAME, "rig", Outcome.INCONCLUSIVE, reason, f"{percent} latency", None, "ms", limits.max_ms)]
    misses = int(np.count_nonzero(spent > limits.max_ms))
    shown = judge_share(misses, n, 1 - limits.quantile, limits.confidence)
    outcome = {True: Outcome.PASS, False: Outcome.FAIL, None: Outcome.INCONCLUSIVE}[shown]
    bounds = quantile_bounds(spent, limits.quantile, limits.confidence)
    reason = _reason(recording, limits, spent, misses, outcome)
    if outcome is Outcome.FAIL and (doubt := _doubt(recording, limits)):
        outcome, reason = Outcome.INCONCLUSIVE, f"{reason}; but {doubt}"
    return [
        Verdict(
            NAME, "rig", outcome, reason, f"{percent} latency",
            bounds.value, "ms", limits.max_ms, n, bounds.low, bounds.high, limits.confidence,
        )
    ]  # fmt: skip


def _doubt(recording: Recording, limits: LIMITS) -> str:
    """Why a failure may be the rig's: its simulators sent late, or its stamps are late, by a fifth of the limit.

    Nothing excuses what this process took itself, from the last byte to the verdict.
    """
    stamps = recording.windows.stamps_ns
    own = (stamps[:, -1] - stamps[:, STAGES.index("arrived")]) / 1e6
    misses = int(np.count_nonzero((own > limits.max_ms) | (stamps[:, -1] < 0)))
    if judge_share(misses, len(own), 1 - limits.quantile, limits.confidence) is False:
        return ""
    roles = {key.split("/")[0] for key in recording.windows.waited_for}
    late = {
        "the simulators sent late": worst_p99(recording, "sender_lateness_us", roles) / 1e3,
        "arrivals were stamped late": worst_p99(recording, "stamp_error_ns", roles) / 1e6,
    }
    what, most_ms = max(late.items(), key=lambda item: item[1])
    if most_ms < COARSE * limits.max_ms:
        return ""
    return f"{what}, by {most_ms:.0f} ms (p99): this machine is too busy to tell; free it, or use --virtual"


def _too_slow(recording: Recording, limits: LIMITS) -> bool:
    """In virtual time: the median of the model's warm-up on this machine is above the limit."""
    if recording.meta.get("mode") != "virtual":
        return False
    measured = recording.host.get("model_warm_up", {}).get("p50_ms")
    return bool(recording.meta.get("model_too_slow")) if measured is None else measured > limits.max_ms


def _slow(limits: LIMITS, n: int, percent: str) -> Verdict:
    """Without the measured time, which is of this machine and moment: two virtual runs give the same verdict."""
    reason = (
        f"'model' alone takes longer than {limits.max_ms:g} ms a window, by the median of its warm-up on this machine "
        "(model_warm_up in the report), whatever is assumed in virtual time: take a smaller model or a faster engine"
    )
    return Verdict(NAME, "rig", Outcome.FAIL, reason, f"{percent} latency", None, "ms", limits.max_ms, n)


def _reason(recording: Recording, limits: LIMITS, spent: np.typing.NDArray[np.float64], misses: int, o: Outcome) -> str:
    n = len(spent)
    never = int(np.count_nonzero(np.isinf(spent)))
    text = f"{misses} of {n} windows missed {limits.max_ms:g} ms"
    text += f" ({never} were never judged)" if never else ""
    if o is Outcome.INCONCLUSIVE:
        need = needed_for_quantile(limits.quantile, limits.confidence)
        return f"{text}: too few windows to tell; {need} without a miss would do, so run longer"
    if o is Outcome.FAIL:
        return f"{text}; {_blame(recording)}"
    return text


def _blame(recording: Recording) -> str:
    """Which step took the time, and which stream was late."""
    windows = recording.windows
    late = windows.late.sum(axis=0) if len(windows.late) else np.zeros(0)
    if windows.errors:
        return f"the model failed: {windows.errors[0]}"
    rows = step_table(recording)
    if not rows:
        return "no window was judged at all"
    worst = max(rows, key=lambda row: float(row["p99_ms"]))
    if worst["step"] == QUEUE:
        busy = max((row for row in rows if row["step"] in OWN_STEPS), key=lambda row: float(row["p50_ms"]))
        return (
            f"most of the time went into waiting for {busy['step']!r} of the windows before: it takes "
            f"{busy['p50_ms']:.0f} ms (median), and a window is due every {recording.rig.window.hop_ms:g} ms"
            + (_parts(recording) if busy["step"] == "model" else "")
        )
    if len(late) and late.max() > 0 and worst["step"] == "link and wait":
        return (
            f"the samples of {windows.waited_for[int(late.argmax())]} were late for {int(late.max())} windows: "
            "look at its link (USB latency timer, connection interval, a stalled sender)"
        )
    inner = _parts(recording) if worst["step"] == "model" else ""
    return f"most of the time went into {worst['step']!r} (p99 {worst['p99_ms']:.1f} ms){inner}"


def _parts(recording: Recording) -> str:
    """Of a model behind a URL: what of its time the server's model took, and what the way there and back."""
    parts = ", ".join(f"{row['step']} {row['p50_ms']:.1f} ms" for row in remote_steps(recording))
    return f"; of it, by the median, {parts}" if parts else ""
