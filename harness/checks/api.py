"""Every endpoint of the rig's API answers as it should, and within its budget; runs wherever a rig has an `api:`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.api.record import PASS, ApiCall
from harness.recording import Recording
from harness.rig import EndpointEntry
from harness.statistics import judge_share, needed_for_quantile, quantile_bounds
from harness.verdict import Outcome, Verdict

NAME = "api"


@dataclass(frozen=True)
class LIMITS:
    """Limits of the api check; budgets stand at the endpoints."""

    quantile: float = field(default=0.9, metadata={"help": "share of calls that must be within an endpoint's budget"})
    confidence: float = field(default=0.95, metadata={"help": "confidence with which that must be shown"})

    def __post_init__(self) -> None:
        if not (0 < self.quantile < 1 and 0.5 <= self.confidence < 1):
            raise ValueError(
                f"api: expected 0 < quantile < 1 and 0.5 <= confidence < 1, found {self.quantile}, {self.confidence}"
            )


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """For each endpoint a verdict on its responses, and one on its latency.

    Virtual time says nothing of latency: the calls are made after the run, and their speed, which is a fact of this
    host and moment, must not enter what follows from rig and seed alone.
    """
    if recording.rig.api is None:
        return [Verdict(NAME, "rig", Outcome.NOT_RUN, "this rig has no `api:` section")]
    virtual = recording.meta.get("mode") == "virtual"
    verdicts = []
    for endpoint in recording.rig.api.endpoints.values():
        calls = [call for call in recording.calls if call.endpoint == endpoint.name]
        verdicts.append(_answers(endpoint, calls, virtual))
        if endpoint.budget_ms is not None and not virtual:
            verdicts.append(_latency(endpoint, endpoint.budget_ms, calls, limits))
    return verdicts


# --- responses --------------------------------------------------------------------------------


def _answers(endpoint: EndpointEntry, calls: Sequence[ApiCall], virtual: bool) -> Verdict:
    """The guide's word as measure: PASS, or what most of the calls that failed came to."""
    failed = [call for call in calls if not call.passed]
    if not calls:
        reason = "no call was made: calls begin with the first window, and the run had none or ended before it"
        return Verdict(NAME, endpoint.name, Outcome.NOT_RUN, reason, "calls", None, "failed calls", 0.0)
    if failed:
        word, _ = Counter(_word(call) for call in failed).most_common(1)[0]
        return _verdict(endpoint, Outcome.FAIL, _failures(failed, len(calls)), word, calls)
    if len(calls) < endpoint.repeat:
        reason = (
            f"{len(calls)} of {endpoint.repeat} calls were made, all good, before the run ended: the service is too "
            "slow for so many, or the run was broken off; run longer, or lower `repeat`"
        )
        return _verdict(endpoint, Outcome.INCONCLUSIVE, reason, PASS, calls)
    reason = f"{len(calls)} calls, every response as expected"
    return _verdict(
        endpoint, Outcome.PASS, reason + ("; latency is judged in real time" if virtual else ""), PASS, calls
    )


def _verdict(endpoint: EndpointEntry, outcome: Outcome, reason: str, word: str, calls: Sequence[ApiCall]) -> Verdict:
    failed = float(sum(not call.passed for call in calls))
    return Verdict(NAME, endpoint.name, outcome, reason, word, failed, "failed calls", 0.0, len(calls))


def _word(call: ApiCall) -> str:
    """Short enough for a table: the text of an ERROR is in the reason."""
    return call.result.partition(":")[0]


def _failures(failed: Sequence[ApiCall], n: int) -> str:
    """Each kind once, the most frequent first."""
    kinds = Counter((_word(call), call.why) for call in failed).most_common()
    told = "; ".join(f"{count if len(kinds) > 1 else ''} {word}: {why}".strip() for (word, why), count in kinds[:3])
    rest = sum(count for _, count in kinds[3:])
    return f"{len(failed)} of {n} calls failed: {told}" + (f"; and {rest} in other ways" if rest else "")


# --- latency ----------------------------------------------------------------------------------


def _latency(endpoint: EndpointEntry, budget_ms: float, calls: Sequence[ApiCall], limits: LIMITS) -> Verdict:
    """As for windows: a call without a response is a miss. Nothing is said where no call at all had one."""
    percent = f"p{100 * limits.quantile:g} latency"
    if not any(call.ms is not None for call in calls):
        reason = "no call was answered" if calls else "no call was made"
        return Verdict(NAME, endpoint.name, Outcome.NOT_RUN, reason, percent, None, "ms", budget_ms)
    spent = np.array([math.inf if call.ms is None else call.ms for call in calls])
    n, misses = len(spent), int(np.count_nonzero(spent > budget_ms))
    shown = judge_share(misses, n, 1 - limits.quantile, limits.confidence)
    outcome = {True: Outcome.PASS, False: Outcome.FAIL, None: Outcome.INCONCLUSIVE}[shown]
    reason = f"{misses} of {n} calls took longer than {budget_ms:g} ms" + _advice(endpoint, spent, outcome, limits)
    found = quantile_bounds(spent, limits.quantile, limits.confidence)
    value, low, high = (None if x is None or math.isinf(x) else x for x in (found.value, found.low, found.high))
    return Verdict(
        NAME, endpoint.name, outcome, reason, percent, value, "ms", budget_ms, n, low, high,
        limits.confidence,
    )  # fmt: skip


def _advice(endpoint: EndpointEntry, spent: np.typing.NDArray[np.float64], outcome: Outcome, limits: LIMITS) -> str:
    if outcome is Outcome.PASS:
        return ""
    if outcome is Outcome.INCONCLUSIVE:
        need = needed_for_quantile(limits.quantile, limits.confidence)
        return f": too few calls to tell; {need} without a miss would do, so raise `repeat` of {endpoint.name}"
    never = int(np.count_nonzero(np.isinf(spent)))
    median = float(np.median(spent))
    usual = f", the median {median:.0f} ms" if math.isfinite(median) else ""
    lost = f", {never} without any response" if never else ""
    return f"{usual}{lost}: see the service's own times, its load, and what lies between it and this machine"
